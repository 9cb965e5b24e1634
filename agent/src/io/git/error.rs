//! Failures to read a repository, told apart by what a user can do about them.

use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding};

/// The remedy for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// Other credentials.
    Unauthenticated,
    /// Another name: of the repository, the branch, tag or commit, or the directory.
    NotFound,
    /// Waiting: the server did not answer, or not to the end.
    Unreachable,
    /// A repair: of the configuration, the repository or the cache.
    Broken,
    /// A smaller repository: it passes a limit.
    OverLimit,
    /// Another commit: the process died while it read this one.
    Quarantined,
    /// Another commit: this one is not signed as the spec asks.
    Unsigned,
}

/// A repository that could not be read. Neither text nor hint ever holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// The remedy.
    pub class: FailureClass,
    /// The failure, with the repository.
    pub message: String,
    /// Advice to the user.
    pub hint: Option<String>,
}

impl GitError {
    pub(in crate::io) fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    /// The failure that a finding tells, without its places.
    pub(in crate::io) fn of(class: FailureClass, finding: Finding) -> Self {
        Self { class, message: finding.message, hint: finding.hint }
    }

    pub(in crate::io) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as a finding (KNV2004).
    pub fn finding(&self) -> Finding {
        let finding = Finding::new(Code::Source, &self.message);
        match &self.hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

/// The failure that an error of gix means. `shown` is the repository, `doing` a verb as in "fetch from".
///
/// Damage to a fetched pack and damage to the mirror are one class, because the remedy is one: a new mirror.
pub(super) fn from_gix(error: &gix::Error, shown: &str, doing: &str) -> GitError {
    let text = error_chain(error);
    if text.contains("not our ref") {
        return GitError::new(FailureClass::NotFound, format!("{shown} does not have that commit (any more)"))
            .hint("Check the commit; after a force-push the server may have dropped it.");
    }
    let failed = |class| GitError::new(class, format!("failed to {doing} {shown}: {text}"));
    let error = match error.dominant_class() {
        Some(gix::error::Class::Retryable) => failed(FailureClass::Unreachable),
        Some(gix::error::Class::ResourceExhaustion(_)) => {
            failed(FailureClass::Broken).hint("It holds a file or directory of an uncommon size; take that out.")
        }
        _ => failed(FailureClass::Broken),
    };
    if ["object format", "sha256", "hash sized 64"].iter().any(|part| text.contains(part)) {
        return error.hint("Only SHA-1 repositories are supported.");
    }
    error
}
