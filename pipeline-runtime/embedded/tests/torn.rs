//! Files that were cut or changed: what is opened is a prefix of whole transactions, or it is refused; never less than
//! that, never anything else.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions, Fsync};
use millstream_log::{Class, Isolation, Log, LogError, LogResult, Position, Retention};

/// Never forced to disk: every frame after the first can be a casualty of a power cut.
fn options() -> EmbeddedOptions {
    EmbeddedOptions { fsync: Fsync::Off, serve: false, ..EmbeddedOptions::default() }
}

const TRANSACTIONS: i64 = 6;

/// A folder as a kill leaves it: transaction i writes i to `x` and `y` and commits position i + 1.
fn killed(dir: &Path, cleanly: bool) -> PathBuf {
    let live = dir.join("live");
    let log = EmbeddedLog::open(&live, options()).unwrap();
    for name in ["in", "x", "y"] {
        topic(&*log, name, 1, Retention::Kept);
    }
    let mut member = started(&*log, "g", "in", 1);
    for i in 0..TRANSACTIONS {
        let value = || i.to_string();
        member.send(&mut vec![record("x", 0, "k", value()), record("y", 0, "k", value())]).unwrap();
        let position = Position { partition: tp("in", 0), offset: i + 1, metadata: format!("m{i}") };
        member.commit(&[position]).unwrap();
    }
    let killed = dir.join("killed");
    if cleanly {
        drop(member);
        drop(log);
    }
    copy(&live, &killed);
    killed
}

/// How many transactions are there. Panics if one is there in part.
fn whole(log: &dyn Log) -> LogResult<i64> {
    let described = log.describe(&["in", "x", "y"])?;
    if described.iter().any(Option::is_none) {
        // Not even the topics were left: no transaction can be.
        assert!(described[2].is_none(), "the topics were created one after the other");
        return Ok(0);
    }
    let values = |topic: &str| -> LogResult<Vec<String>> {
        let mut reader = log.reader(Isolation::Committed)?;
        reader.assign(&[(tp(topic, 0), 0)])?;
        let batches = reader.poll(PLENTY, Duration::ZERO)?;
        let records = batches.into_iter().flat_map(|b| b.records);
        Ok(records.map(|r| String::from_utf8(r.value.unwrap().to_vec()).unwrap()).collect())
    };
    let (x, y) = (values("x")?, values("y")?);
    assert_eq!(x, y, "a transaction is there in part");
    assert_eq!(x, (0..x.len()).map(|i| i.to_string()).collect::<Vec<_>>());
    let committed = log.committed("g", &[tp("in", 0)])?.remove(0);
    let position = committed.as_ref().map_or(0, |c| c.offset);
    assert_eq!(position, x.len() as i64, "outputs and position differ");
    if position > 0 {
        assert_eq!(committed.unwrap().metadata, format!("m{}", position - 1));
    }
    Ok(position)
}

/// Opens a folder whose only segment has this content.
fn with_content(dir: &Path, content: &[u8]) -> Result<i64, LogError> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("0000000001.seg"), content).unwrap();
    let log = EmbeddedLog::open(dir, options())?;
    let found = whole(&*log)?;
    if log.describe(&["x"])?[0].is_some() {
        // What was opened can be written to and opened again.
        write(&*log, vec![record("x", 0, "k", "more")]);
        drop(log);
        let log = EmbeddedLog::open(dir, options())?;
        assert_eq!(read(&*log, "x", 0).len() as i64, found + 1);
    }
    Ok(found)
}

#[test]
fn cut_anywhere_a_prefix_of_whole_transactions_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let killed = killed(dir.path(), false);
    let content = std::fs::read(&segments(&killed)[0]).unwrap();
    let mut counts = Vec::new();
    for cut in 0..=content.len() {
        match with_content(&dir.path().join("cut"), &content[..cut]) {
            Ok(found) => counts.push(found),
            // The header and the first frame appear together under the file's name, so no kill cuts them.
            Err(error) => {
                assert_eq!(error.code, "log_damaged", "{error}");
                assert!(counts.is_empty(), "cut at {cut}: {error}");
            }
        }
    }
    assert!(counts.is_sorted(), "a longer file has fewer transactions");
    counts.dedup();
    assert_eq!(counts, (0..=TRANSACTIONS).collect::<Vec<_>>());
}

#[test]
fn a_changed_byte_never_gives_anything_but_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let killed = killed(dir.path(), false);
    let content = std::fs::read(&segments(&killed)[0]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..content.len() {
        let mut changed = content.clone();
        changed[at] ^= 1 << (at % 8);
        match with_content(&dir.path().join("changed"), &changed) {
            Ok(found) => {
                assert!(found < TRANSACTIONS, "the change of byte {at} went unnoticed");
                seen.insert(found);
            }
            Err(error) => assert!(matches!(error.code, "log_damaged" | "log_version"), "byte {at}: {error}"),
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..TRANSACTIONS).collect::<Vec<_>>());
}

#[test]
fn damage_after_a_clean_end_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let killed = killed(dir.path(), true);
    let content = std::fs::read(&segments(&killed)[0]).unwrap();
    let target = dir.path().join("damaged");
    let mut refused = 0;
    for at in 0..content.len() {
        let mut changed = content.clone();
        changed[at] ^= 0x40;
        match with_content(&target, &changed) {
            // Only the very last frame, which holds nothing, looks like an unfinished write.
            Ok(found) => assert_eq!(found, TRANSACTIONS, "byte {at}"),
            Err(error) if error.code == "log_version" => assert_eq!(at, 7),
            Err(error) => {
                assert_eq!((error.class, error.code), (Class::Fatal, "log_damaged"), "byte {at}: {error}");
                assert!(error.message.contains("0000000001.seg") && error.message.contains("at byte"), "{error}");
                let now = std::fs::read(&segments(&target)[0]).unwrap();
                assert_eq!(now, changed, "a refused file was changed");
                refused += 1;
            }
        }
    }
    assert!(refused > content.len() * 9 / 10, "{refused} of {}", content.len());
}

#[test]
fn what_a_power_cut_left_behind_a_hole_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let killed = killed(dir.path(), false);
    let file = segments(&killed).remove(0);
    let content = std::fs::read(&file).unwrap();
    let second = find(&content, b"m1").unwrap();
    let mut holed = content.clone();
    holed[second] = 0;
    std::fs::write(&file, &holed).unwrap();
    let log = EmbeddedLog::open(&killed, options()).unwrap();
    assert_eq!(whole(&*log).unwrap(), 1);
    let aside: Vec<_> = std::fs::read_dir(&killed)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "bin"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    let kept = std::fs::read(&aside[0]).unwrap();
    assert!(holed.ends_with(&kept) && !kept.is_empty(), "what was set aside is not the end of the file");
}

fn find(content: &[u8], what: &[u8]) -> Option<usize> {
    content.windows(what.len()).position(|w| w == what)
}

/// Negative controls: what a log without these promises would leave must be noticed by the check above, or the check
/// could not notice anything. First a changed value whose checksum was made to fit, as if nobody looked at checksums.
#[test]
fn the_check_notices_a_changed_value() {
    let dir = tempfile::tempdir().unwrap();
    let killed = killed(dir.path(), false);
    let file = segments(&killed).remove(0);
    let mut content = std::fs::read(&file).unwrap();
    // The record before its key and value is 24 bytes, and before the run's first record is its checksum.
    let value = content.windows(2).rposition(|w| w == b"k5").unwrap() + 1;
    let run = value - 25;
    content[value] = b'9';
    let crc = crc32c::crc32c(&content[run..=value]);
    content[run - 4..run].copy_from_slice(&crc.to_le_bytes());
    let outcome = std::panic::catch_unwind(|| with_content(&dir.path().join("changed"), &content));
    assert!(outcome.is_err(), "a changed value was taken for the one that was written");
}

/// Then a transaction split in two, with a kill between the halves.
#[test]
fn the_check_notices_half_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = EmbeddedLog::open(&live, options()).unwrap();
    for name in ["in", "x", "y"] {
        topic(&*log, name, 1, Retention::Kept);
    }
    let mut member = started(&*log, "g", "in", 1);
    member.send(&mut vec![record("x", 0, "k", "0")]).unwrap();
    member.commit(&[]).unwrap();
    let killed = dir.path().join("killed");
    copy(&live, &killed);
    let log = EmbeddedLog::open(&killed, options()).unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| whole(&*log)));
    assert!(outcome.is_err(), "half a transaction was taken for a whole one");
}
