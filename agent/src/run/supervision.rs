//! Panics: a task that breaks down takes nothing else along, is counted and logged, and is told by the task that waits for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::pending;
use tokio::task::JoinSet;

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

/// Waits until one of the tasks panics. Those that end are done.
pub(super) async fn broken_down(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            return;
        }
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_end_are_done_and_one_that_panics_is_told() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        assert!(broken_down(&mut tasks).now_or_never().is_none());
        tasks.spawn(async { panic!("as the test wants it") });
        broken_down(&mut tasks).await;
    }

    #[tokio::test]
    async fn a_task_that_breaks_down_is_told_from_one_that_ends() {
        assert_eq!(supervised(async { 1 }).await, Some(1));
        let broken: Option<u8> = supervised(async { panic!("as the test wants it") }).await;
        assert_eq!(broken, None);
    }
}
