//! What a waiting reader or member is woken by.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A flag to wait for. Raising it twice is as raising it once.
#[derive(Default)]
pub(crate) struct Signal {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    raised: bool,
    woken: bool,
}

impl Signal {
    /// Something may have changed: look again.
    pub fn raise(&self) {
        let mut flags = guard(&self.flags);
        if !flags.raised {
            flags.raised = true;
            self.changed.notify_all();
        }
    }

    /// End the wait whatever there is.
    pub fn wake(&self) {
        guard(&self.flags).woken = true;
        self.raise();
    }

    /// Before looking: what is raised from now on is noticed by the next wait.
    pub fn clear(&self) {
        guard(&self.flags).raised = false;
    }

    /// Whether somebody called [`Signal::wake`] since this was asked last.
    pub fn take_woken(&self) -> bool {
        std::mem::take(&mut guard(&self.flags).woken)
    }

    /// Waits until raised or the deadline.
    pub fn wait(&self, deadline: Instant) {
        let mut flags = guard(&self.flags);
        while !flags.raised {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            flags = self.changed.wait_timeout(flags, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Locks; a thread that panicked while holding the lock does not stop the others: what the locks of this crate guard
/// is changed only after everything that can fail.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
