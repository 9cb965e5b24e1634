//! The deletions that a sync may send: those within the budget of an hour, and those that a user approved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::compile::SourceLayout;
use crate::model::object::ObjectId;
use crate::sync::plan::guard::{Deletions, Prune};
use crate::sync::plan::memory::{GuardMemory, PruneMark};

/// The deletions of a sync.
#[derive(Default)]
pub(in crate::sync::engine) struct Prunes {
    /// Deletions within the budget that are not carried out yet.
    pub(super) within_budget: BTreeMap<(ObjectId, Box<str>), Counted>,
    /// The approval in use.
    pub(super) granted: Option<Offer>,
    /// The approval that the last finding asked for.
    pub(super) offered: Option<Offer>,
    /// Deletions that follow from the commit in force and are held.
    pub(super) held: Deletions,
    /// The facts that the record keeps.
    pub(super) memory: GuardMemory,
    /// Deletions that an earlier process let pass.
    pub(super) inherited: BTreeSet<PruneMark>,
    /// Number of the sync's objects before the commit in force.
    pub(super) before: usize,
    /// Deletions were found that the guard has not judged.
    pub(super) found: bool,
    /// Number of objects of the kinds that these CRDs define; `None` while they are being counted.
    pub(super) counts: BTreeMap<ObjectId, Option<ObjectCount>>,
}

/// A deletion that counts for the budget.
#[derive(Clone, Copy)]
pub(super) struct Counted {
    /// The moment that it counts for.
    pub(super) at: Instant,
    /// Number of objects that it counts for.
    pub(super) weight: usize,
    /// It was sent, and may have taken effect.
    pub(super) sent: bool,
    /// It was sent before that, without an answer.
    pub(super) sent_before: bool,
}

impl Counted {
    fn unsent(at: Instant, weight: usize) -> Self {
        Self { at, weight, sent: false, sent_before: false }
    }
}

/// The answer to [`Command::Count`]: `None` when the API server refuses it.
pub(in crate::sync::engine) type ObjectCount = Option<usize>;

/// Deletions, and the approval that lets them pass.
pub(in crate::sync::engine) struct Offer {
    pub(super) approval: String,
    pub(super) deletions: Deletions,
    pub(super) taking_along: Vec<(ObjectId, ObjectCount)>,
}

impl Offer {
    /// An approval is not for CRDs and syncs with which more objects would go than it was asked for.
    pub(super) fn forget_grown(&mut self, now: &[(ObjectId, ObjectCount)]) {
        let offered = &self.taking_along;
        self.deletions.retain(|(id, _)| along(now, id) <= along(offered, id));
    }

    /// `true` when the approval is for these deletions of this commit, or for more than these.
    pub(super) fn covers(&self, commit: &str, prune: &Prune) -> bool {
        // Objects that cannot be counted may be any number.
        let number = |objects: &ObjectCount| objects.unwrap_or(usize::MAX);
        let fewer = |(crd, objects): &(ObjectId, ObjectCount)| {
            self.taking_along.iter().any(|(other, offered)| other == crd && number(objects) <= number(offered))
        };
        self.approval.starts_with(commit)
            && self.deletions.is_superset(&prune.deletions)
            && prune.taking_along.iter().all(fewer)
    }
}

/// Number of objects that go along with an object, if it is a CRD or a sync.
pub(super) fn along(taking_along: &[(ObjectId, ObjectCount)], id: &ObjectId) -> usize {
    let count = taking_along.iter().find(|(crd, _)| crd == id).map(|(_, count)| *count);
    count.map_or(0, |count| count.unwrap_or(usize::MAX))
}

/// The occasion on which deletions are judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::sync::engine) enum Occasion {
    /// A commit comes that is not in force.
    NewCommit,
    /// The commit in force comes again: after a restart, or with other objects for other Namespaces.
    SameCommit,
    /// More was found that the commit in force does not declare.
    Found,
}

/// Number of the sync's objects of which deletions take a part away.
#[derive(Clone, Copy)]
pub(super) struct InventoryBefore {
    /// Before these deletions.
    pub(super) now: usize,
    /// Before the first one of the hour, if there was any.
    pub(super) first: Option<usize>,
}

impl Prunes {
    /// A sync whose record has these facts.
    pub(in crate::sync::engine) fn after(memory: GuardMemory) -> Self {
        Self { inherited: memory.passed.clone(), memory, ..Self::default() }
    }

    /// The facts that the record is to keep.
    pub(in crate::sync::engine) fn memory(&self) -> &GuardMemory {
        &self.memory
    }

    /// The objects whose deletion the last finding asks an approval for.
    pub(in crate::sync::engine) fn offered_deletions(&self) -> impl Iterator<Item = &ObjectId> {
        self.offered.iter().flat_map(|offer| &offer.deletions).map(|(id, _)| id)
    }

    /// `true` while deletions are to be judged.
    pub(in crate::sync::engine) fn is_judging(&self) -> bool {
        self.found
    }

    /// More deletions may follow than the guard has judged.
    pub(in crate::sync::engine) fn found(&mut self) {
        self.found = true;
    }

    /// Everything that was found is judged.
    pub(in crate::sync::engine) fn judged(&mut self) {
        self.found = false;
    }

    /// The object is gone.
    pub(in crate::sync::engine) fn carried_out(&mut self, id: &ObjectId) {
        let mut of_object = self.within_budget.range((id.clone(), "".into())..).map(|(deletion, _)| deletion);
        if let Some(deletion) = of_object.next().filter(|(other, _)| other == id).cloned() {
            self.within_budget.remove(&deletion);
        }
    }

    /// A deletion that was let pass is sent.
    pub(in crate::sync::engine) fn sent(&mut self, deletion: &(ObjectId, Box<str>), now: Instant) {
        if let Some(counted) = self.within_budget.get_mut(deletion) {
            let at = self.memory.recent.sent(counted.at, counted.weight, now);
            *counted = Counted { at, sent: true, sent_before: counted.sent, ..*counted };
        }
    }

    /// The API server has refused the deletion of the object: it had no effect.
    pub(in crate::sync::engine) fn refused(&mut self, id: &ObjectId) {
        self.counted_of(id).for_each(|counted| counted.sent = false);
    }

    /// The deletion of the object was not sent after all.
    pub(in crate::sync::engine) fn withdrawn(&mut self, id: &ObjectId) {
        self.counted_of(id).for_each(|counted| counted.sent = counted.sent_before);
    }

    fn counted_of(&mut self, id: &ObjectId) -> impl Iterator<Item = &mut Counted> {
        let from = self.within_budget.range_mut((id.clone(), "".into())..);
        from.take_while(move |((other, _), _)| other == id).map(|(_, counted)| counted)
    }

    /// The objects of the CRD's kind are counted anew before it is deleted.
    pub(in crate::sync::engine) fn forget_count(&mut self, crd: &ObjectId) {
        self.counts.remove(crd);
    }

    /// The objects of another commit are counted anew.
    pub(in crate::sync::engine) fn forget_counts(&mut self) {
        self.counts.clear();
    }

    /// A commit comes in force: approvals of another one are for nothing any more. More objects make no larger budget for deletions
    /// that are held already.
    pub(in crate::sync::engine) fn begin_commit(&mut self, commit: &str, objects: usize) {
        (self.found, self.before) = (false, if self.held.is_empty() { objects } else { objects.min(self.before) });
        self.granted.take_if(|granted| !granted.approval.starts_with(commit));
    }

    /// The layout of the commit in force, which a restart has to know.
    pub(in crate::sync::engine) fn in_force(&mut self, layout: SourceLayout) {
        self.memory.layout = Some(layout);
    }

    /// Another source is followed: approvals are for nothing any more.
    pub(in crate::sync::engine) fn forget_approvals(&mut self) {
        (self.granted, self.offered) = (None, None);
        self.inherited.clear();
        self.found = true;
    }

    /// Takes back the deletions within the budget that are not sent, and returns them: they are judged together with what follows now.
    pub(super) fn take_back(&mut self) -> Deletions {
        let (sent, waiting): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.within_budget).into_iter().partition(|(_, counted)| counted.sent);
        self.within_budget = sent;
        waiting.values().for_each(|counted| self.memory.recent.take_back(counted.at, counted.weight));
        waiting.into_keys().collect()
    }

    /// Lets deletions pass within the budget of the hour, and returns those that are too many. What is held already is judged apart from
    /// those of another commit, which may be `waiting` to be sent, and not before that is in force.
    pub(super) fn let_pass_within_budget(
        &mut self,
        mut prune: Prune,
        (occasion, waiting): (Occasion, &Deletions),
        before: InventoryBefore,
        now: Instant,
    ) -> Prune {
        let mut own = prune.clone();
        let joins_held = |deletion: &(ObjectId, Box<str>)| {
            let is_found = occasion == Occasion::Found && !self.held.is_empty() && !waiting.contains(deletion);
            is_found || self.held.contains(deletion)
        };
        own.leave_out(joins_held);
        if !self.let_pass(&own, before, now) {
            return prune;
        }
        prune.leave_out(|deletion| own.deletions.contains(deletion));
        if occasion == Occasion::NewCommit {
            return Prune::default();
        }
        if self.let_pass(&prune, before, now) {
            self.held.clear();
            return Prune::default();
        }
        prune
    }

    /// Lets all of these deletions pass, if they are not too many.
    pub(super) fn let_pass(&mut self, prune: &Prune, before: InventoryBefore, now: Instant) -> bool {
        let recent = &mut self.memory.recent;
        let first = before.first.unwrap_or(before.now);
        if prune.is_large(recent.left(first, now)) {
            return false;
        }
        if !prune.deletions.is_empty() {
            let before = recent.inventory_before(now).map_or(first, |_| before.now);
            let at = recent.add(prune.number(), before, now);
            let counted = |deletion: &(ObjectId, Box<str>)| Counted::unsent(at, prune.weight(&deletion.0));
            self.within_budget.extend(prune.deletions.iter().map(|deletion| (deletion.clone(), counted(deletion))));
        }
        true
    }

    /// Takes up those of these deletions that an earlier process let pass, within the budget or under the approval that is set.
    pub(super) fn inherit(&mut self, prune: &Prune, approval: Option<&str>, now: Instant) {
        if self.inherited.is_empty() {
            return;
        }
        let mark = |deletion: &(ObjectId, Box<str>), approval: &str| {
            PruneMark::new(deletion, along(&prune.taking_along, &deletion.0), approval)
        };
        // Once: what is taken back counts no more.
        let mut within_budget = prune.deletions.clone();
        within_budget.retain(|deletion| self.inherited.remove(&PruneMark::new(deletion, 0, "")));
        let first = self.memory.recent.first(now).unwrap_or(now);
        for deletion in within_budget {
            let counted = Counted::unsent(first, prune.weight(&deletion.0));
            self.within_budget.entry(deletion).or_insert(counted);
        }
        let Some(approval) = approval.filter(|_| self.granted.is_none()) else { return };
        let mut deletions = prune.deletions.clone();
        deletions.retain(|deletion| self.inherited.contains(&mark(deletion, approval)));
        if !deletions.is_empty() {
            let of_these = |(crd, _): &&(ObjectId, ObjectCount)| deletions.iter().any(|(id, _)| id == crd);
            let taking_along = prune.taking_along.iter().filter(of_these).cloned().collect();
            self.granted = Some(Offer { approval: approval.to_owned(), deletions, taking_along });
        }
    }

    /// The marks of all deletions that were let pass.
    pub(super) fn marks(&self) -> BTreeSet<PruneMark> {
        let granted = self.granted.iter().flat_map(|Offer { approval, deletions, taking_along }| {
            deletions.iter().map(|one| PruneMark::new(one, along(taking_along, &one.0), approval))
        });
        granted.chain(self.within_budget.keys().map(|one| PruneMark::new(one, 0, ""))).collect()
    }

    pub(super) fn allows(&self, deletion: &(ObjectId, Box<str>)) -> bool {
        self.is_approved(deletion) || self.within_budget.contains_key(deletion)
    }

    /// `true` if a user has approved the deletion.
    pub(in crate::sync::engine) fn is_approved(&self, deletion: &(ObjectId, Box<str>)) -> bool {
        self.granted.as_ref().is_some_and(|granted| granted.deletions.contains(deletion))
    }
}
