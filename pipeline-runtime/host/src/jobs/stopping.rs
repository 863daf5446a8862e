//! Which jobs are to be dropped, as the replicas of a process know it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::state::Stopped;

/// Shared by the replicas of a pipeline. While nothing is stopped a look costs the read of one number.
#[derive(Default)]
pub(crate) struct Stopping {
    /// Rises with each change; 0 while nothing was ever stopped.
    changes: AtomicU64,
    jobs: RwLock<HashMap<Vec<u8>, Stopped>>,
}

impl Stopping {
    /// These and no others.
    pub fn set<'a>(&self, all: impl ExactSizeIterator<Item = (&'a String, &'a Stopped)>) {
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        let new: HashMap<Vec<u8>, Stopped> = all.map(|(job, why)| (job.clone().into_bytes(), *why)).collect();
        if *jobs != new {
            *jobs = new;
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Rises with each change.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All of them, by job.
    pub fn all(&self) -> HashMap<Vec<u8>, Stopped> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why what is left of a job is dropped, if it is.
    pub fn of(&self, job: &[u8]) -> Option<Stopped> {
        if self.changes() == 0 {
            return None;
        }
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(job).copied()
    }
}
