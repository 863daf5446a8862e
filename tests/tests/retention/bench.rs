//! A log that a test can also look into and write to by itself: time stamps cannot be chosen with the command line.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filter_api::Headers;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{End, Log, NewTopic, Outgoing, Retention, TopicPartition, partition_of};
use millstream_test_kafka::{KafkaCluster, Options, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

/// For what takes some seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Of every topic.
pub const PARTITIONS: i32 = 2;
/// In milliseconds.
pub const HOUR: i64 = 3_600_000;
/// In milliseconds.
pub const YEAR: i64 = 365 * 24 * HOUR;

/// A log, a folder, and a name for the pipeline.
pub struct Bench {
    pub site: Site,
    pub name: String,
    brokers: Option<&'static str>,
}

/// A record to be written.
pub struct Given {
    pub key: String,
    pub value: String,
    pub timestamp: i64,
}

impl Bench {
    pub fn embedded() -> Self {
        Self { site: Site::embedded(), name: "kept".to_owned(), brokers: None }
    }

    /// On a cluster that applies its own retention every half second, so that what it would take is gone at once.
    pub fn kafka() -> Option<Self> {
        static CLUSTER: OnceLock<Option<KafkaCluster>> = OnceLock::new();
        let often = ["log.retention.check.interval.ms", "log.initial.task.delay.ms"];
        let properties = often.map(|name| (name.to_owned(), "500".to_owned())).to_vec();
        let cluster = CLUSTER
            .get_or_init(|| KafkaCluster::start_or_skip(Options { properties, ..Options::default() }))
            .as_ref()?;
        let site = Site::kafka(cluster.bootstrap(), Duration::from_secs(6));
        Some(Self { site, name: unique("kept"), brokers: Some(cluster.bootstrap()) })
    }

    /// The log itself; beside the processes that run on it. Not to be kept: its owner ends with it.
    pub fn log(&self) -> Arc<dyn Log> {
        match self.brokers {
            Some(brokers) => Arc::new(KafkaLog::new(KafkaConfig::new(brokers)).expect("a client")),
            None => EmbeddedLog::open(self.site.folder().join("log"), EmbeddedOptions::default()).expect("the log"),
        }
    }

    /// Makes a topic that keeps its records.
    pub fn create(&self, topic: &str) {
        self.log().create(&[new_topic(topic, Retention::Kept)]).expect("the topic can be made");
    }

    /// Writes records into the partitions of their keys.
    pub fn write(&self, topic: &str, records: impl IntoIterator<Item = Given>) {
        let partitions = self.log().describe(&[topic]).expect("an answer")[0].as_ref().expect("the topic").partitions;
        let outgoing = |given: Given| Outgoing {
            to: TopicPartition::new(topic, partition_of(given.key.as_bytes(), partitions)),
            key: Some(Bytes::from(given.key)),
            value: Some(Bytes::from(given.value)),
            headers: Headers::new(),
            timestamp: given.timestamp,
            tag: 0,
        };
        let log = self.log();
        let mut writer = log.writer().expect("a writer");
        writer.send(&mut records.into_iter().map(outgoing).collect()).expect("records are taken");
        writer.flush(PATIENCE).expect("records are durable");
    }

    /// One end of each partition; none where there is no such topic yet.
    pub fn ends(&self, topic: &str, end: End) -> Vec<i64> {
        let log = self.log();
        let there = log.describe(&[topic]).expect("an answer")[0].is_some();
        if there { log.ends(&places(topic), end).expect("ends") } else { Vec::new() }
    }

    /// What a group has committed; 0 where nothing.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<i64> {
        let committed = self.log().committed(group, &places(topic)).expect("positions");
        committed.into_iter().map(|c| c.map_or(0, |c| c.offset)).collect()
    }

    /// Waits until a topic that had records has none.
    pub fn goes(&self, topic: &str) {
        let gone = || {
            let (low, high) = (self.ends(topic, End::Low), self.ends(topic, End::High));
            high.iter().sum::<i64>() > 0 && low == high
        };
        let ends = || (self.ends(topic, End::Low), self.ends(topic, End::High));
        assert!(wait_until(PATIENCE, gone), "{topic} still has records: {:?}", ends());
    }

    /// Waits until a topic has so many records.
    pub fn comes(&self, topic: &str, count: usize) {
        assert!(wait_until(PATIENCE, || self.site.read(topic).len() == count), "{topic} never had {count} records");
    }

    /// Nothing was deleted from a topic.
    pub fn is_whole(&self, topic: &str) {
        assert_eq!(self.ends(topic, End::Low), [0, 0], "records of {topic} were deleted");
    }

    /// The last value of a key in the control topic.
    pub fn control(&self, key: &str) -> Option<Value> {
        let records = self.site.read(&format!("{}.control", self.name));
        records.into_iter().rfind(|r| r.key.as_deref() == Some(key)).map(|r| r.value)
    }

    /// Runs until idle and gives the totals of a stage.
    pub fn until_idle(&self, run: &str, yaml: &str, stage: usize) -> Value {
        let file = self.site.write("pipeline.yaml", yaml);
        self.site.until_idle(run, &file, PATIENCE)["pipelines"][0]["stages"][stage].clone()
    }
}

/// Numbers as JSON, with one time stamp.
pub fn numbers(range: std::ops::Range<usize>, timestamp: i64) -> impl Iterator<Item = Given> {
    range.map(move |n| Given { key: format!("k{}", n % 20), value: format!("{{\"n\":{n}}}"), timestamp })
}

pub fn new_topic(name: &str, retention: Retention) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: PARTITIONS,
        retention,
        replication: None,
        max_record_bytes: None,
        settings: Vec::new(),
    }
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn places(topic: &str) -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|p| TopicPartition::new(topic, p)).collect()
}
