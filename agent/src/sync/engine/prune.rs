//! Deletions: each is counted before it is sent, and deletions that are too many are held until a user approves them.
//!
//! The guard ([`Prune`]) judges all deletions that follow from a commit when the commit comes in force, and again when more
//! are found later, because a kind is served again or an object appears. Only what it let pass is deleted.

mod budget;

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::model::object::{ObjectId, walk};
use crate::sync::live::Live;
use crate::sync::plan::guard::{Deletions, HeldPrune, ObjectCounts, Prune};
use crate::sync::plan::memory::Proof;
use crate::sync::plan::order::{is_deleted_with, namespace_of};
use crate::sync::plan::{Action, Declared, decide};

use super::commit::{Candidate, Held};
use super::objects::Tracked;
use super::{Command, Notice, State};
use budget::{InventoryBefore, Offer};

pub(super) use budget::{ObjectCount, Occasion, Prunes};

/// The guard's answer about deletions.
pub(super) enum Judgement {
    /// Some may be sent, and some are too many.
    Judged {
        /// The objects whose deletions may be sent.
        passed: Vec<ObjectId>,
        /// The finding about the others.
        held: Option<(Finding, Offer)>,
    },
    /// Objects that go with a CRD are being counted.
    Counting,
}

impl State {
    /// `true` when the guard let the deletion of the object pass.
    pub(super) fn may_delete(&self, id: &ObjectId) -> bool {
        let Some(live) = self.objects.live(id) else { return false };
        let goes = || {
            let declared = self.in_force.declared.as_deref().filter(|declared| self.goes_with_its_objects(declared));
            declared.is_some_and(|declared| self.is_deleted_by(declared, id, live))
        };
        (self.prunes.allows(&(id.clone(), live.uid.clone())) && !self.is_in_held_commit(id)) || goes()
    }

    /// `true` if the newest commit, which is held, declares the object: the commit in force does not delete it.
    fn is_in_held_commit(&self, id: &ObjectId) -> bool {
        let held = self.held.as_ref().and_then(|held| held.candidate.as_ref());
        held.is_some_and(|candidate| !matches!(Declared::of(candidate.declared(), id), Declared::Absent))
    }

    /// `true` when the sync itself is being deleted, with all that its record names.
    pub(super) fn goes_with_its_objects(&self, declared: &DeclaredSet) -> bool {
        declared.undeclared.is_gone_before() && self.prunes.memory.proof == Proof::Record
    }

    /// A user sets or removes the approval of deletions. Deletions of an approval that is taken back are judged again, but
    /// for those that the API server has already.
    pub(super) fn approve(&mut self, approval: Option<String>) {
        if self.settings.approval == approval {
            return;
        }
        self.settings.approval = approval;
        let granted = &mut self.prunes.granted;
        if granted.take_if(|granted| self.settings.approval.as_ref() != Some(&granted.approval)).is_some() {
            self.withdraw_deletions();
        }
        self.judge_again();
    }

    /// Deletions may not be wanted any more. Each that waits for its turn, or for the search of the objects that would go with it, is
    /// decided about anew.
    pub(super) fn withdraw_deletions(&mut self) {
        if self.objects.deletions_in_flight().next().is_some() {
            self.commands.push(Command::Withdraw);
        }
    }

    /// Held deletions are judged again.
    pub(super) fn judge_again(&mut self) {
        if let Some(candidate) = self.held.as_mut().and_then(|held| held.candidate.take()) {
            self.candidate = Some(candidate);
        }
        self.prunes.forget_counts();
        self.prunes.found();
    }

    /// An object of the commit in force is gone: there may be nothing left to hold.
    pub(super) fn carried_out(&mut self, id: &ObjectId) {
        self.prunes.carried_out(id);
        if self.held.as_ref().is_some_and(|held| held.candidate.is_none()) {
            self.prunes.found();
        }
    }

    /// An object goes, or is the sync's no more. Its Namespace or CRD that had to stay because of it may be deleted then.
    pub(super) fn vanishes(&mut self, id: &ObjectId) {
        self.carried_out(id);
        // One that the commit in force declares is made again.
        if self.held.is_some() && self.is_offered(id) && !matches!(self.declared(id), Declared::Object(_)) {
            self.judge_again();
        }
        if self.action(id) == Action::Abandon && self.doomed_container(id).is_some() {
            self.prunes.found();
        }
    }

    /// An object was made, or has its label again: an approval that a finding asks for would not be for this one.
    pub(super) fn made_anew(&mut self, id: &ObjectId) {
        // A list may show many objects.
        let Some(held) = &self.held else { return };
        let is_offered = self.is_offered(id);
        let declares = |candidate: &Candidate| !matches!(Declared::of(candidate.declared(), id), Declared::Absent);
        if is_offered || !held.candidate.as_ref().is_none_or(declares) {
            self.judge_again();
        }
    }

    /// `true` for an object that an approval was offered for.
    fn is_offered(&self, id: &ObjectId) -> bool {
        self.prunes.offered.iter().flat_map(|offer| &offer.deletions).any(|(other, _)| other == id)
    }

    /// `true` when deletions are held and another sync declares an object among them now.
    pub(super) fn has_handed_over_held(&self) -> bool {
        let mut offered = self.prunes.offered.iter().flat_map(|offer| &offer.deletions);
        self.held.is_some() && offered.any(|(id, _)| self.is_kept(id))
    }

    /// When some deletions of the last hour count no more, what is held is judged again.
    pub(super) fn next_judgement(&self) -> Option<Instant> {
        self.held.as_ref()?.judged_again_at
    }

    pub(super) fn judge_after_the_hour(&mut self, now: Instant) {
        let due = |held: &mut Held| held.judged_again_at.take_if(|at| *at <= now).is_some();
        if self.held.as_mut().is_some_and(due) {
            self.judge_again();
        }
    }

    /// Judges deletions that follow from the commit in force and were found after it came in force.
    pub(super) fn judge_found(&mut self, now: Instant) {
        if !self.prunes.found || self.candidate.is_some() || self.stopping {
            return;
        }
        self.prunes.judged();
        let Some(declared) = self.in_force.declared.clone() else { return };
        let commit = self.in_force.source.commit.clone();
        match self.judge(&declared, &commit, Occasion::Found, now) {
            Judgement::Counting => self.prunes.found(),
            Judgement::Judged { passed, held } => {
                match held {
                    Some((finding, offer)) => self.hold_in_force(finding, offer, now),
                    None if self.held.take_if(|held| held.candidate.is_none()).is_some() => {
                        self.report.status_changed();
                    }
                    None => {}
                }
                if self.has_more_to_remember() {
                    self.record();
                }
                for id in passed {
                    self.evaluate(&id, now);
                }
            }
        }
    }

    /// The commit in force stays so, without its deletions. Another commit that is held is told of instead.
    pub(super) fn hold_in_force(&mut self, finding: Finding, offer: Offer, now: Instant) {
        self.prunes.held.clone_from(&offer.deletions);
        if self.held.as_ref().is_none_or(|held| held.candidate.is_none()) {
            self.hold(None, finding, offer, now);
        }
    }

    /// Tells users that deletions are held; without a candidate they follow from the commit in force.
    pub(super) fn hold(&mut self, candidate: Option<Candidate>, finding: Finding, offer: Offer, now: Instant) {
        let told = self.prunes.offered.as_ref().is_some_and(|before| before.approval == offer.approval);
        if !told || self.held.as_ref().is_some_and(|before| before.finding != finding) {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
        }
        self.report.status_changed();
        self.prunes.offered = Some(offer);
        let judged_again_at = self.prunes.memory.recent.next_change(now);
        self.held = Some(Held { candidate, finding, judged_again_at });
    }

    /// Judges the deletions that follow from this declared set, and remembers those that pass. What is held already with the commit in
    /// force stays held, and holds no other deletion.
    pub(super) fn judge(
        &mut self,
        declared: &DeclaredSet,
        commit: &str,
        occasion: Occasion,
        now: Instant,
    ) -> Judgement {
        // Nothing is looked at again before the answer, however many events come meanwhile.
        if self.prunes.counts.values().any(Option::is_none) {
            return Judgement::Counting;
        }
        let mut prune = self.prune_of(declared, occasion);
        if self.goes_with_its_objects(declared) {
            let passed = prune.deletions.into_iter().map(|(id, _)| id).collect();
            return Judgement::Judged { passed, held: None };
        }
        match self.counted_along(&prune.deletions) {
            Some(taking_along) => prune.taking_along = taking_along,
            None => return Judgement::Counting,
        }
        if let Some(granted) = &mut self.prunes.granted {
            granted.forget_grown(&prune.taking_along);
        }
        let given = self.settings.approval.clone().filter(|approval| approval.starts_with(commit));
        self.prunes.inherit(&prune, given.as_deref(), now);
        let before = if occasion == Occasion::Found { self.prunes.before } else { prune.inventory.objects };
        let before = InventoryBefore { now: before, first: self.prunes.memory.recent.inventory_before(now) };
        let all = prune.deletions.clone();
        let waiting = self.prunes.take_back();
        prune.leave_out(|deletion| self.prunes.within_budget.contains_key(deletion));
        let held = match prune.deletions.is_empty() || self.is_approved(commit, &prune) {
            true => {
                // An older commit that is in force again says nothing of what the newest one deletes.
                if *commit == *self.source.commit {
                    self.record_is_proven();
                }
                self.prunes.held.clear();
                Prune::default()
            }
            false => self.prunes.let_pass_within_budget(prune, (occasion, &waiting), before, now),
        };
        self.prunes.memory.passed = self.prunes.marks();
        let passed = all.into_iter().filter(|deletion| self.prunes.allows(deletion)).map(|(id, _)| id).collect();
        let held = (!held.deletions.is_empty()).then(|| {
            let approval = held.approval(commit);
            let finding = held.finding(&HeldPrune {
                commit,
                in_force: occasion != Occasion::NewCommit,
                dynamic: declared.dynamic,
                recent: self.prunes.memory.recent.number(now),
                approval: &approval,
                refused: given.as_deref(),
                how_to_approve: &self.settings.how_to_approve,
            });
            let Prune { deletions, taking_along, .. } = held;
            (finding, Offer { approval, deletions, taking_along })
        });
        Judgement::Judged { passed, held }
    }

    /// Nothing of what the lost record may have named is left, or a user approved its deletion: from now on the record says
    /// which objects are the sync's.
    fn record_is_proven(&mut self) {
        if self.prunes.memory.proof == Proof::Approval && self.kinds.are_shown() {
            self.prunes.memory.proof = Proof::Record;
        }
    }

    /// `true` when the approval on the sync is for these deletions, or for more than these that it was offered for. It is for
    /// nothing else from then on.
    fn is_approved(&mut self, commit: &str, prune: &Prune) -> bool {
        let Some(given) = &self.settings.approval else { return false };
        let offers = [&self.prunes.granted, &self.prunes.offered];
        let covered = offers.into_iter().flatten().any(|o| o.approval == *given && o.covers(commit, prune));
        if !covered && *given != prune.approval(commit) {
            return false;
        }
        let (deletions, taking_along) = (prune.deletions.clone(), prune.taking_along.clone());
        self.prunes.granted = Some(Offer { approval: given.clone(), deletions, taking_along });
        true
    }

    /// The deletions that follow from a declared set, of kinds whose objects are all known. Those that are found after a commit came in
    /// force are measured by the objects that it found: it keeps none that it has made itself. What is just being made or taken over is none
    /// of the sync's objects yet.
    fn prune_of(&self, declared: &DeclaredSet, occasion: Occasion) -> Prune {
        let mut declared_form = walk(&declared.objects);
        let unproven = self.prunes.memory.proof == Proof::Approval;
        let recorded = if occasion == Occasion::Found { ObjectCounts::default() } else { self.recording.size() };
        let mut prune = Prune { recorded, unproven, ..Prune::default() };
        let mut staying = Vec::new();
        for (id, tracked) in self.objects.all() {
            let is_declared = declared_form(id).is_some();
            if self.is_needed_only(id, tracked, declared) {
                let declares = |set: &Arc<DeclaredSet>| set.objects.contains_key(id);
                if occasion != Occasion::Found && (tracked.recorded || self.in_force.declared.iter().any(declares)) {
                    prune.recorded.leave_out(id);
                }
                continue;
            }
            let is_new = || (tracked.newer && occasion == Occasion::Found) || tracked.is_being_made();
            let is_measure = !is_declared || !is_new();
            if is_measure && tracked.recorded && occasion == Occasion::Found {
                prune.recorded.add(id);
            }
            let Some(live) = tracked.own() else { continue };
            let is_there = is_measure && !live.terminating && live.applied && !self.goes_with_namespace(id, declared);
            if is_there {
                prune.inventory.add(id);
            }
            if is_declared {
                if is_there {
                    prune.kept.add(id);
                }
            } else if self.is_deleted_by(declared, id, live) {
                prune.deletions.insert((id.clone(), live.uid.clone()));
            } else if self.action_by(declared, id, live) == Action::Abandon {
                staying.push(id);
            }
        }
        prune.deletions.retain(|(id, _)| !self.holds_one(id, &staying));
        prune
    }

    /// `true` for a Namespace that no file declares and that is not the sync's: the record names it all the same.
    fn is_needed_only(&self, id: &ObjectId, tracked: &Tracked, declared: &DeclaredSet) -> bool {
        let sets = self.in_force.declared.as_deref().into_iter().chain([declared]);
        let is_implicit = || sets.filter_map(|set| set.objects.get(id)).any(|object| object.implicit);
        tracked.live.is_some() && tracked.own().is_none() && is_implicit()
    }

    /// `true` if the deletion of an object that is not declared can be judged.
    fn is_deleted_by(&self, declared: &DeclaredSet, id: &ObjectId, live: &Live) -> bool {
        !self.is_kept(id)
            && !self.is_in_held_commit(id)
            && (!live.takes_along || self.others.number_of(id).is_some())
            && self.kinds.is_countable(id)
            && self.unlisted_in(id).is_none()
            && self.action_by(declared, id, live) == Action::Delete
    }

    fn action_by(&self, declared: &DeclaredSet, id: &ObjectId, live: &Live) -> Action {
        match decide(Declared::of(declared, id), Some(live), &self.settings.sync) {
            Action::Delete if self.goes_with_namespace(id, declared) => Action::Wait,
            action => action,
        }
    }

    /// `true` if the object's Namespace is being deleted, and takes the object along whatever the sync does.
    pub(super) fn goes_with_namespace(&self, id: &ObjectId, declared: &DeclaredSet) -> bool {
        let is_going = |namespace: &ObjectId| self.objects.live(namespace).is_some_and(|live| live.terminating);
        declared.going.contains(id.namespace()) || namespace_of(id).is_some_and(|namespace| is_going(&namespace))
    }

    /// `true` for a Namespace or CRD that would take one of these objects along: it is abandoned with it.
    fn holds_one(&self, id: &ObjectId, staying: &[&ObjectId]) -> bool {
        let plural = |other| if id.is_crd() { self.kinds.plural(other) } else { None };
        staying.iter().any(|other| is_deleted_with(other, plural(other), id))
    }

    /// The CRDs among these deletions, and the syncs that take their objects along, with the number of objects that go with each and are no
    /// deletions themselves; `None` while objects are being counted.
    fn counted_along(&mut self, deletions: &Deletions) -> Option<Vec<(ObjectId, ObjectCount)>> {
        let mut counted = Some(Vec::new());
        for (crd, _) in deletions.iter().filter(|(id, _)| id.is_crd()) {
            let Some(count) = self.prunes.counts.get(crd) else {
                self.prunes.counts.insert(crd.clone(), None);
                self.commands.push(Command::Count(crd.clone()));
                counted = None;
                continue;
            };
            let of_sync = |(id, _): &&(ObjectId, Box<str>)| is_deleted_with(id, self.kinds.plural(id), crd);
            let others = count.map(|count| count.map(|n| n.saturating_sub(deletions.iter().filter(of_sync).count())));
            counted = counted.zip(others).map(|(mut counted, others)| {
                counted.push((crd.clone(), others));
                counted
            });
        }
        let takes_along = |id: &&ObjectId| self.objects.live(id).is_some_and(|live| live.takes_along);
        for sync in deletions.iter().map(|(id, _)| id).filter(takes_along) {
            let objects = self.others.number_of(sync).flatten();
            counted.iter_mut().for_each(|counted| counted.push((sync.clone(), objects)));
        }
        counted
    }

    /// `true` if the objects of the CRD's kind are counted. When its deletion had to wait, or failed, others may have made some since: they
    /// are counted then.
    pub(super) fn ensure_counted(&mut self, crd: &ObjectId) -> bool {
        let count = self.prunes.counts.entry(crd.clone());
        if matches!(&count, Entry::Occupied(count) if count.get().is_some()) {
            return true;
        }
        if let Entry::Vacant(count) = count {
            count.insert(None);
            self.commands.push(Command::Count(crd.clone()));
        }
        // The guard judges the deletion again when the answer is there.
        self.prunes.found();
        false
    }

    /// The objects of a CRD's kind were counted.
    pub(super) fn counted(&mut self, crd: &ObjectId, objects: Option<usize>) {
        if let Some(count) = self.prunes.counts.get_mut(crd) {
            *count = Some(objects);
        }
    }
}

#[cfg(test)]
mod tests;
