//! Records come in, as many as there is room for.

use super::Engine;
use crate::counters::Rule;
use crate::dedup;
use crate::slab::{self, Entry};
use crate::work::Place;

impl<R, O> Engine<R, O> {
    /// A record was read. `false`: it is finished already, or of an old assignment.
    #[expect(clippy::too_many_arguments, reason = "one call per record, all of it needed, nothing to bundle")]
    pub fn admit(
        &mut self,
        slot: u32,
        input: u16,
        epoch: u64,
        offset: i64,
        key: Option<&[u8]>,
        id: &[u8],
        timestamp: i64,
        size: usize,
        record: R,
    ) -> bool {
        let Some(state) = self.slots.get_mut(&slot).filter(|s| s.epoch == epoch && !s.revoked) else { return false };
        let Some(tracker) = state.trackers.get_mut(usize::from(input)) else { return false };
        if !tracker.admit(offset) {
            // What an owner before had finished: the position may move with no record ending.
            self.moved_since.get_or_insert(self.mono_ms);
            return false;
        }
        let id = if state.dedup.is_some() { dedup::hash_id(self.config.hash_key, id) } else { [0; 2] };
        let lane = self.live_lane(slot, input, key);
        self.counters.violations.expect(self.has_room(), Rule::R5, "no record is admitted when the budget is used up");
        let place = Place { slot, input, offset };
        let index = self.slab.insert(Entry::new(place, id, lane, timestamp, size, record));
        self.bytes += size;
        self.ready.push_back(index);
        self.press |= self.config.retry_input.is_some() && !self.has_room();
        true
    }

    /// Offsets below `next` that were not admitted are nobody's: markers, compacted or aborted records.
    pub fn advance(&mut self, slot: u32, input: u16, epoch: u64, next: i64) {
        let Some(state) = self.slots.get_mut(&slot).filter(|s| s.epoch == epoch && !s.revoked) else { return };
        if Some(input) == self.config.retry_input {
            state.window.read_to(next);
        }
        let Some(tracker) = state.trackers.get_mut(usize::from(input)) else { return };
        if tracker.advance(next) && self.moved_since.is_none() {
            self.moved_since = Some(self.mono_ms);
        }
    }

    /// Whether one more live record may be read.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        let (records, bytes) = self.live_budget();
        self.slab.len() - self.copies < records && self.bytes - self.copy_bytes < bytes
    }

    /// How many more records and bytes may be read (R5).
    pub fn budget(&self) -> (usize, usize) {
        let (records, bytes) = self.live_budget();
        let records = records.min(slab::CAPACITY).saturating_sub(self.slab.len() - self.copies);
        let bytes = bytes.saturating_sub(self.bytes - self.copy_bytes);
        if records == 0 || bytes == 0 {
            return (0, 0);
        }
        if self.breaker.since().is_none() {
            return (records, bytes);
        }
        // One after the other, to find one that may probe: only keys that fail are known to fail.
        let wanted = self.breaker.fresh_at().is_some_and(|at| at <= self.mono_ms) && self.fresh().is_none();
        if wanted { (1, bytes) } else { (0, 0) }
    }
}
