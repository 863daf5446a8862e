//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod copier;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{
    Budget, Delivery, Isolation, Log, LogRecord, MemberConfig, NewTopic, Outgoing, Retention, TopicPartition, settled,
};
use millstream_test_kafka::unique;

/// How long anything may take before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// One poll while waiting.
pub const TURN: Duration = Duration::from_millis(50);
/// More than any test has.
pub const PLENTY: Budget = Budget { records: 10_000, bytes: 64 << 20 };

/// A log on a cluster without TLS or login.
pub fn log_on(brokers: &str) -> Arc<dyn Log> {
    log_with(brokers, &[])
}

/// A log with client properties.
pub fn log_with(brokers: &str, properties: &[(&str, &str)]) -> Arc<dyn Log> {
    // With RUST_LOG=millstream=debug a failed test tells its story.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = KafkaConfig { properties, ..KafkaConfig::new(brokers) };
    Arc::new(KafkaLog::new(config).expect("the configuration is valid"))
}

/// A fresh topic that keeps everything.
pub fn topic(log: &dyn Log, base: &str, partitions: i32, max_record_bytes: Option<usize>) -> String {
    let name = unique(base);
    let topic = NewTopic {
        name: name.clone(),
        partitions,
        retention: Retention::Kept,
        replication: None,
        max_record_bytes,
        settings: Vec::new(),
    };
    until("the topic is made", || log.create(std::slice::from_ref(&topic)).ok());
    name
}

/// A record with a text value.
pub fn record(topic: &str, partition: i32, value: &str) -> Outgoing {
    Outgoing {
        to: TopicPartition::new(topic, partition),
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Default::default(),
        timestamp: 1_767_225_600_000,
        tag: 0,
    }
}

/// Numbered records, dealt to the partitions in turn.
pub fn fill(log: &dyn Log, topic: &str, partitions: i32, numbers: std::ops::Range<usize>) {
    let mut writer = log.writer().expect("a writer");
    let mut records: Vec<Outgoing> =
        numbers.map(|i| record(topic, (i % partitions as usize) as i32, &i.to_string())).collect();
    while !records.is_empty() {
        writer.send(&mut records).expect("the records are taken");
    }
    writer.flush(PATIENCE).expect("the records become durable");
}

/// The usual member.
pub fn member(group: &str, lead: &str, name: &str) -> MemberConfig {
    MemberConfig {
        group: group.to_owned(),
        lead: lead.to_owned(),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: unique(name),
        instance: None,
        session_timeout: Duration::from_secs(6),
        prefetch_bytes: 8 << 20,
    }
}

/// The values of a partition that a committed reader sees now.
pub fn committed_values(log: &dyn Log, topic: &str, partition: i32) -> Vec<String> {
    let at = TopicPartition::new(topic, partition);
    let end = settled(log, std::slice::from_ref(&at)).expect("the end is known")[0];
    let mut reader = log.reader(Isolation::Committed).expect("a reader");
    reader.assign(&[(at, 0)]).expect("it can be read");
    let (mut values, mut next) = (Vec::new(), 0);
    until("the partition is read", || {
        while next < end {
            let batches = reader.poll(PLENTY, TURN).expect("it reads");
            if batches.is_empty() {
                return None;
            }
            for batch in batches {
                values.extend(batch.records.iter().map(text));
                next = batch.next;
            }
        }
        Some(())
    });
    values
}

/// A value as text.
pub fn text(record: &LogRecord) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}

/// Tries until it gives something, without taking the processor from those who are waited for.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
