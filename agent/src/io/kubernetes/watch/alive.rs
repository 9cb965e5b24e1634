//! The time at which a watch was last seen to work, which other tasks can read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone)]
pub(super) struct Alive {
    /// The zero of the clock.
    started: Instant,
    /// Milliseconds since then; 0 if the watch was never seen to work.
    at: Arc<AtomicU64>,
}

impl Alive {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), at: Arc::default() }
    }

    /// The watch works now.
    pub(super) fn set(&self, now: Instant) {
        self.at.store(self.milliseconds(now).max(1), Ordering::Relaxed);
    }

    /// The time since the watch was last seen to work; `None` if it never was.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| Duration::from_millis(self.milliseconds(now).saturating_sub(at)))
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from((now - self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_the_time_since_the_watch_was_seen_to_work() {
        let alive = Alive::new();
        let start = alive.started;
        assert_eq!(alive.age(start), None);
        alive.set(start);
        assert_eq!(alive.age(start + Duration::from_millis(61_001)), Some(Duration::from_secs(61)));
        alive.set(start + Duration::from_secs(60));
        assert_eq!(alive.age(start + Duration::from_secs(61)), Some(Duration::from_secs(1)));
    }
}
