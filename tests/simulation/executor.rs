//! Runs the agent's tasks: until each of them waits, in a time that passes only when the schedule says so.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio::sync::Notify;
use tokio::time::{self, advance, sleep_until};

/// The tasks of one process of the agent, and its time. They end with it.
pub(crate) struct Executor {
    runtime: Runtime,
    rest: Arc<Rest>,
}

/// Wakes the one that waits for the tasks when they have nothing left to do.
#[derive(Default)]
struct Rest {
    waker: Mutex<Option<Waker>>,
    reached: AtomicBool,
}

impl Executor {
    pub(crate) fn new() -> Self {
        let rest = Arc::new(Rest::default());
        let reach = Arc::clone(&rest);
        let reached = move || {
            if let Some(waker) = reach.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                reach.reached.store(true, Ordering::Relaxed);
                waker.wake();
            }
        };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).on_thread_park(reached).build();
        Self { runtime: runtime.expect("a runtime"), rest }
    }

    /// For whatever makes a task or asks for the time.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    pub(crate) fn now(&self) -> Instant {
        let _entered = self.enter();
        time::Instant::now().into_std()
    }

    /// Lets the tasks run until each waits for an answer or for a time.
    pub(crate) fn settle(&self) {
        self.rest.reached.store(false, Ordering::Relaxed);
        self.runtime.block_on(poll_fn(|context| {
            if self.rest.reached.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *self.rest.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            Poll::Pending
        }));
    }

    /// Lets time pass at once: tasks that wait for times between notice only that these are over.
    pub(crate) fn jump(&self, time: Duration) {
        self.runtime.block_on(advance(time));
    }

    /// Lets time pass from one task's to the next one's, until `asked` is notified or until this time.
    pub(crate) fn pass(&self, until: Instant, asked: &Notify) {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = asked.notified() => {}
                () = sleep_until(until.into()) => {}
            }
        });
    }
}
