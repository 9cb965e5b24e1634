//! What is known of a live object, from its metadata alone: a few dozen bytes each.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::compile::declared::{DeclaredObject, Hash};
use crate::model::metadata::{FIELD_MANAGER, SPECIAL_NAMESPACES, SyncId, annotation, label};
use crate::model::object::{Object, ObjectId};
use crate::sync::health::{self, Health};
use crate::sync::managed_fields::{self, ManagedFieldsEntry};

/// The metadata of a live object, as a watch or an answer brings it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Which incarnation this is.
    pub uid: String,
    /// Version of the object in the store; see [`Observed::version`].
    pub resource_version: String,
    /// Set once deletion was asked for.
    pub deletion_timestamp: Option<String>,
    /// Labels.
    pub labels: Map<String, Value>,
    /// Annotations.
    pub annotations: Map<String, Value>,
    /// Owners, by which the garbage collector decides.
    pub owner_references: Vec<Value>,
    /// Who owns which field.
    pub managed_fields: Vec<ManagedFieldsEntry>,
}

impl Observed {
    /// The metadata of a whole object.
    pub fn of(object: &Object) -> Self {
        object.0.get("metadata").and_then(|metadata| Self::deserialize(metadata).ok()).unwrap_or_default()
    }

    /// `resourceVersion` as the ever-growing number that it is since Kubernetes 1.35 says so
    /// ([KEP-5504](https://kep.k8s.io/5504)) and etcd made it.
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).and_then(Value::as_str)
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).and_then(Value::as_str)
    }

    /// Everybody else's entries, newest first.
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

/// Whose object it is, by its labels and annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This sync's: label, manager and resource-id agree.
    Us,
    /// Another sync's, by its manager annotation.
    Other(Box<str>),
    /// No sync's.
    Nobody,
}

/// What happens to the object when it is not declared any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemoval {
    /// It is deleted.
    Delete,
    /// It stays, without our metadata.
    Abandon,
    /// It is its owner's to delete.
    Leave,
}

/// Whether the declared fields of an object are known to be as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All of them are ours and unchanged.
    Ours,
    /// These are not ours any more.
    Lost(Box<[String]>),
    /// Only the whole object can tell.
    Unsure,
}

/// What is kept of a live object.
#[derive(Clone, Debug)]
pub struct Live {
    /// Which incarnation.
    pub uid: Box<str>,
    /// `resourceVersion`.
    pub version: u64,
    /// Whether it has the ApplySet label: without it no watch shows what becomes of it.
    pub watched: bool,
    /// Whose it is.
    pub owner: Owner,
    /// Whether our `Apply` entry is on it.
    pub applied: bool,
    /// Deletion was asked for and waits for finalizers.
    pub terminating: bool,
    /// When no longer declared.
    pub on_removal: OnRemoval,
    /// The declared-hash annotation.
    pub hash: Option<Hash>,
    /// First seven characters of the token annotation, for the inventory.
    pub token: Box<str>,
    /// Whether the declared fields are as declared.
    pub standing: Standing,
    /// Readiness as last read.
    pub health: Health,
    /// The last manager but us to write the object: who drifted it.
    pub changed_by: Option<Box<str>>,
    entry: u64,
    others: u64,
    baseline: Option<u64>,
}

impl Live {
    /// Judges an observation. `declared` is what the object should be, `before` what was known of it.
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
        let standing = match (entry, before, declared) {
            (None, _, _) => Standing::Lost(Box::new([])),
            (Some(_), Some(b), _) if b.entry == digest && b.standing == Standing::Ours => {
                if b.others == others {
                    Standing::Ours
                } else {
                    Standing::Unsure
                }
            }
            // The declared form is about to change anyway: its new fields are not in the entry yet.
            (Some(entry), before, Some(declared)) if hash != Some(declared.hash) => match before {
                Some(b) if b.entry != digest => Standing::Lost(missing(declared, entry)),
                _ => Standing::Unsure,
            },
            (Some(entry), _, Some(declared)) => standing(declared, entry),
            (Some(_), _, None) => Standing::Unsure,
        };
        Self {
            uid: seen.uid.as_str().into(),
            version: seen.version(),
            watched: seen.label(label::PART_OF).is_some(),
            owner: owner(seen, id, sync),
            applied: entry.is_some(),
            terminating: seen.deletion_timestamp.is_some(),
            on_removal: on_removal(seen, id),
            hash,
            token: seen.annotation(annotation::TOKEN).unwrap_or_default().chars().take(7).collect::<String>().into(),
            health: before.map_or(Health::Unknown, |b| b.health.clone()),
            changed_by: match &standing {
                Standing::Lost(lost) => changed_by(seen, declared, lost),
                _ => None,
            },
            standing,
            entry: digest,
            others,
            baseline: before.and_then(|b| b.baseline),
        }
    }

    /// Takes over the answer to our own apply: so the object looks while it is as declared, whatever the server and
    /// admission made of it.
    pub fn after_apply(seen: &Observed, whole: &Object, id: &ObjectId, sync: &SyncId) -> Self {
        let mut live = Self::observe(seen, id, sync, None, None);
        live.standing = Standing::Ours;
        live.baseline = baseline(seen, whole);
        live.health = health::of(whole);
        live
    }

    /// Settles [`Standing::Unsure`] with the whole object: compared with the answer to our last apply, or when that is
    /// not known with what is declared.
    pub fn after_read(
        seen: &Observed,
        whole: &Object,
        sync: &SyncId,
        declared: &DeclaredObject,
        before: Option<&Self>,
    ) -> Self {
        let mut live = Self::observe(seen, &declared.id, sync, Some(declared), before);
        live.health = health::of(whole);
        if live.applied && !matches!(live.standing, Standing::Lost(_)) {
            let now = baseline(seen, whole);
            let changed = match live.baseline {
                Some(then) if now == Some(then) => Vec::new(),
                _ => managed_fields::differences(&declared.body(), whole),
            };
            if changed.is_empty() {
                live.standing = Standing::Ours;
                live.baseline = now;
            } else {
                live.standing = Standing::Lost(changed.into());
            }
        }
        live
    }
}

fn standing(declared: &DeclaredObject, entry: &ManagedFieldsEntry) -> Standing {
    let coverage = managed_fields::coverage(declared, &entry.fields);
    if !coverage.missing.is_empty() {
        Standing::Lost(coverage.missing.into())
    } else if !coverage.unsure.is_empty() {
        Standing::Unsure
    } else {
        Standing::Ours
    }
}

fn missing(declared: &DeclaredObject, entry: &ManagedFieldsEntry) -> Box<[String]> {
    managed_fields::coverage(declared, &entry.fields).missing.into()
}

fn baseline(seen: &Observed, whole: &Object) -> Option<u64> {
    let entry = managed_fields::our_entry(&seen.managed_fields)?;
    Some(managed_fields::digest_of_value(&managed_fields::projection(whole, &entry.fields)))
}

/// Who drifted it: whoever owns now what we lost, else whoever wrote last, for what was removed is nobody's. Times alone
/// would not do: they are whole seconds.
fn changed_by(seen: &Observed, declared: Option<&DeclaredObject>, lost: &[String]) -> Option<Box<str>> {
    let others = seen.others();
    let taker = declared.and_then(|declared| {
        others.iter().find(|entry| {
            let not_theirs = missing(declared, entry);
            lost.iter().any(|path| !not_theirs.iter().any(|other| path.starts_with(other.trim_end_matches("[]"))))
        })
    });
    taker.or(others.first()).map(|entry| entry.manager.as_str().into())
}

/// Labels and annotations travel to objects that controllers make, so all of them have to agree.
fn owner(seen: &Observed, id: &ObjectId, sync: &SyncId) -> Owner {
    let managed = seen.annotation(annotation::MANAGED) == Some("enabled")
        && seen.annotation(annotation::RESOURCE_ID) == Some(&id.resource_id());
    match seen.annotation(annotation::MANAGER) {
        Some(manager) if managed && manager != sync.manager() => Owner::Other(manager.into()),
        Some(_) if managed && seen.label(label::PART_OF) == Some(&sync.part_of()) => Owner::Us,
        _ => Owner::Nobody,
    }
}

fn on_removal(seen: &Observed, id: &ObjectId) -> OnRemoval {
    let detached = seen.annotation(annotation::DELETION) == Some("detach")
        || seen.annotation(annotation::ON_REMOVE) == Some("keep")
        || (id.is_namespace() && SPECIAL_NAMESPACES.contains(&id.name()));
    match () {
        () if !seen.owner_references.is_empty() => OnRemoval::Leave,
        () if detached => OnRemoval::Abandon,
        () => OnRemoval::Delete,
    }
}
