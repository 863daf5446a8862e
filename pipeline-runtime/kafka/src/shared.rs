//! What the parts of one log share: its configuration and the clients that only look things up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_log::{Class, Committed, End, Isolation, LogError, LogResult, TopicInfo, TopicPartition};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::claim;
use crate::config::{KafkaConfig, Reading};
use crate::error::{code_of, kafka_error, log_error};
use crate::ffi;

/// For one question to the brokers.
pub(crate) const ASK: Duration = Duration::from_secs(10);

/// For positions of a transaction that is being committed.
const MOMENT: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: KafkaConfig,
    clients: Mutex<HashMap<Which, Reading>>,
}

/// A client that looks things up; each is made when first needed.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Which {
    Committed,
    Uncommitted,
    Group(String, Isolation),
}

impl Shared {
    pub(crate) fn new(config: KafkaConfig) -> Arc<Self> {
        Arc::new(Self { config, clients: Mutex::default() })
    }

    /// What is known of a topic; creates nothing.
    pub(crate) fn describe(&self, topic: &str) -> LogResult<Option<TopicInfo>> {
        let reading = self.client(Which::Uncommitted)?;
        let metadata = reading
            .client
            .fetch_metadata(Some(topic), ASK)
            .map_err(|e| self.asked(format!("cannot describe topic {topic}"), &e, &reading))?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(TopicInfo { partitions: i32::try_from(found.partitions().len()).unwrap_or(i32::MAX) })),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(log_error(format!("cannot describe topic {topic}"), code)),
        }
    }

    /// Whether every partition of a topic has a leader.
    pub(crate) fn is_usable(&self, topic: &str) -> LogResult<bool> {
        let reading = self.client(Which::Uncommitted)?;
        let metadata = reading
            .client
            .fetch_metadata(Some(topic), ASK)
            .map_err(|e| self.asked(format!("cannot describe topic {topic}"), &e, &reading))?;
        Ok(metadata.topics().iter().any(|t| {
            t.error().is_none() && !t.partitions().is_empty() && t.partitions().iter().all(|p| p.leader() >= 0)
        }))
    }

    /// Names of all topics but Kafka's own.
    pub(crate) fn topics(&self) -> LogResult<Vec<String>> {
        let reading = self.client(Which::Uncommitted)?;
        let metadata = reading
            .client
            .fetch_metadata(None, ASK)
            .map_err(|e| self.asked("cannot list topics".into(), &e, &reading))?;
        let mut names: Vec<String> =
            metadata.topics().iter().map(|t| t.name().to_owned()).filter(|name| !name.starts_with("__")).collect();
        names.sort();
        Ok(names)
    }

    /// One end of each partition. Asks again while leaders change.
    pub(crate) fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        let until = Instant::now() + ASK;
        loop {
            match self.ends_now(partitions, end) {
                Err(error) if error.code == "broker_busy" && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    fn ends_now(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let (which, offset) = match end {
            End::Low => (Which::Uncommitted, Offset::Beginning),
            End::High => (Which::Uncommitted, Offset::End),
            End::Stable => (Which::Committed, Offset::End),
            End::AtTime(time) => (Which::Uncommitted, Offset::Offset(time.max(0))),
        };
        let reading = self.client(which)?;
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            list.add_partition_offset(&at.topic, at.partition, offset)
                .map_err(|e| kafka_error(format!("cannot ask for the end of {at}"), &e))?;
        }
        let list = reading
            .client
            .offsets_for_times(list, ASK)
            .map_err(|e| self.asked(format!("cannot find the end of {}", partitions[0]), &e, &reading))?;
        let found = ffi::entries(&list);
        let mut ends = Vec::with_capacity(found.len());
        for (entry, at) in found.into_iter().zip(partitions) {
            match entry.error {
                Some(RDKafkaErrorCode::UnknownPartition) if self.is_news(&reading, at) => {
                    let message = format!("cannot find the end of {at}: the partition was added just now");
                    return Err(LogError::new(Class::Retry, "broker_busy", message));
                }
                Some(code) => return Err(log_error(format!("cannot find the end of {at}"), code)),
                None if entry.offset >= 0 => ends.push(entry.offset),
                // No record that late.
                None => ends.push(self.ends(std::slice::from_ref(at), End::High)?[0]),
            }
        }
        Ok(ends)
    }

    /// Whether a partition that this client does not know is there. It has asked by then, and knows it too.
    fn is_news(&self, reading: &Reading, at: &TopicPartition) -> bool {
        let Ok(metadata) = reading.client.fetch_metadata(Some(&at.topic), ASK) else { return false };
        metadata
            .topics()
            .iter()
            .any(|t| t.name() == &*at.topic && t.partitions().len() as i64 > i64::from(at.partition))
    }

    /// What a group has committed. A broker says that a transaction is committed before its positions can be read:
    /// that moment is waited for, an open transaction is not.
    pub(crate) fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Raw>>> {
        let stable = self.client(Which::Group(group.to_owned(), Isolation::Committed))?;
        match self.committed_by(&stable, partitions, MOMENT) {
            Err(error) if error.class == Class::Retry => {
                let reading = self.client(Which::Group(group.to_owned(), Isolation::Uncommitted))?;
                self.committed_by(&reading, partitions, ASK)
            }
            other => other,
        }
    }

    /// What a consumer's group has committed; one that reads committed records waits for open transactions.
    pub(crate) fn committed_by(
        &self,
        reading: &Reading,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> LogResult<Vec<Option<Raw>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            list.add_partition(&at.topic, at.partition);
        }
        let what = || format!("cannot read the committed position of {}", partitions[0]);
        let list = reading.client.committed_offsets(list, timeout).map_err(|e| self.asked(what(), &e, reading))?;
        ffi::entries(&list)
            .into_iter()
            .map(|entry| match entry.error {
                Some(code) => Err(log_error(what(), code)),
                None if entry.offset < 0 => Ok(None),
                None => {
                    let claimed = claim::read(&entry.metadata);
                    let committed = Committed { offset: entry.offset, metadata: claimed.metadata };
                    Ok(Some(Raw { committed, owner: claimed.owner }))
                }
            })
            .collect()
    }

    /// An error of a question, with what the connection complained about.
    pub(crate) fn asked(&self, what: String, error: &rdkafka::error::KafkaError, reading: &Reading) -> LogError {
        drain(reading);
        match code_of(error) {
            Some(code) => {
                let mut error = self.explain(&what, code, "", &reading.notes);
                if error.class == Class::Retry && reading.notes.trouble().is_none() {
                    error.message = format!("{}; Kafka at {} does not answer", error.message, self.config.brokers);
                }
                error
            }
            None => kafka_error(what, error),
        }
    }

    fn client(&self, which: Which) -> LogResult<Reading> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = clients.get(&which) {
            drain(found);
            return Ok(found.clone());
        }
        let reading = match &which {
            Which::Committed => self.config.free_consumer("lookup", Isolation::Committed, None)?,
            Which::Uncommitted => self.config.free_consumer("lookup", Isolation::Uncommitted, None)?,
            Which::Group(group, isolation) => self.config.group_watcher(group, *isolation)?,
        };
        clients.insert(which, reading.clone());
        Ok(reading)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let clients = std::mem::take(self.clients.get_mut().unwrap_or_else(PoisonError::into_inner));
        crate::worker::drop_apart(clients, Duration::from_secs(5));
    }
}

/// A committed position with its claim.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) committed: Committed,
    pub(crate) owner: Option<String>,
}

/// Serves log lines and errors; nothing else comes to a client that reads nothing.
fn drain(reading: &Reading) {
    // One call serves all that is there.
    drop(reading.client.poll(Duration::from_millis(1)));
}
