//! One sync as a state machine: events in, commands out, time passed in.
//!
//! There are no phases. Every object whose declared and live form differ is in a queue, repairs of drift first; whatever an
//! object has to wait for is looked at when its turn comes. So a commit that is being applied, an object that keeps failing
//! or a Namespace that takes long to terminate hold up nothing but what depends on them.

mod commit;
mod queue;
mod report;
mod unseen;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::finding::Finding;
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, Object, ObjectId};
use crate::sync::live::{Live, Observed};
use crate::sync::plan::order::Order;

use commit::{Candidate, Held};
use queue::Queue;
use unseen::Unseen;
use work::Work;

pub use report::{Report, ResourceState, Stage};

/// What a sync is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose objects these are.
    pub sync: SyncId,
    /// Requests in flight at the most; repairs of drift may go beyond it by a quarter.
    pub in_flight: usize,
    /// The commit whose large prune is approved, if any.
    pub approved: Option<String>,
    /// How to approve a held commit: a command line in which `COMMIT` stands for it.
    pub how_to_approve: String,
    /// Kinds of which objects in the inventory may exist: those of its record, or what looking for them has found.
    pub kinds: BTreeSet<GroupKind>,
    /// The inventory's record.
    pub recorded: BTreeSet<ObjectId>,
    /// The commit that was in force when the process before ended, from the sync's status.
    pub last_in_force: Option<String>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A commit was compiled; `declared` is `None` when a finding blocks.
    Compiled {
        /// 40 hexadecimal digits.
        commit: String,
        /// What it declares.
        declared: Option<Arc<DeclaredSet>>,
        /// Everything found, blocking or not.
        findings: Vec<Finding>,
    },
    /// The answer to [`Command::Restore`]; `declared` is `None` when the commit is not to be had any more.
    Restored {
        /// 40 hexadecimal digits.
        commit: String,
        /// What it declares.
        declared: Option<Arc<DeclaredSet>>,
    },
    /// The source cannot be read.
    SourceFailed(Finding),
    /// A watch starts over with a list of this kind.
    Listing(GroupKind),
    /// The list of this kind is complete.
    Listed(GroupKind),
    /// The API server does not serve this kind.
    Unserved(GroupKind),
    /// This kind cannot be listed, and why.
    Unlistable(GroupKind, Finding),
    /// A watch shows an object, new, changed or listed.
    Seen(ObjectId, Box<Observed>),
    /// A watch shows that an object is gone, at this version.
    Gone(ObjectId, u64),
    /// A command about an object came to its end.
    Finished(ObjectId, Outcome),
    /// An audit shows a whole object.
    Audited(Box<Object>),
    /// The audit of this kind is over, complete or not.
    AuditEnded(GroupKind),
    /// It is time to audit everything.
    AuditDue,
    /// The inventory's record was written.
    Recorded,
    /// The large prune of this commit is approved.
    Approved(String),
    /// Nothing but time passed.
    Woken,
}

/// How a command about an object ended.
#[derive(Debug)]
pub enum Outcome {
    /// Applied, or found to be as declared. The strings name declared fields that came back different.
    Applied(Box<Live>, Vec<String>),
    /// The whole object as it is now.
    Read(Box<Object>),
    /// It does not exist (any more), at the version at which that was seen if known.
    Absent(u64),
    /// Deletion was accepted.
    Deleted,
    /// Our metadata is off.
    Abandoned,
    /// It did not work.
    Failed(Failure),
}

/// Why a command did not work.
#[derive(Debug)]
pub struct Failure {
    /// What to tell the user.
    pub finding: Finding,
    /// What it means for trying again.
    pub retry: Retry,
}

/// What a failure means for trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// This object's own problem: back off with it alone.
    Object,
    /// Likely over in a moment (a kind or Namespace still on its way, a conflict): not worth telling at once.
    Soon,
    /// The API server is away or asks for patience: everything waits, at least this long.
    Server(Duration),
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Watch these kinds from now on, besides those watched already.
    Watch(BTreeSet<GroupKind>),
    /// Write down that these objects are (about to be) ours; answered with [`Event::Recorded`].
    Record(BTreeSet<ObjectId>),
    /// Server-side apply at this commit.
    Apply(Arc<DeclaredObject>, String, ApplyMode),
    /// Bring our labels and annotations up to date, nothing else.
    Annotate(Arc<DeclaredObject>, String),
    /// Read the whole object.
    Read(ObjectId),
    /// Read all whole objects of this kind that are ours, page by page: answered with [`Event::Audited`] each and
    /// [`Event::AuditEnded`].
    Audit(GroupKind),
    /// Delete exactly this incarnation and version.
    Delete(ObjectId, Box<str>, u64),
    /// Take our metadata off.
    Abandon(ObjectId),
    /// Compile this commit: the newest one cannot be applied and nothing is in force. Answered with [`Event::Restored`].
    Restore(String),
    /// Write status and inventory.
    Report(Box<Report>),
    /// Tell people.
    Notice(Notice),
}

/// What an apply expects to find on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// No object, as far as is known. An object that is there after all is read instead ([`Outcome::Read`]) and decided
    /// about, because it may belong to another sync.
    Create,
    /// The object that is known.
    Update,
    /// The object that is known, with list items of another manager in the place of declared ones. The apply removes
    /// those items.
    Reclaim,
}

/// Something worth an event and a line in the log.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A commit is fully applied.
    Synced {
        /// The commit.
        commit: String,
        /// Objects written for it.
        applied: usize,
        /// Objects deleted or released for it.
        pruned: usize,
    },
    /// A commit is in force and about to be applied.
    Syncing {
        /// The commit.
        commit: String,
        /// Objects declared.
        objects: usize,
    },
    /// The source, a commit or an object is not right.
    Failed(Finding),
    /// Drift was put back.
    Repaired(Repaired),
    /// Declared fields came back different from our own apply.
    Rewritten(ObjectId, Vec<String>),
}

/// An object that was put back.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What it is back to.
    pub declared: Arc<DeclaredObject>,
    /// The incarnation that it has now.
    pub uid: String,
    /// What was changed; empty when it was deleted or its ownership was wiped.
    pub fields: Vec<String>,
    /// Who did it; `None` when that cannot be told.
    pub by: Option<String>,
    /// Its version before the repair, at which it can still be read for a while; 0 when it was deleted.
    pub version: u64,
}

/// A list that is being read.
#[derive(Default)]
struct Listing {
    /// Known objects that it has not shown so far.
    missing: BTreeSet<ObjectId>,
    /// The newest version that it has shown: it is at least as new.
    newest: u64,
}

/// Everything known about one sync.
pub struct State {
    settings: Settings,
    // What is declared.
    declared: Option<Arc<DeclaredSet>>,
    commit: String,
    order: Order,
    candidate: Option<Candidate>,
    held: Option<Held>,
    restoring: bool,
    source: Stage,
    // What is live.
    live: BTreeMap<ObjectId, Live>,
    watched: BTreeSet<GroupKind>,
    listed: BTreeSet<GroupKind>,
    listing: BTreeMap<GroupKind, Listing>,
    unlistable: BTreeMap<GroupKind, Finding>,
    unserved: BTreeSet<GroupKind>,
    /// Kinds that were unknown when the commit in force was: nothing of them is deleted.
    blind: BTreeSet<GroupKind>,
    unseen: Unseen,
    // What is to be done.
    queue: Queue,
    work: Work,
    recording: bool,
    stopping: bool,
    report: report::Dirt,
}

impl State {
    /// A sync that knows nothing yet.
    pub fn new(mut settings: Settings) -> Self {
        Self {
            unseen: Unseen::new(std::mem::take(&mut settings.recorded)),
            settings,
            declared: None,
            commit: String::new(),
            order: Order::default(),
            candidate: None,
            held: None,
            restoring: false,
            source: Stage::default(),
            live: BTreeMap::new(),
            watched: BTreeSet::new(),
            listed: BTreeSet::new(),
            listing: BTreeMap::new(),
            unlistable: BTreeMap::new(),
            unserved: BTreeSet::new(),
            blind: BTreeSet::new(),
            queue: Queue::default(),
            work: Work::default(),
            recording: false,
            stopping: false,
            report: report::Dirt::default(),
        }
    }

    /// One event, and what follows from it. `now` never goes back.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Command> {
        let mut out = Vec::new();
        match event {
            Event::Compiled { commit, declared, findings } => self.compiled(commit, declared, findings, &mut out),
            Event::Restored { commit, declared } => self.restored(commit, declared, &mut out),
            Event::SourceFailed(finding) => self.source_failed(finding, &mut out),
            Event::Listing(kind) => self.listing_starts(kind),
            Event::Listed(kind) => self.listed(&kind, now),
            Event::Unserved(kind) => self.unserved(&kind, now),
            Event::Unlistable(kind, finding) => self.unlistable(kind, finding, &mut out),
            Event::Seen(id, seen) => self.seen(id, seen, now),
            Event::Gone(id, version) => self.gone(&id, version, now),
            Event::Finished(id, outcome) => self.finished(id, outcome, now, &mut out),
            Event::Audited(whole) => self.audited(&whole, now),
            Event::AuditEnded(kind) => self.work.audit_ended(&kind),
            Event::AuditDue => self.audit_everything(),
            Event::Recorded => self.recording = false,
            Event::Approved(commit) => self.approve(commit, now, &mut out),
            Event::Woken => {}
        }
        self.consider(now, &mut out);
        self.wake(now);
        self.look_for_kinds(now, &mut out);
        self.dispatch(now, &mut out);
        self.settle(now, &mut out);
        out
    }

    /// When to step with [`Event::Woken`] if nothing else happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        let times = [self.work.next_retry(), self.report.due(), self.work.paused_until(), self.unseen.next_look()];
        times.into_iter().flatten().min()
    }

    /// No more writes to declared objects; what is in flight still comes in.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether a command about an object or the record is still unanswered.
    pub fn is_busy(&self) -> bool {
        self.work.in_flight() > 0 || self.recording
    }

    /// Whether the newest commit is applied without errors and nothing is left to do.
    pub fn is_synced(&self) -> bool {
        self.is_idle() && self.source.commit == self.commit && self.is_clean()
    }

    /// Whether the newest commit has been dealt with as far as it can be for now: synced, refused or held.
    pub fn is_idle(&self) -> bool {
        (!self.source.commit.is_empty() || !self.source.findings.is_empty())
            && self.candidate.is_none()
            && !self.restoring
            && self.queue.is_empty()
            && !self.work.is_auditing()
            && !self.is_busy()
    }

    /// Whether nothing is on its way any more, not even a short-lived failure.
    pub fn is_at_rest(&self) -> bool {
        self.is_idle() && !self.is_pending()
    }

    /// Everything of ours that is known to exist.
    fn inventory(&self) -> impl Iterator<Item = (&ObjectId, &Live)> {
        self.live.iter().filter(|(_, live)| live.owner == crate::sync::live::Owner::Us)
    }
}
