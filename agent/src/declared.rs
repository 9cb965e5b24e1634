//! The declared set: what a repository says a cluster shall hold, ready to be planned. It exists only if nothing blocking
//! was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize as _, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::finding::{Location, Place, Resource};
use crate::metadata::{DEPTH_SUFFIX, annotation, is_system_key};
use crate::object::{GroupKind, Object, ObjectId};

/// Everything one sync declares for one cluster.
#[derive(Clone, Debug, Default)]
pub struct DeclaredSet {
    /// Objects to apply.
    pub objects: BTreeMap<ObjectId, Arc<DeclaredObject>>,
    /// Objects declared `managed: disabled`: released, never applied.
    pub disabled: BTreeSet<ObjectId>,
    /// Objects that are declared but not applied: of unknown scope, or `managed: disabled`.
    pub withheld: BTreeMap<ObjectId, Arc<DeclaredObject>>,
}

/// One object to apply, with all metadata the system adds but the annotations `token`, `git-context` and
/// `declared-hash`: those are set when it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredObject {
    /// Identity.
    pub id: ObjectId,
    /// API version without its group.
    pub version: String,
    /// Hash of `body`, 32 hexadecimal digits: equal hashes mean there is nothing to apply.
    pub hash: String,
    /// Where the manifest starts; `None` for implicit Namespaces.
    pub source: Option<Location>,
    /// A Namespace that is only referenced: made when missing, left alone when it is somebody else's
    /// (repo-format §13.1).
    pub implicit: bool,
    /// `mutation: ignore`: users may change it once it exists.
    pub ignores_mutation: bool,
    /// Value of the annotation `depends-on`.
    pub depends_on: Option<Box<str>>,
    /// Whether values are to be copied into it when it is applied.
    pub mutates_at_apply: bool,
    /// The object as JSON text: a tenth of the memory of a tree of values.
    body: Box<str>,
    /// The same as the user wrote it, where that differs: with nulls and `stringData`.
    written: Option<Box<str>>,
}

impl DeclaredObject {
    /// Seals a compiled object. `status` and nulls are dropped: an apply cannot own them. The `stringData` of a Secret is put
    /// into its `data`: the API server would do the same, but leave the ownership on `stringData`, so that changes of `data`
    /// went unnoticed.
    pub fn new(mut object: Object, source: Option<Location>, implicit: bool) -> Self {
        let id = object.id();
        let metadata = object.0.get_mut("metadata").map(std::mem::take).unwrap_or_default();
        let payload = Payload::take(&mut object);
        Self { implicit, ..Self::merged(id, &object, &payload, &metadata, source) }
    }

    /// The same of an object in parts, with an identity and metadata other than its own, so that nothing need be copied.
    pub(crate) fn merged(
        id: ObjectId,
        object: &Object,
        payload: &Payload,
        metadata: &Value,
        source: Option<Location>,
    ) -> Self {
        let as_written = Merged { object, payload, metadata };
        let rewritten = payload.rewritten || has_nulls(metadata) || object.0.values().any(has_nulls);
        let (body, written) = if rewritten {
            let written = text(&as_written);
            let mut applied = parsed(&written);
            applied.0.values_mut().for_each(drop_nulls);
            applied.0.retain(|_, value| !value.is_null());
            fold_string_data(&mut applied);
            (text(&applied), Some(written))
        } else {
            (text(&as_written), None)
        };
        let annotation = |key: &str| metadata.get("annotations")?.get(key)?.as_str();
        Self {
            id,
            version: object.version().to_owned(),
            hash: hash(&body),
            source,
            implicit: false,
            ignores_mutation: annotation(annotation::MUTATION) == Some("ignore"),
            depends_on: annotation(annotation::DEPENDS_ON).map(Into::into),
            mutates_at_apply: annotation(annotation::APPLY_TIME_MUTATION).is_some(),
            body,
            written,
        }
    }

    /// The object itself.
    pub fn body(&self) -> Object {
        parsed(&self.body)
    }

    /// The object before nulls were dropped and `stringData` was folded: what `nomos hydrate` shows, cleaned by [`hydrated`].
    pub fn written(&self) -> Object {
        parsed(self.written.as_ref().unwrap_or(&self.body))
    }

    /// The object as it is sent: with the annotations that depend on the commit.
    pub fn applied(&self, token: &str, git_context: &str) -> Object {
        let mut object = self.body();
        object.set_annotation(annotation::TOKEN, token);
        object.set_annotation(annotation::GIT_CONTEXT, git_context);
        object.set_annotation(annotation::DECLARED_HASH, &self.hash);
        object
    }

    /// The kind that this object defines, if it is a CRD.
    pub fn defined_kind(&self) -> Option<GroupKind> {
        if !self.id.is_crd() {
            return None;
        }
        let body = self.body();
        let spec = body.0.get("spec")?;
        Some(GroupKind::new(spec.get("group")?.as_str()?, spec.get("names")?.get("kind")?.as_str()?))
    }

    /// Where it is declared and what it is, for findings.
    pub fn place(&self) -> Place {
        Place { location: self.source.clone(), resource: Some(Resource::named(&self.id, &self.version)) }
    }
}

/// What an object holds beside its type and metadata, as JSON text: compilation does not look into it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Payload {
    /// Top-level fields in order.
    fields: Vec<(String, Box<RawValue>)>,
    /// Whether it has nulls or `stringData`, so that it is applied otherwise than it is written.
    rewritten: bool,
}

impl Payload {
    /// Takes the payload out of an object.
    pub(crate) fn take(object: &mut Object) -> Self {
        let rewritten = object.0.values().any(has_nulls) || has_string_data(object);
        let mut fields = Vec::new();
        object.0.retain(|field, value| {
            let stays = matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status");
            if !stays {
                let text = to_raw_value(value).expect("maps with string keys always serialise");
                fields.push((field.clone(), text));
            }
            stays
        });
        Self { fields, rewritten }
    }
}

/// An object put together again, with other metadata than its own and without `status`.
struct Merged<'a> {
    object: &'a Object,
    payload: &'a Payload,
    metadata: &'a Value,
}

/// The value of a top-level field.
enum Part<'a> {
    Value(&'a Value),
    Text(&'a RawValue),
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

impl Serialize for Merged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self
            .object
            .0
            .iter()
            .filter(|(field, _)| *field != "status")
            .map(|(field, value)| (field, Part::Value(if field == "metadata" { self.metadata } else { value })));
        let mut fields: Vec<(&String, Part<'_>)> =
            own.chain(self.payload.fields.iter().map(|(field, text)| (field, Part::Text(text)))).collect();
        fields.sort_by_key(|(field, _)| *field);
        serializer.collect_map(fields)
    }
}

fn text(object: &impl Serialize) -> Box<str> {
    serde_json::to_string(object).expect("maps with string keys always serialise").into()
}

/// Manifests may be nested more deeply than `serde_json` reads by default.
fn parsed(text: &str) -> Object {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    Object::deserialize(&mut deserializer).expect("made by serialising an object")
}

/// The first half of a SHA-256, hexadecimal.
fn hash(body: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(body.as_bytes());
    let digits = digest.iter().take(16).flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn has_nulls(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_nulls),
        Value::Array(items) => items.iter().any(has_nulls),
        _ => false,
    }
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

fn has_string_data(object: &Object) -> bool {
    object.is_kind("", "Secret") && object.0.get("stringData").is_some_and(Value::is_object)
}

/// Moves text in `stringData` to `data`, which it overrides. What is no text stays, for the API server to refuse.
fn fold_string_data(object: &mut Object) {
    if !has_string_data(object) {
        return;
    }
    let Some(Value::Object(mut plain)) = object.0.remove("stringData") else { return };
    let data = object.0.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(data) = data {
        plain.retain(|key, value| match value {
            Value::String(text) => {
                data.insert(key.clone(), base64::engine::general_purpose::STANDARD.encode(text).into());
                false
            }
            _ => true,
        });
    }
    if !plain.is_empty() {
        object.0.insert("stringData".to_owned(), Value::Object(plain));
    }
}

/// An object without what the system or the cluster added: what `nomos hydrate` writes.
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
        assert_eq!(DeclaredObject::new(plain, None, false).hash, DeclaredObject::new(noisy, None, false).hash);
    }

    #[test]
    fn string_data_is_folded_but_not_in_what_was_written() {
        let json = r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"eA=="},"stringData":{"a":"y","b":"z"}}"#;
        let secret = DeclaredObject::new(serde_json::from_str(json).expect("valid JSON"), None, false);
        assert_eq!(Value::Object(secret.body().0)["data"], serde_json::json!({"a": "eQ==", "b": "eg=="}));
        assert!(!secret.body().0.contains_key("stringData"));
        assert!(secret.written().0.contains_key("stringData"));
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
