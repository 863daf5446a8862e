//! Partitions come and go: where to start, what to restore, how to hand over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_engine::Start;
use millstream_log::{Assignment, Class, End, LogError, LogResult, Position, TopicPartition};
use millstream_spec::model;

use super::commit::engine_error;
use super::scan::AT_ONCE;
use super::{Ages, Replica, stopped};
use crate::changes::moved_to;
use crate::restore::restore;

/// How long calls in flight may go on when their partitions are to go.
const HAND_OVER: Duration = Duration::from_secs(5);

impl Replica {
    /// Restores what belongs to the partitions and starts reading them.
    pub(super) fn on_assigned(&mut self, assignments: Vec<Assignment>) -> LogResult<()> {
        let mut slots: BTreeMap<u32, Vec<Assignment>> = BTreeMap::new();
        for assignment in assignments {
            slots.entry(assignment.partition.partition as u32).or_default().push(assignment);
        }
        self.replay_goes_on()?;
        let mut all = Vec::new();
        let mut partitions = 0;
        let until = Instant::now() + AT_ONCE;
        for (slot, assignments) in slots {
            let mut positions = Vec::new();
            self.is_known(slot)?;
            let starts = self.starts(slot, &assignments)?;
            let mut restored = self.engine.restore();
            if let Some(state) = &self.cx.plan.state {
                let state = TopicPartition::new(std::sync::Arc::clone(state), slot as i32);
                let mut ages = Ages::new(self.cx.plan.engine.dedup.map_or(0, |d| d.window_ms));
                let count = restore(&*self.cx.log, &state, &mut restored, &mut ages)?;
                self.trim.add(slot, ages, restored.time());
                tracing::debug!(stage = %self.cx.plan.group, slot, count, "dedup state restored");
            }
            let epoch = assignments[0].epoch;
            for (input, (start, assignment)) in starts.iter().zip(&assignments).enumerate() {
                self.epochs.insert((slot, input as u16), assignment.epoch);
                self.note_reached(slot, input as u16, start.offset);
                let position = Position {
                    partition: assignment.partition.clone(),
                    offset: start.offset,
                    metadata: start.metadata.clone(),
                };
                positions.push(position);
            }
            self.engine.assign(slot, epoch, &starts, restored, self.clock.now()).map_err(|e| engine_error(&e))?;
            partitions += positions.len();
            if self.parking.input.is_some() {
                positions = self.scan(slot, &starts[starts.len() - 1], positions, until)?;
            }
            all.append(&mut positions);
        }
        tracing::info!(stage = %self.cx.plan.group, partitions, "partitions assigned");
        // Where a new group begins is committed by this, so that a restart before the first commit begins there again,
        // whatever `latest` or a time would mean by then.
        if all.is_empty() { Ok(()) } else { self.member.start(&all) }
    }

    /// A partition that was added since the run began has no dead letters and no state of its own, and keys of others:
    /// going on would break the order per key.
    fn is_known(&self, slot: u32) -> LogResult<()> {
        let (plan, known) = (&self.cx.plan, self.cx.plan.partitions);
        if i64::from(slot) < i64::from(known) {
            return Ok(());
        }
        Err(stopped(
            "partitions_added",
            format!(
                "`{}` had {known} partitions when the run began and has partition {slot} now: keys lie in other \
                 partitions from here on; stop the pipeline, then see `millstream plan` and `apply`",
                plan.inputs[0].topic
            ),
        ))
    }

    /// Where each input of a slot is read from, in the order of the stage's inputs.
    fn starts(&self, slot: u32, assignments: &[Assignment]) -> LogResult<Vec<Start>> {
        let order: Vec<&str> = assignments.iter().map(|a| &*a.partition.topic).collect();
        if !order.iter().copied().eq(self.topics().map(|topic| &**topic)) {
            return Err(LogError::new(
                Class::Fatal,
                "assignment_incomplete",
                format!("slot {slot} was assigned as {order:?}, which is not the list of the stage's inputs"),
            ));
        }
        if let Some(replay) = &self.cx.plan.replay {
            let all = assignments.iter().enumerate();
            return all.map(|(input, a)| self.start_of_replay(replay, input, a)).collect();
        }
        // Copies are read from the first one that is there.
        let rules = self.cx.plan.inputs.iter().map(|i| i.start).chain([model::Start::Earliest]);
        assignments.iter().zip(rules).map(|(a, rule)| self.start_of(a, rule)).collect()
    }

    fn start_of(&self, assignment: &Assignment, rule: model::Start) -> LogResult<Start> {
        let Some(committed) = &assignment.committed else {
            let offset = match rule {
                model::Start::Earliest => assignment.low,
                model::Start::Latest => assignment.high,
                model::Start::At(ms) => {
                    self.cx.log.ends(std::slice::from_ref(&assignment.partition), End::AtTime(ms))?[0]
                }
            };
            return Ok(Start { offset, metadata: String::new() });
        };
        let place = &assignment.partition;
        if let Some(stage) = moved_to(&committed.metadata) {
            return Err(stopped(
                "position_moved",
                format!(
                    "stage `{stage}` has gone on in {place} where this one stood: the pipeline was changed; run it as it \
                     was applied"
                ),
            ));
        }
        if committed.offset > assignment.high {
            return Err(stopped(
                "offset_beyond_end",
                format!(
                    "the group stands at offset {} of {place}, which ends at {}: the topic was made anew; give the \
                     pipeline another name or reset the group",
                    committed.offset, assignment.high
                ),
            ));
        }
        if committed.offset < assignment.low {
            let lost = assignment.low - committed.offset;
            if !self.cx.accept_gap {
                return Err(stopped(
                    "offset_gap",
                    format!(
                        "the group stands at offset {} of {place}, whose first record is {}: retention has taken {lost} \
                         offsets it had not read; `--accept-gap` goes on after them",
                        committed.offset, assignment.low
                    ),
                ));
            }
            tracing::warn!(stage = %self.cx.plan.group, %place, lost, "going on after a gap, as told");
            self.cx.status.add_gap(lost as u64);
            return Ok(Start { offset: assignment.low, metadata: String::new() });
        }
        Ok(Start { offset: committed.offset, metadata: committed.metadata.clone() })
    }

    /// Stops starting records of these; [`Replica::finish_leaving`] hands them over when what is started has ended.
    pub(super) fn on_revoking(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        let slots = self.slots_of(partitions);
        self.engine.revoke(&slots);
        self.leaving.extend(slots);
        self.leaving_since = Some(Instant::now());
        self.finish_leaving()
    }

    /// Hands over what is drained, or what has had its time.
    pub(super) fn finish_leaving(&mut self) -> LogResult<()> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        let late = self.leaving_since.is_none_or(|since| since.elapsed() > HAND_OVER);
        if !late && self.engine.in_flight(&self.leaving) {
            return Ok(());
        }
        self.send_released()?;
        if self.engine.has_uncommitted() {
            self.commit()?;
        }
        let slots = std::mem::take(&mut self.leaving);
        let partitions = self.forget(&slots);
        tracing::info!(stage = %self.cx.plan.group, partitions = partitions.len(), "partitions handed over");
        self.member.release(&partitions)?;
        // The copies that went made room for others, and no commit may come to look for them.
        self.reread()
    }

    /// What was computed from these must have no effect: the open transaction goes with them.
    pub(super) fn on_lost(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        let slots = self.slots_of(partitions);
        self.leaving.retain(|slot| !slots.contains(slot));
        self.forget(&slots);
        tracing::warn!(stage = %self.cx.plan.group, partitions = partitions.len(), "partitions lost to another replica");
        self.rewind()
    }

    /// Drops every trace of slots and gives their partitions.
    fn forget(&mut self, slots: &[u32]) -> Vec<TopicPartition> {
        let cancelled = self.engine.remove(slots);
        self.cancel(&cancelled);
        let mut partitions = Vec::new();
        for slot in slots {
            self.trim.slots.remove(slot);
            self.parking.forget(*slot);
            self.at_end.retain(|(known, _)| known != slot);
            self.scans.retain(|scan| scan.slot != *slot);
            let topics: Vec<std::sync::Arc<str>> = self.topics().cloned().collect();
            for (input, topic) in topics.into_iter().enumerate() {
                if self.epochs.remove(&(*slot, input as u16)).is_some() {
                    partitions.push(TopicPartition::new(topic, *slot as i32));
                }
            }
        }
        self.refused.retain(|place, _| !slots.contains(&place.slot));
        partitions
    }

    fn slots_of(&self, partitions: &[TopicPartition]) -> Vec<u32> {
        let mut slots: Vec<u32> = partitions.iter().map(|p| p.partition as u32).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Ends what is started, commits, up to a deadline.
    pub(super) fn drain(&mut self, deadline: Instant) -> LogResult<()> {
        let mut slots: Vec<u32> = self.epochs.keys().map(|(slot, _)| *slot).collect();
        slots.dedup();
        self.engine.revoke(&slots);
        let mut batches = Vec::new();
        while self.engine.in_flight(&slots) && Instant::now() < deadline && !self.cx.stop.aborted() {
            self.poll(&mut batches, true)?;
            batches.clear();
            self.collect_calls();
        }
        self.send_released()?;
        if self.engine.has_uncommitted() {
            self.commit()?;
        }
        // All is committed: what cannot be deleted now is deleted by the next owner.
        if let Err(error) = self.trim_retry(true) {
            tracing::debug!(stage = %self.cx.plan.group, %error, "`.retry` is not trimmed");
        }
        let cancelled = self.engine.remove(&slots);
        self.cancel(&cancelled);
        Ok(())
    }
}
