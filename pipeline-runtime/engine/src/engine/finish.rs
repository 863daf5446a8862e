//! What became of an attempt.

use std::collections::VecDeque;

use super::Engine;
use crate::config::Now;
use crate::counters::{Counters, Rule};
use crate::dedup;
use crate::parked::Known;
use crate::retry::Which;
use crate::slab::Entry;
use crate::work::{Fate, Finished, Ticket};

/// How a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Forwarded,
    Dropped(&'static str),
    Duplicate,
    DeadLettered,
    /// The same, and its key is held.
    Held,
    /// Here; its copy goes on.
    Parked,
    /// The same of a copy that waits: it is at the end of the log again.
    Moved,
}

impl<R, O> Engine<R, O> {
    /// What an attempt called has answered, well or badly, and [`finish`](Self::finish) is about to follow. An attempt
    /// that ends without this called nothing, or had no answer: it closes no breaker.
    #[inline]
    pub fn answered(&mut self, ticket: Ticket, now: Now) {
        if self.slab.started(ticket).is_some() {
            self.breaker.answered(now.mono_ms);
        }
    }

    /// What became of an attempt.
    pub fn finish(&mut self, ticket: Ticket, fate: Fate<R, O>, now: Now) -> Finished<R> {
        self.mono_ms = now.mono_ms;
        let Some(index) = self.slab.started(ticket) else { return Finished::Stale };
        let (output, end) = match fate {
            Fate::Retry { record, after_ms } => return self.retry(index, record, after_ms, now),
            Fate::Forwarded(output) => (output, End::Forwarded),
            Fate::Dropped(reason, output) => (output, End::Dropped(reason)),
            Fate::DeadLettered(output) => (output, End::DeadLettered),
            Fate::Held(output) => (output, End::Held),
            Fate::Moved(output) => (output, End::Moved),
            Fate::Parked(output) => (output, End::Parked),
            Fate::Expired { letter, failed, holds } => {
                if failed {
                    self.failed_attempt(index, now);
                } else {
                    self.breaker.no_call(ticket, now.mono_ms);
                }
                self.slab[index].settled = true;
                (letter, if holds { End::Held } else { End::DeadLettered })
            }
        };
        if !self.slab[index].settled {
            self.breaker.no_call(ticket, now.mono_ms);
        }
        let entry = &self.slab[index];
        let (place, id, first, forced) = (entry.place, entry.id, entry.origin(), entry.forced);
        let seen = matches!(end, End::Forwarded | End::Dropped(_));
        if let Some(dedup) = self.slots.get_mut(&place.slot).and_then(|s| s.dedup.as_mut()).filter(|_| seen) {
            let new = dedup.mark(id, first.input, first.offset);
            self.counters.violations.expect(new || forced, Rule::R7, "an id passes once in the window");
            self.crowded |= dedup.is_crowded();
        }
        self.released.push_back((place, output));
        self.started -= 1;
        self.end(index, end);
        Finished::Taken
    }

    fn retry(&mut self, index: u32, record: R, after_ms: Option<u64>, now: Now) -> Finished<R> {
        let Entry { place, origin, attempts, .. } = self.slab[index];
        self.failed_attempt(index, now);
        let revoked = self.slots.get(&place.slot).is_none_or(|s| s.revoked);
        if attempts >= self.config.attempts && !revoked {
            self.slab[index].settled = true;
            return Finished::Exhausted { record, attempts };
        }
        let delay_ms = self.retries.delay(attempts).max(after_ms.unwrap_or(0));
        if !revoked && self.is_to_be_parked(index, now) {
            self.slab[index].settled = true;
            self.pending.retried += 1;
            return Finished::Park { record, attempts, delay_ms };
        }
        let entry = &mut self.slab[index];
        entry.record = Some(record);
        entry.started = false;
        entry.due = now.mono_ms.saturating_add(delay_ms);
        self.started -= 1;
        if revoked {
            // Its slot is to go: the next owner reads it again.
            self.drop_records(|e| e.place == place);
            return Finished::Taken;
        }
        self.pending.retried += 1;
        self.hold_lane(index);
        if let Some(origin) = origin {
            self.wait_as_copy(index, origin);
        } else {
            self.stage(index);
            let when = self.look_again(index, now);
            self.retries.wait(Which::Live, index, when);
        }
        Finished::Taken
    }

    /// A call had no answer, or none that counts as one.
    fn failed_attempt(&mut self, index: u32, now: Now) {
        let Entry { place, origin, lane, .. } = self.slab[index];
        // A key is one, whether it is its record that fails or the copy of that.
        let lane = if origin.is_some() { lane.map(dedup::other_lane) } else { lane };
        if self.breaker.failed(lane.unwrap_or(place.offset as u64), now.mono_ms) {
            self.counters.breaker_opened += 1;
        }
    }

    /// A copy waits, perhaps for hours: it keeps its lane, but nothing that others may need.
    fn wait_as_copy(&mut self, index: u32, origin: (u16, i64)) {
        let Entry { place, id, due, staged, parked, .. } = self.slab[index];
        self.slab[index].staged = false;
        if let Some(state) = self.slots.get_mut(&place.slot) {
            if staged {
                let mut waiting = state.staged.leave(id);
                let waiting = std::iter::from_fn(|| waiting.as_mut()?.pop(&self.slab));
                put_first(&mut self.ready, waiting.collect());
            }
            if parked {
                put_first(&mut self.ready, state.parked.failed(origin).into_iter().collect());
            }
        }
        self.retries.wait(Which::Copies, index, due);
    }

    /// A record ended: its offset is done, and what waited for it may be looked at.
    pub(super) fn end(&mut self, index: u32, end: End) {
        let Entry { place, origin, id, lane, size, staged, settled, parked, mark, .. } = self.slab[index];
        let mut known = Known::No;
        self.finished += 1;
        self.finished_since.get_or_insert(self.mono_ms);
        if let Some(state) = self.slots.get_mut(&place.slot) {
            state.finished += 1;
            let tracker = &mut state.trackers[usize::from(place.input)];
            let open = tracker.finish(place.offset);
            self.counters.violations.expect(open, Rule::R4, "a record ends once");
            if self.park.is_some() && origin.is_none() && tracker.is_half_full() {
                self.press |= state.pressed[usize::from(place.input)] != tracker.frontier();
            }
            if !state.stalled[usize::from(place.input)].is_empty() {
                put_first(&mut self.ready, state.unstall(place.input, &mut self.slab));
            }
            if staged {
                let mut waiting = state.staged.leave(id);
                let waiting = std::iter::from_fn(|| waiting.as_mut()?.pop(&self.slab));
                put_first(&mut self.ready, waiting.collect());
            }
            let passed = !matches!(end, End::DeadLettered | End::Held) || !settled;
            let mut woken = None;
            match (origin, end) {
                (Some(origin), End::Moved) if mark => state.parked.hold_moved(origin, place.offset),
                (Some(_), End::Moved) => {}
                (Some(origin), _) => {
                    state.ended += 1;
                    // A letter that was sent back, or somebody else's: no key waits for it.
                    if parked {
                        (known, woken) = state.parked.end(origin, passed);
                    }
                }
                (None, End::Parked) => state.parked.add((place.input, place.offset), lane),
                // At least once: its copy was written, and its position was not committed. Now that copy is a repeat.
                (None, _) if state.parked.has_open() => {
                    (_, woken) = state.parked.end((place.input, place.offset), true);
                }
                (None, _) => {}
            }
            put_first(&mut self.ready, woken.into_iter().collect());
            if let (End::Held, Some(lane)) = (end, lane) {
                let lane = if origin.is_some() { dedup::other_lane(lane) } else { lane };
                let first = origin.unwrap_or((place.input, place.offset));
                put_first(&mut self.ready, state.parked.hold(first, lane).into_iter().collect());
            }
        }
        if end != End::Moved {
            count(&mut self.pending, end, origin.is_some(), known);
        }
        self.note_held(place.slot);
        if let Some(lane) = lane.filter(|_| !self.lanes.is_empty())
            && let Some(next) = self.lanes.leave(lane, index, &self.slab)
        {
            self.ready.push_front(next);
        }
        if origin.is_some() {
            let again = end == End::Parked;
            self.counters.violations.expect(!again, Rule::R4, "a copy is not set aside again");
            self.forget_copy(index);
        }
        self.bytes -= size;
        self.slab.remove(index);
    }
}

/// Counts an end. A copy's record was counted when it was read: its last fate takes the place of the first.
fn count(counters: &mut Counters, end: End, copy: bool, known: Known) {
    match (copy, known) {
        (false, _) => counters.read += 1,
        (true, Known::Parked) => counters.parked -= 1,
        (true, Known::No | Known::Letter) => {
            counters.redriven += 1;
            return;
        }
    }
    match end {
        End::Forwarded => counters.forwarded += 1,
        End::Dropped(reason) => counters.drop_for(reason, 1),
        End::Duplicate => counters.duplicates += 1,
        End::DeadLettered | End::Held => counters.dead_lettered += 1,
        End::Parked => counters.parked += 1,
        End::Moved => {}
    }
}

/// Puts records before all that are ready, in their order.
pub(super) fn put_first(ready: &mut VecDeque<u32>, first: Vec<u32>) {
    first.into_iter().rev().for_each(|index| ready.push_front(index));
}
