//! Records that were set aside come back.
//!
//! A copy keeps the place its record was first read at (its *origin*): ids are judged and marked by it, and it names
//! the copy among those that are open. It waits for its time in the lane of its key's copies; live records never wait
//! for one that was not read, so reading them never depends on room for copies.

use super::Engine;
use super::hold::Waiting;
use crate::config::{EngineConfig, Order};
use crate::dedup;
use crate::parked::{CopyTurn, Origin};
use crate::slab::Entry;
use crate::tracker::Tracker;
use crate::window::{Seen, Short, Window};
use crate::work::{Copy, CopyKind, Place};

/// Copies held at most, over all slots; fewer where the budget is small.
const WINDOW: usize = 2_048;
/// Of them, a key whose copies do not pass has this share,
const KEY_SHARE: usize = 32;
/// and all copies this share of the budget.
const BUDGET_SHARE: usize = 4;
/// Of that, this share is kept for the slots, the same for each: one slot's copies keep no other slot's out.
const SLOTS_SHARE: usize = 4;

impl<R, O> Engine<R, O> {
    /// A copy lies in `.retry` of a slot that was just assigned, between the committed frontier and the high watermark.
    /// Told of each of them, before anything is admitted, the engine knows which keys are set aside.
    pub fn restore_copy(&mut self, slot: u32, offset: i64, copy: &Copy<'_>) {
        let Some(input) = self.config.retry_input else { return };
        let lane = self.live_lane(slot, copy.origin_input, copy.key);
        let Some(state) = self.slots.get_mut(&slot) else { return };
        if state.trackers[usize::from(input)].is_committed(offset) {
            return;
        }
        let origin = (copy.origin_input, copy.origin_offset);
        match (copy.kind, lane) {
            (CopyKind::Parked, lane) => drop(state.parked.restore(origin, lane, false)),
            (CopyKind::First, lane) => drop(state.parked.restore(origin, lane, true)),
            (CopyKind::Hold, Some(lane)) => state.parked.restore_hold(origin, lane),
            (CopyKind::Hold | CopyKind::SentBack | CopyKind::Free, _) => {}
        }
        // Whoever set it aside has counted it.
        state.parked.take_held();
    }

    /// A copy was read from `.retry`. `false`: it is not taken on: it is finished, held already, of an old assignment,
    /// behind a hold, no record, or there is no room; then [`rereads`](Self::rereads) asks for it when it may be of use.
    pub fn admit_copy(&mut self, slot: u32, epoch: u64, offset: i64, copy: Copy<'_>, record: R) -> bool {
        let Some(input) = self.config.retry_input else { return false };
        let live_lane = self.live_lane(slot, copy.origin_input, copy.key);
        let lane = live_lane.map(dedup::other_lane);
        let Some(state) = self.slots.get_mut(&slot).filter(|s| s.epoch == epoch && !s.revoked) else { return false };
        let tracker = &mut state.trackers[usize::from(input)];
        let fresh = offset >= tracker.next();
        state.window.see(offset);
        if !tracker.admit(offset) {
            if fresh {
                // What an owner before had finished: the position may move with no record ending.
                self.moved_since.get_or_insert(self.mono_ms);
            }
            if fresh || !tracker.is_open(offset) || state.window.holds(offset) {
                return false;
            }
        }
        let (place, origin) = (Place { slot, input, offset }, (copy.origin_input, copy.origin_offset));
        let mark = copy.kind == CopyKind::Hold;
        let parked = matches!(copy.kind, CopyKind::Parked | CopyKind::First);
        let waiting = Waiting { place, origin, parked, mark, timestamp: copy.timestamp, size: copy.size };
        match copy.kind {
            CopyKind::Parked | CopyKind::SentBack => {}
            CopyKind::First if self.take_over(place, origin, live_lane) => {}
            CopyKind::First => return false,
            CopyKind::Hold => return self.admit_mark(waiting, live_lane, copy.attempts, record),
            CopyKind::Free => {
                self.admit_free(place, origin, copy.attempts);
                return false;
            }
        }
        let room = self.slots.get(&slot).is_some_and(|state| self.has_room_for_copy(&state.window));
        let (used, window) = (self.copies, self.window());
        let Some(state) = self.slots.get_mut(&slot) else { return false };
        // At least once: it was written, and what was to say so was not. Its record will be read again, or is under way.
        let unsaid = |tracker: &Tracker| !tracker.is_done(origin.1);
        if copy.kind == CopyKind::Parked
            && !state.parked.is_open(origin)
            && state.trackers.get(usize::from(origin.0)).is_some_and(unsaid)
        {
            state.parked.restore(origin, live_lane, false);
        }
        let in_line = parked && state.parked.is_open(origin);
        let seen = Seen { offset, size: copy.size, lane, place: in_line.then_some(origin) };
        let turn = state.parked.turn_of(origin, in_line, live_lane, state.window.last_of(lane));
        if turn == CopyTurn::Held {
            return self.move_or_pass(waiting, seen, record);
        }
        if turn == CopyTurn::Later && self.may_move(place) {
            self.load_to_move(waiting, record);
            return true;
        }
        let Some(state) = self.slots.get_mut(&slot) else { return false };
        let allowed = match live_lane {
            Some(lane) if state.parked.is_flowing(lane) => window,
            // Many keys that fail share what is left.
            _ if used > window / 2 => 1,
            _ => (window / KEY_SHARE).max(1),
        };
        let tracker = &mut state.trackers[usize::from(input)];
        let short = match (turn, room, tracker.may_start(offset)) {
            (CopyTurn::Later, ..) => Some(Short::Turn),
            (_, false, _) => Some(Short::Room),
            (_, true, false) => Some(Short::Ranges),
            (_, true, true) => None,
        };
        if !state.window.take(seen, short, allowed) {
            return false;
        }
        // Were it held and could not end, it would take the place of one that can.
        tracker.promise();
        let hash_key = self.config.hash_key;
        let id = if state.dedup.is_some() { dedup::hash_id(hash_key, copy.id) } else { [0; 2] };
        let mut entry = Entry::new(place, id, lane, copy.timestamp, copy.size, record);
        entry.origin = Some(origin);
        entry.admitted = true;
        entry.attempts = copy.attempts;
        entry.forced = copy.forced;
        entry.parked = parked;
        entry.due = self.mono_ms.saturating_add(copy.delay_ms);
        if let Some((attempts, due)) = self.let_go.remove(&place) {
            (entry.attempts, entry.due) = (entry.attempts.max(attempts), entry.due.max(due));
        }
        self.hold_copy(entry);
        true
    }

    /// Takes a copy into memory.
    pub(super) fn hold_copy(&mut self, entry: Entry<R>) {
        self.bytes += entry.size;
        self.copies += 1;
        self.copy_bytes += entry.size;
        let index = self.slab.insert(entry);
        self.ready.push_back(index);
    }

    /// Where the records that a slot has set aside were first read: input and offset, sorted. To compare and to show.
    pub fn parked(&self, slot: u32) -> Vec<Origin> {
        self.slots.get(&slot).map(|state| state.parked.origins()).unwrap_or_default()
    }

    /// Records that are set aside, over all slots.
    pub fn parked_len(&self) -> usize {
        self.slots.values().map(|state| state.parked.len()).sum()
    }

    /// Records that are set aside and wait behind no dead letter, and those that do, over all slots.
    pub fn waiting_len(&self) -> (usize, usize) {
        let all = self.slots.values().map(|state| state.parked.waiting());
        all.fold((0, 0), |(parked, held), more| (parked + more.0, held + more.1))
    }

    /// All copies are about to be let go by an abort, and will be read again: they wait on where they waited, or aborts
    /// one after the other would have what the stage calls asked without a pause. A call that is cut off is no attempt.
    pub(super) fn remember_copies(&mut self) {
        if self.let_go.len() + self.copies > 2 * WINDOW {
            self.let_go.clear();
        }
        for index in self.slab.indexes() {
            let entry = &self.slab[index];
            if entry.moves {
                continue;
            }
            let attempts = entry.attempts - u32::from(entry.started);
            let due = match entry.started {
                true => self.mono_ms.saturating_add(self.retries.delay(entry.attempts)),
                false => entry.due,
            };
            if entry.origin.is_some() && (attempts > 0 || due > self.mono_ms) {
                self.let_go.insert(entry.place, (attempts, due));
            }
        }
    }

    /// A copy that is not started is let go, as its turn is another's; it waits on where it waited when it comes again.
    pub(super) fn remember_copy(&mut self, index: u32) {
        let Entry { place, attempts, due, .. } = self.slab[index];
        if self.let_go.len() >= 2 * WINDOW {
            self.let_go.clear();
        }
        if attempts > 0 || due > self.mono_ms {
            self.let_go.insert(place, (attempts, due));
        }
    }

    /// A copy is no longer held.
    pub(super) fn forget_copy(&mut self, index: u32) {
        let Entry { place, lane, size, .. } = self.slab[index];
        self.copies -= 1;
        self.copy_bytes -= size;
        if let Some(state) = self.slots.get_mut(&place.slot) {
            state.window.leave(place.offset, size, lane);
        }
    }

    fn window(&self) -> usize {
        (self.config.budget_records / BUDGET_SHARE).clamp(1, WINDOW)
    }

    fn copy_quota(&self) -> usize {
        self.config.budget_bytes / BUDGET_SHARE
    }

    /// Whether there is room for so many that another look through `.retry` is worth it.
    pub(super) fn has_few_copies(&self) -> bool {
        self.copies <= self.window() / 2 && self.copy_bytes <= self.copy_quota() / 2
    }

    /// What a slot has for its copies whatever the others hold: so many, and so many bytes. One it always may hold.
    pub(super) fn share(&self) -> (usize, usize) {
        let parts = SLOTS_SHARE * self.slots.len().max(1);
        (self.window() / parts, self.copy_quota() / parts)
    }

    pub(super) fn has_room_for_copy(&self, own: &Window) -> bool {
        let (held, share) = (own.held(), self.share());
        let (window, quota) = (self.window(), self.copy_quota());
        held.0 == 0
            || held.0 < share.0 && held.1 < share.1
            || self.copies < window - window / SLOTS_SHARE && self.copy_bytes < quota - quota / SLOTS_SHARE
    }

    /// Records and bytes that live records may take. The rest of the budget is kept for copies, or a full house of live
    /// records would have them read and skipped for ever. One of each there always may be.
    #[inline]
    pub(super) fn live_budget(&self) -> (usize, usize) {
        let EngineConfig { budget_records: records, budget_bytes: bytes, retry_input, .. } = self.config;
        if retry_input.is_none() {
            return (records, bytes);
        }
        ((records - self.window().min(records)).max(1), (bytes - self.copy_quota()).max(1))
    }

    /// The lane of a live record.
    #[inline]
    pub(super) fn live_lane(&self, slot: u32, input: u16, key: Option<&[u8]>) -> Option<u64> {
        let key = self.lane_key(key)?;
        Some(dedup::hash_lane(self.config.hash_key, slot, input, key))
    }

    /// What names the lane beside slot and input; `None`: no lane.
    #[inline]
    fn lane_key<'k>(&self, key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        match self.config.order {
            Order::Key => key,
            Order::Partition => Some(&[]),
            Order::None => None,
        }
    }
}
