//! What a replica sees of added partitions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use millstream_log::{LogError, LogResult};

/// Says which partitions of a stage may be begun. Written by the thread that follows the control topic.
pub struct Gate {
    /// Those below.
    open: AtomicI32,
    /// Those below were there when the stage began to read a topic; by topic where some were added since.
    first: Mutex<(i32, BTreeMap<String, i32>)>,
    stopped: AtomicBool,
    why: Mutex<Option<LogError>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: AtomicI32::new(i32::MAX),
            first: Mutex::new((i32::MAX, BTreeMap::new())),
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

    /// Whether a partition was there when the stage began to read the topic, so that `start` is about it.
    pub fn is_first(&self, topic: &str, partition: i32) -> bool {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        partition < first.1.get(topic).copied().unwrap_or(first.0)
    }

    /// Says what is open. Partitions below `all` were there when the stage began, but for the topics in `first`.
    pub fn set(&self, open: i32, all: i32, first: BTreeMap<String, i32>) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = (all, first);
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
