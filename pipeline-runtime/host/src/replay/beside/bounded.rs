//! A log on which some topics hold nothing but a range: what a pipeline beside reads.
//!
//! Everything else that works for a pipeline (replicas, `until-idle`, positions) finds there a topic that begins and ends
//! where the range does, whatever is written to the live one meanwhile. The offsets are the live ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_log::{
    Assignment, Batch, Budget, Class, End, Event, Log, LogError, LogLayer, LogResult, Member, MemberConfig,
    MemberLayer, Position, TopicPartition,
};

use crate::replay::range::Range;

/// From and to of each partition.
type Bounds = Arc<HashMap<TopicPartition, (i64, i64)>>;

/// The log.
pub struct BoundedLog {
    real: Arc<dyn Log>,
    bounds: Bounds,
    accept_gap: bool,
}

impl BoundedLog {
    /// On which the topics of a range hold that range. With `accept_gap` a group may begin after its beginning.
    pub fn new(real: Arc<dyn Log>, range: &Range, accept_gap: bool) -> Self {
        let bounds = range.slices.iter().map(|s| (s.partition.clone(), (s.from, s.to))).collect();
        Self { real, bounds: Arc::new(bounds), accept_gap }
    }
}

impl LogLayer for BoundedLog {
    fn beneath(&self) -> &dyn Log {
        &*self.real
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        let mut ends = self.real.ends(partitions, end)?;
        for (at, found) in partitions.iter().zip(&mut ends) {
            if let Some((from, to)) = self.bounds.get(at) {
                *found = (*found).clamp(*from, *to);
            }
        }
        Ok(ends)
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        let real = self.real.join(config)?;
        let (done, paused) = (HashSet::new(), HashSet::new());
        let (bounds, accept_gap) = (Arc::clone(&self.bounds), self.accept_gap);
        Ok(Box::new(BoundedMember { real, bounds, accept_gap, done, paused }))
    }
}

/// A member that reads no further than the range.
struct BoundedMember {
    real: Box<dyn Member>,
    bounds: Bounds,
    accept_gap: bool,
    /// Read to their end, and paused for that.
    done: HashSet<TopicPartition>,
    /// Paused by the owner of this member.
    paused: HashSet<TopicPartition>,
}

impl BoundedMember {
    /// As if the topic were the range.
    fn assigned(&self, mut assignment: Assignment) -> LogResult<Assignment> {
        let Some((from, to)) = self.bounds.get(&assignment.partition) else { return Ok(assignment) };
        if assignment.committed.is_none() && assignment.low > *from && from < to && !self.accept_gap {
            return Err(LogError::new(
                Class::Config,
                "replay_range_cut",
                format!(
                    "retention has taken records of {} from offset {from} to {} since the replay was asked for; remove it \
                     with `--clean` and ask again",
                    assignment.partition, assignment.low
                ),
            ));
        }
        assignment.low = assignment.low.max(*from).min(*to);
        assignment.high = assignment.high.min(*to);
        Ok(assignment)
    }

    /// What of a batch is in the range. `None` where all of it was read before.
    fn within(&mut self, mut batch: Batch) -> LogResult<Option<Batch>> {
        let Some((_, to)) = self.bounds.get(&batch.partition) else { return Ok(Some(batch)) };
        if self.done.contains(&batch.partition) {
            return Ok(None);
        }
        if batch.next >= *to {
            batch.records.retain(|r| r.offset < *to);
            (batch.next, batch.at_end) = (*to, true);
            self.done.insert(batch.partition.clone());
            self.real.pause(std::slice::from_ref(&batch.partition), true)?;
        }
        Ok(Some(batch))
    }
}

impl MemberLayer for BoundedMember {
    fn beneath(&self) -> &dyn Member {
        &*self.real
    }

    fn beneath_mut(&mut self) -> &mut dyn Member {
        &mut *self.real
    }

    fn into_beneath(self: Box<Self>) -> Box<dyn Member> {
        self.real
    }

    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        let mut found = Vec::new();
        let mut events = self.real.poll(budget, timeout, &mut found)?;
        for event in &mut events {
            match event {
                Event::Assigned(all) => {
                    for assignment in all {
                        self.done.remove(&assignment.partition);
                        self.paused.remove(&assignment.partition);
                        *assignment = self.assigned(assignment.clone())?;
                    }
                }
                Event::Lost(gone) => {
                    for at in gone {
                        self.done.remove(at);
                        self.paused.remove(at);
                    }
                }
                Event::Revoking(_) | Event::BrokerAway(..) => {}
            }
        }
        for batch in found {
            batches.extend(self.within(batch)?);
        }
        Ok(events)
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        self.real.start(positions)?;
        let (mut over, mut open) = (Vec::new(), Vec::new());
        for Position { partition, offset, .. } in positions {
            let Some((_, to)) = self.bounds.get(partition) else { continue };
            if offset >= to {
                self.done.insert(partition.clone());
                over.push(partition.clone());
            } else if self.done.remove(partition) && !self.paused.contains(partition) {
                open.push(partition.clone());
            }
        }
        if !over.is_empty() {
            self.real.pause(&over, true)?;
        }
        if !open.is_empty() {
            self.real.pause(&open, false)?;
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        for at in partitions {
            if paused {
                self.paused.insert(at.clone());
            } else {
                self.paused.remove(at);
            }
        }
        let open: Vec<TopicPartition> = partitions.iter().filter(|at| !self.done.contains(*at)).cloned().collect();
        if open.is_empty() { Ok(()) } else { self.real.pause(&open, paused) }
    }
}
