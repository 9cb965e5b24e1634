//! From a compiled commit to the state in force: wait until the inventory is known, hold what would delete too much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Command, Notice, Stage, State};
use crate::declared::{DeclaredObject, DeclaredSet};
use crate::finding::Finding;
use crate::live::Owner;
use crate::object::{GroupKind, ObjectId};
use crate::plan::guard::Prune;
use crate::plan::order::{Order, order};
use crate::plan::{Action, Declared, decide};

/// A compiled commit that waits for the lists of its kinds.
pub(super) struct Candidate {
    commit: String,
    declared: Arc<DeclaredSet>,
    order: Order,
    /// Kinds of everything that it has a word about.
    kinds: BTreeSet<GroupKind>,
}

/// A commit that waits for approval.
pub(super) struct Held {
    candidate: Candidate,
    pub(super) finding: Finding,
}

impl State {
    pub(super) fn compiled(
        &mut self,
        commit: String,
        declared: Option<Arc<DeclaredSet>>,
        mut findings: Vec<Finding>,
        out: &mut Vec<Command>,
    ) {
        let restored = std::mem::take(&mut self.restoring);
        let candidate = declared.and_then(|declared| match order(&declared) {
            Ok(order) => {
                let ids = declared.objects.keys().chain(&declared.disabled);
                let kinds = ids.map(ObjectId::group_kind).collect();
                Some(Candidate { commit: commit.clone(), declared, order, kinds })
            }
            Err(wrong) => {
                findings.extend(wrong);
                None
            }
        });
        if restored && commit != self.source.commit {
            // The state before the newest commit, which stays the one that is reported about.
            self.candidate = candidate;
        } else {
            for finding in findings.iter().filter(|f| !self.source.findings.contains(f)) {
                out.push(Command::Notice(Notice::Failed(finding.clone())));
            }
            self.source = Stage { commit, findings };
            self.held = None;
            self.report.status();
            match candidate {
                Some(candidate) => self.candidate = Some(candidate),
                None => self.restore(out),
            }
        }
        let declared = self.candidate.iter().flat_map(|candidate| &candidate.kinds);
        let known = |kind: &&GroupKind| self.watched.contains(*kind);
        let new: BTreeSet<GroupKind> =
            self.settings.recorded.iter().chain(declared).filter(|kind| !known(kind)).cloned().collect();
        if !new.is_empty() {
            self.watched.extend(new.iter().cloned());
            out.push(Command::Watch(new));
        }
    }

    pub(super) fn source_failed(&mut self, finding: Finding, out: &mut Vec<Command>) {
        if !self.source.findings.contains(&finding) {
            out.push(Command::Notice(Notice::Failed(finding.clone())));
            self.source.findings = vec![finding];
            self.report.status();
        }
        self.restore(out);
    }

    /// With nothing in force, drift of the last good state would go unseen: get it back.
    fn restore(&mut self, out: &mut Vec<Command>) {
        if self.declared.is_none()
            && self.candidate.is_none()
            && let Some(commit) = self.settings.last_synced.take()
            && commit != self.source.commit
        {
            self.restoring = true;
            out.push(Command::Restore(commit));
        }
    }

    /// What an object is declared as, in force or about to be.
    pub(super) fn declared_form(&self, id: &ObjectId) -> Option<Arc<DeclaredObject>> {
        let sets = [self.declared.as_ref(), self.candidate.as_ref().map(|c| &c.declared)];
        sets.into_iter().flatten().find_map(|set| set.objects.get(id)).cloned()
    }

    /// Puts the candidate in force as soon as everything of ours that exists is known: the kinds that it declares and
    /// those that are recorded are listed.
    pub(super) fn consider(&mut self, now: Instant, out: &mut Vec<Command>) {
        let known = |kinds: &BTreeSet<GroupKind>| kinds.is_subset(&self.listed);
        let ready = self.candidate.as_ref().is_some_and(|c| known(&c.kinds) && known(&self.settings.recorded));
        if self.stopping || !ready {
            return;
        }
        let Some(candidate) = self.candidate.take() else { return };
        if let Some(finding) = self.too_large(&candidate) {
            out.push(Command::Notice(Notice::Failed(finding.clone())));
            self.held = Some(Held { candidate, finding });
            self.report.status();
            self.restore(out);
            return;
        }
        self.activate(candidate, now, out);
    }

    pub(super) fn approve(&mut self, commit: String, now: Instant, out: &mut Vec<Command>) {
        if let Some(held) = self.held.take_if(|held| held.candidate.commit == commit) {
            self.candidate = Some(held.candidate);
        }
        self.settings.approved = Some(commit);
        self.consider(now, out);
    }

    fn too_large(&self, candidate: &Candidate) -> Option<Finding> {
        if self.settings.approved.as_ref() == Some(&candidate.commit) {
            return None;
        }
        let deletions: Vec<&ObjectId> = self
            .inventory()
            .filter(|(id, live)| {
                decide(Declared::of(&candidate.declared, id), Some(live), &self.settings.sync) == Action::Delete
            })
            .map(|(id, _)| id)
            .collect();
        let inventory = self.inventory().filter(|(_, live)| !live.terminating).count();
        let namespaces = self.inventory().filter(|(id, live)| id.is_namespace() && !live.terminating).count();
        let prune = Prune { inventory, namespaces, deletions };
        prune.is_large().then(|| {
            prune.finding(&candidate.commit, &self.settings.how_to_approve.replace("COMMIT", &candidate.commit))
        })
    }

    fn activate(&mut self, candidate: Candidate, now: Instant, out: &mut Vec<Command>) {
        let grew = candidate.declared.objects.keys().any(|id| self.live.get(id).is_none_or(|l| l.owner != Owner::Us));
        if grew {
            let mut objects: BTreeSet<ObjectId> = candidate.declared.objects.keys().cloned().collect();
            objects.extend(self.inventory().map(|(id, _)| id.clone()));
            // A kind that the record does not know yet would be lost by a crash between its first object and the record.
            self.recording = !candidate.kinds.is_subset(&self.settings.recorded);
            out.push(Command::Record(objects));
        }
        self.settings.recorded.extend(candidate.kinds);
        self.report.in_force();
        self.report.status();
        self.report.resources();
        if self.commit != candidate.commit {
            let objects = candidate.declared.objects.len();
            out.push(Command::Notice(Notice::Syncing { commit: candidate.commit.clone(), objects }));
        }
        self.commit = candidate.commit;
        self.declared = Some(candidate.declared);
        self.order = candidate.order;
        self.queue.clear();
        self.work.new_commit();
        let declared = self.declared.iter().flat_map(|set| set.objects.keys());
        let ids: BTreeSet<ObjectId> = self.live.keys().chain(declared).cloned().collect();
        for id in &ids {
            self.evaluate(id, now);
        }
    }
}
