//! A log in front of another one: what it does not do itself, it hands on. For a log that shows a part of another, and
//! for tests that break or watch one thing.

use std::time::Duration;

use crate::{
    Batch, Budget, Committed, End, Event, Isolation, Log, LogResult, Member, MemberConfig, NewTopic, Outgoing,
    Position, Reader, Rights, Sent, TopicInfo, TopicPartition, Waker, Writer,
};

/// Every [`Log`] call, handed to the log beneath unless the layer has one of its own.
#[expect(missing_docs, reason = "each is the call of `Log` of that name")]
pub trait LogLayer: Send + Sync {
    /// The log in front of which it stands.
    fn beneath(&self) -> &dyn Log;

    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.beneath().describe(topics)
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.beneath().create(topics)
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.beneath().add_partitions(topics)
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.beneath().ends(partitions, end)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        self.beneath().committed(group, partitions)
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        self.beneath().join(config)
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        self.beneath().reader(isolation)
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        self.beneath().writer()
    }
}

impl<L: LogLayer> Log for L {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        LogLayer::describe(self, topics)
    }

    fn topics(&self) -> LogResult<Vec<String>> {
        self.beneath().topics()
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        LogLayer::create(self, topics)
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        LogLayer::add_partitions(self, topics)
    }

    fn settling(&self) -> Duration {
        self.beneath().settling()
    }

    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.beneath().delete(topics)
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        LogLayer::ends(self, partitions, end)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        LogLayer::committed(self, group, partitions)
    }

    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.beneath().delete_before(offsets)
    }

    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.beneath().delete_groups(groups)
    }

    fn rights(&self, topics: &[&str], groups: &[&str]) -> LogResult<Option<Rights>> {
        self.beneath().rights(topics, groups)
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        LogLayer::join(self, config)
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        LogLayer::reader(self, isolation)
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        LogLayer::writer(self)
    }

    fn name(&self) -> String {
        self.beneath().name()
    }
}

/// The same for a [`Member`].
#[expect(missing_docs, reason = "each is the call of `Member` of that name")]
pub trait MemberLayer: Send {
    /// The member in front of which it stands.
    fn beneath(&self) -> &dyn Member;

    /// To be called.
    fn beneath_mut(&mut self) -> &mut dyn Member;

    /// To leave.
    fn into_beneath(self: Box<Self>) -> Box<dyn Member>;

    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        self.beneath_mut().poll(budget, timeout, batches)
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        self.beneath_mut().start(positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        self.beneath_mut().pause(partitions, paused)
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.beneath_mut().send(records)
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        self.beneath_mut().commit(positions)
    }

    fn abort(&mut self) -> LogResult<()> {
        self.beneath_mut().abort()
    }
}

impl<M: MemberLayer> Member for M {
    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        MemberLayer::poll(self, budget, timeout, batches)
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        MemberLayer::start(self, positions)
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        MemberLayer::pause(self, partitions, paused)
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        self.beneath_mut().release(partitions)
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        MemberLayer::send(self, records)
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        MemberLayer::commit(self, positions)
    }

    fn abort(&mut self) -> LogResult<()> {
        MemberLayer::abort(self)
    }

    fn max_metadata(&self) -> usize {
        self.beneath().max_metadata()
    }

    fn waker(&self) -> Waker {
        self.beneath().waker()
    }

    fn leave(self: Box<Self>, deadline: Duration) {
        self.into_beneath().leave(deadline);
    }
}
