//! Things that a sync wants to be written, and the requests that follow with their answers.

use crate::api::SyncStatus;
use crate::model::finding::Finding;
use crate::sync::engine::{NewRecord, Report};
use crate::sync::inventory::{GroupDocument, WrittenGroup};

/// Something that a sync wants to be written.
#[derive(Debug)]
pub enum ReportMessage {
    /// The state of the sync. A newer report replaces an older one that is not written yet.
    Report(Box<Report>),
    /// The record is to be so. [`ReportEffect::Recorded`] follows as soon as it is written, unless a newer one replaces it.
    Record(Box<NewRecord>),
    /// A newer spec, of this generation, cannot be used.
    Refused(Box<Finding>, i64),
    /// A newer spec is followed.
    Spec(SpecFacts),
    /// A watch or a list shows a ResourceGroup.
    Group {
        /// Its name.
        name: String,
        /// Its resource version; `None` if it is gone.
        version: Option<u64>,
        /// A list says so. It may be older than the last write.
        listed: bool,
    },
    /// The state of a sync that stops. The status is written first, then what else is left; nothing is tried twice.
    Last(Box<Report>),
}

/// The part of a spec that reports depend on.
#[derive(Clone, Copy, Debug)]
pub struct SpecFacts {
    /// Its generation.
    pub generation: i64,
    /// The status of each object is written to the ResourceGroups.
    pub resource_status: bool,
}

/// An input of [`Reporting::step`](super::Reporting::step).
#[derive(Debug)]
pub enum ReportEvent {
    /// The sync has a message.
    Told(ReportMessage),
    /// The request that was out is answered.
    Answered(ReportAnswer),
    /// Time has passed.
    Woken,
}

/// An output of [`Reporting::step`](super::Reporting::step).
#[derive(Debug)]
pub enum ReportEffect {
    /// Send this request and step with its answer.
    Send(ReportRequest),
    /// Tell the engine that the record of this number is written.
    Recorded(u64),
    /// Tell the engine that the record cannot be written for now, for this reason.
    Unrecorded(String),
    /// Tell the engine that another client has taken away what was written: record and resources are to be told again.
    Lacking,
    /// The record is an older one than was written: the cluster was restored from a backup. Nothing more is written, and the sync is to
    /// begin anew with what the record says.
    Restored,
    /// The last report was dealt with: nothing follows any more.
    End,
}

/// A request to the API server.
#[derive(Debug)]
pub enum ReportRequest {
    /// Apply the spec of a ResourceGroup. The answer is [`ReportAnswer::Group`].
    GroupSpec(GroupDocument),
    /// Apply the status of a ResourceGroup. The answer is [`ReportAnswer::Group`].
    GroupStatus(GroupDocument),
    /// Write the status of the sync object.
    SyncStatus(Box<SyncStatus>),
    /// Read the ResourceGroup of this name. The answer is [`ReportAnswer::Group`] or [`ReportAnswer::Gone`].
    ReadGroup(String),
}

/// The answer to a [`ReportRequest`].
#[derive(Debug)]
pub enum ReportAnswer {
    /// The ResourceGroup after the request.
    Group(Box<WrittenGroup>),
    /// The status is written.
    Done,
    /// The sync object was deleted, or deleted and made anew. This is no error: the watch on sync objects acts on it.
    Gone,
    /// The API server refuses the request, for this reason. Another attempt helps when a user has done something.
    Refused(String),
    /// The API server refuses the request with a conflict, as this reason says: another client has written the ResourceGroup since it was
    /// last seen.
    Outdated(String),
    /// The request was not sent, for this reason; another attempt may work.
    Unsent(String),
    /// The API server is away or busy, as this reason says; another attempt may work.
    Unavailable(String),
}
