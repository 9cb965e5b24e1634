//! The record that the engine keeps of a live object: a few dozen bytes, judged from its metadata.
//!
//! A watch brings metadata only, and `metadata.managedFields` tells if the declared fields are still ours. Where it cannot
//! tell, the engine reads the whole object once and keeps a digest of it.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::Removal;
use crate::compile::declared::{DeclaredObject, Hash};
use crate::compile::substitutions::substitutions;
use crate::model::metadata::{FIELD_MANAGER, SPECIAL_NAMESPACES, SyncId, annotation, is_detached, label};
use crate::model::object::{Object, ObjectId};
use crate::model::references::references;
use crate::sync::health::{self, Health};
use crate::sync::managed_fields::{self, Basis, ManagedFieldsEntry};

/// The metadata of a live object, as a watch or an answer brings it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// `metadata.uid`: it differs when an object was deleted and made again under the same name.
    pub uid: String,
    /// `metadata.resourceVersion`; see [`Observed::version`].
    pub resource_version: String,
    /// Set when a client has asked for the deletion.
    pub deletion_timestamp: Option<String>,
    /// Labels.
    pub labels: Map<String, Value>,
    /// Annotations.
    pub annotations: Map<String, Value>,
    /// The owners: the garbage collector deletes the object when they are gone.
    pub owner_references: Vec<Value>,
    /// The fields that each manager owns.
    pub managed_fields: Vec<ManagedFieldsEntry>,
}

impl Observed {
    /// The metadata of a whole object.
    pub fn of(object: &Object) -> Self {
        let metadata = object.0.get("metadata").and_then(|metadata| Self::deserialize(metadata).ok());
        let mut observed = metadata.unwrap_or_default();
        // The manifest of a Secret is not kept; the owner of the annotation still shows.
        observed.annotations.remove(annotation::LAST_APPLIED);
        observed
    }

    /// `resourceVersion` as a number, by which the newer of two observations is known: etcd counts it up with every write,
    /// and since Kubernetes 1.35 the API promises so ([KEP-5504](https://kep.k8s.io/5504)). 0 when it is no number.
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).and_then(Value::as_str)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).and_then(Value::as_str)
    }

    /// The entries of all other managers outside `status`, newest first.
    fn others(&self) -> Vec<&ManagedFieldsEntry> {
        let mut entries: Vec<&ManagedFieldsEntry> = self
            .managed_fields
            .iter()
            .filter(|e| e.subresource != "status" && (e.manager != FIELD_MANAGER || e.operation != "Apply"))
            .collect();
        entries.sort_by(|a, b| b.time.cmp(&a.time));
        entries
    }
}

/// The sync that manages an object, by its labels and annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This sync: label, manager annotation and resource-id annotation agree.
    Us,
    /// Another sync: its manager annotation.
    Other(Box<str>),
    /// No sync.
    Nobody,
}

/// The end of an object that is not declared any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoval {
    /// It is deleted.
    Delete,
    /// It stays, and the labels and annotations of the sync are taken off.
    Abandon,
    /// It stays as it is: it has owners, and the garbage collector deletes it with them.
    Leave,
}

/// The ownership of an object's declared fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldOwnership {
    /// All declared fields are ours and unchanged.
    Ours,
    /// These fields are not ours any more, or are ours and not declared: their paths. None when the object has no `Apply` entry
    /// of ours, or when it is not known which of our fields has changed.
    Lost(Box<[String]>),
    /// The metadata does not say enough: the whole object has to be read.
    Unsure,
}

/// The record of one live object.
#[derive(Clone, Debug)]
pub struct Live {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `resourceVersion`, see [`Observed::version`].
    pub version: u64,
    /// `true` if it has the ApplySet label. Watches select by that label, so without it no event tells of a change.
    pub watched: bool,
    /// `true` if the answer to our own write was without the ApplySet label, which has not come since, and all else says that the
    /// object is ours: admission takes the label off.
    pub unlabelled: bool,
    /// The sync that manages it.
    pub owner: Owner,
    /// `true` for a Namespace that a sync only made because objects are in it, and that it does not declare.
    pub implicit: bool,
    /// `true` if our `Apply` entry is on it.
    pub applied: bool,
    /// `true` if tools that wrote it before may own declared fields; see [`managed_fields::adopt`].
    pub former_writer: bool,
    /// The field in our entry that stays as it runs when it is not declared any more; see [`managed_fields::release_running`].
    pub running_field: Option<&'static str>,
    /// `true` if a client has asked for its deletion, which waits for finalizers.
    pub terminating: bool,
    /// `true` if a list did not show it that may be older than it, or if its deletion was refused because it has changed. Only a request
    /// tells if it is there.
    pub in_doubt: bool,
    /// The end of the object when it is not declared any more.
    pub on_removal: OnRemoval,
    /// `true` for a sync object whose objects are deleted with it.
    pub takes_along: bool,
    /// The objects that its annotation `depends-on` names, and those of which it takes values: they are deleted after it.
    pub depends_on: Option<Box<[ObjectId]>>,
    /// The annotation `declared-hash`: which declared form was applied last.
    pub hash: Option<Hash>,
    /// First seven characters of the annotation `token`, the commit that was applied last.
    pub token: Box<str>,
    /// Ownership of the declared fields.
    pub fields: FieldOwnership,
    /// Health when it was last read as a whole.
    pub health: Health,
    /// The field manager that took fields of ours, or else the last other manager that wrote the object; `None` unless fields
    /// are lost.
    pub changed_by: Option<Box<str>>,
    /// Digest of our entry.
    entry: u64,
    /// Digest of the other managers' entries.
    others: u64,
    /// Digest of our fields in the answer to our last apply, or as they were last read; `None` when there was none.
    baseline: Option<u64>,
    /// See [`managed_fields::may_vanish`].
    may_vanish: bool,
}

impl Live {
    /// The record that follows from an observation. `declared` is the object as it shall be, `before` the record so far.
    pub fn observe(
        seen: &Observed,
        id: &ObjectId,
        sync: &SyncId,
        declared: Option<&DeclaredObject>,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|b| *b.uid == *seen.uid);
        let entry = managed_fields::our_entry(&seen.managed_fields);
        let digest = entry.map_or(0, ManagedFieldsEntry::digest);
        let others = managed_fields::digest_of_others(&seen.managed_fields);
        let hash = seen.annotation(annotation::DECLARED_HASH).and_then(Hash::parse);
        let fields = match (entry, before, declared) {
            (None, _, _) => FieldOwnership::Lost(Box::new([])),
            (Some(_), Some(b), _) if b.entry == digest && b.fields == FieldOwnership::Ours => {
                let is_traced = !b.may_vanish || b.version == seen.version();
                if is_traced && b.others == others { FieldOwnership::Ours } else { FieldOwnership::Unsure }
            }
            // The declared form is about to change anyway: its new fields are not in the entry yet.
            (Some(entry), before, Some(declared)) if hash != Some(declared.hash) => match before {
                Some(b) if b.entry != digest => FieldOwnership::Lost(missing(declared, entry, seen)),
                _ => FieldOwnership::Unsure,
            },
            (Some(entry), before, Some(declared)) => match ownership(declared, entry, seen) {
                // It is another entry than our last apply left, so that a client may have applied other values under our
                // name; or a read has found another value, which the entry still does not show.
                FieldOwnership::Ours if before.is_some() => FieldOwnership::Unsure,
                fields => fields,
            },
            (Some(_), _, None) => FieldOwnership::Unsure,
        };
        Self {
            uid: seen.uid.as_str().into(),
            version: seen.version(),
            watched: seen.label(label::PART_OF).is_some(),
            unlabelled: before.is_some_and(|b| b.unlabelled) && lacks_label_alone(seen, id, sync),
            owner: owner(seen, id, sync, before),
            implicit: is_implicit(seen, id),
            applied: entry.is_some(),
            running_field: entry.and_then(managed_fields::running_field),
            former_writer: managed_fields::has_former_writer(&seen.managed_fields),
            terminating: seen.deletion_timestamp.is_some(),
            in_doubt: false,
            on_removal: on_removal(seen, id),
            takes_along: takes_along(seen, id),
            depends_on: depends_on(seen, id),
            hash,
            token: seen.annotation(annotation::TOKEN).unwrap_or_default().chars().take(7).collect::<String>().into(),
            health: before.map_or(Health::Unknown, |b| b.health.clone()),
            changed_by: match &fields {
                FieldOwnership::Lost(lost) => changed_by(seen, declared, lost),
                _ => None,
            },
            fields,
            entry: digest,
            others,
            baseline: before.and_then(|b| b.baseline),
            may_vanish: before.is_some_and(|b| b.may_vanish),
        }
    }

    /// The record of an object of the inventory that no watch has shown.
    pub fn found(seen: &Observed, id: &ObjectId, sync: &SyncId) -> Self {
        Self { unlabelled: lacks_label_alone(seen, id, sync), ..Self::observe(seen, id, sync, None, None) }
    }

    /// `true` if the object is ours, with or without the label that admission takes off.
    pub fn is_ours(&self) -> bool {
        self.owner == Owner::Us || self.unlabelled
    }

    /// `true` if our entry is the same as in another record.
    pub fn has_entry_of(&self, other: &Self) -> bool {
        self.entry == other.entry
    }

    /// The record that follows from the answer to our own apply. The answer is how the object looks while it is as declared,
    /// also where the API server or admission changed a value.
    pub fn after_apply(seen: &Observed, whole: &Object, declared: &Object, id: &ObjectId, sync: &SyncId) -> Self {
        let mut live = Self::found(seen, id, sync);
        live.fields = FieldOwnership::Ours;
        live.baseline = baseline(seen, whole, declared);
        live.may_vanish = managed_fields::may_vanish(declared);
        live.health = health::of(whole);
        live
    }

    /// The record that follows from reading the whole object, which settles [`FieldOwnership::Unsure`]: the object is
    /// compared with the answer to our last apply, or with the declared form when there is no such answer (after a restart).
    pub fn after_read(
        seen: &Observed,
        whole: &Object,
        sync: &SyncId,
        declared: &DeclaredObject,
        before: Option<&Self>,
    ) -> Self {
        let mut live = Self::observe(seen, &declared.id, sync, Some(declared), before);
        live.health = health::of(whole);
        // Another form is to be applied: the fields that it changes are no drift.
        let is_applied = live.applied && live.hash == Some(declared.hash);
        if is_applied && !matches!(live.fields, FieldOwnership::Lost(_)) {
            let body = declared.body();
            live.may_vanish = managed_fields::may_vanish(&body);
            let now = baseline(seen, whole, &body);
            let compared = |basis| managed_fields::differences(&body, whole, &seen.managed_fields, basis);
            let changed = match live.baseline {
                Some(then) if now == Some(then) => None,
                Some(_) => Some(compared(Basis::Changed)),
                None => Some(compared(Basis::Unknown)).filter(|changed| !changed.is_empty()),
            };
            match changed {
                None => (live.fields, live.baseline) = (FieldOwnership::Ours, now),
                Some(changed) => live.fields = FieldOwnership::Lost(changed.into()),
            }
        }
        live
    }
}

fn takes_along(seen: &Observed, id: &ObjectId) -> bool {
    let annotations =
        || seen.annotations.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    SyncId::of_object(id).is_some() && Removal::of(&annotations().collect()) == Removal::Delete
}

fn depends_on(seen: &Observed, id: &ObjectId) -> Option<Box<[ObjectId]>> {
    let named = seen.annotation(annotation::DEPENDS_ON).and_then(|text| references(text).ok());
    let taken = seen.annotation(annotation::APPLY_TIME_MUTATION).and_then(|text| substitutions(text).ok());
    let taken = taken.into_iter().flatten().flat_map(|it| it.candidates(id.namespace()));
    let all: Vec<ObjectId> = named.into_iter().flatten().chain(taken).collect();
    (!all.is_empty()).then(|| all.into())
}

fn ownership(declared: &DeclaredObject, entry: &ManagedFieldsEntry, seen: &Observed) -> FieldOwnership {
    let coverage = managed_fields::coverage(declared, &entry.fields, &seen.managed_fields);
    if !is_of_version(entry, declared) {
        return FieldOwnership::Lost([coverage.missing, coverage.surplus, coverage.unsure].concat().into());
    }
    if !coverage.missing.is_empty() || !coverage.surplus.is_empty() {
        FieldOwnership::Lost(coverage.missing.into_iter().chain(coverage.surplus).collect())
    } else if !coverage.unsure.is_empty() {
        FieldOwnership::Unsure
    } else {
        FieldOwnership::Ours
    }
}

/// `false` if the entry is one that another client has applied under our name: that of our last apply is of the declared version.
fn is_of_version(entry: &ManagedFieldsEntry, declared: &DeclaredObject) -> bool {
    let (group, version) = entry.api_version.rsplit_once('/').unwrap_or(("", &entry.api_version));
    version.is_empty() || group == declared.id.group() && version == declared.version()
}

fn missing(declared: &DeclaredObject, entry: &ManagedFieldsEntry, seen: &Observed) -> Box<[String]> {
    managed_fields::coverage(declared, &entry.fields, &seen.managed_fields).missing.into()
}

fn baseline(seen: &Observed, whole: &Object, declared: &Object) -> Option<u64> {
    let entry = managed_fields::our_entry(&seen.managed_fields)?;
    Some(managed_fields::digest_of_value(&managed_fields::declared_projection(
        whole,
        &entry.fields,
        &seen.managed_fields,
        declared,
    )))
}

/// The manager that owns now a field that we lost, else the other manager that wrote last: a field that was removed has no
/// owner. Times alone do not tell, because they are whole seconds.
fn changed_by(seen: &Observed, declared: Option<&DeclaredObject>, lost: &[String]) -> Option<Box<str>> {
    let others = seen.others();
    let taker = declared.and_then(|declared| {
        others.iter().find(|entry| {
            let not_theirs = missing(declared, entry, seen);
            lost.iter().any(|path| !not_theirs.iter().any(|other| path.starts_with(other.trim_end_matches("[]"))))
        })
    });
    taker.or(others.first()).map(|entry| entry.manager.as_str().into())
}

/// `true` if the annotations say that a sync manages the object, and are not copied from another one.
fn is_managed(seen: &Observed, id: &ObjectId) -> bool {
    seen.annotation(annotation::MANAGED) == Some("enabled")
        && seen.annotation(annotation::RESOURCE_ID) == Some(&id.resource_id())
}

/// `true` for an object of the sync that only lacks the ApplySet label.
fn lacks_label_alone(seen: &Observed, id: &ObjectId, sync: &SyncId) -> bool {
    seen.label(label::PART_OF).is_none()
        && is_managed(seen, id)
        && seen.annotation(annotation::MANAGER) == Some(&sync.manager())
        && managed_fields::our_entry(&seen.managed_fields).is_some()
}

/// All of the label and the annotations have to agree, because controllers copy them to objects that they make.
fn owner(seen: &Observed, id: &ObjectId, sync: &SyncId, before: Option<&Live>) -> Owner {
    let managed = is_managed(seen, id);
    match seen.annotation(annotation::MANAGER) {
        Some(manager) if managed && manager == sync.manager() => match seen.label(label::PART_OF) {
            Some(part_of) if part_of == sync.part_of() => match before.map(|before| &before.owner) {
                // Another client gave us what is another sync's.
                Some(Owner::Other(other)) if is_a_syncs(seen) && !is_named_by_a_sync(seen) => {
                    Owner::Other(other.clone())
                }
                _ => Owner::Us,
            },
            _ => Owner::Nobody,
        },
        Some(manager) if managed && is_named_by_a_sync(seen) => Owner::Other(manager.into()),
        // Another client gave away what is another sync's.
        Some(_) if managed && is_a_syncs(seen) => match before.map(|before| &before.owner) {
            Some(Owner::Other(other)) => Owner::Other(other.clone()),
            _ => Owner::Nobody,
        },
        _ => Owner::Nobody,
    }
}

/// The entries that writes of any sync leave: all syncs have one field manager.
fn entries_of_syncs(seen: &Observed) -> impl Iterator<Item = &ManagedFieldsEntry> {
    seen.managed_fields.iter().filter(|entry| entry.manager == FIELD_MANAGER)
}

/// `true` for an object that a sync has written.
fn is_a_syncs(seen: &Observed) -> bool {
    entries_of_syncs(seen).next().is_some()
}

/// `true` if a sync has named the manager. Every client can write the annotation, so it is believed only while it is a sync's
/// field. The API server notes no writes but applies on an object without any entry, and two syncs would take it from each other again and
/// again: there the annotation is believed.
fn is_named_by_a_sync(seen: &Observed) -> bool {
    if seen.managed_fields.is_empty() {
        return true;
    }
    let manager = format!("f:{}", annotation::MANAGER);
    entries_of_syncs(seen).any(|entry| {
        let annotations = entry.fields.get("f:metadata").and_then(|metadata| metadata.get("f:annotations"));
        annotations.is_some_and(|annotations| annotations.get(&manager).is_some())
    })
}

/// An implicit Namespace has no file.
fn is_implicit(seen: &Observed, id: &ObjectId) -> bool {
    let path = seen.annotation(annotation::SOURCE_PATH);
    id.is_namespace() && path.is_none() && seen.annotation(annotation::MANAGER).is_some()
}

fn on_removal(seen: &Observed, id: &ObjectId) -> OnRemoval {
    let detached =
        is_detached(|key| seen.annotation(key)) || (id.is_namespace() && SPECIAL_NAMESPACES.contains(&id.name()));
    match () {
        () if !seen.owner_references.is_empty() => OnRemoval::Leave,
        () if detached => OnRemoval::Abandon,
        () => OnRemoval::Delete,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A ConfigMap with our entry, and another manager's at this second.
    fn live(value: &str, second: u32) -> Object {
        let owned = json!({"f:data": {"f:a": {}}, "f:metadata": {"f:annotations": {
            "f:configmanagement.gke.io/token": {}, "f:configsync.gke.io/declared-hash": {}, "f:configsync.gke.io/git-context": {},
        }}});
        let time = format!("2026-01-01T00:00:0{second}Z");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value},
            "metadata": {
                "name": "a", "namespace": "b", "uid": "u", "resourceVersion": format!("1{second}"),
                "annotations": {annotation::DECLARED_HASH: declared().hash.to_string()},
                "managedFields": [
                    {"manager": FIELD_MANAGER, "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": owned},
                    {"manager": "other", "operation": "Update", "time": time, "fieldsV1": {"f:metadata": {}}},
                ],
            },
        });
        serde_json::from_value(object).expect("a map")
    }

    fn declared() -> DeclaredObject {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}, "metadata": {"name": "a", "namespace": "b"}});
        DeclaredObject::new(serde_json::from_value(object).expect("a map"))
    }

    #[test]
    fn what_a_read_has_found_or_shall_find_is_not_forgotten() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let seen = |value: &str, second| Observed::of(&live(value, second));
        let next = |value: &str, second, before: &Live| {
            Live::observe(&seen(value, second), &declared.id, &sync, Some(&declared), Some(before))
        };
        let first = live("1", 0);
        let applied = Live::after_apply(&Observed::of(&first), &first, &declared.body(), &declared.id, &sync);
        let changed = next("2", 1, &applied);
        assert_eq!(changed.fields, FieldOwnership::Unsure, "another client wrote");
        assert_eq!(next("2", 1, &changed).fields, FieldOwnership::Unsure, "it was not read yet");
        let read = Live::after_read(&seen("2", 1), &live("2", 1), &sync, &declared, Some(&changed));
        let lost = FieldOwnership::Lost(Box::new([".data.a".to_owned()]));
        assert_eq!(read.fields, lost);
        let again = next("2", 2, &read);
        assert_eq!(again.fields, FieldOwnership::Unsure);
        assert_eq!(Live::after_read(&seen("2", 2), &live("2", 2), &sync, &declared, Some(&again)).fields, lost);
    }

    #[test]
    fn a_map_that_leaves_no_trace_is_lost_when_another_client_removes_it() {
        let sync = SyncId::root("a");
        let object = |map: serde_json::Value| -> Object {
            let object =
                json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"n": 1, "map": map}});
            serde_json::from_value(object).expect("a map")
        };
        let declared = DeclaredObject::new(object(json!({"list": []})));
        let at = |map: serde_json::Value, entries: serde_json::Value| {
            let mut object = object(map);
            let annotations = json!({annotation::DECLARED_HASH: declared.hash.to_string()});
            let metadata = [("uid", "u".into()), ("annotations", annotations), ("managedFields", entries)];
            object.metadata_mut().extend(metadata.map(|(name, value)| (name.to_owned(), value)));
            object
        };
        let ours = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:n": {}}}});
        let other = json!({"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": {"f:x": {}}}});
        let answer = at(json!({"list": [], "x": "default"}), json!([ours]));
        let applied = Live::after_apply(&Observed::of(&answer), &answer, &declared.body(), &declared.id, &sync);
        let read = |map: serde_json::Value| {
            let whole = at(map, json!([ours, other]));
            Live::after_read(&Observed::of(&whole), &whole, &sync, &declared, Some(&applied)).fields
        };
        assert_eq!(read(serde_json::Value::Null), FieldOwnership::Lost(Box::new([".spec.map".to_owned()])));
        assert_eq!(read(json!({"list": [1], "x": "other"})), FieldOwnership::Ours);
    }

    /// No entry shows it, so that each new version of such an object is read.
    #[test]
    fn a_map_of_empty_lists_of_a_built_in_kind_is_lost_when_another_client_removes_it() {
        let sync = SyncId::root("a");
        let at = |version: &str, scheduling: serde_json::Value, hash: &str| -> Object {
            let annotations = json!({
                "f:configmanagement.gke.io/token": {}, "f:configsync.gke.io/declared-hash": {}, "f:configsync.gke.io/git-context": {},
            });
            let metadata = json!({ "f:annotations": annotations });
            let fields = json!({"f:handler": {}, "f:scheduling": {"f:tolerations": {}}, "f:metadata": metadata});
            let ours = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields});
            let metadata = json!({
                "name": "a", "uid": "u", "resourceVersion": version, "managedFields": [ours],
                "annotations": {annotation::DECLARED_HASH: hash},
            });
            let object = json!({
                "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "a", "scheduling": scheduling, "metadata": metadata,
            });
            serde_json::from_value(object).expect("a map")
        };
        let mut object = at("", json!({"tolerations": []}), "");
        object.metadata_mut().retain(|name, _| name == "name");
        let declared = DeclaredObject::new(object);
        let hash = declared.hash.to_string();
        let answer = at("1", json!({}), &hash);
        let applied = Live::after_apply(&Observed::of(&answer), &answer, &declared.body(), &declared.id, &sync);
        let observed =
            |whole: &Object| Live::observe(&Observed::of(whole), &declared.id, &sync, Some(&declared), Some(&applied));
        assert_eq!(observed(&answer).fields, FieldOwnership::Ours, "the watch shows the answer");
        for (scheduling, fields) in [
            (json!(null), FieldOwnership::Lost(Box::new([".scheduling".to_owned()]))),
            (json!({}), FieldOwnership::Ours),
        ] {
            let whole = at("2", scheduling, &hash);
            let seen = observed(&whole);
            assert_eq!(seen.fields, FieldOwnership::Unsure);
            let read = Live::after_read(&Observed::of(&whole), &whole, &sync, &declared, Some(&seen));
            assert_eq!(read.fields, fields);
        }
    }

    #[test]
    fn a_form_that_is_not_applied_yet_is_no_drift() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let mut object = live("0", 1);
        object.metadata_mut()["annotations"][annotation::DECLARED_HASH] = "0123456789abcdef".into();
        let read = Live::after_read(&Observed::of(&object), &object, &sync, &declared, None);
        assert_eq!(read.fields, FieldOwnership::Unsure);
    }

    #[test]
    fn a_manager_on_an_object_without_any_entry_is_believed() {
        let declared = declared();
        let owner = |entries: bool| {
            let mut object = live("1", 0);
            let metadata = object.metadata_mut();
            metadata["annotations"][annotation::MANAGED] = "enabled".into();
            metadata["annotations"][annotation::MANAGER] = ":root_b".into();
            metadata["annotations"][annotation::RESOURCE_ID] = declared.id.resource_id().into();
            if !entries {
                metadata["managedFields"] = json!([]);
            }
            Live::observe(&Observed::of(&object), &declared.id, &SyncId::root("a"), Some(&declared), None).owner
        };
        assert_eq!((owner(true), owner(false)), (Owner::Nobody, Owner::Other(":root_b".into())));
    }

    #[test]
    fn an_entry_of_another_version_is_not_of_our_apply() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let first = live("1", 0);
        let applied = Live::after_apply(&Observed::of(&first), &first, &declared.body(), &declared.id, &sync);
        let of = |version: &str, before: Option<&Live>| {
            let mut object = first.clone();
            object.metadata_mut()["managedFields"][0]["apiVersion"] = version.into();
            Live::observe(&Observed::of(&object), &declared.id, &sync, Some(&declared), before).fields
        };
        assert_eq!(of("v2", Some(&applied)), FieldOwnership::Lost(Box::new([])), "applied in the same second");
        let observed = |version: &str| of(version, None);
        assert_eq!(observed("v1"), FieldOwnership::Ours);
        assert_eq!(observed("v2"), FieldOwnership::Lost(Box::new([])));
        assert_eq!(observed("apps/v1"), FieldOwnership::Lost(Box::new([])));
    }

    /// The fields of our entry, perhaps without those of the data.
    fn our_fields(with_data: bool) -> Value {
        let mut fields = live("1", 0).0["metadata"]["managedFields"][0]["fieldsV1"].clone();
        if !with_data {
            fields.as_object_mut().expect("a map").remove("f:data");
        }
        fields
    }

    /// The object after other clients wrote it: their entries, each a manager, an operation, a subresource, a second and the fields.
    fn written_by(object: &Object, ours: Value, others: &[(&str, &str, &str, u32, Value)]) -> Observed {
        let mut object = object.clone();
        let entry = |(manager, operation, subresource, second, fields): &(&str, &str, &str, u32, Value)| {
            let time = format!("2026-01-01T00:00:{second:02}Z");
            json!({"manager": manager, "operation": operation, "subresource": subresource, "time": time, "fieldsV1": fields})
        };
        let entries = others.iter().map(entry).chain([entry(&(FIELD_MANAGER, "Apply", "", 0, ours))]);
        object.metadata_mut()["managedFields"] = entries.collect();
        Observed::of(&object)
    }

    #[test]
    fn drift_names_the_manager_that_has_the_field_now_or_else_the_one_that_wrote_last() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let by = |ours: Value, others: &[(&str, &str, &str, u32, Value)]| {
            let seen = written_by(&live("2", 1), ours, others);
            Live::observe(&seen, &declared.id, &sync, Some(&declared), None).changed_by
        };
        let (data, nothing) = (|| json!({"f:data": {"f:a": {}}}), || json!({"f:metadata": {}}));
        let (ours, lost) = (|| our_fields(true), || our_fields(false));
        let status = || ("controller", "Update", "status", 9, nothing());
        let late = || ("late", "Update", "", 5, nothing());
        let taker = || ("taker", "Update", "", 2, data());
        assert_eq!(by(lost(), &[status(), taker(), late()]).as_deref(), Some("taker"));
        assert_eq!(by(lost(), &[("early", "Update", "", 2, nothing()), status(), late()]).as_deref(), Some("late"));
        let applier = ("applier", "Apply", "", 6, nothing());
        assert_eq!(by(lost(), &[late(), applier]).as_deref(), Some("applier"));
        let former = (FIELD_MANAGER, "Update", "", 6, nothing());
        assert_eq!(by(lost(), &[late(), former]).as_deref(), Some(FIELD_MANAGER), "that is no apply of ours");
        assert_eq!(by(lost(), &[status()]), None);
        assert_eq!(by(ours(), &[late()]), None, "nothing is lost");
    }

    #[test]
    fn while_another_form_is_to_be_applied_only_what_changes_hands_is_drift() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let mut object = live("0", 1);
        object.metadata_mut()["annotations"][annotation::DECLARED_HASH] = "0123456789abcdef".into();
        let seen = |ours: Value| written_by(&object, ours, &[]);
        let observe =
            |seen: &Observed, before: Option<&Live>| Live::observe(seen, &declared.id, &sync, Some(&declared), before);
        let without_field = || seen(our_fields(false));
        let first = observe(&without_field(), None);
        assert_eq!(first.fields, FieldOwnership::Unsure, "the entry is of the form before");
        assert_eq!(observe(&without_field(), Some(&first)).fields, FieldOwnership::Unsure);
        let before = observe(&seen(our_fields(true)), None);
        let lost = FieldOwnership::Lost(Box::new([".data".to_owned()]));
        assert_eq!(observe(&without_field(), Some(&before)).fields, lost);
    }

    #[test]
    fn only_a_sync_gives_an_object_to_another_sync() {
        let (sync, id) = (SyncId::root("a"), declared().id);
        // `named` says if a sync has written the object, and if the annotation with the manager is a field of that write.
        let owner = |manager: &str, part_of: &str, named: Option<bool>, before: Option<&str>| {
            let mut object = live("1", 0);
            let metadata = object.metadata_mut();
            metadata.insert("labels".to_owned(), json!({label::PART_OF: part_of}));
            metadata["annotations"] = json!({
                annotation::MANAGED: "enabled", annotation::MANAGER: manager, annotation::RESOURCE_ID: id.resource_id(),
            });
            let field = json!({"f:metadata": {"f:annotations": {format!("f:{}", annotation::MANAGER): {}}}});
            let (syncs, others) = if named == Some(true) { (field, json!({})) } else { (json!({}), field) };
            let by_a_sync = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": syncs});
            let by_another = json!({"manager": "other", "operation": "Update", "fieldsV1": others});
            metadata["managedFields"] = named.map(|_| by_a_sync).into_iter().chain([by_another]).collect();
            let seen = Observed::of(&object);
            let before = before.map(|other| {
                let mut live = Live::observe(&seen, &id, &sync, None, None);
                live.owner = Owner::Other(other.into());
                live
            });
            Live::observe(&seen, &id, &sync, None, before.as_ref()).owner
        };
        let (us, ours, theirs) = (sync.manager(), sync.part_of(), SyncId::root("b").part_of());
        let other = |manager: &str| Owner::Other(manager.into());
        assert_eq!(owner(&us, &ours, Some(true), None), Owner::Us);
        assert_eq!(owner(&us, &theirs, Some(true), None), Owner::Nobody, "the label is another sync's");
        assert_eq!(owner(&us, &ours, Some(true), Some(":root_b")), Owner::Us);
        assert_eq!(owner(&us, &ours, Some(false), Some(":root_b")), other(":root_b"), "another client gave it to us");
        assert_eq!(owner(&us, &ours, None, Some(":root_b")), Owner::Us, "it is no sync's any more");
        assert_eq!(owner(":root_c", &theirs, Some(true), Some(":root_b")), other(":root_c"));
        assert_eq!(
            owner(":root_c", &theirs, Some(false), Some(":root_b")),
            other(":root_b"),
            "another client gave it away"
        );
        assert_eq!(owner(":root_c", &theirs, Some(false), None), Owner::Nobody);
        assert_eq!(owner(":root_c", &theirs, None, Some(":root_b")), Owner::Nobody);
    }

    #[test]
    fn a_value_that_admission_changed_in_our_apply_is_no_drift_until_it_changes_again() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let changed = live("by admission", 0);
        let applied = Live::after_apply(&Observed::of(&changed), &changed, &declared.body(), &declared.id, &sync);
        let read = |value: &str| {
            let object = live(value, 1);
            Live::after_read(&Observed::of(&object), &object, &sync, &declared, Some(&applied)).fields
        };
        assert_eq!(read("by admission"), FieldOwnership::Ours);
        assert_eq!(read("by another client"), FieldOwnership::Lost(Box::new([".data.a".to_owned()])));
    }

    #[test]
    fn an_object_is_deleted_before_those_that_its_annotations_name() {
        let (sync, id) = (SyncId::root("a"), declared().id);
        let depends_on = |annotations: Value| {
            let mut object = live("1", 0);
            object.metadata_mut()["annotations"] = annotations;
            Live::observe(&Observed::of(&object), &id, &sync, None, None).depends_on
        };
        let names = |annotations| {
            let all = depends_on(annotations).map(<[ObjectId]>::into_vec).unwrap_or_default();
            all.iter().map(|id| format!("{}/{}", id.namespace(), id.name())).collect::<Vec<_>>()
        };
        assert_eq!(depends_on(json!({})), None);
        let named = json!({annotation::DEPENDS_ON: "/namespaces/b/ConfigMap/first,/namespaces/b/Secret/second"});
        assert_eq!(names(named), ["b/first", "b/second"]);
        let taken = "- {sourceRef: {kind: ConfigMap, name: source}, sourcePath: $.data.a, targetPath: $.data.b}";
        let all = names(json!({annotation::APPLY_TIME_MUTATION: taken}));
        assert_eq!(all, ["/source", "b/source"], "its kind may have no namespaces");
    }
    #[test]
    fn a_namespace_that_a_sync_has_and_no_file_declares_is_implicit() {
        let sync = SyncId::root("a");
        let is_implicit = |kind: &str, annotations: Value| {
            let object =
                json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "annotations": annotations}});
            let object: Object = serde_json::from_value(object).expect("a map");
            Live::observe(&Observed::of(&object), &object.id(), &sync, None, None).implicit
        };
        let by_a_sync = || json!({annotation::MANAGER: sync.manager()});
        let of_file = json!({annotation::MANAGER: sync.manager(), annotation::SOURCE_PATH: "a.yaml"});
        assert!(is_implicit("Namespace", by_a_sync()));
        assert!(!is_implicit("Namespace", of_file) && !is_implicit("Namespace", json!({})));
        assert!(!is_implicit("PersistentVolume", by_a_sync()));
    }
    #[test]
    fn records_with_the_entry_of_one_apply_are_told_from_others() {
        let (sync, declared) = (SyncId::root("a"), declared());
        let of = |ours: Value, value: &str, second: u32| {
            let seen = written_by(&live(value, second), ours, &[("other", "Update", "", second, json!({}))]);
            Live::observe(&seen, &declared.id, &sync, Some(&declared), None)
        };
        let first = of(our_fields(true), "1", 0);
        assert!(of(our_fields(true), "2", 1).has_entry_of(&first));
        assert!(!of(our_fields(false), "1", 0).has_entry_of(&first));
    }
}
