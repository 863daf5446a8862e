//! Slots come and go.

use std::cmp::Reverse;

use super::Engine;
use crate::config::Now;
use crate::dedup::Restore;
use crate::engine::Start;
use crate::error::EngineError;
use crate::slab::Entry;
use crate::slot::Slot;
use crate::work::Ticket;

impl<R, O> Engine<R, O> {
    /// A slot comes: one start per input, and its dedup state.
    pub fn assign(
        &mut self,
        slot: u32,
        epoch: u64,
        starts: &[Start],
        restored: Restore,
        now: Now,
    ) -> Result<(), EngineError> {
        self.mono_ms = now.mono_ms;
        let expected = self.config.inputs;
        if starts.len() != usize::from(expected) || expected > 256 {
            return Err(EngineError::Inputs { slot, found: starts.len(), expected });
        }
        if self.slots.contains_key(&slot) {
            return Err(EngineError::AssignedTwice { slot });
        }
        let state = Slot::new(epoch, starts, restored.into_dedup(), self.config.max_metadata, self.config.retry_input)?;
        self.slots.insert(slot, state);
        Ok(())
    }

    /// These are to go: what is not started is given up, what is started goes on.
    pub fn revoke(&mut self, slots: &[u32]) {
        for slot in slots {
            if let Some(state) = self.slots.get_mut(slot) {
                state.revoked = true;
            }
        }
        let kept = self.drop_records(|e| slots.contains(&e.place.slot) && !e.started);
        debug_assert!(kept.is_empty(), "only records that are not started were given up");
    }

    /// Whether nothing of these is started, and nothing that is finished is uncommitted.
    pub fn drained(&self, slots: &[u32]) -> bool {
        !self.in_flight(slots) && slots.iter().all(|s| self.slots.get(s).is_none_or(|s| s.finished == 0))
    }

    /// Whether an attempt of these is started and not finished.
    pub fn in_flight(&self, slots: &[u32]) -> bool {
        self.started > 0
            && self.slab.indexes().any(|i| self.slab[i].started && slots.contains(&self.slab[i].place.slot))
    }

    /// Forgets these slots. Gives the attempts to cancel; a later [`finish`](Self::finish) of one is stale (R6).
    pub fn remove(&mut self, slots: &[u32]) -> Vec<Ticket> {
        let cancelled = self.drop_records(|e| slots.contains(&e.place.slot));
        for slot in slots {
            self.must_abort |= self.slots.remove(slot).is_some_and(|s| s.finished > 0);
        }
        self.released.retain(|(place, _)| !slots.contains(&place.slot));
        self.poisoned.retain(|place, _| !slots.contains(&place.slot));
        self.let_go.retain(|place, _| !slots.contains(&place.slot));
        cancelled
    }

    /// Lets records go without an end. Gives the tickets of those that were started.
    pub(super) fn drop_records(&mut self, go: impl Fn(&Entry<R>) -> bool) -> Vec<Ticket> {
        let gone: Vec<u32> = self.slab.indexes().filter(|i| go(&self.slab[*i])).collect();
        let mut tickets = Vec::new();
        for index in &gone {
            let entry = &self.slab[*index];
            if entry.started {
                tickets.push(self.slab.ticket(*index));
                self.started -= 1;
            }
            if entry.admitted
                && let Some(state) = self.slots.get_mut(&entry.place.slot)
            {
                state.trackers[usize::from(entry.place.input)].give_up();
            }
            self.bytes -= entry.size;
            if entry.origin.is_some() {
                self.forget_copy(*index);
            }
            self.slab.remove(*index);
        }
        let slab = &mut self.slab;
        self.ready.retain(|i| slab.holds(*i));
        self.retries.retain(|i| slab.holds(i));
        self.lanes.retain(slab);
        for state in self.slots.values_mut() {
            state.stalled.iter_mut().for_each(|s| s.retain(|Reverse((_, i))| slab.holds(*i)));
            state.staged.retain(slab);
            state.parked.retain(|index| slab.holds(index));
        }
        tickets
    }
}
