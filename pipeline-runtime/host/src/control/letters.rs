//! How many dead letters are open.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_log::{Budget, End, Isolation, Log, LogResult, TopicPartition};

use super::Entries;
use crate::letters::Done;

/// More are not counted one by one: offsets count transactions too, so counting is reading.
const MOST: usize = 10_000;
const BUDGET: Budget = Budget { records: 10_000, bytes: 8 << 20 };
/// What does not come within this time is not counted now.
const PATIENCE: Duration = Duration::from_millis(500);

/// Counts the open letters of topics, and reads only what is new.
#[derive(Default)]
pub struct LetterCounts {
    known: BTreeMap<TopicPartition, Known>,
}

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
struct Known {
    low: i64,
    /// Read up to here.
    next: i64,
    /// Where letters stand.
    offsets: Vec<i64>,
}

impl Known {
    fn open(&self, done: Option<&Done>) -> usize {
        self.offsets.iter().filter(|at| done.is_none_or(|done| !done.contains(**at))).count()
    }
}

impl LetterCounts {
    /// Open letters in the dead-letter topic of a stage, and whether there are more than were counted.
    pub fn count(&mut self, log: &dyn Log, topic: &str, stage: &str, entries: &Entries) -> LogResult<(u64, bool)> {
        let Some(info) = &log.describe(&[topic])?[0] else { return Ok((0, false)) };
        let partitions: Vec<TopicPartition> = (0..info.partitions).map(|p| TopicPartition::new(topic, p)).collect();
        let lows = log.ends(&partitions, End::Low)?;
        let ends = log.ends(&partitions, End::Stable)?;
        let mut behind = Vec::new();
        let mut have = 0;
        for ((partition, low), end) in partitions.iter().zip(lows).zip(&ends) {
            let known = self.known.entry(partition.clone()).or_default();
            // What was deleted, or made anew, is known only by reading again.
            if known.low != low || known.next < low || known.next > *end {
                *known = Known { low, next: low, offsets: Vec::new() };
            }
            have += known.offsets.len();
            if known.next < *end {
                behind.push((partition.clone(), known.next));
            }
        }
        if !behind.is_empty() && have < MOST {
            self.read(log, &behind, &partitions, &ends, have)?;
        }
        let known = || partitions.iter().zip(&ends).filter_map(|(p, end)| Some((p, end, self.known.get(p)?)));
        let count = known().map(|(p, _, known)| known.open(done(entries, stage, p.partition).as_ref())).sum::<usize>();
        Ok((count as u64, known().any(|(_, end, known)| known.next < *end)))
    }

    fn read(
        &mut self,
        log: &dyn Log,
        behind: &[(TopicPartition, i64)],
        partitions: &[TopicPartition],
        ends: &[i64],
        mut have: usize,
    ) -> LogResult<()> {
        let mut reader = log.reader(Isolation::Committed)?;
        reader.assign(behind)?;
        let left = |known: &BTreeMap<TopicPartition, Known>| {
            partitions.iter().zip(ends).any(|(p, end)| known.get(p).is_some_and(|k| k.next < *end))
        };
        while have < MOST && left(&self.known) {
            let batches = reader.poll(BUDGET, PATIENCE)?;
            if batches.is_empty() {
                return Ok(());
            }
            for batch in batches {
                let Some(known) = self.known.get_mut(&batch.partition) else { continue };
                let before = known.offsets.len();
                known.offsets.extend(batch.records.iter().map(|r| r.offset).filter(|at| *at >= known.next));
                have += known.offsets.len() - before;
                known.next = known.next.max(batch.next);
            }
        }
        Ok(())
    }
}

/// What the control topic says is done of a partition. What cannot be read counts as open: `dlq` says why.
fn done(entries: &Entries, stage: &str, partition: i32) -> Option<Done> {
    let entry = entries.get(&format!("letters/{stage}/{partition}"))?;
    Done::decode(&entry.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Entry;
    use bytes::Bytes;

    #[test]
    fn what_is_done_is_not_open() {
        let known = Known { low: 0, next: 9, offsets: vec![0, 2, 3, 5, 8] };
        assert_eq!(known.open(None), 5);
        let mut ranges = Done::default();
        ranges.add(2, 4);
        let entry = |value: Bytes| Entry { value, at: 0, offset: 0 };
        let mut entries: Entries = [("letters/clean/1".to_owned(), entry(ranges.encode().into()))].into();
        assert_eq!(known.open(done(&entries, "clean", 1).as_ref()), 3);
        assert_eq!(known.open(done(&entries, "clean", 0).as_ref()), 5);
        entries.insert("letters/clean/0".to_owned(), entry(Bytes::from_static(&[200, 1])));
        assert_eq!(known.open(done(&entries, "clean", 0).as_ref()), 5, "not readable is not done");
    }
}
