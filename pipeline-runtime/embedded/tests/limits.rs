//! What this log takes and what it refuses, beyond what every log must.

mod common;

use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::{
    Class, Delivery, Event, Isolation, Log, LogError, Member, MemberConfig, NewTopic, Position, Retention, Sent,
};

fn failed(result: Result<(), Sent>) -> LogError {
    match result {
        Err(Sent::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_exist_is_said_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 2, Retention::Kept);
    let mut writer = log.writer().unwrap();
    let error = failed(writer.send(&mut vec![record("nowhere", 0, "k", "v")]));
    assert_eq!((error.class, error.code), (Class::Config, "unknown_topic"));
    assert!(error.message.contains("nowhere"), "{error}");
    let error = failed(writer.send(&mut vec![record("t", 2, "k", "v")]));
    assert_eq!((error.class, error.code), (Class::Config, "unknown_partition"));
    let error = failed(writer.send(&mut vec![record("t", -1, "k", "v")]));
    assert_eq!(error.code, "unknown_partition");
    let mut reader = log.reader(Isolation::Committed).unwrap();
    assert_eq!(reader.assign(&[(tp("nowhere", 0), 0)]).unwrap_err().code, "unknown_topic");
    // The writer goes on.
    writer.send(&mut vec![record("t", 1, "k", "v")]).unwrap();
    assert_eq!(read(&*log, "t", 1).len(), 1);
}

#[test]
fn topics_have_names_and_partitions_that_kafka_would_take() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let create = |name: &str, partitions| {
        let (retention, replication, max_record_bytes) = (Retention::Kept, None, None);
        let name = name.to_owned();
        log.create(&[NewTopic { name, partitions, retention, replication, max_record_bytes, settings: Vec::new() }])
    };
    for name in ["", ".", "..", "a/b", "naïve", "a b", &"x".repeat(250)] {
        assert_eq!(create(name, 1).unwrap_err().code, "topic_name", "{name:?}");
    }
    for partitions in [0, -1, 10_001] {
        assert_eq!(create("t", partitions).unwrap_err().code, "topic_partitions");
    }
    assert!(log.topics().unwrap().is_empty());
    create(&"x".repeat(249), 1).unwrap();
}

#[test]
fn a_transaction_has_a_largest_size() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { max_transaction_bytes: 10_000, ..EmbeddedOptions::default() };
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    topic(&*log, "t", 1, Retention::Kept);
    let mut member = started(&*log, "g", "t", 1);
    let error = failed(member.send(&mut (0..20).map(|_| record("t", 0, "k", vec![b'x'; 1000])).collect()));
    assert_eq!((error.class, error.code), (Class::Config, "transaction_too_large"));
    assert_eq!(failed(member.commit(&[])).class, Class::Abort, "what is left of it must not be committed");
    member.abort().unwrap();
    member.send(&mut vec![record("t", 0, "k", "v")]).unwrap();
    member.commit(&[]).unwrap();
    assert_eq!(read(&*log, "t", 0).len(), 1);
}

#[test]
fn metadata_has_a_largest_size() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    let mut member = started(&*log, "g", "t", 1);
    let metadata = "x".repeat(member.max_metadata() + 1);
    let error = failed(member.commit(&[Position { partition: tp("t", 0), offset: 0, metadata }]));
    assert_eq!((error.class, error.code), (Class::Config, "metadata_too_large"));
}

#[test]
fn a_member_waits_for_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut member = member(&*log, "g", "later");
    assert!(member.poll(PLENTY, Duration::ZERO, &mut Vec::new()).unwrap().is_empty());
    topic(&*log, "later", 2, Retention::Kept);
    let events = member.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap();
    assert!(matches!(&events[..], [Event::Assigned(all)] if all.len() == 2), "{events:?}");
    // And loses it with its topic.
    log.delete(&["later"]).unwrap();
    let events = member.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap();
    assert!(matches!(&events[..], [Event::Lost(all)] if all.len() == 2), "{events:?}");
}

fn static_member(log: &dyn Log, session: Duration) -> Box<dyn Member> {
    log.join(MemberConfig {
        group: "g".into(),
        lead: "t".into(),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: "m".into(),
        instance: Some("same".into()),
        session_timeout: session,
        prefetch_bytes: 0,
    })
    .unwrap()
}

#[test]
fn the_same_instance_replaces_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    let mut first = static_member(&*log, Duration::from_secs(60));
    first.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap();
    let mut second = static_member(&*log, Duration::from_secs(60));
    let events = second.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap();
    assert!(matches!(&events[..], [Event::Assigned(all)] if all.len() == 1), "{events:?}");
    first.send(&mut vec![record("t", 0, "k", "v")]).unwrap();
    // Not `Fenced`: who joins again takes the name back, and so on for ever.
    for error in [failed(first.commit(&[])), first.poll(PLENTY, Duration::ZERO, &mut Vec::new()).unwrap_err()] {
        assert_eq!((error.class, error.code), (Class::Config, "instance_taken"), "{error}");
        assert!(error.message.contains("`same`"), "{error}");
    }
    assert!(read(&*log, "t", 0).is_empty());
}

#[test]
fn who_was_taken_for_dead_cannot_even_commit_outputs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    let short = |name: &str| {
        let config = MemberConfig {
            group: "g".into(),
            lead: "t".into(),
            side: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            name: name.into(),
            instance: None,
            session_timeout: Duration::from_millis(100),
            prefetch_bytes: 0,
        };
        log.join(config).unwrap()
    };
    let mut late = short("late");
    assert_eq!(late.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap().len(), 1);
    late.send(&mut vec![record("t", 0, "k", "v")]).unwrap();
    let mut next = member(&*log, "g", "t");
    let events = next.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap();
    assert!(matches!(&events[..], [Event::Assigned(_)]), "{events:?}");
    assert_eq!(failed(late.commit(&[])).class, Class::Fenced);
    // It is told, must abort, and is a member again.
    let events = late.poll(PLENTY, Duration::ZERO, &mut Vec::new()).unwrap();
    assert!(matches!(&events[..], [Event::Lost(_)]), "{events:?}");
    assert_eq!(failed(late.commit(&[])).class, Class::Fenced);
    late.abort().unwrap();
    late.commit(&[]).unwrap();
    assert!(read(&*log, "t", 0).is_empty());
}

#[test]
fn a_closed_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    let mut member = started(&*log, "g", "t", 1);
    member.send(&mut vec![record("t", 0, "k", "v")]).unwrap();
    drop(log);
    assert_eq!(failed(member.commit(&[])).code, "log_closed");
    assert_eq!(member.poll(PLENTY, PATIENCE, &mut Vec::new()).unwrap_err().code, "log_closed");
    // The folder is free although the member is still there.
    let log = open(dir.path());
    assert!(read(&*log, "t", 0).is_empty());
}
