//! The reports of a sync: at once when it comes to rest, every few seconds while it is busy, never when nothing changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::GitStatus;
use crate::model::finding::{Code, Finding, Resource};
use crate::model::object::{GroupKind, ObjectId, walk};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::Owner;
use crate::sync::plan::Declared;

use super::objects::{Mark, Phase, Tracked};
use super::queue::WorkClass;
use super::{Command, Notice, Restoring, SourceCommit, State};

/// Work that takes longer than this is reported as going on.
const FIRST: Duration = Duration::from_millis(500);
/// Time between two reports of a sync that is busy.
const PERIOD: Duration = Duration::from_secs(5);

/// Time between two reports of a busy sync that have its resources: each is a large write for every few hundred objects.
const RESOURCES: Duration = Duration::from_secs(30);

/// A commit and its findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// 40 hexadecimal digits; empty when no commit was read yet.
    pub commit: String,
    /// The findings in the order in which they were found.
    pub findings: Vec<Finding>,
    /// The source that the commit is of.
    pub git: Arc<GitStatus>,
}

/// The state of a sync.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The newest commit.
    pub source: Stage,
    /// The commit in force.
    pub sync: Stage,
    /// `true` while work on the commit in force is going on.
    pub syncing: bool,
    /// `true` when the commit in force is the newest one, and applied without errors.
    pub synced: bool,
    /// The inventory in order; `None` when it has not changed since the last report.
    pub resources: Option<Vec<ResourceState>>,
}

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceState {
    /// The object.
    pub id: ObjectId,
    /// Its readiness.
    pub health: Health,
    /// The first seven characters of the commit that last changed it.
    pub token: String,
    /// `true` when its last command failed.
    pub failed: bool,
    /// `true` when it is to be deleted or abandoned.
    pub pruning: bool,
    /// `true` when it is applied and was not ready within the reconcile timeout.
    pub late: bool,
    /// `true` when it is not applied, because an object that it depends on failed or takes too long, or another sync has it.
    pub skipped: bool,
    /// The object without which it is not applied yet.
    pub waits_for: Option<ObjectId>,
    /// `true` when it is not known what changes of its kind, so that this may be old.
    pub stale: bool,
    /// The other sync that manages it, by its manager annotation.
    pub other: Option<Box<str>>,
    /// The first declared fields that admission or the API server changed in the last apply. That is no error.
    pub rewritten: Box<[String]>,
}

/// Changes that no report has told yet.
#[derive(Default)]
pub(super) struct PendingReport {
    /// Errors, commits or the state of the sync changed.
    status: bool,
    /// The inventory or the readiness of an object changed.
    resources: bool,
    /// The time of the first of these changes.
    since: Option<Instant>,
    /// The commit of the last [`Notice::Synced`].
    announced: Option<SourceCommit>,
    /// The time of the last report.
    last: Option<Instant>,
    /// The time of the last report with resources, or of the beginning of the work on a commit.
    last_resources: Option<Instant>,
    /// When the changes are reported.
    due: Option<Instant>,
    /// The last report said that work is going on.
    syncing: bool,
}

impl PendingReport {
    /// Errors, commits or the state of the sync changed.
    pub(super) fn status_changed(&mut self) {
        self.status = true;
    }

    /// The inventory or the readiness of an object changed.
    pub(super) fn resources_changed(&mut self) {
        self.resources = true;
    }

    /// A commit came in force: changes from before are reported together with its own.
    pub(super) fn commit_in_force(&mut self) {
        (self.since, self.last_resources) = (None, None);
        (self.status, self.resources) = (true, true);
    }

    /// When the changes are reported.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl State {
    /// Reports the changes when it is time to.
    pub(super) fn settle(&mut self, now: Instant) {
        let idle = self.is_idle();
        if idle {
            self.announce();
            // A pause can end without anything that would be told.
            self.report.status |= self.report.syncing && !self.is_syncing();
        }
        if !self.report.status && !self.report.resources {
            (self.report.due, self.report.since) = (None, None);
            return;
        }
        let since = *self.report.since.get_or_insert(now);
        let after_last = |pause: Duration| self.report.last.map_or(since, |last| last + pause);
        // While a commit is applied, the record has all of its objects already, and their states change all the time.
        let resources_at = if idle { now } else { *self.report.last_resources.get_or_insert(now) + RESOURCES };
        let due = match idle {
            true if self.report.status => now,
            // Objects become ready one after the other: their changes are gathered for a second.
            true => after_last(Duration::from_secs(1)),
            // While no commit is in force, the status of the process before is right: a restart does not write it twice.
            false if self.in_force.declared.is_none() => (since + PERIOD).max(after_last(PERIOD)),
            false => (since + FIRST).max(after_last(PERIOD)),
        };
        let due = if self.report.status { due } else { due.max(resources_at) };
        if due > now {
            self.report.due = Some(due);
            return;
        }
        // Readiness that is just being read is not reported as unknown.
        let resources = resources_at <= now && !self.kinds.is_auditing() && std::mem::take(&mut self.report.resources);
        let resources = resources.then(|| self.resources());
        if let Some(resources) = &resources {
            self.recording.resize(resources.iter().map(|resource| &resource.id));
        }
        self.report.status = false;
        self.report.due = Some(resources_at).filter(|at| self.report.resources && *at > now);
        self.report.since = None;
        self.report.last = Some(now);
        if resources.is_some() {
            self.report.last_resources = Some(now);
        }
        let report = self.report_now(resources);
        self.report.syncing = report.syncing;
        self.commands.push(Command::Report(Box::new(report)));
    }

    /// `true` when there are no errors, and nothing is on its way.
    pub(super) fn is_clean(&self) -> bool {
        self.source.findings.is_empty() && self.sync_findings().is_empty() && !self.is_pending()
    }

    fn announce(&mut self) {
        let source = &self.in_force.source;
        if self.report.announced.as_ref() != Some(source) && self.is_synced() {
            let commit = source.commit.clone();
            self.report.announced = Some(source.clone());
            self.report.status_changed();
            let (applied, pruned) = (self.applied, self.pruned);
            self.commands.push(Command::Notice(Notice::Synced { commit, applied, pruned }));
        }
    }

    fn report_now(&self, resources: Option<Vec<ResourceState>>) -> Report {
        let in_force = self.in_force.declared.is_some();
        // Nothing is known of the source yet, as after a start, or when another one is to be followed.
        let unread = self.source.commit.is_empty() && self.source.findings.is_empty();
        Report {
            source: self.source.clone(),
            sync: Stage {
                commit: self.in_force.source.commit.clone(),
                findings: self.sync_findings(),
                git: Arc::clone(if in_force { &self.in_force.source.git } else { &self.settings.git }),
            },
            syncing: self.candidate.is_some()
                || self.restoring == Restoring::Asked
                || unread
                || (in_force && self.is_syncing()),
            synced: self.is_synced(),
            resources,
        }
    }

    /// `true` while the commit in force is still being applied, be it by waiting for an object.
    fn is_syncing(&self) -> bool {
        self.recording.is_going_on()
            || self.objects.has_commit_work()
            || self.objects.is_in_flight_for(WorkClass::Sync)
            || self.objects.is_in_flight_for(WorkClass::Prune)
            || self.is_pending()
    }

    /// The CRDs of the inventory.
    pub fn definitions(&self) -> BTreeSet<ObjectId> {
        let crds = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
        let ours = |tracked: &Tracked| tracked.unlisted || tracked.own().is_some();
        self.objects.of_kind(&crds).filter(|(_, tracked)| ours(tracked)).map(|(id, _)| id.clone()).collect()
    }

    /// A full report, for the last status of a process that stops. While no commit is in force, the process before knew more of the
    /// objects.
    pub fn last_report(&self) -> Report {
        self.report_now(self.in_force.declared.is_some().then(|| self.resources()))
    }

    /// Conflicts, fights, held deletions, a record that cannot be written, kinds that cannot be listed, failures, and objects that wait in vain, in this
    /// order.
    fn sync_findings(&self) -> Vec<Finding> {
        let notes = |id| self.objects.notes(id);
        let conflict = |id| notes(id)?.conflict.clone();
        let failure = |id| Some(notes(id)?.failure.as_ref()?.finding.clone());
        let waiting = self.objects.awaited().flat_map(|(_, waiting)| waiting);
        // The first ones are sure to have room in the status. What waits for a user is the first, with all that it would delete.
        let mut findings: Vec<Finding> = self.held.iter().map(|held| held.finding.clone()).collect();
        findings.extend(self.objects.marked(Mark::Conflict).filter_map(conflict));
        findings.extend(self.objects.marked(Mark::Hot).filter_map(|id| self.fight_finding(id)));
        findings.extend(self.recording.failure().cloned());
        findings.extend(self.kinds.failures().cloned());
        findings.extend(self.objects.marked(Mark::Failed).filter_map(failure));
        findings.extend(self.values.failures().filter(|it| it.is_told()).map(|it| it.finding.clone()));
        findings.extend(waiting.filter_map(|id| self.waiting_finding(id)));
        findings
    }

    pub(super) fn fight_finding(&self, id: &ObjectId) -> Option<Finding> {
        let frequency = self.fight(id)?.frequency();
        let rival = self.objects.notes(id).and_then(|notes| notes.rival.as_deref());
        let rival = rival.map_or("another client".to_owned(), |rival| format!("the field manager {rival:?}"));
        let message = format!("{id} is changed {frequency} by {rival} and put back each time");
        let hint = "stop the other controller, or take the fields it writes out of the repository";
        Some(self.about(Finding::new(Code::Fight, message).hint(hint), id))
    }

    /// Adds the object to the finding: its place in the repository, when it is declared.
    pub(super) fn about(&self, finding: Finding, id: &ObjectId) -> Finding {
        match self.declared(id) {
            Declared::Object(declared) => finding.at(declared.place()),
            _ => finding.about(Resource::named(id, "")),
        }
    }

    /// The objects that are declared, live and the sync's, or recorded, in order.
    fn resources(&self) -> Vec<ResourceState> {
        let (none, is_in_force) = (std::collections::BTreeMap::new(), self.in_force.declared.is_some());
        let declared = self.in_force.declared.as_ref().map_or(&none, |set| &set.objects);
        let mut is_declared = walk(declared);
        let mut tracked = walk(self.objects.all());
        let known = self.objects.all().iter().filter(|(id, tracked)| {
            let declared = is_declared(id).is_some();
            tracked.own().is_some() || if declared { tracked.live.is_some() } else { tracked.unlisted }
        });
        let shown = |id: &&ObjectId| tracked(id).is_none_or(|tracked| tracked.live.is_none());
        let mut ids: Vec<&ObjectId> = known.map(|(id, _)| id).chain(declared.keys().filter(shown)).collect();
        ids.sort();
        let (mut tracked, mut declared) = (walk(self.objects.all()), walk(declared));
        let lost = self.kinds.lost();
        let waits_for = |tracked: &Tracked| match &tracked.phase {
            Phase::Waiting(other) => Some(other.clone()),
            _ => None,
        };
        let state = |id| {
            let tracked = tracked(id).map(AsRef::as_ref);
            let pruning = is_in_force && declared(id).is_none() && !matches!(self.declared(id), Declared::Unknown);
            let other = tracked.filter(|_| !pruning).and_then(other_manager);
            let waits_for = tracked.filter(|_| !pruning).and_then(waits_for);
            let waits = waits_for.is_some() && self.waiting_finding(id).is_some();
            let without_value = self.values.failure(id).is_some();
            let (skipped, stale) = (waits || other.is_some(), !lost.is_empty() && lost.contains(&id.group_kind()));
            let state = resource_state(id, tracked, pruning);
            ResourceState { skipped, waits_for, stale, other, failed: state.failed || without_value, ..state }
        };
        ids.into_iter().map(state).collect()
    }
}

/// The other sync to which a declared object is left.
fn other_manager(tracked: &Tracked) -> Option<Box<str>> {
    let is_left = tracked.notes.as_deref().is_some_and(|notes| notes.conflict.is_some());
    match &tracked.live.as_ref().filter(|_| is_left)?.owner {
        Owner::Other(manager) => Some(manager.clone()),
        Owner::Us | Owner::Nobody => None,
    }
}

fn resource_state(id: &ObjectId, tracked: Option<&Tracked>, pruning: bool) -> ResourceState {
    let live = tracked.and_then(|tracked| tracked.live.as_ref());
    let notes = tracked.and_then(|tracked| tracked.notes.as_deref());
    ResourceState {
        id: id.clone(),
        health: match live {
            Some(live) if live.terminating => Health::Terminating,
            Some(live) if live.health == Health::Unknown && is_always_current(id) => Health::Current,
            Some(live) => live.health.clone(),
            None => Health::Unknown,
        },
        token: live.map(|live| live.token.to_string()).unwrap_or_default(),
        failed: notes.is_some_and(|notes| notes.failure.is_some()),
        pruning,
        late: notes.is_some_and(|notes| notes.late),
        skipped: false,
        waits_for: None,
        stale: false,
        other: None,
        rewritten: notes.map(|notes| notes.rewritten.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
