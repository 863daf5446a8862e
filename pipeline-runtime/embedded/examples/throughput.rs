//! How fast records are appended and read: `cargo run --release -p millstream-embedded --example throughput`.
//! Batches of 1,000 records of 200 bytes, each one transaction with its position.
#![allow(clippy::print_stdout, reason = "it is what this is for")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions, Fsync};
use millstream_log::{
    Budget, Delivery, Event, Isolation, Log, LogResult, Member, MemberConfig, NewTopic, Outgoing, Position, Retention,
    Sent, TopicPartition,
};

const PARTITIONS: i32 = 4;
const BATCHES: i64 = 2_000;
const BATCH: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for fsync in [Fsync::Always, Fsync::Interval(Duration::from_millis(100)), Fsync::Off] {
        let folder = tempfile::tempdir_in(".")?;
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions { fsync, ..EmbeddedOptions::default() })?;
        for name in ["in", "out"] {
            log.create(&[NewTopic {
                name: name.into(),
                partitions: PARTITIONS,
                retention: Retention::Kept,
                replication: None,
                max_record_bytes: None,
                settings: Vec::new(),
            }])?;
        }
        let records = BATCHES * BATCH as i64;
        let began = Instant::now();
        append(&*log)?;
        let appended = began.elapsed();
        drop(log);
        let began = Instant::now();
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::default())?;
        let opened = began.elapsed();
        let began = Instant::now();
        read(&*log, records as usize)?;
        let read = began.elapsed();
        let rate = |took: Duration| records as f64 / took.as_secs_f64() / 1e6;
        println!(
            "{fsync:?}: appended {:.2} M/s, opened {} MB in {opened:?}, read {:.2} M/s",
            rate(appended),
            records * 224 / 1_000_000,
            rate(read)
        );
    }
    Ok(())
}

fn append(log: &dyn Log) -> Result<(), Box<dyn std::error::Error>> {
    let mut member = member(log)?;
    let value = Bytes::from(vec![b'x'; 200]);
    let to: Vec<TopicPartition> = (0..PARTITIONS).map(|p| TopicPartition::new("out", p)).collect();
    for batch in 0..BATCHES {
        let mut records: Vec<Outgoing> = (0..BATCH)
            .map(|i| Outgoing {
                to: to[i * PARTITIONS as usize / BATCH].clone(),
                key: None,
                value: Some(value.clone()),
                headers: Default::default(),
                timestamp: batch,
                tag: 0,
            })
            .collect();
        let position = Position { partition: TopicPartition::new("in", 0), offset: batch + 1, metadata: String::new() };
        member.send(&mut records).and_then(|()| member.commit(&[position])).map_err(|e| match e {
            Sent::Failed(e) => e.to_string(),
            Sent::Refused(r) => format!("{r:?}"),
        })?;
    }
    Ok(())
}

fn member(log: &dyn Log) -> LogResult<Box<dyn Member>> {
    let mut member = log.join(MemberConfig {
        group: "g".into(),
        lead: "in".into(),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: "m".into(),
        instance: None,
        session_timeout: Duration::from_secs(30),
        prefetch_bytes: 1 << 20,
    })?;
    let none = Budget { records: 0, bytes: 0 };
    for event in member.poll(none, Duration::from_secs(10), &mut Vec::new())? {
        if let Event::Assigned(all) = event {
            let begin = |p: TopicPartition| Position { partition: p, offset: 0, metadata: String::new() };
            member.start(&all.into_iter().map(|a| begin(a.partition)).collect::<Vec<_>>())?;
        }
    }
    Ok(member)
}

fn read(log: &dyn Log, count: usize) -> LogResult<()> {
    let mut reader = log.reader(Isolation::Committed)?;
    let all: Vec<_> = (0..PARTITIONS).map(|p| (TopicPartition::new("out", p), 0)).collect();
    reader.assign(&all)?;
    let mut found = 0;
    while found < count {
        let batches = reader.poll(Budget { records: 5_000, bytes: 8 << 20 }, Duration::from_secs(10))?;
        found += batches.iter().map(|b| b.records.len()).sum::<usize>();
    }
    Ok(())
}
