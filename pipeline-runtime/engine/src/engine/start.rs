//! Which record runs next.

use std::cmp::Reverse;

use super::Engine;
use crate::config::Now;
use crate::counters::Rule;
use crate::dedup;
use crate::error::EngineError;
use crate::parked::{CopyTurn, Turn};
use crate::retry::Which;
use crate::slab::Entry;
use crate::work::{Reason, Task, Work};

/// Records that compute, admitted ahead.
const SLICE: usize = 256;

impl<R, O> Engine<R, O> {
    /// The next attempt to run. Ends duplicates by itself.
    pub fn next(&mut self, now: Now) -> Option<Work<R>> {
        self.mono_ms = now.mono_ms;
        if self.failed.is_some() {
            return None;
        }
        while self.started < self.limit() && !self.crowded {
            let work = if self.breaker.since().is_some() {
                self.probe(now)?
            } else {
                if self.press {
                    self.relieve();
                }
                match self.retries.due(now.mono_ms) {
                    Some(index) if self.slab[index].origin.is_none() => self.go_on(index, now),
                    Some(index) => self.look_at(index, now),
                    None => {
                        let index = self.ready.pop_front()?;
                        self.look_at(index, now)
                    }
                }
            };
            if work.is_some() {
                return work;
            }
            if self.failed.is_some() {
                return None;
            }
        }
        None
    }

    /// A live record that was read and never ran: where it is in `ready`. It may say that only those are gone that failed
    /// before.
    pub(super) fn fresh(&self) -> Option<usize> {
        self.ready.iter().position(|index| self.slab[*index].origin.is_none())
    }

    /// While the breaker is open: a live record that never ran, at once if none has failed just now; else, when it is time
    /// to, the longest waiting live record; if there is none, a copy. `None`: nothing may go now. `Some(None)`: ask again.
    fn probe(&mut self, now: Now) -> Option<Option<Work<R>>> {
        let due = self.breaker.fresh_at().is_some_and(|at| at <= now.mono_ms);
        let fresh = if due { self.fresh() } else { None };
        if fresh.is_none() && self.breaker.probe_at().is_some_and(|at| now.mono_ms < at) {
            return None;
        }
        let is_fresh = fresh.is_some();
        let work = if let Some(index) = fresh.and_then(|at| self.ready.remove(at)) {
            self.look_at(index, now)
        } else if self.retries.deadline_of(Which::Live).is_some() {
            let index = self.retries.due_of(Which::Live, now.mono_ms)?;
            let due = self.slab[index].due;
            if due > now.mono_ms {
                // It was to be set aside now; that has to wait.
                self.retries.wait(Which::Live, index, due);
                return Some(None);
            }
            Some(self.start(index))
        } else if let Some(index) = self.ready.pop_front() {
            self.look_at(index, now)
        } else {
            let index = self.retries.due_of(Which::Copies, now.mono_ms)?;
            self.look_at(index, now)
        };
        if let Some(work) = work.as_ref().filter(|work| work.task == Task::Run) {
            self.breaker.probed(work.ticket, is_fresh, now.mono_ms);
        }
        Some(work)
    }

    /// Whether [`next`](Self::next) has something to look at without waiting.
    pub fn has_ready(&self) -> bool {
        let closed = self.breaker.since().is_none();
        closed && (!self.ready.is_empty() || self.press) && self.started < self.limit() && !self.crowded
    }

    /// How many more live records could begin at once if they were admitted now: for a host that decides at the last moment
    /// what comes next. Of filters that compute it is a slice of work.
    pub fn hunger(&self) -> usize {
        let window = if self.config.inline { SLICE } else { self.config.concurrency };
        if self.crowded { 0 } else { window.saturating_sub(self.ready.len() + self.started) }
    }

    /// Most records that are started at once.
    pub(super) fn limit(&self) -> usize {
        if self.config.inline { 1 } else { self.config.concurrency }
    }

    /// A record whose turn may have come: it waits for its lane, its time, its offset's room or its id; or it is a
    /// duplicate; or its key is set aside; or it starts.
    pub(super) fn look_at(&mut self, index: u32, now: Now) -> Option<Work<R>> {
        let Entry { place, origin, id, lane, timestamp, due, forced, parked, moves, .. } = self.slab[index];
        if moves {
            return Some(self.hand_out(index, Task::Move));
        }
        if parked && !self.lanes.is_empty() {
            self.leave_live_lane(index);
        }
        if let Some(lane) = lane
            && !self.lanes.is_empty()
            && self.lanes.queue(lane, index, &mut self.slab)
        {
            return None;
        }
        if let Some(origin) = origin {
            // A letter that holds their key, or one that goes first, may have come since it was loaded.
            let state = self.slots.get(&place.slot)?;
            let turn = state.parked.turn_of(origin, parked, lane.map(dedup::other_lane), None);
            if turn != CopyTurn::Now {
                self.unload(index, turn == CopyTurn::Held);
                return None;
            }
            if parked && !self.lanes.is_empty() && self.waits_for_live(index) {
                return None;
            }
        }
        if origin.is_some() && due > now.mono_ms {
            self.hold_lane(index);
            self.retries.wait(Which::Copies, index, due);
            return None;
        }
        let state = self.slots.get_mut(&place.slot)?;
        if !self.slab[index].admitted {
            if !state.trackers[usize::from(place.input)].may_start(place.offset) {
                self.hold_lane(index);
                let stalled = &mut self.slots.get_mut(&place.slot)?.stalled[usize::from(place.input)];
                stalled.push(Reverse((place.offset, index)));
                return None;
            }
            // A duplicate finishes its offset too, so it takes room as any other; whoever finishes gives it back.
            state.trackers[usize::from(place.input)].promise();
            self.slab[index].admitted = true;
        }
        if let Some(dedup) = &mut state.dedup {
            dedup.observe(timestamp, now.wall_ms);
            let (input, offset) = origin.unwrap_or((place.input, place.offset));
            if !forced && dedup.is_duplicate(id, input, offset) {
                if let Some(duplicates) = &mut self.duplicates {
                    duplicates.extend(self.slab[index].record.take().map(|record| (place, record)));
                }
                self.end(index, super::finish::End::Duplicate);
                return None;
            }
            if state.staged.wait(id, index, &mut self.slab) {
                self.hold_lane(index);
                return None;
            }
            if !dedup.has_room(state.staged.len() + 1) {
                let max_ids = self.config.dedup.map_or(0, |d| d.max_ids);
                self.failed = Some(EngineError::DedupFull { slot: place.slot, max_ids });
                self.ready.push_front(index);
                return None;
            }
        }
        if let (None, Some(lane), false) = (origin, lane, state.parked.is_empty()) {
            match state.parked.turn(lane) {
                Turn::Free => {}
                // Behind it is, but its copy was refused: it ends here, or it never does.
                _ if self.poisoned.get(&place).is_some_and(|poison| poison.of_copy) => {}
                Turn::CatchingUp if self.may_wait(index) => {
                    self.hold_lane(index);
                    if let Some(state) = self.slots.get_mut(&place.slot) {
                        state.parked.wait(lane, index);
                    }
                    return None;
                }
                Turn::CatchingUp | Turn::Behind => {
                    if !self.config.inline {
                        self.hold_lane(index);
                    }
                    return Some(self.start_parking(index, Reason::Behind));
                }
            }
        }
        if !self.config.inline {
            self.hold_lane(index);
            self.stage(index);
        }
        Some(self.start(index))
    }

    /// A letter that was released, and so holds its key no longer, may be sent back while a later live record of the key is
    /// under way: the two must not run at once, or the letter may fail and hold the key before the other has ended. Those
    /// that have not begun go behind the letter. With at-least-once delivery that other record may be its own.
    fn waits_for_live(&mut self, index: u32) -> bool {
        let Some(lane) = self.slab[index].lane.map(dedup::other_lane) else { return false };
        let under_way = |owner: u32| self.slab[owner].started || self.slab[owner].attempts > 0;
        if !self.lanes.owner(lane).is_some_and(under_way) {
            return false;
        }
        // Other copies of the key wait behind it as if it ran.
        self.hold_lane(index);
        self.lanes.queue(lane, index, &mut self.slab)
    }

    /// A copy that waited so has the live lane now, and does not need it.
    fn leave_live_lane(&mut self, index: u32) {
        let Some(lane) = self.slab[index].lane.map(dedup::other_lane) else { return };
        if let Some(next) = self.lanes.leave(lane, index, &self.slab) {
            self.ready.push_front(next);
        }
    }

    /// Whether a record may wait in memory for its key's copies: nothing else needs its place.
    fn may_wait(&mut self, index: u32) -> bool {
        let Entry { place, .. } = self.slab[index];
        let room = self.has_room();
        let tracker = self.slots.get_mut(&place.slot).map(|s| &mut s.trackers[usize::from(place.input)]);
        room && !tracker.is_some_and(|tracker| tracker.is_half_full())
    }

    pub(super) fn start(&mut self, index: u32) -> Work<R> {
        let place = self.slab[index].place;
        let poison = if self.poisoned.is_empty() { None } else { self.poisoned.get(&place) };
        let task = poison.map_or(Task::Run, |poison| Task::Bury(poison.why.clone()));
        let work = self.hand_out(index, task);
        if let Some(park) = self.park {
            let clock = self.breaker.clock(self.mono_ms);
            let entry = &mut self.slab[index];
            if entry.attempts == 1 {
                entry.first = clock;
            }
            entry.overdue = false;
            if !self.config.inline && entry.origin.is_none() {
                self.overdue_from = self.overdue_from.min(entry.first.saturating_add(park.time_ms));
            }
        }
        work
    }

    /// Hands a record out to be copied; that is no attempt.
    pub(super) fn start_parking(&mut self, index: u32, reason: Reason) -> Work<R> {
        let work = self.hand_out(index, Task::Park(reason));
        let entry = &mut self.slab[index];
        entry.attempts -= 1;
        Work { attempt: entry.attempts, ..work }
    }

    fn hand_out(&mut self, index: u32, task: Task) -> Work<R> {
        let ticket = self.slab.start(index);
        self.started += 1;
        let entry = &mut self.slab[index];
        entry.settled = task != Task::Run;
        let (place, origin, attempt) = (entry.place, entry.origin(), entry.attempts);
        let record = entry.record.take().expect("a record that is not started is in the slab");
        Work { ticket, place, origin, attempt, task, record }
    }

    pub(super) fn hold_lane(&mut self, index: u32) {
        if let Some(lane) = self.slab[index].lane {
            let held = self.lanes.hold(lane, index);
            self.counters.violations.expect(held, Rule::R3, "a lane has one record under way");
        }
    }

    /// Enters the record's id as being worked on.
    pub(super) fn stage(&mut self, index: u32) {
        let Entry { place, id, staged, .. } = self.slab[index];
        if let Some(state) = self.slots.get_mut(&place.slot).filter(|s| s.dedup.is_some() && !staged) {
            state.staged.enter(id, index);
            self.slab[index].staged = true;
        }
    }
}
