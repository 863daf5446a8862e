//! Partitions come and go: where to start, what to restore, how to hand over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_engine::Start;
use millstream_log::{Assignment, Class, End, LogError, LogResult, Position, TopicPartition};
use millstream_spec::model;

use super::commit::engine_error;
use super::scan::AT_ONCE;
use super::{Ages, Replica, leveled};
use crate::changes::moved_to;
use crate::growth::stopped;
use crate::plan::OutputPlan;
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
        self.writes_as_others()?;
        self.replay_goes_on()?;
        let mut all = Vec::new();
        let mut partitions = 0;
        let until = Instant::now() + AT_ONCE;
        for (slot, assignments) in slots {
            if self.must_wait(slot, &assignments) {
                self.unbegun.extend(assignments.into_iter().map(|a| a.partition));
                continue;
            }
            let mut positions = Vec::new();
            let starts = self.starts(slot, &assignments)?;
            let mut restored = self.engine.restore();
            if let Some(state) = &self.cx.plan.state {
                let state = TopicPartition::new(std::sync::Arc::clone(state), slot as i32);
                let mut ages = Ages::new(self.cx.plan.engine.dedup.map_or(0, |d| d.window_ms));
                let count = restore(&*self.cx.log, &state, &mut restored, &mut ages)?;
                self.trim.add(slot, ages, restored.time());
                tracing::debug!(stage = %self.cx.plan.group, slot, count, "dedup state restored");
            }
            self.restore_kept(slot)?;
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
        if partitions > 0 || !self.unbegun.is_empty() {
            self.cx.status.set_assigned();
        }
        if partitions == 0 {
            return Ok(());
        }
        tracing::info!(stage = %self.cx.plan.group, partitions, "partitions assigned");
        // Where a new group begins is committed by this, so that a restart before the first commit begins there again,
        // whatever `latest` or a time would mean by then.
        if all.is_empty() { Ok(()) } else { self.member.start(&all) }
    }

    /// Whether a partition that was added is not begun before others are worked off. It is kept, and not started; when it
    /// may be begun this member joins anew. One that was begun before goes on.
    fn must_wait(&self, slot: u32, assignments: &[Assignment]) -> bool {
        let begun = assignments.first().is_some_and(|a| a.committed.is_some());
        let waits = !begun && i64::from(slot) >= i64::from(self.open);
        if waits {
            tracing::info!(stage = %self.cx.plan.group, slot, "this partition was added, and waits for the old ones");
        }
        waits
    }

    /// A process that was frozen while a topic got more partitions must not place records by the old number.
    fn writes_as_others(&self) -> LogResult<()> {
        let plan = &self.cx.plan;
        let outputs: Vec<&OutputPlan> = plan.outputs.iter().filter(|o| o.is_read_here).collect();
        let topics: Vec<&str> = outputs.iter().map(|o| &*o.topic).collect();
        for (output, info) in outputs.iter().zip(self.cx.log.describe(&topics)?) {
            if let Some(info) = info.filter(|info| info.partitions != output.partitions) {
                let why = "this process writes by the old number";
                return Err(stopped(&plan.stage, &output.topic, output.partitions, info.partitions, why));
            }
        }
        Ok(())
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
            // A partition that was added is read whole: what is in it came after the stage began.
            let first = self.cx.gate.is_first(&assignment.partition.topic, assignment.partition.partition);
            let offset = match if first { rule } else { model::Start::Earliest } {
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
            return Err(super::stopped(
                "position_moved",
                format!(
                    "stage `{stage}` has gone on in {place} where this one stood: the pipeline was changed; run it as it \
                     was applied"
                ),
            ));
        }
        if committed.offset > assignment.high {
            return Err(super::stopped(
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
                return Err(super::stopped(
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

    /// Whether anything may be begun: always, but for a singleton, which must have every partition of its input.
    pub(super) fn may_begin(&mut self) -> bool {
        let owned =
            if self.leaving.is_empty() { self.epochs.keys().filter(|(_, input)| *input == 0).count() } else { 0 };
        let (plan, open) = (&self.cx.plan, self.open);
        self.alone.as_mut().is_none_or(|alone| alone.may_work(plan, open, owned))
    }

    /// Stops starting records of these; [`Replica::finish_leaving`] hands them over when what is started has ended.
    pub(super) fn on_revoking(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        let slots = self.slots_of(partitions);
        self.engine.revoke(&slots);
        self.leveled.iter_mut().for_each(|l| l.forget(&slots));
        self.unresolved.forget(&slots);
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
        if !late && self.engine.in_flight(&self.leaving) && !self.can_go_on_elsewhere(&self.leaving) {
            return Ok(());
        }
        self.send_released()?;
        if self.engine.has_uncommitted() || self.txn.said.is_some() {
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
        self.leveled.iter_mut().for_each(|l| l.forget(slots));
        self.unresolved.forget(slots);
        let mut partitions = Vec::new();
        for slot in slots {
            self.trim.slots.remove(slot);
            self.parking.forget(*slot);
            self.kept.forget(*slot);
            self.at_end.retain(|(known, _)| known != slot);
            self.scans.retain(|scan| scan.slot != *slot);
            let topics: Vec<std::sync::Arc<str>> = self.topics().cloned().collect();
            for (input, topic) in topics.into_iter().enumerate() {
                if self.epochs.remove(&(*slot, input as u16)).is_some() {
                    partitions.push(TopicPartition::new(topic, *slot as i32));
                }
            }
        }
        partitions.extend(self.unbegun.extract_if(.., |at| slots.contains(&(at.partition as u32))));
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
        self.leveled.iter_mut().for_each(leveled::Leveled::clear);
        self.unresolved.clear();
        let mut batches = Vec::new();
        while self.engine.in_flight(&slots) && Instant::now() < deadline && !self.cx.stop.aborted() {
            if self.can_go_on_elsewhere(&slots) {
                break;
            }
            self.poll(&mut batches, true)?;
            batches.clear();
            self.collect_calls();
            if self.said_due(true) {
                self.send_released()?;
                self.commit()?;
            }
        }
        self.send_released()?;
        if self.engine.has_uncommitted() || self.txn.said.is_some() {
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
