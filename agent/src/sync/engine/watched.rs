//! Objects as watches and audits show them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::model::object::{GroupKind, Object, ObjectId};
use crate::sync::health::{self, Health, is_always_current};
use crate::sync::live::{FieldOwnership, Live, Observed, Owner};
use crate::sync::plan::memory::Proof;
use crate::sync::plan::order::is_deleted_with;
use crate::sync::plan::{Action, Declared, decide};

use super::State;
use super::objects::{Deferred, Tracked};
use super::queue::WorkClass;

/// Time between a change of an object and the read of its readiness: a status often changes several times in a row.
const READINESS: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn seen(&mut self, id: ObjectId, seen: Box<Observed>, now: Instant) {
        self.kinds.shown(&id, seen.version());
        let listed = self.kinds.is_listing(&id);
        self.take_in(id, seen, listed, now);
    }

    /// Takes in an object as a watch shows it, or a list.
    pub(super) fn take_in(&mut self, id: ObjectId, seen: Box<Observed>, listed: bool, now: Instant) {
        if self.objects.is_in_flight(&id) {
            self.defer(&id, Deferred::Seen(seen, listed));
            return;
        }
        let before = self.objects.live(&id);
        let is_same = before.is_some_and(|live| *live.uid == *seen.uid);
        let known = before.map_or(0, |live| live.version);
        let older = seen.version() < known;
        // A restore of the cluster undoes our deletion too. If the list is only older than it, the next deletion finds out.
        let is_undone = listed && seen.deletion_timestamp.is_none() && before.is_some_and(|live| live.terminating);
        if is_same && ((seen.version() == known && !is_undone) || (older && !listed)) {
            return;
        }
        self.readiness_may_have_changed(&id, now);
        // The list was made before our last write, the event is about an object of this name that went before ours was made, or the
        // cluster was restored from a backup and counts its versions from there: the object is read. One that is being deleted is not,
        // and its end is to be heard.
        if older && self.objects.live(&id).is_some_and(|live| !live.terminating) {
            self.doubt(&id);
            self.evaluate(&id, now);
            return;
        }
        let before = self.objects.live(&id);
        let mut live = Live::observe(&seen, &id, &self.settings.sync, self.declared_form(&id).as_deref(), before);
        if older {
            live.fields = FieldOwnership::Unsure;
        }
        // Without a record, objects that carry all that an apply of the sync leaves are recorded again, unless another sync has them.
        let found = self.prunes.memory().proof != Proof::Record && live.owner == Owner::Us && live.applied;
        let found = found && (self.objects.is_recorded(&id) || !self.is_of_another(&id));
        let ours = live.owner == Owner::Us && (found || self.objects.is_recorded(&id));
        self.may_be_lost(&id, &live);
        if !ours && self.is_foreign(&id) {
            self.forget_foreign(&id, now);
            return;
        }
        // The declared set holds this identity already: its text is kept once.
        let known = self.in_force.declared.as_ref().and_then(|set| set.objects.get_key_value(&id));
        let id = known.map_or(id, |(known, _)| known.clone());
        let goes = live.terminating && id.is_namespace();
        let terminating = live.terminating;
        let before = self.objects.change(&id, |tracked| {
            tracked.recorded |= found;
            tracked.show(live)
        });
        let (is_new, was_terminating) = (before.is_none(), before.is_some_and(|before| before.terminating));
        if terminating != was_terminating {
            self.report.resources_changed();
        }
        if is_new && ours {
            self.made_anew(&id);
        }
        if ours {
            self.others.gained(&id, listed);
        }
        // The objects in it count for nothing any more.
        if goes && !was_terminating && self.held.is_some() {
            self.judge_again();
        }
        self.evaluate(&id, now);
        self.values_may_have_changed(&id, now);
    }

    /// An object of the sync that is not the sync's in this form: what had to stay because of it may go.
    fn may_be_lost(&mut self, id: &ObjectId, live: &Live) {
        let was_ours = self.objects.get(id).is_some_and(|tracked| tracked.own().is_some());
        if was_ours && !live.is_ours() {
            self.vanishes(id);
        }
    }

    /// An object that no commit says anything about is there, and none of the sync's. Others can give many objects the label. One of the
    /// sync whose last write had no answer is read: the write may have given it back since.
    fn forget_foreign(&mut self, id: &ObjectId, now: Instant) {
        let is_doubtful = |tracked: &Tracked| tracked.unanswered && tracked.own().is_some();
        if self.objects.get(id).is_some_and(is_doubtful) {
            self.objects.change(id, |tracked| (tracked.live, tracked.unlisted) = (None, true));
            self.report.resources_changed();
            self.evaluate(id, now);
            return;
        }
        if self.objects.is_recorded(id) {
            self.others.lost(id);
            self.objects.change(id, |tracked| (tracked.recorded, tracked.unlisted) = (false, false));
        }
        self.gone(id, u64::MAX, now);
    }

    /// `true` if no commit says anything about the object. Anybody can give an object the sync's label: nothing is kept of it.
    fn is_foreign(&self, id: &ObjectId) -> bool {
        matches!(self.declared(id), Declared::Absent) && self.declared_form(id).is_none()
    }

    pub(super) fn gone(&mut self, id: &ObjectId, version: u64, now: Instant) {
        if self.objects.is_in_flight(id) {
            self.defer(id, Deferred::Gone(version));
            return;
        }
        // An object that lost its label is gone for a watch, at the version at which a command may have read it meanwhile.
        let newer = |live: &Live| live.version > version || (!live.watched && live.version == version);
        if self.objects.live(id).is_none_or(newer) {
            return;
        }
        let was_terminating = self.objects.live(id).is_some_and(|live| live.terminating);
        // The sync itself has deleted the one before: its end is no drift.
        let is_pruned = self.objects.notes(id).is_some_and(|notes| notes.pruned);
        self.vanishes(id);
        let is_deleted = was_terminating || is_pruned || self.goes_with_namespace_in_force(id);
        let may_be_unlabelled = !is_deleted && matches!(self.declared(id), Declared::Absent);
        self.objects.change(id, |tracked| {
            // A watch shows the end of an object and the loss of its label alike. One that is declared is applied again.
            tracked.unlisted |= may_be_unlabelled && tracked.own().is_some();
            tracked.live = None;
        });
        if was_terminating && self.objects.notes(id).is_some() {
            // Its next form has not waited yet.
            self.objects.change(id, |tracked| tracked.notes_mut().overdue_at = None);
            self.forgive(id);
        }
        self.forget_record(id);
        if was_terminating {
            self.forget_gone_with(id);
        }
        self.report.resources_changed();
        self.end_pause_of_failure(id);
        if is_pruned {
            self.objects.change(id, |tracked| tracked.notes_mut().pruned = false);
        }
        match decide(self.declared(id), None, &self.settings.sync) {
            Action::Nothing => {
                self.nothing_to_do(id);
                if self.is_left_unseen(id) {
                    self.read_left(id);
                }
            }
            _ if is_pruned => self.enqueue(WorkClass::Sync, id, now),
            _ => self.enqueue(WorkClass::Repair, id, now),
        }
        self.stop_waiting_for(id, now);
    }

    /// A Namespace or CRD has come to the end of its deletion, and so has all that was in it. No watch tells that of objects without the
    /// label.
    fn forget_gone_with(&mut self, id: &ObjectId) {
        if !id.is_namespace() && !id.is_crd() {
            return;
        }
        let unwatched = self.objects.lives().filter(|(_, live)| !live.watched).map(|(other, _)| other);
        let is_in = |other: &&ObjectId| {
            let plural = self.kinds.plural(other);
            (id.is_namespace() || plural.is_some()) && is_deleted_with(other, plural, id)
        };
        let gone = unwatched.filter(is_in);
        let gone: Vec<ObjectId> = gone.filter(|other| !self.objects.is_in_flight(other)).cloned().collect();
        gone.iter().for_each(|other| self.absent(other, 0));
    }

    /// Keeps an event about an object in flight until the answer to its command is taken in.
    fn defer(&mut self, id: &ObjectId, event: Deferred) {
        self.objects.change(id, |tracked| {
            if let Some(command) = tracked.in_flight_mut() {
                command.deferred = Some(event);
            }
        });
    }

    /// An audit read a whole object. Mutating admission can change a declared field without a trace in the metadata, so
    /// that only whole objects show it.
    pub(super) fn audited(&mut self, whole: &Object, now: Instant) {
        let id = whole.id();
        let Some(live) = self.objects.live(&id).filter(|_| !self.objects.is_in_flight(&id)) else { return };
        // Objects of one kind can be declared in several versions; each is compared in its own.
        if self.declared_form(&id).is_some_and(|declared| declared.version() != whole.version()) {
            return;
        }
        let seen = Observed::of(whole);
        // As in a list, an older version than is known says only that the object has to be read, even if it is of an object of this
        // name that went before ours was made.
        if seen.version() < live.version {
            self.objects.change(&id, |tracked| {
                if let Some(live) = &mut tracked.live {
                    live.fields = FieldOwnership::Unsure;
                }
            });
        } else {
            self.read(&id, whole);
            self.expect_readiness(&id, now);
        }
        self.evaluate(&id, now);
        self.stop_waiting_for(&id, now);
        self.values_may_have_changed(&id, now);
    }

    /// The versions in which objects of the kind are declared, but for those of which it is known that they are not served.
    pub(super) fn declared_versions(&self, kind: &GroupKind) -> BTreeSet<String> {
        let served = self.kinds.versions(kind);
        let is_served = |version: &&str| served.is_none_or(|served| served.contains(*version));
        self.declared_of(kind).map(|(_, declared)| declared.version()).filter(is_served).map(str::to_owned).collect()
    }

    pub(super) fn audit_everything(&mut self) {
        let declared = self.in_force.declared.iter().flat_map(|set| set.objects.keys());
        let kinds: BTreeSet<_> = declared.map(ObjectId::group_kind).collect();
        kinds.iter().for_each(|kind| self.kinds.audit(kind));
    }

    /// Applies again what the API server or admission has changed in an apply: it may not do so any more.
    pub(super) fn apply_rewritten(&mut self, now: Instant) {
        let is_rewritten = |tracked: &Tracked| tracked.notes.as_ref().is_some_and(|notes| !notes.rewritten.is_empty());
        let all = self.objects.all().iter().filter(|(_, tracked)| is_rewritten(tracked) && tracked.own().is_some());
        for id in all.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.objects.change(&id, |tracked| tracked.live.iter_mut().for_each(|live| live.hash = None));
            self.evaluate(&id, now);
        }
    }

    /// Takes in an object that is not declared: another one waits for it, or it is to be deleted and may not be the sync's any more.
    fn read_undeclared(&mut self, id: &ObjectId, seen: &Observed, whole: &Object) {
        let before = self.objects.live(id);
        let unlisted = self.objects.get(id).is_some_and(|tracked| tracked.unlisted);
        if self.is_awaited_stranger(id) {
            let mut live = Live::observe(seen, id, &self.settings.sync, None, None);
            live.health = health::of(whole);
            self.objects.set_live(id, Some(live));
        } else if unlisted || before.is_some_and(|before| before.in_doubt || before.unlabelled) {
            let live = match before {
                Some(_) => Live::observe(seen, id, &self.settings.sync, None, before),
                None => Live::found(seen, id, &self.settings.sync),
            };
            // The failure of a read before is over.
            if live.unlabelled && self.objects.notes(id).is_some_and(|notes| notes.failure.is_some()) {
                self.objects.change(id, |tracked| tracked.notes_mut().failure = None);
                self.report.status_changed();
                self.report.resources_changed();
            }
            match live.is_ours() {
                true => self.objects.set_live(id, Some(live)),
                false => self.absent(id, 0),
            }
        }
    }

    /// Takes in the whole object: its readiness, and whether its declared fields are as declared. The answer to a command is
    /// the newest that there is, whatever its version: nothing else was sent about the object meanwhile.
    pub(super) fn read(&mut self, id: &ObjectId, whole: &Object) {
        let seen = Observed::of(whole);
        let is_known = !self.is_unseen(id) || matches!(self.declared(id), Declared::Object(_));
        let Some(declared) = self.declared_form(id).filter(|_| is_known) else {
            self.read_undeclared(id, &seen, whole);
            return;
        };
        let before = self.objects.live(id);
        let live = Live::after_read(&seen, whole, &self.settings.sync, &declared, before);
        if before.is_none_or(|before| before.health != live.health) {
            self.report.resources_changed();
        }
        self.objects.set_live(id, Some(live));
    }

    /// The object changed, and its status may have too, which metadata does not show: it is read in a moment, at once when
    /// another object waits for it.
    pub(super) fn readiness_may_have_changed(&mut self, id: &ObjectId, now: Instant) {
        if is_always_current(id) || self.objects.live(id).is_none() {
            return;
        }
        if !matches!(self.declared(id), Declared::Object(_)) {
            self.forget_readiness(id);
            return;
        }
        let at = if self.objects.is_awaited(id) { now } else { now + READINESS };
        self.objects.change(id, |tracked| _ = tracked.notes_mut().read_at.get_or_insert(at));
    }

    /// Nothing reads an object that is not declared: if it is declared again, its readiness is not known.
    pub(super) fn forget_readiness(&mut self, id: &ObjectId) {
        self.objects.change(id, |tracked| {
            if let Some(live) = &mut tracked.live {
                live.health = Health::Unknown;
            }
        });
    }
}

#[cfg(test)]
mod tests;
