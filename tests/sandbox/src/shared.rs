//! The state that the threads of a sandbox share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::faults::Faults;
use crate::log::Log;
use crate::state::State;

/// State, log and faults of one sandbox.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    log: Mutex<Log>,
    pub(crate) faults: Faults,
    /// The latest revision, for those who wait for changes.
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        let (changed, _) = watch::channel(state.store.revision());
        Self { state: Mutex::new(state), log: Mutex::default(), faults: Faults::default(), changed }
    }

    /// Does something with the state and tells those who wait if that changed it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut state);
        let revision = state.store.revision();
        drop(state);
        self.changed.send_if_modified(|latest| std::mem::replace(latest, revision) != revision);
        done
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
