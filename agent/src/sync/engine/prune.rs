//! Deletions: each is counted before it is sent, and deletions that are too many are held until a user approves them.
//!
//! The guard ([`Prune`]) judges all deletions that follow from a commit when the commit comes in force, and again when more
//! are found later, because a kind is served again or an object appears. Only what it let pass is deleted.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::model::object::{ObjectId, walk};
use crate::sync::plan::guard::{Deletions, HeldPrune, Prune};
use crate::sync::plan::memory::{GuardMemory, Proof};
use crate::sync::plan::order::is_deleted_with;
use crate::sync::plan::{Action, Declared, decide};

use super::commit::{Candidate, Held};
use super::{Command, Notice, State};

/// The deletions of a sync.
#[derive(Default)]
pub(super) struct Prunes {
    /// Deletions within the budget that are not carried out yet.
    within_budget: Deletions,
    /// Objects that go along with the CRDs among these deletions, and count too.
    along: BTreeMap<ObjectId, usize>,
    /// The approval in use.
    granted: Option<Offer>,
    /// The approval that the last finding asked for.
    offered: Option<Offer>,
    /// The facts that the record keeps. Deletions of the last hour have those that are within the budget and not carried out yet.
    memory: GuardMemory,
    /// Deletions were found that the guard has not judged.
    found: bool,
    /// Number of objects of the kinds that these CRDs define; `None` while they are being counted.
    counts: BTreeMap<ObjectId, Option<ObjectCount>>,
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

/// The guard's answer about deletions.
pub(super) enum Judgement {
    /// They may be sent.
    Passed,
    /// They are too many, as this finding says.
    Held(Finding, Offer),
    /// Objects that go with a CRD are being counted.
    Counting,
}

impl Prunes {
    /// A sync whose record has these facts.
    pub(super) fn after(memory: GuardMemory) -> Self {
        Self { memory, ..Self::default() }
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
        let mut of_object = self.within_budget.range((id.clone(), "".into())..).take_while(|(other, _)| other == id);
        if let Some(deletion) = of_object.next().cloned() {
            self.within_budget.remove(&deletion);
        }
    }

    /// The objects of another commit are counted anew.
    pub(super) fn forget_counts(&mut self) {
        self.counts.clear();
    }

    /// A commit comes in force: approvals of another one are for nothing any more.
    pub(super) fn begin_commit(&mut self, commit: &str) {
        self.found = false;
        self.granted.take_if(|granted| !granted.approval.starts_with(commit));
    }

    /// Another source is followed: approvals are for nothing any more.
    pub(super) fn forget_approvals(&mut self) {
        (self.granted, self.offered) = (None, None);
        self.found = true;
    }

    fn allows(&self, deletion: &(ObjectId, Box<str>)) -> bool {
        let granted = self.granted.as_ref().is_some_and(|granted| granted.deletions.contains(deletion));
        granted || self.within_budget.contains(deletion)
    }
}

impl State {
    /// `true` when the guard let the deletion of the object pass.
    pub(super) fn may_delete(&self, id: &ObjectId) -> bool {
        let Some(live) = self.objects.live(id) else { return false };
        self.prunes.allows(&(id.clone(), live.uid.clone()))
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
    fn judge_again(&mut self) {
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
        let commit = self.in_force.commit.clone();
        match self.judge(&declared, &commit, true, now) {
            Judgement::Counting => self.prunes.found(),
            Judgement::Held(finding, offer) => self.hold_in_force(finding, offer, now),
            Judgement::Passed => {
                if self.held.take_if(|held| held.candidate.is_none()).is_some() {
                    self.report.status_changed();
                }
                let passed: Vec<ObjectId> = self.prune_of(&declared).deletions.into_iter().map(|(id, _)| id).collect();
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
    pub(super) fn judge(&mut self, declared: &DeclaredSet, commit: &str, in_force: bool, now: Instant) -> Judgement {
        // Nothing is looked at again before the answer, however many events come meanwhile.
        if self.prunes.counts.values().any(Option::is_none) {
            return Judgement::Counting;
        }
        let mut prune = self.prune_of(declared);
        match self.counted_definitions(&prune.deletions) {
            Some(definitions) => prune.definitions = definitions,
            None => return Judgement::Counting,
        }
        let (sent, waiting): (Deletions, Deletions) = std::mem::take(&mut self.prunes.within_budget)
            .into_iter()
            .partition(|(id, _)| self.objects.is_in_flight(id));
        let along = |prunes: &Prunes, deletions: &Deletions| -> usize {
            deletions.iter().filter_map(|(id, _)| prunes.along.get(id)).sum()
        };
        let counted = waiting.len() + along(&self.prunes, &waiting);
        self.prunes.memory.recent.take_back(counted);
        prune.deletions.retain(|deletion| !sent.contains(deletion));
        prune.definitions.retain(|(crd, _)| !sent.iter().any(|(id, _)| id == crd));
        self.prunes.within_budget = sent;
        let approval = prune.approval(commit);
        if prune.deletions.is_empty() || self.is_approved(commit, &approval, &prune) {
            self.record_is_proven();
            return Judgement::Passed;
        }
        let recent = self.prunes.memory.recent.number(now);
        if prune.is_large(recent) {
            let held = HeldPrune {
                commit,
                in_force,
                recent,
                approval: &approval,
                refused: self.settings.approval.as_deref().filter(|approval| approval.starts_with(commit)),
                how_to_approve: &self.settings.how_to_approve,
            };
            let finding = prune.finding(&held);
            let Prune { deletions, definitions, .. } = prune;
            return Judgement::Held(finding, Offer { approval, deletions, definitions });
        }
        self.prunes
            .along
            .extend(prune.definitions.iter().filter_map(|(crd, objects)| Some((crd.clone(), (*objects)?))));
        let counted = prune.deletions.len() + along(&self.prunes, &prune.deletions);
        self.prunes.memory.recent.add(counted, now);
        self.prunes.within_budget.append(&mut prune.deletions);
        Judgement::Passed
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
        let deletions: Deletions = self
            .objects
            .inventory()
            .filter(|(id, live)| {
                let keep = self.objects.notes(id).is_some_and(|notes| notes.keep);
                declared_form(id).is_none()
                    && !keep
                    && self.kinds.is_countable(id)
                    && self.unlisted_in(id).is_none()
                    && decide(Declared::of(declared, id), Some(live), &self.settings.sync) == Action::Delete
            })
            .map(|(id, live)| (id.clone(), live.uid.clone()))
            .collect();
        let there = || self.objects.inventory().filter(|(_, live)| !live.terminating && live.applied);
        let count = |objects: &mut dyn Iterator<Item = &ObjectId>| {
            objects.fold((0, 0), |(all, namespaces), id| (all + 1, namespaces + usize::from(id.is_namespace())))
        };
        let inventory = count(&mut there().map(|(id, _)| id));
        let kept = count(&mut there().map(|(id, _)| id).filter(|id| declared.objects.contains_key(id)));
        let unproven = self.prunes.memory.proof == Proof::Approval;
        Prune { inventory, kept, recorded: self.recording.size(), unproven, deletions, definitions: Vec::new() }
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
