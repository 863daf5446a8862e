//! Reads the ids of a source as they are written, by all processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogResult, Reader, TopicPartition, Waker};

use super::book::Book;
use super::claim::Entry;
use crate::shared::Stop;

/// Nothing of a topic that has records comes for this long: its reader is made anew.
const SILENT: Duration = Duration::from_secs(30);
const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };

/// A reader of all partitions.
pub struct Tail {
    reader: Box<dyn Reader>,
}

impl Tail {
    /// Reads all that is there into the book. `None` when told to stop before.
    pub fn open(log: &dyn Log, topic: &str, partitions: i32, book: &mut Book, stop: &Stop) -> LogResult<Option<Self>> {
        let all: Vec<TopicPartition> = (0..partitions).map(|p| TopicPartition::new(topic, p)).collect();
        let lows = log.ends(&all, End::Low)?;
        let ends = log.ends(&all, End::High)?;
        // Claims are written outside transactions: what is there is there.
        let mut reader = log.reader(Isolation::Uncommitted)?;
        let from: Vec<_> = all.iter().cloned().zip(lows.iter().copied()).collect();
        reader.assign(&from)?;
        stop.on_stop(reader.waker());
        let unread = |(((at, low), end), ())| (low < end).then_some((at, end));
        let parts = all.iter().cloned().zip(lows).zip(ends).map(|p| (p, ())).filter_map(unread);
        let mut left: BTreeMap<TopicPartition, i64> = parts.collect();
        let mut heard = Instant::now();
        while !left.is_empty() {
            if stop.draining() {
                return Ok(None);
            }
            let batches = reader.poll(BUDGET, Duration::from_millis(200))?;
            if !batches.is_empty() {
                heard = Instant::now();
            } else if heard.elapsed() > SILENT {
                let message = format!("nothing came of `{topic}` for {} s", SILENT.as_secs());
                return Err(LogError::new(Class::Retry, "ids_silent", message));
            }
            for batch in batches {
                for record in &batch.records {
                    book.hear(&Entry::decode(record, &batch.partition)?, record.timestamp);
                }
                if left.get(&batch.partition).is_some_and(|end| batch.next >= *end) {
                    left.remove(&batch.partition);
                }
            }
        }
        Ok(Some(Self { reader }))
    }

    /// What came since, with the time the log took it. Waits for something at most so long.
    pub fn poll(&mut self, timeout: Duration) -> LogResult<Vec<(Entry, i64)>> {
        let mut heard = Vec::new();
        for batch in self.reader.poll(BUDGET, timeout)? {
            for record in &batch.records {
                heard.push((Entry::decode(record, &batch.partition)?, record.timestamp));
            }
        }
        Ok(heard)
    }

    /// Ends a wait.
    pub fn waker(&self) -> Waker {
        self.reader.waker()
    }
}
