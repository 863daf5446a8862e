//! How a process stands, for those who ask from outside whether it is ready.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A log that has said nothing for this long counts as away.
const SILENT: Duration = Duration::from_secs(5);

/// Written by the run, read by whoever serves.
#[derive(Default)]
pub struct Standing {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Why it is not ready, as the pipelines say.
    waits_for: Option<String>,
    /// Whether anybody has looked.
    looked: bool,
    /// When the log has answered last.
    answered: Option<Instant>,
    /// Partitions that topics had then.
    partitions: HashMap<String, i32>,
}

impl Standing {
    /// Whether all replicas have their partitions and the log answers; else why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self) -> Result<(), String> {
        let inner = self.lock();
        if let Some(why) = &inner.waits_for {
            return Err(why.clone());
        }
        match inner.answered {
            _ if !inner.looked => Err("it is starting".to_owned()),
            None => Err("the log has not answered yet".to_owned()),
            Some(at) if at.elapsed() > SILENT => {
                Err(format!("the log has not answered for {} s", at.elapsed().as_secs()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the log has answered a moment ago.
    pub(crate) fn log_answers(&self) -> bool {
        self.lock().answered.is_some_and(|at| at.elapsed() <= SILENT)
    }

    /// Partitions of a topic, as the log said last.
    pub(crate) fn partitions(&self, topic: &str) -> Option<i32> {
        self.lock().partitions.get(topic).copied()
    }

    /// What it waits for; nothing when it has all.
    pub(crate) fn waits_for(&self, why: Option<String>) {
        let mut inner = self.lock();
        (inner.waits_for, inner.looked) = (why, true);
    }

    /// The log has answered: so many partitions these topics have.
    pub(crate) fn answered(&self, partitions: impl Iterator<Item = (String, i32)>) {
        let mut inner = self.lock();
        inner.answered = Some(Instant::now());
        inner.partitions.extend(partitions);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
