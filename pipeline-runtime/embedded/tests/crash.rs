//! Processes that are killed: every transaction that was acknowledged is there whole, and no other one in part.
#![allow(clippy::print_stdout, reason = "a child tells its parent, and a test its seed")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions, Fsync};
use millstream_log::{Class, Log, Position, Retention, Sent};

const FOLDER: &str = "MILLSTREAM_CRASH_FOLDER";
const BROKEN: &str = "MILLSTREAM_CRASH_BROKEN";
const PARTITIONS: i32 = 3;
const ROUNDS: u32 = 12;

/// Small segments, so that kills hit their change too.
fn options(fsync: Fsync) -> EmbeddedOptions {
    EmbeddedOptions {
        fsync,
        segment_bytes: 256 << 10,
        retention_every: Duration::from_millis(20),
        compact_after_bytes: 32 << 10,
        ..EmbeddedOptions::default()
    }
}

fn fsync(round: u32) -> Fsync {
    match round % 3 {
        0 => Fsync::Always,
        1 => Fsync::Interval(Duration::from_millis(5)),
        _ => Fsync::Off,
    }
}

/// The process that is killed; as a test of its own it has nothing to do.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let broken = std::env::var(BROKEN).is_ok();
    let round: u32 = std::env::var("MILLSTREAM_CRASH_ROUND").unwrap().parse().unwrap();
    let log = EmbeddedLog::open(&folder, options(fsync(round))).unwrap();
    for name in ["in", "a", "b"] {
        topic(&*log, name, PARTITIONS, Retention::Kept);
    }
    topic(&*log, "latest", 1, Retention::Compacted);
    topic(&*log, "passing", 1, Retention::Kept);
    let mut member = started(&*log, "g", "in", PARTITIONS as usize);
    let mut next = committed(&*log);
    let mut out = std::io::stdout().lock();
    // The parent kills long before this; a bound in case it died.
    for _ in 0..2_000_000 {
        let position = Position { partition: tp("in", 0), offset: next + 1, metadata: format!("m{next}") };
        let size = (next as usize * 7919) % 3000;
        let mut records: Vec<_> = (0..PARTITIONS).map(|p| record("a", p, "k", numbered(next, 20))).collect();
        records.push(record("passing", 0, "k", numbered(next, 2000)));
        records.push(record("latest", 0, &format!("k{}", next % 5), numbered(next, 10)));
        member.send(&mut records).unwrap();
        if broken {
            // What must not be: outputs before the position, in two transactions.
            member.commit(&[]).unwrap();
        }
        member.send(&mut vec![record("b", (next % 3) as i32, "k", numbered(next, size))]).unwrap();
        member.commit(&[position]).unwrap();
        writeln!(out, "committed {next}").unwrap();
        out.flush().unwrap();
        next += 1;
        if next % 50 == 0 {
            let upto = log.ends(&[tp("passing", 0)], millstream_log::End::High).unwrap()[0] - 20;
            log.delete_before(&[(tp("passing", 0), upto)]).unwrap();
        }
    }
}

fn numbered(n: i64, size: usize) -> String {
    format!("{n} {}", "x".repeat(size))
}

fn number(record: &millstream_log::LogRecord) -> i64 {
    let value = std::str::from_utf8(record.value.as_deref().unwrap()).unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

fn committed(log: &dyn Log) -> i64 {
    log.committed("g", &[tp("in", 0)]).unwrap()[0].as_ref().map_or(0, |c| c.offset)
}

/// Starts a child, kills it after some acknowledgements, gives the last one.
fn killed_after(folder: &std::path::Path, round: u32, acknowledgements: u64, broken: bool) -> i64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
    command.env("MILLSTREAM_CRASH_ROUND", round.to_string());
    if broken {
        command.env(BROKEN, "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, hear) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The harness prints the test's name before the first line.
            let Some(number) = line.rsplit_once("committed ").and_then(|(_, n)| n.parse::<i64>().ok()) else {
                continue;
            };
            if tell.send(number).is_err() {
                break;
            }
        }
    });
    let mut last = -1;
    for _ in 0..acknowledgements {
        last = hear.recv_timeout(PATIENCE).expect("the child commits");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts too.
    for number in hear {
        last = number;
    }
    listener.join().unwrap();
    last
}

/// Panics if an acknowledged transaction is missing or any is there in part.
fn check(folder: &std::path::Path, round: u32, acknowledged: i64) -> i64 {
    let log = EmbeddedLog::open(folder, options(fsync(round))).unwrap();
    let next = committed(&*log);
    assert!(next > acknowledged, "{acknowledged} was acknowledged, and the position is {next}");
    let metadata = log.committed("g", &[tp("in", 0)]).unwrap().remove(0).unwrap().metadata;
    assert_eq!(metadata, format!("m{}", next - 1));
    let all: Vec<i64> = (0..next).collect();
    for partition in 0..PARTITIONS {
        let found: Vec<i64> = read(&*log, "a", partition).iter().map(number).collect();
        assert_eq!(found, all, "a/{partition}");
    }
    let mut found: Vec<i64> = (0..PARTITIONS).flat_map(|p| read(&*log, "b", p)).map(|r| number(&r)).collect();
    found.sort_unstable();
    assert_eq!(found, all, "b");
    let passing: Vec<i64> = read(&*log, "passing", 0).iter().map(number).collect();
    assert_eq!(passing, all[all.len() - passing.len()..], "passing");
    let latest = read(&*log, "latest", 0);
    for key in 0..5.min(next) {
        let name = format!("k{key}");
        let last = latest.iter().rfind(|r| r.key.as_deref() == Some(name.as_bytes())).map(number);
        assert_eq!(last, all.iter().rfind(|n| *n % 5 == key).copied(), "latest {name}");
    }
    next
}

fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("MILLSTREAM_SEED={seed}");
    seed
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..ROUNDS {
        let acknowledged = killed_after(folder.path(), round, random.u64(1..400), false);
        let next = check(folder.path(), round, acknowledged);
        assert!(next > before, "round {round} went back from {before} to {next}");
        before = next;
    }
}

/// The negative control: a child that commits outputs and position apart must be caught.
#[test]
fn the_check_notices_outputs_committed_apart_from_their_position() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folder = tempfile::tempdir().unwrap();
    let caught = (0..200).any(|round| {
        let acknowledged = killed_after(folder.path(), 1, random.u64(1..20), true);
        let outcome = std::panic::catch_unwind(|| check(folder.path(), round, acknowledged));
        outcome.is_err()
    });
    assert!(caught, "200 kills and not one between the two commits");
}

/// A process that writes until the disk takes no more; as a test of its own it has nothing to do.
#[test]
fn filler() {
    let Ok(folder) = std::env::var("MILLSTREAM_FULL_FOLDER") else { return };
    let options = EmbeddedOptions { fsync: Fsync::Always, ..EmbeddedOptions::default() };
    let log = EmbeddedLog::open(&folder, options).unwrap();
    for name in ["in", "out"] {
        topic(&*log, name, 1, Retention::Kept);
    }
    let mut member = started(&*log, "g", "in", 1);
    let mut next = 0;
    let error = loop {
        member.send(&mut vec![record("out", 0, "k", numbered(next, 5000))]).unwrap();
        let position = Position { partition: tp("in", 0), offset: next + 1, metadata: String::new() };
        match member.commit(&[position]) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
    };
    let Sent::Failed(error) = error else { panic!("{error:?}") };
    assert_eq!((error.class, error.code), (Class::Retry, "log_write"), "{error}");
    // What was committed can be read, what was not is not there; trying again fails the same way.
    assert_eq!(read(&*log, "out", 0).len() as i64, next);
    let position = |offset| Position { partition: tp("in", 0), offset, metadata: String::new() };
    assert!(member.commit(&[position(next + 1)]).is_err());
    // Something smaller still finds room, so the log is not broken for good.
    member.abort().unwrap();
    member.send(&mut vec![record("out", 0, "k", numbered(next, 10))]).unwrap();
    member.commit(&[position(next + 1)]).unwrap();
    println!("\nfilled {}", next + 1);
}

#[test]
fn a_full_disk_loses_nothing_and_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // A limit on the size of files, whose signal is ignored so that writes fail as on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" filler --exact --nocapture --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .env("MILLSTREAM_FULL_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let count = said.lines().find_map(|l| l.strip_prefix("filled ")).and_then(|n| n.parse::<usize>().ok());
    let count = count.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert!(count > 10, "{count}");
    let log = open(folder.path());
    assert_eq!(read(&*log, "out", 0).len(), count);
    assert_eq!(committed(&*log), count as i64);
}
