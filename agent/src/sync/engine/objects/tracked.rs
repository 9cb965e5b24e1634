//! One object: its live form, its phase, and the rare facts about it.

use std::time::{Duration, Instant};

use crate::model::duration::format_duration;
use crate::model::finding::Finding;
use crate::model::object::ObjectId;
use crate::sync::engine::queue::QueuePlace;
use crate::sync::live::{Live, Observed};

/// Everything that is known of one object.
#[derive(Default)]
pub(in crate::sync::engine) struct Tracked {
    /// The live object as last seen; `None` when it does not exist or nothing has shown it.
    pub(in crate::sync::engine) live: Option<Live>,
    /// Where its work stands.
    pub(in crate::sync::engine) phase: Phase,
    /// The object is in the inventory's record, and neither an answer nor a list has shown yet that it exists: its kind is not listed, not
    /// served or cannot be listed, or no watch shows the object, or a request that makes it had no answer. It stays in the record until a
    /// read shows that it does not exist, or it would never be pruned.
    pub(in crate::sync::engine) unlisted: bool,
    /// The object is in the inventory's record, and the sync has applied it or found it there as declared: with the sync's labels
    /// and annotations it is the sync's own. Without that mark, what carries them and is not declared is left alone, and nothing
    /// of it is kept.
    pub(in crate::sync::engine) recorded: bool,
    /// The last write of the object had no answer: what a watch shows may be of before it.
    pub(in crate::sync::engine) unanswered: bool,
    /// The object was made, or became the sync's, after the commit in force came in force: it is none of those that the commit found, and
    /// that its deletions are measured by.
    pub(in crate::sync::engine) newer: bool,
    /// Facts that few objects have. They are apart so that an object takes little memory.
    pub(in crate::sync::engine) notes: Option<Box<Notes>>,
}

/// Where the work on an object stands.
#[derive(Default)]
pub(in crate::sync::engine) enum Phase {
    /// There is nothing to do.
    #[default]
    Settled,
    /// The object's turn comes at this place of the queue. What is done then follows from the declared and the live form
    /// at that moment.
    Queued(QueuePlace),
    /// A command about the object is unanswered.
    InFlight(Box<InFlight>),
    /// The object waits until this one is ready, or gone.
    Waiting(ObjectId),
    /// The object is left alone until then: a command failed, or another client fights over it, or another sync's object
    /// is in its place.
    BackingOff(Instant),
    /// The object is being deleted. If it is declared, it is applied again as soon as it is gone. It is looked at again at this time: no
    /// watch may show it, and users are told of a deletion that takes too long.
    Terminating(Instant),
}

/// An event of a watch about an object in flight.
pub(in crate::sync::engine) enum Deferred {
    /// The object, and `true` if it is from a list.
    Seen(Box<Observed>, bool),
    /// It is gone, at this version.
    Gone(u64),
}

/// The sorts of commands whose answers mean something of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync::engine) enum Sent {
    /// The object is to become the sync's, if it has not changed meanwhile.
    TakeOver,
    /// Values of other objects are read for it.
    Fill,
    /// The object is deleted, if the command is not withdrawn before.
    Delete,
    /// The object is read.
    Read,
    /// All others.
    Other,
}

/// An unanswered command.
pub(in crate::sync::engine) struct InFlight {
    /// The place in the queue that the object had.
    pub(in crate::sync::engine) place: QueuePlace,
    /// The sort of the command.
    pub(in crate::sync::engine) sent: Sent,
    /// The repair to tell of when the command works; `None` when the command repairs nothing.
    pub(in crate::sync::engine) repair: Option<PendingRepair>,
    /// The last event of a watch since the command was sent. It is taken in after the answer.
    pub(in crate::sync::engine) deferred: Option<Deferred>,
    /// The object was [`recorded`](Tracked::recorded) before.
    pub(in crate::sync::engine) recorded: bool,
}

/// A repair whose command is unanswered: see [`Repaired`](crate::sync::engine::Repaired).
pub(in crate::sync::engine) struct PendingRepair {
    pub(in crate::sync::engine) fields: Vec<String>,
    pub(in crate::sync::engine) by: Option<String>,
    pub(in crate::sync::engine) version: u64,
}

impl PendingRepair {
    /// The repair of these fields of an object.
    pub(in crate::sync::engine) fn of(live: Option<&Live>, fields: Vec<String>) -> Self {
        let by = live.and_then(|live| live.changed_by.as_deref().map(str::to_owned));
        Self { fields, by, version: live.map_or(0, |live| live.version) }
    }
}

/// Facts that few objects have at a time.
#[derive(Default)]
pub(in crate::sync::engine) struct Notes {
    /// The last command failed.
    pub(in crate::sync::engine) failure: Option<FailureRecord>,
    /// Another sync manages the object (KNV1060), or it is not declared any more and cannot be deleted.
    pub(in crate::sync::engine) conflict: Option<Finding>,
    /// The conflict that there was when the commit in force began: users have heard of it.
    pub(in crate::sync::engine) told: Option<Finding>,
    /// The frequency of the object's repairs; `None` when it was not repaired of late.
    pub(in crate::sync::engine) heat: Option<Heat>,
    /// The field manager whose changes were put back last.
    pub(in crate::sync::engine) rival: Option<Box<str>>,
    /// Attempts to find out whether an object that no watch shows is still in the way.
    pub(in crate::sync::engine) checks: u32,
    /// Attempts to take over an object of others that had changed each time.
    pub(in crate::sync::engine) overtaken: u32,
    /// Writes in a row that worked and after which the object was to be written again at once.
    pub(in crate::sync::engine) unkept: u32,
    /// The declared fields that admission or the API server changed in the last write, as they are shown.
    pub(in crate::sync::engine) rewritten: Box<[String]>,
    /// When the whole object is read because its readiness may have changed.
    pub(in crate::sync::engine) read_at: Option<Instant>,
    /// At its turn the whole object is read because its readiness may have changed, also if its apply has to wait for other objects.
    pub(in crate::sync::engine) unread: bool,
    /// When the wait for another object, or for the end of the deletion, is told as an error.
    pub(in crate::sync::engine) overdue_at: Option<Instant>,
    /// The wait for another object was told as an error. It goes on, and the object is applied when the other is ready.
    pub(in crate::sync::engine) overdue: bool,
    /// When the object counts as late, because it is applied and not ready.
    pub(in crate::sync::engine) late_at: Option<Instant>,
    /// It was not ready within the reconcile timeout, and is not now.
    pub(in crate::sync::engine) late: bool,
    /// The object is a Namespace or CRD that is not declared any more and holds an object that stays: it is abandoned
    /// instead of deleted.
    pub(in crate::sync::engine) keep: bool,
    /// The sync has deleted it, and no watch has shown yet that it is gone.
    pub(in crate::sync::engine) pruned: bool,
}

/// The last failure of an object's commands.
pub(in crate::sync::engine) struct FailureRecord {
    pub(in crate::sync::engine) finding: Finding,
    /// The failure of this finding. Later ones may be in other words.
    pub(in crate::sync::engine) worded_at: Instant,
    /// Failures in a row.
    pub(in crate::sync::engine) attempts: u32,
    /// The failure is likely over in a moment.
    pub(in crate::sync::engine) passing: bool,
}

/// Failures in a row from which on users hear of one that is likely over in a moment.
const TOLD: u32 = 4;

impl FailureRecord {
    /// `true` when users hear of it: a passing failure is told from the fourth attempt on.
    pub(in crate::sync::engine) fn is_told(&self) -> bool {
        !self.passing || self.attempts >= TOLD
    }

    /// The cause may be over: the next pauses are short. Users go on to hear of the failure until a command works.
    pub(in crate::sync::engine) fn begin_anew(&mut self) {
        self.attempts = self.attempts.min(if self.passing { TOLD } else { 1 });
    }
}

/// Repairs of one object a minute from which on another client counts as fighting over it.
const FIGHT: f64 = 5.0;
/// Changes of one object in a row from which on another client that is slower counts as fighting over it.
const RETURNS: u32 = 5;
/// Changes that follow a repair sooner than this are many a minute, or few at once.
const SLOW: Duration = Duration::from_secs(10);
/// The time without another change after which the repairs of an object are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// The time that a slow client may be late.
const LATE: Duration = Duration::from_secs(60);

/// The frequency of repairs of an object. Each repair adds one to a number that falls to a third within a minute; and a client that is
/// slower than that number can show is known by its changes in a row.
#[derive(Clone, Copy)]
pub(in crate::sync::engine) struct Heat {
    /// About the number of repairs a minute, at a time.
    repairs: f64,
    at: Instant,
    /// The time of the last repair.
    last: Instant,
    /// The number of repairs, each soon enough after the one before.
    returns: u32,
    /// The time after a repair until the next change, at the longest, of late.
    calm: Duration,
    /// Another client comes back every few minutes.
    slow: bool,
}

impl Heat {
    /// The heat of an object that is repaired now, when this was its heat before, and it has differed since `changed`.
    pub(in crate::sync::engine) fn after_repair(before: Option<Self>, changed: Instant, now: Instant) -> Self {
        let none = Self { repairs: 0.0, at: now, last: now, returns: 0, calm: Duration::ZERO, slow: false };
        let before = before.unwrap_or(none);
        let calm = changed.saturating_duration_since(before.last).max(before.calm / 2);
        let returns = before.returns.saturating_add(1);
        let slow = returns >= RETURNS && calm >= SLOW;
        Self { repairs: before.left(now) + 1.0, at: now, last: now, returns, calm, slow }
    }

    /// The number of repairs a minute that is left at `now`: it halves roughly every 40 seconds.
    fn left(self, now: Instant) -> f64 {
        self.repairs * (-now.saturating_duration_since(self.at).as_secs_f64() / 60.0).exp()
    }

    /// `true` when another client fights over the object.
    pub(in crate::sync::engine) fn is_fight(self) -> bool {
        self.slow || self.is_fast()
    }

    fn is_fast(self) -> bool {
        self.repairs >= FIGHT
    }

    /// The number of repairs since the fight began, for the pause before the next one.
    pub(in crate::sync::engine) fn pauses(self) -> u32 {
        let of_slow = if self.slow { self.returns - RETURNS } else { 0 };
        of_slow.max((self.repairs - FIGHT) as u32)
    }

    /// The frequency of the other client's changes, in words.
    pub(in crate::sync::engine) fn frequency(self) -> String {
        match self.is_fast() {
            true => format!("about {:.0} times a minute", self.repairs),
            false => format!("again and again, after {} at the latest,", format_duration(whole_seconds(self.calm))),
        }
    }

    /// The time at which a fight is over, or else the repairs are forgotten. A slow client has missed its turn then.
    pub(super) fn cools_at(self) -> Instant {
        let of_fast = self.at + Duration::from_secs_f64(60.0 * (self.repairs / FIGHT).ln().max(0.0));
        match (self.is_fast(), self.slow) {
            (fast, true) => (self.last + self.calm + LATE).max(if fast { of_fast } else { self.at }),
            (true, false) => of_fast,
            (false, false) => self.last + FORGOTTEN,
        }
    }

    /// The heat after [`Heat::cools_at`]; `None` when the repairs are forgotten.
    pub(in crate::sync::engine) fn cooled(self, now: Instant) -> Option<Self> {
        let repairs = self.left(now).min(0.99 * FIGHT);
        self.is_fight().then_some(Self { repairs, at: now, slow: false, ..self })
    }
}

/// Rounded up, for people.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

impl Phase {
    /// The phase in one word, for people.
    pub(in crate::sync::engine) fn name(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Queued(_) => "queued",
            Self::InFlight(_) => "in flight",
            Self::Waiting(_) => "waiting",
            Self::BackingOff(_) => "backing off",
            Self::Terminating(_) => "terminating",
        }
    }
}

impl Tracked {
    /// The notes, made when there are none.
    pub(in crate::sync::engine) fn notes_mut(&mut self) -> &mut Notes {
        self.notes.get_or_insert_default()
    }

    /// The object exists, in this form. Returns the form before.
    pub(in crate::sync::engine) fn show(&mut self, live: Live) -> Option<Live> {
        self.unlisted = false;
        self.live.replace(live)
    }

    /// `true` while a command is unanswered after which the object may be the sync's, and was not before.
    pub(in crate::sync::engine) fn is_being_made(&self) -> bool {
        match &self.phase {
            Phase::InFlight(command) if command.sent == Sent::Read => false,
            Phase::InFlight(command) => self.live.is_none() || command.sent == Sent::TakeOver,
            _ => false,
        }
    }

    /// `true` if a watch has shown the object, maybe while a command was unanswered.
    pub(in crate::sync::engine) fn is_shown(&self) -> bool {
        let deferred = match &self.phase {
            Phase::InFlight(command) => command.deferred.as_ref(),
            _ => None,
        };
        matches!(deferred, Some(Deferred::Seen(..))) || self.live.as_ref().is_some_and(|live| live.watched)
    }

    /// The live object, if it is the sync's own.
    pub(in crate::sync::engine) fn own(&self) -> Option<&Live> {
        self.live.as_ref().filter(|live| self.recorded && live.is_ours())
    }

    /// Takes the unanswered command; the object is settled then.
    pub(in crate::sync::engine) fn take_in_flight(&mut self) -> Option<Box<InFlight>> {
        match std::mem::take(&mut self.phase) {
            Phase::InFlight(in_flight) => Some(in_flight),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The unanswered command.
    pub(in crate::sync::engine) fn in_flight_mut(&mut self) -> Option<&mut InFlight> {
        match &mut self.phase {
            Phase::InFlight(in_flight) => Some(in_flight),
            _ => None,
        }
    }

    /// Drops notes that say nothing any more.
    pub(super) fn tidy(&mut self) {
        if self.live.is_none()
            && let Some(notes) = &mut self.notes
        {
            notes.rewritten = Box::default();
        }
        self.notes.take_if(|notes| notes.is_blank());
    }

    /// `true` when nothing is known of the object.
    pub(super) fn is_blank(&self) -> bool {
        self.live.is_none()
            && !self.unlisted
            && !self.recorded
            && self.notes.is_none()
            && matches!(self.phase, Phase::Settled)
    }

    /// Forgets what the commit before left undone.
    pub(super) fn begin_commit(&mut self) {
        if !matches!(self.phase, Phase::InFlight(_)) {
            self.phase = Phase::Settled;
        }
        // One that an answer or a watch is still to show was none of the sync's objects yet.
        let is_taken_over = matches!(&self.phase, Phase::InFlight(in_flight) if !in_flight.recorded);
        self.newer &= is_taken_over || self.own().is_none();
        if let Some(notes) = &mut self.notes {
            let Notes { heat, late_at, late, pruned, .. } = **notes;
            let (rival, rewritten) = (notes.rival.take(), std::mem::take(&mut notes.rewritten));
            let told = notes.conflict.take();
            **notes = Notes { told, heat, rival, rewritten, late_at, late, pruned, ..Notes::default() };
        }
        self.tidy();
    }
}

impl Notes {
    fn is_blank(&self) -> bool {
        // The rival is of no use without heat.
        let Self {
            failure,
            conflict,
            told,
            heat,
            rival: _,
            checks,
            overtaken,
            unkept,
            rewritten,
            read_at,
            unread,
            overdue_at,
            overdue,
            late_at,
            late,
            keep,
            pruned,
        } = self;
        failure.is_none()
            && conflict.is_none()
            && told.is_none()
            && heat.is_none()
            && *checks == 0
            && *overtaken == 0
            && *unkept == 0
            && rewritten.is_empty()
            && read_at.is_none()
            && !unread
            && overdue_at.is_none()
            && !overdue
            && late_at.is_none()
            && !late
            && !keep
            && !pruned
    }
}
