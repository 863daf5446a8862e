//! Reading one partition from an offset on.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use millstream_log::{Batch, Budget, LogRecord, LogResult, Retention, TopicPartition};

use crate::core::Core;
use crate::errors;
use crate::files::segment_path;
use crate::frame::{FRAME_HEADER, FrameHeader, Head};
use crate::index::{Entry, Kind};
use crate::record;
use crate::signal::guard;
use crate::tail::Run;

/// Where the reading of a partition stands. Holds at most the runs of one entry.
pub(crate) struct Cursor {
    pub at: TopicPartition,
    pub topic: u32,
    /// The next offset wanted.
    pub next: i64,
    /// The end that was given to the reader last, so that an end is told once.
    told: Option<i64>,
    chunk: Option<Chunk>,
}

/// What was fetched and not yet given to the reader.
struct Chunk {
    runs: VecDeque<Run>,
    /// Where in the first run.
    at: usize,
    /// Offset after the last that this chunk stands for.
    end: i64,
    stamps_when_written: bool,
}

/// What memory says about the next offset.
enum Found {
    End,
    Chunk(Chunk),
    /// To be read from the disk.
    Entry(Entry, bool),
}

impl Cursor {
    pub fn new(at: TopicPartition, topic: u32, next: i64) -> Self {
        Self { at, topic, next, told: None, chunk: None }
    }

    /// Whether there may be something: records, or an end that was not told. `high` is the partition's.
    pub fn is_ready(&self, high: i64) -> bool {
        self.chunk.is_some() || self.next < high || self.told.is_none_or(|t| t < self.next)
    }

    /// The next records within the budget, which is lowered. `None` when there is nothing new to say.
    pub fn fetch(&mut self, core: &Core, budget: &mut Budget, epoch: u64) -> LogResult<Option<Batch>> {
        let from = self.next;
        let mut records = Vec::new();
        let mut at_end = false;
        while budget.records > 0 && budget.bytes > 0 {
            if let Some(chunk) = &mut self.chunk {
                let done = chunk.take(core, &mut self.next, budget, &mut records)?;
                if done {
                    self.chunk = None;
                }
                continue;
            }
            match self.find(core)? {
                Found::End => {
                    at_end = true;
                    break;
                }
                Found::Chunk(chunk) => self.chunk = Some(chunk),
                Found::Entry(entry, stamps) => self.chunk = self.load(core, &entry, stamps)?,
            }
        }
        if !at_end && self.chunk.is_none() {
            // The budget ended just at the end of what was fetched: that may be the end of all.
            at_end = matches!(self.find(core)?, Found::End);
        }
        let news = !records.is_empty() || self.next != from || (at_end && self.told != Some(self.next));
        if at_end {
            self.told = Some(self.next);
        }
        Ok(news.then(|| Batch { partition: self.at.clone(), epoch, records, next: self.next, at_end }))
    }

    fn find(&mut self, core: &Core) -> LogResult<Found> {
        let state = guard(&core.state);
        let topic = state.by_id.get(&self.topic).ok_or_else(|| errors::unknown_topic(&self.at.topic))?;
        let Some(partition) = topic.partitions.get(self.at.partition as usize) else {
            return Err(errors::unknown_partition(&self.at.topic, self.at.partition, topic.partitions.len()));
        };
        self.next = self.next.max(partition.low);
        if self.next >= partition.next {
            return Ok(Found::End);
        }
        let Some(entry) = partition.index.find(self.next) else {
            // The last records were compacted away.
            self.next = partition.next;
            return Ok(Found::End);
        };
        let stamps = matches!(topic.retention, Retention::Written(_));
        match state.tail.get(self.topic, self.at.partition as u32, entry) {
            Some(runs) => Ok(Found::Chunk(Chunk::new(runs, entry, stamps))),
            None => Ok(Found::Entry(*entry, stamps)),
        }
    }

    /// Reads an entry from the disk. `None` if its file is gone: the index knows better by now.
    fn load(&self, core: &Core, entry: &Entry, stamps: bool) -> LogResult<Option<Chunk>> {
        let runs = load(core, self.topic, self.at.partition as u32, entry)?;
        Ok(runs.map(|runs| Chunk::new(runs, entry, stamps)))
    }
}

impl Chunk {
    fn new(runs: Vec<Run>, entry: &Entry, stamps_when_written: bool) -> Self {
        Self { runs: runs.into(), at: 0, end: entry.end, stamps_when_written }
    }

    /// Moves records into `out`, from `next` on. `true` when nothing is left of the chunk.
    fn take(&mut self, core: &Core, next: &mut i64, budget: &mut Budget, out: &mut Vec<LogRecord>) -> LogResult<bool> {
        while let Some(run) = self.runs.front() {
            if run.end <= *next || self.at >= run.records.len() {
                self.runs.pop_front();
                self.at = 0;
                continue;
            }
            let not_a_record =
                || errors::damaged(&core.dir, self.at as u64, "a run with a good checksum holds no record");
            let (delta, after) = record::peek(&run.records, self.at).ok_or_else(not_a_record)?;
            let offset = run.base + i64::from(delta);
            if offset >= self.end {
                break;
            }
            if offset >= *next {
                let (mut record, _) = record::decode(&run.records, run.base, self.at).ok_or_else(not_a_record)?;
                if self.stamps_when_written {
                    record.timestamp = run.written;
                }
                *next = offset + 1;
                budget.records -= 1;
                budget.bytes = budget.bytes.saturating_sub(record.size());
                out.push(record);
            }
            self.at = after;
            if budget.records == 0 || budget.bytes == 0 {
                // More of it may be left; whether there is shows with the next budget, or right here.
                return Ok(*next >= self.end && self.finish(next));
            }
        }
        Ok(self.finish(next))
    }

    fn finish(&self, next: &mut i64) -> bool {
        *next = (*next).max(self.end);
        true
    }
}

/// Reads the runs of an entry from its segment file. `None` if the file was deleted.
pub(crate) fn load(core: &Core, topic: u32, partition: u32, entry: &Entry) -> LogResult<Option<Vec<Run>>> {
    let (at, len) = match entry.kind {
        Kind::Run { at, len, .. } => (at, len),
        Kind::Span { end } => (entry.frame, end - entry.frame),
    };
    let path = segment_path(&core.dir, entry.segment);
    let bytes = match core.files.read(entry.segment, at, len) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let known = guard(&core.state).segments.contains_key(&entry.segment);
            return if known { Err(errors::io("cannot read", &path, &e)) } else { Ok(None) };
        }
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(errors::damaged(&path, u64::from(at), "the file ends before its records do"));
        }
        Err(e) => return Err(errors::io("cannot read", &path, &e)),
    };
    let damaged = |position: usize| {
        errors::damaged(&path, u64::from(at) + position as u64, "the records do not match their checksum")
    };
    match entry.kind {
        Kind::Run { base, .. } => {
            let records = checked(&bytes).ok_or_else(|| damaged(0))?;
            Ok(Some(vec![Run { base, end: entry.end, written: entry.written, records }]))
        }
        Kind::Span { .. } => span(&bytes, topic, partition, damaged).map(Some),
    }
}

/// The runs of one partition in a stretch of whole frames.
fn span<E>(bytes: &Bytes, topic: u32, partition: u32, damaged: impl Fn(usize) -> E) -> Result<Vec<Run>, E> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let frame = || -> Option<(Head, usize, usize)> {
            let header = FrameHeader::parse(&bytes[at..])?;
            let data = at + FRAME_HEADER + header.head_len as usize;
            let head = bytes.get(at + FRAME_HEADER..data)?;
            if !header.checks(&bytes[at..at + FRAME_HEADER], head) {
                return None;
            }
            Some((Head::parse(head)?, data, at + header.frame_len() as usize))
        };
        let (head, data, end) = frame().ok_or_else(|| damaged(at))?;
        for row in head.rows.iter().filter(|r| r.topic == topic && r.partition == partition && !r.moved) {
            let from = data + row.at as usize;
            let to = from + row.len as usize;
            let run = (to <= bytes.len()).then(|| bytes.slice(from..to)).and_then(|run| checked(&run));
            let records = run.ok_or_else(|| damaged(from))?;
            runs.push(Run { base: row.base, end: row.end, written: row.written, records });
        }
        at = end;
    }
    Ok(runs)
}

/// The records of a run whose checksum is right.
pub(crate) fn checked(run: &Bytes) -> Option<Bytes> {
    let (crc, records) = run.split_first_chunk::<4>()?;
    (crc32c::crc32c(records) == u32::from_le_bytes(*crc)).then(|| run.slice(4..))
}
