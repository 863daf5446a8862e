//! Keys that wait until somebody decides about a dead letter: marks come in, decisions come in, and what waits for long
//! is written again at the end of `.retry`.
//!
//! Nothing here is run: a mark, a decision and what waits behind them are offsets of `.retry` that are unfinished, and
//! end by what is read later. All of it goes through the same positions as any copy.

use super::{CommitPosition, Engine};
use crate::config::{Now, Order};
use crate::counters::Rule;
use crate::holds::State;
use crate::parked::Origin;
use crate::ranges;
use crate::slab::Entry;
use crate::slot::Slot;
use crate::tracker::Tracker;
use crate::window::{Seen, Short};
use crate::work::{Place, Ticket};

/// Copies are moved again after so many others have ended, or after this time.
const MOVE_AFTER: usize = 64;
const MOVE_EVERY_MS: u64 = 1_000;
/// `.retry` may span so many offsets for each unfinished one, and so many more, before copies are moved to its end.
const SPAN: i64 = 8;
const SPAN_MORE: i64 = 10_000;

/// A copy that is not run: where it lies and what it stands for.
pub(super) struct Waiting {
    pub place: Place,
    pub origin: Origin,
    /// Its key waits for it.
    pub parked: bool,
    /// It is the mark of a hold.
    pub mark: bool,
    pub timestamp: i64,
    pub size: usize,
}

impl<R, O> Engine<R, O> {
    /// Whether this record holds its key if it becomes a dead letter. One without a key holds nothing, nor does a letter
    /// that was sent back and that no key waited for: later records have passed it, and some may be under way.
    pub fn may_hold(&self, ticket: Ticket) -> bool {
        let held = self.config.hold && self.config.retry_input.is_some() && self.config.order == Order::Key;
        held && self.slab.started(ticket).is_some_and(|index| {
            let entry = &self.slab[index];
            entry.lane.is_some() && (entry.origin.is_none() || entry.parked)
        })
    }

    /// Keys that are held, over all slots.
    pub fn held_keys(&self) -> usize {
        self.slots.values().map(|state| state.parked.held_keys()).sum()
    }

    /// Where the dead letters were first read that hold their keys: input and offset, sorted. To compare and to show.
    pub fn holds(&self, slot: u32) -> Vec<Origin> {
        self.slots.get(&slot).map(|state| state.parked.held_origins()).unwrap_or_default()
    }

    /// The mark of a hold was read. Whether it is to be moved.
    pub(super) fn admit_mark(&mut self, waiting: Waiting, lane: Option<u64>, sent: u32, record: R) -> bool {
        let Waiting { place, origin, .. } = waiting;
        let Some(state) = self.slots.get_mut(&place.slot) else { return false };
        let Some(lane) = lane else {
            // The stage keeps no order any more: nothing can be held.
            self.finish_unrun(place, &[place.offset]);
            return false;
        };
        let complete = state.parked.read_hold(origin, lane, place.offset, sent);
        if complete && state.window.takes_deferred() {
            state.window.starve();
        }
        self.note_held(place.slot);
        let seen = Seen { offset: place.offset, size: waiting.size, lane: None, place: Some(origin) };
        self.move_or_pass(waiting, seen, record)
    }

    /// Somebody has decided that a hold is over. `sent`: of a letter that was sent back so often; the word comes too late
    /// where it was sent again since, has failed again and holds its key anew.
    pub(super) fn admit_free(&mut self, place: Place, origin: Origin, sent: u32) {
        let Some(mut marks) = self.marks(place.slot, origin) else { return };
        if self.slots.get(&place.slot).is_some_and(|state| state.parked.hold_sent(origin) != Some(sent)) {
            marks.clear();
        }
        let known = !marks.is_empty();
        if !self.finish_unrun(place, &[marks, vec![place.offset]].concat()) {
            return;
        }
        if known {
            self.end_hold(place.slot, origin);
        } else {
            self.pending.strays += 1;
        }
    }

    /// A dead letter that held its key is back: it takes the place of the hold. `false`: not yet.
    pub(super) fn take_over(&mut self, place: Place, origin: Origin, lane: Option<u64>) -> bool {
        let Some(marks) = self.marks(place.slot, origin) else { return false };
        if !marks.is_empty() && !self.finish_unrun(place, &marks) {
            return false;
        }
        if let Some(state) = self.slots.get_mut(&place.slot) {
            state.parked.restore(origin, lane, true);
        }
        if !marks.is_empty() {
            self.end_hold(place.slot, origin);
        }
        true
    }

    /// The marks of a hold, none for one that is not there. `None`: it cannot end before they were all read.
    fn marks(&mut self, slot: u32, origin: Origin) -> Option<Vec<i64>> {
        let state = self.slots.get_mut(&slot)?;
        let marks = match state.parked.hold_state(origin) {
            State::None => return Some(Vec::new()),
            State::Read(marks) if marks.iter().all(|at| !state.window.holds(*at)) => marks.to_vec(),
            State::Read(_) | State::Unread => {
                state.window.defer();
                return None;
            }
        };
        Some(marks)
    }

    fn end_hold(&mut self, slot: u32, origin: Origin) {
        if let Some(state) = self.slots.get_mut(&slot) {
            state.parked.free(origin);
            state.window.starve();
        }
        self.note_held(slot);
    }

    /// Finishes offsets of `.retry` that nothing was run for, if there is room for all of them.
    fn finish_unrun(&mut self, place: Place, offsets: &[i64]) -> bool {
        let Some(state) = self.slots.get_mut(&place.slot) else { return false };
        let tracker = &mut state.trackers[usize::from(place.input)];
        let wanted = offsets.iter().filter(|offset| !tracker.finishes_freely(**offset, None)).count();
        if wanted > 0 && !tracker.has_room_for(wanted) {
            state.window.lack_ranges();
            return false;
        }
        for offset in offsets {
            tracker.promise();
            let known = tracker.finish(*offset);
            self.counters.violations.expect(known, Rule::R4, "a hold ends once");
        }
        state.finished += 1;
        self.finished += 1;
        self.finished_since.get_or_insert(self.mono_ms);
        true
    }

    /// Who waits behind a hold is counted as held, and no longer as parked.
    pub(super) fn note_held(&mut self, slot: u32) {
        let Some(state) = self.slots.get_mut(&slot) else { return };
        let more = state.parked.take_held();
        self.pending.held += more;
        self.pending.parked -= more;
    }

    /// A copy behind a hold, or its mark, stays where it is; or is taken in to be written again at the end.
    pub(super) fn move_or_pass(&mut self, waiting: Waiting, seen: Seen, record: R) -> bool {
        let at = waiting.place;
        if self.may_move(at) {
            self.load_to_move(waiting, record);
            return true;
        }
        if let Some(state) = self.slots.get_mut(&at.slot) {
            state.window.pass_over(seen);
        }
        false
    }

    /// Whether a copy that cannot run now is to be written again, and its finish takes no room.
    pub(super) fn may_move(&self, place: Place) -> bool {
        let Some(state) = self.slots.get(&place.slot) else { return false };
        let tracker = &state.trackers[usize::from(place.input)];
        state.window.moves(place.offset)
            && self.has_room_for_copy(&state.window)
            && tracker.finishes_freely(place.offset, state.window.last_moved())
    }

    /// Takes a copy in that is only written again.
    pub(super) fn load_to_move(&mut self, waiting: Waiting, record: R) {
        let Waiting { place, origin, parked, mark, timestamp, size } = waiting;
        if let Some(state) = self.slots.get_mut(&place.slot) {
            state.trackers[usize::from(place.input)].promise();
            state.window.take_to_move(place.offset, size);
        }
        let mut entry = Entry::new(place, [0; 2], None, timestamp, size, record);
        entry.origin = Some(origin);
        (entry.admitted, entry.moves, entry.parked, entry.mark) = (true, true, parked, mark);
        self.hold_copy(entry);
    }

    /// A copy that was loaded and whose turn it is not any more is let go; it is read again.
    pub(super) fn unload(&mut self, index: u32, held: bool) {
        let Entry { place, lane, size, .. } = self.slab[index];
        self.remember_copy(index);
        if let Some(state) = self.slots.get_mut(&place.slot) {
            state.trackers[usize::from(place.input)].give_up();
            if !held {
                state.window.skip(lane);
            }
        }
        self.forget_copy(index);
        self.bytes -= size;
        if let Some(lane) = lane
            && let Some(next) = self.lanes.leave(lane, index, &self.slab)
        {
            self.ready.push_front(next);
        }
        self.slab.remove(index);
    }

    /// Slots whose `.retry` has to be read again from [`retry_position`](Self::retry_position), each named once; if no copy
    /// is read then, once more after some seconds. To be asked when nothing is in the open transaction: right after a
    /// commit, and where none comes, now and then.
    pub fn rereads(&mut self, now: Now) -> Vec<u32> {
        self.mono_ms = now.mono_ms;
        let Some(input) = self.config.retry_input.map(usize::from) else { return Vec::new() };
        let (few, share) = (self.has_few_copies(), self.share());
        let mut slots = Vec::new();
        for (slot, state) in self.slots.iter_mut().filter(|(_, state)| !state.revoked) {
            let moving = to_move(state, input, self.mono_ms);
            let tracker = &state.trackers[input];
            let held = state.window.held();
            let room = few || held.0 <= share.0 / 2 && held.1 <= share.1 / 2;
            let plenty = |short| if short == Short::Room { room } else { tracker.has_plenty() };
            if state.window.wants_pass(now.mono_ms, plenty) || !moving.is_empty() {
                state.window.begin_pass(tracker.next(), moving, now.mono_ms);
                slots.push(*slot);
            }
        }
        slots
    }

    /// Below which offset of a slot's `.retry` nobody needs anything: all is committed, and reading is past it. A position
    /// passes over what the owner before had finished, and so may be ahead of the reading. `None`: nothing is known of it.
    pub fn retry_done(&self, slot: u32) -> Option<i64> {
        let committed = self.retry_position(slot)?.offset;
        Some(committed.min(self.slots.get(&slot)?.window.read_before()?))
    }

    /// The committed position of a slot's `.retry`.
    pub fn retry_position(&self, slot: u32) -> Option<CommitPosition> {
        let input = self.config.retry_input?;
        let at = self.slots.get(&slot)?.trackers.get(usize::from(input))?.committed();
        Some(CommitPosition { slot, input, offset: at.offset, metadata: ranges::encode(at.offset, &at.ranges) })
    }
}

/// Which copies are to be written again at the end, if they cannot run now: where finished ranges are half full and keys
/// are held, the shortest stretches between them, so that those of a key with very many are moved rarely; where ranges are
/// nearly full, or leave no room for the end of a hold, or what is done takes most of the log, all. At full ranges a copy
/// that waits for one which has no room would otherwise wait for ever, where the two lie in the log in the wrong order.
fn to_move(state: &mut Slot, input: usize, mono_ms: u64) -> Vec<(i64, i64)> {
    let due = state.ended >= MOVE_AFTER || state.moved_at.is_none_or(|at| mono_ms >= at + MOVE_EVERY_MS);
    if state.parked.is_empty() || !due || state.window.in_pass() {
        return Vec::new();
    }
    let tracker: &mut Tracker = &mut state.trackers[input];
    let (open, span) = tracker.spread();
    let held = state.parked.held_keys() > 0;
    let full = state.window.lacks_ranges() || tracker.is_nearly_full();
    let share = if full || (held && span > SPAN * open as i64 + SPAN_MORE) {
        100
    } else if held && tracker.is_half_full() {
        50
    } else {
        return Vec::new();
    };
    (state.ended, state.moved_at) = (0, Some(mono_ms));
    tracker.stretches(share)
}
