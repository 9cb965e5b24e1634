//! Sending: as much of the queue as may be in flight, in order, unless the API server is away.

use std::time::{Duration, Instant};

use crate::model::backoff::Backoff;
use crate::model::object::ObjectId;
use crate::sync::live::Live;
use crate::sync::managed_fields::is_list_item;
use crate::sync::plan::{Action, Cause};

use super::objects::{InFlight, PendingRepair, Phase};
use super::queue::{QueuePlace, WorkClass};
use super::{ApplyMode, Command, State};

/// Pause after the API server was away for the first time; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these pauses.
pub(super) const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(30);

/// Outages of the API server: while one goes on, nothing is sent but one request that tries.
pub(super) struct Outage {
    /// Until then nothing is sent.
    until: Option<Instant>,
    pause: Duration,
    pauses: Backoff,
    /// The last object for which the API server was away.
    pub(super) suspect: Option<ObjectId>,
}

impl Default for Outage {
    fn default() -> Self {
        let pauses = Backoff::new(FIRST_PAUSE, LONGEST_OUTAGE_PAUSE);
        Self { until: None, pause: Duration::ZERO, pauses, suspect: None }
    }
}

impl Outage {
    /// `true` when a failure of this object too means that the API server is away. One object alone may be at fault
    /// itself, because a webhook is away, and all objects of one API group, because the server of an aggregated API is.
    pub(super) fn is_confirmed_by(&self, id: &ObjectId) -> bool {
        let built_in = |group: &str| !group.contains('.') || group.ends_with(".k8s.io");
        let confirms = |other: &ObjectId| other != id && (other.group() != id.group() || built_in(id.group()));
        self.suspect.as_ref().is_some_and(confirms)
    }

    /// The end of the pause that is going on.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Begins a pause, or moves the end of the one that is going on. `true` when this is the first since the API server
    /// answered.
    pub(super) fn begin_pause(&mut self, at_least: Duration, now: Instant) -> bool {
        let mut first = false;
        if self.until.is_none() {
            self.pause = self.pauses.next_pause();
            first = self.pauses.attempts() == 1;
        }
        self.until = Some(now + self.pause.max(at_least));
        first
    }

    pub(super) fn end_pause(&mut self, now: Instant) {
        self.until.take_if(|until| *until <= now);
    }

    /// The API server answered.
    pub(super) fn answered(&mut self) {
        self.pauses.reset();
        self.suspect = None;
    }

    /// `true` between the first pause and the next answer: one request tries whether the API server is back.
    fn is_going_on(&self) -> bool {
        self.pauses.attempts() > 0
    }
}

impl State {
    /// Sends commands for the first objects of the queue until enough are in flight.
    pub(super) fn dispatch(&mut self, now: Instant) {
        if self.stopping || self.outage.until().is_some() {
            return;
        }
        for kind in self.kinds.begin_audits() {
            let versions = self.declared_versions(&kind);
            self.commands.push(Command::Audit(kind, versions));
        }
        while let Some((place, id)) = self.objects.first_queued() {
            let id = id.clone();
            if self.objects.in_flight() >= self.limit(place.class) || self.must_wait(place) {
                return;
            }
            if let Some(dependency) = self.unready_dependency(&id) {
                self.wait_for(&id, dependency, now);
                continue;
            }
            self.objects.set_phase(&id, Phase::Settled);
            self.send(place, &id, now);
        }
    }

    /// Number of commands that may be in flight when one of this class is sent.
    fn limit(&self, class: WorkClass) -> usize {
        let limit = self.settings.in_flight;
        match class {
            _ if self.outage.is_going_on() => 1,
            WorkClass::Repair => limit + limit / 4,
            // Repairs do not wait behind the commit's own writes in the API server either.
            _ if self.objects.is_in_flight_for(WorkClass::Repair) => limit / 4,
            WorkClass::Sync | WorkClass::Prune => limit,
        }
    }

    /// Work of a commit waits for its work at earlier places, and deletions wait for all of it. It also waits for the record,
    /// and gives way to a commit that follows as soon as the answers are in.
    fn must_wait(&self, place: QueuePlace) -> bool {
        let waits =
            self.recording.is_going_on() || self.is_next_known() || self.objects.is_commit_in_flight_before(place);
        place.class != WorkClass::Repair && waits
    }

    /// Sends the command that follows from the object as it is now, which may have changed since it was queued.
    fn send(&mut self, place: QueuePlace, id: &ObjectId, now: Instant) {
        let live = self.objects.live(id);
        let action = self.action(id);
        let mut repair = None;
        let command = match (action, self.declared_form(id), live) {
            (Action::Apply(cause), Some(declared), _) => {
                let mode = apply_mode(&cause);
                repair = pending_repair(place.class, cause, live);
                Command::Apply(declared, self.in_force.source.commit.clone(), mode)
            }
            (Action::Annotate, Some(declared), _) => Command::Annotate(declared, self.in_force.source.commit.clone()),
            (Action::Delete, ..) if self.objects.notes(id).is_some_and(|notes| notes.keep) => {
                Command::Abandon(id.clone())
            }
            (Action::Delete, ..) if !self.may_delete(id) => {
                self.prunes.found();
                return;
            }
            (Action::Delete, _, Some(live)) => {
                let (uid, version) = (live.uid.clone(), live.version);
                if let Some(inhabitant) = self.inhabitant(id).cloned() {
                    self.delete_after(id, inhabitant, now);
                    return;
                }
                self.prunes.sent(&(id.clone(), uid.clone()), now);
                Command::Delete(id.clone(), uid, version)
            }
            (Action::Abandon, ..) => {
                if let Some(container) = self.doomed_container(id) {
                    self.abandon_after(id, container, now);
                    return;
                }
                Command::Abandon(id.clone())
            }
            // An object that is as declared is queued for a repair when its readiness is to be read.
            (Action::Read, Some(declared), _) | (Action::Nothing, Some(declared), Some(_))
                if place.class == WorkClass::Repair =>
            {
                Command::Read(declared)
            }
            _ => {
                self.evaluate(id, now);
                return;
            }
        };
        let applies = matches!(command, Command::Apply(..) | Command::Annotate(..));
        self.objects.change(id, |tracked| {
            let recorded = tracked.recorded;
            tracked.recorded |= applies;
            tracked.phase = Phase::InFlight(Box::new(InFlight { place, repair, deferred: None, recorded }));
            if let Some(notes) = &mut tracked.notes {
                (notes.overdue_at, notes.overdue) = (None, false);
            }
        });
        self.commands.push(command);
    }
}

fn apply_mode(cause: &Cause) -> ApplyMode {
    match cause {
        Cause::Missing => ApplyMode::Create,
        Cause::Drifted(missing) if missing.iter().any(|path| is_list_item(path)) => ApplyMode::Reclaim,
        Cause::Drifted(_) | Cause::Adopted | Cause::Changed => ApplyMode::Update,
    }
}

/// The repair to tell of when the apply works.
fn pending_repair(class: WorkClass, cause: Cause, live: Option<&Live>) -> Option<PendingRepair> {
    if class != WorkClass::Repair {
        return None;
    }
    let by = live.and_then(|live| live.changed_by.as_deref().map(str::to_owned));
    match cause {
        Cause::Drifted(fields) => {
            Some(PendingRepair { fields: fields.into(), by, version: live.map_or(0, |live| live.version) })
        }
        Cause::Missing => Some(PendingRepair { fields: Vec::new(), by: None, version: 0 }),
        Cause::Adopted | Cause::Changed => None,
    }
}
