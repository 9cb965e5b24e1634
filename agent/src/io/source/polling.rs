//! Decides when a source is asked for its commit, and when a commit is read and compiled.
//!
//! This is a state machine without clock and I/O: [`Polling::step`] takes the outcome of one action and returns the next one.

use std::time::{Duration, Instant};

use crate::io::git::Commit;
use crate::model::backoff::{Backoff, Pace};
use crate::sync::engine::SourceCommit;

/// The pause before a commit with kinds that the cluster does not have is compiled again, and the longest one.
const KIND_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The longest pause before a source that does not answer is asked again, unless its period is longer: so long after a server
/// works again, its syncs go on at the latest. For a short period it is this number of periods.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PERIODS: u32 = 4;

/// The longest pause before a commit that cannot be read is read again, unless the period is longer. It was received, and is no
/// better the next time but for a repair on the server.
const LONGEST_UNREADABLE: Duration = Duration::from_secs(300);

/// The pauses after a compilation for other Namespaces, in which further changes of them are collected: a client can change a label
/// again and again.
const RELABELLED: Pace = Pace::new(Duration::from_millis(250), Duration::from_secs(10));

/// The part by which pauses are shortened at most, so that many syncs do not come back to a server at one moment.
const JITTER: f64 = 0.2;

/// The polling of one source.
pub(super) struct Polling {
    period: Duration,
    /// The part of each pause after a failure that is left.
    pause: f64,
    state: PollingState,
    /// The commit that was compiled last.
    compiled: Option<Commit>,
    /// Attempts to ask the source that failed since it was last compiled; the sync was told so.
    failures: Backoff,
    /// Attempts to read a commit that failed since then.
    unreadable: Backoff,
    /// The time before which the commit that could not be read is not read again. The source is asked meanwhile: a newer commit
    /// may be readable.
    read_again: Option<Instant>,
    /// Compilations of a commit with kinds that the cluster does not have; `None` when it has all of them.
    kinds: Option<Backoff>,
    /// Compilations because of other Namespaces.
    relabelled: Pace,
}

enum PollingState {
    /// The source is asked for its commit.
    Asking,
    /// This commit is read and compiled.
    Compiling(Commit),
    /// The commit that was compiled last is compiled again, for other Namespaces. The next poll comes at this time.
    Recompiling(Instant),
    /// The next poll comes at this time, or when something happens before.
    Resting(Instant),
    /// An older commit is compiled, which the sync wants back or has in force. The next poll comes at this time, if there is one.
    Restoring(Option<Instant>),
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
    /// The source cannot be asked, or does not send its commit.
    Failed,
    /// The commit cannot be read.
    Unreadable,
    /// The sync wants this commit back.
    RestoreWanted(SourceCommit),
    /// The commit that the sync wanted back was compiled, or cannot be read any more.
    Restored,
    /// The live Namespaces that the newest commit selects are others, or the keys for its sealed files.
    FactsChanged,
    /// The live Namespaces that the older commit selects, which the sync wanted back, are others.
    RestoredChanged(SourceCommit),
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
    /// Read and compile this commit: [`PollingEvent::Compiled`], [`PollingEvent::Failed`] or [`PollingEvent::Unreadable`].
    Compile(Commit),
    /// Compile this older commit: [`PollingEvent::Restored`].
    Restore(SourceCommit),
    /// Ask the API server for its kinds, since a CRD may have come: [`PollingEvent::Discovered`].
    Discover,
    /// Wait: [`PollingEvent::RestoreWanted`], [`PollingEvent::FactsChanged`], [`PollingEvent::RestoredChanged`] or
    /// [`PollingEvent::Woken`], at this time at the latest. Namespaces and keys are heeded from [`Polling::heeds_cluster_from`] on.
    Rest(Instant),
}

/// The pauses before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pauses {
    /// After [`PollingEvent::Failed`].
    pub(super) failed: Duration,
    /// After [`PollingEvent::Unreadable`].
    pub(super) unreadable: Duration,
}

impl Polling {
    /// A source that was never asked, and the first thing to do. `random` is a number from 0 to 1.
    pub(super) fn new(period: Duration, random: f64) -> (Self, PollingAction) {
        let failures = Backoff::new(period, LONGEST_PAUSE.min(period.saturating_mul(LONGEST_PERIODS)).max(period));
        let unreadable = Backoff::new(period, LONGEST_UNREADABLE.max(period));
        let state = PollingState::Asking;
        let pause = 1.0 - JITTER * random;
        let polling = Self {
            period,
            pause,
            state,
            compiled: None,
            failures,
            unreadable,
            read_again: None,
            kinds: None,
            relabelled: RELABELLED,
        };
        (polling, PollingAction::Ask)
    }

    /// The pauses that follow if the next attempt fails.
    pub(super) fn pauses(&self) -> Pauses {
        let (mut failures, mut unreadable) = (self.failures, self.unreadable);
        Pauses { failed: failures.next_pause().mul_f64(self.pause), unreadable: unreadable.next_pause() }
    }

    /// The time from which on other Namespaces and keys are heeded; `None` if that is at once.
    pub(super) fn heeds_cluster_from(&self, now: Instant) -> Option<Instant> {
        self.relabelled.pause(now)
    }

    /// Takes the outcome of the last action and returns the next action.
    pub(super) fn step(&mut self, event: PollingEvent, now: Instant) -> PollingAction {
        if matches!(self.state, PollingState::Recompiling(_) | PollingState::Restoring(Some(_))) {
            self.relabelled.done(now);
        }
        match (&self.state, event) {
            (_, PollingEvent::Resolved(commit)) => {
                let failed = self.failures.attempts() + self.unreadable.attempts() > 0;
                let is_read = !failed && self.kinds.is_none();
                let read_again = self.read_again.filter(|at| *at > now);
                if self.compiled == Some(commit) && (is_read || read_again.is_some()) {
                    let poll = now + self.period;
                    return self.rest(read_again.map_or(poll, |at| at.min(poll)));
                }
                self.state = PollingState::Compiling(commit);
                PollingAction::Compile(commit)
            }
            (PollingState::Compiling(commit), PollingEvent::Compiled { kinds_missing }) => {
                self.compiled = Some(*commit);
                self.failures.reset();
                self.unreadable.reset();
                self.read_again = None;
                self.kinds = kinds_missing.then(|| self.kinds.unwrap_or(KIND_RETRY));
                let pause = self.kinds.as_mut().map_or(self.period, |kinds| kinds.next_pause().min(self.period));
                self.rest(now + pause)
            }
            (PollingState::Recompiling(until), PollingEvent::Compiled { kinds_missing }) => {
                let until = *until;
                self.recompiled(kinds_missing, until)
            }
            (PollingState::Resting(until), PollingEvent::FactsChanged) if self.read_again.is_none() => {
                let until = *until;
                let Some(commit) = self.compiled else { return self.ask() };
                self.state = PollingState::Recompiling(until);
                PollingAction::Compile(commit)
            }
            (PollingState::Compiling(commit), PollingEvent::Unreadable) => {
                (self.compiled, self.kinds) = (Some(*commit), None);
                self.read_again = Some(now + self.unreadable.next_pause());
                self.rest(now + self.period)
            }
            (_, PollingEvent::Failed | PollingEvent::Unreadable) => {
                self.read_again = None;
                let pause = self.failures.next_pause().mul_f64(self.pause);
                self.rest(now + pause)
            }
            (_, PollingEvent::RestoreWanted(commit)) => self.restore(commit, None),
            (PollingState::Resting(until), PollingEvent::RestoredChanged(commit)) => {
                let until = *until;
                self.restore(commit, Some(until))
            }
            (PollingState::Restoring(Some(until)), PollingEvent::Restored) => {
                let until = *until;
                self.rest(until)
            }
            (PollingState::Resting(_) | PollingState::Restoring(_), _) if self.kinds.is_some() => {
                self.state = PollingState::Discovering;
                PollingAction::Discover
            }
            _ => self.ask(),
        }
    }

    /// The newest commit was compiled for other Namespaces.
    fn recompiled(&mut self, kinds_missing: bool, until: Instant) -> PollingAction {
        self.kinds = kinds_missing.then(|| self.kinds.unwrap_or(KIND_RETRY));
        match self.failures.attempts() {
            0 => self.rest(until),
            // The sync shall not count as good while its source does not answer.
            _ => self.ask(),
        }
    }

    fn restore(&mut self, commit: SourceCommit, until: Option<Instant>) -> PollingAction {
        self.state = PollingState::Restoring(until);
        PollingAction::Restore(commit)
    }

    fn ask(&mut self) -> PollingAction {
        self.state = PollingState::Asking;
        PollingAction::Ask
    }

    fn rest(&mut self, until: Instant) -> PollingAction {
        self.state = PollingState::Resting(until);
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
        let (mut polling, first) = Polling::new(PERIOD, 0.0);
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
    fn other_namespaces_compile_the_commit_again_and_delay_no_poll() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        let again = PollingEvent::Compiled { kinds_missing: false };
        let later = now + Duration::from_secs(10);
        assert_eq!(polling.step(PollingEvent::FactsChanged, later), PollingAction::Compile(commit("a")));
        assert_eq!(polling.step(again, later), PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
        polling.step(PollingEvent::Failed, now);
        assert_eq!(polling.step(PollingEvent::FactsChanged, now), PollingAction::Compile(commit("a")));
        let again = PollingEvent::Compiled { kinds_missing: false };
        assert_eq!(polling.step(again, now), PollingAction::Ask, "the source may still not answer");
        assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + 2 * PERIOD));
    }

    #[test]
    fn namespaces_that_change_all_the_time_are_heeded_after_pauses_that_grow() {
        let begin = Instant::now();
        let (mut polling, _) = compiled(begin, false);
        let (mut now, mut compilations) = (begin, 0);
        while now < begin + Duration::from_secs(600) {
            assert_eq!(polling.heeds_cluster_from(now), None);
            assert_eq!(polling.step(PollingEvent::FactsChanged, now), PollingAction::Compile(commit("a")));
            assert_eq!(
                polling.step(PollingEvent::Compiled { kinds_missing: false }, now),
                PollingAction::Rest(begin + PERIOD),
                "polls go on"
            );
            compilations += 1;
            let pause = polling.heeds_cluster_from(now).expect("more of them are collected");
            assert!(pause <= now + Duration::from_secs(10));
            now = pause;
        }
        assert!(compilations < 75, "{compilations}");
        let calm = now + Duration::from_secs(120);
        polling.step(PollingEvent::FactsChanged, calm);
        polling.step(PollingEvent::Compiled { kinds_missing: false }, calm);
        assert_eq!(polling.heeds_cluster_from(calm), Some(calm + Duration::from_millis(250)));
    }

    #[test]
    fn other_namespaces_compile_an_older_commit_again_that_is_in_force() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        let older = || SourceCommit { commit: "b".repeat(40), ..SourceCommit::default() };
        assert_eq!(polling.step(PollingEvent::RestoreWanted(older()), now), PollingAction::Restore(older()));
        assert_eq!(polling.step(PollingEvent::Restored, now), PollingAction::Ask);
        assert_eq!(polling.step(PollingEvent::Unreadable, now), PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.step(PollingEvent::RestoredChanged(older()), now), PollingAction::Restore(older()));
        assert_eq!(polling.step(PollingEvent::Restored, now), PollingAction::Rest(now + PERIOD));
        assert_eq!(polling.heeds_cluster_from(now), Some(now + Duration::from_millis(250)));
    }

    #[test]
    fn a_source_that_failed_is_compiled_again_although_it_did_not_change() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + PERIOD));
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
        assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + 2 * PERIOD));
        let now = now + 2 * PERIOD;
        polling.step(PollingEvent::Woken, now);
        assert_eq!(polling.step(PollingEvent::Resolved(commit("a")), now), PollingAction::Compile(commit("a")));
    }

    #[test]
    fn a_source_that_cannot_be_asked_is_asked_less_and_less_often() {
        let now = Instant::now();
        let (mut polling, _) = compiled(now, false);
        for seconds in [15, 30, 60, 60, 60] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
            assert_eq!(polling.pauses().failed, pause);
            assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + pause));
        }
        polling.step(PollingEvent::Woken, now);
        polling.step(PollingEvent::Resolved(commit("a")), now);
        polling.step(PollingEvent::Compiled { kinds_missing: false }, now);
        assert_eq!(polling.pauses(), Pauses { failed: PERIOD, unreadable: PERIOD });
    }

    #[test]
    fn pauses_after_failures_differ_from_sync_to_sync() {
        let now = Instant::now();
        for (random, seconds) in [(0.0, 15.0), (0.5, 13.5), (1.0, 12.0)] {
            let (mut polling, _) = Polling::new(PERIOD, random);
            let pause = Duration::from_secs_f64(seconds);
            assert_eq!(polling.pauses().failed, pause);
            assert_eq!(polling.step(PollingEvent::Failed, now), PollingAction::Rest(now + pause));
        }
    }

    #[test]
    fn a_server_that_works_again_is_noticed_within_a_minute_or_a_few_periods() {
        for (period, longest) in [(1, 4), (5, 20), (15, 60), (60, 60), (3600, 3600)] {
            let (mut polling, _) = Polling::new(Duration::from_secs(period), 0.0);
            let now = Instant::now();
            let rests: Vec<PollingAction> = (0..20)
                .map(|attempt| {
                    // Some attempts fail when the server is asked, others when it sends the commit.
                    if attempt % 2 == 0 {
                        polling.step(PollingEvent::Resolved(commit("a")), now);
                    }
                    let rest = polling.step(PollingEvent::Failed, now);
                    assert_eq!(polling.step(PollingEvent::Woken, now), PollingAction::Ask);
                    rest
                })
                .collect();
            let longest = PollingAction::Rest(now + Duration::from_secs(longest));
            assert_eq!(
                (rests.last(), rests.iter().filter(|rest| **rest == longest).count() > 10),
                (Some(&longest), true)
            );
        }
    }

    #[test]
    fn a_commit_that_cannot_be_read_is_read_less_often_and_a_newer_one_at_once() {
        let start = Instant::now();
        let (mut polling, _) = Polling::new(PERIOD, 0.0);
        let mut reads = Vec::new();
        for poll in 0..30 {
            let now = start + poll * PERIOD;
            if polling.step(PollingEvent::Resolved(commit("a")), now) == PollingAction::Compile(commit("a")) {
                reads.push(poll);
                assert_eq!(polling.step(PollingEvent::Unreadable, now), PollingAction::Rest(now + PERIOD));
            }
            polling.step(PollingEvent::Woken, now);
        }
        assert_eq!(reads, [0, 1, 3, 7, 15]);
        let now = start + 30 * PERIOD;
        assert_eq!(polling.step(PollingEvent::Resolved(commit("b")), now), PollingAction::Compile(commit("b")));
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
        let before = SourceCommit { commit: "b".repeat(40), git: Default::default(), ..Default::default() };
        let wanted = PollingEvent::RestoreWanted(before.clone());
        assert_eq!(polling.step(wanted, now), PollingAction::Restore(before));
        assert_eq!(polling.step(PollingEvent::Restored, now), PollingAction::Ask);
    }
}
