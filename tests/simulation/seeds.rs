//! Tries many seeds on all cores, and tells on a terminal how far it is.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so many failures no more seeds are tried.
const ENOUGH: usize = 100;
/// The pause between two words about the progress.
const PAUSE: Duration = Duration::from_secs(1);

/// The seeds to try: those that are asked for, else a fixed set, and `found`, which broke a law once.
pub(crate) fn seeds(found: &[u64]) -> Vec<u64> {
    if let Ok(text) = std::env::var("NOMOS_SIMULATION_SEEDS") {
        let (from, to) = text.split_once("..").expect("a range of seeds, as in 7..20");
        return (from.parse().expect("a seed")..to.parse().expect("a seed")).collect();
    }
    (0..24).chain(found.iter().copied()).collect()
}

/// The seeds that were tried, and those that failed with the law that they broke.
pub(crate) struct Tried {
    pub(crate) count: u64,
    pub(crate) time: Duration,
    pub(crate) cores: usize,
    pub(crate) failures: BTreeMap<u64, String>,
}

/// Tries seeds, until too many have failed.
pub(crate) fn try_all(seeds: &[u64], outcome: impl Fn(u64) -> Result<(), String> + Sync) -> Tried {
    let begin = Instant::now();
    let (next, done, failures) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let told = Mutex::new(begin);
    let work = || {
        loop {
            let seed = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied();
            let Some(seed) = seed.filter(|_| failed().len() < ENOUGH) else { return };
            if let Err(broken) = outcome(seed) {
                failed().insert(seed, broken);
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Ok(mut told) = told.try_lock()
                && told.elapsed() >= PAUSE
            {
                *told = Instant::now();
                tell(count, seeds.len(), failed().len(), begin.elapsed());
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|threads| {
        (0..cores).for_each(|_| _ = threads.spawn(work));
    });
    let (count, time) = (done.into_inner(), begin.elapsed());
    Tried { count, time, cores, failures: failures.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

fn tell(count: u64, all: usize, failed: usize, time: Duration) {
    let mut terminal = stderr();
    if terminal.is_terminal() {
        let each = time.as_secs_f64() * 1000.0 / count as f64;
        // A terminal that takes nothing is no failure of a schedule.
        let _ = write!(terminal, "\r{count} of {all} schedules, {failed} failed, {each:.1} ms each ");
    }
}
