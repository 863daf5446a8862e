//! Topics: making, deleting, emptying, and their settings.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use millstream_log::{Class, LogError, LogResult, NewTopic, Retention, TopicPartition};
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic as KafkaTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::context::Context;
use crate::error::{kafka_error, log_error};
use crate::ffi;
use crate::shared::{ASK, Shared};

/// For an operation that the brokers have to agree upon.
const OPERATION: Duration = Duration::from_secs(30);

/// Room for what Kafka puts around a record: the size of a topic's limit counts it.
const FRAMING: usize = 1024;

impl Shared {
    /// Makes topics that are not there, and waits until each has its leaders.
    pub(crate) fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let settings: Vec<Vec<(String, String)>> = topics.iter().map(settings).collect();
        let wanted: Vec<KafkaTopic<'_>> = topics
            .iter()
            .zip(&settings)
            .map(|(topic, settings)| {
                let replication = TopicReplication::Fixed(topic.replication.map_or(-1, i32::from));
                let made = KafkaTopic::new(&topic.name, topic.partitions, replication);
                settings.iter().fold(made, |made, (name, value)| made.set(name, value))
            })
            .collect();
        let results = block_on(self.admin()?.create_topics(&wanted, &options()))
            .map_err(|e| self.failed("cannot create topics", &e))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(log_error(format!("cannot create topic {name}"), code)),
            }
        }
        for topic in topics {
            self.wait(&format!("topic {} has no leader yet", topic.name), || self.is_usable(&topic.name))?;
        }
        Ok(())
    }

    /// Adds partitions to topics that have fewer, and waits until all have their leaders.
    pub(crate) fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        let mut growing = Vec::new();
        for (topic, wanted) in topics {
            match self.describe(topic)? {
                None => {
                    return Err(LogError::new(Class::Config, "unknown_topic", format!("there is no topic {topic}")));
                }
                Some(info) if info.partitions < *wanted => {
                    growing.push((*topic, usize::try_from(*wanted).unwrap_or(0)))
                }
                Some(_) => {}
            }
        }
        if growing.is_empty() {
            return Ok(());
        }
        let wanted: Vec<NewPartitions<'_>> = growing.iter().map(|(t, count)| NewPartitions::new(t, *count)).collect();
        let results = block_on(self.admin()?.create_partitions(&wanted, &options()))
            .map_err(|e| self.failed("cannot add partitions", &e))?;
        for result in results {
            match result {
                // Another process may have been first: what counts is how many there are.
                Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
                Err((name, code)) => return Err(log_error(format!("cannot add partitions to topic {name}"), code)),
            }
        }
        for (topic, count) in growing {
            let there =
                || Ok(self.describe(topic)?.is_some_and(|t| t.partitions as usize >= count) && self.is_usable(topic)?);
            self.wait(&format!("the new partitions of topic {topic} have no leader yet"), there)?;
        }
        Ok(())
    }

    /// Deletes topics, and waits until they are not known any more.
    pub(crate) fn delete(&self, topics: &[&str]) -> LogResult<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let results = block_on(self.admin()?.delete_topics(topics, &options()))
            .map_err(|e| self.failed("cannot delete topics", &e))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((name, code)) => return Err(log_error(format!("cannot delete topic {name}"), code)),
            }
        }
        for topic in topics {
            self.wait(&format!("topic {topic} is still there"), || Ok(self.describe(topic)?.is_none()))?;
        }
        Ok(())
    }

    /// Deletes groups and their positions.
    pub(crate) fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let results = block_on(self.admin()?.delete_groups(groups, &options()))
            .map_err(|e| self.failed("cannot delete groups", &e))?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
                Err((name, RDKafkaErrorCode::NonEmptyGroup)) => {
                    let message = format!("the group {name} has members");
                    return Err(LogError::new(Class::Retry, "group_in_use", message));
                }
                Err((name, code)) => return Err(log_error(format!("cannot delete group {name}"), code)),
            }
        }
        Ok(())
    }

    /// Deletes the records below offsets. Below what is gone already nothing is asked.
    pub(crate) fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        let partitions: Vec<TopicPartition> = offsets.iter().map(|(at, _)| at.clone()).collect();
        let lows = self.ends(&partitions, millstream_log::End::Low)?;
        let mut list = TopicPartitionList::new();
        for ((at, offset), low) in offsets.iter().zip(lows) {
            if *offset > low {
                list.add_partition_offset(&at.topic, at.partition, Offset::Offset(*offset))
                    .map_err(|e| kafka_error(format!("cannot delete records of {at}"), &e))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let done = block_on(self.admin()?.delete_records(&list, &options()))
            .map_err(|e| self.failed("cannot delete records", &e))?;
        for (entry, element) in ffi::entries(&done).into_iter().zip(done.elements()) {
            if let Some(code) = entry.error {
                let at = format!("{}/{}", element.topic(), element.partition());
                return Err(log_error(format!("cannot delete records of {at}"), code));
            }
        }
        Ok(())
    }

    /// Largest batch that a topic takes; `None` when it is not told.
    pub(crate) fn max_record_bytes(&self, topic: &str) -> Option<usize> {
        let found =
            block_on(self.admin().ok()?.describe_configs(&[ResourceSpecifier::Topic(topic)], &options())).ok()?;
        let resource = found.into_iter().next()?.ok()?;
        resource.get("max.message.bytes")?.value.as_ref()?.parse().ok()
    }

    /// A client for one operation: they are rare, and one that is kept has to be served.
    pub(crate) fn admin(&self) -> LogResult<AdminClient<Context>> {
        AdminClient::from_config_and_context(&self.config.admin(), Context::new("admin"))
            .map_err(|e| kafka_error("cannot make a Kafka admin client", &e))
    }

    fn failed(&self, what: &str, error: &rdkafka::error::KafkaError) -> LogError {
        let mut error = kafka_error(what, error);
        if error.class == Class::Retry {
            error.message = format!("{}; Kafka at {} does not answer", error.message, self.config.brokers);
        }
        error
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> LogResult<bool>) -> LogResult<()> {
        let end = Instant::now() + OPERATION;
        loop {
            match done() {
                Ok(true) => return Ok(()),
                Err(error) if error.class != Class::Retry => return Err(error),
                _ if Instant::now() > end => return Err(LogError::new(Class::Retry, "broker_busy", what)),
                // Brokers tell each other within milliseconds.
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(OPERATION)).operation_timeout(Some(ASK))
}

/// A topic's settings by Kafka's names; the pipeline's own come last.
fn settings(topic: &NewTopic) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: String| all.push((name.to_owned(), value));
    match topic.retention {
        // Kafka's retention looks at the records' time stamps: back-filled ones would be gone at once.
        Retention::Kept => {
            set("retention.ms", "-1".into());
            set("retention.bytes", "-1".into());
            any_time(&mut set);
        }
        Retention::Written(age) => {
            // More than a broker can count is for ever.
            set("retention.ms", i64::try_from(age.as_millis()).unwrap_or(-1).to_string());
            set("message.timestamp.type", "LogAppendTime".into());
        }
        Retention::Compacted => {
            set("cleanup.policy", "compact".into());
            any_time(&mut set);
        }
    }
    if let Some(bytes) = topic.max_record_bytes {
        set("max.message.bytes", bytes.saturating_add(FRAMING).min(i32::MAX as usize).to_string());
    }
    for (name, value) in &topic.settings {
        all.retain(|(known, _)| known != name);
        all.push((name.clone(), value.clone()));
    }
    all
}

/// Brokers of 4.x refuse time stamps over an hour ahead, for ever.
fn any_time(set: &mut impl FnMut(&str, String)) {
    set("message.timestamp.before.max.ms", i64::MAX.to_string());
    set("message.timestamp.after.max.ms", i64::MAX.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative control: `retention.ms` left to the cluster fails it.
    #[test]
    fn a_kept_topic_ages_by_nothing_and_the_users_settings_win() {
        let topic = NewTopic {
            name: "t".into(),
            partitions: 1,
            retention: Retention::Kept,
            replication: None,
            max_record_bytes: Some(1000),
            settings: vec![("retention.bytes".into(), "5".into())],
        };
        let found = settings(&topic);
        let get = |name: &str| found.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        assert_eq!(get("retention.ms"), ["-1"]);
        assert_eq!(get("retention.bytes"), ["5"]);
        assert_eq!(get("message.timestamp.after.max.ms"), ["9223372036854775807"]);
        assert_eq!(get("max.message.bytes"), ["2024"]);
    }
}
