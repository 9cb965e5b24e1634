//! The documents that are left to write, and the failed attempts at them.

use std::time::{Duration, Instant};

use super::ReportAnswer;
use crate::model::backoff::Backoff;
use crate::sync::engine::Report;

/// The pause after the first failed attempt, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The meaning of an answer for the job that waits for it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Written,
    Refused,
    Unavailable,
}

impl ReportAnswer {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Group(_) | Self::Done | Self::Gone => Verdict::Written,
            Self::Refused(_) | Self::Outdated(_) => Verdict::Refused,
            Self::Unsent(_) | Self::Unavailable(_) => Verdict::Unavailable,
        }
    }

    /// The reason why a document is not written, if it is for users.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Refused(why) | Self::Outdated(why) | Self::Unsent(why) | Self::Unavailable(why) => Some(why),
            Self::Group(_) | Self::Done | Self::Gone => None,
        }
    }
}

/// Failed attempts at one thing.
pub(super) struct Retries {
    backoff: Backoff,
    /// No attempt is made before this time.
    pub(super) not_before: Option<Instant>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { backoff: RETRY, not_before: None }
    }
}

impl Retries {
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.next_pause());
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

/// A record that is being written.
pub(super) struct RecordJob {
    /// Groups before this one are written.
    pub(super) at: usize,
    /// Number of the record, which the answer names.
    pub(super) number: u64,
    pub(super) retry: Retries,
}

impl RecordJob {
    /// `true` before the first failed attempt.
    pub(super) fn is_first(&self) -> bool {
        self.retry.not_before.is_none()
    }

    /// A record that is not written, be it refused, is written again after a pause: nothing is made before.
    pub(super) fn answered(&mut self, index: usize, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Written => self.at = index + 1,
            Verdict::Refused | Verdict::Unavailable => {
                self.at = 0;
                self.retry.failed(now);
            }
        }
    }
}

/// A report that is not written yet.
pub(super) struct UnwrittenReport {
    pub(super) report: Box<Report>,
    /// `false` when the record was given newer objects than the report has.
    pub(super) assigns: bool,
}

impl UnwrittenReport {
    /// A newer report makes an older one needless, but for the resources that only the older one has.
    pub(super) fn after(mut self, older: Option<Self>) -> Self {
        if let Some(older) = older.filter(|_| self.report.resources.is_none()) {
            self.report.resources = older.report.resources;
            self.assigns = older.assigns;
        }
        self
    }
}

/// A report that is being written.
pub(super) struct WritingJob {
    /// `None` when there is only a refusal to write.
    pub(super) report: Option<UnwrittenReport>,
    pub(super) stage: WritingStage,
    /// A request failed: the report is written again after a pause, unless a newer one has come.
    pub(super) again: bool,
    /// A spec was refused, so that no status of a group is written.
    pub(super) spec_refused: bool,
    /// The sync stops: nothing is tried again, and nothing follows.
    pub(super) last: bool,
}

/// The next document of a report. The stages follow one another in this order.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum WritingStage {
    /// The status of a sync that stops, before anything else.
    StatusFirst,
    Specs(usize),
    GroupStatuses(usize),
    SyncStatus,
    Finished,
}

impl WritingJob {
    /// Goes on with `next`. Where the API server is away, the status of the sync is all that is still tried.
    pub(super) fn answered(&mut self, next: WritingStage, verdict: Verdict) {
        self.stage = if verdict == Verdict::Unavailable { WritingStage::SyncStatus } else { next };
        self.again |= verdict != Verdict::Written;
    }
}
