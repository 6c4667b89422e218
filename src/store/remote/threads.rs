//! What several threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after a thread that held it has panicked: what it guards is whole between any two steps.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
