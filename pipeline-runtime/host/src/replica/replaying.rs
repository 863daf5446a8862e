//! Replicas of a replay: they begin at the beginning of the range, stop at its end, and mark what they read.

use std::collections::BTreeSet;

use millstream_engine::Start;
use millstream_log::{Assignment, Batch, Class, LogError, LogResult};

use super::{Replica, stopped};
use crate::replay::in_place::{Replay, still_running, with_mark};

/// Inputs of slots that are read to the end of the range, as (slot, input).
pub(super) type AtEnd = BTreeSet<(u32, u16)>;

impl Replica {
    /// Refuses to work for a replay that has ended: its positions may be deleted already, and it would begin anew. To be
    /// called when the positions have been read.
    pub(super) fn replay_goes_on(&self) -> LogResult<()> {
        let plan = &self.cx.plan;
        match &plan.replay {
            Some(replay) if !still_running(&*self.cx.log, &plan.pipeline, replay)? => {
                Err(LogError::new(Class::Retry, "replay_ended", format!("replay {} has ended", replay.id)))
            }
            _ => Ok(()),
        }
    }

    /// Where a replica of a replay reads a partition from.
    pub(super) fn start_of_replay(&self, replay: &Replay, input: usize, assignment: &Assignment) -> LogResult<Start> {
        let place = &assignment.partition;
        let (from, to) = range(replay, input, place.partition as u32);
        let (offset, metadata) = match &assignment.committed {
            Some(committed) => (committed.offset, committed.metadata.clone()),
            None => (from, String::new()),
        };
        if offset >= to {
            // Nothing of it is read any more, so it does not matter what is there.
            return Ok(Start { offset: offset.max(assignment.low).min(assignment.high), metadata: String::new() });
        }
        if offset < assignment.low {
            return Err(stopped(
                "offset_gap",
                format!(
                    "the replay stands at offset {offset} of {place}, whose first record is {}: retention has taken what \
                     it had not read; order another one of what is left",
                    assignment.low
                ),
            ));
        }
        if offset > assignment.high {
            return Err(stopped(
                "offset_beyond_end",
                format!(
                    "the replay stands at offset {offset} of {place}, which ends at {}: the topic was made anew",
                    assignment.high
                ),
            ));
        }
        Ok(Start { offset, metadata })
    }

    /// Notes a position that was set or reached.
    pub(super) fn note_reached(&mut self, slot: u32, input: u16, offset: i64) {
        if let Some(replay) = &self.cx.plan.replay
            && offset >= range(replay, usize::from(input), slot).1
        {
            self.at_end.insert((slot, input));
        }
    }

    /// Takes from a batch what is not of the range, and marks the rest.
    pub(super) fn of_range(&mut self, slot: u32, input: u16, batch: &mut Batch) {
        let Some(replay) = &self.cx.plan.replay else { return };
        let (_, to) = range(replay, usize::from(input), slot);
        batch.records.retain(|record| record.offset < to);
        batch.next = batch.next.min(to);
        for record in &mut batch.records {
            record.headers = with_mark(&record.headers, &replay.id);
        }
        self.note_reached(slot, input, batch.next);
    }
}

/// Empty for what the order does not name.
fn range(replay: &Replay, input: usize, slot: u32) -> (i64, i64) {
    replay.inputs.get(input).and_then(|i| i.ranges.get(slot as usize)).copied().unwrap_or((0, 0))
}
