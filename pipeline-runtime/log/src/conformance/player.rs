//! A member that behaves: starts what it is assigned, releases what it is asked for, keeps a ledger of both.

use std::collections::BTreeMap;

use super::kit::{PLENTY, TURN, text};
use crate::{Assignment, Batch, Class, Event, LogRecord, Member, Position, Sent, TopicPartition};

/// A member and what it saw.
pub(super) struct Player {
    pub member: Box<dyn Member>,
    /// What it owns now.
    pub owned: BTreeMap<TopicPartition, Assignment>,
    /// Every assignment ever, in order.
    pub assigned: Vec<Assignment>,
    /// What it was asked to release and has not yet.
    pub revoking: Vec<TopicPartition>,
    /// What it lost without being asked.
    pub lost: Vec<TopicPartition>,
    /// Every record read, by partition, since the last [`Player::start`] of it.
    pub records: BTreeMap<TopicPartition, Vec<LogRecord>>,
    /// Where each partition's reading stands.
    pub next: BTreeMap<TopicPartition, i64>,
    /// Whether the last batch of a partition reached its end.
    pub at_end: BTreeMap<TopicPartition, bool>,
    /// Start at the committed offset, or the first one, as soon as something is assigned.
    pub starts: bool,
    /// Release as soon as asked.
    pub releases: bool,
}

impl Player {
    pub fn new(member: Box<dyn Member>) -> Self {
        Self {
            member,
            owned: BTreeMap::new(),
            assigned: Vec::new(),
            revoking: Vec::new(),
            lost: Vec::new(),
            records: BTreeMap::new(),
            next: BTreeMap::new(),
            at_end: BTreeMap::new(),
            starts: true,
            releases: true,
        }
    }

    /// One short poll, and what follows from it.
    pub fn turn(&mut self) {
        let mut batches = Vec::new();
        let events = match self.member.poll(PLENTY, TURN, &mut batches) {
            Ok(events) => events,
            Err(e) if e.class == Class::Retry => return,
            Err(e) => panic!("poll failed: {e} ({:?})", e.class),
        };
        assert!(events.is_empty() || batches.is_empty(), "events come alone");
        for batch in batches {
            self.take(batch);
        }
        for event in events {
            self.serve(event);
        }
    }

    fn take(&mut self, batch: Batch) {
        let at = batch.partition;
        let Some(assignment) = self.owned.get(&at) else {
            panic!("records of {at}, which is not assigned here");
        };
        if batch.epoch != assignment.epoch {
            return;
        }
        let next = self.next.entry(at.clone()).or_insert(0);
        for record in &batch.records {
            assert!(record.offset >= *next, "{at}: offset {} after {}", record.offset, *next);
            assert!(record.offset < batch.next, "{at}: offset {} is not below next {}", record.offset, batch.next);
            *next = record.offset + 1;
        }
        assert!(batch.next >= *next, "{at}: next went back from {next} to {}", batch.next);
        *next = batch.next;
        self.at_end.insert(at.clone(), batch.at_end);
        self.records.entry(at).or_default().extend(batch.records);
    }

    fn serve(&mut self, event: Event) {
        match event {
            Event::Assigned(assignments) => {
                let mut positions = Vec::new();
                for assignment in assignments {
                    let at = assignment.partition.clone();
                    assert!(assignment.epoch > 0, "{at}: epochs are counted from 1");
                    if let Some(before) = self.assigned.iter().rfind(|a| a.partition == at) {
                        assert!(assignment.epoch > before.epoch, "{at}: the epoch must rise");
                    }
                    let known = assignment.committed.clone();
                    positions.push(Position {
                        partition: at.clone(),
                        offset: known.as_ref().map_or(assignment.low, |c| c.offset),
                        metadata: known.map_or_else(String::new, |c| c.metadata),
                    });
                    self.assigned.push(assignment.clone());
                    assert!(self.owned.insert(at.clone(), assignment).is_none(), "{at} was assigned twice");
                }
                if self.starts {
                    self.start(&positions);
                }
            }
            Event::Revoking(partitions) => {
                for at in &partitions {
                    assert!(self.owned.contains_key(at), "{at} is revoked but was not assigned");
                }
                self.revoking.extend(partitions);
                if self.releases {
                    self.release();
                }
            }
            Event::Lost(partitions) => {
                for at in partitions {
                    self.owned.remove(&at);
                    self.revoking.retain(|r| *r != at);
                    self.lost.push(at);
                }
                retry(|| self.member.abort().map_err(Sent::Failed)).expect("what is lost can be aborted");
            }
            Event::BrokerAway(..) => {}
        }
    }

    /// Starts, or starts again, and forgets what was read of these partitions.
    pub fn start(&mut self, positions: &[Position]) {
        retry(|| self.member.start(positions).map_err(Sent::Failed)).expect("what is assigned can be started");
        for position in positions {
            self.records.remove(&position.partition);
            self.at_end.remove(&position.partition);
            self.next.insert(position.partition.clone(), position.offset);
        }
    }

    /// Releases all it was asked for.
    pub fn release(&mut self) {
        let partitions = std::mem::take(&mut self.revoking);
        for at in &partitions {
            self.owned.remove(at);
        }
        retry(|| self.member.release(&partitions).map_err(Sent::Failed)).expect("what is revoked can be released");
    }

    /// Sends; anything but success is a failure of the property.
    pub fn send(&mut self, records: Vec<crate::Outgoing>) {
        let mut records = records;
        retry(|| self.member.send(&mut records)).expect("the records are taken");
    }

    /// Commits; anything but success is a failure of the property.
    pub fn commit(&mut self, positions: &[Position]) {
        retry(|| self.member.commit(positions)).expect("the transaction commits");
    }

    /// Values read of one partition, as text.
    pub fn values(&self, at: &TopicPartition) -> Vec<String> {
        self.records.get(at).map(|r| r.iter().map(text).collect()).unwrap_or_default()
    }

    /// Number of records read of one partition.
    pub fn read(&self, at: &TopicPartition) -> usize {
        self.records.get(at).map_or(0, Vec::len)
    }
}

/// A position without metadata.
pub(super) fn position(at: &TopicPartition, offset: i64) -> Position {
    Position { partition: at.clone(), offset, metadata: String::new() }
}

/// Repeats a call while the log says that nothing happened and it may be tried again; a broken log is noticed after
/// some tries.
fn retry<T>(mut call: impl FnMut() -> Result<T, Sent>) -> Result<T, Sent> {
    for _ in 0..100 {
        match call() {
            Err(Sent::Failed(e)) if e.class == Class::Retry => {}
            other => return other,
        }
    }
    call()
}
