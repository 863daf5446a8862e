//! Work on letters against a real log: what the log refuses stays, and who is stopped or comes twice goes on with the
//! rest. Through crashes: `tests/tests/dlq`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filter_api::Headers;
use millstream_host::Stop;
use millstream_host::letters::{Destination, Letter, Pace, Place, Reading, Redrive, Report, Verdict, free, read, work};
use millstream_log::{End, Log, NewTopic, Outgoing, Retention, TopicPartition};

fn topic(name: &str, partitions: i32, max_record_bytes: Option<usize>) -> NewTopic {
    let (retention, replication, settings) = (Retention::Kept, None, Vec::new());
    NewTopic { name: name.to_owned(), partitions, retention, replication, max_record_bytes, settings }
}

/// A log with letters: their payloads, by partition.
fn log(folder: &tempfile::TempDir, letters: &[(i32, &str)]) -> Arc<dyn Log> {
    let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).expect("a log");
    log.create(&[topic("dlq", 2, None), topic("to", 1, Some(300))]).expect("topics");
    let mut writer = log.writer().expect("a writer");
    let mut records: Vec<Outgoing> = letters
        .iter()
        .map(|(partition, payload)| Outgoing {
            to: TopicPartition::new("dlq", *partition),
            key: None,
            value: Some(Bytes::copy_from_slice(payload.as_bytes())),
            headers: Headers::new(),
            timestamp: 1,
            tag: 0,
        })
        .collect();
    writer.send(&mut records).and_then(|()| writer.flush(Duration::from_secs(5))).expect("letters");
    log
}

fn stop() -> Stop {
    Stop::new(Duration::from_secs(5))
}

fn redrive(log: &dyn Log, stop: &Stop, mut each: impl FnMut(&Letter)) -> Report {
    let to = Destination::Topic { topic: Arc::from("to"), partitions: 1 };
    let redrive = Redrive { to, max_redrives: None, given_up: Arc::default() };
    work(log, &Place::of_topic("dlq"), Pace::default(), stop, &mut |letter| {
        each(letter);
        Ok(redrive.copy(letter).map_or_else(Verdict::Leave, |copy| Verdict::Finish(Some(copy))))
    })
    .expect("the log works")
}

fn open(log: &dyn Log) -> Vec<String> {
    let mut found = Vec::new();
    read(log, &Place::of_topic("dlq"), &Reading::default(), &stop(), &mut |letter| {
        found.push(letter.place());
        std::ops::ControlFlow::Continue(())
    })
    .expect("the log works");
    found
}

fn sent(log: &dyn Log) -> i64 {
    log.ends(&[TopicPartition::new("to", 0)], End::High).expect("the log works")[0]
}

/// Broken by hand: without remembering what was refused, the work never ends.
#[test]
fn what_the_log_refuses_stays_and_the_rest_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "x".repeat(1_000);
    let log = log(&folder, &[(0, "a"), (0, &long), (0, "b"), (1, &long), (1, "c")]);
    let report = redrive(&*log, &stop(), |_| {});
    assert_eq!(report.finished, 3);
    let refused: Vec<_> = report.refused.iter().map(|r| (r.partition, r.offset)).collect();
    assert_eq!(refused, [(0, 1), (1, 0)]);
    assert!(!report.stopped && !report.refused[0].why.is_empty());
    assert_eq!((open(&*log), sent(&*log)), (vec!["0:1".to_owned(), "1:0".to_owned()], 3));
    assert_eq!(redrive(&*log, &stop(), |_| {}).finished, 0);
    assert_eq!(sent(&*log), 3);
}

#[test]
fn who_is_stopped_leaves_the_rest_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(&folder, &[(0, "a"), (0, "b"), (1, "c")]);
    let stop_now = stop();
    // Told to stop with the first letter in hand: its transaction is finished, the others stay.
    let report = redrive(&*log, &stop_now, |_| stop_now.drain());
    assert!(report.stopped);
    assert_eq!((report.finished, open(&*log).len()), (1, 2));
    let report = redrive(&*log, &stop(), |_| {});
    assert_eq!((report.finished, report.stopped, sent(&*log)), (2, false, 3));
}

#[test]
fn a_letter_that_comes_meanwhile_is_for_the_next_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(&folder, &[(0, "a")]);
    let place = Place::of_topic("dlq");
    // As `edit` does: what becomes of a letter is a letter.
    let again = |letter: &Letter| Outgoing {
        to: TopicPartition::new("dlq", letter.partition),
        key: None,
        value: letter.record.value.clone(),
        headers: Headers::new(),
        timestamp: 1,
        tag: 0,
    };
    for _ in 0..3 {
        let report =
            work(&*log, &place, Pace::default(), &stop(), &mut |l| Ok(Verdict::Finish(Some(again(l))))).expect("works");
        assert_eq!((report.finished, open(&*log).len()), (1, 1));
    }
    let purged = work(&*log, &place, Pace::default(), &stop(), &mut |_| Ok(Verdict::Finish(None))).expect("works");
    assert_eq!((purged.finished, free(&*log, &place).expect("works")), (1, 1));
    let at = [TopicPartition::new("dlq", 0)];
    let ends = (log.ends(&at, End::Low).expect("works"), log.ends(&at, End::High).expect("works"));
    assert_eq!(ends.0, ends.1, "nothing is left in the topic");
}
