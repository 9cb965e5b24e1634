//! Seals objects as SOPS does, for `nomos export`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::random::secret_bytes;
use crate::api::Time;
use crate::compile::parse::{AgeRecipient, SealRandomness, sealed};

/// The object with its values sealed for these recipients. `None` if a label or an annotation has the name of a field that is sealed.
///
/// # Panics
/// When the system has no random numbers.
pub fn seal(object: &Value, recipients: &[AgeRecipient]) -> Option<Value> {
    let mut random = secret_bytes::<32>;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sealed(object, recipients, &Time::from_unix(now.as_secs()).0, SealRandomness(&mut random))
}
