//! A moment on two clocks.

use std::time::{Duration, Instant};

use crate::api::Time;

/// A moment on two clocks.
#[derive(Clone, Debug)]
pub struct Moment {
    /// For pauses; it never goes back.
    pub instant: Instant,
    /// For the times in documents.
    pub time: Time,
}

impl Moment {
    /// The time in documents of an earlier instant.
    pub fn time_of(&self, instant: Instant) -> Time {
        let age = self.instant.saturating_duration_since(instant).as_secs();
        Time::from_unix(self.time.unix().unwrap_or(0).saturating_sub(age))
    }

    /// The instant of an earlier time; this moment for a later one, and for one before the clock began.
    pub fn instant_of(&self, time: &Time) -> Option<Instant> {
        let age = self.time.unix()?.saturating_sub(time.unix()?);
        Some(self.instant.checked_sub(Duration::from_secs(age)).unwrap_or(self.instant))
    }
}
