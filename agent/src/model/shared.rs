//! Values that several threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose content is whole after a panic too.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
