//! Commands: the output of the engine of a sync.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::compile::declared::DeclaredObject;
use crate::model::finding::Finding;
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::managed_fields::FormerWriter;
use crate::sync::plan::memory::GuardMemory;

use super::{DeclaredChanges, HeldObjects, Report, SourceCommit};

/// One thing to do. A command about one object is answered with [`Event::Finished`](super::Event::Finished), and with
/// [`Outcome::Failed`](super::Outcome::Failed) when it does not work.
#[derive(Debug)]
pub enum Command {
    /// Watch these kinds, besides those that are watched already. Answered for each kind with
    /// [`Event::Listing`](super::Event::Listing) and [`Event::Listed`](super::Event::Listed), or with
    /// [`Event::Unserved`](super::Event::Unserved) or [`Event::Unlistable`](super::Event::Unlistable).
    Watch(BTreeSet<GroupKind>),
    /// Write the inventory's record. Answered with [`Event::Recorded`](super::Event::Recorded); a newer one makes an older one
    /// needless. Of a commit's own work nothing is sent before the answer.
    Record(Box<NewRecord>),
    /// Apply the object at this commit (server-side apply). Answered with [`Event::Finished`](super::Event::Finished) and
    /// [`Outcome::Applied`](super::Outcome::Applied).
    Apply(Arc<DeclaredObject>, String, ApplyMode),
    /// Bring the sync's labels and annotations on the object up to date at this commit, and no other field. Answered with
    /// [`Event::Finished`](super::Event::Finished) and [`Outcome::Applied`](super::Outcome::Applied).
    Annotate(Arc<DeclaredObject>, String, AnnotateMode),
    /// Read the whole object in the version in which it is declared. Answered with [`Event::Finished`](super::Event::Finished) and
    /// [`Outcome::Read`](super::Outcome::Read) or [`Outcome::Absent`](super::Outcome::Absent).
    Read(Arc<DeclaredObject>),
    /// As [`Command::Read`], with the rights of the agent itself: a sync that has lost its rights is to hear that its object is gone.
    ReadAsAgent(Arc<DeclaredObject>),
    /// Read these objects, one for each value that is copied into the declared object, and fill that with the values. Answered with
    /// [`Event::Finished`](super::Event::Finished) and [`Outcome::Filled`](super::Outcome::Filled).
    Fill(Arc<DeclaredObject>, Arc<[ObjectId]>),
    /// Read all whole objects of the kind that are this sync's, page by page, in each of these versions. Answered with
    /// [`Event::Audited`](super::Event::Audited) for each and [`Event::AuditEnded`](super::Event::AuditEnded).
    Audit(GroupKind, BTreeSet<String>),
    /// Count the objects of the kind that this CRD defines. Answered with [`Event::Counted`](super::Event::Counted).
    Count(ObjectId),
    /// Delete the object if it still has this uid and resource version, unless one of these RepoSyncs, which declare it, may make
    /// it itself: then it is left to that one. Answered with [`Event::Finished`](super::Event::Finished) and
    /// [`Outcome::Deleted`](super::Outcome::Deleted), [`Outcome::Abandoned`](super::Outcome::Abandoned),
    /// [`Outcome::KeepsDetached`](super::Outcome::KeepsDetached), [`Outcome::Withdrawn`](super::Outcome::Withdrawn) or
    /// [`Outcome::Absent`](super::Outcome::Absent).
    Delete(ObjectId, Box<str>, u64, Vec<SyncId>),
    /// No deletion that is not sent yet is to be sent. Each is answered with [`Outcome::Withdrawn`](super::Outcome::Withdrawn), and
    /// decided about anew.
    Withdraw,
    /// Take the sync's labels and annotations off the object, and leave the rest. Answered with
    /// [`Event::Finished`](super::Event::Finished) and [`Outcome::Abandoned`](super::Outcome::Abandoned) or
    /// [`Outcome::Absent`](super::Outcome::Absent).
    Abandon(ObjectId),
    /// Ask the API server for an object that every cluster has, because a command failed as it does when the API server is away.
    /// Answered with [`Event::ServerAsked`](super::Event::ServerAsked); no command about an object is sent before the answer.
    AskServer,
    /// Compile this older commit, maybe of the source of a spec before, because the newest one cannot be applied and none is
    /// in force, or this one is and follows live Namespaces. Answered with [`Event::Restored`](super::Event::Restored), again when
    /// other Namespaces give another result, until the next [`Event::Compiled`](super::Event::Compiled).
    Restore(SourceCommit),
    /// Tell the other syncs that these are the sync's objects ([`Event::Syncs`](super::Event::Syncs)).
    Share(Arc<HeldObjects>),
    /// Write the sync's status and, where the report has resources, its ResourceGroups.
    Report(Box<Report>),
    /// Publish an Event and write a line to the log.
    Notice(Notice),
}

/// The way in which labels and annotations come on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotateMode {
    /// The object is the sync's: a patch.
    Update,
    /// The object is not the sync's yet, and has an apply of this or another sync: a patch at this resource version. An apply would take
    /// the fields off that the one before has set.
    TakeOver(u64),
    /// The object with this uid has no apply, which alone proves later that the sync may delete it: an apply of nothing else. It is at this
    /// resource version if it is not the sync's yet.
    Prove(Box<str>, Option<u64>),
}

/// The record of an inventory.
#[derive(Debug)]
pub struct NewRecord {
    /// A later record has a higher number.
    pub number: u64,
    /// Every object that the sync manages or is about to make.
    pub objects: BTreeSet<ObjectId>,
    /// The facts that the guard needs after a restart.
    pub memory: GuardMemory,
}

/// The object that an apply expects on the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// No object, as far as is known. An object that is there after all is read instead
    /// ([`Outcome::Read`](super::Outcome::Read)) and decided about, because it may belong to another sync.
    Create,
    /// The object with this uid, whatever has changed on it: drift is put back although others write all the time. If another sync has
    /// made it anew meanwhile, it is read instead ([`Outcome::Read`](super::Outcome::Read)) and decided about.
    Update(Box<str>),
    /// The object that is known, on which fields change hands first: declared ones of tools that wrote it before become ours, and
    /// those that stay as they run have no owner any more.
    HandOver,
    /// The object that is known at this resource version and that is not the sync's yet; fields change hands as well. One that has
    /// changed since is read instead ([`Outcome::Read`](super::Outcome::Read)) and decided about, because another sync may have
    /// taken it over at the same moment.
    TakeOver(u64),
    /// The object that is known, with list items of another manager in the place of declared ones. The apply removes
    /// those items. Other fields change hands as well.
    Reclaim,
}

/// News for users: an Event and a line in the log.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A commit is fully applied.
    Synced {
        /// The commit.
        commit: String,
        /// Number of objects that were written for it.
        applied: usize,
        /// Number of objects that were deleted for it.
        pruned: usize,
    },
    /// A commit came in force and is about to be applied.
    Syncing {
        /// The commit.
        commit: String,
        /// Number of objects that it declares.
        objects: usize,
        /// The difference to the commit before; `None` for the first one of this process.
        changes: Option<DeclaredChanges>,
    },
    /// The source, a commit or an object has a finding that was not told before.
    Failed(Finding),
    /// Drift was put back.
    Repaired(Repaired),
    /// The fields of tools that wrote an object before became ours.
    Adopted(Adopted),
    /// A Namespace or CRD that is not declared any more stays, because the other object does, which would be deleted with it.
    Kept(ObjectId, ObjectId),
    /// The API server or an admission webhook changed declared fields in the sync's own write.
    Rewritten(Rewritten),
}

/// An object that came back different from the sync's own write.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The declared form.
    pub declared: Arc<DeclaredObject>,
    /// Its uid.
    pub uid: String,
    /// Paths of the fields that were changed.
    pub fields: Vec<String>,
}

/// An object that was handed over to the sync.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// The declared form.
    pub declared: Arc<DeclaredObject>,
    /// Its uid.
    pub uid: String,
    /// The tools whose fields became ours.
    pub from: Vec<&'static FormerWriter>,
}

/// An object whose drift was put back.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The declared form, which the object has again.
    pub declared: Arc<DeclaredObject>,
    /// The uid that the object has now.
    pub uid: String,
    /// Paths of the fields that had changed; empty when the object was deleted or its ownership was wiped.
    pub fields: Vec<String>,
    /// The field manager that changed them; `None` when unknown.
    pub by: Option<String>,
    /// Resource version before the repair, at which the API server still has the object for a while; 0 when it was deleted.
    pub version: u64,
    /// Time since the drift was seen.
    pub after: Duration,
}
