//! The objects that a sync knows. Each is in one phase; the queue, the timers and the other indices follow from the phases
//! and are written here only.

mod index;
mod tracked;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::object::{GroupKind, ObjectId};
use crate::sync::live::Live;

use super::queue::{QueuePlace, WorkClass};
use index::{Indices, Keys};

pub(super) use index::{Mark, Timer};
pub(super) use tracked::{Deferred, FailureRecord, Heat, InFlight, Notes, PendingRepair, Phase, Sent, Tracked};

/// All objects that are declared with work to do, live and watched, or recorded.
#[derive(Default)]
pub(super) struct Objects {
    /// Boxed: a node of the map has room for eleven, and half of them are free when objects come in order.
    tracked: BTreeMap<ObjectId, Box<Tracked>>,
    indices: Indices,
}

impl Objects {
    // ---- one object ----

    /// The object, when anything is known of it.
    pub(super) fn get(&self, id: &ObjectId) -> Option<&Tracked> {
        self.tracked.get(id).map(AsRef::as_ref)
    }

    /// The live object, when one is known.
    pub(super) fn live(&self, id: &ObjectId) -> Option<&Live> {
        self.tracked.get(id).and_then(|tracked| tracked.live.as_ref())
    }

    /// The rare facts about the object.
    pub(super) fn notes(&self, id: &ObjectId) -> Option<&Notes> {
        self.tracked.get(id).and_then(|tracked| tracked.notes.as_deref())
    }

    /// `true` for an object in the inventory's record.
    pub(super) fn is_recorded(&self, id: &ObjectId) -> bool {
        self.get(id).is_some_and(|tracked| tracked.recorded)
    }

    /// `true` while a command about the object is unanswered.
    pub(super) fn is_in_flight(&self, id: &ObjectId) -> bool {
        self.get(id).is_some_and(|tracked| matches!(tracked.phase, Phase::InFlight(_)))
    }

    pub(super) fn is_in_flight_for_repair(&self, id: &ObjectId) -> bool {
        let repairs = |phase: &Phase| matches!(phase, Phase::InFlight(sent) if sent.place.class == WorkClass::Repair);
        self.get(id).is_some_and(|tracked| repairs(&tracked.phase))
    }

    /// See [`Tracked::is_being_made`].
    pub(super) fn is_being_made(&self, id: &ObjectId) -> bool {
        self.get(id).is_some_and(Tracked::is_being_made)
    }

    /// The only way to change an object: the indices follow from what `edit` leaves behind, and an object of which nothing
    /// is known any more is dropped.
    pub(super) fn change<T>(&mut self, id: &ObjectId, edit: impl FnOnce(&mut Tracked) -> T) -> T {
        let tracked = self.tracked.entry(id.clone()).or_default();
        let before = Keys::of(tracked);
        let result = edit(tracked);
        tracked.tidy();
        let after = Keys::of(tracked);
        if tracked.is_blank() {
            self.tracked.remove(id);
        }
        self.indices.replace(id, &before, &after);
        result
    }

    /// Changes the live form of the object; `None` when it does not exist.
    pub(super) fn set_live(&mut self, id: &ObjectId, live: Option<Live>) {
        self.change(id, |tracked| match live {
            Some(live) => _ = tracked.show(live),
            None => tracked.live = None,
        });
    }

    /// Moves the object to another phase.
    pub(super) fn set_phase(&mut self, id: &ObjectId, phase: Phase) {
        self.change(id, |tracked| tracked.phase = phase);
    }

    /// Queues the object, or moves it forward when it is queued already. An object in flight is left alone: the answer to
    /// its command decides about it.
    pub(super) fn queue(&mut self, id: &ObjectId, place: QueuePlace) {
        self.change(id, |tracked| match tracked.phase {
            Phase::InFlight(_) => {}
            Phase::Queued(there) if there <= place => {}
            _ => tracked.phase = Phase::Queued(place),
        });
    }

    /// Forgets what went wrong with the object. `true` when there was a failure or a conflict.
    pub(super) fn forgive(&mut self, id: &ObjectId) -> bool {
        let troubled = |notes: &Notes| notes.failure.is_some() || notes.conflict.is_some();
        if !self.notes(id).is_some_and(troubled) {
            return false;
        }
        self.change(id, |tracked| {
            let notes = tracked.notes_mut();
            (notes.failure, notes.conflict, notes.unkept) = (None, None, 0);
        });
        true
    }

    // ---- many objects ----

    /// Every tracked object, in order.
    pub(super) fn all(&self) -> &BTreeMap<ObjectId, Box<Tracked>> {
        &self.tracked
    }

    /// Every live object, in order.
    pub(super) fn lives(&self) -> impl Iterator<Item = (&ObjectId, &Live)> {
        self.tracked.iter().filter_map(|(id, tracked)| Some((id, tracked.live.as_ref()?)))
    }

    /// The live objects that are this sync's, in order: they are in its record and carry its labels and annotations.
    pub(super) fn inventory(&self) -> impl Iterator<Item = (&ObjectId, &Live)> {
        self.tracked.iter().filter_map(|(id, tracked)| Some((id, tracked.own()?)))
    }

    /// The tracked objects of a kind, in order.
    pub(super) fn of_kind<'a, 'b>(
        &'a self,
        kind: &'b GroupKind,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Tracked)> + use<'a, 'b> {
        let from = self.tracked.range(ObjectId::new(kind, "", "")..).take_while(|(id, _)| id.is_of(kind));
        from.map(|(id, tracked)| (id, &**tracked))
    }

    /// The objects with this mark, in order.
    pub(super) fn marked(&self, mark: Mark) -> impl Iterator<Item = &ObjectId> {
        self.indices.marked(mark)
    }

    /// Number of queued objects.
    pub(super) fn queued(&self) -> usize {
        self.indices.queue.len()
    }

    /// Number of unanswered commands about objects.
    pub(super) fn in_flight(&self) -> usize {
        self.indices.in_flight.values().sum()
    }

    /// `true` when a command of this class is unanswered.
    pub(super) fn is_in_flight_for(&self, class: WorkClass) -> bool {
        self.indices.in_flight.keys().any(|place| place.class == class)
    }

    /// The objects whose deletion is unanswered.
    pub(super) fn deletions_in_flight(&self) -> impl Iterator<Item = &ObjectId> {
        let is_deletion = |id: &&ObjectId| matches!(self.get(id).map(|tracked| &tracked.phase), Some(Phase::InFlight(it)) if it.sent == Sent::Delete);
        self.marked(Mark::InFlight).filter(is_deletion)
    }

    /// `true` when a command of the commit's own work is unanswered whose place is before `place`.
    pub(super) fn is_commit_in_flight_before(&self, place: QueuePlace) -> bool {
        self.indices.in_flight.keys().any(|running| running.class != WorkClass::Repair && *running < place)
    }

    /// The first object of the queue.
    pub(super) fn first_queued(&self) -> Option<(QueuePlace, &ObjectId)> {
        self.indices.queue.first().map(|(place, id)| (*place, id))
    }

    /// The queued objects of class [`WorkClass::Repair`].
    pub(super) fn queued_repairs(&self) -> impl Iterator<Item = &ObjectId> {
        self.indices.queue.iter().take_while(|(place, _)| place.class == WorkClass::Repair).map(|(_, id)| id)
    }

    /// `true` when work of a commit is queued.
    pub(super) fn has_commit_work(&self) -> bool {
        self.indices.queue.last().is_some_and(|(place, _)| place.class != WorkClass::Repair)
    }

    /// The objects that other objects wait for, each with those that wait for it.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (&ObjectId, impl Iterator<Item = &ObjectId>)> {
        self.indices.waiters.iter().map(|(dependency, waiting)| (dependency, waiting.iter()))
    }

    /// The objects that wait for `dependency`.
    pub(super) fn waiting_for(&self, dependency: &ObjectId) -> Vec<ObjectId> {
        self.indices.waiters.get(dependency).into_iter().flatten().cloned().collect()
    }

    /// `true` when another object waits for this one.
    pub(super) fn is_awaited(&self, id: &ObjectId) -> bool {
        self.indices.waiters.contains_key(id)
    }

    /// The time of the earliest timer.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.indices.timers.first().map(|(at, ..)| *at)
    }

    /// The earliest timer, when its time has come. The caller changes the object so that the timer is gone or later.
    pub(super) fn due(&self, now: Instant) -> Option<(ObjectId, Timer)> {
        let (at, id, timer) = self.indices.timers.first()?;
        (*at <= now).then(|| (id.clone(), *timer))
    }

    /// Begins a new commit: phases, failures and waits of the commit before are forgotten, but for commands in flight and
    /// the heat of objects that another client keeps changing.
    pub(super) fn begin_commit(&mut self) {
        for tracked in self.tracked.values_mut() {
            tracked.begin_commit();
        }
        self.tracked.retain(|_, tracked| !tracked.is_blank());
        self.indices = Indices::default();
        let blank = Keys::default();
        for (id, tracked) in &self.tracked {
            self.indices.replace(id, &blank, &Keys::of(tracked));
        }
    }

    /// Forgets the live objects for which `keep` says `false`. It is told too if the object is recorded.
    pub(super) fn retain_lives(&mut self, mut keep: impl FnMut(&ObjectId, &Live, bool) -> bool) {
        let mut kept = |id: &ObjectId, tracked: &Tracked| {
            tracked.live.as_ref().is_none_or(|live| keep(id, live, tracked.recorded))
        };
        let gone = self.tracked.iter().filter(|(id, tracked)| !kept(id, tracked)).map(|(id, _)| id.clone());
        let gone: Vec<ObjectId> = gone.collect();
        for id in gone {
            self.set_live(&id, None);
        }
    }
}

#[cfg(test)]
mod tests;
