//! What the properties share: topics and groups with fresh names, records, waiting for a condition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::Headers;

use super::Bench;
use super::player::Player;
use crate::{
    Budget, Class, Committed, Delivery, End, Isolation, Log, LogRecord, MemberConfig, NewTopic, Outgoing, Retention,
    Sent, TopicPartition, settled,
};

/// Plenty: no property wants more in one poll unless it says so.
pub(super) const PLENTY: Budget = Budget { records: 10_000, bytes: 64 << 20 };

/// One poll while waiting for a condition: short, so that several members can be served in turn.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// A log with the habits of the suite.
pub(super) struct Kit<'a> {
    pub bench: &'a dyn Bench,
    pub log: Arc<dyn Log>,
}

impl<'a> Kit<'a> {
    pub fn new(bench: &'a dyn Bench) -> Self {
        Self { bench, log: bench.log() }
    }

    /// Creates a topic that keeps everything.
    pub fn topic(&self, base: &str, partitions: i32) -> String {
        self.topic_with(base, partitions, Retention::Kept, None)
    }

    /// Creates a topic.
    pub fn topic_with(&self, base: &str, partitions: i32, retention: Retention, max: Option<usize>) -> String {
        let name = self.bench.unique(base);
        self.log.create(&[new_topic(&name, partitions, retention, max)]).expect("the topic can be created");
        name
    }

    /// The usual member of a group: exactly once, a long session.
    pub fn config(&self, group: &str, lead: &str, name: &str) -> MemberConfig {
        MemberConfig {
            group: group.to_owned(),
            lead: lead.to_owned(),
            side: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            name: self.bench.unique(name),
            instance: None,
            session_timeout: self.bench.session_timeout(),
            prefetch_bytes: 8 << 20,
        }
    }

    /// Joins with the usual settings.
    pub fn join(&self, group: &str, lead: &str, name: &str) -> Player {
        self.join_with(self.config(group, lead, name))
    }

    /// Joins.
    pub fn join_with(&self, config: MemberConfig) -> Player {
        Player::new(self.log.join(config).expect("a member can join"))
    }

    /// Writes outside a transaction and waits until it is durable.
    pub fn write(&self, records: Vec<Outgoing>) {
        let mut writer = self.log.writer().expect("there is a writer");
        for chunk in records.chunks(500) {
            writer.send(&mut chunk.to_vec()).expect("the records are taken");
        }
        writer.flush(self.bench.patience()).expect("the records become durable");
    }

    /// `count` numbered records in partition 0 of a topic.
    pub fn fill(&self, topic: &str, count: usize) {
        self.write((0..count).map(|i| numbered(topic, 0, i)).collect());
    }

    /// All records of a partition that an isolation shows, from the first one up to what is the end now.
    pub fn read(&self, topic: &str, partition: i32, isolation: Isolation) -> Vec<LogRecord> {
        let at = tp(topic, partition);
        let end = match isolation {
            Isolation::Committed => {
                settled(self.log.as_ref(), std::slice::from_ref(&at)).expect("the partition has ends")[0]
            }
            Isolation::Uncommitted => self.end(&at, End::High),
        };
        let mut reader = self.log.reader(isolation).expect("there is a reader");
        reader.assign(&[(at.clone(), 0)]).expect("the partition can be read");
        let mut records = Vec::new();
        let mut next = self.end(&at, End::Low);
        self.until(&format!("{at} is read up to {end}"), || {
            if next >= end {
                return Some(());
            }
            for batch in reader.poll(PLENTY, TURN).expect("the reader reads") {
                assert_eq!(batch.partition, at);
                records.extend(batch.records);
                next = batch.next;
            }
            (next >= end).then_some(())
        });
        records
    }

    /// The values of [`Kit::read`] as a committed reader sees them, as text.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        self.read(topic, partition, Isolation::Committed).iter().map(text).collect()
    }

    /// One end of one partition.
    pub fn end(&self, at: &TopicPartition, end: End) -> i64 {
        self.log.ends(std::slice::from_ref(at), end).expect("the partition has ends")[0]
    }

    /// What a group committed for one partition.
    pub fn committed(&self, group: &str, at: &TopicPartition) -> Option<Committed> {
        self.log.committed(group, std::slice::from_ref(at)).expect("positions can be read").remove(0)
    }

    /// Tries until it gives something; panics with `what` at the deadline. `attempt` must itself wait a little, as a
    /// poll does.
    pub fn until<T>(&self, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + self.bench.patience();
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            assert!(Instant::now() < deadline, "still waiting after {:?}: {what}", self.bench.patience());
        }
    }

    /// Serves all players in turn until the condition holds.
    pub fn play(&self, what: &str, players: &mut [&mut Player], mut done: impl FnMut(&[&mut Player]) -> bool) {
        self.until(what, || {
            if done(players) {
                return Some(());
            }
            for player in players.iter_mut() {
                player.turn();
            }
            None
        });
    }
}

/// Shorthand.
pub(super) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// A topic description without extras.
pub(super) fn new_topic(name: &str, partitions: i32, retention: Retention, max: Option<usize>) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        retention,
        replication: None,
        max_record_bytes: max,
        settings: Vec::new(),
    }
}

/// A record with a key, a text value and a time stamp of today.
pub(super) fn record(topic: &str, partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing {
        to: tp(topic, partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new(),
        timestamp: 1_767_225_600_000,
        tag: 0,
    }
}

/// Record number `i`: key `k<i mod 10>`, value `<i>`.
pub(super) fn numbered(topic: &str, partition: i32, i: usize) -> Outgoing {
    record(topic, partition, &format!("k{}", i % 10), &i.to_string())
}

/// The value as text.
pub(super) fn text(record: &LogRecord) -> String {
    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned()
}

/// The class of a failed call, if it is one of the log as a whole.
pub(super) fn class(sent: &Sent) -> Option<Class> {
    match sent {
        Sent::Failed(error) => Some(error.class),
        Sent::Refused(_) => None,
    }
}
