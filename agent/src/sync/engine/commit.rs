//! From a compiled commit to the state in force: wait until the inventory is known, hold what would delete too much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Command, Notice, Stage, State};
use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, ObjectId, walk};
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::Owner;
use crate::sync::plan::guard::Prune;
use crate::sync::plan::order::{Order, order};
use crate::sync::plan::{Action, Declared, decide};

/// A compiled commit that waits for the lists of its kinds.
pub(super) struct Candidate {
    commit: String,
    declared: Arc<DeclaredSet>,
    order: Order,
    /// Kinds of everything that it has a word about.
    kinds: BTreeSet<GroupKind>,
}

impl Candidate {
    fn new(commit: &str, declared: Arc<DeclaredSet>) -> Result<Self, Vec<Finding>> {
        let order = order(&declared)?;
        let mut kinds = BTreeSet::new();
        let ids = declared.objects.keys().chain(&declared.disabled);
        // They are sorted by kind.
        let mut last: Option<&ObjectId> = None;
        for id in ids {
            if !last.is_some_and(|last| last.group() == id.group() && last.kind() == id.kind()) {
                kinds.insert(id.group_kind());
            }
            last = Some(id);
        }
        Ok(Self { commit: commit.to_owned(), declared, order, kinds })
    }
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
        // An answer to an earlier call for the last good commit would come too late.
        self.restoring = false;
        for finding in findings.iter().filter(|f| !self.source.findings.contains(f)) {
            out.push(Command::Notice(Notice::Failed(finding.clone())));
        }
        let same = self.commit == commit && declared.as_ref().is_some_and(|declared| self.is_in_force(declared));
        let candidate = declared.filter(|_| !same).and_then(|declared| match Candidate::new(&commit, declared) {
            Ok(candidate) => Some(candidate),
            Err(wrong) => {
                out.extend(wrong.iter().cloned().map(|finding| Command::Notice(Notice::Failed(finding))));
                findings.extend(wrong);
                None
            }
        });
        self.source = Stage { commit, findings };
        self.held = None;
        self.report.status();
        // A good commit that still waits for its lists is the last good one, should this one be broken. What is in force
        // already waits for lists only to be considered once more.
        if same {
            let in_force = self.declared.clone();
            self.candidate.take_if(|waiting| !in_force.is_some_and(|ours| Arc::ptr_eq(&ours, &waiting.declared)));
        } else if candidate.is_some() {
            self.candidate = candidate;
        }
        if self.candidate.is_none() && !same {
            self.restore(out);
        }
        self.watch(out);
    }

    /// The state before the newest commit, which stays the one that is reported about.
    pub(super) fn restored(&mut self, commit: String, declared: Option<Arc<DeclaredSet>>, out: &mut Vec<Command>) {
        if std::mem::take(&mut self.restoring) && self.declared.is_none() && self.candidate.is_none() {
            self.candidate = declared.and_then(|declared| Candidate::new(&commit, declared).ok());
            self.watch(out);
        }
    }

    /// Whether exactly this is declared already: a commit is compiled again when the kinds of the cluster may have changed.
    fn is_in_force(&self, declared: &DeclaredSet) -> bool {
        self.declared.as_ref().is_some_and(|ours| {
            ours.objects.len() == declared.objects.len()
                && ours.disabled == declared.disabled
                && ours
                    .objects
                    .iter()
                    .zip(&declared.objects)
                    .all(|(one, other)| one.0 == other.0 && one.1.hash == other.1.hash)
        })
    }

    /// Watches what the candidate or the record has a word about.
    fn watch(&mut self, out: &mut Vec<Command>) {
        let declared = self.candidate.iter().flat_map(|candidate| &candidate.kinds);
        let known = |kind: &&GroupKind| self.watched.contains(*kind);
        let new: BTreeSet<GroupKind> =
            self.settings.kinds.iter().chain(declared).filter(|kind| !known(kind)).cloned().collect();
        self.watch_kinds(new, out);
    }

    /// Until they are listed again, nothing is known of these kinds.
    pub(super) fn watch_kinds(&mut self, kinds: BTreeSet<GroupKind>, out: &mut Vec<Command>) {
        if !kinds.is_empty() {
            self.listed.retain(|kind| !kinds.contains(kind));
            self.watched.extend(kinds.iter().cloned());
            out.push(Command::Watch(kinds));
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
            && let Some(commit) = self.settings.last_in_force.take()
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
    /// those that are recorded are listed. Of a kind that is not served or cannot be listed nothing is deleted until it is;
    /// then the commit is considered again.
    pub(super) fn consider(&mut self, now: Instant, out: &mut Vec<Command>) {
        let known = |kinds: &BTreeSet<GroupKind>| {
            kinds.iter().all(|kind| self.listed.contains(kind) || self.unlistable.contains_key(kind))
        };
        let ready = self.candidate.as_ref().is_some_and(|c| known(&c.kinds) && known(&self.settings.kinds));
        if self.stopping || !ready {
            return;
        }
        let Some(candidate) = self.candidate.take() else { return };
        if let Some(finding) = self.too_large(&candidate) {
            // Of another commit than the newest nobody need decide whether it may delete so much.
            if candidate.commit == self.source.commit {
                if self.held.as_ref().is_none_or(|held| held.finding != finding) {
                    out.push(Command::Notice(Notice::Failed(finding.clone())));
                }
                self.held = Some(Held { candidate, finding });
                self.report.status();
            }
            self.restore(out);
            return;
        }
        self.activate(candidate, now, out);
    }

    /// A kind that was not listed when the commit was put in force is now: what would be deleted of it counts too.
    pub(super) fn reconsider(&mut self) {
        if self.candidate.is_none()
            && let Some(declared) = &self.declared
        {
            self.candidate = Candidate::new(&self.commit, Arc::clone(declared)).ok();
        }
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
        // What is being made just now is as good as there, unless it is found to be somebody's.
        let made = self.work.ids_in_flight().filter(|id| !self.live.contains_key(*id));
        let made: Vec<&ObjectId> = made.filter(|id| !self.work.conflicts.contains_key(*id)).collect();
        let not_declared = |id: &&ObjectId| matches!(Declared::of(&candidate.declared, id), Declared::Absent);
        let mut declared = walk(&candidate.declared.objects);
        let mut deletions: Vec<&ObjectId> = self
            .inventory()
            .filter(|(id, live)| {
                declared(id).is_none()
                    && decide(Declared::of(&candidate.declared, id), Some(live), &self.settings.sync) == Action::Delete
            })
            .map(|(id, _)| id)
            .chain(made.iter().copied().filter(not_declared))
            .collect();
        deletions.sort();
        let there = self.inventory().filter(|(_, live)| !live.terminating).map(|(id, _)| id);
        let there: Vec<&ObjectId> = there.chain(made).collect();
        let namespaces = there.iter().filter(|id| id.is_namespace()).count();
        let prune = Prune { inventory: there.len(), namespaces, deletions };
        prune.is_large().then(|| {
            let commit = &candidate.commit;
            prune.finding(commit, *commit == self.commit, &self.settings.how_to_approve.replace("COMMIT", commit))
        })
    }

    fn activate(&mut self, candidate: Candidate, now: Instant, out: &mut Vec<Command>) {
        if self.grows(&candidate.declared) {
            let mut objects: BTreeSet<ObjectId> = candidate.declared.objects.keys().cloned().collect();
            objects.extend(self.inventory().map(|(id, _)| id).chain(self.unseen.objects()).cloned());
            // A kind that the record does not know yet would be lost by a crash between its first object and the record.
            self.recording = !candidate.kinds.is_subset(&self.settings.kinds);
            out.push(Command::Record(objects));
        }
        self.settings.kinds.extend(candidate.kinds);
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
        self.blind = self.unserved.iter().chain(self.unlistable.keys()).cloned().collect();
        let doubtful = self.doubtful();
        self.queue.clear();
        self.work.new_commit();
        self.forget_all_unwatched();
        for id in self.unsettled() {
            self.evaluate(&id, now);
        }
        for id in doubtful {
            self.readiness_may_have_changed(&id, now);
        }
    }

    /// Whether something is declared that is not ours yet.
    fn grows(&self, declared: &DeclaredSet) -> bool {
        let mut live = walk(&self.live);
        declared.objects.keys().any(|id| live(id).is_none_or(|live| live.owner != Owner::Us))
    }

    /// The objects about which there is something to decide, when nothing is queued or noted of any.
    fn unsettled(&self) -> Vec<ObjectId> {
        let Some(set) = &self.declared else { return Vec::new() };
        let (mut declared, mut live) = (walk(&set.objects), walk(&self.live));
        let known = self.live.iter().filter(|(id, live)| {
            let declared = declared(id).map_or_else(|| Declared::of(set, id), |object| Declared::Object(object));
            let unread = live.health == Health::Unknown && !is_always_current(id);
            unread || decide(declared, Some(live), &self.settings.sync) != Action::Nothing
        });
        let missing = set.objects.keys().filter(|id| live(id).is_none());
        known.map(|(id, _)| id).chain(missing).cloned().collect()
    }
}
