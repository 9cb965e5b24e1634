//! What watches say: lists, changes, deletions.

use std::collections::BTreeSet;
use std::time::Instant;

use super::READINESS;
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::queue::{Class, Place};
use crate::sync::engine::{Command, Event, Listing, Notice, State};
use crate::sync::health::is_always_current;
use crate::sync::live::{Live, Observed};
use crate::sync::plan::{Action, Declared, decide};

impl State {
    pub(in crate::sync::engine) fn listing_starts(&mut self, kind: GroupKind) {
        self.unserved.remove(&kind);
        let known = self.live.iter().filter(|(id, live)| live.watched && id.is_of(&kind));
        let known = known.map(|(id, _)| id.clone()).collect();
        self.listing.insert(kind, Listing { missing: known, newest: 0 });
    }

    pub(in crate::sync::engine) fn listed(&mut self, kind: &GroupKind, now: Instant) {
        self.listed.insert(kind.clone());
        if self.unlistable.remove(kind).is_some() {
            self.report.status();
        }
        if !self.unserved.contains(kind) {
            if self.unseen.shown(kind) {
                self.report.resources();
            }
            // It stays so until the guard has looked at what would be deleted of it.
            if self.blind.contains(kind) {
                self.reconsider();
            }
        }
        let Listing { missing, newest } = self.listing.remove(kind).unwrap_or_default();
        for id in missing {
            if let Some(in_flight) = self.work.in_flight.get_mut(&id) {
                // Unless its outcome is newer.
                in_flight.deferred.get_or_insert(Event::Gone(id, newest));
                continue;
            }
            let newer = self.live.get(&id).is_some_and(|live| live.version > newest);
            if newer && matches!(self.declared(&id), Declared::Object(_)) {
                // It may have been written after the list was made.
                self.queue.push(Place::of(Class::Repair, &id, &self.order), id);
            } else {
                self.gone(&id, u64::MAX, now);
            }
        }
    }

    /// Without the list nothing new can be put in force: what would have to be deleted is not known.
    pub(in crate::sync::engine) fn unlistable(&mut self, kind: GroupKind, finding: Finding, out: &mut Vec<Command>) {
        if self.unlistable.get(&kind) != Some(&finding) {
            out.push(Command::Notice(Notice::Failed(finding.clone())));
            self.unlistable.insert(kind, finding);
            self.report.status();
        }
    }

    pub(in crate::sync::engine) fn unserved(&mut self, kind: &GroupKind, now: Instant) {
        let ours = self.inventory().map(|(id, _)| id).filter(|id| id.is_of(kind)).cloned().collect();
        self.unseen.hidden(kind, ours, now);
        self.listing_starts(kind.clone());
        self.watched.remove(kind);
        self.unserved.insert(kind.clone());
        // Nothing of a kind that is not served exists, whatever its version.
        self.listing.entry(kind.clone()).or_default().newest = u64::MAX;
        self.listed(kind, now);
    }

    pub(in crate::sync::engine) fn seen(&mut self, id: ObjectId, seen: Box<Observed>, now: Instant) {
        if let Some(listing) = self.listing.get_mut(&id.group_kind()) {
            listing.missing.remove(&id);
            listing.newest = listing.newest.max(seen.version());
        }
        if let Some(in_flight) = self.work.in_flight.get_mut(&id) {
            in_flight.deferred = Some(Event::Seen(id, seen));
            return;
        }
        let before = self.live.get(&id);
        if before.is_some_and(|live| *live.uid == *seen.uid && seen.version() <= live.version) {
            return;
        }
        let live = Live::observe(&seen, &id, &self.settings.sync, self.declared_form(&id).as_deref(), before);
        self.readiness_may_have_changed(&id, now);
        // One copy of an identity is enough.
        let known = self.declared.as_ref().and_then(|set| set.objects.get_key_value(&id));
        let id = known.map_or(id, |(known, _)| known.clone());
        self.live.insert(id.clone(), live);
        self.evaluate(&id, now);
    }

    pub(in crate::sync::engine) fn gone(&mut self, id: &ObjectId, version: u64, now: Instant) {
        if let Some(in_flight) = self.work.in_flight.get_mut(id) {
            in_flight.deferred = Some(Event::Gone(id.clone(), version));
            return;
        }
        // An object that lost its label is gone for a watch, at the version at which it may have been read meanwhile.
        let newer = |live: &Live| live.version > version || (!live.watched && live.version == version);
        if self.live.get(id).is_none_or(newer) {
            return;
        }
        self.live.remove(id);
        self.report.resources();
        match decide(self.declared(id), None, &self.settings.sync) {
            Action::Nothing => self.drop_work(id),
            _ => self.enqueue(Class::Repair, id.clone(), now),
        }
        self.unblock(id, now);
    }

    /// Objects whose readiness is yet to be read.
    pub(in crate::sync::engine) fn doubtful(&self) -> BTreeSet<ObjectId> {
        self.work.unread.iter().chain(self.queue.repairs()).cloned().collect()
    }

    /// Readiness is in the object's status, which metadata does not show.
    pub(in crate::sync::engine) fn readiness_may_have_changed(&mut self, id: &ObjectId, now: Instant) {
        if is_always_current(id) || !matches!(self.declared(id), Declared::Object(_)) || !self.live.contains_key(id) {
            return;
        }
        if self.work.unread.insert(id.clone()) {
            let wanted = self.work.blocked.contains_key(id);
            self.work.retries.insert((if wanted { now } else { now + READINESS }, id.clone()));
        }
    }
}
