//! Waiting for something to become true: the only way in which stories wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What a slow machine with other work may need.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks `condition` again and again until it is no error any more.
///
/// # Errors
/// The last error of `condition`, if it still has one when time is up.
pub fn await_condition<T>(what: &str, mut condition: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("{what}: not within {} s", PATIENCE.as_secs()));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
