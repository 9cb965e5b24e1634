//! One sync as a state machine: events in, commands out, time passed in.
//!
//! Every object is in one phase (`objects`): settled, queued, in flight, waiting, backing off or terminating. There are no
//! phases of the whole sync: an object whose declared and live form differ is queued, repairs of drift first, and an object
//! that has to wait for another one gives its turn away. So a commit that is being applied, an object that keeps failing or
//! a Namespace that takes long to terminate delay nothing but the objects that depend on them.
//!
//! Begin to read with [`State::step`]. An object is decided about in `work`, its command is sent in `dispatch`, and the
//! answer comes back in `outcome`.

mod changes;
mod command;
mod commit;
mod dependencies;
mod dispatch;
mod dump;
mod event;
mod kinds;
mod objects;
mod others;
mod outcome;
mod prune;
mod queue;
mod recording;
mod report;
mod schemas;
mod trace;
mod values;
mod versions;
mod view;
mod watched;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::GitStatus;
use crate::compile::SourceLayout;
use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::finding::Code;
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::plan::Declared;
use crate::sync::plan::memory::GuardMemory;
use crate::sync::plan::order::Order;

use commit::{Candidate, Held};
use dispatch::Outage;
use kinds::Kinds;
use objects::{FailureRecord, Objects, Tracked};
use others::Others;
use prune::Prunes;
use recording::Recording;
use report::PendingReport;
use schemas::ChangedSchemas;
use values::Values;

pub use changes::{DeclaredChange, DeclaredChanges};
pub use command::{Adopted, AnnotateMode, ApplyMode, Command, NewRecord, Notice, Repaired, Rewritten};
pub use dump::{Dump, WaitingObject};
pub use event::{Event, Failure, Outcome, Remarks, Retry, SpecChange};
pub use others::{AllSyncs, HeldObjects, Holdings};
pub use report::{Report, ResourceState, Stage};
pub use values::{FilledForm, SourceVersion};
pub use view::{HeldView, ObjectView, SyncSummary, SyncView};

/// The settings with which a sync begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The sync, whose name is on its objects.
    pub sync: SyncId,
    /// Number of requests that may be in flight. Repairs of drift may exceed it by a quarter.
    pub in_flight: usize,
    /// Time for which an object may wait for another one to become ready. After it the wait is told as an error, and goes on.
    /// A new commit begins the wait anew.
    pub reconcile_timeout: Duration,
    /// The approval of held deletions that a user set, if any: `<commit>.<digest>`.
    pub approval: Option<String>,
    /// A command line that approves held deletions;
    /// [`APPROVAL`](crate::sync::plan::guard::APPROVAL) in it stands for the approval.
    pub how_to_approve: String,
    /// Kinds of which the sync may have objects: those of the inventory's record, or those that a search found where there
    /// is no record.
    pub kinds: BTreeSet<GroupKind>,
    /// The objects of the inventory's record.
    pub recorded: BTreeSet<ObjectId>,
    /// The facts that the guard needs after a restart, from the inventory's record.
    pub memory: GuardMemory,
    /// The source, as the status names it.
    pub git: Arc<GitStatus>,
    /// The rules by which files become objects.
    pub layout: SourceLayout,
    /// The commit that was in force when the process before ended, from the sync's status.
    pub last_in_force: Option<SourceCommit>,
}

/// A commit, and the source that it is of: the same commit of another directory declares other objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCommit {
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The source.
    pub git: Arc<GitStatus>,
    /// The rules by which its files become objects.
    pub layout: SourceLayout,
}

/// The commit that the cluster is kept at.
#[derive(Default)]
struct InForce {
    /// The commit, which is empty while none is in force. Its source stays the one before until a commit of the next one comes
    /// in force.
    source: SourceCommit,
    /// The objects that it declares; `None` while no commit is in force.
    declared: Option<Arc<DeclaredSet>>,
    order: Order,
    /// When its deletions began to wait for the syncs that have not read it; `None` as long as none has waited.
    waiting_since: Option<Instant>,
    /// Another spec is followed since then, so that the same commit may declare other objects because of that.
    respecified: bool,
}

/// Where [`Command::Restore`] stands. It is sent once for each newest commit.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Restoring {
    #[default]
    Unasked,
    Asked,
    Answered,
}

/// Everything that is known about one sync.
pub struct State {
    settings: Settings,
    /// The newest commit, and the findings about it.
    source: Stage,
    /// A compiled commit that waits until the kinds that it declares are listed.
    candidate: Option<Candidate>,
    /// Deletions that wait for the approval of a user.
    held: Option<Held>,
    prunes: Prunes,
    restoring: Restoring,
    schemas: ChangedSchemas,
    in_force: InForce,
    kinds: Kinds,
    objects: Objects,
    values: Values,
    others: Others,
    outage: Outage,
    /// When drift was seen that is not put back yet.
    drifted: BTreeMap<ObjectId, Instant>,
    /// Objects that were written for the commit in force.
    applied: usize,
    /// Objects that were deleted for the commit in force.
    pruned: usize,
    recording: Recording,
    stopping: bool,
    report: PendingReport,
    /// Commands of the step that is going on, in order.
    commands: Vec<Command>,
}

impl State {
    /// A sync that has seen nothing yet.
    pub fn new(mut settings: Settings) -> Self {
        let mut objects = Objects::default();
        let recording = Recording::of(&settings.recorded, &settings.memory);
        for id in std::mem::take(&mut settings.recorded) {
            objects.change(&id, |tracked| (tracked.recorded, tracked.unlisted) = (true, true));
        }
        Self {
            kinds: Kinds::recorded(std::mem::take(&mut settings.kinds)),
            source: Stage { git: Arc::clone(&settings.git), ..Stage::default() },
            candidate: None,
            held: None,
            prunes: Prunes::after(std::mem::take(&mut settings.memory)),
            restoring: Restoring::default(),
            schemas: ChangedSchemas::default(),
            in_force: InForce::default(),
            objects,
            values: Values::default(),
            others: Others::default(),
            outage: Outage::default(),
            drifted: BTreeMap::new(),
            applied: 0,
            pruned: 0,
            recording,
            stopping: false,
            report: PendingReport::default(),
            commands: Vec::new(),
            settings,
        }
    }

    /// Takes in one event and returns the commands that follow, in order. `now` never goes back.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Command> {
        let unlisted = |state: &Self, id: &ObjectId| state.objects.get(id).is_some_and(|tracked| tracked.unlisted);
        let unknown = event.object().filter(|id| unlisted(self, id)).cloned();
        match event {
            Event::Compiled { commit, declared, findings } => self.compiled(commit, declared, findings),
            Event::Restored { commit, declared } => self.restored(commit, declared),
            Event::SourceFailed(finding) => self.source_failed(finding),
            Event::SpecChanged(spec) => self.spec_changed(*spec),
            Event::Served(kind, plural, versions) => self.kind_served(&kind, plural, versions, now),
            Event::Listing(kind, session) => self.listing_starts(&kind, session),
            Event::Listed(kind, session) => self.list_completed(&kind, session, now),
            Event::Unserved(kind) => self.unserved(&kind, now),
            Event::Unlistable(kind, finding) => self.unlistable(&kind, finding),
            Event::Unwatched(kind, finding) => self.unwatched(&kind, finding),
            Event::Watched(kind) => self.watched(&kind),
            Event::Seen(id, seen) => self.seen(id, seen, now),
            Event::Gone(id, version) => self.gone(&id, version, now),
            Event::Finished(id, outcome) => self.finished(&id, outcome, now),
            Event::Audited(whole) => self.audited(&whole, now),
            Event::AuditEnded(kind, complete) => self.kinds.audit_ended(&kind, complete, now),
            Event::AuditDue => self.audit_everything(),
            Event::Recorded(number) => self.recorded(number, now),
            Event::Unrecorded(finding) => self.unrecorded(finding),
            Event::RecordTouched => self.record_again(),
            Event::RightsChanged => {
                let lacks_rights = |failure: &FailureRecord| failure.finding.code == Code::InsufficientPermission;
                self.try_failed_again(|failure| failure.is_some_and(lacks_rights), now);
            }
            Event::Asked => {
                self.try_failed_again(|_| true, now);
                self.apply_rewritten(now);
            }
            Event::Syncs(syncs) => self.syncs_changed(syncs, now),
            Event::Approved(approval) => self.approve(approval),
            Event::ServerAsked(failure) => self.server_asked(failure, now),
            Event::Counted(crd, objects) => self.counted(&crd, objects),
            Event::Woken => {}
        }
        // A Namespace or CRD may have waited until it was known which objects it holds.
        if let Some(id) = unknown.filter(|id| !unlisted(self, id))
            && self.doomed_container(&id).is_some_and(|container| self.unlisted_in(&container).is_none())
        {
            self.prunes.found();
        }
        self.judge_after_the_hour(now);
        self.consider(now);
        self.fire_timers(now);
        self.judge_found(now);
        self.search_kinds(now);
        self.apply_by_changed_schemas(now);
        self.dispatch(now);
        if self.prunes.is_judging() {
            // Deletions that turned out at their turn not to be judged.
            self.judge_found(now);
            self.dispatch(now);
        }
        self.settle(now);
        self.share();
        std::mem::take(&mut self.commands)
    }

    /// The time at which to step with [`Event::Woken`] when nothing else happens before; `None` when only an event can
    /// change anything.
    pub fn next_wake(&self) -> Option<Instant> {
        let times = [
            self.objects.next_timer(),
            self.report.due(),
            self.outage.until(),
            self.kinds.next_search(),
            self.kinds.next_audit().filter(|_| self.outage.answers() && !self.stopping),
            self.next_judgement(),
            self.others.wait_until(),
            self.values.next_read(),
            self.schemas.next(),
        ];
        times.into_iter().flatten().min()
    }

    /// Sends no more commands about objects. Answers to those in flight still come in.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// `true` while a command about an object or the record is unanswered.
    pub fn is_busy(&self) -> bool {
        self.objects.in_flight() > 0 || self.recording.is_going_on()
    }

    /// `true` when the newest commit is applied without errors and nothing is left to do.
    pub fn is_synced(&self) -> bool {
        self.is_idle() && self.source.commit == self.in_force.source.commit && self.is_clean()
    }

    /// `true` when the newest commit has been dealt with as far as it can be for now: it is applied, refused or held.
    pub fn is_idle(&self) -> bool {
        (!self.source.commit.is_empty() || !self.source.findings.is_empty())
            && self.candidate.is_none()
            && self.restoring != Restoring::Asked
            && !self.prunes.is_judging()
            && self.objects.first_queued().is_none()
            && !self.kinds.is_auditing()
            && !self.is_busy()
            && !self.awaits_list()
    }

    /// `true` while a list is on its way that may show an object which has to be deleted.
    fn awaits_list(&self) -> bool {
        let is_left = |(id, tracked): (&ObjectId, &Tracked)| {
            tracked.unlisted && !matches!(self.declared(id), Declared::Object(_))
        };
        self.kinds.listed_again().any(|kind| self.objects.of_kind(kind).any(is_left))
    }

    /// `true` when nothing is on its way any more, not even an object that waits or a failure that may pass.
    pub fn is_at_rest(&self) -> bool {
        self.is_idle() && !self.is_pending()
    }

    /// The objects that the commit in force declares.
    pub fn in_force(&self) -> Option<&Arc<DeclaredSet>> {
        self.in_force.declared.as_ref()
    }

    /// The source of the commit in force.
    pub fn git_in_force(&self) -> &GitStatus {
        &self.in_force.source.git
    }

    /// Number of objects that wait for their turn.
    pub fn queued(&self) -> usize {
        self.objects.queued()
    }

    /// `true` if a command about the object is unanswered that repairs drift, or reads the object to decide about that.
    pub fn is_repaired(&self, id: &ObjectId) -> bool {
        self.objects.is_in_flight_for_repair(id)
    }

    /// The form that the commit in force declares of an object.
    fn declared(&self, id: &ObjectId) -> Declared<'_> {
        match self.in_force.declared.as_ref().map_or(Declared::Absent, |set| Declared::of(set, id)) {
            Declared::Object(object) => Declared::Object(self.values.form(object).map_or(object, |form| &**form)),
            other => other,
        }
    }

    /// The form that the commit in force, or else the candidate, declares of an object.
    fn declared_form(&self, id: &ObjectId) -> Option<Arc<DeclaredObject>> {
        let sets = [self.in_force.declared.as_ref(), self.candidate.as_ref().map(Candidate::declared)];
        let object = sets.into_iter().flatten().find_map(|set| set.objects.get(id))?;
        Some(Arc::clone(self.values.form(object).unwrap_or(object)))
    }
}

#[cfg(test)]
mod tests;
