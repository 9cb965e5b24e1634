//! The order of work: repairs, then the commit's own writes by level and rank, then deletions in reverse.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::object::ObjectId;
use crate::sync::plan::order::{Order, rank};

/// What a piece of work is for; earlier classes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Puts drift back, or reads what is doubtful.
    Repair,
    /// Brings a commit in.
    Sync,
    /// Deletes or releases what is not declared any more.
    Prune,
}

/// Place in the queue: class, then level and rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) class: Class,
    step: (u32, u32),
}

impl Place {
    /// Where work of `class` on `id` belongs.
    pub(super) fn of(class: Class, id: &ObjectId, order: &Order) -> Self {
        let step = match class {
            Class::Repair => (0, 0),
            Class::Sync => (order.level(id), rank(id)),
            // What lives in Namespaces and what CRDs define goes before them.
            Class::Prune => (u32::from(id.is_crd()) + 2 * u32::from(id.is_namespace()), u32::MAX - rank(id)),
        };
        Self { class, step }
    }
}

/// Work to be done, each object at most once.
#[derive(Default)]
pub(super) struct Queue {
    work: BTreeSet<(Place, ObjectId)>,
    places: BTreeMap<ObjectId, Place>,
}

impl Queue {
    /// Adds work, or moves it forward if it is there already.
    pub(super) fn push(&mut self, place: Place, id: ObjectId) {
        match self.places.get(&id) {
            Some(there) if *there <= place => return,
            Some(there) => {
                self.work.remove(&(*there, id.clone()));
            }
            None => {}
        }
        self.places.insert(id.clone(), place);
        self.work.insert((place, id));
    }

    /// The first piece of work.
    pub(super) fn first(&self) -> Option<(Place, &ObjectId)> {
        self.work.first().map(|(place, id)| (*place, id))
    }

    /// Takes the first piece of work.
    pub(super) fn pop(&mut self) -> Option<(Place, ObjectId)> {
        let (place, id) = self.work.pop_first()?;
        self.places.remove(&id);
        Some((place, id))
    }

    /// Drops work that became needless.
    pub(super) fn remove(&mut self, id: &ObjectId) {
        if let Some(place) = self.places.remove(id) {
            self.work.remove(&(place, id.clone()));
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.work.clear();
        self.places.clear();
    }

    /// What is to be put back or read.
    pub(super) fn repairs(&self) -> impl Iterator<Item = &ObjectId> {
        self.work.iter().take_while(|(place, _)| place.class == Class::Repair).map(|(_, id)| id)
    }

    /// Whether there is work of a commit.
    pub(super) fn has_more_than_repairs(&self) -> bool {
        self.work.last().is_some_and(|(place, _)| place.class > Class::Repair)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty()
    }
}
