//! What a replica sees of added partitions.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use millstream_log::{LogError, LogResult};

/// Says which partitions of a stage may be begun. Written by the thread that follows the control topic.
pub struct Gate {
    /// Those below.
    open: AtomicI32,
    /// Those below were there when the stage began.
    first: AtomicI32,
    stopped: AtomicBool,
    why: Mutex<Option<LogError>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: AtomicI32::new(i32::MAX),
            first: AtomicI32::new(i32::MAX),
            stopped: AtomicBool::new(false),
            why: Mutex::default(),
        }
    }
}

impl Gate {
    /// Partitions below this one may be begun. One that was begun goes on.
    pub fn open(&self) -> i32 {
        self.open.load(Ordering::Acquire)
    }

    /// Whether a partition was there when the stage began, so that `start` is about it.
    pub fn is_first(&self, partition: i32) -> bool {
        partition < self.first.load(Ordering::Acquire)
    }

    /// Says what is open.
    pub fn set(&self, open: i32, first: i32) {
        self.first.store(first, Ordering::Release);
        self.open.store(open, Ordering::Release);
    }

    /// The stage must not go on.
    pub fn stop(&self, why: LogError) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.stopped.store(true, Ordering::Release);
    }

    /// An error if the stage must not go on.
    pub fn check(&self) -> LogResult<()> {
        if !self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.as_ref().map_or(Ok(()), |e| Err(LogError::new(e.class, e.code, e.message.clone())))
    }
}
