//! What calls say while they run: how far they are, and what they keep for the attempts after them.

use std::time::{Duration, Instant};

use millstream_engine::{CommitPosition, Now, Place, Ticket};
use millstream_filter_api::{Headers, Record};
use millstream_log::{Class, End, LogError, LogResult, Outgoing, TopicPartition};

use super::{Replica, Runner, jobs};
use crate::checkpoints::Unreadable;
use crate::clock::wall_ms;
use crate::ids;
use crate::input::Input;
use crate::jobs::{Percent, Stopped};
use crate::keeping::Said;
use crate::outputs::Written;
use crate::restore;

/// Under load words of calls wait so long for a commit.
const SAID_EVERY: Duration = Duration::from_millis(100);

impl Replica {
    /// Takes what calls have said.
    pub(super) fn hear(&mut self, said: Vec<Said>, now: Now) {
        for word in said {
            let Runner::Calls(calls) = &mut self.runner else { return };
            let (ticket, call, state, done) = match word {
                Said::Progress(ticket) => {
                    calls.reported(ticket);
                    continue;
                }
                Said::Save { ticket, call, state, done } => (ticket, call, state, done),
            };
            // Of one that nobody waits for any more, nothing is kept: its record may belong to another replica.
            let Some((place, input)) = calls.get(ticket) else { continue };
            let plan = &self.cx.plan;
            let record = ids::call_id(&plan.pipeline, &plan.stage, &input.id);
            let (key, value) = self.kept.keep(place.slot, &record, &call, state);
            // What has something to keep was answered.
            self.engine.answered(ticket, now);
            match plan.checkpoints.clone() {
                Some(topic) => {
                    self.say(place, kept(&topic, place, key, Some(value)));
                    self.txn.keeps.insert(place.slot);
                    self.txn.waiting.push(done);
                }
                // In a replay: for the attempts of this replica alone.
                None => {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Puts a record that ends nothing into the open transaction.
    fn say(&mut self, place: Place, mut word: Outgoing) {
        word.tag = self.txn.origin.len() as u64;
        self.txn.origin.push(place);
        self.txn.outgoing.push(word);
        self.txn.said.get_or_insert_with(Instant::now);
    }

    /// Notes how far calls are.
    pub(super) fn tell_progress(&mut self) {
        let Runner::Calls(calls) = &mut self.runner else { return };
        let plan = &self.cx.plan;
        let notes: Vec<(Place, Outgoing)> = calls
            .reports()
            .into_iter()
            .filter_map(|(place, input, percent)| Some((place, jobs::progress(plan, input, percent)?)))
            .collect();
        for (place, note) in notes {
            self.say(place, note);
        }
    }

    /// How far the job of what goes on has come: the last of the records that says so, else what the call has said.
    pub(super) fn progress_of(&mut self, records: &[(u16, Record)]) -> Option<Percent> {
        let said = self.last_word.take();
        let (Some(state), None) = (&mut self.progress, &self.cx.plan.replay) else { return said };
        let expression = self.cx.plan.jobs.as_ref()?.progress.as_ref()?;
        let of = |(_, record): &(u16, Record)| Percent::of_value(&expression.value(state, record).ok()?);
        records.iter().rev().find_map(of).or(said)
    }

    /// Whether words of calls are to be committed.
    pub(super) fn said_due(&self, idle: bool) -> bool {
        self.txn.said.is_some_and(|since| idle || since.elapsed() >= SAID_EVERY)
    }

    /// A record has ended: what its calls have kept goes with it.
    pub(super) fn end_kept(&mut self, place: Place, input: &Input, written: &mut Written) {
        if self.kept.is_empty(place.slot) {
            return;
        }
        let plan = &self.cx.plan;
        let keys = self.kept.end(place.slot, &ids::call_id(&plan.pipeline, &plan.stage, &input.id));
        let Some(topic) = &plan.checkpoints else { return };
        written.extend(keys.into_iter().map(|key| kept(topic, place, key, None)));
    }

    /// Positions of a commit, with those of partitions whose calls keep something by it: what is not fenced by a position
    /// could be the word of somebody who was overtaken.
    pub(super) fn with_those_of_keepers(&self, mut positions: Vec<CommitPosition>) -> Vec<CommitPosition> {
        for slot in &self.txn.keeps {
            if !positions.iter().any(|p| p.slot == *slot) {
                positions.extend(self.engine.committed_position(*slot));
            }
        }
        positions
    }

    /// Reads what the calls of a partition have kept.
    pub(super) fn restore_kept(&mut self, slot: u32) -> LogResult<()> {
        self.kept.forget(slot);
        let Some(topic) = &self.cx.plan.checkpoints else { return Ok(()) };
        let (log, place) = (&*self.cx.log, TopicPartition::new(std::sync::Arc::clone(topic), slot as i32));
        let one = std::slice::from_ref(&place);
        // As for the dedup state: what the owner before has committed lies below the high watermark.
        let bounds = log.ends(one, End::Low)?[0]..log.ends(one, End::High)?[0];
        let kept = &mut self.kept;
        restore::read(log, &place, bounds, |record| {
            let Some(key) = &record.key else { return Ok(()) };
            kept.restore(slot, key, record.value.as_ref()).map_err(|why| {
                let message = format!("{place} offset {}: {why}", record.offset);
                match why {
                    Unreadable::Newer(_) => LogError::new(Class::Config, "newer_version", message),
                    Unreadable::Broken => LogError::new(Class::Fatal, "checkpoint_unreadable", message),
                }
            })
        })
    }

    /// Of calls that take too long for their keys to wait, those that are to be set aside. One that keeps checkpoints is
    /// under way and not hanging: it goes on, unless its partition needs the room, and then the attempt does not count.
    pub(super) fn but_those_that_keep(&mut self, mut overdue: Vec<Ticket>, now: Now) -> Vec<Ticket> {
        overdue.retain(|ticket| {
            let Runner::Calls(calls) = &self.runner else { return true };
            let keeps = calls.get(*ticket).is_some_and(|(place, input)| self.keeps(place, input));
            if keeps && self.engine.let_on(*ticket, now) {
                return false;
            }
            if keeps {
                self.engine.answered(*ticket, now);
                self.engine.uncount(*ticket);
            }
            true
        });
        overdue
    }

    /// Whether calls for a record have kept something.
    pub(super) fn keeps(&self, place: Place, input: &Input) -> bool {
        let plan = &self.cx.plan;
        !self.kept.is_empty(place.slot)
            && !self.kept.of(place.slot, &ids::call_id(&plan.pipeline, &plan.stage, &input.id)).is_empty()
    }

    /// Whether a call that another attempt has begun is to be ended though its job was stopped: it can be undone, so it shall
    /// be known what it did.
    pub(super) fn must_be_known(&self, place: Place, input: &Input) -> bool {
        let can_be_undone = self.cx.plan.jobs.as_ref().is_some_and(|jobs| jobs.undo.is_some());
        can_be_undone
            && self.keeps(place, input)
            && self.cx.stopping.of(ids::root(&input.id)) != Some(Stopped::Deadline)
    }

    /// Whether all calls in flight for records of these slots keep checkpoints, so that nobody has to wait for them: who has
    /// their partitions next goes on.
    pub(super) fn can_go_on_elsewhere(&self, slots: &[u32]) -> bool {
        let Runner::Calls(calls) = &self.runner else { return false };
        let mut flying = calls.of_slots(slots).peekable();
        self.cx.plan.checkpoints.is_some()
            && flying.peek().is_some()
            && flying.all(|(place, input)| self.keeps(place, input))
    }
}

/// A record of the topic of checkpoints.
fn kept(topic: &std::sync::Arc<str>, place: Place, key: bytes::Bytes, value: Option<bytes::Bytes>) -> Outgoing {
    Outgoing {
        to: TopicPartition::new(std::sync::Arc::clone(topic), place.slot as i32),
        key: Some(key),
        value,
        headers: Headers::new(),
        timestamp: wall_ms(),
        tag: 0,
    }
}
