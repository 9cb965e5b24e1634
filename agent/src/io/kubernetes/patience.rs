//! Patience with an API server that is away or busy.

use std::time::Duration;

use super::client::ApiError;
use crate::model::backoff::Backoff;

/// The pause before the API server is asked again, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));

/// Asks again while the API server is away or busy.
///
/// # Errors
/// When the API server refuses.
pub async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(mut ask: impl FnMut() -> F) -> Result<T, ApiError> {
    let mut backoff = RETRY;
    loop {
        match ask().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the API server cannot be asked; trying again");
            }
            answer => return answer,
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}
