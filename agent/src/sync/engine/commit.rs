//! From a compiled commit to the commit in force: it waits until its kinds are listed, and is held when it would delete too
//! much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, ObjectId, walk};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::Owner;
use crate::sync::plan::guard::Prune;
use crate::sync::plan::order::{Order, order};
use crate::sync::plan::{Action, Declared, decide};

use super::objects::Mark;
use super::{Command, InForce, Notice, Stage, State};

/// A compiled commit that waits until its kinds are listed.
pub(super) struct Candidate {
    commit: String,
    declared: Arc<DeclaredSet>,
    order: Order,
    /// Kinds of the objects that it declares or disables.
    pub(super) kinds: BTreeSet<GroupKind>,
}

impl Candidate {
    fn new(commit: &str, declared: Arc<DeclaredSet>) -> Result<Self, Vec<Finding>> {
        let order = order(&declared)?;
        let mut kinds = BTreeSet::new();
        let ids = declared.objects.keys().chain(&declared.disabled);
        // Identities are sorted by kind, so that a kind is made once and not for each object.
        let mut last: Option<&ObjectId> = None;
        for id in ids {
            if !last.is_some_and(|last| last.group() == id.group() && last.kind() == id.kind()) {
                kinds.insert(id.group_kind());
            }
            last = Some(id);
        }
        Ok(Self { commit: commit.to_owned(), declared, order, kinds })
    }

    /// The objects that the commit declares.
    pub(super) fn declared(&self) -> &Arc<DeclaredSet> {
        &self.declared
    }
}

/// A commit that waits for the approval of a user.
pub(super) struct Held {
    candidate: Candidate,
    /// The finding that names the objects that would be deleted.
    pub(super) finding: Finding,
}

impl State {
    pub(super) fn compiled(&mut self, commit: String, declared: Option<Arc<DeclaredSet>>, mut findings: Vec<Finding>) {
        // The answer to an earlier `Restore` is not needed any more.
        self.restoring = false;
        for finding in findings.iter().filter(|f| !self.source.findings.contains(f)) {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
        }
        let same = self.in_force.commit == commit && declared.as_ref().is_some_and(|set| self.is_in_force(set));
        let candidate = declared.filter(|_| !same).and_then(|declared| match Candidate::new(&commit, declared) {
            Ok(candidate) => Some(candidate),
            Err(wrong) => {
                self.commands.extend(wrong.iter().cloned().map(|finding| Command::Notice(Notice::Failed(finding))));
                findings.extend(wrong);
                None
            }
        });
        self.source = Stage { commit, findings };
        // The commit in force itself is held when a kind came back that it would delete too much of: it still is.
        let in_force = &self.in_force.commit;
        self.held.take_if(|held| !same || held.candidate.commit != *in_force);
        self.report.status_changed();
        // A candidate without mistakes stays when a commit with mistakes follows: it is the last good one. A candidate that
        // is the commit in force only waits to be counted once more by the guard, and stays too.
        if same {
            let in_force = self.in_force.declared.clone();
            self.candidate.take_if(|waiting| !in_force.is_some_and(|ours| Arc::ptr_eq(&ours, &waiting.declared)));
        } else if candidate.is_some() {
            self.candidate = candidate;
        }
        if self.candidate.is_none() && !same {
            self.restore();
        }
        self.watch_needed_kinds();
    }

    /// Takes the commit that was in force before as the candidate. The status goes on to tell of the newest commit.
    pub(super) fn restored(&mut self, commit: &str, declared: Option<Arc<DeclaredSet>>) {
        if std::mem::take(&mut self.restoring) && self.in_force.declared.is_none() && self.candidate.is_none() {
            self.candidate = declared.and_then(|declared| Candidate::new(commit, declared).ok());
            self.watch_needed_kinds();
        }
    }

    /// `true` when exactly this is declared already. A commit is compiled again when the kinds of the cluster may have
    /// changed, and most often nothing follows from that.
    fn is_in_force(&self, declared: &DeclaredSet) -> bool {
        self.in_force.declared.as_ref().is_some_and(|ours| {
            ours.objects.len() == declared.objects.len()
                && ours.disabled == declared.disabled
                && ours
                    .objects
                    .iter()
                    .zip(&declared.objects)
                    .all(|(one, other)| one.0 == other.0 && one.1.hash == other.1.hash)
        })
    }

    pub(super) fn source_failed(&mut self, finding: Finding) {
        if !self.source.findings.contains(&finding) {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
            self.source.findings = vec![finding];
            self.report.status_changed();
        }
        self.restore();
    }

    /// Asks for the commit that was in force when the process before ended. While no commit is in force, drift is not put
    /// back.
    fn restore(&mut self) {
        if self.in_force.declared.is_none()
            && self.candidate.is_none()
            && let Some(commit) = self.settings.last_in_force.take()
            && commit != self.source.commit
        {
            self.restoring = true;
            self.commands.push(Command::Restore(commit));
        }
    }

    /// Puts the candidate in force as soon as every object of the sync is known: the kinds that it declares and those of
    /// the record are listed. Objects of a kind that is not served or cannot be listed are not deleted until it is listed;
    /// then the guard counts again.
    pub(super) fn consider(&mut self, now: Instant) {
        let ready = self.candidate.as_ref().is_some_and(|candidate| self.kinds.are_known(&candidate.kinds));
        if self.stopping || !ready {
            return;
        }
        let Some(candidate) = self.candidate.take() else { return };
        if let Some(finding) = self.too_large(&candidate) {
            // Users approve the newest commit only: a restored one that would delete too much is not put in force.
            if candidate.commit == self.source.commit {
                if self.held.as_ref().is_none_or(|held| held.finding != finding) {
                    self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
                }
                self.held = Some(Held { candidate, finding });
                self.report.status_changed();
            }
            self.restore();
            return;
        }
        self.activate(candidate, now);
    }

    /// A kind is listed that was not when the commit came in force: the guard counts its objects too.
    pub(super) fn consider_again(&mut self) {
        if self.candidate.is_none()
            && let Some(declared) = &self.in_force.declared
        {
            self.candidate = Candidate::new(&self.in_force.commit, Arc::clone(declared)).ok();
        }
    }

    pub(super) fn approve(&mut self, commit: String) {
        if let Some(held) = self.held.take_if(|held| held.candidate.commit == commit) {
            self.candidate = Some(held.candidate);
        }
        self.settings.approved = Some(commit);
    }

    /// The finding of a candidate that would delete too much.
    fn too_large(&self, candidate: &Candidate) -> Option<Finding> {
        if self.settings.approved.as_ref() == Some(&candidate.commit) {
            return None;
        }
        // An object whose apply is in flight counts as one of the sync's, unless another sync manages it.
        let made = self.objects.marked(Mark::InFlight).filter(|id| self.objects.live(id).is_none());
        let conflicts = |id: &ObjectId| self.objects.notes(id).is_some_and(|notes| notes.conflict.is_some());
        let made: Vec<&ObjectId> = made.filter(|id| !conflicts(id)).collect();
        let not_declared = |id: &&ObjectId| matches!(Declared::of(&candidate.declared, id), Declared::Absent);
        let mut declared = walk(&candidate.declared.objects);
        let mut deletions: Vec<&ObjectId> = self
            .objects
            .inventory()
            .filter(|(id, live)| {
                declared(id).is_none()
                    && decide(Declared::of(&candidate.declared, id), Some(live), &self.settings.sync) == Action::Delete
            })
            .map(|(id, _)| id)
            .chain(made.iter().copied().filter(not_declared))
            .collect();
        deletions.sort();
        let there = self.objects.inventory().filter(|(_, live)| !live.terminating).map(|(id, _)| id);
        let there: Vec<&ObjectId> = there.chain(made).collect();
        let namespaces = there.iter().filter(|id| id.is_namespace()).count();
        let prune = Prune { inventory: there.len(), namespaces, deletions };
        prune.is_large().then(|| {
            let commit = &candidate.commit;
            let in_force = *commit == self.in_force.commit;
            prune.finding(commit, in_force, &self.settings.how_to_approve.replace("COMMIT", commit))
        })
    }

    /// Puts the candidate in force and decides about every object that is not as it declares.
    fn activate(&mut self, candidate: Candidate, now: Instant) {
        let Candidate { commit, declared, order, kinds } = candidate;
        let grows = self.grows(&declared);
        let new_kinds = self.kinds.begin_commit(kinds);
        if grows {
            let mut objects: BTreeSet<ObjectId> = declared.objects.keys().cloned().collect();
            objects.extend(self.objects.inventory().map(|(id, _)| id).chain(self.unlisted()).cloned());
            // After a crash only the kinds of the record are listed: the first object of a new kind waits for the record.
            self.recording = new_kinds;
            self.commands.push(Command::Record(objects));
        }
        self.report.commit_in_force();
        if self.in_force.commit != commit {
            let objects = declared.objects.len();
            self.commands.push(Command::Notice(Notice::Syncing { commit: commit.clone(), objects }));
        }
        self.in_force = InForce { commit, declared: Some(declared), order };
        (self.applied, self.pruned) = (0, 0);
        let doubtful: BTreeSet<ObjectId> =
            self.objects.marked(Mark::Unread).chain(self.objects.queued_repairs()).cloned().collect();
        self.objects.begin_commit();
        self.forget_all_unwatched();
        for id in self.unsettled() {
            self.evaluate(&id, now);
        }
        for id in doubtful {
            self.readiness_may_have_changed(&id, now);
        }
    }

    /// `true` when an object is declared that is not the sync's yet.
    fn grows(&self, declared: &DeclaredSet) -> bool {
        let mut tracked = walk(self.objects.all());
        let is_ours =
            |id: &ObjectId| tracked(id).and_then(|t| t.live.as_ref()).is_some_and(|live| live.owner == Owner::Us);
        !declared.objects.keys().all(is_ours)
    }

    /// The objects about which there is something to decide when a commit comes in force.
    fn unsettled(&self) -> Vec<ObjectId> {
        let Some(set) = &self.in_force.declared else { return Vec::new() };
        let (mut declared, mut tracked) = (walk(&set.objects), walk(self.objects.all()));
        let known = self.objects.lives().filter(|(id, live)| {
            let declared = declared(id).map_or_else(|| Declared::of(set, id), |object| Declared::Object(object));
            let unread = live.health == Health::Unknown && !is_always_current(id);
            unread || decide(declared, Some(live), &self.settings.sync) != Action::Nothing
        });
        let missing = set.objects.keys().filter(|id| tracked(id).is_none_or(|tracked| tracked.live.is_none()));
        known.map(|(id, _)| id).chain(missing).cloned().collect()
    }
}
