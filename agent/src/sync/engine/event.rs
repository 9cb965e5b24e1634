//! Events: the input of the engine of a sync.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::api::GitStatus;
use crate::compile::SourceLayout;
use crate::compile::declared::DeclaredSet;
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, Object, ObjectId};
use crate::sync::live::{Live, Observed};
use crate::sync::managed_fields::FormerWriter;

use super::others::AllSyncs;
use super::values::FilledForm;

/// One thing that happened.
#[derive(Debug)]
pub enum Event {
    /// The source compiled the newest commit. The source sends it again when the kinds of the cluster may have changed.
    Compiled {
        /// 40 hexadecimal digits.
        commit: String,
        /// The objects that the commit declares; `None` when a finding blocks the commit.
        declared: Option<Arc<DeclaredSet>>,
        /// Every finding about the commit, blocking or not.
        findings: Vec<Finding>,
    },
    /// The source compiled an older commit: the answer to [`Command::Restore`](super::Command::Restore), which comes again for other
    /// live Namespaces.
    Restored {
        /// 40 hexadecimal digits.
        commit: String,
        /// The objects that the commit declares; `None` when the repository does not have the commit any more, or when a
        /// finding blocks it.
        declared: Option<Arc<DeclaredSet>>,
    },
    /// The source cannot be read.
    SourceFailed(Finding),
    /// The spec of the sync object changed. The commit in force stays so until one of the new source takes its place.
    SpecChanged(Box<SpecChange>),
    /// The API server serves the kind, under this plural and in these versions. A watch sends it before it lists, and when the
    /// versions are others.
    Served(GroupKind, Box<str>, BTreeSet<String>),
    /// The watch of a kind begins to list its objects. The number is the list's session: a later list of the same kind has
    /// a higher one.
    Listing(GroupKind, u64),
    /// The list of this session is complete. The engine ignores the event when a later session has begun.
    Listed(GroupKind, u64),
    /// The API server does not serve the kind. The watch has ended.
    Unserved(GroupKind),
    /// The kind could not be listed: the API server refused, or did not answer. The watch goes on trying.
    Unlistable(GroupKind, Finding),
    /// The API server does not let the kind be watched, or has not answered for long: only lists show what changes. The watch
    /// goes on trying.
    Unwatched(GroupKind, Finding),
    /// The kind is watched again.
    Watched(GroupKind),
    /// A watch shows an object that is new, changed or listed.
    Seen(ObjectId, Box<Observed>),
    /// A watch shows that an object was deleted or lost its label, at this resource version.
    Gone(ObjectId, u64),
    /// The answer to a command about an object.
    Finished(ObjectId, Outcome),
    /// An audit read a whole object: part of the answer to [`Command::Audit`](super::Command::Audit).
    Audited(Box<Object>),
    /// The audit of a kind is over: the end of the answer to [`Command::Audit`](super::Command::Audit). `true` if it is complete.
    AuditEnded(GroupKind, bool),
    /// The audit period is over: all kinds are to be audited.
    AuditDue,
    /// The inventory's record of this number is written: the answer to [`Command::Record`](super::Command::Record).
    Recorded(u64),
    /// The inventory's record cannot be written for now, for this reason. The answer follows when it is written.
    Unrecorded(Finding),
    /// Another client has taken away what the record or the resources of the last reports said.
    RecordTouched,
    /// `None` when the API server answers, and otherwise why it counts as away: the answer to
    /// [`Command::AskServer`](super::Command::AskServer).
    ServerAsked(Option<Failure>),
    /// The number of objects of the kind that this CRD defines, `None` when the API server refuses to list them: the answer
    /// to [`Command::Count`](super::Command::Count).
    Counted(ObjectId, Option<usize>),
    /// All syncs that there are, with their objects. An object that names another sync has no owner.
    Syncs(Arc<AllSyncs>),
    /// The sync has other rights: what was refused may be allowed now.
    RightsChanged,
    /// A user asks for a sync at once: what failed is tried again.
    Asked,
    /// A user set the approval of held deletions to this, or removed it.
    Approved(Option<String>),
    /// The time that [`State::next_wake`](super::State::next_wake) returned has come.
    Woken,
}

impl Event {
    /// The one object that the event is about.
    pub(super) fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::Seen(id, _) | Self::Gone(id, _) | Self::Finished(id, _) => Some(id),
            _ => None,
        }
    }
}

/// The parts of the [`Settings`](super::Settings) that another spec changes.
#[derive(Debug)]
pub struct SpecChange {
    /// The source.
    pub git: Arc<GitStatus>,
    /// The rules by which files become objects.
    pub layout: SourceLayout,
    /// Time for which an object may wait for another one to become ready.
    pub reconcile_timeout: Duration,
}

/// The answer to a command about an object.
#[derive(Debug)]
pub enum Outcome {
    /// The object was applied, or it was as declared already.
    Applied(Box<Live>, Remarks),
    /// The whole object as it is now.
    Read(Box<Object>),
    /// The declared form of the object with the values of others.
    Filled(Box<FilledForm>),
    /// The object does not exist. The number is the resource version at which that was seen, 0 when unknown.
    Absent(u64),
    /// The API server accepted the deletion. Finalizers may keep the object for a while.
    Deleted,
    /// The deletion was not sent, because it would take along this object, which a user detached.
    KeepsDetached(ObjectId),
    /// The deletion was not sent, because [`Command::Withdraw`](super::Command::Withdraw) came before.
    Withdrawn,
    /// The sync's labels and annotations are off the object.
    Abandoned,
    /// The command failed.
    Failed(Failure),
}

/// The parts of an apply that users are told about.
#[derive(Debug, Default)]
pub struct Remarks {
    /// Paths of declared fields that the API server or an admission webhook changed in this write.
    pub rewritten: Vec<String>,
    /// The tools whose fields became ours.
    pub adopted_from: Vec<&'static FormerWriter>,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The finding for the sync's status.
    pub finding: Finding,
    /// When the command may be tried again.
    pub retry: Retry,
    /// The API server said that it has done nothing. Without an answer, the command may still take effect.
    pub refused: bool,
}

/// When a command that failed may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The object is at fault: the pauses grow for this object alone, beginning with a second.
    Object,
    /// The cause is likely over in a moment, such as a conflict or a Namespace that is being made. The pauses begin with a
    /// fifth of a second, and the finding is not told before the fourth attempt.
    Soon,
    /// The API server is away or overloaded, and asks for this pause at least.
    Server(Duration),
}
