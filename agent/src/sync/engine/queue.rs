//! The order of work: repairs, then the commit's own writes by level and rank, then deletions in reverse, then what failed before.

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
    /// Work of a commit that failed before. It comes after all that was never tried, which would wait for ever behind many objects that
    /// fail, each after a long time.
    pub(super) again: bool,
    pub(super) class: WorkClass,
    level: u32,
    rank: u32,
}

impl QueuePlace {
    /// The place of work of `class` on the object, for the first time.
    pub(super) fn of(class: WorkClass, id: &ObjectId, order: &Order) -> Self {
        let (level, rank) = match class {
            WorkClass::Repair => (0, 0),
            WorkClass::Sync => (order.level(id), rank(id)),
            // Objects in a Namespace, and custom resources, are deleted before their Namespace and their CRD.
            WorkClass::Prune => (u32::from(id.is_crd()) + 2 * u32::from(id.is_namespace()), u32::MAX - rank(id)),
        };
        Self { again: false, class, level, rank }
    }

    /// The place of work that failed before. Repairs are never put off.
    pub(super) fn again(self) -> Self {
        Self { again: self.class != WorkClass::Repair, ..self }
    }
}
