//! Two stages of several replicas on threads, which abort, fall silent and die at random: every record comes out once
//! and in order.
#![allow(clippy::print_stdout, reason = "a test tells its seed")]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions, Fsync};
use millstream_log::{
    Batch, Budget, Class, Delivery, End, Event, Log, Member, MemberConfig, Outgoing, Position, Retention, Sent,
    TopicPartition,
};

const PARTITIONS: i32 = 4;
const RECORDS: usize = 6_000;

/// One life of a replica: copies until told to stop, or until its luck runs out.
struct Replica<'a> {
    log: &'a dyn Log,
    group: &'a str,
    from: &'a str,
    to: &'a str,
    random: fastrand::Rng,
    stop: &'a AtomicBool,
    /// Commits positions before outputs, which must be caught.
    broken: bool,
}

impl Replica<'_> {
    fn live(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let member = self.log.join(MemberConfig {
                group: self.group.into(),
                lead: self.from.into(),
                side: Vec::new(),
                delivery: Delivery::ExactlyOnce,
                name: "m".into(),
                instance: None,
                // So short that a thread that gets no time is taken for dead, too.
                session_timeout: Duration::from_millis(self.random.u64(20..200)),
                prefetch_bytes: 1 << 20,
            });
            self.one_life(member.unwrap());
        }
    }

    fn one_life(&mut self, mut member: Box<dyn Member>) {
        let mut done: HashMap<TopicPartition, (u64, i64)> = HashMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let mut batches = Vec::new();
            let budget = Budget { records: self.random.usize(1..200), bytes: 1 << 20 };
            for event in member.poll(budget, Duration::from_millis(10), &mut batches).unwrap() {
                match event {
                    Event::Assigned(all) => {
                        let start = |a: &millstream_log::Assignment| a.committed.as_ref().map_or(a.low, |c| c.offset);
                        done.extend(all.iter().map(|a| (a.partition.clone(), (a.epoch, start(a)))));
                        let positions: Vec<_> = all.iter().map(|a| position(&a.partition, start(a))).collect();
                        match member.start(&positions) {
                            Err(e) if e.class == Class::Fenced => return,
                            other => other.unwrap(),
                        }
                    }
                    Event::Revoking(all) => {
                        done.retain(|at, _| !all.contains(at));
                        member.release(&all).unwrap();
                    }
                    Event::Lost(all) => {
                        done.retain(|at, _| !all.contains(at));
                        member.abort().unwrap();
                    }
                    Event::BrokerAway(..) => {}
                }
            }
            if self.copy(&mut *member, batches, &mut done).is_err() {
                return;
            }
            if self.random.u8(..) < 2 {
                // Dropped without a word, as when a thread panics.
                return;
            }
        }
    }

    fn copy(
        &mut self,
        member: &mut dyn Member,
        batches: Vec<Batch>,
        done: &mut HashMap<TopicPartition, (u64, i64)>,
    ) -> Result<(), Sent> {
        let mut positions = Vec::new();
        let mut records = Vec::new();
        for batch in batches {
            let at = batch.partition.clone();
            if done.get(&at).is_none_or(|(epoch, _)| *epoch != batch.epoch) {
                continue;
            }
            records.extend(batch.records.into_iter().map(|r| Outgoing {
                to: TopicPartition::new(self.to, at.partition),
                key: r.key,
                value: r.value,
                headers: r.headers,
                timestamp: r.timestamp,
                tag: 0,
            }));
            positions.push(position(&at, batch.next));
        }
        if self.broken {
            member.commit(&positions)?;
        }
        member.send(&mut records)?;
        match self.random.u8(..) {
            0..20 => {
                // Back to where it was.
                member.abort().unwrap();
                let again: Vec<_> = positions.iter().map(|p| position(&p.partition, done[&p.partition].1)).collect();
                return member.start(&again).map_err(Sent::Failed);
            }
            20..25 => {
                // Silent for longer than its session, as a filter that hangs: until others have taken over, or for
                // some rounds if there are none.
                for _ in 0..20 {
                    let mut other = self.log.reader(millstream_log::Isolation::Committed).unwrap();
                    other.poll(PLENTY, Duration::from_millis(10)).unwrap();
                }
            }
            _ => {}
        }
        member.commit(if self.broken { &[] } else { &positions })?;
        for p in positions {
            if let Some((_, offset)) = done.get_mut(&p.partition) {
                *offset = p.offset;
            }
        }
        Ok(())
    }
}

fn position(at: &TopicPartition, offset: i64) -> Position {
    Position { partition: at.clone(), offset, metadata: String::new() }
}

fn run(dir: &Path, seed: u64, broken: bool) {
    // Forced to disk at each commit, there is time between the check of a commit and its effect.
    let fsync = if seed.is_multiple_of(2) { Fsync::Always } else { Fsync::Off };
    let options =
        EmbeddedOptions { fsync, segment_bytes: 128 << 10, cache_bytes: 64 << 10, ..EmbeddedOptions::default() };
    let log = EmbeddedLog::open(dir, options.clone()).unwrap();
    for name in ["in", "middle", "out"] {
        topic(&*log, name, PARTITIONS, Retention::Kept);
    }
    // Half of the replicas work through the socket.
    let other = EmbeddedLog::open(dir, options.clone()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for replica in 0..6u64 {
            let log: Arc<dyn Log> = if replica % 2 == 0 { log.clone() } else { other.clone() };
            let (group, from, to) = if replica < 3 { ("one", "in", "middle") } else { ("two", "middle", "out") };
            let stop = &stop;
            scope.spawn(move || {
                let random = fastrand::Rng::with_seed(seed.wrapping_add(replica));
                Replica { log: &*log, group, from, to, random, stop, broken }.live();
            });
        }
        let mut number = 0;
        for _ in 0..RECORDS / 50 {
            let batch = (0..50).map(|_| {
                number += 1;
                record("in", number % PARTITIONS, "k", number.to_string())
            });
            write(&*log, batch.collect());
        }
        let mut nothing = log.reader(millstream_log::Isolation::Committed).unwrap();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("all positions are at the end", || {
                // Leaves the processor to the replicas.
                nothing.poll(PLENTY, Duration::from_millis(5)).unwrap();
                let reached = |group: &str, topic: &str| {
                    let all: Vec<_> = (0..PARTITIONS).map(|p| tp(topic, p)).collect();
                    let ends = log.ends(&all, End::High).unwrap();
                    let positions = log.committed(group, &all).unwrap();
                    positions.iter().zip(ends).all(|(c, end)| c.as_ref().is_some_and(|c| c.offset == end))
                };
                (reached("one", "in") && reached("two", "middle")).then_some(())
            });
        }));
        stop.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    check(&*log);
    drop(other);
    drop(log);
    check(&*EmbeddedLog::open(dir, options).unwrap());
}

fn check(log: &dyn Log) {
    for topic in ["middle", "out"] {
        for partition in 0..PARTITIONS {
            let values = |topic: &str| -> Vec<_> {
                read(log, topic, partition).into_iter().map(|r| (r.key, r.value, r.timestamp)).collect()
            };
            assert!(values(topic) == values("in"), "{topic}/{partition} is not what went in");
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("MILLSTREAM_SEED={seed}");
    seed
}

#[test]
fn every_record_comes_out_once_and_in_order() {
    let seed = seed();
    for round in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), seed.wrapping_add(101 * round), false);
    }
}

/// The negative control: replicas that commit positions before outputs lose records.
#[test]
fn the_check_notices_positions_committed_before_outputs() {
    let seed = seed();
    let caught = (0..10).any(|round| {
        let dir = tempfile::tempdir().unwrap();
        std::panic::catch_unwind(|| run(dir.path(), seed.wrapping_add(101 * round), true)).is_err()
    });
    assert!(caught, "nothing was lost in ten runs");
}
