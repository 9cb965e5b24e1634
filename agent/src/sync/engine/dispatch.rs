//! Sending: as much of the queue as may be in flight, in order, unless the API server is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::declared::DeclaredObject;
use crate::model::backoff::Backoff;
use crate::model::object::{Object, ObjectId};
use crate::sync::live::{Live, Owner};
use crate::sync::managed_fields::{is_list_item, is_running_field_declared};
use crate::sync::plan::{Action, Cause};

use super::objects::{InFlight, PendingRepair, Phase, Sent};
use super::queue::{QueuePlace, WorkClass};
use super::{AnnotateMode, ApplyMode, Command, Failure, Notice, Retry, State};

/// The pause before the API server is asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these pauses.
pub(super) const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(30);

/// Outages of the API server. A command that fails as if the API server were away says little: an admission webhook may be away,
/// or the server of an aggregated API. So the API server itself is asked, and while it is away, nothing else is sent.
pub(super) struct Outage {
    standing: Standing,
    pauses: Backoff,
}

/// Presence of the API server, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Answers,
    /// [`Command::AskServer`] is unanswered.
    Asked,
    /// It is asked again at this time.
    Away(Instant),
}

impl Default for Outage {
    fn default() -> Self {
        Self { standing: Standing::Answers, pauses: Backoff::new(FIRST_PAUSE, LONGEST_OUTAGE_PAUSE) }
    }
}

impl Outage {
    /// The time at which the API server is asked again.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Away(until) => Some(until),
            _ => None,
        }
    }

    /// `true` unless the API server is away, or may be.
    pub(super) fn answers(&self) -> bool {
        self.standing == Standing::Answers
    }

    /// The API server answered a command.
    pub(super) fn answered(&mut self) {
        self.pauses.reset();
        if self.standing != Standing::Asked {
            self.standing = Standing::Answers;
        }
    }
}

impl State {
    /// Sends commands for the first objects of the queue until enough are in flight.
    pub(super) fn dispatch(&mut self, now: Instant) {
        self.others.wait_no_more();
        if self.stopping || !self.outage.answers() {
            return;
        }
        for kind in self.kinds.begin_audits(now) {
            let versions = self.declared_versions(&kind);
            self.commands.push(Command::Audit(kind, versions));
        }
        while let Some((place, id)) = self.objects.first_queued() {
            let id = id.clone();
            if self.objects.in_flight() >= self.limit(place) || self.must_wait(place) {
                return;
            }
            if place.class == WorkClass::Repair
                && let Some(class) = self.class_of_commit(&id)
            {
                let place = self.place(class, &id);
                self.objects.set_phase(&id, Phase::Queued(place));
                continue;
            }
            if place.class == WorkClass::Prune && self.waits_for_others(now) {
                return;
            }
            if let Some(dependency) = self.unready_dependency(&id) {
                match self.declared_form(&id).filter(|_| self.objects.notes(&id).is_some_and(|notes| notes.unread)) {
                    Some(declared) => self.send_command(&id, Command::Read(declared), place, None),
                    None => self.wait_for(&id, dependency, now),
                }
                continue;
            }
            self.objects.set_phase(&id, Phase::Settled);
            self.send(place, &id, now);
        }
    }

    /// A command failed as it does when the API server is away.
    pub(super) fn doubt_server(&mut self) {
        if self.outage.standing == Standing::Answers {
            self.ask_server();
        }
    }

    fn ask_server(&mut self) {
        self.outage.standing = Standing::Asked;
        self.commands.push(Command::AskServer);
    }

    /// The answer to [`Command::AskServer`].
    pub(super) fn server_asked(&mut self, failure: Option<Failure>, now: Instant) {
        let Some(Failure { finding, retry, .. }) = failure else {
            self.outage = Outage::default();
            return;
        };
        let at_least = match retry {
            Retry::Server(at_least) => at_least,
            Retry::Object | Retry::Soon => Duration::ZERO,
        };
        if self.outage.pauses.attempts() == 0 {
            self.commands.push(Command::Notice(Notice::Failed(finding)));
        }
        self.outage.standing = Standing::Away(now + self.outage.pauses.next_pause().max(at_least));
    }

    /// Asks the API server again when its time has come.
    pub(super) fn ask_server_again(&mut self, now: Instant) {
        if self.outage.until().is_some_and(|until| until <= now) {
            self.ask_server();
        }
    }

    /// Number of commands that may be in flight when one at this place is sent.
    fn limit(&self, place: QueuePlace) -> usize {
        let limit = self.settings.in_flight;
        match place.class {
            WorkClass::Repair => limit + limit / 4,
            // Repairs do not wait behind the commit's own writes in the API server either.
            _ if self.objects.is_in_flight_for(WorkClass::Repair) => limit / 4,
            // Work that fails only after a long time leaves room for work that comes later.
            _ if place.again => (limit / 2).max(1),
            WorkClass::Sync | WorkClass::Prune => limit,
        }
    }

    /// Work of a commit waits for its work at earlier places, and deletions wait for all that did not fail before. It also waits for the record,
    /// and gives way to a commit that follows as soon as the answers are in. Nothing is deleted that such a commit may declare.
    fn must_wait(&self, place: QueuePlace) -> bool {
        let follows = self.is_next_known() || place.class == WorkClass::Prune && self.candidate.is_some();
        let waits = self.recording.is_going_on() || follows || self.objects.is_commit_in_flight_before(place);
        place.class != WorkClass::Repair && waits
    }

    /// The class of work of a commit that an object at a place of repairs needs by now; `None` for repairs and reads.
    fn class_of_commit(&self, id: &ObjectId) -> Option<WorkClass> {
        match self.action(id) {
            // Nothing becomes the sync's before the record is written.
            Action::Apply(_) | Action::Annotate if !self.objects.is_recorded(id) => Some(WorkClass::Sync),
            // One in doubt is read first.
            Action::Delete | Action::Abandon if self.objects.live(id).is_none_or(|live| !live.in_doubt) => {
                Some(WorkClass::Prune)
            }
            _ => None,
        }
    }

    /// The proof that the object is the sync's. Every client can write labels and annotations, and an object that two syncs declare is in the
    /// records of both.
    fn claim(&self, id: &ObjectId, live: Option<&Live>) -> Claim {
        match live {
            Some(live) if live.owner == Owner::Us && self.objects.is_recorded(id) => match self.is_of_another(id) {
                true => Claim::Shared,
                false => Claim::Proven,
            },
            _ => Claim::None,
        }
    }

    /// Sends the command that follows from the object as it is now, which may have changed since it was queued.
    fn send(&mut self, place: QueuePlace, id: &ObjectId, now: Instant) {
        let live = self.objects.live(id);
        let action = self.action(id);
        let mut repair = None;
        let command = match (action, self.declared_form(id), live) {
            (Action::Apply(cause), Some(declared), _) => {
                let mode = apply_mode(&cause, &declared, live, self.claim(id, live));
                repair = pending_repair(place.class, cause, live);
                Command::Apply(declared, self.in_force.source.commit.clone(), mode)
            }
            (Action::Fill, ..) => match self.to_fill(id) {
                Some((declared, sources)) => Command::Fill(declared, sources),
                None => return,
            },
            (Action::Annotate, Some(declared), live) => {
                repair = (place.class == WorkClass::Repair).then(|| PendingRepair::of(live, Vec::new()));
                Command::Annotate(
                    declared,
                    self.in_force.source.commit.clone(),
                    annotate_mode(live, self.claim(id, live)),
                )
            }
            (Action::Delete, ..) if self.is_kept(id) => Command::Abandon(id.clone()),
            (Action::Delete, ..) if !self.may_delete(id) => {
                self.prunes.found();
                return;
            }
            (Action::Delete, _, Some(live)) if live.in_doubt => Command::Read(Arc::new(reference(id))),
            (Action::Delete, _, Some(live)) => {
                let known = (live.uid.clone(), live.version);
                match self.deletion(id, known, now) {
                    Some(command) => command,
                    None => return,
                }
            }
            (Action::Abandon, ..) => {
                if let Some(container) = self.doomed_container(id) {
                    self.abandon_after(id, container, now);
                    return;
                }
                Command::Abandon(id.clone())
            }
            // A commit that comes in force next may declare it.
            (Action::Nothing | Action::Wait, ..) if self.is_left_unseen(id) => {
                Command::ReadAsAgent(Arc::new(reference(id)))
            }
            // An object that is as declared is queued for a repair when its readiness is to be read.
            (Action::Read, Some(declared), _) | (Action::Nothing, Some(declared), Some(_))
                if place.class == WorkClass::Repair =>
            {
                Command::Read(declared)
            }
            (Action::Nothing, None, _) if self.is_awaited_stranger(id) => Command::Read(Arc::new(reference(id))),
            _ => {
                self.evaluate(id, now);
                return;
            }
        };
        self.send_command(id, command, place, repair);
    }

    fn send_command(&mut self, id: &ObjectId, command: Command, place: QueuePlace, repair: Option<PendingRepair>) {
        let applies = matches!(command, Command::Apply(..) | Command::Annotate(..));
        let sent = match &command {
            Command::Apply(_, _, ApplyMode::TakeOver(_))
            | Command::Annotate(_, _, AnnotateMode::TakeOver(_) | AnnotateMode::Prove(_, Some(_))) => Sent::TakeOver,
            Command::Fill(..) => Sent::Fill,
            Command::Delete(..) => Sent::Delete,
            Command::Read(_) | Command::ReadAsAgent(_) => Sent::Read,
            _ => Sent::Other,
        };
        self.objects.change(id, |tracked| {
            let recorded = tracked.recorded;
            tracked.newer |= applies && tracked.own().is_none();
            tracked.recorded |= applies;
            tracked.phase = Phase::InFlight(Box::new(InFlight { place, sent, repair, deferred: None, recorded }));
            if let Some(notes) = &mut tracked.notes {
                // An object that waits goes on to do so after the read. A deletion that waited too long waits no more when it fails.
                // So it is with an object in the way that no watch shows: an apply finds out if it is still there.
                let checks = applies && notes.checks > 0;
                notes.unread = false;
                let keeps = matches!(sent, Sent::Read | Sent::Delete) || checks;
                if !keeps {
                    (notes.overdue_at, notes.overdue) = (None, false);
                }
            }
        });
        self.commands.push(command);
    }

    /// The deletion of an object of this uid and version, unless it has to wait for others.
    fn deletion(&mut self, id: &ObjectId, (uid, version): (Box<str>, u64), now: Instant) -> Option<Command> {
        if let Some(inhabitant) = self.inhabitant(id).or_else(|| self.going_dependent(id)).cloned() {
            self.delete_after(id, inhabitant, now);
            return None;
        }
        let deletion = (id.clone(), uid);
        if let Some(failure) = self.occupied(id).or_else(|| self.not_taken_over(&deletion)) {
            self.prunes.forget_count(id);
            self.failed(id, failure, now);
            return None;
        }
        // A sync that goes takes all of its objects along, and asks for no approval.
        let goes = || self.in_force.declared.as_deref().is_some_and(|declared| self.goes_with_its_objects(declared));
        if id.is_crd() && !goes() && !self.ensure_counted(id) {
            return None;
        }
        self.prunes.sent(&deletion, now);
        let (object, uid) = deletion;
        Some(Command::Delete(object, uid, version, self.heirs(id)))
    }
}

/// The identity alone as a declared form, for an object that is read only.
fn reference(id: &ObjectId) -> DeclaredObject {
    let mut object = Object::default();
    object.0.insert("apiVersion".to_owned(), format!("{}/", id.group()).into());
    object.0.insert("kind".to_owned(), id.kind().into());
    object.metadata_mut().insert("name".to_owned(), id.name().into());
    object.set_namespace(id.namespace());
    DeclaredObject::new(object)
}

/// The proof that an object is the sync's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Its metadata and the record of this sync alone.
    Proven,
    /// They, and another sync has it in its record, or is to have it.
    Shared,
    /// Nothing, or its metadata alone.
    None,
}

fn apply_mode(cause: &Cause, declared: &DeclaredObject, live: Option<&Live>, claim: Claim) -> ApplyMode {
    match (cause, live) {
        (Cause::Missing, _) => ApplyMode::Create,
        (_, Some(live)) if claim == Claim::None => ApplyMode::TakeOver(live.version),
        (Cause::Drifted(missing), _) if missing.iter().any(|path| is_list_item(path)) => ApplyMode::Reclaim,
        (_, Some(live)) if claim == Claim::Shared => ApplyMode::TakeOver(live.version),
        (_, Some(live)) if live.former_writer || gives_up(declared, live) => ApplyMode::HandOver,
        (Cause::Drifted(_) | Cause::Adopted | Cause::Changed, Some(live)) => ApplyMode::Update(live.uid.clone()),
        (Cause::Drifted(_) | Cause::Adopted | Cause::Changed, None) => ApplyMode::Create,
    }
}

fn annotate_mode(live: Option<&Live>, claim: Claim) -> AnnotateMode {
    let Some(live) = live.filter(|live| live.version != 0) else { return AnnotateMode::Update };
    let version = (claim != Claim::Proven).then_some(live.version);
    match version {
        _ if !live.applied => AnnotateMode::Prove(live.uid.clone(), version),
        Some(version) => AnnotateMode::TakeOver(version),
        None => AnnotateMode::Update,
    }
}

/// `true` if a field that stays as it runs is not declared any more.
fn gives_up(declared: &DeclaredObject, live: &Live) -> bool {
    live.running_field.is_some_and(|field| !is_running_field_declared(&declared.body(), field))
}

/// The repair to tell of when the apply works.
fn pending_repair(class: WorkClass, cause: Cause, live: Option<&Live>) -> Option<PendingRepair> {
    if class != WorkClass::Repair {
        return None;
    }
    match cause {
        Cause::Drifted(fields) => Some(PendingRepair::of(live, fields.into())),
        Cause::Missing => Some(PendingRepair { fields: Vec::new(), by: None, version: 0 }),
        Cause::Adopted | Cause::Changed => None,
    }
}

#[cfg(test)]
mod tests;
