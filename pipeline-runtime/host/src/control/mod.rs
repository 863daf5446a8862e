//! The control topic of a pipeline, `<pipeline>.control`: how commands reach every process that runs it, on every
//! machine, and how the processes say how they stand. No process talks to another.
//!
//! One partition, compacted. Keys are text in families (`pause/<stage>`, `scale/<stage>`, `process/<id>`,
//! `retention/<topic>`, …); a tombstone takes an entry back. Values are JSON whose first member is the version `v`
//! ([`records`]), unless the family says otherwise.
//!
//! Start reading at [`Control`] (whole reads and writes), then `follow.rs` (a running process listens) and `orders.rs`
//! (what was ordered).

mod follow;
mod letters;
mod listen;
mod orders;
mod records;
mod report;
mod status;

pub use follow::Follower;
pub use listen::Listener;
pub use orders::Orders;
pub use records::{Counts, ProcessReport, Rates, StageReport, Trouble, VERSION, decode, encode};
pub use report::{Reporter, STALE_MS, placed, reports};
pub use status::{
    LevelStatus, PipelineStatus, ProcessStatus, ReplicasStatus, SourceStatus, StageStatus, WaitingStatus, Watcher,
};

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{
    Class, End, Log, LogError, LogResult, NewTopic, Outgoing, Retention, Sent, TopicPartition, Writer,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::wall_ms;

/// Whole reads give up when nothing came for this long.
const STALLED: Duration = Duration::from_secs(30);
/// A write is durable within this time, or failed.
const WRITTEN: Duration = Duration::from_secs(10);

/// Every entry that is there, by key.
pub type Entries = BTreeMap<String, Entry>;

/// The last value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Bytes,
    /// When it was written, ms since 1970, by the clock of the writer.
    pub at: i64,
    /// Where it stands: later entries have higher ones.
    pub offset: i64,
}

/// An entry to be written; `None` takes it back.
pub type Change = (String, Option<Bytes>);

/// The control topic of one pipeline.
pub struct Control<'a> {
    log: &'a dyn Log,
    topic: String,
}

impl<'a> Control<'a> {
    /// Of a pipeline. Looks at nothing yet.
    pub fn of(log: &'a dyn Log, pipeline: &str) -> Self {
        Self { log, topic: topic(pipeline) }
    }

    /// The same for another topic of its kind: one partition, compacted, entries by key.
    pub fn of_topic(log: &'a dyn Log, topic: String) -> Self {
        Self { log, topic }
    }

    /// The same, and makes the topic if it is not there.
    pub fn open(log: &'a dyn Log, pipeline: &str) -> LogResult<Self> {
        let control = Self::of(log, pipeline);
        control.ensure()?;
        Ok(control)
    }

    /// Makes the topic if it is not there.
    pub fn ensure(&self) -> LogResult<()> {
        if self.exists()? {
            return Ok(());
        }
        self.log.create(&[NewTopic {
            name: self.topic.clone(),
            partitions: 1,
            retention: Retention::Compacted,
            replication: None,
            max_record_bytes: None,
            settings: Vec::new(),
        }])
    }

    /// Whether any process or command has made it.
    pub fn exists(&self) -> LogResult<bool> {
        Ok(self.log.describe(&[&self.topic])?[0].is_some())
    }

    /// Everything that is committed by now; nothing where there is no such topic.
    pub fn entries(&self) -> LogResult<Entries> {
        if !self.exists()? {
            return Ok(Entries::new());
        }
        let mut follower = self.follow()?;
        self.catch_up(&mut follower, End::Stable)?;
        Ok(follower.into_entries())
    }

    /// The last value of each key that begins with `prefix`, by the rest of the key.
    pub fn read<T: DeserializeOwned>(&self, prefix: &str) -> LogResult<BTreeMap<String, T>> {
        let entries = self.entries()?;
        let of = |(key, entry): (&String, &Entry)| {
            let name = key.strip_prefix(prefix)?;
            Some(decode(key, &entry.value).map(|value| (name.to_owned(), value)))
        };
        entries.iter().filter_map(of).collect()
    }

    /// Writes values that carry their version themselves, by the rest of their keys.
    pub fn write<T: Serialize>(&self, prefix: &str, values: &[(&str, &T)]) -> LogResult<()> {
        if values.is_empty() {
            return Ok(());
        }
        let change = |(name, value): &(&str, &T)| Ok((format!("{prefix}{name}"), Some(records::json(value)?)));
        self.put(values.iter().map(change).collect::<LogResult<_>>()?)
    }

    /// Reads on to an end as it is now.
    pub fn catch_up(&self, follower: &mut Follower, end: End) -> LogResult<()> {
        let end = self.end(end)?;
        let mut last = Instant::now();
        while follower.next() < end {
            if follower.poll(Duration::from_millis(200))? {
                last = Instant::now();
            } else if last.elapsed() > STALLED {
                return Err(self.stalled(end));
            }
        }
        Ok(())
    }

    /// Follows it from its beginning.
    pub fn follow(&self) -> LogResult<Follower> {
        Follower::start(self.log, self.partition(), self.end(End::Low)?)
    }

    /// One end of it.
    pub fn end(&self, end: End) -> LogResult<i64> {
        Ok(self.log.ends(&[self.partition()], end)?[0])
    }

    /// Writes entries and waits until they are durable. Makes the topic first if need be.
    pub fn put(&self, changes: Vec<Change>) -> LogResult<()> {
        self.ensure()?;
        self.put_with(&mut None, changes, WRITTEN)
    }

    /// The same with a writer that is made once and kept for as long as it is of use. One that has not written all in time
    /// goes on with it: where a first connection takes longer than `patience`, each new writer would begin with that again.
    pub fn put_with(
        &self,
        kept: &mut Option<Box<dyn Writer>>,
        changes: Vec<Change>,
        patience: Duration,
    ) -> LogResult<()> {
        let mut writer = match kept.take() {
            Some(writer) => writer,
            None => self.log.writer()?,
        };
        let mut records: Vec<Outgoing> = changes.into_iter().map(|change| self.record(change)).collect();
        let sent = writer.send(&mut records).and_then(|()| writer.flush(patience));
        if !matches!(&sent, Err(Sent::Failed(e)) if e.class != Class::Retry) {
            *kept = Some(writer);
        }
        sent.map_err(|sent| match sent {
            // Nobody knows whether it is written; a last value that is written twice is the same as once.
            Sent::Failed(e) if e.class == Class::Fenced => LogError { class: Class::Retry, ..e },
            Sent::Failed(e) => e,
            Sent::Refused(why) => {
                LogError::new(Class::Config, "control_refused", format!("`{}` refuses a record: {why:?}", self.topic))
            }
        })
    }

    /// A change as a record, for writers that put it into a transaction of their own.
    pub fn record(&self, (key, value): Change) -> Outgoing {
        Outgoing {
            to: self.partition(),
            key: Some(Bytes::from(key)),
            value,
            headers: Headers::new(),
            timestamp: wall_ms(),
            tag: 0,
        }
    }

    /// Its only partition.
    pub fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), 0)
    }

    fn stalled(&self, end: i64) -> LogError {
        let seconds = STALLED.as_secs();
        let message = format!("`{}` gave nothing for {seconds} s before its end {end}", self.topic);
        LogError::new(Class::Retry, "control_stalled", message)
    }
}

/// `<pipeline>.control`.
pub fn topic(pipeline: &str) -> String {
    format!("{pipeline}.control")
}
