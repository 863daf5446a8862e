//! One replica of one stage: a member of a consumer group that reads, writes and commits in transactions.

use std::sync::Arc;
use std::time::Duration;

use crate::{Batch, Budget, LogError, LogResult, Outgoing, TopicPartition};

/// How outputs and positions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In one transaction.
    ExactlyOnce,
    /// Outputs are acknowledged first, then positions are committed.
    AtLeastOnce,
}

/// How a replica joins.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// The consumer group, `<pipeline>.<stage>`.
    pub group: String,
    /// The topic whose partitions the group shares out.
    pub lead: String,
    /// Further input topics: partition p of each goes to the owner of lead/p. Where one of them has no partition p,
    /// lead/p does not come; it may take a new member until it does, after it was added.
    pub side: Vec<String>,
    /// Transactions or not.
    pub delivery: Delivery,
    /// Names this replica in logs and transactional ids: `<process uuid>.<replica>`.
    pub name: String,
    /// Static membership: a name that is equal after a restart, unique in the group.
    pub instance: Option<String>,
    /// Session timeout: how soon a dead member's partitions go to others.
    pub session_timeout: Duration,
    /// Bytes the adapter may hold read ahead.
    pub prefetch_bytes: usize,
}

/// A partition comes to this member. Nothing of it is read until [`Member::start`].
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Which one. Of a lead topic's partition p, and of each side topic's p, right after it.
    pub partition: TopicPartition,
    /// Rises with each assignment of this member; batches carry it.
    pub epoch: u64,
    /// What the group had committed, read after any transaction of an owner before was ended.
    pub committed: Option<crate::Committed>,
    /// First offset still there.
    pub low: i64,
    /// Offset after the last (the high watermark).
    pub high: i64,
}

/// A change of what this member owns.
#[derive(Clone, Debug)]
pub enum Event {
    /// These come, lead partitions each followed by its side partitions.
    Assigned(Vec<Assignment>),
    /// These are to go: finish, commit, then [`Member::release`]. Others wait for it.
    Revoking(Vec<TopicPartition>),
    /// These are gone already: nothing computed from them may have an effect. An open transaction must be aborted.
    Lost(Vec<TopicPartition>),
    /// The broker went away (`true`) or is back (`false`); for people.
    BrokerAway(bool, String),
}

/// A position to commit: everything below `offset` is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of which partition.
    pub partition: TopicPartition,
    /// The next offset to be read.
    pub offset: i64,
    /// What the committer wants to find again, at most [`Member::max_metadata`] bytes of ASCII.
    pub metadata: String,
}

/// What became of a failed send or commit.
#[derive(Debug)]
pub enum Sent {
    /// The log as a whole failed.
    Failed(LogError),
    /// The log refuses these records (their [`Outgoing::tag`]) whatever is tried, with the reason: too large, a time
    /// stamp out of bounds. The transaction must be aborted.
    Refused(Vec<(u64, String)>),
}

/// Ends a member's [`Member::poll`] early, from any thread.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// One replica. All calls come from one thread; it must be polled at least every few seconds.
///
/// The life of a transaction: the first [`send`](Member::send) (or a commit) opens it, [`commit`](Member::commit) ends
/// it with positions, [`abort`](Member::abort) throws it away. After an abort the owner calls
/// [`start`](Member::start) with the positions of its last commit and everything is read again.
pub trait Member: Send {
    /// Waits up to `timeout` for records or events. Brings at most `budget` of records. Returns at once when there is
    /// something, or when woken. Events come alone, without records: serving them may send the reading back, and what
    /// was read before would then seem to be what comes after.
    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>>;

    /// Reads (again) from these positions; their metadata is what the next owner would find. Called after
    /// [`Event::Assigned`] and after an abort. Claims the partitions where the log needs a claim.
    fn start(&mut self, positions: &[Position]) -> LogResult<()>;

    /// Reads nothing of these partitions until it is called again with `false`; then reading goes on where it stood, or
    /// where a [`start`](Member::start) in between has sent it. Others are not held back. A partition that is not owned
    /// is passed over; a new assignment of one begins unpaused.
    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()>;

    /// Hands partitions over, after [`Event::Revoking`]; what is not committed is dropped by the caller first.
    fn release(&mut self, partitions: &[TopicPartition]) -> LogResult<()>;

    /// Adds records to the open transaction, opening one if needed; in order per partition.
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent>;

    /// Makes what was sent visible together with these positions, or neither.
    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent>;

    /// Throws away what was sent since the last commit.
    fn abort(&mut self) -> LogResult<()>;

    /// Bytes of [`Position::metadata`] the log takes.
    fn max_metadata(&self) -> usize;

    /// A handle that ends the current or next poll early.
    fn waker(&self) -> Waker;

    /// Leaves the group after a clean hand-over of everything; gives up at the deadline.
    fn leave(self: Box<Self>, deadline: Duration);
}
