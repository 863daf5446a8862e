//! The log, with members that break a promise; all else is the real one.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{
    Committed, End, Isolation, Log, LogResult, Member, MemberConfig, NewTopic, Reader, TopicInfo, TopicPartition,
    Writer,
};

use crate::Break;
use crate::member::BrokenMember;
use crate::trap::Trap;

pub(crate) struct BrokenLog {
    real: Arc<dyn Log>,
    breaks: Break,
    trap: Arc<Trap>,
    /// How long a replica that says nothing keeps its partitions, where the log's own settings do not say it.
    session: Option<Duration>,
}

impl BrokenLog {
    pub(crate) fn new(real: Arc<dyn Log>, breaks: Break, trap: Trap, session: Option<Duration>) -> Self {
        Self { real, breaks, trap: Arc::new(trap), session }
    }
}

impl Log for BrokenLog {
    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        let plain = self.real.writer()?;
        let session_timeout = self.session.unwrap_or(config.session_timeout);
        let real = self.real.join(MemberConfig { session_timeout, ..config })?;
        Ok(Box::new(BrokenMember::new(real, plain, self.breaks, self.trap.clone())))
    }

    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.real.describe(topics)
    }

    fn topics(&self) -> LogResult<Vec<String>> {
        self.real.topics()
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.real.create(topics)
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.real.add_partitions(topics)
    }

    fn settling(&self) -> Duration {
        self.real.settling()
    }

    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.real.delete(topics)
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.real.ends(partitions, end)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        let mut found = self.real.committed(group, partitions)?;
        if self.breaks == Break::AllPassed {
            let far = || Committed { offset: i64::MAX / 2, metadata: String::new() };
            found.iter_mut().for_each(|committed| committed.get_or_insert_with(far).offset = i64::MAX / 2);
        }
        Ok(found)
    }

    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.real.delete_groups(groups)
    }

    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.real.delete_before(offsets)
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        self.real.reader(isolation)
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        self.real.writer()
    }

    fn name(&self) -> String {
        self.real.name()
    }
}
