//! Rewriting records at the end of the log, under their own offsets: to leave out what a compacted topic no longer
//! needs, and to free a segment that little is left of.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use millstream_log::{LogRecord, LogResult, Retention};

use crate::core::{Core, Durably, now};
use crate::draft::{Draft, DraftRun, Moved, RunBuilder};
use crate::errors;
use crate::fetch::load;
use crate::frame::RUN_BYTES;
use crate::index::Entry;
use crate::record::{self, RecordParts};
use crate::signal::guard;
use crate::tail::Run;

/// Runs of one moving frame.
const FRAME_BYTES: usize = 4 << 20;
/// Most keys looked at in one go; of more, the rest waits for the next time. About 64 bytes each.
const MOST_KEYS: usize = 1_000_000;

/// Compacts every partition of a compacted topic that has grown enough.
pub(crate) fn compact_all(core: &Core) -> LogResult<()> {
    let due: Vec<(u32, u32)> = {
        let state = guard(&core.state);
        let compacted = state.by_id.values().filter(|t| t.retention == Retention::Compacted);
        let partitions = compacted.flat_map(|t| t.partitions.iter().zip(0..).map(|(p, number)| (t.id, number, p)));
        let due = partitions.filter(|(_, _, p)| p.dirty >= core.options.compact_after_bytes.max(p.clean).max(1));
        due.map(|(topic, number, _)| (topic, number)).collect()
    };
    due.into_iter().try_for_each(|(topic, partition)| compact(core, topic, partition))
}

/// Keeps the last record of each key.
fn compact(core: &Core, topic: u32, partition: u32) -> LogResult<()> {
    let entries = entries(core, topic, partition, |_| true);
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    let (base, mut upto) = (first.base, last.end);
    // Two keyed 64-bit hashes stand for a key.
    let (one, two) = (RandomState::new(), RandomState::new());
    let hash = |key: &[u8]| (one.hash_one(key), two.hash_one(key));
    let mut latest: HashMap<(u64, u64), i64> = HashMap::new();
    each_record(core, topic, partition, &entries, |_, record| {
        if latest.len() < MOST_KEYS {
            latest.insert(hash(record.key.as_deref().unwrap_or_default()), record.offset);
        } else {
            upto = upto.min(record.offset);
        }
        Ok(())
    })?;
    let forget_tombstones = now() - i64::try_from(core.options.keep_tombstones.as_millis()).unwrap_or(i64::MAX);
    let mut mover = Mover::new(core, topic, partition, base);
    let mut left = 0;
    each_record(core, topic, partition, &entries, |run, record| {
        let last = latest.get(&hash(record.key.as_deref().unwrap_or_default())) == Some(&record.offset);
        let old_tombstone = record.value.is_none() && run.written < forget_tombstones;
        if record.offset < upto && last && !old_tombstone {
            left += record.size() as u64;
            mover.add(&record, run.written)?;
        }
        Ok(())
    })?;
    mover.finish(upto)?;
    if let Some(p) = guard(&core.state).partition_mut(topic, partition) {
        p.dirty = 0;
        p.clean = left;
    }
    Ok(())
}

/// Moves everything still wanted out of a segment.
pub(crate) fn move_out(core: &Core, segment: u32) -> LogResult<()> {
    let partitions: Vec<(u32, u32)> = {
        let state = guard(&core.state);
        let all = state.by_id.values().flat_map(|t| t.partitions.iter().zip(0..).map(|(p, number)| (t.id, number, p)));
        let here = all.filter(|(_, _, p)| p.index.iter().any(|e| e.segment == segment));
        here.map(|(topic, number, _)| (topic, number)).collect()
    };
    for (topic, partition) in partitions {
        for entry in entries(core, topic, partition, |e| e.segment == segment) {
            let mut mover = Mover::new(core, topic, partition, entry.base);
            // Each run keeps the time it was written at, so that it goes when it would have gone.
            let mut written = entry.written;
            each_record(core, topic, partition, &[entry], |run, record| {
                if run.written != written {
                    mover.close(record.offset)?;
                    written = run.written;
                }
                mover.add(&record, written)
            })?;
            mover.finish(entry.end)?;
        }
    }
    Ok(())
}

fn entries(core: &Core, topic: u32, partition: u32, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let mut state = guard(&core.state);
    let partition = state.partition_mut(topic, partition);
    partition.map(|p| p.index.iter().filter(|e| wanted(e)).copied().collect()).unwrap_or_default()
}

fn each_record(
    core: &Core,
    topic: u32,
    partition: u32,
    entries: &[Entry],
    mut visit: impl FnMut(&Run, LogRecord) -> LogResult<()>,
) -> LogResult<()> {
    for entry in entries {
        // Only this thread deletes segments, so the file is there unless somebody else took it away.
        for run in load(core, topic, partition, entry)?.unwrap_or_default() {
            let mut at = 0;
            while at < run.records.len() {
                let Some((record, after)) = record::decode(&run.records, run.base, at) else {
                    return Err(errors::damaged(&core.dir, at as u64, "a run with a good checksum holds no record"));
                };
                at = after;
                if (entry.base..entry.end).contains(&record.offset) {
                    visit(&run, record)?;
                }
            }
        }
    }
    Ok(())
}

/// Collects records to be moved. Each run stands for all offsets since the one before, so that what was left out is
/// not found again.
struct Mover<'a> {
    core: &'a Core,
    builder: RunBuilder,
    from: i64,
    next: i64,
    written: i64,
    runs: Vec<DraftRun>,
}

impl<'a> Mover<'a> {
    fn new(core: &'a Core, topic: u32, partition: u32, from: i64) -> Self {
        let builder = RunBuilder::new(topic, partition);
        Self { core, builder, from, next: from, written: i64::MIN, runs: Vec::new() }
    }

    fn add(&mut self, record: &LogRecord, written: i64) -> LogResult<()> {
        if self.builder.len() >= RUN_BYTES || u32::try_from(record.offset - self.from).is_err() {
            self.close(self.next)?;
        }
        let parts = RecordParts {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record.headers.packed(),
        };
        // A gap too wide for one run: what is before the record gets a run of its own, without records.
        let delta = match u32::try_from(record.offset - self.from) {
            Ok(delta) => delta,
            Err(_) => {
                self.close(record.offset)?;
                0
            }
        };
        self.builder.add(delta, &parts);
        self.next = record.offset + 1;
        self.written = self.written.max(written);
        Ok(())
    }

    /// Ends a run, which stands for everything up to an offset.
    fn close(&mut self, upto: i64) -> LogResult<()> {
        if upto > self.from {
            let moved = Moved { base: self.from, end: upto, written: self.written.max(0) };
            self.runs.extend(self.builder.finish(Some(moved)));
            self.from = upto;
            self.written = i64::MIN;
        }
        if self.runs.iter().map(|r| r.data.len()).sum::<usize>() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self, upto: i64) -> LogResult<()> {
        self.close(upto)?;
        self.flush()
    }

    fn flush(&mut self) -> LogResult<()> {
        let draft = Draft { runs: std::mem::take(&mut self.runs), ..Draft::default() };
        // Forced to the disk before the old file is deleted.
        self.core.append(draft, Durably::Later, |_, _| Ok(())).map_err(|(error, _)| error)
    }
}
