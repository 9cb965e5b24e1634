//! The declared set: the objects that a repository declares for one cluster, ready to be planned. It exists only if no finding
//! blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::compile::parse::ManifestSource;
use crate::compile::stored_form::{bring_into_stored_form, is_in_stored_form};
use crate::compile::system_metadata::SystemMetadata;
use crate::model::built_in::is_built_in;
use crate::model::finding::{Location, Place, Resource};
use crate::model::hex::hex;
use crate::model::manifest_object::{AddedMetadata, ManifestObject, parsed};
use crate::model::metadata::{DEPTH_SUFFIX, annotation, is_system_key};
use crate::model::object::{GroupKind, Object, ObjectId};

/// The objects that the source of one sync declares for one cluster.
#[derive(Clone, Debug, Default)]
pub struct DeclaredSet {
    /// Objects to apply.
    pub objects: BTreeMap<ObjectId, Arc<DeclaredObject>>,
    /// Objects declared `managed: disabled`. The sync stops managing them and leaves them in the cluster.
    pub disabled: BTreeSet<ObjectId>,
    /// Declared objects that are not applied, with their content: those of unknown scope, those in `disabled`, and those of sealed files
    /// that are not to be opened.
    pub withheld: BTreeMap<ObjectId, Arc<DeclaredObject>>,
    /// `true` if live Namespaces with other labels can give another set.
    pub dynamic: bool,
    /// `true` if sealed files are not to be opened, so that other keys can give another set.
    pub partial: bool,
    /// Live Namespaces that are being deleted, as far as they were known: the objects in them go with them.
    pub going: BTreeSet<String>,
    /// The end of the sync's objects that are not declared.
    pub undeclared: Undeclared,
}

/// The end of objects of a sync that it does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undeclared {
    /// They are deleted. Deletions that are too many are held.
    #[default]
    Pruned,
    /// The sync itself goes, and they are deleted before it. Only without a record are they held.
    Deleted,
    /// All syncs go with the agent: as `Deleted`, and no other sync takes any of them over, since it goes too.
    Uninstalled,
    /// The sync itself goes, and they stay without its labels and annotations.
    GivenUp,
}

impl Undeclared {
    /// `true` if the sync itself goes, and its objects before it.
    pub fn is_gone_before(self) -> bool {
        matches!(self, Self::Deleted | Self::Uninstalled)
    }
}

/// One object to apply: the object of a manifest with the metadata that the system adds. The annotations `token`, `git-context`
/// and `declared-hash` are added when it is applied. To save memory, the JSON value is made at each call that returns it.
#[derive(Debug)]
pub struct DeclaredObject {
    /// The identity that the object is applied as.
    pub id: ObjectId,
    /// The hash of [`DeclaredObject::body`]. A live object whose annotation has the same hash needs no apply.
    pub hash: Hash,
    /// `true` for a Namespace that objects are in and that is not declared: the sync creates it when it is missing, and does
    /// not change one that another client made.
    pub implicit: bool,
    object: Arc<ManifestObject>,
    provenance: Option<Provenance>,
}

/// The facts about an object that the compilation adds to its manifest.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    /// The metadata that the system adds, shared by all objects of the compilation.
    pub(crate) system: Arc<SystemMetadata>,
    /// The start of the manifest; `None` for implicit Namespaces.
    pub(crate) source: Option<ManifestSource>,
    /// `true` if the scope of the object's kind is unknown.
    pub(crate) unknown_scope: bool,
}

impl DeclaredObject {
    /// An object without added metadata.
    pub fn new(object: Object) -> Self {
        let id = object.id();
        let object = Arc::new(ManifestObject::new(object));
        Self { id, hash: Hash::default(), implicit: false, object, provenance: None }.hashed()
    }

    /// An object with the metadata that the system adds. It is applied as `id`, which may have another namespace than the
    /// manifest.
    pub(crate) fn with_system_metadata(id: ObjectId, object: Arc<ManifestObject>, provenance: Provenance) -> Self {
        let implicit = provenance.source.is_none();
        Self { id, hash: Hash::default(), implicit, object, provenance: Some(provenance) }.hashed()
    }

    /// A Namespace that objects are in and that is not declared.
    pub(crate) fn implicit(name: &str, system: Arc<SystemMetadata>) -> Self {
        let mut object = Object::default();
        object.0.insert("apiVersion".to_owned(), "v1".into());
        object.0.insert("kind".to_owned(), "Namespace".into());
        object.metadata_mut().insert("name".to_owned(), name.into());
        let provenance = Provenance { system, source: None, unknown_scope: false };
        Self::with_system_metadata(object.id(), Arc::new(ManifestObject::new(object)), provenance)
    }

    fn hashed(mut self) -> Self {
        self.hash = Hash::of(&self.text());
        self
    }

    /// `true` if this was made from the same object in memory, with its scope known or unknown as now: compiling it again gives
    /// an equal result.
    pub(crate) fn is_made_from(&self, object: &Arc<ManifestObject>, unknown_scope: bool) -> bool {
        let same = |provenance: &Provenance| provenance.unknown_scope == unknown_scope;
        Arc::ptr_eq(&self.object, object) && self.provenance.as_ref().is_some_and(same)
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        self.object.version()
    }

    /// `true` with the annotation `mutation: ignore`: the sync creates the object and does not correct later changes.
    pub fn ignores_mutation(&self) -> bool {
        self.object.annotation(annotation::MUTATION) == Some("ignore")
    }

    /// The value of the annotation `depends-on`.
    pub fn depends_on(&self) -> Option<&str> {
        self.object.annotation(annotation::DEPENDS_ON)
    }

    /// The value of the annotation `apply-time-mutation`: which values of other objects are copied into it when it is applied.
    pub fn apply_time_mutation(&self) -> Option<&str> {
        self.object.annotation(annotation::APPLY_TIME_MUTATION)
    }

    /// This object with the content of another one, into which values of other objects were copied.
    pub(crate) fn with_values_of_others(&self, object: Object) -> Self {
        let object = ManifestObject::new(object);
        let (id, object) = (self.id.clone(), Arc::new(if self.is_sealed() { object.sealed() } else { object }));
        let (hash, implicit, provenance) = (Hash::default(), self.implicit, self.provenance.clone());
        Self { id, hash, implicit, object, provenance }.hashed()
    }

    /// `true` if its values are not to be shown: it is a Secret, takes values of other objects, which may have them of a Secret, or is
    /// sealed in the repository.
    pub fn is_confidential(&self) -> bool {
        self.apply_time_mutation().is_some() || self.id.is_of(&GroupKind::new("", "Secret")) || self.is_sealed()
    }

    /// `true` if SOPS sealed a value of it in the repository.
    pub fn is_sealed(&self) -> bool {
        self.object.is_sealed()
    }

    /// Paths of its fields as they are shown: those of a confidential object end before the first item of a list, which a path names
    /// by its values.
    pub fn shown_fields(&self, fields: Vec<String>) -> Vec<String> {
        if self.is_confidential() { without_items(&fields) } else { fields }
    }

    /// The object to apply, without the annotations that depend on the commit. Built-in kinds lose their nulls, because an apply cannot
    /// own them; in custom resources [they can be values](https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting-and-nullable).
    /// Values are in the form in which the API server stores them; a Secret's texts are base64, for example.
    pub fn body(&self) -> Object {
        let object = self.written();
        if self.is_rewritten() { rewritten(object) } else { object }
    }

    /// The declared object with the added metadata, its nulls and its `stringData`. `nomos hydrate` passes it through
    /// [`hydrated`] and writes the result.
    pub fn written(&self) -> Object {
        parsed(&self.written_text())
    }

    /// The object as it is stored, without what the system adds.
    pub(crate) fn stored(&self) -> &ManifestObject {
        &self.object
    }

    /// `true` if [`DeclaredObject::body`] differs from [`DeclaredObject::written`]: the object has nulls, or values that the API
    /// server stores in another form, such as `stringData` of a Secret or base64 with line breaks.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.object.has_nulls() || !is_in_stored_form(&self.object)
    }

    fn text(&self) -> String {
        if self.is_rewritten() {
            serde_json::to_string(&self.body()).expect("maps with string keys always serialise")
        } else {
            self.written_text()
        }
    }

    fn written_text(&self) -> String {
        self.object.text(self.id.namespace(), &self.added())
    }

    /// The labels and annotations that the system adds, without those that depend on the commit.
    pub(crate) fn added(&self) -> AddedMetadata {
        match &self.provenance {
            None => AddedMetadata::default(),
            Some(Provenance { system, source: None, .. }) => system.for_implicit(&self.id),
            Some(Provenance { system, source: Some(source), unknown_scope }) => {
                let mut added = system.for_declared(&self.object, &source.path, &self.id);
                if *unknown_scope {
                    added.annotation(annotation::UNKNOWN_SCOPE, "true");
                }
                // When it is declared in plain text one day, the live object still has what was sealed.
                if self.is_sealed() {
                    added.annotation(annotation::SEALED, "true");
                }
                added
            }
        }
    }

    /// The object that an apply sends: [`DeclaredObject::body`] with the annotations that depend on the commit.
    pub fn applied(&self, token: &str, git_context: &str) -> Object {
        let mut object = self.body();
        object.set_annotation(annotation::TOKEN, token);
        object.set_annotation(annotation::GIT_CONTEXT, git_context);
        object.set_annotation(annotation::DECLARED_HASH, self.hash.to_string());
        object
    }

    /// Bytes of the manifest's object as JSON text, about: an apply sends this and the metadata that the system adds.
    pub fn text_bytes(&self) -> usize {
        self.object.text_bytes()
    }

    /// The memory that one copy of the object takes while it is applied, about.
    pub fn decoded_bytes(&self) -> usize {
        self.object.decoded_bytes()
    }

    /// Number of its values outside of metadata, about.
    pub fn values(&self) -> usize {
        self.object.values()
    }

    /// The kind that this object defines; `None` if it is no CRD.
    pub fn defined_kind(&self) -> Option<GroupKind> {
        if !self.id.is_crd() {
            return None;
        }
        let body = self.body();
        let spec = body.0.get("spec")?;
        Some(GroupKind::new(spec.get("group")?.as_str()?, spec.get("names")?.get("kind")?.as_str()?))
    }

    /// The object and the start of its manifest, for findings.
    pub fn place(&self) -> Place {
        let source = self.provenance.as_ref().and_then(|provenance| provenance.source.as_ref());
        let location = source.map(|at| Location { path: at.path.to_string(), line: at.line, column: at.column });
        Place { location, resource: Some(Resource::named(&self.id, self.version())) }
    }
}

/// Paths of fields that end before the first item of a list, which a path names by its values.
pub fn without_items(fields: &[String]) -> Vec<String> {
    let mut shown: Vec<String> =
        fields.iter().map(|field| field.split('[').next().unwrap_or_default().to_owned()).collect();
    shown.dedup();
    shown
}

/// The hash of a declared object: the first half of a SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash([u8; 16]);

impl Hash {
    fn of(text: &str) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
        Self(half)
    }

    /// Reads a hash from 32 hexadecimal digits, the form in which it is displayed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut half = [0; 16];
        if text.len() != 2 * half.len() {
            return None;
        }
        for (byte, digits) in half.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(half))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Drops the nulls of built-in kinds and of metadata, and brings values into the form in which they are stored.
pub(crate) fn rewritten(mut object: Object) -> Object {
    let is_typed = is_built_in(object.group());
    object.0.retain(|_, value| !value.is_null());
    object.0.iter_mut().filter(|(field, _)| is_typed || *field == "metadata").for_each(|(_, value)| drop_nulls(value));
    bring_into_stored_form(&mut object);
    object
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The object without its status and without the metadata that the system or the cluster added: `nomos hydrate` writes it.
pub fn hydrated(object: &Object) -> Object {
    let mut object = object.clone();
    let is_namespace = object.is_kind("", "Namespace") && object.version() == "v1";
    let original = object.annotation(annotation::ORIGINAL_HNC_MANAGED_BY).map(str::to_owned);
    object.0.remove("status");
    let Some(Value::Object(metadata)) = object.0.get_mut("metadata") else { return object };
    metadata.remove("creationTimestamp");
    for field in ["annotations", "labels"] {
        if let Some(Value::Object(map)) = metadata.get_mut(field) {
            map.retain(|key, _| !is_system_key(key) || key == annotation::MANAGED);
            if is_namespace && field == "annotations" {
                map.remove(annotation::HNC_MANAGED_BY);
            } else if is_namespace {
                map.retain(|key, _| !key.ends_with(DEPTH_SUFFIX));
            }
        }
    }
    if let (true, Some(original)) = (is_namespace, original) {
        object.set_annotation(annotation::HNC_MANAGED_BY, original);
    }
    let is_empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    object
        .metadata_mut()
        .retain(|field, value| !matches!(field.as_str(), "annotations" | "labels") || !is_empty(value));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_nulls_do_not_count() {
        let object = |text: &str| serde_json::from_str::<Object>(text).expect("valid JSON");
        let plain = object(r#"{"kind":"X","apiVersion":"v1","spec":{"a":1}}"#);
        let noisy = object(r#"{"kind":"X","apiVersion":"v1","spec":{"a":1,"b":null},"status":{"c":1},"data":null}"#);
        assert_eq!(DeclaredObject::new(plain).hash, DeclaredObject::new(noisy).hash);
    }

    #[test]
    fn a_sealed_object_is_marked() {
        let object: Object =
            serde_json::from_str(r#"{"kind":"X","apiVersion":"v1","metadata":{"name":"a"}}"#).expect("valid JSON");
        let declared = |manifest: ManifestObject| {
            let source = ManifestSource { path: "a.yaml".into(), line: 1, column: 1 };
            let provenance = Provenance { system: Arc::default(), source: Some(source), unknown_scope: false };
            DeclaredObject::with_system_metadata(object.id(), Arc::new(manifest), provenance)
        };
        let (plain, sealed) = (ManifestObject::new(object.clone()), ManifestObject::new(object.clone()).sealed());
        let (plain, sealed) = (declared(plain), declared(sealed));
        assert!(sealed.body().hides_values() && !plain.body().hides_values());
        assert!(sealed.with_values_of_others(object.clone()).body().hides_values());
        assert_eq!(hydrated(&sealed.written()), hydrated(&plain.written()));
    }

    #[test]
    fn the_hash_is_that_of_the_applied_body() {
        for json in [
            r#"{"kind":"X","apiVersion":"v1","metadata":{"name":"a","labels":{"b":"\u00e9"}},"spec":{"b":[1.5,"\u0001"],"a":{}}}"#,
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a","uid":null},"stringData":{"a":"y"},"data":null}"#,
        ] {
            let declared = DeclaredObject::new(serde_json::from_str(json).expect("valid JSON"));
            let body = serde_json::to_string(&declared.body()).expect("a map");
            assert_eq!(declared.hash, Hash::of(&body), "{body}");
            assert_eq!(Hash::parse(&declared.hash.to_string()), Some(declared.hash));
        }
    }

    #[test]
    fn hydrated_objects_are_as_declared() {
        let json = r#"{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":null,
            "annotations":{"configmanagement.gke.io/managed":"disabled","configmanagement.gke.io/source-path":"x",
                "hnc.x-k8s.io/managed-by":"configmanagement.gke.io","configsync.gke.io/original-hnc-managed-by-value":"me"},
            "labels":{"a.tree.hnc.x-k8s.io/depth":"0","configsync.gke.io/declared-version":"v1"}}}"#;
        let clean = hydrated(&serde_json::from_str(json).expect("valid JSON"));
        let expected = r#"{"annotations":{"configmanagement.gke.io/managed":"disabled","hnc.x-k8s.io/managed-by":"me"},"name":"a"}"#;
        assert_eq!(clean.0["metadata"].to_string(), expected);
    }
}
