//! Work on objects: decide, wait for dependencies, send, take in the outcome, try again.

mod outcome;
mod unwatched;
mod waits;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::queue::{Class, Place};
use super::{ApplyMode, Command, Event, State};
use crate::model::finding::{Code, Finding};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::Live;
use crate::sync::managed_fields::is_list_item;
use crate::sync::plan::{Action, Cause, Declared, decide};

/// Longest wait between two tries of one object.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a change of an object's status may go on before its readiness is read.
const READINESS: Duration = Duration::from_secs(1);
/// Repairs of one object a minute from which on somebody is fighting us.
const FIGHT: f64 = 5.0;

/// Everything between a decision and its outcome.
#[derive(Default)]
pub(super) struct Work {
    in_flight: BTreeMap<ObjectId, InFlight>,
    running: BTreeMap<Place, usize>,
    /// Objects that wait for a dependency, by that dependency.
    blocked: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    pub(super) failures: BTreeMap<ObjectId, Trouble>,
    pub(super) conflicts: BTreeMap<ObjectId, Finding>,
    fights: BTreeMap<ObjectId, (f64, Instant)>,
    retries: BTreeSet<(Instant, ObjectId)>,
    /// Objects that are left alone until their time in `retries`.
    put_off: BTreeMap<ObjectId, Instant>,
    /// The last object for which the API server was away: one alone may be at fault itself.
    away: Option<ObjectId>,
    /// Objects whose readiness may have changed and is to be read.
    unread: BTreeSet<ObjectId>,
    /// Kinds whose whole objects are to be read.
    audits: BTreeSet<GroupKind>,
    auditing: BTreeSet<GroupKind>,
    /// Namespaces that are not declared any more but hold something that stays: released instead of deleted.
    keep: BTreeSet<ObjectId>,
    /// Declared objects that are being deleted by somebody.
    waiting: BTreeSet<ObjectId>,
    /// How often something was read that no watch shows and that is not to be applied over.
    looks: BTreeMap<ObjectId, u32>,
    paused: Option<Instant>,
    pauses: u32,
    pub(super) applied: usize,
    pub(super) pruned: usize,
}

struct InFlight {
    place: Place,
    cause: Option<Repair>,
    /// What a watch said meanwhile.
    deferred: Option<Event>,
}

/// What is told when a repair is done.
struct Repair {
    fields: Vec<String>,
    by: Option<String>,
    version: u64,
}

/// An object that did not work.
pub(super) struct Trouble {
    pub(super) finding: Finding,
    pub(super) tries: u32,
    quiet: bool,
}

impl Trouble {
    /// Whether users should hear of it.
    pub(super) fn is_told(&self) -> bool {
        !self.quiet || self.tries > 3
    }
}

impl Work {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn ids_in_flight(&self) -> impl Iterator<Item = &ObjectId> {
        self.in_flight.keys()
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.retries.first().map(|(at, _)| *at)
    }

    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused
    }

    /// Objects that wait for something that failed, with what they wait for.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (&ObjectId, &ObjectId)> {
        self.blocked.iter().flat_map(|(dependency, waiting)| waiting.iter().map(move |id| (id, dependency)))
    }

    /// Objects that somebody keeps changing, with how often a minute.
    pub(super) fn fights(&self) -> impl Iterator<Item = (&ObjectId, f64)> {
        self.fights.iter().filter(|(_, (heat, _))| *heat >= FIGHT).map(|(id, (heat, _))| (id, *heat))
    }

    /// Forgets what the commit before left undone.
    pub(super) fn new_commit(&mut self) {
        self.blocked.clear();
        self.failures.clear();
        self.conflicts.clear();
        self.retries.clear();
        self.looks.clear();
        self.waiting.clear();
        self.unread.clear();
        self.put_off.clear();
        self.keep.clear();
        (self.applied, self.pruned) = (0, 0);
    }

    /// Leaves an object alone until then.
    fn put_off(&mut self, id: ObjectId, until: Instant) {
        self.retries.insert((until, id.clone()));
        self.put_off.insert(id, until);
    }

    fn is_repairing(&self) -> bool {
        self.running.keys().next().is_some_and(|place| place.class == Class::Repair)
    }

    pub(super) fn is_more_than_repairing(&self) -> bool {
        self.running.keys().next_back().is_some_and(|place| place.class > Class::Repair)
    }

    pub(super) fn is_auditing(&self) -> bool {
        !self.audits.is_empty() || !self.auditing.is_empty()
    }

    pub(super) fn audit_ended(&mut self, kind: &GroupKind) {
        self.auditing.remove(kind);
    }

    fn forget(&mut self, id: &ObjectId) -> bool {
        self.waiting.remove(id);
        self.failures.remove(id).is_some() | self.conflicts.remove(id).is_some()
    }
}

/// Doubles from `base` with each try.
fn backoff(base: Duration, tries: u32) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(tries.min(16))).min(PATIENCE)
}

impl State {
    fn declared(&self, id: &ObjectId) -> Declared<'_> {
        self.declared.as_ref().map_or(Declared::Absent, |set| Declared::of(set, id))
    }

    // ---- decisions ----

    /// Decides about an object and queues what follows.
    pub(super) fn evaluate(&mut self, id: &ObjectId, now: Instant) {
        if self.declared.is_none() {
            return;
        }
        let action = decide(self.declared(id), self.live.get(id), &self.settings.sync);
        let class = match action {
            Action::Nothing => {
                self.drop_work(id);
                if self.is_unread(id) {
                    self.work.audits.insert(id.group_kind());
                }
                return;
            }
            Action::Wait => {
                self.drop_work(id);
                if matches!(self.declared(id), Declared::Object(_)) {
                    self.work.waiting.insert(id.clone());
                    self.look_again(id, now);
                }
                return;
            }
            Action::Conflict(manager) => {
                self.conflict(id, &manager);
                self.look_again(id, now);
                return;
            }
            Action::Apply(Cause::Drifted(_)) | Action::Read => Class::Repair,
            Action::Apply(_) | Action::Annotate => Class::Sync,
            Action::Delete | Action::Abandon => Class::Prune,
        };
        if class == Class::Prune && self.blind.contains(&id.group_kind()) {
            return;
        }
        self.enqueue(class, id.clone(), now);
    }

    /// Queues work; repairs of an object that somebody keeps changing are put off more and more.
    fn enqueue(&mut self, class: Class, id: ObjectId, now: Instant) {
        if self.work.in_flight.contains_key(&id) || self.work.put_off.contains_key(&id) {
            return;
        }
        if let Some(heat) = self.heat(&id).filter(|_| class == Class::Repair) {
            let calm = backoff(Duration::from_secs(1), (heat - FIGHT) as u32).min(Duration::from_secs(60));
            self.work.put_off(id, now + calm);
            return;
        }
        self.queue.push(Place::of(class, &id, &self.order), id);
    }

    /// A declared object of ours whose readiness was never read, as after a restart.
    fn is_unread(&self, id: &ObjectId) -> bool {
        let unknown = self.live.get(id).is_some_and(|live| live.health == Health::Unknown);
        unknown && !is_always_current(id) && matches!(self.declared(id), Declared::Object(_))
    }

    fn drop_work(&mut self, id: &ObjectId) {
        self.queue.remove(id);
        if self.work.forget(id) {
            self.report.status();
        }
    }

    fn conflict(&mut self, id: &ObjectId, manager: &str) {
        self.queue.remove(id);
        let Some(declared) = self.declared_form(id) else { return };
        let message = format!("{id} is managed by {manager:?}, so {:?} leaves it alone", self.settings.sync.manager());
        let finding = Finding::new(Code::ManagementConflict, message)
            .hint("declare the object in one source only; the other sync releases it when it is removed there")
            .at(declared.place());
        if self.work.conflicts.get(id) != Some(&finding) {
            self.work.conflicts.insert(id.clone(), finding);
            self.report.status();
        }
    }

    /// Objects whose wait is over are decided about again.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((_, id)) = self.work.retries.first().filter(|(at, _)| *at <= now).cloned() {
            self.work.retries.pop_first();
            // It is left alone for longer than this: its time comes.
            if self.work.put_off.get(&id).is_some_and(|until| *until > now) {
                continue;
            }
            self.work.put_off.remove(&id);
            let unread = self.work.unread.remove(&id);
            self.forget_unwatched(&id);
            let readable = unread && self.live.contains_key(&id) && !self.work.in_flight.contains_key(&id);
            if readable || self.heat(&id).is_some() {
                self.queue.push(Place::of(Class::Repair, &id, &self.order), id);
            } else {
                self.evaluate(&id, now);
            }
        }
        if self.work.paused.is_some_and(|until| until <= now) {
            self.work.paused = None;
        }
        self.work.fights.retain(|_, (heat, last)| cooled(*heat, *last, now) > 0.05);
    }

    // ---- sending ----

    /// Sends as much of the queue as may be in flight.
    pub(super) fn dispatch(&mut self, now: Instant, out: &mut Vec<Command>) {
        if self.stopping || self.recording || self.work.paused.is_some() {
            return;
        }
        for kind in std::mem::take(&mut self.work.audits) {
            if self.work.auditing.insert(kind.clone()) {
                out.push(Command::Audit(kind));
            }
        }
        while let Some((place, id)) = self.queue.first() {
            let id = id.clone();
            // After a failure of the server one request tries whether it is back.
            let limit = match place.class {
                _ if self.work.pauses > 0 => 1,
                Class::Repair => self.settings.in_flight + self.settings.in_flight / 4,
                // Repairs are not to wait behind the commit's own writes in the API server either.
                _ if self.work.is_repairing() => self.settings.in_flight / 4,
                Class::Sync | Class::Prune => self.settings.in_flight,
            };
            if self.work.in_flight.len() >= limit || self.must_wait_for_others(place) {
                return;
            }
            self.queue.pop();
            if let Some(dependency) = self.unready(&id) {
                self.work.blocked.entry(dependency).or_default().insert(id);
                continue;
            }
            self.send(place, id, now, out);
        }
    }

    /// What comes later in the order of kinds waits for what is in flight before it, deletions for everything.
    fn must_wait_for_others(&self, place: Place) -> bool {
        place.class != Class::Repair
            && self.work.running.keys().any(|running| running.class != Class::Repair && *running < place)
    }

    fn send(&mut self, place: Place, id: ObjectId, now: Instant, out: &mut Vec<Command>) {
        let action = decide(self.declared(&id), self.live.get(&id), &self.settings.sync);
        let live = self.live.get(&id);
        let mut cause = None;
        let command = match (action, self.declared_form(&id), live) {
            (Action::Apply(why), Some(declared), _) => {
                let onto = match &why {
                    Cause::Missing => ApplyMode::Create,
                    Cause::Drifted(missing) if missing.iter().any(|path| is_list_item(path)) => ApplyMode::Reclaim,
                    _ => ApplyMode::Update,
                };
                cause = repair(place.class, why, live);
                Command::Apply(declared, self.commit.clone(), onto)
            }
            (Action::Annotate, Some(declared), _) => Command::Annotate(declared, self.commit.clone()),
            (Action::Delete, ..) if self.work.keep.contains(&id) => Command::Abandon(id.clone()),
            (Action::Delete, _, Some(live)) => {
                if let Some(inhabitant) = self.inhabitant(&id).cloned() {
                    self.not_empty(id, inhabitant, now, out);
                    return;
                }
                Command::Delete(id.clone(), live.uid.clone(), live.version)
            }
            (Action::Abandon, ..) => {
                if let Some(namespace) = self.doomed_namespace(&id) {
                    // First of all: deleting it would take this object along.
                    self.work.keep.insert(namespace.clone());
                    self.work.blocked.entry(namespace.clone()).or_default().insert(id);
                    self.evaluate(&namespace, now);
                    return;
                }
                Command::Abandon(id.clone())
            }
            // Queued although all is well: its readiness is to be read.
            (Action::Read, ..) | (Action::Nothing, Some(_), Some(_)) if place.class == Class::Repair => {
                Command::Read(id.clone())
            }
            _ => {
                self.evaluate(&id, now);
                self.queue.remove(&id);
                return;
            }
        };
        *self.work.running.entry(place).or_default() += 1;
        self.work.in_flight.insert(id, InFlight { place, cause, deferred: None });
        out.push(command);
    }

    /// Repairs a minute, when somebody is fighting us.
    fn heat(&self, id: &ObjectId) -> Option<f64> {
        self.work.fights.get(id).map(|(heat, _)| *heat).filter(|heat| *heat >= FIGHT)
    }
}

/// Repairs a minute, halving roughly every 40 seconds.
fn cooled(heat: f64, last: Instant, now: Instant) -> f64 {
    heat * (-now.saturating_duration_since(last).as_secs_f64() / 60.0).exp()
}

fn repair(class: Class, why: Cause, live: Option<&Live>) -> Option<Repair> {
    if class != Class::Repair {
        return None;
    }
    let by = live.and_then(|live| live.changed_by.as_deref().map(str::to_owned));
    match why {
        Cause::Drifted(fields) => Some(Repair { fields: fields.into(), by, version: live.map_or(0, |l| l.version) }),
        Cause::Missing => Some(Repair { fields: Vec::new(), by: None, version: 0 }),
        Cause::Adopted | Cause::Changed => None,
    }
}
