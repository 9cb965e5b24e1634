//! Decides when a source is asked for its commit, and when a commit is read and compiled.
//!
//! This is a state machine without clock and I/O: [`Polling::step`] takes the outcome of one action and returns the next one.

use std::time::{Duration, Instant};

use crate::io::git::Commit;
use crate::model::backoff::Backoff;

/// The pause before a commit with kinds that the cluster does not have is compiled again, and the longest one.
const KIND_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The polling of one source.
pub(super) struct Polling {
    period: Duration,
    state: PollingState,
    /// The commit that was compiled last.
    compiled: Option<Commit>,
    /// The source could not be read lately, and the sync was told so.
    failed: bool,
    /// Compilations of a commit with kinds that the cluster does not have; `None` when it has all of them.
    kinds: Option<Backoff>,
}

enum PollingState {
    /// The source is asked for its commit.
    Asking,
    /// This commit is read and compiled.
    Compiling(Commit),
    /// The next poll comes at its time, or when something happens before.
    Resting,
    /// An older commit is compiled, which the sync wants back.
    Restoring,
    /// The API server is asked for its kinds.
    Discovering,
}

/// The outcome of a [`PollingAction`].
#[derive(Debug)]
pub(super) enum PollingEvent {
    /// The source is at this commit.
    Resolved(Commit),
    /// The commit was compiled.
    Compiled {
        /// The cluster does not have the kinds of some objects.
        kinds_missing: bool,
    },
    /// The source cannot be asked or read.
    Failed,
    /// The sync wants this commit back.
    RestoreWanted(String),
    /// The commit that the sync wanted back was compiled, or cannot be read any more.
    Restored,
    /// The API server was asked for its kinds.
    Discovered,
    /// The time to rest is over, or the source may have changed before.
    Woken,
}

/// The next thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum PollingAction {
    /// Ask the source for its commit: [`PollingEvent::Resolved`] or [`PollingEvent::Failed`].
    Ask,
    /// Read and compile this commit: [`PollingEvent::Compiled`] or [`PollingEvent::Failed`].
    Compile(Commit),
    /// Compile this older commit: [`PollingEvent::Restored`].
    Restore(String),
    /// Ask the API server for its kinds, since a CRD may have come: [`PollingEvent::Discovered`].
    Discover,
    /// Wait: [`PollingEvent::RestoreWanted`] or [`PollingEvent::Woken`], at this time at the latest.
    Rest(Instant),
}

impl Polling {
    /// A source that was never asked, and the first thing to do.
    pub(super) fn new(period: Duration) -> (Self, PollingAction) {
        let polling = Self { period, state: PollingState::Asking, compiled: None, failed: false, kinds: None };
        (polling, PollingAction::Ask)
    }

    /// Takes the outcome of the last action and returns the next action.
    pub(super) fn step(&mut self, event: PollingEvent, now: Instant) -> PollingAction {
        match (&self.state, event) {
            (_, PollingEvent::Resolved(commit)) => {
                if self.compiled == Some(commit) && !self.failed && self.kinds.is_none() {
                    return self.rest(now + self.period);
                }
                self.state = PollingState::Compiling(commit);
                PollingAction::Compile(commit)
            }
            (PollingState::Compiling(commit), PollingEvent::Compiled { kinds_missing }) => {
                self.compiled = Some(*commit);
                self.failed = false;
                self.kinds = kinds_missing.then(|| self.kinds.unwrap_or(KIND_RETRY));
                let pause = self.kinds.as_mut().map_or(self.period, |kinds| kinds.next_pause().min(self.period));
                self.rest(now + pause)
            }
            (PollingState::Compiling(commit), PollingEvent::Failed) => {
                (self.compiled, self.failed, self.kinds) = (Some(*commit), true, None);
                self.rest(now + self.period)
            }
            (_, PollingEvent::Failed) => {
                self.failed = true;
                self.rest(now + self.period)
            }
            (_, PollingEvent::RestoreWanted(commit)) => {
                self.state = PollingState::Restoring;
                PollingAction::Restore(commit)
            }
            (PollingState::Resting | PollingState::Restoring, _) if self.kinds.is_some() => {
                self.state = PollingState::Discovering;
                PollingAction::Discover
            }
            _ => {
                self.state = PollingState::Asking;
                PollingAction::Ask
            }
        }
    }

    fn rest(&mut self, until: Instant) -> PollingAction {
        self.state = PollingState::Resting;
        PollingAction::Rest(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(15);

    fn commit(digit: &str) -> Commit {
        Commit::from_hex(&digit.repeat(40)).expect("a hash")
    }

    /// A source whose first commit is compiled.
    fn compiled(now: Instant, kinds_missing: bool) -> (Polling, PollingAction) {
        let (mut polling, first) = Polling::new(PERIOD);
        assert_eq!(first, PollingAction::Ask);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
        let next = polling.step(PollingEvent::Compiled { kinds_missing }, now);
        (polling, next)
    }

    #[test]
    fn a_commit_is_compiled_once() {
        let now = Instant::now();
        let (mut polling, next) = compiled(now, false);
        assert_eq!(next, PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("b")), now), PollingAction::Compile(commit("b")));
    }

    #[test]
    fn a_source_that_failed_is_compiled_again_although_it_did_not_change() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + PERIOD));
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
        assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + PERIOD));
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
    }

    #[test]
    fn a_commit_with_unknown_kinds_is_compiled_again_less_and_less_often() {
        let now = Instant::now();
        let (mut polling, mut next) = compiled(now, true);
        for seconds in [1, 2, 4, 8, 15, 15] {
            assert_eq!(next, PollingAction::Rest(now + Duration::from_secs(seconds)));
            assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Discover);
            assert_eq!(polling.step(PollingEvent::Discovered, now), PollingAction::Ask);
            assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
            next = polling.step(PollingEvent::Compiled { kinds_missing: true }, now);
        }
        polling.step(PollingEvent::Woken, now);
        polling.step(PollingEvent::Discovered, now);
        polling.step(PollingEvent::Resolved(commit("a")), now);
        next = polling.step(PollingEvent::Compiled { kinds_missing: false }, now);
        assert_eq!(next, PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
    }

    #[test]
    fn the_source_is_asked_after_an_older_commit_was_compiled() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        let wanted = PollingEvent::RestoreWanted("b".repeat(40));
        assert_eq!(polling.step(wanted, now), PollingAction::Restore("b".repeat(40)));
        assert_eq!(polling.step(PollingEvent::Restored, now), PollingAction::Ask);
    }
}
