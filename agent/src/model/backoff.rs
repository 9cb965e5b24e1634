//! The pause before the next attempt at something that failed, or at something whose cause comes again and again.

use std::time::{Duration, Instant};

/// A pause that doubles with each attempt that fails, from a first value up to a longest one.
///
/// It knows nothing of the clock: the caller adds [`Backoff::next_pause`] to its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// No attempt has failed yet. `first` follows the first failure, and no pause is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0 }
    }

    /// The pause when `attempts` attempts failed before the last one, for callers that count the attempts themselves.
    pub fn pause(first: Duration, longest: Duration, attempts: u32) -> Duration {
        first.saturating_mul(2_u32.saturating_pow(attempts)).min(longest)
    }

    /// Attempts that failed since the beginning or the last [`Backoff::reset`].
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts one more failed attempt and returns the pause after it.
    pub fn next_pause(&mut self) -> Duration {
        let pause = Self::pause(self.first, self.longest, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        pause
    }

    /// Forgets the failed attempts: an attempt worked.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// The pace of what is done whenever something else changes: at once after a calm time, and after pauses that grow while the changes
/// go on. Changes during a pause are taken together.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pauses: Backoff,
    /// The beginning and the end of the last pause.
    last: Option<(Instant, Instant)>,
}

/// So many times as long as the last pause lasts a calm time.
const CALM: u32 = 10;

impl Pace {
    /// It was never done. The pauses double from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { pauses: Backoff::new(first, longest), last: None }
    }

    /// It is done at `now`. Returns the time before which it is not to be done again.
    pub fn done(&mut self, now: Instant) -> Instant {
        if self.last.is_some_and(|(begin, end)| now >= begin + CALM * end.saturating_duration_since(begin)) {
            self.pauses.reset();
        }
        let end = now + self.pauses.next_pause();
        self.last = Some((now, end));
        end
    }

    /// The end of the pause, if one is going on at `now`.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.last.map(|(_, end)| end).filter(|end| *end > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn what_is_done_again_and_again_is_done_less_often_until_it_is_calm() {
        let mut pace = Pace::new(Duration::from_secs(1), Duration::from_secs(5));
        let begin = Instant::now();
        assert_eq!(pace.pause(begin), None);
        let mut now = begin;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let end = pace.done(now);
            assert_eq!((pace.pause(now), pace.pause(end)), (Some(end), None));
            pauses.push((end - now).as_secs());
            now = end;
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        let calm = now + Duration::from_secs(45);
        assert_eq!(pace.done(calm), calm + Duration::from_secs(1));
        for _ in 0..100 {
            now = pace.done(now.max(calm) + Duration::from_secs(60));
        }
        assert_eq!(pace.pauses.attempts(), 1, "rare changes are heeded at once");
    }

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<u64> = std::iter::repeat_with(|| backoff.next_pause().as_secs()).take(5).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!((backoff.attempts(), backoff.next_pause()), (0, Duration::from_secs(1)));
        for _ in 0..100 {
            backoff.next_pause();
        }
        assert_eq!(backoff.next_pause(), Duration::from_secs(5));
    }
}
