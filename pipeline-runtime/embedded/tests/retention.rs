//! What may go goes, and frees disk; what may not go stays, through restarts.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::{End, Log, Outgoing, Retention};

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 256 << 10,
        retention_every: Duration::from_millis(10),
        compact_after_bytes: 64 << 10,
        cache_bytes: 64 << 10,
        ..EmbeddedOptions::default()
    }
}

fn log(dir: &Path) -> Arc<dyn Log> {
    EmbeddedLog::open(dir, options()).unwrap()
}

fn bytes(dir: &Path) -> u64 {
    segments(dir).iter().filter_map(|p| p.metadata().ok()).map(|m| m.len()).sum()
}

/// Writes `count` records of a kilobyte, a few to a frame.
fn fill(log: &dyn Log, topic: &str, from: usize, count: usize) {
    for first in (from..from + count).step_by(10) {
        let frame = first..(first + 10).min(from + count);
        write(log, frame.map(|i| record(topic, 0, &format!("k{}", i % 20), format!("{i:01000}"))).collect());
    }
}

fn values(log: &dyn Log, topic: &str) -> Vec<usize> {
    let text = |r: &millstream_log::LogRecord| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap();
    read(log, topic, 0).iter().map(|r| text(r).parse().unwrap()).collect()
}

#[test]
fn deleted_records_free_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    fill(&*log, "t", 0, 3000);
    assert!(bytes(dir.path()) > 3_000_000);
    log.delete_before(&[(tp("t", 0), 2900)]).unwrap();
    until("the disk is freed", || (bytes(dir.path()) < 700_000).then_some(()));
    assert_eq!(values(&*log, "t"), (2900..3000).collect::<Vec<_>>());
    drop(log);
    let log = self::log(dir.path());
    assert_eq!(values(&*log, "t"), (2900..3000).collect::<Vec<_>>());
    assert_eq!(log.ends(&[tp("t", 0)], End::Low).unwrap(), [2900]);
}

#[test]
fn a_deleted_topic_frees_its_files_and_stays_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    fill(&*log, "t", 0, 1000);
    topic(&*log, "u", 1, Retention::Kept);
    fill(&*log, "u", 0, 1000);
    log.delete(&["t"]).unwrap();
    until("the disk is freed", || (bytes(dir.path()) < 1_700_000).then_some(()));
    topic(&*log, "t", 2, Retention::Kept);
    drop(log);
    let log = self::log(dir.path());
    assert_eq!(log.topics().unwrap(), ["t", "u"]);
    assert!(values(&*log, "t").is_empty());
    assert_eq!(values(&*log, "u"), (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_few_records_of_a_kept_topic_do_not_pin_the_files_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "passing", 1, Retention::Kept);
    topic(&*log, "kept", 1, Retention::Kept);
    // In every file, some of both.
    for i in 0..30 {
        fill(&*log, "passing", i * 100, 100);
        write(&*log, vec![Outgoing { timestamp: i as i64, ..record("kept", 0, "k", format!("{i}")) }]);
    }
    let before = read(&*log, "kept", 0);
    log.delete_before(&[(tp("passing", 0), 3000)]).unwrap();
    until("the disk is freed", || (bytes(dir.path()) < 700_000).then_some(()));
    // Moved, and the same: offsets, time stamps, order; also when read from the disk after a restart.
    assert_eq!(read(&*log, "kept", 0), before);
    assert_eq!(log.ends(&[tp("kept", 0)], End::AtTime(17)).unwrap(), [17]);
    drop(log);
    let log = self::log(dir.path());
    assert_eq!(read(&*log, "kept", 0), before);
    assert_eq!(log.ends(&[tp("kept", 0)], End::AtTime(17)).unwrap(), [17]);
    write(&*log, vec![record("kept", 0, "k", "30")]);
    assert_eq!(values(&*log, "kept"), (0..31).collect::<Vec<_>>());
}

#[test]
fn records_go_when_they_were_written_long_enough_ago() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "short", 1, Retention::Written(Duration::from_millis(200)));
    topic(&*log, "long", 1, Retention::Written(Duration::from_secs(3600)));
    fill(&*log, "short", 0, 1000);
    fill(&*log, "long", 0, 10);
    until("the records go", || (log.ends(&[tp("short", 0)], End::Low).unwrap() == [1000]).then_some(()));
    until("the disk is freed", || (bytes(dir.path()) < 600_000).then_some(()));
    assert!(read(&*log, "short", 0).is_empty());
    assert_eq!(values(&*log, "long"), (0..10).collect::<Vec<_>>());
    let next = log.ends(&[tp("short", 0)], End::High).unwrap();
    drop(log);
    let log = self::log(dir.path());
    assert_eq!(log.ends(&[tp("short", 0)], End::High).unwrap(), next, "offsets are never used twice");
}

#[test]
fn a_compacted_topic_shrinks_to_the_last_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "c", 1, Retention::Compacted);
    fill(&*log, "c", 0, 3000);
    write(&*log, vec![Outgoing { value: None, ..record("c", 0, "k7", "") }]);
    let shrunk = |log: &dyn Log| {
        until("it is compacted", || {
            fill(log, "c", 2980, 20);
            (read(log, "c", 0).len() < 200 && bytes(dir.path()) < 1_000_000).then_some(())
        });
    };
    shrunk(&*log);
    let check = |log: &dyn Log| {
        let found = read(log, "c", 0);
        assert!(found.is_sorted_by(|a, b| a.offset < b.offset));
        for key in 0..20 {
            let name = format!("k{key}");
            let last = found.iter().rfind(|r| r.key.as_deref() == Some(name.as_bytes())).unwrap();
            assert_eq!(last.value.as_deref(), Some(format!("{:01000}", 2980 + key).as_bytes()));
        }
    };
    check(&*log);
    let high = log.ends(&[tp("c", 0)], End::High).unwrap();
    drop(log);
    let log = self::log(dir.path());
    check(&*log);
    assert_eq!(log.ends(&[tp("c", 0)], End::High).unwrap(), high);
    shrunk(&*log);
    check(&*log);
}

#[test]
fn a_tombstone_goes_after_its_time_and_the_key_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions { keep_tombstones: Duration::ZERO, compact_after_bytes: 1, ..options() };
    let log = EmbeddedLog::open(dir.path(), options()).unwrap();
    topic(&*log, "c", 1, Retention::Compacted);
    write(&*log, vec![record("c", 0, "gone", "1"), record("c", 0, "stays", "2")]);
    write(&*log, vec![Outgoing { value: None, ..record("c", 0, "gone", "") }]);
    until("the tombstone goes", || {
        // Something has to be written for a compaction to be due.
        write(&*log, vec![record("c", 0, "other", "3")]);
        read(&*log, "c", 0).iter().all(|r| r.key.as_deref() != Some(b"gone")).then_some(())
    });
    for _ in 0..2 {
        let keys: Vec<_> = read(&*log, "c", 0).into_iter().map(|r| r.key.unwrap()).collect();
        assert!(keys.iter().all(|k| k != "gone") && keys.iter().any(|k| k == "stays"), "{keys:?}");
    }
    drop(log);
    let log = EmbeddedLog::open(dir.path(), options()).unwrap();
    let keys: Vec<_> = read(&*log, "c", 0).into_iter().map(|r| r.key.unwrap()).collect();
    assert!(keys.iter().all(|k| k != "gone") && keys.iter().any(|k| k == "stays"), "{keys:?}");
}

#[test]
fn a_missing_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    fill(&*log, "t", 0, 1500);
    drop(log);
    let files = segments(dir.path());
    assert!(files.len() > 3);
    for missing in [&files[0], &files[2]] {
        let aside = dir.path().join("aside");
        std::fs::rename(missing, &aside).unwrap();
        let error = EmbeddedLog::open(dir.path(), options()).err().expect("a folder with a hole was opened");
        assert_eq!(error.code, "log_damaged", "{error}");
        std::fs::rename(&aside, missing).unwrap();
    }
    assert_eq!(values(&*self::log(dir.path()), "t"), (0..1500).collect::<Vec<_>>());
}
