//! A log as a whole: topics, groups, and the three ways to use it.

use std::time::Duration;

use crate::{Batch, Budget, LogResult, Member, MemberConfig, Outgoing, Sent, TopicPartition, Waker};

/// A cluster or a folder. Shared by all threads of a process.
pub trait Log: Send + Sync {
    /// What is known of these topics; `None` for one that does not exist. Creates nothing.
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>>;

    /// Names of all topics, sorted, without the log's own.
    fn topics(&self) -> LogResult<Vec<String>>;

    /// Creates topics and waits until they can be used. One that exists already is left as it is.
    fn create(&self, topics: &[NewTopic]) -> LogResult<()>;

    /// Gives topics more partitions, so that each has as many as stands beside it, and waits until they can be used. One
    /// that has them already is left as it is; one that does not exist is an error. Partitions never go away again.
    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()>;

    /// How long after a topic has got more partitions its writers may still place records by the number it had.
    fn settling(&self) -> Duration {
        Duration::ZERO
    }

    /// Deletes topics with their records; one that does not exist is no error.
    fn delete(&self, topics: &[&str]) -> LogResult<()>;

    /// One end of each partition.
    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>>;

    /// What a group has committed, in the order asked; does not wait for open transactions.
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>>;

    /// Makes everything below these offsets go away.
    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()>;

    /// Forgets groups with all their positions; one that does not exist is no error.
    ///
    /// # Errors
    /// `group_in_use` (to be tried again) while a group has members; one that was killed is a member until its session
    /// ends. Other groups may be gone by then.
    fn delete_groups(&self, groups: &[&str]) -> LogResult<()>;

    /// What the user of this client may do with these topics and groups. `None` where nobody is refused anything: a log
    /// without users.
    fn rights(&self, _topics: &[&str], _groups: &[&str]) -> LogResult<Option<Rights>> {
        Ok(None)
    }

    /// Joins a group as one replica.
    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>>;

    /// Reads partitions by hand, in no group.
    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>>;

    /// Writes outside a transaction, each record once (idempotent).
    fn writer(&self) -> LogResult<Box<dyn Writer>>;

    /// For people: "Kafka at …", "the embedded log in …".
    fn name(&self) -> String;
}

/// An operation that may be allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Make it.
    Create,
    /// Look at it.
    Describe,
    /// Read its records; of a group: join it and commit its positions.
    Read,
    /// Write records.
    Write,
    /// Delete it, or its oldest records.
    Delete,
}

/// What is granted on one topic or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The log does not tell.
    Unknown,
    /// These.
    These(Vec<Right>),
    /// There is no such topic; more than whether it may be made is not told.
    Absent {
        /// Whether it may be made.
        create: bool,
    },
}

/// What a user may do, in the order asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// With topics.
    pub topics: Vec<Granted>,
    /// With groups.
    pub groups: Vec<Granted>,
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Number of partitions.
    pub partitions: i32,
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// What goes away by itself.
    pub retention: Retention,
    /// Replicas on a cluster; `None` for the cluster's default. A log of one copy ignores it.
    pub replication: Option<i16>,
    /// Largest record in bytes; `None` for the log's default.
    pub max_record_bytes: Option<usize>,
    /// Further settings by the log's own names, such as `compression.type`. A log that knows none of them ignores them.
    pub settings: Vec<(String, String)>,
}

/// What of a topic goes away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Nothing, whatever the records' time stamps; any time stamp is taken. Records go by [`Log::delete_before`].
    Kept,
    /// Records written longer ago than this (log-append time).
    Written(Duration),
    /// All but the last record of a key.
    Compacted,
}

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// First offset still there.
    Low,
    /// After the last record, committed or not (high watermark).
    High,
    /// Up to where a committed reader can read (last stable offset).
    Stable,
    /// First record with this time stamp (ms since 1970) or a later one; `High` if there is none.
    AtTime(i64),
}

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Next offset to be read.
    pub offset: i64,
    /// What the committer wrote beside it, without what the adapter keeps there for itself.
    pub metadata: String,
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Only those of committed transactions and of no transaction.
    Committed,
    /// All.
    Uncommitted,
}

/// Reads partitions by hand.
pub trait Reader: Send {
    /// Reads these partitions from these offsets on, and no others. An offset below the first one starts there.
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()>;

    /// Waits up to `timeout` for records; returns what is there.
    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>>;

    /// Ends a poll early.
    fn waker(&self) -> Waker;
}

/// Writes outside transactions.
pub trait Writer: Send {
    /// Queues records; blocks while the queue is full.
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent>;

    /// Waits until all that was queued is durable.
    fn flush(&mut self, timeout: Duration) -> Result<(), Sent>;
}
