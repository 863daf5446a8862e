//! What goes in and comes out of a log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::Headers;

/// A partition of a topic. Cloning is a reference count.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Counted from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A record as read. Key, value and headers are slices of allocations shared by the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Offset in its partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Null and empty differ.
    pub key: Option<Bytes>,
    /// Null is a tombstone.
    pub value: Option<Bytes>,
    /// In order, with repeats and nulls.
    pub headers: Headers,
}

impl LogRecord {
    /// Bytes for budgets: content plus a fixed overhead.
    pub fn size(&self) -> usize {
        64 + self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.size()
    }
}

/// Records of one partition in rising order of offset.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where they are from.
    pub partition: TopicPartition,
    /// The assignment they were read under ([`crate::Assignment::epoch`]); 0 from a [`crate::Reader`].
    pub epoch: u64,
    /// May be empty when only `next` moved (past transaction markers, aborted or compacted records).
    pub records: Vec<LogRecord>,
    /// Everything readable below this offset is in this batch or was in one before; gaps are nobody's records.
    pub next: i64,
    /// Whether `next` was the end of what could be read at that moment.
    pub at_end: bool,
}

/// How much one poll may bring.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// At most this many records; 0 reads nothing but still serves events.
    pub records: usize,
    /// Stop after the record that reaches this many bytes.
    pub bytes: usize,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To which topic and partition; the port never chooses ([`crate::partition_of`] does).
    pub to: TopicPartition,
    /// Null and empty differ.
    pub key: Option<Bytes>,
    /// Null is a tombstone.
    pub value: Option<Bytes>,
    /// In order.
    pub headers: Headers,
    /// Milliseconds since 1970. 0 may be stored as 1: librdkafka takes it for "now".
    pub timestamp: i64,
    /// The writer's own mark, given back when the log refuses this record.
    pub tag: u64,
}
