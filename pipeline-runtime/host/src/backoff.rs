//! Waits between tries.

use std::time::Duration;

use crate::shared::Stop;

/// 100 ms, doubled up to 10 s.
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The first wait is to come.
    pub fn new() -> Self {
        Self { next: Duration::from_millis(100) }
    }

    /// Whether the run was told to stop meanwhile.
    pub fn wait(&mut self, stop: &Stop) -> bool {
        let wait = self.next;
        self.next = (self.next * 2).min(Duration::from_secs(10));
        stop.wait(wait)
    }
}
