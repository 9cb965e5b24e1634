//! Indices over the objects. They hold nothing of their own: each entry follows from one object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::model::object::ObjectId;
use crate::sync::engine::queue::QueuePlace;

use super::tracked::{Heat, Phase, Tracked};

/// The purpose of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sync::engine) enum Timer {
    /// The object was left alone long enough.
    Retry,
    /// The object's readiness is to be read.
    Readiness,
    /// The wait for another object is told as an error.
    Overdue,
    /// The object is applied and has not become ready in time.
    Late,
    /// The object has not been repaired for so long that a fight is over, or its repairs are forgotten.
    Cooled,
}

/// A property by which objects are found without looking at all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sync::engine) enum Mark {
    /// A command about it is unanswered.
    InFlight,
    /// It is declared and being deleted by another client.
    Terminating,
    /// Another sync manages it, or it cannot be deleted.
    Conflict,
    /// It was repaired of late.
    Hot,
    /// Its last command failed, and users hear of it.
    Failed,
    /// It is left alone for a while, and no finding tells users of it.
    Untold,
    /// It is recorded, and no list has shown whether it exists.
    Unlisted,
    /// Its readiness is to be read.
    Unread,
    /// It names objects that it depends on.
    Dependent,
}

const MARKS: [Mark; 9] = [
    Mark::InFlight,
    Mark::Terminating,
    Mark::Conflict,
    Mark::Hot,
    Mark::Failed,
    Mark::Untold,
    Mark::Unlisted,
    Mark::Unread,
    Mark::Dependent,
];

/// The keys under which one object stands in the indices.
#[derive(Default, PartialEq)]
pub(super) struct Keys {
    queued: Option<QueuePlace>,
    in_flight: Option<QueuePlace>,
    waits_for: Option<ObjectId>,
    timers: [Option<Instant>; 5],
    marks: [bool; MARKS.len()],
}

impl Keys {
    /// The keys of an object as it is.
    pub(super) fn of(tracked: &Tracked) -> Self {
        let notes = tracked.notes.as_deref();
        let failure = notes.and_then(|notes| notes.failure.as_ref());
        let heat = notes.and_then(|notes| notes.heat);
        let read_at = notes.and_then(|notes| notes.read_at);
        let overdue = notes.is_some_and(|notes| notes.overdue);
        let (mut queued, mut in_flight, mut waits_for, mut retry, mut overdue_timer) = (None, None, None, None, None);
        match &tracked.phase {
            Phase::Settled => {}
            Phase::Queued(place) => queued = Some(*place),
            Phase::InFlight(command) => in_flight = Some(command.place),
            Phase::Waiting(dependency) => {
                waits_for = Some(dependency.clone());
                overdue_timer = notes.and_then(|notes| notes.overdue_at).filter(|_| !overdue);
            }
            Phase::BackingOff(until) => retry = Some(*until),
            Phase::Terminating(check_at) => retry = Some(*check_at),
        }
        let marked = |mark: Mark| match mark {
            Mark::InFlight => in_flight.is_some(),
            Mark::Terminating => matches!(tracked.phase, Phase::Terminating(_)),
            Mark::Conflict => notes.is_some_and(|notes| notes.conflict.is_some()),
            Mark::Hot => heat.is_some(),
            Mark::Failed => failure.is_some_and(|failure| failure.is_told()),
            Mark::Untold => match failure {
                Some(failure) => !failure.is_told(),
                None => {
                    let told = notes.is_some_and(|notes| notes.conflict.is_some()) || heat.is_some_and(Heat::is_fight);
                    matches!(tracked.phase, Phase::BackingOff(_)) && !told
                }
            },
            Mark::Unlisted => tracked.unlisted,
            Mark::Unread => read_at.is_some(),
            Mark::Dependent => tracked.live.as_ref().is_some_and(|live| live.depends_on.is_some()),
        };
        let marks = MARKS.map(marked);
        let late = notes.filter(|notes| !notes.late).and_then(|notes| notes.late_at);
        let timers = [retry, read_at, overdue_timer, late, heat.map(Heat::cools_at)];
        Self { queued, in_flight, waits_for, timers, marks }
    }

    fn timers(&self) -> impl Iterator<Item = (Option<Instant>, Timer)> {
        self.timers.into_iter().zip([Timer::Retry, Timer::Readiness, Timer::Overdue, Timer::Late, Timer::Cooled])
    }
}

/// Where objects are found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Indices {
    /// Queued objects in the order of work.
    pub(super) queue: BTreeSet<(QueuePlace, ObjectId)>,
    /// Number of unanswered commands by their place.
    pub(super) in_flight: BTreeMap<QueuePlace, usize>,
    /// Objects that wait, by the object that they wait for.
    pub(super) waiters: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    /// Timers in the order of their times.
    pub(super) timers: BTreeSet<(Instant, ObjectId, Timer)>,
    marks: [BTreeSet<ObjectId>; MARKS.len()],
}

impl Indices {
    /// Moves an object from the keys that it had to those that it has.
    pub(super) fn replace(&mut self, id: &ObjectId, before: &Keys, after: &Keys) {
        if before == after {
            return;
        }
        if before.queued != after.queued {
            before.queued.iter().for_each(|place| _ = self.queue.remove(&(*place, id.clone())));
            self.queue.extend(after.queued.map(|place| (place, id.clone())));
        }
        if before.in_flight != after.in_flight {
            before.in_flight.iter().for_each(|place| self.answered(place));
            after.in_flight.iter().for_each(|place| *self.in_flight.entry(*place).or_default() += 1);
        }
        if before.waits_for != after.waits_for {
            before.waits_for.iter().for_each(|dependency| self.stop_waiting(dependency, id));
            let waited = after.waits_for.iter();
            waited.for_each(|dependency| _ = self.waiters.entry(dependency.clone()).or_default().insert(id.clone()));
        }
        for ((was, timer), (is, _)) in before.timers().zip(after.timers()).filter(|(was, is)| was.0 != is.0) {
            was.iter().for_each(|at| _ = self.timers.remove(&(*at, id.clone(), timer)));
            self.timers.extend(is.map(|at| (at, id.clone(), timer)));
        }
        for ((index, was), is) in self.marks.iter_mut().zip(before.marks).zip(after.marks).filter(|((_, a), b)| a != b)
        {
            match (was, is) {
                (true, _) => index.remove(id),
                (false, _) => index.insert(id.clone()),
            };
        }
    }

    fn answered(&mut self, place: &QueuePlace) {
        if let Some(number) = self.in_flight.get_mut(place) {
            *number -= 1;
            if *number == 0 {
                self.in_flight.remove(place);
            }
        }
    }

    fn stop_waiting(&mut self, dependency: &ObjectId, id: &ObjectId) {
        if let Some(waiting) = self.waiters.get_mut(dependency) {
            waiting.remove(id);
            if waiting.is_empty() {
                self.waiters.remove(dependency);
            }
        }
    }

    pub(super) fn marked(&self, mark: Mark) -> impl Iterator<Item = &ObjectId> {
        self.marks[mark as usize].iter()
    }
}
