//! The pause before the next attempt at something that failed.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::*;

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
