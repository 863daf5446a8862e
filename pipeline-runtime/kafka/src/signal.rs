//! Wakes a thread that waits for records or events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Raised by librdkafka's threads and by wakers, waited for by the one polling thread.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
    /// librdkafka raises the signal for whatever happens; only a waker may end a poll that has nothing to give.
    woken: AtomicBool,
}

impl Signal {
    pub(crate) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Ends the current or the next poll.
    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.raise();
    }

    /// Whether a waker was called since this was asked last.
    pub(crate) fn take_wake(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// Takes the signal back before looking for work: what comes after is seen by [`Signal::wait`].
    pub(crate) fn lower(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Waits until raised or the time-out.
    pub(crate) fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was the signal or the time, the caller looks for work.
        drop(self.changed.wait_timeout_while(raised, timeout, |raised| !*raised));
    }
}
