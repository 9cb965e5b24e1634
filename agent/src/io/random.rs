//! Random numbers: those that need to differ alone, and secrets.

use std::hash::{BuildHasher as _, RandomState};

use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes that cannot be guessed.
///
/// # Panics
/// When the system has no random numbers.
pub fn secret_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    bytes
}

/// A number that is not likely to come again. It is no secret.
pub fn random_number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A name that is not likely to be used.
pub fn unused_name(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random_number())
}
