//! Answers to commands about objects: what is known then, what is tried again, and which objects need not wait any longer.

use std::time::{Duration, Instant};

use crate::model::backoff::Backoff;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{annotation, label};
use crate::model::object::ObjectId;
use crate::sync::health::Health;
use crate::sync::live::{Live, Owner};
use crate::sync::plan::{Action, Cause, Declared};

use super::dispatch::LONGEST_OUTAGE_PAUSE;
use super::objects::{Deferred, FailureRecord, Heat, InFlight, PendingRepair, Phase, Sent, Tracked};
use super::queue::WorkClass;
use super::work::LONGEST_PAUSE;
use super::{Adopted, Command, Failure, Notice, Outcome, Remarks, Repaired, Retry, Rewritten, State};

/// The pause after the first failure of an object that is at fault itself.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after the first failure that is likely over in a moment.
const FIRST_SHORT_PAUSE: Duration = Duration::from_millis(200);
/// Time for which the words of a failure stay while each attempt fails in others that are [like](Finding::is_like) them.
const WORDS_STAY: Duration = Duration::from_secs(3600);
/// Writes in a row that do not leave the object as it is declared, from which on that is a failure. A form that comes in force during
/// a write brings such a turn about too.
const UNKEPT: u32 = 3;
/// Fields of one object that admission changed and that the status names.
const REWRITTEN_FIELDS: usize = 10;

impl State {
    pub(super) fn finished(&mut self, id: &ObjectId, outcome: Outcome, now: Instant) {
        let Some(in_flight) = self.objects.change(id, Tracked::take_in_flight) else { return };
        let InFlight { place, sent, repair, deferred, recorded } = *in_flight;
        self.answered(id, sent, &outcome);
        let mut failed = false;
        let overtaken = sent == Sent::TakeOver && matches!(outcome, Outcome::Read(_));
        let deleted = matches!(outcome, Outcome::Deleted);
        match outcome {
            Outcome::Applied(live, remarks) => {
                self.schema_may_have_changed(id, &live, now);
                self.took_effect(id, *live, remarks, place.class);
                self.expect_readiness(id, now);
                self.repaired(id, repair, now);
                failed = self.unkept_failed(id, now);
            }
            Outcome::Read(whole) => {
                // An apply that read another object, or another version of it, has changed nothing.
                self.objects.change(id, |tracked| tracked.recorded &= recorded);
                self.read(id, &whole);
                self.expect_readiness(id, now);
            }
            Outcome::Filled(form) => {
                self.filled(id, *form, now);
                self.readiness_may_have_changed(id, now);
            }
            Outcome::Absent(version) => self.absent(id, version),
            Outcome::Deleted => {
                self.carried_out(id);
                self.pruned += 1;
                self.objects.forgive(id);
                self.objects.change(id, |tracked| {
                    if let Some(live) = &mut tracked.live {
                        live.terminating = true;
                        tracked.notes_mut().pruned = true;
                    }
                });
            }
            Outcome::Withdrawn => self.prunes.withdrawn(id),
            Outcome::KeepsDetached(detached) => {
                self.prunes.refused(id);
                self.keep_for(id, &detached);
            }
            Outcome::Abandoned => {
                self.vanishes(id);
                self.objects.forgive(id);
                self.objects.change(id, |tracked| tracked.notes_mut().keep = false);
                self.objects.set_live(id, None);
                self.forget_record(id);
                self.report.resources_changed();
            }
            Outcome::Failed(failure) => failed = self.command_failed(id, failure, (sent, recorded), now),
        }
        self.take_in_deferred(id, deferred, deleted, now);
        if !failed {
            self.evaluate(id, now);
        }
        if overtaken {
            self.wait_for_calm(id, now);
        }
        self.stop_waiting_for(id, now);
        self.values_may_have_changed(id, now);
    }

    /// A write without an answer may have been carried out, and any other answer tells how the object is.
    fn answered(&mut self, id: &ObjectId, sent: Sent, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Withdrawn | Outcome::Failed(Failure { retry: Retry::Server(_), .. })) {
            self.outage.answered();
        }
        match outcome {
            // It reads other objects.
            Outcome::Withdrawn | Outcome::Filled(_) => {}
            Outcome::Failed(failure) => {
                let is_write = !matches!(sent, Sent::Read | Sent::Fill);
                self.objects.change(id, |tracked| tracked.unanswered |= is_write && !failure.refused);
            }
            _ => self.objects.change(id, |tracked| tracked.unanswered = false),
        }
    }

    /// Takes in an event of a watch that came before the answer to a command. `deleted` is `true` if the command was a deletion.
    fn take_in_deferred(&mut self, id: &ObjectId, event: Option<Deferred>, deleted: bool, now: Instant) {
        match event {
            Some(Deferred::Seen(seen, listed)) => self.take_in(id.clone(), seen, listed, now),
            // A list after a deletion and one before it look the same, and no event may follow.
            Some(Deferred::Gone(version)) => {
                self.gone(id, if deleted { u64::MAX } else { version }, now);
                // An object that the command has made or read may have been deleted since, before the list.
                self.doubt(id);
            }
            None => {}
        }
    }

    /// An object that is not the sync's changed before it could be taken over. One that changes all the time is tried again after
    /// pauses that grow, as after failures.
    fn wait_for_calm(&mut self, id: &ObjectId, now: Instant) {
        let changes = self.objects.change(id, |tracked| {
            let waits = matches!(tracked.phase, Phase::Queued(_));
            let overtaken = &mut tracked.notes_mut().overtaken;
            *overtaken = if waits { overtaken.saturating_add(1) } else { 0 };
            *overtaken > 1
        });
        if changes {
            let message = format!("{id} changes all the time, so that it cannot be taken over");
            let hint = "see which client writes it (`metadata.managedFields`), and stop it for a moment";
            let finding = self.about(Finding::new(Code::Fight, message).hint(hint), id);
            self.failed(id, Failure { finding, retry: Retry::Soon, refused: false }, now);
        }
    }

    /// A command failed. `recorded` is `false` if the object was recorded for it. `true` if the object is left alone for a while.
    fn command_failed(
        &mut self,
        id: &ObjectId,
        failure: Failure,
        (sent, recorded): (Sent, bool),
        now: Instant,
    ) -> bool {
        if sent == Sent::Delete {
            self.prunes.forget_count(id);
        }
        // An object that another client makes under this name is none of the sync's.
        if failure.refused {
            self.prunes.refused(id);
        }
        let is_ours = self.objects.live(id).is_some_and(Live::is_ours);
        if failure.refused {
            self.objects.change(id, |tracked| tracked.recorded &= recorded);
        } else if !is_ours && !matches!(sent, Sent::Read | Sent::Fill) {
            // The API server may have made or given over the object all the same, or do so in a moment.
            self.objects.change(id, |tracked| tracked.unlisted |= tracked.recorded);
        }
        // The object has changed, and without the sync's label no watch shows it.
        if sent == Sent::Delete && failure.finding.code == Code::ResourceConflict {
            self.doubt(id);
        }
        if matches!(failure.retry, Retry::Server(_)) {
            self.doubt_server();
        }
        let failure = if sent == Sent::Fill { self.unfilled(id, failure, now) } else { Some(failure) };
        failure.map(|failure| self.failed(id, failure, now)).is_some()
    }

    /// An apply or annotate worked.
    fn took_effect(&mut self, id: &ObjectId, live: Live, remarks: Remarks, class: WorkClass) {
        if class == WorkClass::Sync {
            self.applied += 1;
        }
        let Remarks { rewritten, adopted_from: from } = remarks;
        if let (false, Some(declared)) = (from.is_empty(), self.declared_form(id)) {
            let uid = live.uid.to_string();
            self.commands.push(Command::Notice(Notice::Adopted(Adopted { declared, uid, from })));
        }
        if let (false, Some(declared)) = (rewritten.is_empty(), self.declared_form(id)) {
            let (uid, fields) = (live.uid.to_string(), rewritten.clone());
            self.commands.push(Command::Notice(Notice::Rewritten(Rewritten { declared, uid, fields })));
        }
        let rewritten: Box<[String]> = rewritten.into_iter().take(REWRITTEN_FIELDS).collect();
        let are_same = self.objects.notes(id).map_or(rewritten.is_empty(), |notes| notes.rewritten == rewritten);
        let is_same = |old: &Live| old.token == live.token && old.health == live.health && old.owner == live.owner;
        if !are_same || !self.objects.live(id).is_some_and(is_same) {
            self.report.resources_changed();
        }
        let anew = self.objects.live(id).is_none_or(|old| old.uid != live.uid);
        // One that others took away may be the sync's again.
        self.others.gained(id, false);
        self.objects.change(id, |tracked| {
            tracked.show(live);
            if tracked.notes.is_none() && rewritten.is_empty() {
                return;
            }
            let notes = tracked.notes_mut();
            (notes.late_at, notes.late, notes.overtaken, notes.pruned) = (None, false, 0, false);
            (notes.overdue_at, notes.overdue) = (None, false);
            notes.rewritten = rewritten;
        });
        if anew {
            self.made_anew(id);
        }
        // The pauses of a failure that each further write brings about again would begin anew.
        if self.count_unkept(id) < UNKEPT {
            self.forgive(id);
        }
        self.kinds.written(id);
        self.watch_kind_of(id);
    }

    /// The object is in order: what users were told of it is over.
    pub(super) fn forgive(&mut self, id: &ObjectId) {
        if self.objects.forgive(id) {
            self.report.status_changed();
            self.report.resources_changed();
        }
    }

    /// Counts the writes in a row after which the object is to be written again, as the answer shows it.
    fn count_unkept(&mut self, id: &ObjectId) -> u32 {
        let is_unkept = matches!(self.action(id), Action::Apply(Cause::Adopted | Cause::Changed) | Action::Annotate);
        let before = self.objects.notes(id).map_or(0, |notes| notes.unkept);
        let unkept = if is_unkept { before.saturating_add(1) } else { 0 };
        if unkept != before {
            self.objects.change(id, |tracked| tracked.notes_mut().unkept = unkept);
        }
        unkept
    }

    /// Admission or the API server takes off what the sync writes on an object, so that each answer would bring the next write about.
    /// `true` if the object is left alone for a while.
    fn unkept_failed(&mut self, id: &ObjectId, now: Instant) -> bool {
        if self.objects.notes(id).is_none_or(|notes| notes.unkept < UNKEPT) {
            return false;
        }
        let live = self.objects.live(id);
        let (is_ours, unlabelled) = live.map_or((false, false), |live| (live.owner == Owner::Us, live.unlabelled));
        let lost = match is_ours {
            _ if unlabelled => format!("its label {}", label::PART_OF),
            true => format!("its annotation {}", annotation::DECLARED_HASH),
            false => format!("the annotation {}, or another one that names its sync,", annotation::MANAGER),
        };
        let message =
            format!("{id} is not as it was applied: {lost} did not come back; admission or the API server changes it");
        let hint = match unlabelled {
            true => format!(
                "have the mutating webhook or policy that changes such objects leave the label {}: without it no watch shows what \
                 becomes of the object, and it is not deleted when it is removed from the source",
                label::PART_OF
            ),
            false => "see which mutating webhook or policy changes such objects; the server of an aggregated API has to keep \
                      annotations"
                .to_owned(),
        };
        let finding = self.about(Finding::new(Code::Applier, message).hint(hint), id);
        self.failed(id, Failure { finding, retry: Retry::Object, refused: false }, now);
        true
    }

    /// The object is as it was just applied or read. If it does not become ready in time, its state says so.
    pub(super) fn expect_readiness(&mut self, id: &ObjectId, now: Instant) {
        let unready = |live: &Live| !live.terminating && matches!(live.health, Health::InProgress(_));
        let waits = matches!(self.declared(id), Declared::Object(_)) && self.objects.live(id).is_some_and(unready);
        let end = now + self.settings.reconcile_timeout;
        if waits {
            self.objects.change(id, |tracked| _ = tracked.notes_mut().late_at.get_or_insert(end));
        } else if self.objects.notes(id).is_some_and(|notes| notes.late_at.is_some()) {
            self.objects.change(id, |tracked| {
                let notes = tracked.notes_mut();
                (notes.late_at, notes.late) = (None, false);
            });
        }
    }

    /// A repair worked: it is told, and counted in case another client undoes it again and again.
    fn repaired(&mut self, id: &ObjectId, repair: Option<PendingRepair>, now: Instant) {
        let Some(PendingRepair { fields, by, version }) = repair else { return };
        let changed = self.drifted.remove(id).unwrap_or(now);
        let begins = self.objects.change(id, |tracked| {
            let notes = tracked.notes_mut();
            notes.rival = by.as_deref().map(Into::into);
            let before = notes.heat;
            let heat = notes.heat.insert(Heat::after_repair(before, changed, now));
            heat.is_fight() && !before.is_some_and(Heat::is_fight)
        });
        let after = now.saturating_duration_since(changed);
        if let Some(finding) = self.fight_finding(id) {
            self.report.status_changed();
            if begins {
                self.commands.push(Command::Notice(Notice::Failed(finding)));
            }
        }
        if let (Some(declared), Some(live)) = (self.declared_form(id), self.objects.live(id)) {
            let (uid, fields) = (live.uid.to_string(), declared.shown_fields(fields));
            self.commands.push(Command::Notice(Notice::Repaired(Repaired {
                declared,
                uid,
                fields,
                by,
                version,
                after,
            })));
        }
    }

    pub(super) fn absent(&mut self, id: &ObjectId, version: u64) {
        if self.is_unseen(id) || self.objects.live(id).is_some_and(|live| version == 0 || live.version <= version) {
            self.objects.change(id, |tracked| tracked.unlisted = false);
            self.vanishes(id);
            self.objects.set_live(id, None);
            self.forget_record(id);
            self.report.resources_changed();
        }
        self.objects.forgive(id);
    }

    /// The object is left alone for a while, and then tried again.
    pub(super) fn failed(&mut self, id: &ObjectId, failure: Failure, now: Instant) {
        // It was a read of an object that is as declared, so that nothing else would bring it about again.
        let unread = matches!(self.action(id), Action::Nothing) && self.objects.live(id).is_some();
        let (news, passing) = self.objects.change(id, |tracked| {
            let (record, pause, news) = FailureRecord::after(tracked.notes_mut().failure.take(), &failure, now);
            tracked.phase = Phase::BackingOff(now + pause);
            if unread {
                tracked.notes_mut().read_at = Some(now + pause);
            }
            let passing = record.passing;
            tracked.notes_mut().failure = Some(record);
            (news, passing)
        });
        if news {
            self.commands.push(Command::Notice(Notice::Failed(failure.finding)));
            self.report.status_changed();
            self.report.resources_changed();
        }
        if passing {
            self.doubt_namespace(id, now);
        }
    }

    /// The object is gone: the reason for which its last command failed may be gone too. The pauses go on from there if it fails again.
    pub(super) fn end_pause_of_failure(&mut self, id: &ObjectId) {
        let failed = |tracked: &&Tracked| {
            let failure = tracked.notes.as_ref().and_then(|notes| notes.failure.as_ref());
            matches!(tracked.phase, Phase::BackingOff(_)) && failure.is_some_and(|failure| !failure.passing)
        };
        if self.objects.get(id).filter(failed).is_some() {
            self.objects.set_phase(id, Phase::Settled);
        }
    }

    /// Objects with such a failure, and those that are in the way or left behind, if `is_meant` says so of no failure, are looked at again
    /// at once.
    pub(super) fn try_failed_again(&mut self, is_meant: impl Fn(Option<&FailureRecord>) -> bool, now: Instant) {
        let failed = self.objects.all().iter().filter(|(_, tracked)| {
            let told = tracked.notes.as_ref().filter(|notes| notes.failure.is_some() || notes.conflict.is_some());
            matches!(tracked.phase, Phase::BackingOff(_)) && told.is_some_and(|notes| is_meant(notes.failure.as_ref()))
        });
        let failed: Vec<ObjectId> = failed.map(|(id, _)| id.clone()).collect();
        for id in failed {
            // The API server may hear of new rights a moment later: the pauses begin anew.
            self.objects.change(&id, |tracked| {
                let notes = tracked.notes_mut();
                notes.checks = 0;
                if let Some(failure) = &mut notes.failure {
                    failure.begin_anew();
                }
            });
            self.try_again(&id, now);
        }
    }
}

impl FailureRecord {
    /// The record of a failure after another one, the pause before the next attempt, and `true` if users are to hear of it now. As long
    /// as its words stay, the status stays as it was told.
    pub(super) fn after(before: Option<Self>, failure: &Failure, now: Instant) -> (Self, Duration, bool) {
        let (passing, first, longest, at_least) = match failure.retry {
            Retry::Object => (false, FIRST_PAUSE, LONGEST_PAUSE, Duration::ZERO),
            Retry::Soon => (true, FIRST_SHORT_PAUSE, LONGEST_PAUSE, Duration::ZERO),
            Retry::Server(at_least) => (true, FIRST_SHORT_PAUSE, LONGEST_OUTAGE_PAUSE, at_least),
        };
        let attempts = before.as_ref().map_or(0, |before| before.attempts);
        let pause = Backoff::pause(first, longest, attempts).max(at_least);
        let told = before.filter(|before| before.is_told() && before.says(&failure.finding, now));
        let is_told = told.is_some();
        let (finding, worded_at) = match told {
            Some(told) => (told.finding, told.worded_at),
            None => (failure.finding.clone(), now),
        };
        let record = Self { finding, worded_at, attempts: attempts + 1, passing };
        let news = record.is_told() && !is_told;
        (record, pause, news)
    }

    /// `true` if a finding needs no other words than those of this record.
    fn says(&self, finding: &Finding, now: Instant) -> bool {
        let is_recent = now.saturating_duration_since(self.worded_at) < WORDS_STAY;
        self.finding == *finding || is_recent && self.finding.is_like(finding)
    }
}

#[cfg(test)]
mod tests;
