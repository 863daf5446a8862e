//! What these tests share.
#![allow(dead_code, reason = "not every test file uses everything")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::{
    Budget, Delivery, End, Event, Isolation, Log, LogRecord, Member, MemberConfig, NewTopic, Outgoing, Position,
    Retention, TopicPartition,
};

pub const PATIENCE: Duration = Duration::from_secs(180);
pub const PLENTY: Budget = Budget { records: 100_000, bytes: 64 << 20 };

pub fn open(dir: &Path) -> Arc<dyn Log> {
    EmbeddedLog::open(dir, EmbeddedOptions::default()).unwrap()
}

pub fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub fn topic(log: &dyn Log, name: &str, partitions: i32, retention: Retention) {
    let (replication, max_record_bytes, settings) = (None, None, Vec::new());
    let name = name.to_owned();
    log.create(&[NewTopic { name, partitions, retention, replication, max_record_bytes, settings }]).unwrap();
}

pub fn record(topic: &str, partition: i32, key: &str, value: impl Into<Bytes>) -> Outgoing {
    Outgoing {
        to: tp(topic, partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(value.into()),
        headers: Default::default(),
        timestamp: 1_767_225_600_000,
        tag: 0,
    }
}

pub fn write(log: &dyn Log, records: Vec<Outgoing>) {
    let mut writer = log.writer().unwrap();
    writer.send(&mut { records }).unwrap();
    writer.flush(PATIENCE).unwrap();
}

pub fn read(log: &dyn Log, topic: &str, partition: i32) -> Vec<LogRecord> {
    let at = tp(topic, partition);
    let end = log.ends(std::slice::from_ref(&at), End::High).unwrap()[0];
    let mut next = log.ends(std::slice::from_ref(&at), End::Low).unwrap()[0];
    let mut reader = log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(at, 0)]).unwrap();
    let mut records = Vec::new();
    until("the partition is read", || {
        if next < end {
            for batch in reader.poll(PLENTY, Duration::from_millis(50)).unwrap() {
                next = batch.next;
                records.extend(batch.records);
            }
        }
        (next >= end).then_some(())
    });
    records
}

pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting: {what}");
        std::thread::yield_now();
    }
}

pub fn member(log: &dyn Log, group: &str, lead: &str) -> Box<dyn Member> {
    log.join(MemberConfig {
        group: group.into(),
        lead: lead.into(),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: "m".into(),
        instance: None,
        session_timeout: Duration::from_secs(30),
        prefetch_bytes: 1 << 20,
    })
    .unwrap()
}

/// A member that has started all partitions of its topic where they were committed.
pub fn started(log: &dyn Log, group: &str, lead: &str, partitions: usize) -> Box<dyn Member> {
    let mut member = member(log, group, lead);
    let mut owned = 0;
    until("all partitions are assigned", || {
        for event in member.poll(Budget { records: 0, bytes: 0 }, Duration::from_millis(50), &mut Vec::new()).unwrap() {
            let Event::Assigned(all) = event else { panic!("{event:?}") };
            owned += all.len();
            let positions: Vec<Position> = all
                .into_iter()
                .map(|a| Position {
                    offset: a.committed.as_ref().map_or(0, |c| c.offset),
                    metadata: a.committed.map_or(String::new(), |c| c.metadata),
                    partition: a.partition,
                })
                .collect();
            member.start(&positions).unwrap();
        }
        (owned == partitions).then_some(())
    });
    member
}

/// The segment files of a folder, oldest first.
pub fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    found.sort();
    found
}

/// Copies what a killed process would leave behind.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in segments(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}
