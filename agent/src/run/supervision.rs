//! Panics: a task that breaks down takes nothing else along, is counted and logged, and is told by the task that waits for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;

use crate::io::serve::Metrics;

/// From now on every panic of the process is a line of the log, and is counted.
pub(super) fn watch_panics(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panics.inc();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("without a message");
        tracing::error!(place, "a task broke down: {message}");
    }));
}

/// The result of `work`; `None` when it panicked. No async function: its future would hold `work` twice.
pub(super) fn supervised<T>(work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    AssertUnwindSafe(work).catch_unwind().map(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_breaks_down_is_told_from_one_that_ends() {
        assert_eq!(supervised(async { 1 }).await, Some(1));
        let broken: Option<u8> = supervised(async { panic!("as the test wants it") }).await;
        assert_eq!(broken, None);
    }
}
