//! The log port: what Millstream asks of a log, whichever it is. Two adapters give it: `millstream-kafka` (a cluster)
//! and `millstream-embedded` (a folder). The suite in [`conformance`] runs against both.
//!
//! It must never know: a broker's client, a file format, a pipeline, tokio. Every call blocks the calling thread for a
//! bounded time; a replica is one thread that owns one [`Member`].
//!
//! Start reading at [`Log`] (what a cluster or folder offers), then [`Member`] (one replica of one consumer group:
//! reads, outputs and positions in one transaction).

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod layer;
mod member;
mod partition;
mod port;
mod record;
mod settled;

pub use error::{Class, LogError, LogResult};
pub use layer::{LogLayer, MemberLayer};
pub use member::{Assignment, Delivery, Event, Member, MemberConfig, Position, Sent, Waker};
pub use partition::{murmur2, partition_of};
pub use port::{
    Committed, End, Granted, Isolation, Log, NewTopic, Reader, Retention, Right, Rights, TopicInfo, Writer,
};
pub use record::{Batch, Budget, LogRecord, Outgoing, TopicPartition};
pub use settled::settled;
