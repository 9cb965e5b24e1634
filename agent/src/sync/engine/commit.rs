//! From a compiled commit to the commit in force: it waits until its kinds are listed, and is held when it would delete too
//! much.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, ObjectId, walk};
use crate::sync::health::{Health, is_always_current};
use crate::sync::plan::order::{Order, order};
use crate::sync::plan::{Action, Declared, decide};

use super::objects::{Mark, Objects, Phase, Tracked};
use super::prune::{Judgement, Occasion};
use super::{Command, DeclaredChanges, InForce, Notice, Restoring, SourceCommit, SpecChange, Stage, State};

/// A compiled commit that waits until its kinds are listed.
pub(super) struct Candidate {
    source: SourceCommit,
    declared: Arc<DeclaredSet>,
    order: Order,
    /// Kinds of the objects that it declares or disables.
    pub(super) kinds: BTreeSet<GroupKind>,
}

impl Candidate {
    fn new(source: SourceCommit, declared: Arc<DeclaredSet>) -> Result<Self, Finding> {
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
        Ok(Self { source, declared, order, kinds })
    }

    /// Its name.
    pub(super) fn commit(&self) -> &str {
        &self.source.commit
    }

    /// The commit and its source.
    pub(super) fn source(&self) -> &SourceCommit {
        &self.source
    }

    /// The objects that the commit declares.
    pub(super) fn declared(&self) -> &Arc<DeclaredSet> {
        &self.declared
    }
}

/// Deletions that wait for the approval of a user.
pub(super) struct Held {
    /// The commit that waits with them; `None` when it is in force without its deletions.
    pub(super) candidate: Option<Candidate>,
    /// The finding that names the objects that would be deleted.
    pub(super) finding: Finding,
    /// When fewer deletions count for the last hour, so that these may pass.
    pub(super) judged_again_at: Option<Instant>,
}

impl State {
    pub(super) fn compiled(&mut self, commit: String, declared: Option<Arc<DeclaredSet>>, mut findings: Vec<Finding>) {
        // The answer to an earlier `Restore` is not needed any more.
        self.restoring = Restoring::Unasked;
        for finding in findings.iter().filter(|f| !self.source.findings.contains(f)) {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
        }
        let same = self.in_force.source.commit == commit && declared.as_ref().is_some_and(|set| self.is_in_force(set));
        let (git, layout) = (Arc::clone(&self.settings.git), self.settings.layout);
        let source = SourceCommit { commit: commit.clone(), git, layout };
        let candidate = declared.filter(|_| !same).and_then(|declared| match Candidate::new(source, declared) {
            Ok(candidate) => Some(candidate),
            Err(cycle) => {
                self.commands.push(Command::Notice(Notice::Failed(cycle.clone())));
                findings.push(cycle);
                None
            }
        });
        self.source = Stage { commit, findings, git: Arc::clone(&self.settings.git) };
        // The deletions of the commit in force are held until another one takes its place.
        if self.held.take_if(|held| held.candidate.is_some()).is_some() {
            self.prunes.found();
        }
        self.report.status_changed();
        // A candidate without mistakes stays when a commit with mistakes follows: it is the last good one.
        if same {
            self.in_force.source.git = Arc::clone(&self.settings.git);
            self.in_force.respecified = false;
            self.candidate = None;
        } else if candidate.is_some() {
            self.candidate = candidate;
            self.prunes.forget_counts();
            self.withdraw_deletions();
        }
        if self.candidate.is_none() && !same {
            self.restore();
        }
        self.watch_needed_kinds();
    }

    /// Another spec is to be followed. Candidates of the source before are dropped, and what is in force stays so.
    pub(super) fn spec_changed(&mut self, spec: SpecChange) {
        let SpecChange { git, layout, reconcile_timeout } = spec;
        if git != self.settings.git {
            self.prunes.forget_approvals();
            self.withdraw_deletions();
        }
        self.settings.git = git;
        self.settings.layout = layout;
        self.settings.reconcile_timeout = reconcile_timeout;
        self.in_force.respecified = true;
        self.source = Stage { git: Arc::clone(&self.settings.git), ..Stage::default() };
        self.candidate = None;
        self.held = None;
        self.prunes.found();
        self.restoring = Restoring::Unasked;
        self.report.status_changed();
        // The status of objects may be wanted from now on, or not any more.
        self.report.resources_changed();
    }

    /// Takes the commit that was in force before as the candidate, or the one that is, which declares other objects for other
    /// Namespaces. The status goes on to tell of the newest commit.
    pub(super) fn restored(&mut self, commit: String, declared: Option<Arc<DeclaredSet>>) {
        let is_in_force = self.in_force.declared.is_some();
        if self.restoring != Restoring::Asked && !is_in_force {
            return;
        }
        let last = match is_in_force {
            true => Some(&self.in_force.source).filter(|_| !self.in_force.respecified),
            false => self.settings.last_in_force.as_ref(),
        };
        let Some(source) = last.filter(|last| last.commit == commit).cloned() else {
            // Another one came in force while this one was on its way.
            if self.restoring == Restoring::Asked {
                self.restoring = Restoring::Answered;
            }
            return;
        };
        // The newest commit comes first. If it does not come in force, the older one is asked for again.
        self.restoring = if self.candidate.is_none() { Restoring::Answered } else { Restoring::Unasked };
        if let Some(declared) = declared.filter(|declared| self.candidate.is_none() && !self.is_in_force(declared)) {
            self.candidate = Candidate::new(source, declared).ok();
            self.prunes.forget_counts();
            self.withdraw_deletions();
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
            // The older commit could perhaps not be read for the reason that is over now.
            if self.in_force.declared.is_none() && self.restoring == Restoring::Answered {
                self.restoring = Restoring::Unasked;
            }
        }
        self.restore();
    }

    /// Asks for the commit that was in force when the process before ended: while none is in force, drift is not put back. Or for
    /// the one in force, if it declares other objects for other Namespaces or keys: it is compiled again for these as long as the newest
    /// one does not come in force.
    fn restore(&mut self) {
        let last = match &self.in_force.declared {
            // It may be the newest one: then what can be of it is in force, such as all but sealed files without a key.
            None => self.settings.last_in_force.as_ref(),
            Some(declared) => Some(&self.in_force.source)
                .filter(|_| (declared.dynamic || declared.partial) && !self.in_force.respecified),
        };
        if self.candidate.is_none()
            && self.restoring == Restoring::Unasked
            && let Some(last) = last.cloned()
        {
            self.restoring = Restoring::Asked;
            self.commands.push(Command::Restore(last));
        }
    }

    /// Puts the candidate in force as soon as every object of the sync is known: the kinds that it declares and those of
    /// the record are listed, and no object is just being made or taken over that it does not declare. Objects of a kind that is not
    /// served or cannot be listed are not deleted until it is listed and the guard has judged their deletions.
    pub(super) fn consider(&mut self, now: Instant) {
        // Deletions that are withdrawn count for nothing any more, and others are carried out or not: the guard judges after their answers.
        if self.stopping || !self.is_next_known() || self.objects.deletions_in_flight().next().is_some() {
            return;
        }
        if self.reads_unseen() {
            return;
        }
        let Some(candidate) = self.candidate.take_if(|candidate| !makes_others(&self.objects, candidate)) else {
            return;
        };
        let was_in_force = self.was_in_force(&candidate);
        let occasion = if was_in_force { Occasion::SameCommit } else { Occasion::NewCommit };
        match self.judge(&candidate.declared, &candidate.source.commit, occasion, now) {
            Judgement::Counting => self.candidate = Some(candidate),
            Judgement::Judged { held: None, .. } => self.activate(candidate, now),
            // Everything but its deletions is done.
            Judgement::Judged { held: Some((finding, offer)), .. } if was_in_force => {
                self.activate(candidate, now);
                self.hold_in_force(finding, offer, now);
            }
            // Users approve the newest commit only: a restored one that would delete too much is not put in force.
            Judgement::Judged { held: Some((finding, offer)), .. } => {
                if candidate.source.commit == self.source.commit && candidate.source.git == self.settings.git {
                    self.hold(Some(candidate), finding, offer, now);
                }
                self.restore();
            }
        }
        // A newer one that is held may delete little beside what is held with this one.
        if was_in_force && self.held.as_ref().is_some_and(|held| held.candidate.is_some()) {
            self.judge_again();
            self.consider(now);
        }
    }

    /// Reads the objects of the record that no list has shown and that the candidate does not declare: the guard has to know of them.
    /// `true` while an answer is awaited. One that could not be read waits for its next attempt, and the candidate does not.
    fn reads_unseen(&mut self) -> bool {
        let Some(candidate) = &self.candidate else { return false };
        let is_left = |id: &&ObjectId| self.is_left_unseen(id) && !candidate.declared.objects.contains_key(*id);
        let unseen: Vec<ObjectId> = self.unlisted().filter(is_left).cloned().collect();
        unseen.iter().for_each(|id| self.read_left(id));
        let is_read = |id: &ObjectId| {
            let phase = self.objects.get(id).map(|tracked| &tracked.phase);
            matches!(phase, Some(Phase::Queued(_) | Phase::InFlight(_)))
        };
        unseen.iter().any(is_read)
    }

    /// `true` when a candidate waits no more for lists.
    pub(super) fn is_next_known(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| self.kinds.are_known(&candidate.kinds))
    }

    /// `true` when the commit was in force before a restart, or is in force and declares other objects only because the cluster
    /// is another: it has other Namespaces for dynamic selectors.
    fn was_in_force(&self, candidate: &Candidate) -> bool {
        match &self.in_force.declared {
            None => self.settings.last_in_force.as_ref() == Some(&candidate.source),
            Some(_) => self.in_force.source == candidate.source && !self.in_force.respecified,
        }
    }

    /// Puts the candidate in force and decides about every object that is not as it declares.
    fn activate(&mut self, candidate: Candidate, now: Instant) {
        let Candidate { source, declared, order, kinds } = candidate;
        let grows = self.grows(&declared);
        self.kinds.begin_commit(kinds);
        self.report.commit_in_force();
        if self.in_force.source != source {
            let (commit, objects) = (source.commit.clone(), declared.objects.len());
            let before = self.in_force.declared.as_deref();
            let changes = before.map(|before| DeclaredChanges::between(before, &declared));
            self.commands.push(Command::Notice(Notice::Syncing { commit, objects, changes }));
        }
        self.prunes.begin_commit(&source.commit, self.objects.inventory().count());
        self.values.keep(&declared);
        // A commit comes again with other objects when Namespaces change.
        let waiting_since = self.in_force.waiting_since.filter(|_| self.in_force.source == source);
        self.in_force = InForce { source, declared: Some(declared), order, waiting_since, respecified: false };
        self.held.take_if(|held| held.candidate.is_none());
        self.prunes.in_force(self.in_force.source.layout);
        if grows || self.has_more_to_remember() {
            self.record();
        }
        (self.applied, self.pruned) = (0, 0);
        let unread = self.objects.marked(Mark::Unread).chain(self.objects.queued_repairs());
        // The answer to a read of an object that is not declared any more is not taken in.
        let is_declared = |id: &&ObjectId| matches!(self.declared(id), Declared::Object(_));
        let unheard = self.objects.marked(Mark::InFlight).filter(|id| !is_declared(id));
        // A read may have failed, which is not tried again.
        let failed = [Mark::Failed, Mark::Untold].into_iter().flat_map(|mark| self.objects.marked(mark));
        let doubtful: BTreeSet<ObjectId> = unread.chain(unheard).chain(failed).cloned().collect();
        self.objects.begin_commit();
        self.drifted.clear();
        self.forget_strangers();
        self.forget_gone();
        for id in self.unsettled() {
            self.evaluate(&id, now);
        }
        for id in doubtful {
            self.readiness_may_have_changed(&id, now);
        }
        // Those that could not be read before: what is to be deleted may wait for them.
        let unseen: Vec<ObjectId> = self.unlisted().filter(|id| self.is_left_unseen(id)).cloned().collect();
        unseen.iter().for_each(|id| self.evaluate(id, now));
        self.read_all_unserved(now);
    }

    /// Objects that are known to be gone, and that were to be made again, are none of the sync's if the commit does not declare them.
    fn forget_gone(&mut self) {
        let is_gone = |tracked: &Tracked| {
            let is_made = matches!(tracked.phase, Phase::InFlight(_));
            tracked.recorded && tracked.live.is_none() && !tracked.unlisted && !is_made
        };
        let gone = self.objects.all().iter().filter(|(_, tracked)| is_gone(tracked));
        let gone: Vec<ObjectId> = gone.map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.forget_record(id));
    }

    /// `true` when an object is declared that is not the sync's yet.
    fn grows(&self, declared: &DeclaredSet) -> bool {
        let mut tracked = walk(self.objects.all());
        let is_ours = |id: &ObjectId| tracked(id).is_some_and(|tracked| tracked.own().is_some());
        !declared.objects.keys().all(is_ours)
    }

    /// The objects about which there is something to decide when a commit comes in force.
    fn unsettled(&self) -> Vec<ObjectId> {
        let Some(set) = &self.in_force.declared else { return Vec::new() };
        let (mut declared, mut tracked) = (walk(&set.objects), walk(self.objects.all()));
        let known = self.objects.lives().filter(|(id, live)| {
            let declared = declared(id).map_or_else(|| Declared::of(set, id), |object| Declared::Object(object));
            let unread = live.health == Health::Unknown && !is_always_current(id);
            let left = live.is_ours() && matches!(declared, Declared::Absent);
            unread || left || decide(declared, Some(live), &self.settings.sync) != Action::Nothing
        });
        let missing = set.objects.keys().filter(|id| tracked(id).is_none_or(|tracked| tracked.live.is_none()));
        let left = self.unlisted().filter(|id| !set.objects.contains_key(*id));
        known.map(|(id, _)| id).chain(missing).chain(left).cloned().collect()
    }
}

/// `true` when an object is just being made or taken over that the candidate does not declare: it would have to be deleted, or to be left to
/// another sync, which does not know yet that this one has it.
fn makes_others(objects: &Objects, candidate: &Candidate) -> bool {
    let mut made = objects.marked(Mark::InFlight).filter(|id| objects.is_being_made(id));
    made.any(|id| !matches!(Declared::of(&candidate.declared, id), Declared::Object(_)))
}

#[cfg(test)]
mod tests;
