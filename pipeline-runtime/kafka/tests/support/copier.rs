//! A replica as the host drives one: copies a topic exactly once, whatever happens to brokers and group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use millstream_log::{
    Batch, Budget, Class, Event, Log, Member, MemberConfig, Outgoing, Position, Sent, TopicPartition,
};
use millstream_test_kafka::unique;

use super::{TURN, member};

/// Small steps, so that many transactions are under way.
const STEP: Budget = Budget { records: 50, bytes: 1 << 20 };

/// Copies `input` to the same partitions of `output`.
pub struct Copier {
    pub log: Arc<dyn Log>,
    pub group: String,
    pub input: String,
    pub output: String,
    /// Records copied in committed transactions, by all copiers that share it.
    pub copied: Arc<AtomicUsize>,
    /// Records that are there to be copied, where somebody counts them.
    pub there: AtomicUsize,
    /// Times a member was given up and joined anew.
    pub rejoined: AtomicUsize,
    /// Times the brokers were said to be away.
    pub away: AtomicUsize,
}

/// Tells the copiers to stop when it goes, so that a failed test ends.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// One member's knowledge.
struct Life {
    member: Box<dyn Member>,
    /// Where the last commit stands.
    committed: BTreeMap<TopicPartition, i64>,
    /// Where reading stands.
    next: BTreeMap<TopicPartition, i64>,
    epochs: BTreeMap<TopicPartition, u64>,
    count: usize,
}

impl Copier {
    /// A copier of a new group.
    pub fn new(log: Arc<dyn Log>, input: &str, output: &str) -> Self {
        Self {
            log,
            group: unique("copy"),
            input: input.to_owned(),
            output: output.to_owned(),
            copied: Arc::default(),
            there: AtomicUsize::new(0),
            rejoined: AtomicUsize::new(0),
            away: AtomicUsize::new(0),
        }
    }

    /// Runs until told to stop.
    pub fn run(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let config: MemberConfig = member(&self.group, &self.input, "copier");
            let member = match self.log.join(config) {
                Ok(member) => member,
                Err(error) if error.class == Class::Retry => {
                    assert!(error.message.contains("Kafka at "), "{error}");
                    self.away.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(error) => panic!("cannot join: {error}"),
            };
            let mut life =
                Life { member, committed: BTreeMap::new(), next: BTreeMap::new(), epochs: BTreeMap::new(), count: 0 };
            if self.live(&mut life, stop).is_some() {
                life.member.leave(Duration::from_secs(20));
                return;
            }
            self.rejoined.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `None` when the member has to be given up.
    fn live(&self, life: &mut Life, stop: &AtomicBool) -> Option<()> {
        while !stop.load(Ordering::Acquire) {
            let mut batches = Vec::new();
            let events = match life.member.poll(STEP, TURN, &mut batches) {
                Ok(events) => events,
                Err(error) if error.class == Class::Retry => continue,
                Err(error) if error.class == Class::Fenced => return None,
                Err(error) => panic!("cannot poll: {error}"),
            };
            self.copy(life, batches)?;
            for event in events {
                self.serve(life, event)?;
            }
        }
        Some(())
    }

    fn copy(&self, life: &mut Life, batches: Vec<Batch>) -> Option<()> {
        let mut records = Vec::new();
        for batch in batches {
            if life.epochs.get(&batch.partition) != Some(&batch.epoch) {
                continue;
            }
            let to = TopicPartition::new(self.output.as_str(), batch.partition.partition);
            life.count += batch.records.len();
            records.extend(batch.records.into_iter().map(|r| Outgoing {
                to: to.clone(),
                key: r.key,
                value: r.value,
                headers: r.headers,
                timestamp: r.timestamp,
                tag: r.offset as u64,
            }));
            life.next.insert(batch.partition, batch.next);
        }
        if records.is_empty() {
            return Some(());
        }
        let mut sent = life.member.send(&mut records);
        while retriable(&sent) {
            sent = life.member.send(&mut records);
        }
        match sent {
            Ok(()) => self.commit(life),
            Err(error) => self.rewind(life, error),
        }
    }

    fn commit(&self, life: &mut Life) -> Option<()> {
        let positions: Vec<Position> = life
            .next
            .iter()
            .map(|(at, next)| Position { partition: at.clone(), offset: *next, metadata: String::new() })
            .collect();
        let mut ended = life.member.commit(&positions);
        while retriable(&ended) {
            ended = life.member.commit(&positions);
        }
        match ended {
            Ok(()) => {
                life.committed.clone_from(&life.next);
                self.copied.fetch_add(std::mem::take(&mut life.count), Ordering::Relaxed);
                Some(())
            }
            Err(error) => self.rewind(life, error),
        }
    }

    fn rewind(&self, life: &mut Life, sent: Sent) -> Option<()> {
        match sent {
            Sent::Failed(error) if error.class == Class::Abort => {}
            Sent::Failed(error) if error.class == Class::Fenced => return None,
            other => panic!("cannot go on: {other:?}"),
        }
        life.member.abort().expect("an abort comes to an end");
        life.count = 0;
        life.next.clone_from(&life.committed);
        let positions = life.committed.clone();
        self.start(life, positions)
    }

    fn start(&self, life: &mut Life, positions: BTreeMap<TopicPartition, i64>) -> Option<()> {
        let positions: Vec<Position> = positions
            .into_iter()
            .map(|(partition, offset)| Position { partition, offset, metadata: String::new() })
            .collect();
        loop {
            match life.member.start(&positions) {
                Ok(()) => return Some(()),
                Err(error) if error.class == Class::Retry => {}
                Err(error) if error.class == Class::Fenced => return None,
                Err(error) => panic!("cannot start: {error}"),
            }
        }
    }

    fn serve(&self, life: &mut Life, event: Event) -> Option<()> {
        match event {
            Event::Assigned(assignments) => {
                let mut positions = BTreeMap::new();
                for found in assignments {
                    let from = found.committed.map_or(found.low, |c| c.offset);
                    life.epochs.insert(found.partition.clone(), found.epoch);
                    life.committed.insert(found.partition.clone(), from);
                    life.next.insert(found.partition.clone(), from);
                    positions.insert(found.partition, from);
                }
                self.start(life, positions)
            }
            Event::Revoking(partitions) => {
                // Every batch is committed before the next poll: nothing is open.
                self.forget(life, &partitions);
                life.member.release(&partitions).expect("nothing is open");
                Some(())
            }
            Event::Lost(partitions) => {
                self.forget(life, &partitions);
                life.member.abort().expect("an abort comes to an end");
                Some(())
            }
            Event::BrokerAway(away, text) => {
                assert!(text.contains("Kafka at "), "{text}");
                self.away.fetch_add(usize::from(away), Ordering::Relaxed);
                Some(())
            }
        }
    }

    fn forget(&self, life: &mut Life, partitions: &[TopicPartition]) {
        for at in partitions {
            life.epochs.remove(at);
            life.committed.remove(at);
            life.next.remove(at);
        }
    }
}

fn retriable(result: &Result<(), Sent>) -> bool {
    matches!(result, Err(Sent::Failed(error)) if error.class == Class::Retry)
}
