//! Reads again what waits, where it lies.

use std::collections::HashMap;

use millstream_log::{Isolation, Log, LogRecord, LogResult, Reader, TopicPartition};

use crate::restore;

/// Offsets that lie farther apart are read one by one.
const GAP: i64 = 256;

/// Reads records by their offsets, with a reader that is kept.
#[derive(Default)]
pub struct Fetcher {
    reader: Option<Box<dyn Reader>>,
}

impl Fetcher {
    /// The records of a partition at these offsets. What is no longer there is not in the answer.
    pub fn fetch(
        &mut self,
        log: &dyn Log,
        place: &TopicPartition,
        mut offsets: Vec<i64>,
    ) -> LogResult<HashMap<i64, LogRecord>> {
        offsets.sort_unstable();
        offsets.dedup();
        let mut found = HashMap::with_capacity(offsets.len());
        for stretch in offsets.chunk_by(|a, b| b - a <= GAP) {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let mut reader = match self.reader.take() {
                Some(reader) => reader,
                None => log.reader(Isolation::Committed)?,
            };
            restore::read_with(&mut *reader, place, *first..*last + 1, |record| {
                if stretch.binary_search(&record.offset).is_ok() {
                    found.insert(record.offset, record);
                }
                Ok(())
            })?;
            self.reader = Some(reader);
        }
        Ok(found)
    }
}
