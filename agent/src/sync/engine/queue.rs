//! The order of work: repairs, then the commit's own writes by level and rank, then deletions in reverse.

use crate::model::object::ObjectId;
use crate::sync::plan::order::{Order, rank};

/// The purpose of a piece of work. Earlier classes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WorkClass {
    /// Puts drift back, or reads an object about which its metadata does not say enough.
    Repair,
    /// Applies a commit.
    Sync,
    /// Deletes or abandons objects that are not declared any more.
    Prune,
}

/// A place in the queue: class, then level and rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueuePlace {
    pub(super) class: WorkClass,
    level: u32,
    rank: u32,
}

impl QueuePlace {
    /// The place of work of `class` on the object.
    pub(super) fn of(class: WorkClass, id: &ObjectId, order: &Order) -> Self {
        let (level, rank) = match class {
            WorkClass::Repair => (0, 0),
            WorkClass::Sync => (order.level(id), rank(id)),
            // Objects in a Namespace, and custom resources, are deleted before their Namespace and their CRD.
            WorkClass::Prune => (u32::from(id.is_crd()) + 2 * u32::from(id.is_namespace()), u32::MAX - rank(id)),
        };
        Self { class, level, rank }
    }
}
