//! Which keys of a slot are set aside, and how that is taken back by an abort.
//!
//! A key is set aside while one of its copies in `.retry` has not ended. Open copies are known by the place their record
//! was first read at, and not by a mere count: with at-least-once delivery a copy may lie there twice, and the second end
//! must not set the key free before its time.
//!
//! ```text
//! free ── a record is parked ──> set aside: later records are copied too (behind)
//!   ^                               │ ^
//!   │                 a copy passed │ │ a copy failed, ranges half full, no room
//!   │                               v │
//!   └──── the last copy ended ── catching up: the next record waits in memory
//! ```

use std::collections::HashMap;

/// What a record that was first read at a place is known by: input and offset.
pub type Origin = (u16, i64);

/// One key that is set aside.
#[derive(Default)]
struct Key {
    /// Copies that have not ended, whether they were read or not.
    open: u32,
    /// The last copy that ended passed: more may be loaded at once.
    flowing: bool,
    /// Few copies are left: the next record waits for them.
    catching_up: bool,
    /// The record that waits. It holds the lane, so those after it wait there.
    waiting: Option<u32>,
}

enum Change {
    Added(Origin),
    Ended(Origin, Option<u64>),
}

/// What becomes of a later record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The key is not set aside.
    Free,
    /// It is, and has few copies left.
    CatchingUp,
    /// It is.
    Behind,
}

/// The keys of one slot that are set aside.
#[derive(Default)]
pub struct Parked {
    /// By the name of the lane that live records of the key take.
    keys: HashMap<u64, Key>,
    /// Open copies, each with its key's lane; `None` for one that nothing waits for.
    open: HashMap<Origin, Option<u64>>,
    /// Since the last commit, oldest first.
    journal: Vec<Change>,
}

/// A key with more open copies than this does not catch up: its later records would only wait for very long.
const CATCH_UP: u32 = 1_024;

impl Parked {
    /// Whether no key is set aside; asked for each record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a copy is open, of a key or of none.
    #[inline]
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Open copies.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// What becomes of the next live record of a lane.
    pub fn turn(&self, lane: u64) -> Turn {
        match self.keys.get(&lane) {
            None => Turn::Free,
            Some(key) if key.catching_up => Turn::CatchingUp,
            Some(_) => Turn::Behind,
        }
    }

    /// The lane of live records that wait for this copy.
    pub fn lane_of(&self, origin: Origin) -> Option<u64> {
        self.open.get(&origin).copied().flatten()
    }

    /// Whether the copies of a lane pass.
    pub fn is_flowing(&self, lane: u64) -> bool {
        self.keys.get(&lane).is_some_and(|key| key.flowing)
    }

    /// A record is set aside.
    pub fn add(&mut self, origin: Origin, lane: Option<u64>) {
        if self.restore(origin, lane) {
            self.journal.push(Change::Added(origin));
        }
    }

    /// A copy was there before; `false` if its record has one already.
    pub fn restore(&mut self, origin: Origin, lane: Option<u64>) -> bool {
        if self.open.contains_key(&origin) {
            return false;
        }
        self.open.insert(origin, lane);
        if let Some(lane) = lane {
            self.keys.entry(lane).or_default().open += 1;
        }
        true
    }

    /// A copy ended; `passed`: not for want of attempts. Whether it was open, and the record that may be looked at now.
    pub fn end(&mut self, origin: Origin, passed: bool) -> (bool, Option<u32>) {
        let Some(lane) = self.open.remove(&origin) else { return (false, None) };
        self.journal.push(Change::Ended(origin, lane));
        let Some(key) = lane.and_then(|lane| self.keys.get_mut(&lane)) else { return (true, None) };
        key.open -= 1;
        key.flowing = passed;
        key.catching_up = passed && key.open <= CATCH_UP;
        let woken = if key.open == 0 || !key.catching_up { key.waiting.take() } else { None };
        if key.open == 0 {
            lane.map(|lane| self.keys.remove(&lane));
        }
        (true, woken)
    }

    /// A copy failed and will be tried again: later records no longer wait for it. The one that did.
    pub fn failed(&mut self, origin: Origin) -> Option<u32> {
        let lane = self.open.get(&origin).copied().flatten()?;
        let key = self.keys.get_mut(&lane)?;
        (key.flowing, key.catching_up) = (false, false);
        key.waiting.take()
    }

    /// A record waits until its key is free.
    pub fn wait(&mut self, lane: u64, index: u32) {
        if let Some(key) = self.keys.get_mut(&lane) {
            key.waiting = Some(index);
        }
    }

    /// Nobody waits any more: there is no room for it. Those that did.
    pub fn let_go(&mut self) -> Vec<u32> {
        let waiting = self.keys.values_mut().filter(|key| key.waiting.is_some());
        let mut going: Vec<u32> = waiting
            .filter_map(|key| {
                key.catching_up = false;
                key.waiting.take()
            })
            .collect();
        // A map has no order of its own, and equal seeds must run equally.
        going.sort_unstable();
        going
    }

    /// Whether this record was set aside since the last commit.
    pub fn is_new(&self, origin: Origin) -> bool {
        self.journal.iter().any(|change| matches!(change, Change::Added(o) if *o == origin))
    }

    /// Everything so far is durable.
    pub fn committed(&mut self) {
        self.journal.clear();
    }

    /// Everything since the last commit never was, and no record is held any more.
    pub fn aborted(&mut self) {
        for change in std::mem::take(&mut self.journal).into_iter().rev() {
            match change {
                Change::Ended(origin, lane) => {
                    self.restore(origin, lane);
                }
                Change::Added(origin) => {
                    if let Some(lane) = self.open.remove(&origin).flatten()
                        && let Some(key) = self.keys.get_mut(&lane)
                    {
                        key.open -= 1;
                    }
                }
            }
        }
        self.keys.retain(|_, key| {
            (key.flowing, key.catching_up, key.waiting) = (false, false, None);
            key.open > 0
        });
    }

    /// Forgets the records that are no longer held.
    pub fn retain(&mut self, holds: impl Fn(u32) -> bool) {
        self.keys.values_mut().for_each(|key| key.waiting = key.waiting.filter(|index| holds(*index)));
    }

    /// Where the open copies were first read, sorted.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.open.keys().copied().collect();
        origins.sort_unstable();
        origins
    }
}

#[cfg(test)]
#[path = "parked_tests.rs"]
mod tests;
