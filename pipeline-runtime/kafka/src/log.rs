//! A Kafka cluster as a log.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{
    Committed, End, Isolation, Log, LogResult, Member, MemberConfig, NewTopic, Reader, Rights, TopicInfo,
    TopicPartition, Writer,
};

use crate::config::KafkaConfig;
use crate::member::KafkaMember;
use crate::reader::KafkaReader;
use crate::shared::Shared;
use crate::writer::KafkaWriter;

/// A cluster. Nothing is connected until it is used.
pub struct KafkaLog {
    shared: Arc<Shared>,
}

impl KafkaLog {
    /// Checks the configuration; does not wait for the brokers.
    pub fn new(config: KafkaConfig) -> LogResult<Self> {
        config.check()?;
        Ok(Self { shared: Shared::new(config) })
    }
}

impl Log for KafkaLog {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        topics.iter().map(|topic| self.shared.describe(topic)).collect()
    }

    fn topics(&self) -> LogResult<Vec<String>> {
        self.shared.topics()
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.shared.create(topics)
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.shared.add_partitions(topics)
    }

    fn settling(&self) -> Duration {
        self.shared.config.settling()
    }

    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.shared.delete(topics)
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.shared.ends(partitions, end)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        let found = self.shared.committed(group, partitions)?;
        Ok(found.into_iter().map(|raw| raw.map(|raw| raw.committed)).collect())
    }

    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.shared.delete_before(offsets)
    }

    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.shared.delete_groups(groups)
    }

    fn rights(&self, topics: &[&str], groups: &[&str]) -> LogResult<Option<Rights>> {
        self.shared.rights(topics, groups).map(Some)
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        Ok(Box::new(KafkaMember::join(self.shared.clone(), config)?))
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        Ok(Box::new(KafkaReader::new(self.shared.clone(), isolation)?))
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        Ok(Box::new(KafkaWriter::new(self.shared.clone())))
    }

    fn name(&self) -> String {
        format!("Kafka at {}", self.shared.config.brokers)
    }
}
