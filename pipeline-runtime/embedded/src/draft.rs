//! A transaction while it is made: records packed by partition, in memory, without offsets yet.

use std::collections::HashMap;

use bytes::Bytes;
use millstream_log::{Class, LogError, LogResult, Outgoing, Retention, Sent, TopicPartition};

use crate::core::Core;
use crate::errors;
use crate::frame::{Op, RUN_BYTES};
use crate::record::{self, RecordParts};
use crate::signal::guard;

/// Kafka's overhead of a batch with one record, so that both logs refuse about the same records.
const RECORD_OVERHEAD: usize = 70;

/// A run of records that has no offsets yet, or, if moved, had them before.
pub(crate) struct DraftRun {
    pub topic: u32,
    pub partition: u32,
    /// How many offsets it takes.
    pub count: u32,
    pub max_timestamp: i64,
    /// Checksum and records.
    pub data: Bytes,
    pub moved: Option<Moved>,
}

/// What a moved run replaces.
#[derive(Clone, Copy)]
pub(crate) struct Moved {
    pub base: i64,
    pub end: i64,
    pub written: i64,
}

/// Operations and records of one frame to be.
#[derive(Default)]
pub(crate) struct Draft {
    pub ops: Vec<Op>,
    pub runs: Vec<DraftRun>,
}

/// Packs records of one partition into runs.
pub(crate) struct RunBuilder {
    topic: u32,
    partition: u32,
    buffer: Vec<u8>,
    count: u32,
    max_timestamp: i64,
}

impl RunBuilder {
    pub fn new(topic: u32, partition: u32) -> Self {
        Self { topic, partition, buffer: Vec::new(), count: 0, max_timestamp: i64::MIN }
    }

    /// Adds a record whose offset is `delta` after the run's first.
    pub fn add(&mut self, delta: u32, parts: &RecordParts<'_>) {
        if self.buffer.is_empty() {
            self.buffer.extend_from_slice(&[0; 4]);
        }
        record::encode(&mut self.buffer, delta, parts);
        self.count = delta + 1;
        self.max_timestamp = self.max_timestamp.max(parts.timestamp);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The run so far, if it has records or `even_empty`; the builder is empty again.
    pub fn finish(&mut self, moved: Option<Moved>) -> Option<DraftRun> {
        if self.buffer.is_empty() {
            moved?;
            self.buffer.extend_from_slice(&[0; 4]);
        }
        let mut data = std::mem::take(&mut self.buffer);
        let crc = crc32c::crc32c(&data[4..]);
        data[..4].copy_from_slice(&crc.to_le_bytes());
        let run = DraftRun {
            topic: self.topic,
            partition: self.partition,
            count: std::mem::take(&mut self.count),
            max_timestamp: std::mem::replace(&mut self.max_timestamp, i64::MIN),
            data: data.into(),
            moved,
        };
        Some(run)
    }
}

struct Part {
    to: TopicPartition,
    builder: RunBuilder,
    max_record_bytes: usize,
    needs_key: bool,
}

/// Collects what is sent until it is committed.
#[derive(Default)]
pub(crate) struct Outbox {
    parts: Vec<Part>,
    by_partition: HashMap<TopicPartition, usize>,
    /// The part of the record before; the next one is often for the same.
    last: usize,
    runs: Vec<DraftRun>,
    bytes: usize,
}

impl Outbox {
    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.runs.is_empty()
    }

    /// Adds records. Those that a topic never takes are left out and named.
    pub fn add(&mut self, core: &Core, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        let mut refused = Vec::new();
        for record in records.drain(..) {
            let part = self.part(core, &record.to).map_err(Sent::Failed)?;
            let size = record.key.as_ref().map_or(0, Bytes::len)
                + record.value.as_ref().map_or(0, Bytes::len)
                + record.headers.size();
            let part = &mut self.parts[part];
            if size + RECORD_OVERHEAD > part.max_record_bytes {
                let most = part.max_record_bytes;
                refused.push((record.tag, format!("{size} bytes for topic {}, which takes {most}", record.to.topic)));
                continue;
            }
            if part.needs_key && record.key.is_none() {
                refused.push((record.tag, format!("no key for topic {}, which is compacted", record.to.topic)));
                continue;
            }
            if part.builder.len() > 0 && part.builder.len() + size > RUN_BYTES {
                self.runs.extend(part.builder.finish(None));
            }
            let before = part.builder.len();
            let parts = RecordParts {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: record.headers.packed(),
            };
            part.builder.add(part.builder.count, &parts);
            self.bytes += part.builder.len() - before;
            if self.bytes > core.options.max_transaction_bytes {
                let most = core.options.max_transaction_bytes;
                let message = format!("the transaction is larger than {most} bytes; commit fewer records at a time");
                return Err(Sent::Failed(LogError::new(Class::Config, "transaction_too_large", message)));
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(Sent::Refused(refused)) }
    }

    /// Everything sent so far; the outbox is empty again.
    pub fn take(&mut self) -> Vec<DraftRun> {
        let mut runs = std::mem::take(&mut self.runs);
        for mut part in self.parts.drain(..) {
            runs.extend(part.builder.finish(None));
        }
        self.clear();
        runs
    }

    /// Puts back what could not be written, to be tried again.
    pub fn put_back(&mut self, runs: Vec<DraftRun>) {
        self.bytes += runs.iter().map(|r| r.data.len()).sum::<usize>();
        self.runs.splice(0..0, runs);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn part(&mut self, core: &Core, to: &TopicPartition) -> LogResult<usize> {
        if self.parts.get(self.last).is_some_and(|p| p.to == *to) {
            return Ok(self.last);
        }
        if let Some(part) = self.by_partition.get(to) {
            self.last = *part;
            return Ok(*part);
        }
        let state = guard(&core.state);
        let (topic, _) = state.partition(to)?;
        let Some(known) = state.by_id.get(&topic) else {
            return Err(errors::unknown_topic(&to.topic));
        };
        self.parts.push(Part {
            to: to.clone(),
            builder: RunBuilder::new(topic, to.partition as u32),
            max_record_bytes: known.max_record_bytes,
            needs_key: known.retention == Retention::Compacted,
        });
        self.last = self.parts.len() - 1;
        self.by_partition.insert(to.clone(), self.last);
        Ok(self.last)
    }
}
