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
    /// Processor time of all cores.
    pub(crate) work: Duration,
    pub(crate) failures: BTreeMap<u64, String>,
}

/// Tries seeds, until too many have failed.
pub(crate) fn try_all(seeds: &[u64], outcome: impl Fn(u64) -> Result<(), String> + Sync) -> Tried {
    let start = Instant::now();
    let (next, done, failures) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let told = Mutex::new(start);
    let work = || {
        let begin = processor_time();
        loop {
            let seed = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied();
            let Some(seed) = seed.filter(|_| failed().len() < ENOUGH) else { break };
            if let Err(broken) = outcome(seed) {
                failed().insert(seed, broken);
            }
            let count = done.fetch_add(1, Ordering::Relaxed) + 1;
            if let Ok(mut told) = told.try_lock()
                && told.elapsed() >= PAUSE
            {
                *told = Instant::now();
                tell(count, seeds.len(), failed().len(), start.elapsed());
            }
        }
        processor_time().saturating_sub(begin)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = std::thread::scope(|threads| {
        let threads = (0..cores).map(|_| threads.spawn(work)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    let (count, time) = (done.into_inner(), start.elapsed());
    Tried { count, time, work, failures: failures.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

/// The time for which this thread has had a processor: other programs do not count. Zero where the system does not tell it.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn tell(count: u64, all: usize, failed: usize, time: Duration) {
    let mut terminal = stderr();
    if terminal.is_terminal() {
        let each = time.as_secs_f64() * 1000.0 / count as f64;
        // A terminal that takes nothing is no failure of a schedule.
        let _ = write!(terminal, "\r{count} of {all} schedules, {failed} failed, {each:.1} ms each ");
    }
}
