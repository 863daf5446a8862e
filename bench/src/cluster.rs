//! What the bench asks of the cluster: topics, ends, committed positions.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

/// Partitions of every topic of the bench.
pub(crate) const PARTITIONS: i32 = 4;

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster.
pub(crate) struct Cluster {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    observer: BaseConsumer,
}

impl Cluster {
    /// Connects.
    pub(crate) fn connect(brokers: &str) -> Result<Self, String> {
        let config = || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers);
            config
        };
        let admin = config().create().map_err(|e| format!("cannot make an admin client: {e}"))?;
        let observer = observer(brokers, "millstream-bench-observer")?;
        Ok(Self { brokers: brokers.to_owned(), admin, observer })
    }

    /// `host:port,…`.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Makes a topic and waits until its partitions answer.
    pub(crate) fn create(&self, topic: &str) -> Result<(), String> {
        // Kept whatever the records' times are, as Millstream's own topics.
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        let made = futures::executor::block_on(self.admin.create_topics(&[new], &AdminOptions::new()));
        let result = made.map_err(|e| e.to_string())?.into_iter().next();
        if let Some(Err((topic, code))) = result {
            return Err(format!("cannot make topic {topic}: {code}"));
        }
        let end = Instant::now() + PATIENCE;
        while !self.has(topic)? {
            if Instant::now() > end {
                return Err(format!("topic {topic} was made and does not answer"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Deletes every topic whose name begins so; their disk is wanted for the next measurement.
    pub(crate) fn delete_all(&self, prefix: &str) -> Result<(), String> {
        let metadata = self.observer.fetch_metadata(None, PATIENCE).map_err(|e| e.to_string())?;
        let names: Vec<&str> = metadata.topics().iter().map(|t| t.name()).filter(|n| n.starts_with(prefix)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let deleted = futures::executor::block_on(self.admin.delete_topics(&names, &AdminOptions::new()));
        deleted.map(drop).map_err(|e| e.to_string())
    }

    /// Whether a topic is there with all its partitions. Asks the brokers each time: the client remembers that a topic
    /// was unknown, and [`Cluster::ends`] of one that others make would go on failing.
    pub(crate) fn has(&self, topic: &str) -> Result<bool, String> {
        let metadata = self.observer.fetch_metadata(Some(topic), PATIENCE).map_err(|e| e.to_string())?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        Ok(found.is_some_and(|t| t.error().is_none() && t.partitions().len() == PARTITIONS as usize))
    }

    /// Sum of the high watermarks.
    pub(crate) fn ends(&self, topic: &str) -> Result<u64, String> {
        let mut sum = 0;
        for partition in 0..PARTITIONS {
            let (_, high) =
                self.observer.fetch_watermarks(topic, partition, PATIENCE).map_err(|e| format!("{topic}: {e}"))?;
            sum += high.max(0) as u64;
        }
        Ok(sum)
    }
}

/// Follows what a group has committed.
pub(crate) struct Progress {
    observer: BaseConsumer,
    list: TopicPartitionList,
}

impl Progress {
    /// Of a group in a topic.
    pub(crate) fn of(cluster: &Cluster, group: &str, topic: &str) -> Result<Self, String> {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition(topic, partition);
        }
        Ok(Self { observer: observer(&cluster.brokers, group)?, list })
    }

    /// Records committed by now.
    pub(crate) fn now(&self) -> Result<u64, KafkaError> {
        let committed = self.observer.committed_offsets(self.list.clone(), PATIENCE)?;
        let offsets = committed.elements().into_iter().map(|e| match e.offset() {
            Offset::Offset(offset) => offset.max(0) as u64,
            _ => 0,
        });
        Ok(offsets.sum())
    }
}

/// Never joins: it only asks. Uncommitted, so that it does not wait for open transactions.
fn observer(brokers: &str, group: &str) -> Result<BaseConsumer, String> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("isolation.level", "read_uncommitted")
        .create()
        .map_err(|e| format!("cannot make a consumer: {e}"))
}
