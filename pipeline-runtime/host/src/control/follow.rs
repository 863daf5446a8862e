//! A reader of the control topic that keeps the last value of each key.

use std::time::Duration;

use millstream_log::{Budget, Isolation, Log, LogRecord, LogResult, Reader, TopicPartition, Waker};

use super::{Entries, Entry};

const BUDGET: Budget = Budget { records: 1_000, bytes: 4 << 20 };

/// Follows a control topic.
pub struct Follower {
    reader: Box<dyn Reader>,
    entries: Entries,
    next: i64,
}

impl Follower {
    /// Reads committed records from `from` on.
    pub(super) fn start(log: &dyn Log, partition: TopicPartition, from: i64) -> LogResult<Self> {
        let mut reader = log.reader(Isolation::Committed)?;
        reader.assign(&[(partition, from)])?;
        Ok(Self { reader, entries: Entries::new(), next: from })
    }

    /// Waits up to `timeout` for records. Whether anything came.
    pub fn poll(&mut self, timeout: Duration) -> LogResult<bool> {
        let batches = self.reader.poll(BUDGET, timeout)?;
        for batch in &batches {
            for record in batch.records.iter().filter(|r| r.offset >= self.next) {
                take(&mut self.entries, record);
            }
            self.next = self.next.max(batch.next);
        }
        Ok(!batches.is_empty())
    }

    /// Everything below this offset was read.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// What is there.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// What is there, at the end of a read.
    pub fn into_entries(self) -> Entries {
        self.entries
    }

    /// Ends a poll early.
    pub fn waker(&self) -> Waker {
        self.reader.waker()
    }
}

fn take(entries: &mut Entries, record: &LogRecord) {
    // Keys of ours are text; what else somebody wrote there is not for us.
    let Some(key) = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok()) else { return };
    match &record.value {
        Some(value) => {
            entries.insert(key.to_owned(), Entry { value: value.clone(), at: record.timestamp, offset: record.offset })
        }
        None => entries.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millstream_filter_api::Headers;

    fn record(key: &'static [u8], value: Option<&'static str>, timestamp: i64) -> LogRecord {
        let value = value.map(|v| Bytes::from_static(v.as_bytes()));
        LogRecord { offset: 0, timestamp, key: Some(Bytes::from_static(key)), value, headers: Headers::new() }
    }

    #[test]
    fn the_last_value_counts_and_a_tombstone_takes_it_back() {
        let mut entries = Entries::new();
        take(&mut entries, &record(b"pause/a", Some("1"), 5));
        take(&mut entries, &record(b"pause/b", Some("1"), 6));
        take(&mut entries, &record(b"pause/a", Some("2"), 7));
        take(&mut entries, &record(b"pause/b", None, 8));
        take(&mut entries, &record(&[0xff], Some("no text"), 9));
        let all: Vec<_> = entries.iter().map(|(k, e)| (k.as_str(), &e.value[..], e.at)).collect();
        assert_eq!(all, [("pause/a", &b"2"[..], 7)]);
    }
}
