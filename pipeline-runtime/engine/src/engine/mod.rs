//! The engine of one replica: records in, work out, fates in, outputs and commits out.

mod admit;
mod commit;
mod copies;
mod finish;
mod hold;
mod park;
mod slots;
mod start;

pub use self::commit::{CommitPlan, CommitPosition, Start};

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::breaker::Breaker;
use crate::config::{EngineConfig, Order, Park};
use crate::counters::Counters;
use crate::dedup::{Restore, StateSnapshot};
use crate::error::EngineError;
use crate::lanes::Lanes;
use crate::retry::Retries;
use crate::slab::Slab;
use crate::slot::Slot;
use crate::work::{Place, Ticket};

/// Every delivery decision of one replica. `R` is the host's record, `O` what it became.
pub struct Engine<R, O> {
    config: EngineConfig,
    slots: BTreeMap<u32, Slot>,
    slab: Slab<R>,
    lanes: Lanes,
    retries: Retries,
    /// Records that may be looked at, in the order they came.
    ready: VecDeque<u32>,
    released: VecDeque<(Place, O)>,
    /// Duplicates that ended, where the host wants to know them.
    duplicates: Option<VecDeque<(Place, R)>>,
    /// Bytes of the records held.
    bytes: usize,
    /// Of them, copies and their bytes.
    copies: usize,
    copy_bytes: usize,
    /// Of copies that an abort let go: the attempts they had made, and when they are due.
    let_go: HashMap<Place, (u32, u64)>,
    started: usize,
    /// Finished records that no commit has taken yet, and since when there is one.
    finished: usize,
    finished_since: Option<u64>,
    /// Since when a position has moved without a record.
    moved_since: Option<u64>,
    /// Records the log refused the outputs of.
    poisoned: HashMap<Place, Poison>,
    /// When a key is set aside, where that can be.
    park: Option<Park>,
    breaker: Breaker,
    /// Ranges are half full or room is used up: whoever can make way has to.
    press: bool,
    /// Attempts to be cancelled.
    overdue_now: Vec<Ticket>,
    /// No other running attempt is late before this, by the breaker's clock.
    overdue_from: u64,
    /// Fates that are not committed.
    pending: Counters,
    counters: Counters,
    /// A slot went away whose outputs the open transaction holds: only an abort may end it.
    must_abort: bool,
    /// Time buckets are nearly used up: nothing more is handed out before the next commit.
    crowded: bool,
    failed: Option<EngineError>,
    /// The latest time seen, for calls that bring none.
    mono_ms: u64,
}

/// Why a record is buried.
struct Poison {
    why: String,
    /// Its copy for `.retry` was refused, and not what the filters made of it.
    of_copy: bool,
}

/// Open copies per slot. At the bound nothing more of its inputs is read; what was read may still be set aside.
const MAX_PARKED: usize = 200_000;

impl<R, O> Engine<R, O> {
    /// An engine without slots. Equal seeds wait equally.
    pub fn new(config: EngineConfig, seed: u64) -> Self {
        Self {
            slots: BTreeMap::new(),
            slab: Slab::new(),
            lanes: Lanes::new(),
            retries: Retries::new(config.backoff_min_ms, config.backoff_max_ms, seed),
            ready: VecDeque::new(),
            released: VecDeque::new(),
            duplicates: None,
            bytes: 0,
            copies: 0,
            copy_bytes: 0,
            let_go: HashMap::new(),
            started: 0,
            finished: 0,
            finished_since: None,
            moved_since: None,
            poisoned: HashMap::new(),
            park: config.park.filter(|_| config.retry_input.is_some() && config.order != Order::Partition),
            breaker: Breaker::new(config.backoff_min_ms, config.backoff_max_ms),
            press: false,
            overdue_now: Vec::new(),
            overdue_from: u64::MAX,
            pending: Counters::default(),
            counters: Counters::default(),
            must_abort: false,
            crowded: false,
            failed: None,
            mono_ms: 0,
            config,
        }
    }

    /// An empty dedup state, to be filled from a slot's changelog.
    pub fn restore(&self) -> Restore {
        Restore::new(self.config.dedup)
    }

    /// Records that were read and have not ended; of them, those that wait for another attempt.
    pub fn held(&self) -> (usize, usize) {
        (self.slab.len(), self.retries.len())
    }

    /// Outputs to be written into the open transaction, in the order they ended.
    pub fn pop_released(&mut self) -> Option<(Place, O)> {
        self.released.pop_front()
    }

    /// From now on the host gets duplicates by [`pop_duplicate`](Self::pop_duplicate), and has to take them before each
    /// commit.
    pub fn tell_duplicates(&mut self) {
        self.duplicates.get_or_insert_default();
    }

    /// A record that was dropped as a duplicate: what the host writes of it belongs into the open transaction.
    pub fn pop_duplicate(&mut self) -> Option<(Place, R)> {
        self.duplicates.as_mut()?.pop_front()
    }

    /// The log refused what this record became: its next attempt says so. Of a slot that is gone or is to go there is
    /// no next attempt here.
    pub fn poison(&mut self, place: Place, message: String) {
        if let Some(state) = self.slots.get(&place.slot).filter(|s| !s.revoked) {
            let of_copy = state.parked.is_new((place.input, place.offset));
            self.poisoned.insert(place, Poison { why: message, of_copy });
        }
    }

    /// Inputs whose finished ranges are full, or that have set aside as much as may be: nothing more of them is of use.
    /// Never the input of copies: it is by reading them that the others get room.
    pub fn full_slots(&self) -> impl Iterator<Item = (u32, u16)> {
        let live = self.config.retry_input.map_or(usize::MAX, usize::from);
        self.slots.iter().flat_map(move |(slot, state)| {
            let parked = state.parked.len() >= MAX_PARKED;
            let inputs = state.trackers.iter().zip(0u16..).take(live);
            inputs.filter(move |(tracker, _)| parked || tracker.is_full()).map(|(_, input)| (*slot, input))
        })
    }

    /// Whether something finished is not committed.
    pub fn has_uncommitted(&self) -> bool {
        self.finished > 0
    }

    /// Slots that have set aside as much as may be: their inputs are not read until copies have ended.
    pub fn parked_full(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().filter(|(_, state)| state.parked.len() >= MAX_PARKED).map(|(slot, _)| *slot)
    }

    /// Whether nothing is queued, started, waiting, skipped or uncommitted.
    pub fn is_idle(&self) -> bool {
        let skipped = self.slots.values().any(|state| state.window.has_skipped());
        !skipped && self.slab.len() == 0 && self.finished == 0 && self.released.is_empty() && self.moved_since.is_none()
    }

    /// Why the engine cannot go on.
    pub fn failed(&self) -> Option<EngineError> {
        self.failed.clone()
    }

    /// The dedup state of a slot, to compare with one rebuilt from its changelog (R8).
    pub fn snapshot(&self, slot: u32) -> Option<StateSnapshot> {
        Some(self.slots.get(&slot)?.dedup.as_ref()?.snapshot())
    }

    /// A slot's time as of the last commit: no mark in its changelog is later. Marks a window and a 24th before it are of
    /// no more use, also after an abort or a crash.
    pub fn slot_time(&self, slot: u32) -> Option<i64> {
        self.slots.get(&slot)?.dedup.as_ref()?.committed_time()
    }

    /// Committed fates.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
