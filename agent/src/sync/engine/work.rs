//! Deciding about one object: which phase it is in after something about it changed.

use std::time::{Duration, Instant};

use crate::model::backoff::Backoff;
use crate::model::finding::{Code, Finding, Resource};
use crate::model::object::ObjectId;
use crate::sync::health::{Health, is_always_current};
use crate::sync::live::{Live, OnRemoval, Owner};
use crate::sync::plan::order::namespace_of;
use crate::sync::plan::{Action, Cause, Declared, decide};

use super::objects::{Heat, Phase, Timer, Tracked};
use super::queue::{QueuePlace, WorkClass};
use super::{Command, Notice, State};

/// The longest pause between two repairs of an object that another client fights over.
const LONGEST_CALM: Duration = Duration::from_secs(60);
/// The hint about an object whose deletion does not end.
const FINALIZERS: &str = "see which finalizers it has (`metadata.finalizers`), and why they are not taken off";
/// The longest pause between two attempts at one object.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);

impl State {
    /// Decides about an object and moves it to the phase that follows. An object in flight is decided about when the
    /// answer to its command comes.
    pub(super) fn evaluate(&mut self, id: &ObjectId, now: Instant) {
        if self.in_force.declared.is_none() || self.objects.is_in_flight(id) {
            return;
        }
        let class = match self.action(id) {
            Action::Nothing => {
                self.own_as_declared(id);
                match self.left_behind(id) {
                    Some(_) if self.objects.live(id).is_some_and(|live| live.in_doubt) => self.read_left(id),
                    Some(finding) => {
                        let look_at = self.next_look_at(id, now);
                        self.tell_obstacle(id, finding, look_at);
                    }
                    None if self.is_left_unseen(id) => self.read_left(id),
                    None => self.nothing_to_do(id),
                }
                if self.is_unread(id) {
                    self.kinds.audit(&id.group_kind());
                }
                return;
            }
            Action::Wait => {
                match self.declared(id) {
                    Declared::Object(_) => self.wait_until_gone(id, now),
                    _ => self.wait_for_finalizers(id, now),
                }
                return;
            }
            Action::Conflict(manager) => {
                self.leave_to_other_sync(id, &manager, now);
                return;
            }
            Action::Apply(Cause::Drifted(_)) | Action::Read => WorkClass::Repair,
            // Another client took the proof away that the sync has applied it, and may do so again and again.
            Action::Annotate if self.objects.get(id).and_then(Tracked::own).is_some_and(|live| !live.applied) => {
                WorkClass::Repair
            }
            Action::Apply(_) | Action::Annotate | Action::Fill => WorkClass::Sync,
            Action::Delete if !self.may_delete(id) && !self.is_kept(id) => {
                self.nothing_to_do(id);
                self.prunes.found();
                return;
            }
            Action::Delete | Action::Abandon => WorkClass::Prune,
        };
        self.enqueue(class, id, now);
    }

    /// Queues work on an object that is not left alone, or that has drifted since. Repairs of an object that another client fights over
    /// come after pauses that grow.
    pub(super) fn enqueue(&mut self, class: WorkClass, id: &ObjectId, now: Instant) {
        let backing_off = matches!(self.objects.get(id).map(|tracked| &tracked.phase), Some(Phase::BackingOff(_)));
        let is_new_drift = || {
            let drifts = matches!(self.action(id), Action::Apply(Cause::Drifted(_)));
            class == WorkClass::Repair && !self.drifted.contains_key(id) && drifts
        };
        if backing_off && !is_new_drift() || self.objects.is_in_flight(id) {
            return;
        }
        if class == WorkClass::Repair {
            self.drifted.entry(id.clone()).or_insert(now);
        }
        if let Some(heat) = self.fight(id).filter(|_| class == WorkClass::Repair) {
            let calm = Backoff::pause(Duration::from_secs(1), LONGEST_CALM, heat.pauses());
            self.objects.set_phase(id, Phase::BackingOff(now + calm));
            return;
        }
        let place = self.place(class, id);
        self.objects.queue(id, place);
    }

    /// The place of work on the object.
    pub(super) fn place(&self, class: WorkClass, id: &ObjectId) -> QueuePlace {
        let place = QueuePlace::of(class, id, &self.in_force.order);
        let failure = self.objects.notes(id).and_then(|notes| notes.failure.as_ref());
        // A failure that is likely over in a moment leaves the object a second attempt in its turn.
        let failed = failure.is_some_and(|failure| !failure.passing || failure.attempts > 1);
        if failed { place.again() } else { place }
    }

    /// The object is as it should be. A pause that is going on is not cut short, or a client that undoes each repair would
    /// begin it anew each time.
    pub(super) fn nothing_to_do(&mut self, id: &ObjectId) {
        // The failure of a read of its readiness is forgiven when a read works.
        let unread = self.objects.notes(id).is_some_and(|notes| notes.read_at.is_some());
        if !unread {
            self.forgive(id);
        }
        self.drifted.remove(id);
        let Some(tracked) = self.objects.get(id) else { return };
        if matches!(tracked.phase, Phase::Queued(_) | Phase::Waiting(_) | Phase::Terminating(_)) {
            self.objects.set_phase(id, Phase::Settled);
        }
    }

    /// The object is declared and is being deleted: it is applied again when it is gone. When that takes longer than the reconcile
    /// timeout, users are told. A check that is due would be put off if the object was settled first.
    fn wait_until_gone(&mut self, id: &ObjectId, now: Instant) {
        let end = self.end_of_deletion(id, now);
        if end > now {
            let check_at = self.next_check_at(id, now);
            self.nothing_to_do(id);
            let until = check_at.map_or(end, |at| at.min(end));
            self.objects.set_phase(id, Phase::Terminating(until));
            return;
        }
        let message = format!("{id} is declared and is being deleted, and its deletion does not come to its end");
        let finding = self.about(Finding::new(Code::Applier, message).hint(FINALIZERS), id);
        let check_at = self.next_check_at(id, now);
        self.tell_obstacle(id, finding, check_at);
    }

    /// The time at which users are told that the object is still being deleted.
    fn end_of_deletion(&mut self, id: &ObjectId, now: Instant) -> Instant {
        let end = now + self.settings.reconcile_timeout;
        self.objects.change(id, |tracked| *tracked.notes_mut().overdue_at.get_or_insert(end))
    }

    /// An object that carries the sync's labels and annotations and is as declared is the sync's own.
    fn own_as_declared(&mut self, id: &ObjectId) {
        let ours = self.objects.live(id).is_some_and(|live| live.owner == Owner::Us);
        if ours && !self.objects.is_recorded(id) && matches!(self.declared(id), Declared::Object(_)) {
            self.objects.change(id, |tracked| (tracked.recorded, tracked.newer) = (true, true));
        }
    }

    /// The one thing to do about the object. An object that is neither declared nor recorded is left alone.
    pub(super) fn action(&self, id: &ObjectId) -> Action {
        match self.declared(id) {
            Declared::Absent if !self.objects.is_recorded(id) => Action::Nothing,
            declared => match (declared, self.decide_as_owned(id, declared)) {
                (Declared::Absent, Action::Nothing) if self.is_left_to_another(id) => Action::Abandon,
                (Declared::Absent, Action::Delete) if self.goes_with_namespace_in_force(id) => Action::Wait,
                (_, Action::Nothing | Action::Apply(_) | Action::Annotate | Action::Read) if self.lacks_values(id) => {
                    Action::Fill
                }
                (_, action) => action,
            },
        }
    }

    /// A sync that is not there any more, or does not have the object, owns nothing. What the others have may change at any time.
    fn decide_as_owned(&self, id: &ObjectId, declared: Declared<'_>) -> Action {
        match self.objects.live(id) {
            Some(live) if self.is_ownerless(id, live) => {
                let mut live = live.clone();
                live.owner = Owner::Nobody;
                decide(declared, Some(&live), &self.settings.sync)
            }
            live => decide(declared, live, &self.settings.sync),
        }
    }

    pub(super) fn goes_with_namespace_in_force(&self, id: &ObjectId) -> bool {
        self.in_force.declared.as_ref().is_some_and(|declared| self.goes_with_namespace(id, declared))
    }

    /// `true` for an object of the sync that it may not delete and that another sync declares.
    fn is_left_to_another(&self, id: &ObjectId) -> bool {
        let live = self.objects.live(id);
        live.is_some_and(|live| live.is_ours() && !live.terminating) && self.is_declared_elsewhere(id)
    }

    /// The object is not declared any more and is being deleted. A commit is not fully applied before it is gone; when that
    /// takes longer than the reconcile timeout, users are told.
    fn wait_for_finalizers(&mut self, id: &ObjectId, now: Instant) {
        if self.objects.get(id).is_none_or(|tracked| tracked.own().is_none()) {
            self.nothing_to_do(id);
            return;
        }
        if self.is_gone_after_this(id) {
            // Each would wait for the other for ever.
            self.objects.set_live(id, None);
            self.forget_record(id);
            self.nothing_to_do(id);
            return;
        }
        let end = self.end_of_deletion(id, now);
        if end > now {
            self.nothing_to_do(id);
            self.objects.set_phase(id, Phase::Terminating(end));
            return;
        }
        let message = format!("{id} is not declared any more, and its deletion does not come to its end");
        let finding = Finding::new(Code::Applier, message).hint(FINALIZERS).about(Resource::named(id, ""));
        let look_at = self.next_look_at(id, now);
        self.tell_obstacle(id, finding, look_at);
    }

    /// The object is declared, and another sync manages it: it is left as it is (KNV1060).
    fn leave_to_other_sync(&mut self, id: &ObjectId, manager: &str, now: Instant) {
        let Some(declared) = self.declared_form(id) else { return };
        let message = format!("{id} is managed by {manager:?}, so {:?} leaves it alone", self.settings.sync.manager());
        let finding = Finding::new(Code::ManagementConflict, message)
            .hint("declare the object in one source only; the other sync releases it when it is removed there")
            .at(declared.place());
        let check_at = self.next_check_at(id, now);
        self.tell_obstacle(id, finding, check_at);
    }

    /// Users are told why the object is left as it is. It is looked at again at this time, or when it changes.
    fn tell_obstacle(&mut self, id: &ObjectId, finding: Finding, check_at: Option<Instant>) {
        let (before, told, failure) = self.objects.change(id, |tracked| {
            tracked.phase = check_at.map_or(Phase::Settled, Phase::BackingOff);
            let notes = tracked.notes_mut();
            // The failed attempt is not made again.
            (notes.conflict.replace(finding.clone()), notes.told.take(), notes.failure.take())
        });
        if before.as_ref() != Some(&finding) || failure.is_some() {
            if told.as_ref() != Some(&finding) {
                self.commands.push(Command::Notice(Notice::Failed(finding)));
            }
            self.report.status_changed();
            self.report.resources_changed();
        }
    }

    /// The finding about an object of the sync that is not declared any more, if there is nothing to do about it: it may not delete it.
    pub(super) fn left_behind(&self, id: &ObjectId) -> Option<Finding> {
        let live = self.objects.get(id)?.own().filter(|live| !live.terminating)?;
        if !matches!(self.declared(id), Declared::Absent) {
            return None;
        }
        let why = match live.on_removal {
            _ if live.unlabelled => {
                "its label applyset.kubernetes.io/part-of is missing, which admission or another client takes off"
            }
            OnRemoval::Leave => "it has owners (`metadata.ownerReferences`), and is deleted with them",
            OnRemoval::Delete | OnRemoval::Abandon => {
                "another client took away the proof that the sync has applied it (`metadata.managedFields`)"
            }
        };
        let message = format!("{id} is managed and not declared any more, and it is not deleted: {why}");
        let hint = "delete it by hand, or take the annotation configsync.gke.io/manager off to keep it";
        Some(Finding::new(Code::Applier, message).hint(hint).about(Resource::named(id, "")))
    }

    /// `true` for an object in the record of which nothing has shown yet if it exists.
    pub(super) fn is_unseen(&self, id: &ObjectId) -> bool {
        self.objects.get(id).is_some_and(|tracked| tracked.unlisted && tracked.live.is_none())
    }

    /// `true` for an object of the sync that is not to be applied any more and that no watch shows.
    pub(super) fn is_left_unseen(&self, id: &ObjectId) -> bool {
        let own = self.objects.get(id).and_then(Tracked::own);
        match self.declared(id) {
            Declared::Object(_) => false,
            Declared::Absent if own.is_some_and(|live| live.unlabelled || live.in_doubt) => true,
            // Nor does a watch tell whether a take-over without an answer was carried out, if it was not.
            _ => self.objects.get(id).is_some_and(|tracked| tracked.unlisted) && self.kinds.is_listed(id),
        }
    }

    /// Reads such an object, unless the last attempt has just failed.
    pub(super) fn read_left(&mut self, id: &ObjectId) {
        if self.objects.get(id).is_some_and(|tracked| !matches!(tracked.phase, Phase::BackingOff(_))) {
            self.objects.queue(id, QueuePlace::of(WorkClass::Repair, id, &self.in_force.order));
        }
    }

    /// When to read such an object again; `None` for one that a watch shows.
    fn next_look_at(&mut self, id: &ObjectId, now: Instant) -> Option<Instant> {
        if self.is_left_unseen(id) { self.next_check_at(id, now) } else { None }
    }

    /// When to check again an object that is in the way and that no watch shows; `None` for an object that a watch shows.
    /// A check that is due already stays so.
    fn next_check_at(&mut self, id: &ObjectId, now: Instant) -> Option<Instant> {
        let tracked = self.objects.get(id)?;
        match &tracked.phase {
            Phase::BackingOff(until) => return Some(*until),
            Phase::Terminating(check_at) => return Some(*check_at),
            _ if tracked.live.as_ref().is_none_or(|live| live.watched) => return None,
            _ => {}
        }
        let checks = self.objects.change(id, |tracked| {
            let checks = &mut tracked.notes_mut().checks;
            *checks = checks.saturating_add(1);
            *checks - 1
        });
        Some(now + Backoff::pause(Duration::from_secs(1), LONGEST_PAUSE, checks))
    }

    /// `true` for a declared object of the sync whose readiness was never read, as after a restart.
    fn is_unread(&self, id: &ObjectId) -> bool {
        let unknown = self.objects.live(id).is_some_and(|live| live.health == Health::Unknown);
        unknown && !is_always_current(id) && matches!(self.declared(id), Declared::Object(_))
    }

    /// The frequency of repairs, for an object that another client fights over.
    pub(super) fn fight(&self, id: &ObjectId) -> Option<Heat> {
        self.objects.notes(id)?.heat.filter(|heat| heat.is_fight())
    }

    // ---- timers ----

    /// Decides again about the objects whose time has come, and asks an API server again that is away.
    pub(super) fn fire_timers(&mut self, now: Instant) {
        while let Some((id, timer)) = self.objects.due(now) {
            match timer {
                Timer::Retry => self.try_again(&id, now),
                Timer::Readiness => self.read_readiness(&id, now),
                // The deletion of rights waits no longer for a sync.
                Timer::Overdue if self.action(&id) == Action::Delete => {
                    self.objects.change(&id, |tracked| tracked.notes_mut().overdue = true);
                    self.evaluate(&id, now);
                }
                Timer::Overdue => self.tell_overdue_wait(&id),
                Timer::Late => {
                    self.objects.change(&id, |tracked| tracked.notes_mut().late = true);
                    self.report.resources_changed();
                }
                Timer::Cooled => {
                    if self.fight(&id).is_some() {
                        self.report.status_changed();
                    }
                    self.objects.change(&id, |tracked| {
                        let notes = tracked.notes_mut();
                        notes.heat = notes.heat.and_then(|heat| Heat::cooled(heat, now));
                    });
                }
            }
        }
        self.read_values_again(now);
        self.ask_server_again(now);
    }

    pub(super) fn try_again(&mut self, id: &ObjectId, now: Instant) {
        self.objects.set_phase(id, Phase::Settled);
        self.forget_unwatched(id);
        if self.fight(id).is_some() {
            self.objects.queue(id, QueuePlace::of(WorkClass::Repair, id, &self.in_force.order));
        } else {
            self.look_again(id, now);
        }
    }

    /// Decides about an object that is not left alone any more. One of others, for which an object of the sync waits, is read, and one that
    /// was left without its label: nothing else looks at it.
    pub(super) fn look_again(&mut self, id: &ObjectId, now: Instant) {
        if self.is_awaited_stranger(id) || self.is_left_unseen(id) {
            self.objects.queue(id, QueuePlace::of(WorkClass::Repair, id, &self.in_force.order));
        } else {
            self.evaluate(id, now);
        }
    }

    fn read_readiness(&mut self, id: &ObjectId, now: Instant) {
        let left_alone = self.objects.change(id, |tracked| {
            // A pause that is over has ended before.
            let until = match tracked.phase {
                Phase::BackingOff(until) => Some(until),
                _ => None,
            };
            tracked.notes_mut().read_at = until;
            until.is_some()
        });
        if left_alone {
            return;
        }
        self.forget_unwatched(id);
        if !matches!(self.declared(id), Declared::Object(_)) {
            self.forget_readiness(id);
        }
        if self.objects.live(id).is_some() {
            let place = QueuePlace::of(WorkClass::Repair, id, &self.in_force.order);
            self.objects.change(id, |tracked| tracked.notes_mut().unread = true);
            self.objects.queue(id, place);
        } else {
            self.evaluate(id, now);
        }
    }

    /// The wait of an object took longer than the reconcile timeout. It goes on, and users are told.
    pub(super) fn tell_overdue_wait(&mut self, id: &ObjectId) {
        self.objects.change(id, |tracked| tracked.notes_mut().overdue = true);
        self.report.status_changed();
        self.report.resources_changed();
        if let Some(finding) = self.waiting_finding(id) {
            self.commands.push(Command::Notice(Notice::Failed(finding)));
        }
    }

    // ---- objects that no watch shows ----

    /// Forgets a live object without the ApplySet label, which no watch shows: another client's, or the sync's own whose
    /// label was taken off. It is known from one read only, and the next apply finds out what is there. One whose label admission takes
    /// off is known from our own writes, until it is being deleted and is to be made again.
    pub(super) fn forget_unwatched(&mut self, id: &ObjectId) {
        let is_made_again = matches!(self.declared(id), Declared::Object(_));
        let is_known = |live: &Live| live.unlabelled && !(live.terminating && is_made_again);
        if self.objects.live(id).is_some_and(|live| !live.watched && !is_known(live)) {
            self.objects.set_live(id, None);
        }
    }

    /// Forgets all such objects when a commit comes in force, but for those that it leaves alone anyway, such as Namespaces
    /// that it only refers to; and all that it says nothing about and that are not recorded, or are not the sync's any more.
    pub(super) fn forget_strangers(&mut self) {
        let set = self.in_force.declared.clone();
        let declared = |id: &ObjectId| set.as_ref().map_or(Declared::Absent, |set| Declared::of(set, id));
        let sync = &self.settings.sync;
        self.objects.retain_lives(|id, live, recorded| match declared(id) {
            Declared::Absent if !recorded || !live.is_ours() => false,
            _ if live.unlabelled || live.watched => true,
            declared @ Declared::Object(_) => decide(declared, Some(live), sync) == Action::Nothing,
            _ => false,
        });
    }

    /// A command about an object failed in a way that may mean that its Namespace is gone. A Namespace that no watch shows
    /// is looked at again.
    pub(super) fn doubt_namespace(&mut self, id: &ObjectId, now: Instant) {
        if let Some(namespace) = namespace_of(id)
            && self.objects.live(&namespace).is_some_and(|live| !live.watched)
        {
            self.objects.set_live(&namespace, None);
            self.evaluate(&namespace, now);
        }
    }
}

#[cfg(test)]
mod tests;
