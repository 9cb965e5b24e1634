//! What can go wrong between us and a repository, told apart by what helps against it.

use crate::model::finding::{Code, Finding};

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Other credentials.
    Unauthenticated,
    /// Another name: of the repository, the branch, tag or commit, or the directory.
    NotFound,
    /// Waiting: nobody answered, or not to the end.
    Unreachable,
    /// Repairing what is there.
    Broken,
}

/// A repository that could not be read. Neither text nor hint ever holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// What helps.
    pub class: Class,
    /// What happened, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl GitError {
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same as a finding that users see (KNV2004).
    pub fn finding(&self) -> Finding {
        let finding = Finding::new(Code::Source, &self.message);
        match &self.hint {
            Some(hint) => finding.hint(hint),
            None => finding,
        }
    }
}

/// What an error says, with what it says about its causes.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !more.is_empty() && !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// What is at the bottom of an error.
pub(super) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

/// An error of the git library about the repository `shown`, `doing` something.
///
/// A fetched pack and the store are not told apart: both are read again from the remote.
pub(super) fn from_gix(error: &gix::Error, shown: &str, doing: &str) -> GitError {
    let text = chain(error);
    if text.contains("not our ref") {
        return GitError::new(Class::NotFound, format!("{shown} does not have that commit (any more)"))
            .hint("Check the commit; after a force-push the server may have dropped it.");
    }
    let failed = |class| GitError::new(class, format!("failed to {doing} {shown}: {text}"));
    let error = match error.dominant_class() {
        Some(gix::error::Class::Retryable) => failed(Class::Unreachable),
        Some(gix::error::Class::ResourceExhaustion(_)) => {
            failed(Class::Broken).hint("It holds a file or directory of an uncommon size; take that out.")
        }
        _ => failed(Class::Broken),
    };
    if text.contains("object format") || text.contains("sha256") {
        return error.hint("Only SHA-1 repositories are supported.");
    }
    error
}
