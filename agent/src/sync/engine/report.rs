//! What a sync says about itself, and when: at once when it comes to rest, every few seconds while it is busy, never when
//! nothing changed.

use std::time::{Duration, Instant};

use super::{Command, Notice, State};
use crate::compile::declared::DeclaredObject;
use crate::model::finding::{Code, Finding, Resource};
use crate::model::object::{ObjectId, walk};
use crate::sync::health::Health;
use crate::sync::live::Owner;

/// Work that takes longer than this is reported as going on.
const FIRST: Duration = Duration::from_millis(500);
/// Time between two reports of a sync that goes on.
const PERIOD: Duration = Duration::from_secs(5);

/// A commit and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// 40 hexadecimal digits; empty when none was read yet.
    pub commit: String,
    /// In the order of discovery.
    pub findings: Vec<Finding>,
}

/// The state of a sync.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The newest commit.
    pub source: Stage,
    /// The commit in force.
    pub sync: Stage,
    /// Whether work on the commit in force is going on.
    pub syncing: bool,
    /// Whether the commit in force is the newest one, applied without errors.
    pub synced: bool,
    /// The inventory in order, when it may have changed since the last report.
    pub resources: Option<Vec<ResourceState>>,
}

/// One object of the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceState {
    /// Identity.
    pub id: ObjectId,
    /// Readiness.
    pub health: Health,
    /// First seven characters of the commit that last changed it.
    pub token: String,
    /// Whether the last apply or delete failed.
    pub failed: bool,
    /// Whether it is to be deleted.
    pub pruning: bool,
}

/// What has to be reported, and since when.
#[derive(Default)]
pub(super) struct Dirt {
    status: bool,
    resources: bool,
    /// Since when there is something to report.
    since: Option<Instant>,
    announced: Option<String>,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Dirt {
    /// Errors, commits or the state changed.
    pub(super) fn status(&mut self) {
        self.status = true;
    }

    /// The inventory or the readiness of an object changed.
    pub(super) fn resources(&mut self) {
        self.resources = true;
    }

    /// A commit is in force from now on: what there is to report about it begins now.
    pub(super) fn in_force(&mut self) {
        self.since = None;
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl State {
    /// Reports when it is time to.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Command>) {
        let idle = self.is_idle();
        if idle {
            self.announce(out);
        }
        if !self.report.status && !self.report.resources {
            (self.report.due, self.report.since) = (None, None);
            return;
        }
        let since = *self.report.since.get_or_insert(now);
        let after_last = |pause: Duration| self.report.last.map_or(since, |last| last + pause);
        let due = match idle {
            true if self.report.status => now,
            // Readiness trickles in: gather it.
            true => after_last(Duration::from_secs(1)),
            // Before anything is in force the last process's status is right: a restart shall not write it twice.
            false if self.declared.is_none() => (since + PERIOD).max(after_last(PERIOD)),
            false => (since + FIRST).max(after_last(PERIOD)),
        };
        if due > now {
            self.report.due = Some(due);
            return;
        }
        // Readiness that is just being read is not written as unknown.
        let resources = !self.work.is_auditing() && std::mem::take(&mut self.report.resources);
        let resources = resources.then(|| self.resources());
        self.report.status = false;
        (self.report.due, self.report.since) = (None, None);
        self.report.last = Some(now);
        out.push(Command::Report(Box::new(self.report_now(resources))));
    }

    /// Whether the commit in force is applied without errors.
    pub(super) fn is_clean(&self) -> bool {
        self.declared.is_some()
            && self.held.is_none()
            && self.source.findings.is_empty()
            && self.sync_findings().is_empty()
            && !self.is_pending()
    }

    fn announce(&mut self, out: &mut Vec<Command>) {
        if self.is_synced() && self.report.announced.as_ref() != Some(&self.commit) {
            self.report.announced = Some(self.commit.clone());
            self.report.status();
            let (applied, pruned) = (self.work.applied, self.work.pruned);
            out.push(Command::Notice(Notice::Synced { commit: self.commit.clone(), applied, pruned }));
        }
    }

    fn report_now(&self, resources: Option<Vec<ResourceState>>) -> Report {
        Report {
            source: self.source.clone(),
            sync: Stage { commit: self.commit.clone(), findings: self.sync_findings() },
            syncing: self.candidate.is_some() || self.restoring || (self.declared.is_some() && self.is_syncing()),
            synced: self.is_synced(),
            resources,
        }
    }

    /// Whether the commit in force is still being brought in, be it by waiting for something.
    fn is_syncing(&self) -> bool {
        self.recording || self.queue.has_more_than_repairs() || self.work.is_more_than_repairing() || self.is_pending()
    }

    /// A full report for the last word of a process that stops.
    pub fn last_report(&self) -> Report {
        self.report_now(Some(self.resources()))
    }

    /// Conflicts, fights, a held commit, failures, and what waits for them, in this order.
    fn sync_findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.work.conflicts.values().cloned().collect();
        for (id, heat) in self.work.fights() {
            let message =
                format!("{id} is changed about {heat:.0} times a minute by somebody else and put back each time");
            let hint = "stop the other controller, or take the fields it writes out of the repository";
            findings.push(self.about(Finding::new(Code::Fight, message).hint(hint), id));
        }
        findings.extend(self.held.as_ref().map(|held| held.finding.clone()));
        findings.extend(self.unlistable.values().cloned());
        findings.extend(self.work.failures.values().filter(|t| t.is_told()).map(|t| t.finding.clone()));
        for (id, dependency) in self.work.blocked() {
            if self.has_failed(dependency) {
                let message = format!("skipped apply of {id}: it depends on {dependency}, which failed");
                findings.push(self.about(Finding::new(Code::Applier, message).hint("mend the other object first"), id));
            }
        }
        findings
    }

    fn about(&self, finding: Finding, id: &ObjectId) -> Finding {
        match self.declared.as_ref().and_then(|set| set.objects.get(id)) {
            Some(declared) => finding.at(DeclaredObject::place(declared)),
            None => finding.about(Resource::named(id, "")),
        }
    }

    /// Declared objects and what of ours is still there.
    fn resources(&self) -> Vec<ResourceState> {
        let none = std::collections::BTreeMap::new();
        let declared = self.declared.as_ref().map_or(&none, |set| &set.objects);
        let (mut live_form, mut declared_form) = (walk(&self.live), walk(declared));
        let state = |id: &ObjectId| {
            let live = live_form(id);
            let pruning = declared_form(id).is_none();
            ResourceState {
                id: id.clone(),
                health: match live {
                    Some(live) if live.terminating => Health::Terminating,
                    Some(live) if live.health == Health::Unknown && crate::sync::health::is_always_current(id) => {
                        Health::Current
                    }
                    Some(live) => live.health.clone(),
                    None => Health::Unknown,
                },
                token: live.map(|live| live.token.to_string()).unwrap_or_default(),
                failed: self.work.failures.contains_key(id),
                pruning,
            }
        };
        let mut there = walk(&self.live);
        let mut ids: Vec<&ObjectId> = self
            .live
            .iter()
            .filter(|(id, live)| live.owner == Owner::Us || declared.contains_key(*id))
            .map(|(id, _)| id)
            .chain(declared.keys().filter(|id| there(id).is_none()))
            .chain(self.unseen.objects().filter(|id| !declared.contains_key(*id)))
            .collect();
        ids.sort();
        ids.into_iter().map(state).collect()
    }
}
