//! Commits: what a transaction carries beside the outputs, and what becomes of it.

use super::Engine;
use crate::config::Now;
use crate::counters::Rule;
use crate::ranges;
use crate::retry::Which;
use crate::slot::NONE_PRESSED;
use crate::window::Window;
use crate::work::Ticket;

/// Where an input of a slot begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The committed offset, or where a new group begins.
    pub offset: i64,
    /// The committed metadata, or empty.
    pub metadata: String,
}

/// A position to be committed, or to read again from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPosition {
    /// Partition of the inputs.
    pub slot: u32,
    /// Which input.
    pub input: u16,
    /// The lowest unfinished offset.
    pub offset: i64,
    /// The finished ranges beyond it, packed; ASCII.
    pub metadata: String,
}

/// What goes into a transaction beside the released outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitPlan {
    /// Positions that have changed.
    pub positions: Vec<CommitPosition>,
    /// By slot: the record for its `.state` partition.
    pub state: Vec<(u32, Vec<u8>)>,
}

/// A position that has moved without a record (past markers) is committed this long after, so that a quiet chain of
/// stages does not commit only because the one before did.
const GAP_MS: u64 = 200;

impl<R, O> Engine<R, O> {
    /// Whether it is time to commit. `idle`: the last poll waited and brought nothing.
    pub fn commit_due(&self, now: Now, idle: bool) -> bool {
        if self.finished > 0 {
            let since = self.finished_since.unwrap_or(now.mono_ms);
            return idle
                || self.finished >= self.config.commit_records
                || now.mono_ms.saturating_sub(since) >= self.config.commit_every_ms
                || self.crowded;
        }
        // Past the deadline a host has nothing to wait for, so it may never be idle: age alone is enough then.
        let age = self.moved_since.map(|since| now.mono_ms.saturating_sub(since));
        age.is_some_and(|age| age >= if idle { GAP_MS } else { 2 * GAP_MS })
    }

    /// When something is due: the next retry, commit or call that is [`overdue`](Self::overdue), in milliseconds of the
    /// monotonic clock.
    pub fn next_deadline(&self) -> Option<u64> {
        let commit = if self.finished > 0 {
            self.finished_since.map(|since| since + self.config.commit_every_ms)
        } else {
            // Past the gap it is a quiet poll that commits it, or twice the gap: between the two there is no time to wake at.
            let gap = |since| if self.mono_ms < since + GAP_MS { GAP_MS } else { 2 * GAP_MS };
            self.moved_since.map(|since| since + gap(since))
        };
        // While all starts are in use a due retry has to wait for an answer, not for a time; or for a commit.
        let retry = if self.started < self.limit() && !self.crowded { self.retry_deadline() } else { None };
        [commit, retry, self.overdue_deadline()].into_iter().flatten().min()
    }

    /// When a waiting record may be looked at.
    fn retry_deadline(&self) -> Option<u64> {
        let Some(probe_at) = self.breaker.probe_at() else { return self.retries.next_deadline() };
        let live = self.retries.deadline_of(Which::Live);
        let next =
            if self.ready.is_empty() { live.or(self.retries.deadline_of(Which::Copies)) } else { live.or(Some(0)) };
        // One that never ran, if there is one, or comes: what could be read already needs no time to wake at.
        let fresh_at = self.breaker.fresh_at().filter(|at| *at > self.mono_ms || self.fresh().is_some());
        [next.map(|at| at.max(probe_at)), fresh_at].into_iter().flatten().min()
    }

    /// Takes everything that is finished into a plan. [`committed`](Self::committed) or [`aborted`](Self::aborted) must
    /// follow before anything else is finished.
    pub fn begin_commit(&mut self, _now: Now) -> CommitPlan {
        let violations = &mut self.counters.violations;
        violations.expect(self.released.is_empty(), Rule::R2, "outputs of finished records are not in the transaction");
        violations.expect(!self.must_abort, Rule::R6, "a commit holds outputs of a slot that went away");
        let mut plan = CommitPlan::default();
        for (slot, state) in &mut self.slots {
            for (input, tracker) in state.trackers.iter_mut().enumerate() {
                let Some(position) = tracker.plan() else { continue };
                self.counters.violations.expect(
                    position.offset >= tracker.committed().offset,
                    Rule::R1,
                    "a committed offset never goes back",
                );
                let metadata = ranges::encode(position.offset, &position.ranges);
                self.counters.violations.expect(
                    metadata.len() <= self.config.max_metadata,
                    Rule::R2,
                    "finished ranges fit into the metadata",
                );
                plan.positions.push(CommitPosition {
                    slot: *slot,
                    input: input as u16,
                    offset: position.offset,
                    metadata,
                });
                state.planned[input] = Some(position);
            }
            // A slot where nothing ended has no news for its changelog.
            if state.finished > 0
                && let Some(marks) = state.dedup.as_mut().and_then(|d| d.begin_commit())
            {
                plan.state.push((*slot, marks));
            }
        }
        plan
    }

    /// Where the first input of a slot was committed last: a commit that holds nothing of the slot's records, and is to be
    /// fenced all the same, names it again.
    pub fn committed_position(&self, slot: u32) -> Option<CommitPosition> {
        let at = self.slots.get(&slot)?.trackers.first()?.committed();
        Some(CommitPosition { slot, input: 0, offset: at.offset, metadata: ranges::encode(at.offset, &at.ranges) })
    }

    /// What [`begin_commit`](Self::begin_commit) gave is durable, with the outputs released before it.
    pub fn committed(&mut self, _now: Now) {
        for state in self.slots.values_mut() {
            for (tracker, planned) in state.trackers.iter_mut().zip(&mut state.planned) {
                if let Some(position) = planned.take() {
                    tracker.commit(position);
                }
            }
            if state.finished > 0
                && let Some(dedup) = &mut state.dedup
            {
                dedup.committed();
            }
            state.parked.committed();
            state.finished = 0;
        }
        let slots = &self.slots;
        self.poisoned.retain(|place, _| {
            slots.get(&place.slot).is_some_and(|s| !s.trackers[usize::from(place.input)].is_committed(place.offset))
        });
        self.counters.absorb(&mut self.pending);
        self.finished = 0;
        // What it committed has let all buckets go but those of one window.
        self.crowded = false;
        (self.finished_since, self.moved_since) = (None, None);
    }

    /// The transaction is gone: everything since the last commit never was. Where to read again, and the attempts to
    /// cancel. Slots that are to go are not read again by this member: what it read would not be admitted, and the next
    /// owner begins at the committed position.
    pub fn aborted(&mut self, now: Now) -> (Vec<CommitPosition>, Vec<Ticket>) {
        self.mono_ms = now.mono_ms;
        self.remember_copies();
        let cancelled = self.drop_records(|_| true);
        let mut positions = Vec::new();
        for (slot, state) in &mut self.slots {
            for (input, tracker) in state.trackers.iter_mut().enumerate() {
                tracker.rewind();
                state.planned[input] = None;
                if state.revoked {
                    continue;
                }
                let at = tracker.committed();
                positions.push(CommitPosition {
                    slot: *slot,
                    input: input as u16,
                    offset: at.offset,
                    metadata: ranges::encode(at.offset, &at.ranges),
                });
            }
            if let Some(dedup) = &mut state.dedup {
                dedup.aborted();
            }
            state.parked.aborted();
            let copies = self.config.retry_input.and_then(|input| state.trackers.get(usize::from(input)));
            state.window = Window::new(copies.map_or(0, |tracker| tracker.committed().offset));
            state.pressed.fill(NONE_PRESSED);
            state.finished = 0;
        }
        (self.press, self.overdue_from) = (false, u64::MAX);
        self.overdue_now.clear();
        self.released.clear();
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.clear();
        }
        self.pending.clear();
        self.finished = 0;
        (self.must_abort, self.crowded) = (false, false);
        (self.finished_since, self.moved_since) = (None, None);
        (positions, cancelled)
    }
}
