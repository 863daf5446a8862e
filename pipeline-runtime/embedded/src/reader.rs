//! Reading partitions by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Batch, Budget, LogResult, Reader, TopicPartition, Waker};

use crate::core::Core;
use crate::fetch::Cursor;
use crate::signal::{Signal, guard};

/// Both isolations are the same here: what is not committed is not in the log.
pub(crate) struct EmbeddedReader {
    core: Arc<Core>,
    signal: Arc<Signal>,
    cursors: Vec<Cursor>,
    /// Which partition comes first, in turn.
    turn: usize,
}

impl EmbeddedReader {
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, signal: Arc::default(), cursors: Vec::new(), turn: 0 }
    }
}

impl Reader for EmbeddedReader {
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.core.is_open()?;
        unwatch(&self.core, &self.cursors, &self.signal);
        self.cursors.clear();
        let mut state = guard(&self.core.state);
        for (at, offset) in from {
            let (topic, _) = state.partition(at)?;
            self.cursors.push(Cursor::new(at.clone(), topic, (*offset).max(0)));
        }
        for cursor in &self.cursors {
            if let Some(partition) = state.partition_mut(cursor.topic, cursor.at.partition as u32) {
                partition.watchers.push(self.signal.clone());
            }
        }
        Ok(())
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>> {
        let deadline = deadline(timeout);
        loop {
            self.core.is_open()?;
            self.signal.clear();
            self.turn = self.turn.wrapping_add(1);
            let all = self.cursors.iter_mut().map(|c| (c, 0));
            let batches = fetch_all(&self.core, all.collect(), self.turn, budget)?;
            if !batches.is_empty() || self.signal.take_woken() || Instant::now() >= deadline {
                return Ok(batches);
            }
            self.signal.wait(deadline);
        }
    }

    fn waker(&self) -> Waker {
        let signal = self.signal.clone();
        Arc::new(move || signal.wake())
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        unwatch(&self.core, &self.cursors, &self.signal);
    }
}

/// When a wait of this length ends; a day is for ever.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(24 * 60 * 60))
}

/// One poll's worth of records of several cursors with their epochs, beginning with another one each `turn`.
pub(crate) fn fetch_all(
    core: &Core,
    mut cursors: Vec<(&mut Cursor, u64)>,
    turn: usize,
    mut budget: Budget,
) -> LogResult<Vec<Batch>> {
    {
        let mut state = guard(&core.state);
        // A cursor of a deleted topic stays: fetching it says so.
        cursors.retain(|(c, _)| state.partition_mut(c.topic, c.at.partition as u32).is_none_or(|p| c.is_ready(p.next)));
    }
    let mut batches = Vec::new();
    let first = if cursors.is_empty() { 0 } else { turn % cursors.len() };
    cursors.rotate_left(first);
    for (cursor, epoch) in cursors {
        if budget.records == 0 || budget.bytes == 0 {
            break;
        }
        batches.extend(cursor.fetch(core, &mut budget, epoch)?);
    }
    Ok(batches)
}

/// Takes a signal off the partitions of these cursors.
pub(crate) fn unwatch<'a>(core: &Core, cursors: impl IntoIterator<Item = &'a Cursor>, signal: &Arc<Signal>) {
    let mut state = guard(&core.state);
    for cursor in cursors {
        if let Some(partition) = state.partition_mut(cursor.topic, cursor.at.partition as u32) {
            partition.watchers.retain(|w| !Arc::ptr_eq(w, signal));
        }
    }
}
