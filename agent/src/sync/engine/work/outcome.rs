//! What commands about objects came to: what is known then, what is tried again, who need not wait any longer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{FIGHT, Repair, Trouble, backoff, cooled};
use crate::model::object::{Object, ObjectId};
use crate::sync::engine::queue::{Class, Place};
use crate::sync::engine::{Command, Event, Failure, Notice, Outcome, Repaired, Retry, State};
use crate::sync::live::{Live, Observed};

impl State {
    pub(in crate::sync::engine) fn finished(
        &mut self,
        id: ObjectId,
        outcome: Outcome,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let Some(in_flight) = self.work.in_flight.remove(&id) else { return };
        if let Some(running) = self.work.running.get_mut(&in_flight.place) {
            *running -= 1;
            if *running == 0 {
                self.work.running.remove(&in_flight.place);
            }
        }
        if !matches!(outcome, Outcome::Failed(Failure { retry: Retry::Server(_), .. })) {
            self.work.pauses = 0;
            self.work.away = None;
        }
        let failed = matches!(outcome, Outcome::Failed(_));
        match outcome {
            Outcome::Applied(live, different) => {
                self.applied(&id, *live, different, in_flight.place, out);
                self.repaired(&id, in_flight.cause, now, out);
            }
            Outcome::Read(whole) => self.read(&id, &whole),
            Outcome::Absent(version) => self.absent(&id, version),
            Outcome::Deleted => {
                self.work.pruned += 1;
                self.work.forget(&id);
                if let Some(live) = self.live.get_mut(&id) {
                    live.terminating = true;
                }
            }
            Outcome::Abandoned => {
                self.work.pruned += 1;
                self.work.forget(&id);
                self.live.remove(&id);
                self.report.resources();
            }
            Outcome::Failed(failure) => self.failed(&id, failure, in_flight.place, now, out),
        }
        match in_flight.deferred {
            Some(Event::Seen(id, seen)) => self.seen(id, seen, now),
            Some(Event::Gone(id, version)) => self.gone(&id, version, now),
            _ => {}
        }
        if !failed && !self.work.in_flight.contains_key(&id) {
            self.evaluate(&id, now);
        }
        self.unblock(&id, now);
    }

    fn applied(&mut self, id: &ObjectId, live: Live, different: Vec<String>, place: Place, out: &mut Vec<Command>) {
        if place.class == Class::Sync {
            self.work.applied += 1;
        }
        if !different.is_empty() {
            out.push(Command::Notice(Notice::Rewritten(id.clone(), different)));
        }
        if self.live.get(id).is_none_or(|old| old.token != live.token || old.health != live.health) {
            self.report.resources();
        }
        self.live.insert(id.clone(), live);
        if self.work.forget(id) {
            self.report.status();
        }
        let kind = id.group_kind();
        if let Some(listing) = self.listing.get_mut(&kind) {
            listing.missing.remove(id);
        }
        // A kind that was not served when the commit came in, but is now.
        if !self.watched.contains(&kind) {
            self.watch_kinds(BTreeSet::from([kind]), out);
        }
    }

    fn repaired(&mut self, id: &ObjectId, cause: Option<Repair>, now: Instant, out: &mut Vec<Command>) {
        let Some(Repair { fields, by, version }) = cause else { return };
        let heat = self.work.fights.get(id).map_or(0.0, |(heat, last)| cooled(*heat, *last, now)) + 1.0;
        self.work.fights.insert(id.clone(), (heat, now));
        if heat >= FIGHT {
            self.report.status();
        }
        if let (Some(declared), Some(live)) = (self.declared_form(id), self.live.get(id)) {
            let uid = live.uid.to_string();
            out.push(Command::Notice(Notice::Repaired(Repaired { declared, uid, fields, by, version })));
        }
    }

    fn read(&mut self, id: &ObjectId, whole: &Object) {
        let Some(declared) = self.declared_form(id) else { return };
        let seen = Observed::of(whole);
        let before = self.live.get(id);
        if before.is_some_and(|live| *live.uid == *seen.uid && seen.version() < live.version) {
            return;
        }
        let live = Live::after_read(&seen, whole, &self.settings.sync, &declared, before);
        if before.is_none_or(|b| b.health != live.health) {
            self.report.resources();
        }
        self.live.insert(id.clone(), live);
    }

    /// Mutating admission can change a field of ours without a trace in the metadata: compare whole objects.
    pub(in crate::sync::engine) fn audited(&mut self, whole: &Object, now: Instant) {
        let id = whole.id();
        if !self.work.in_flight.contains_key(&id) && self.live.contains_key(&id) {
            self.read(&id, whole);
            self.evaluate(&id, now);
            self.unblock(&id, now);
        }
    }

    pub(in crate::sync::engine) fn audit_everything(&mut self) {
        let declared = self.declared.iter().flat_map(|set| set.objects.keys());
        self.work.audits.extend(declared.map(ObjectId::group_kind));
    }

    fn absent(&mut self, id: &ObjectId, version: u64) {
        if self.live.get(id).is_some_and(|live| version == 0 || live.version <= version) {
            self.live.remove(id);
            self.report.resources();
        }
        self.work.forget(id);
    }

    pub(super) fn failed(
        &mut self,
        id: &ObjectId,
        failure: Failure,
        place: Place,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        let patience = match failure.retry {
            Retry::Server(patience) => patience,
            Retry::Soon | Retry::Object => Duration::ZERO,
        };
        // One object that fails so may be at fault itself: an aggregated API or a webhook that is away. Two are an outage.
        let away = matches!(failure.retry, Retry::Server(_));
        if away && self.work.away.as_ref().is_some_and(|other| other != id) {
            self.pause(id, &failure, patience, place, now, out);
            return;
        }
        if away {
            self.work.away = Some(id.clone());
        }
        let tries = self.work.failures.get(id).map_or(0, |trouble| trouble.tries);
        let quiet = failure.retry != Retry::Object;
        let base = if quiet { Duration::from_millis(200) } else { Duration::from_secs(1) };
        self.work.put_off(id.clone(), now + backoff(base, tries).max(patience));
        let trouble = Trouble { finding: failure.finding, tries: tries + 1, quiet };
        let news = self.work.failures.get(id).is_none_or(|old| old.finding != trouble.finding || !old.is_told());
        if trouble.is_told() && news {
            out.push(Command::Notice(Notice::Failed(trouble.finding.clone())));
            self.report.status();
        }
        self.work.failures.insert(id.clone(), trouble);
        if quiet {
            self.doubt_namespace(id, now);
        }
    }

    /// The API server is away: everything waits, then one request tries.
    fn pause(
        &mut self,
        id: &ObjectId,
        failure: &Failure,
        patience: Duration,
        place: Place,
        now: Instant,
        out: &mut Vec<Command>,
    ) {
        if self.work.paused.is_none() {
            self.work.pauses += 1;
            if self.work.pauses == 1 {
                out.push(Command::Notice(Notice::Failed(failure.finding.clone())));
            }
        }
        let pause = backoff(Duration::from_millis(250), self.work.pauses).min(Duration::from_secs(30)).max(patience);
        self.work.paused = Some(now + pause);
        let place = Place::of(place.class, id, &self.order);
        self.queue.push(place, id.clone());
    }

    /// Whoever waited for `id` is decided about again.
    pub(super) fn unblock(&mut self, id: &ObjectId, now: Instant) {
        for waiting in self.work.blocked.remove(id).unwrap_or_default() {
            self.evaluate(&waiting, now);
        }
    }
}
