//! Deletions: each is counted before it is sent, and deletions that are too many are held until a user approves them.
//!
//! The guard ([`Prune`]) judges all deletions that follow from a commit when the commit comes in force, and again when more
//! are found later, because a kind is served again or an object appears. Only what it let pass is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::compile::declared::{DeclaredSet, Undeclared};
use crate::model::finding::Finding;
use crate::model::object::{ObjectId, walk};
use crate::sync::live::Live;
use crate::sync::plan::guard::{Deletions, HeldPrune, Prune};
use crate::sync::plan::memory::{GuardMemory, Proof, PruneMark};
use crate::sync::plan::order::is_deleted_with;
use crate::sync::plan::{Action, Declared, decide};

use super::commit::{Candidate, Held};
use super::{Command, Notice, State};

/// The deletions of a sync.
#[derive(Default)]
pub(super) struct Prunes {
    /// Deletions within the budget that are not carried out yet.
    within_budget: BTreeMap<(ObjectId, Box<str>), Counted>,
    /// The approval in use.
    granted: Option<Offer>,
    /// The approval that the last finding asked for.
    offered: Option<Offer>,
    /// The facts that the record keeps.
    memory: GuardMemory,
    /// Deletions that an earlier process let pass.
    inherited: BTreeSet<PruneMark>,
    /// Number of the sync's objects before the commit in force.
    before: usize,
    /// Deletions were found that the guard has not judged.
    found: bool,
    /// Number of objects of the kinds that these CRDs define; `None` while they are being counted.
    counts: BTreeMap<ObjectId, Option<ObjectCount>>,
}

/// A deletion that counts for the budget.
#[derive(Clone, Copy)]
struct Counted {
    /// The moment that it counts for.
    at: Instant,
    /// It was sent, and may have taken effect.
    sent: bool,
}

/// The answer to [`Command::Count`]: `None` when the API server refuses it.
type ObjectCount = Option<usize>;

/// Deletions, and the approval that lets them pass.
pub(super) struct Offer {
    approval: String,
    deletions: Deletions,
    definitions: Vec<(ObjectId, ObjectCount)>,
}

impl Offer {
    /// `true` when the approval is for these deletions of this commit, or for more than these.
    fn covers(&self, commit: &str, prune: &Prune) -> bool {
        let fewer = |(crd, objects): &(ObjectId, ObjectCount)| {
            self.definitions.iter().any(|(other, offered)| other == crd && (offered.is_none() || objects <= offered))
        };
        self.approval.starts_with(commit)
            && self.deletions.is_superset(&prune.deletions)
            && prune.definitions.iter().all(fewer)
    }
}

/// Number of objects that go along with an object, if it is a CRD.
fn along(definitions: &[(ObjectId, ObjectCount)], id: &ObjectId) -> usize {
    let count = definitions.iter().find(|(crd, _)| crd == id).map(|(_, count)| *count);
    count.map_or(0, |count| count.unwrap_or(usize::MAX))
}

/// The guard's answer about deletions.
pub(super) enum Judgement {
    /// These may be sent.
    Passed(Vec<ObjectId>),
    /// They are too many, as this finding says.
    Held(Finding, Offer),
    /// Objects that go with a CRD are being counted.
    Counting,
}

impl Prunes {
    /// A sync whose record has these facts.
    pub(super) fn after(memory: GuardMemory) -> Self {
        Self { inherited: memory.passed.clone(), memory, ..Self::default() }
    }

    /// The facts that the record is to keep.
    pub(super) fn memory(&self) -> &GuardMemory {
        &self.memory
    }

    /// `true` while deletions are to be judged.
    pub(super) fn is_judging(&self) -> bool {
        self.found
    }

    /// More deletions may follow than the guard has judged.
    pub(super) fn found(&mut self) {
        self.found = true;
    }

    /// Everything that was found is judged.
    pub(super) fn judged(&mut self) {
        self.found = false;
    }

    /// The object is gone.
    pub(super) fn carried_out(&mut self, id: &ObjectId) {
        let mut of_object = self.within_budget.range((id.clone(), "".into())..).map(|(deletion, _)| deletion);
        if let Some(deletion) = of_object.next().filter(|(other, _)| other == id).cloned() {
            self.within_budget.remove(&deletion);
        }
    }

    /// A deletion that was let pass is sent.
    pub(super) fn sent(&mut self, deletion: &(ObjectId, Box<str>), now: Instant) {
        if let Some(counted) = self.within_budget.get_mut(deletion) {
            *counted = Counted { at: self.memory.recent.sent(counted.at, now), sent: true };
        }
    }

    /// The API server has refused the deletion of the object: it had no effect.
    pub(super) fn refused(&mut self, id: &ObjectId) {
        let of_object =
            self.within_budget.range_mut((id.clone(), "".into())..).take_while(|((other, _), _)| other == id);
        of_object.for_each(|(_, counted)| counted.sent = false);
    }

    /// The objects of another commit are counted anew.
    pub(super) fn forget_counts(&mut self) {
        self.counts.clear();
    }

    /// A commit comes in force: approvals of another one are for nothing any more.
    pub(super) fn begin_commit(&mut self, commit: &str, objects: usize) {
        (self.found, self.before) = (false, objects);
        self.granted.take_if(|granted| !granted.approval.starts_with(commit));
    }

    /// Another source is followed: approvals are for nothing any more.
    pub(super) fn forget_approvals(&mut self) {
        (self.granted, self.offered) = (None, None);
        self.inherited.clear();
        self.found = true;
    }

    /// Takes up those of these deletions that an earlier process let pass, within the budget or under the approval that is set.
    fn inherit(&mut self, prune: &Prune, approval: Option<&str>, now: Instant) {
        if self.inherited.is_empty() {
            return;
        }
        let mark = |deletion: &(ObjectId, Box<str>), approval: &str| {
            PruneMark::new(deletion, along(&prune.definitions, &deletion.0), approval)
        };
        // Once: what is taken back counts no more.
        let mut within_budget = prune.deletions.clone();
        within_budget.retain(|deletion| self.inherited.remove(&mark(deletion, "")));
        let first = self.memory.recent.first(now).unwrap_or(now);
        for deletion in within_budget {
            self.within_budget.entry(deletion).or_insert(Counted { at: first, sent: false });
        }
        let Some(approval) = approval.filter(|_| self.granted.is_none()) else { return };
        let mut deletions = prune.deletions.clone();
        deletions.retain(|deletion| self.inherited.contains(&mark(deletion, approval)));
        if !deletions.is_empty() {
            let of_these = |(crd, _): &&(ObjectId, ObjectCount)| deletions.iter().any(|(id, _)| id == crd);
            let definitions = prune.definitions.iter().filter(of_these).cloned().collect();
            self.granted = Some(Offer { approval: approval.to_owned(), deletions, definitions });
        }
    }

    /// The marks of all deletions that were let pass.
    fn marks(&self) -> BTreeSet<PruneMark> {
        let granted = self.granted.iter().flat_map(|Offer { approval, deletions, definitions }| {
            deletions.iter().map(|one| PruneMark::new(one, along(definitions, &one.0), approval))
        });
        granted.chain(self.within_budget.keys().map(|one| PruneMark::new(one, 0, ""))).collect()
    }

    fn allows(&self, deletion: &(ObjectId, Box<str>)) -> bool {
        let granted = self.granted.as_ref().is_some_and(|granted| granted.deletions.contains(deletion));
        granted || self.within_budget.contains_key(deletion)
    }
}

impl State {
    /// `true` when the guard let the deletion of the object pass.
    pub(super) fn may_delete(&self, id: &ObjectId) -> bool {
        let Some(live) = self.objects.live(id) else { return false };
        let goes = || {
            let declared = self.in_force.declared.as_deref().filter(|declared| self.goes_with_its_objects(declared));
            declared.is_some_and(|declared| self.is_deleted_by(declared, id, live))
        };
        self.prunes.allows(&(id.clone(), live.uid.clone())) || goes()
    }

    /// `true` when the sync itself is being deleted, with all that its record names.
    fn goes_with_its_objects(&self, declared: &DeclaredSet) -> bool {
        declared.undeclared == Undeclared::Deleted && self.prunes.memory.proof == Proof::Record
    }

    /// A user sets or removes the approval of deletions. Deletions of an approval that is taken back are judged again, but
    /// for those that are sent already.
    pub(super) fn approve(&mut self, approval: Option<String>) {
        if self.settings.approval == approval {
            return;
        }
        self.settings.approval = approval;
        self.prunes.granted.take_if(|granted| self.settings.approval.as_ref() != Some(&granted.approval));
        self.judge_again();
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

    /// An object was made anew: an approval that a finding asks for would not be for this one.
    pub(super) fn made_anew(&mut self, id: &ObjectId) {
        let is_offered = |offer: &Offer| offer.deletions.iter().any(|(other, _)| other == id);
        if self.held.is_some() && self.prunes.offered.as_ref().is_some_and(is_offered) {
            self.judge_again();
        }
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
        match self.judge(&declared, &commit, true, Some(self.prunes.before), now) {
            Judgement::Counting => self.prunes.found(),
            Judgement::Held(finding, offer) => self.hold_in_force(finding, offer, now),
            Judgement::Passed(passed) => {
                if self.held.take_if(|held| held.candidate.is_none()).is_some() {
                    self.report.status_changed();
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

    /// Judges the deletions that follow from this declared set, and remembers those that pass.
    ///
    /// `in_force` is `true` if the commit is in force already, and `before` the number of objects of which a part may go: those that
    /// are there, if it is not given.
    pub(super) fn judge(
        &mut self,
        declared: &DeclaredSet,
        commit: &str,
        in_force: bool,
        before: Option<usize>,
        now: Instant,
    ) -> Judgement {
        // Nothing is looked at again before the answer, however many events come meanwhile.
        if self.prunes.counts.values().any(Option::is_none) {
            return Judgement::Counting;
        }
        let mut prune = self.prune_of(declared);
        if self.goes_with_its_objects(declared) {
            return Judgement::Passed(prune.deletions.into_iter().map(|(id, _)| id).collect());
        }
        match self.counted_definitions(&prune.deletions) {
            Some(definitions) => prune.definitions = definitions,
            None => return Judgement::Counting,
        }
        let given = self.settings.approval.clone().filter(|approval| approval.starts_with(commit));
        self.prunes.inherit(&prune, given.as_deref(), now);
        let all: Vec<ObjectId> = prune.deletions.iter().map(|(id, _)| id.clone()).collect();
        let (sent, waiting): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.prunes.within_budget).into_iter().partition(|(_, counted)| counted.sent);
        let before = before.unwrap_or(prune.inventory.objects);
        let first = self.prunes.memory.recent.inventory_before(now).unwrap_or(before);
        waiting.into_values().for_each(|counted| self.prunes.memory.recent.take_back(counted.at));
        prune.deletions.retain(|deletion| !sent.contains_key(deletion));
        prune.definitions.retain(|(crd, _)| !sent.keys().any(|(id, _)| id == crd));
        self.prunes.within_budget = sent;
        let approval = prune.approval(commit);
        let approved = prune.deletions.is_empty() || self.is_approved(commit, &approval, &prune);
        let recent = &mut self.prunes.memory.recent;
        if approved {
            self.record_is_proven();
        } else if prune.is_large(recent.left(first, now)) {
            let held = HeldPrune {
                commit,
                in_force,
                recent: recent.number(now),
                approval: &approval,
                refused: given.as_deref(),
                how_to_approve: &self.settings.how_to_approve,
            };
            let finding = prune.finding(&held);
            let Prune { deletions, definitions, .. } = prune;
            return Judgement::Held(finding, Offer { approval, deletions, definitions });
        } else {
            let before = recent.inventory_before(now).map_or(first, |_| before);
            let at = recent.add(prune.deletions.len(), before, now);
            let counted = Counted { at, sent: false };
            self.prunes.within_budget.extend(prune.deletions.into_iter().map(|deletion| (deletion, counted)));
        }
        self.prunes.memory.passed = self.prunes.marks();
        Judgement::Passed(all)
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
    fn is_approved(&mut self, commit: &str, approval: &str, prune: &Prune) -> bool {
        let Some(given) = &self.settings.approval else { return false };
        let offers = [&self.prunes.granted, &self.prunes.offered];
        let covered = offers.into_iter().flatten().any(|o| o.approval == *given && o.covers(commit, prune));
        if !covered && given != approval {
            return false;
        }
        let (deletions, definitions) = (prune.deletions.clone(), prune.definitions.clone());
        self.prunes.granted = Some(Offer { approval: given.clone(), deletions, definitions });
        true
    }

    /// The deletions that follow from a declared set, of kinds whose objects are all known.
    fn prune_of(&self, declared: &DeclaredSet) -> Prune {
        let mut declared_form = walk(&declared.objects);
        let unproven = self.prunes.memory.proof == Proof::Approval;
        let mut prune = Prune { recorded: self.recording.size(), unproven, ..Prune::default() };
        let mut staying = Vec::new();
        for (id, live) in self.objects.inventory() {
            let is_there = !live.terminating && live.applied;
            if is_there {
                prune.inventory.add(id);
            }
            if declared_form(id).is_some() {
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

    /// `true` if the deletion of an object that is not declared can be judged.
    fn is_deleted_by(&self, declared: &DeclaredSet, id: &ObjectId, live: &Live) -> bool {
        !self.is_kept(id)
            && self.kinds.is_countable(id)
            && self.unlisted_in(id).is_none()
            && self.action_by(declared, id, live) == Action::Delete
    }

    fn action_by(&self, declared: &DeclaredSet, id: &ObjectId, live: &Live) -> Action {
        decide(Declared::of(declared, id), Some(live), &self.settings.sync)
    }

    /// `true` for a Namespace or CRD that would take one of these objects along: it is abandoned with it.
    fn holds_one(&self, id: &ObjectId, staying: &[&ObjectId]) -> bool {
        let plural = |other| if id.is_crd() { self.kinds.plural(other) } else { None };
        staying.iter().any(|other| is_deleted_with(other, plural(other), id))
    }

    /// The CRDs among these deletions, with the number of objects that go with each and are no deletions themselves; `None`
    /// while objects are being counted.
    fn counted_definitions(&mut self, deletions: &Deletions) -> Option<Vec<(ObjectId, ObjectCount)>> {
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
        counted
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
