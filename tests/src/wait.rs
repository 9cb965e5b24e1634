//! Waiting for a condition. Stories wait in no other way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The longest time to wait: enough for a slow machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two calls of the condition.
const PAUSE: Duration = Duration::from_millis(25);

/// Calls `condition` again and again until it returns no error.
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
