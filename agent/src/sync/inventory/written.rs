//! ResourceGroups as the API server last returned them.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use crate::api::{ResourceGroupStatus, ResourceId};
use crate::sync::plan::memory::GuardNotes;

/// A ResourceGroup as the API server last returned it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenGroup {
    /// The objects in its spec.
    pub resources: Vec<ResourceId>,
    /// Its status.
    pub status: ResourceGroupStatus,
    /// Its generation, which the status names.
    pub generation: i64,
    /// Its resource version.
    pub version: u64,
    /// Its annotation that says if it holds the status of each object.
    pub status_mode: String,
    /// Its annotations that the guard needs.
    pub notes: GuardNotes,
}

/// The part of a [`WrittenGroup`] that is kept: healthy objects are in digests alone, so that they take no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptGroup {
    /// Digest of the objects in its spec; `None` if a write of it may still be carried out.
    pub(super) resources: Option<u64>,
    /// Digest of its status; `None` if a write of it may still be carried out.
    pub(super) status: Option<u64>,
    /// Number of objects in its status.
    pub(super) statuses: usize,
    /// Its status with the objects alone that have conditions.
    pub(super) conditions: ResourceGroupStatus,
    pub(super) generation: i64,
    /// The newest version that was seen.
    pub(super) version: u64,
    /// A write may have been carried out without an answer, or another client has written: it is read before it is written.
    pub(super) unread: bool,
    pub(super) status_mode: String,
    pub(super) notes: GuardNotes,
}

/// A group as it was read again, beside what was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It has all that was written.
    AsWritten,
    /// It lacks something that was written.
    Lacking,
    /// It is an older version: the cluster was restored from a backup.
    Older,
}

impl From<WrittenGroup> for KeptGroup {
    fn from(group: WrittenGroup) -> Self {
        let WrittenGroup { resources, status: mut conditions, generation, version, status_mode, notes } = group;
        let (status, statuses) = (Some(digest(&conditions)), conditions.resource_statuses.len());
        conditions.resource_statuses.retain(|status| !status.conditions.is_empty());
        conditions.resource_statuses.shrink_to_fit();
        let resources = digest_of_ids(resources.iter().map(|id| [&*id.group, &*id.kind, &*id.namespace, &*id.name]));
        let (resources, unread) = (Some(resources), false);
        Self { resources, status, statuses, conditions, generation, version, unread, status_mode, notes }
    }
}

/// Digest of a value, good for comparisons within one process only.
pub(super) fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Digest of a list of identities.
pub(super) fn digest_of_ids<'a>(ids: impl Iterator<Item = [&'a str; 4]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    ids.for_each(|parts| parts.hash(&mut hasher));
    hasher.finish()
}
