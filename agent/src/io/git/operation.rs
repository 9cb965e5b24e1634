//! One operation on a git server, such as reading its refs: the limits that hold whatever the server does, and why it failed.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gix::protocol::transport::client::blocking_io::Transport;

use super::error::{FailureClass, GitError};
use crate::model::shared::lock;

/// The transport that gix uses for one operation.
pub(super) type OperationTransport = Box<dyn Transport + Send>;

/// The words for a server that says nothing.
pub(super) const NO_ANSWER: &str = "no answer from";
/// The words for a server that stops in the middle.
pub(super) const HALF_AN_ANSWER: &str = "half an answer from";

/// Longest time until a server accepts a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// The limits of one operation.
#[derive(Clone, Copy)]
pub(super) struct OperationLimits {
    /// Time from the first request to the end of the last answer.
    pub(super) time: Duration,
    /// Bytes of all answers together.
    pub(super) bytes: u64,
}

/// An operation: what is left of its limits, and its failure.
pub(super) struct Operation {
    /// The URL of the repository without credentials.
    pub(super) shown: String,
    deadline: Instant,
    max_bytes: u64,
    received: AtomicU64,
    /// The first failure.
    failure: Mutex<Option<GitError>>,
}

impl Operation {
    pub(super) fn new(shown: String, limits: OperationLimits) -> Self {
        Self {
            shown,
            deadline: Instant::now() + limits.time,
            max_bytes: limits.bytes,
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// The failure of a request, if one failed. `None` when gix failed with what it received.
    pub(super) fn failure(&self) -> Option<GitError> {
        lock(&self.failure).clone()
    }

    /// Keeps a failure, because the error that gix makes of it says less.
    pub(super) fn fail(&self, error: GitError) -> io::Error {
        let reported = io::Error::other(error.message.clone());
        lock(&self.failure).get_or_insert(error);
        reported
    }

    /// A server that did not answer, or not to the end.
    pub(super) fn unreachable(&self, what: &str, cause: &str) -> GitError {
        GitError::new(FailureClass::Unreachable, format!("{what} {}: {cause}", self.shown))
    }

    /// Counts received bytes.
    pub(super) fn charge(&self, bytes: usize) -> io::Result<usize> {
        let received = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if received <= self.max_bytes {
            return Ok(bytes);
        }
        let message = format!("{} sends more than {} MiB", self.shown, self.max_bytes >> 20);
        Err(self.fail(GitError::new(FailureClass::OverLimit, message).hint("Use a smaller repository.")))
    }

    /// The time that is left.
    pub(super) fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.fail(self.unreachable(NO_ANSWER, "timed out"))),
            left => Ok(left),
        }
    }
}
