//! The bytes that all syncs write into ResourceGroups: a large inventory whose health changes all the time must not fill etcd.

use std::sync::Mutex;
use std::time::Instant;

use crate::io::places::{Party, SharedPlace, SharedPlaces, Shares};
use crate::model::shared::lock;

/// Bytes in a second.
const RATE: f64 = (1 << 20) as f64;
/// Bytes at once after a rest: the ResourceGroups of 50,000 objects.
const BURST: f64 = 16.0 * RATE;

/// Requests in flight that write reports.
const WRITES: Shares = Shares { all: 20, tenants: 15, tenant: 5 };

/// The budget of writes over all syncs.
#[derive(Debug)]
pub struct WriteBudget {
    rest: Mutex<Rest>,
    writes: SharedPlaces,
}

#[derive(Debug)]
struct Rest {
    bytes: f64,
    at: Instant,
}

impl Default for WriteBudget {
    fn default() -> Self {
        Self { rest: Mutex::new(Rest { bytes: BURST, at: Instant::now() }), writes: SharedPlaces::new(WRITES) }
    }
}

impl WriteBudget {
    /// Waits for the turn of a request.
    pub(super) async fn turn(&self, party: &Party) -> SharedPlace {
        self.writes.place(party).await
    }

    /// Takes the bytes of a write that cannot wait: nothing is applied before the record is written.
    pub(super) fn spend(&self, bytes: usize, now: Instant) {
        self.filled(now, |rest| rest.bytes = (rest.bytes - bytes as f64).max(-BURST));
    }

    /// Takes the bytes of a write; `false` if it has to wait, and then nothing is taken.
    pub(super) fn take(&self, bytes: usize, now: Instant) -> bool {
        self.filled(now, |rest| {
            // A write that is larger than the whole budget comes when it is full.
            let fits = rest.bytes >= (bytes as f64).min(BURST);
            if fits {
                rest.bytes -= bytes as f64;
            }
            fits
        })
    }

    fn filled<T>(&self, now: Instant, take: impl FnOnce(&mut Rest) -> T) -> T {
        let mut rest = lock(&self.rest);
        let passed = now.saturating_duration_since(rest.at).as_secs_f64();
        rest.bytes = (rest.bytes + passed * RATE).min(BURST);
        rest.at = rest.at.max(now);
        take(&mut rest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn statuses_are_written_at_the_rate_of_the_budget_and_records_at_once() {
        let (budget, start) = (WriteBudget::default(), Instant::now());
        let group = 256 << 10;
        let written = |from: u64, to: u64| {
            (from * 10..to * 10).filter(|tenth| budget.take(group, start + Duration::from_millis(tenth * 100))).count()
        };
        let first = written(0, 60);
        assert!((64 + 4 * 58..=64 + 4 * 61).contains(&first), "{first}");
        budget.spend(64 << 20, start + Duration::from_secs(60));
        assert_eq!(written(60, 76), 0, "the record took what there was, and some seconds more");
        assert!(written(76, 80) > 0);
    }
}
