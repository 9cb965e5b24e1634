//! The memory that all syncs of this process take for reading their sources: large sources are parsed one after the other, and
//! what is kept of all of them has one limit.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::git::{FailureClass, GitError};
use crate::model::limits::{KEPT, PARSED_AT_ONCE};
use crate::model::shared::lock;

/// The budget of all readings.
#[derive(Debug)]
pub struct SharedMemory {
    state: Mutex<MemoryState>,
    changed: Condvar,
    kept_limit: u64,
}

#[derive(Debug)]
struct MemoryState {
    /// Bytes that no reading has.
    free: u64,
    /// Readings are served in the order in which they asked, so that a large one is not passed by for ever.
    next_ticket: u64,
    served: u64,
    /// Bytes that are kept of all sources.
    kept: u64,
}

impl Default for SharedMemory {
    fn default() -> Self {
        Self::of(KEPT)
    }
}

/// A part of the budget. It is given back at the end of this value.
#[derive(Debug)]
#[must_use = "dropping it gives the memory back"]
pub struct Turn {
    memory: Arc<SharedMemory>,
    bytes: u64,
}

/// The part of the budget that one source keeps.
#[derive(Debug)]
pub struct KeptMemory {
    memory: Arc<SharedMemory>,
    bytes: u64,
}

impl SharedMemory {
    fn of(kept_limit: u64) -> Self {
        let state = MemoryState { free: PARSED_AT_ONCE, next_ticket: 0, served: 0, kept: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new(), kept_limit }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        lock(&self.state)
    }

    /// Waits until there are so many bytes. More than [`PARSED_AT_ONCE`] are all of them.
    pub fn turn(self: &Arc<Self>, bytes: u64) -> Turn {
        let bytes = bytes.min(PARSED_AT_ONCE);
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.served != ticket || state.free < bytes {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.served += 1;
        state.free -= bytes;
        // The next one may need less than is left.
        self.changed.notify_all();
        Turn { memory: Arc::clone(self), bytes }
    }

    /// The account of a source that keeps nothing yet.
    pub fn account(self: &Arc<Self>) -> KeptMemory {
        KeptMemory { memory: Arc::clone(self), bytes: 0 }
    }
}

#[cfg(test)]
impl SharedMemory {
    /// The readings that wait.
    pub(super) fn waiting(&self) -> u64 {
        let state = self.lock();
        state.next_ticket - state.served
    }

    /// The bytes that no reading has.
    pub(super) fn free(&self) -> u64 {
        self.lock().free
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.memory.lock().free += self.bytes;
        self.memory.changed.notify_all();
    }
}

impl KeptMemory {
    /// Makes `bytes` what the source keeps.
    ///
    /// # Errors
    /// When all sources would keep more than the agent has for them. Then the source keeps what it kept.
    pub fn set(&mut self, bytes: u64) -> Result<(), GitError> {
        let mut state = self.memory.lock();
        let all = state.kept - self.bytes + bytes;
        if all > self.memory.kept_limit && bytes > self.bytes {
            let message = format!(
                "the sources of all syncs of this agent take {} MiB of memory with this commit; it has {} MiB for them",
                all >> 20,
                self.memory.kept_limit >> 20
            );
            let hint = "Sync smaller directories, or give some syncs an agent of their own.";
            return Err(GitError::new(FailureClass::Broken, message).hint(hint));
        }
        state.kept = all;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for KeptMemory {
    fn drop(&mut self) {
        self.memory.lock().kept -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn large_readings_take_turns_and_small_ones_do_not_wait_for_each_other() {
        let memory = Arc::new(SharedMemory::default());
        let small: Vec<Turn> = (0..10).map(|_| memory.turn(1 << 20)).collect();
        let (sender, order) = mpsc::channel();
        thread::scope(|scope| {
            let tell = sender.clone();
            let waiting = Arc::clone(&memory);
            scope.spawn(move || {
                let turn = waiting.turn(u64::MAX);
                tell.send("large").expect("the test listens");
                drop(turn);
            });
            while memory.waiting() < 1 {
                thread::yield_now();
            }
            let late = Arc::clone(&memory);
            scope.spawn(move || {
                let _turn = late.turn(1);
                sender.send("late").expect("the test listens");
            });
            while memory.waiting() < 2 {
                thread::yield_now();
            }
            assert!(order.try_recv().is_err(), "both wait");
            drop(small);
            assert_eq!(order.iter().collect::<Vec<_>>(), ["large", "late"]);
        });
        assert_eq!(memory.free(), PARSED_AT_ONCE);
    }

    #[test]
    fn all_sources_keep_no_more_than_the_limit() {
        let memory = Arc::new(SharedMemory::of(100));
        let (mut one, mut other) = (memory.account(), memory.account());
        assert_eq!((one.set(60), other.set(40)), (Ok(()), Ok(())));
        let error = other.set(41).expect_err("too much");
        assert!(error.message.contains("of all syncs") && error.hint.is_some());
        assert_eq!(one.set(50), Ok(()));
        assert_eq!(other.set(50), Ok(()));
        drop(one);
        assert_eq!(other.set(100), Ok(()));
    }
}
