//! The messages to one receiver: the newest of each sync, and when it is sent. No clock: the time is passed in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CommitNews, CommitState};
use crate::model::backoff::Backoff;
use crate::model::finding::Code;
use crate::model::metadata::SyncId;

/// The pause after a failure, and the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// The longest pause that a receiver can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(900);
/// Time after which a message is given up.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Time after which a message about a commit is given up that the receiver does not know.
const PATIENCE_FOR_COMMIT: Duration = Duration::from_secs(600);
/// A state of a commit that was sent before and comes again has to last this long, and then longer each time.
const REPEAT: Duration = Duration::from_secs(60);
const LONGEST_REPEAT: Duration = Duration::from_secs(3600);

/// The outcome of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver took it.
    Delivered,
    /// The receiver will not take it, however often it is sent.
    Refused,
    /// It is to be tried again, after the time that the receiver asks for.
    Failed(Option<Duration>),
    /// It is to be tried again: the receiver failed over this one, and may take others.
    Erred,
    /// The receiver does not know the commit or its repository. It is to be tried again for a time: the receiver may be a mirror that is late.
    Unknown,
}

/// The messages that one receiver was sent, and is to be sent.
#[derive(Default)]
pub struct Outbox {
    letters: BTreeMap<SyncId, Letter>,
    /// The message that is on its way.
    sending: Option<Arc<CommitNews>>,
    failures: u32,
    quiet_until: Option<Instant>,
}

/// The newest state of one sync.
struct Letter {
    news: Arc<CommitNews>,
    /// When it is sent; `None` if nothing is to be sent.
    due: Option<Instant>,
    /// When the receiver was to be told of it first.
    since: Instant,
    attempts: u32,
    /// The last state of this commit that the receiver took, with its code, and how often it took each state.
    last: Option<(CommitState, Option<Code>)>,
    times: BTreeMap<CommitState, u32>,
}

impl Outbox {
    /// Takes in the newest state of a sync. A state that is not wanted is not sent, and takes the place of the one before.
    pub fn tell(&mut self, news: &Arc<CommitNews>, wanted: bool, now: Instant) {
        if let Some(letter) = self.letters.get_mut(&news.sync).filter(|letter| letter.is_about_commit_of(news)) {
            letter.tell(news, wanted, now);
            return;
        }
        let (news, times) = (Arc::clone(news), BTreeMap::new());
        let letter = Letter { due: wanted.then_some(now), since: now, attempts: 0, last: None, times, news };
        self.letters.insert(letter.news.sync.clone(), letter);
    }

    /// Forgets the syncs that are not told of any more.
    pub fn retain(&mut self, is_told: impl Fn(&SyncId) -> bool) {
        self.letters.retain(|sync, _| is_told(sync));
    }

    /// Tries again what the receiver refused, and what waits: its settings are other ones now.
    pub fn revive(&mut self, now: Instant) {
        (self.failures, self.quiet_until) = (0, None);
        for letter in self.letters.values_mut().filter(|letter| letter.last != Some(kind(&letter.news))) {
            (letter.due, letter.since, letter.attempts) = (Some(letter.due.map_or(now, |due| due.min(now))), now, 0);
        }
    }

    /// The next message to send. Until its outcome is known there is no other.
    pub fn next(&mut self, now: Instant) -> Option<Arc<CommitNews>> {
        if self.sending.is_some() || self.quiet_until.is_some_and(|until| until > now) {
            return None;
        }
        let due = self.letters.values().filter(|letter| letter.due.is_some_and(|due| due <= now));
        let news = Arc::clone(&due.min_by_key(|letter| letter.due)?.news);
        self.sending = Some(Arc::clone(&news));
        Some(news)
    }

    /// The time at which [`Outbox::next`] may have another message, if nothing else happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        let due = self.letters.values().filter_map(|letter| letter.due).min().filter(|_| self.sending.is_none())?;
        Some(self.quiet_until.map_or(due, |until| until.max(due)))
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes in the outcome of the message that was on its way. Returns `false` if the message is given up.
    pub fn answered(&mut self, delivery: Delivery, now: Instant) -> bool {
        let Some(sent) = self.sending.take() else { return true };
        let letter = self.letters.get_mut(&sent.sync).filter(|letter| letter.is_about_commit_of(&sent));
        match delivery {
            Delivery::Failed(asked) => {
                let pause = Backoff::pause(PAUSE, LONGEST, self.failures);
                self.failures = self.failures.saturating_add(1);
                self.quiet_until = Some(now + asked.map_or(pause, |asked| asked.clamp(pause, LONGEST_ASKED)));
            }
            Delivery::Erred => {
                self.failures = self.failures.saturating_add(1);
                self.quiet_until = Some(now + PAUSE);
            }
            // No failure of the receiver, unless the message is given up.
            Delivery::Unknown => self.quiet_until = Some(now + PAUSE),
            Delivery::Delivered | Delivery::Refused => (self.failures, self.quiet_until) = (0, None),
        }
        letter.is_none_or(|letter| letter.answered(&sent, delivery, now))
    }
}

impl Letter {
    /// `true` if the news are about the same commit, in the same repository.
    fn is_about_commit_of(&self, news: &CommitNews) -> bool {
        (&self.news.commit, &self.news.git.repo) == (&news.commit, &news.git.repo)
    }

    /// The newest state of the commit that the letter is about.
    fn tell(&mut self, news: &Arc<CommitNews>, wanted: bool, now: Instant) {
        // That it is applied is told once, before everything else but that it was held.
        if news.state == CommitState::Pending && self.news.code != Some(Code::EmptySource) {
            return;
        }
        if kind(news) != kind(&self.news) {
            let times = self.times.get(&news.state).copied().unwrap_or(0);
            let pause = times.checked_sub(1).map(|times| Backoff::pause(REPEAT, LONGEST_REPEAT, times));
            let due = Some(now + pause.unwrap_or_default());
            self.due = due.filter(|_| wanted && self.last != Some(kind(news)));
            (self.since, self.attempts) = (now, 0);
        }
        if !wanted {
            self.last = None;
        }
        self.news = Arc::clone(news);
    }

    fn answered(&mut self, sent: &CommitNews, delivery: Delivery, now: Instant) -> bool {
        let is_newest = kind(&self.news) == kind(sent);
        let patience = match delivery {
            Delivery::Refused => Duration::ZERO,
            Delivery::Unknown => PATIENCE_FOR_COMMIT,
            _ => PATIENCE,
        };
        match delivery {
            Delivery::Delivered => {
                self.last = Some(kind(sent));
                *self.times.entry(sent.state).or_default() += 1;
                if is_newest {
                    self.due = None;
                } else if self.due.is_none() {
                    // The receiver had the newest state before the one that it was just sent.
                    self.due = Some(now + REPEAT);
                }
                true
            }
            _ if !is_newest => true,
            _ if now.saturating_duration_since(self.since) < patience => {
                self.due = Some(now + Backoff::pause(PAUSE, LONGEST, self.attempts));
                self.attempts = self.attempts.saturating_add(1);
                true
            }
            _ => {
                self.due = None;
                false
            }
        }
    }
}

/// The state with its code: another code is another message.
fn kind(news: &CommitNews) -> (CommitState, Option<Code>) {
    (news.state, news.code)
}

#[cfg(test)]
mod tests {
    use CommitState::{Failure, Pending, Success};
    use Delivery::{Delivered, Failed, Refused};

    use super::*;
    use crate::api::GitStatus;

    fn news(sync: &str, commit: &str, state: CommitState) -> Arc<CommitNews> {
        let git = Arc::default();
        let news = CommitNews::pending(&SyncId::root(sync), "", commit, &git, 1);
        Arc::new(CommitNews { state, ..news })
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The commit and the state of the next message.
    fn next(outbox: &mut Outbox, now: Instant) -> Option<(String, CommitState)> {
        outbox.next(now).map(|news| (news.commit.clone(), news.state))
    }

    fn is(commit: &str, state: CommitState) -> Option<(String, CommitState)> {
        Some((commit.to_owned(), state))
    }

    #[test]
    fn each_state_of_a_commit_is_sent_once_however_often_it_is_told() {
        let (mut outbox, now) = (Outbox::default(), start());
        for (state, sent) in [(Pending, true), (Pending, false), (Success, true), (Success, false), (Pending, false)] {
            outbox.tell(&news("a", "1", state), true, now);
            assert_eq!(next(&mut outbox, now), is("1", state).filter(|_| sent), "{state:?}");
            assert!(outbox.answered(Delivered, now));
        }
        outbox.tell(&news("a", "2", Failure), true, now);
        assert_eq!(next(&mut outbox, now), is("2", Failure));
        outbox.answered(Delivered, now);
        // A branch that goes back.
        outbox.tell(&news("a", "1", Success), true, now);
        assert_eq!(next(&mut outbox, now), is("1", Success));
        outbox.answered(Delivered, now);
        assert_eq!(outbox.next_wake(), None);
        // A repository that moved, with the same commits.
        let git = GitStatus { repo: "https://git.example/moved".to_owned(), ..GitStatus::default() };
        let moved = CommitNews { git: Arc::new(git), ..(*news("a", "1", Success)).clone() };
        outbox.tell(&Arc::new(moved), true, now);
        assert_eq!(next(&mut outbox, now), is("1", Success));
    }

    #[test]
    fn a_state_that_comes_again_has_to_last() {
        let (mut outbox, mut now) = (Outbox::default(), start());
        let mut pauses = Vec::new();
        for turn in 0..20 {
            let state = if turn % 2 == 0 { Success } else { Failure };
            outbox.tell(&news("a", "1", state), true, now);
            let due = outbox.next_wake().expect("it is to be sent");
            pauses.push((due - now).as_secs());
            now = due;
            assert_eq!(next(&mut outbox, now), is("1", state));
            outbox.answered(Delivered, now);
        }
        assert_eq!(pauses[..8], [0, 0, 60, 60, 120, 120, 240, 240]);
        assert_eq!(pauses[18..], [3600, 3600]);
        // One that does not last is not sent.
        outbox.tell(&news("a", "1", Success), true, now);
        outbox.tell(&news("a", "1", Failure), true, now + seconds(5));
        assert_eq!(outbox.next_wake(), None);
    }

    #[test]
    fn only_the_newest_waits_for_a_receiver_that_is_dead() {
        let (mut outbox, begin) = (Outbox::default(), start());
        for sync in ["a", "b"] {
            outbox.tell(&news(sync, "1", Pending), true, begin);
        }
        let (mut now, mut pauses) = (begin, Vec::new());
        for turn in 0..12 {
            assert!(outbox.next(now).is_some() && outbox.next(now).is_none(), "one at a time");
            outbox.tell(&news("a", &turn.to_string(), Success), true, now);
            assert!(outbox.answered(Failed(None), now));
            let wake = outbox.next_wake().expect("it is tried again");
            pauses.push((wake - now).as_secs());
            now = wake;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!((outbox.failures(), outbox.letters.len()), (12, 2));
        let mut sent = Vec::new();
        while let Some(news) = next(&mut outbox, now) {
            sent.push(news);
            outbox.answered(Delivered, now);
            now += seconds(600);
        }
        sent.sort();
        assert_eq!((sent, outbox.failures()), (vec![("1".to_owned(), Pending), ("11".to_owned(), Success)], 0));
    }

    #[test]
    fn a_receiver_can_ask_for_a_pause_that_is_not_too_long() {
        for (asked, pause) in [(None, 1), (Some(0), 1), (Some(7), 7), (Some(100_000), 900)] {
            let (mut outbox, now) = (Outbox::default(), start());
            outbox.tell(&news("a", "1", Success), true, now);
            assert!(outbox.next(now).is_some());
            outbox.answered(Failed(asked.map(seconds)), now);
            assert_eq!(outbox.next_wake(), Some(now + seconds(pause)), "{asked:?}");
        }
    }

    #[test]
    fn what_is_refused_or_too_old_is_given_up_until_the_settings_change() {
        let (mut outbox, begin) = (Outbox::default(), start());
        outbox.tell(&news("a", "1", Failure), true, begin);
        outbox.next(begin);
        assert!(!outbox.answered(Refused, begin));
        outbox.tell(&news("a", "1", Failure), true, begin);
        assert_eq!(outbox.next_wake(), None);
        outbox.revive(begin);
        assert_eq!(next(&mut outbox, begin), is("1", Failure));
        let later = begin + PATIENCE;
        assert!(!outbox.answered(Failed(None), later));
        assert_eq!(outbox.next_wake(), None);
        outbox.retain(|_| false);
        outbox.revive(later);
        assert_eq!(outbox.next_wake(), None);
    }

    #[test]
    fn a_commit_that_a_receiver_does_not_know_is_tried_for_ten_minutes() {
        let (mut outbox, begin) = (Outbox::default(), start());
        outbox.tell(&news("a", "1", Success), true, begin);
        let mut now = begin;
        let tries = (1..).find(|_| {
            now = outbox.next_wake().expect("it is tried again");
            assert_eq!(next(&mut outbox, now), is("1", Success));
            !outbox.answered(Delivery::Unknown, now)
        });
        assert_eq!((tries, (now - begin).as_secs(), outbox.failures()), (Some(11), 811, 0));
        assert_eq!(outbox.next_wake(), None);
    }

    #[test]
    fn a_state_that_comes_while_another_is_on_its_way_is_sent_after_it() {
        let (mut outbox, now) = (Outbox::default(), start());
        outbox.tell(&news("a", "1", Pending), true, now);
        assert_eq!(next(&mut outbox, now), is("1", Pending));
        outbox.tell(&news("a", "1", Success), true, now);
        outbox.answered(Delivered, now);
        assert_eq!(next(&mut outbox, now), is("1", Success));
        outbox.tell(&news("a", "2", Pending), true, now);
        outbox.answered(Refused, now);
        assert_eq!(next(&mut outbox, now), is("2", Pending));
        outbox.answered(Delivered, now);
        assert_eq!(outbox.next_wake(), None);
    }

    #[test]
    fn a_state_that_is_not_wanted_ends_the_one_before() {
        let (mut outbox, now) = (Outbox::default(), start());
        let tell = |outbox: &mut Outbox, state, at| outbox.tell(&news("a", "1", state), state == Failure, at);
        tell(&mut outbox, Failure, now);
        tell(&mut outbox, Success, now);
        assert_eq!(outbox.next_wake(), None, "it waited for a dead receiver, and is old news");
        tell(&mut outbox, Failure, now);
        assert_eq!(next(&mut outbox, now), is("1", Failure));
        outbox.answered(Delivered, now);
        tell(&mut outbox, Success, now);
        assert_eq!(outbox.next_wake(), None);
        tell(&mut outbox, Failure, now);
        assert_eq!(outbox.next_wake(), Some(now + REPEAT), "it fails again");
    }

    #[test]
    fn a_commit_that_was_held_is_told_again() {
        let (mut outbox, mut now) = (Outbox::default(), start());
        let of = |state, code| Arc::new(CommitNews { code, ..(*news("a", "1", state)).clone() });
        for (state, code, pause) in
            [(Failure, Some(Code::EmptySource), 0), (Pending, None, 0), (Failure, Some(Code::Applier), 60)]
        {
            outbox.tell(&of(state, code), true, now);
            assert_eq!(outbox.next_wake(), Some(now + seconds(pause)), "{state:?} {code:?}");
            now += seconds(pause);
            assert_eq!(next(&mut outbox, now), is("1", state));
            outbox.answered(Delivered, now);
        }
    }

    #[test]
    fn one_message_over_which_a_receiver_fails_delays_no_other() {
        let (mut outbox, now) = (Outbox::default(), start());
        outbox.tell(&news("a", "1", Success), true, now);
        for turn in 0..8 {
            let at = outbox.next_wake().expect("it is tried again");
            assert!(outbox.next(at).is_some());
            assert!(outbox.answered(Delivery::Erred, at));
            outbox.tell(&news("b", &turn.to_string(), Success), true, at);
            assert_eq!(outbox.next_wake(), Some(at + PAUSE));
            assert_eq!(next(&mut outbox, at + PAUSE), is(&turn.to_string(), Success));
            outbox.answered(Delivered, at + PAUSE);
        }
        assert!(outbox.next_wake().is_some_and(|wake| wake > now + seconds(100)));
    }
}
