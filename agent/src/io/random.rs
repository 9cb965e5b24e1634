//! Numbers that differ from process to process and from call to call. They are no secrets.

use std::hash::{BuildHasher as _, RandomState};

/// A number that is not likely to come again.
pub fn random_number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A name that is not likely to be used.
pub fn unused_name(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random_number())
}
