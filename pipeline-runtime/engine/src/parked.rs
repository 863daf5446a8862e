//! Which keys of a slot are set aside or held, and how that is taken back by an abort.
//!
//! A key is set aside while one of its copies in `.retry` has not ended. Open copies are known by the place their record
//! was first read at, and not by a mere count: with at-least-once delivery a copy may lie there twice, and the second end
//! must not set the key free before its time. Copies of a key run in the order of these places, wherever they lie in the
//! log: what is moved to its end keeps its turn.
//!
//! ```text
//! free ── a record is parked ──> set aside: later records are copied too (behind)
//!   ^                               │ ^
//!   │                 a copy passed │ │ a copy failed, ranges half full, no room
//!   │                               v │
//!   └──── the last copy ended ── catching up: the next record waits in memory
//! ```
//!
//! A key is *held* while a hold of it is open (`holds.rs`): later records are copied as behind a parked one, and copies
//! that come after the hold stay where they are.

use std::collections::{BTreeSet, HashMap};

use crate::holds::{Holds, State};

/// What a record that was first read at a place is known by: input and offset.
pub type Origin = (u16, i64);

/// One key that is set aside or held.
#[derive(Default)]
pub(crate) struct Key {
    /// Copies that have not ended, whether they were read or not.
    pub(crate) open: BTreeSet<Origin>,
    /// Of them, dead letters that were sent back: their records were counted before.
    letters: usize,
    /// Its holds.
    pub(crate) holds: BTreeSet<Origin>,
    /// The last copy that ended passed: more may be loaded at once.
    flowing: bool,
    /// Few copies are left: the next record waits for them.
    catching_up: bool,
    /// The record that waits. It holds the lane, so those after it wait there.
    waiting: Option<u32>,
}

/// A copy that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    /// Its key's lane; `None` for one that nothing waits for.
    lane: Option<u64>,
    /// A dead letter that was sent back and goes first.
    letter: bool,
}

enum Change {
    Added(Origin),
    /// Set aside, though an open copy of it was there: with at-least-once delivery.
    Again(Origin),
    Ended(Origin, Open),
    Held(Origin),
    Freed(Origin, u64, u32),
}

/// What became of the entry of a copy that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It had none: a repeat, or a letter that nothing waits for.
    No,
    /// Its record was set aside, and counted as that.
    Parked,
    /// It was a dead letter.
    Letter,
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

/// Whether it is a copy's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyTurn {
    /// Nothing of its key is before it.
    Now,
    /// Another copy is.
    Later,
    /// A hold is.
    Held,
}

/// The keys of one slot that are set aside or held.
#[derive(Default)]
pub struct Parked {
    /// By the name of the lane that live records of the key take.
    keys: HashMap<u64, Key>,
    open: HashMap<Origin, Open>,
    holds: Holds,
    /// Since the last commit, oldest first.
    journal: Vec<Change>,
    /// Records that wait behind a hold, and by how many more they are than when last asked.
    behind: usize,
    held: i64,
}

/// A key with more open copies than this does not catch up: its later records would only wait for very long.
const CATCH_UP: usize = 1_024;

impl Key {
    /// Records that wait behind a hold.
    fn held(&self) -> usize {
        if self.holds.is_empty() { 0 } else { self.open.len() - self.letters }
    }
}

impl Parked {
    /// Whether no key is set aside or held; asked for each record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a copy is open, of a key or of none.
    #[inline]
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Open copies and holds.
    pub fn len(&self) -> usize {
        self.open.len() + self.holds.len()
    }

    /// Open copies: those that wait behind no hold, and those that do.
    pub fn waiting(&self) -> (usize, usize) {
        (self.open.len() - self.behind, self.behind)
    }

    /// Keys that are held.
    pub fn held_keys(&self) -> usize {
        self.holds.keys()
    }

    /// By how many more records wait behind a hold than when this was asked last.
    pub fn take_held(&mut self) -> i64 {
        std::mem::take(&mut self.held)
    }

    /// What becomes of the next live record of a lane.
    pub fn turn(&self, lane: u64) -> Turn {
        match self.keys.get(&lane) {
            None => Turn::Free,
            Some(key) if key.catching_up && key.holds.is_empty() => Turn::CatchingUp,
            Some(_) => Turn::Behind,
        }
    }

    /// Whether it is the turn of a copy of this lane, after those up to `loaded` were taken in. `in_line`: its key waits
    /// for it.
    pub fn turn_of(&self, origin: Origin, in_line: bool, lane: Option<u64>, loaded: Option<Origin>) -> CopyTurn {
        let Some(key) = lane.and_then(|lane| self.keys.get(&lane)) else { return CopyTurn::Now };
        if key.holds.first().is_some_and(|hold| *hold < origin) {
            return CopyTurn::Held;
        }
        // One that nothing waits for waits for nothing either.
        if !in_line || !key.open.contains(&origin) || key.open.first() == Some(&origin) {
            return CopyTurn::Now;
        }
        let next = loaded.and_then(|loaded| key.open.range((after(loaded), std::ops::Bound::Unbounded)).next());
        if next == Some(&origin) { CopyTurn::Now } else { CopyTurn::Later }
    }

    /// Whether a copy is among those that wait in the order of their places.
    pub fn is_open(&self, origin: Origin) -> bool {
        self.open.contains_key(&origin)
    }

    /// Whether the copies of a lane pass.
    pub fn is_flowing(&self, lane: u64) -> bool {
        self.keys.get(&lane).is_some_and(|key| key.flowing)
    }

    /// A record is set aside.
    pub fn add(&mut self, origin: Origin, lane: Option<u64>) {
        let new = self.restore(origin, lane, false);
        self.journal.push(if new { Change::Added(origin) } else { Change::Again(origin) });
    }

    /// A copy was there before; `false` if its record has one already. `letter`: it is a dead letter that was sent back
    /// and goes first.
    pub fn restore(&mut self, origin: Origin, lane: Option<u64>, letter: bool) -> bool {
        if self.open.contains_key(&origin) {
            return false;
        }
        self.open.insert(origin, Open { lane, letter });
        self.change(lane, |key| {
            key.open.insert(origin);
            key.letters += usize::from(letter);
        });
        true
    }

    /// A copy ended; `passed`: not for want of attempts. What it was, and the record that may be looked at now.
    pub fn end(&mut self, origin: Origin, passed: bool) -> (Known, Option<u32>) {
        let Some(open) = self.open.remove(&origin) else { return (Known::No, None) };
        self.journal.push(Change::Ended(origin, open));
        let woken = self.change(open.lane, |key| {
            key.open.remove(&origin);
            key.letters -= usize::from(open.letter);
            key.flowing = passed;
            key.catching_up = passed && key.open.len() <= CATCH_UP;
            if key.open.is_empty() || !key.catching_up { key.waiting.take() } else { None }
        });
        (if open.letter { Known::Letter } else { Known::Parked }, woken.flatten())
    }

    /// A copy failed and will be tried again: later records no longer wait for it. The one that did.
    pub fn failed(&mut self, origin: Origin) -> Option<u32> {
        let lane = self.open.get(&origin)?.lane?;
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

    /// The record became a dead letter that holds its key. The record that waited for copies, and is to go behind now.
    pub fn hold(&mut self, origin: Origin, lane: u64) -> Option<u32> {
        self.journal.push(Change::Held(origin));
        self.restore_hold(origin, lane);
        self.keys.get_mut(&lane).and_then(|key| key.waiting.take())
    }

    /// A hold was there before.
    pub fn restore_hold(&mut self, origin: Origin, lane: u64) {
        let lane = self.holds.add(origin, lane);
        self.enter_hold(origin, lane);
    }

    /// The mark of a hold was read. Whether all of this hold have been now.
    pub fn read_hold(&mut self, origin: Origin, lane: u64, offset: i64, sent: u32) -> bool {
        let lane = self.holds.read(origin, lane, offset, sent);
        self.enter_hold(origin, lane);
        matches!(self.holds.state(origin), State::Read(_))
    }

    /// What is known of the marks of a hold.
    pub fn hold_state(&self, origin: Origin) -> State<'_> {
        self.holds.state(origin)
    }

    /// How often the letter of a hold was sent back before, of which a mark was read.
    pub fn hold_sent(&self, origin: Origin) -> Option<u32> {
        self.holds.sent(origin)
    }

    /// The mark of a hold is written again, at the end of the log.
    pub fn hold_moved(&mut self, origin: Origin, offset: i64) {
        self.holds.moved(origin, offset);
    }

    /// A hold is over.
    pub fn free(&mut self, origin: Origin) {
        let Some((lane, total)) = self.holds.remove(origin) else { return };
        self.journal.push(Change::Freed(origin, lane, total));
        self.leave_hold(origin, lane);
        if let Some(key) = self.keys.get_mut(&lane) {
            key.flowing = true;
        }
    }

    fn enter_hold(&mut self, origin: Origin, lane: u64) {
        let news = self.change(Some(lane), |key| {
            let first = key.holds.is_empty();
            key.holds.insert(origin);
            first
        });
        self.holds.key_held(i64::from(news == Some(true)));
    }

    fn leave_hold(&mut self, origin: Origin, lane: u64) {
        let last = self.change(Some(lane), |key| key.holds.remove(&origin) && key.holds.is_empty());
        self.holds.key_held(-i64::from(last == Some(true)));
    }

    /// Changes a key, makes it where it is not there and forgets it where nothing is left of it.
    fn change<T>(&mut self, lane: Option<u64>, change: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let lane = lane?;
        let key = self.keys.entry(lane).or_default();
        let before = key.held();
        let changed = change(key);
        self.behind = self.behind + key.held() - before;
        self.held += key.held() as i64 - before as i64;
        if key.open.is_empty() && key.holds.is_empty() {
            self.keys.remove(&lane);
        }
        Some(changed)
    }

    /// Whether this record was set aside since the last commit.
    pub fn is_new(&self, origin: Origin) -> bool {
        self.journal.iter().any(|change| matches!(change, Change::Added(o) | Change::Again(o) if *o == origin))
    }

    /// Everything so far is durable.
    pub fn committed(&mut self) {
        self.journal.clear();
    }

    /// Everything since the last commit never was, and no record is held in memory any more.
    pub fn aborted(&mut self) {
        for change in std::mem::take(&mut self.journal).into_iter().rev() {
            match change {
                Change::Ended(origin, open) => {
                    self.restore(origin, open.lane, open.letter);
                }
                Change::Again(_) => {}
                Change::Added(origin) => {
                    if let Some(open) = self.open.remove(&origin) {
                        self.change(open.lane, |key| key.open.remove(&origin));
                    }
                }
                Change::Held(origin) => {
                    if let Some(lane) = self.holds.take_back(origin) {
                        self.leave_hold(origin, lane);
                    }
                }
                Change::Freed(origin, lane, total) => {
                    self.holds.put_back(origin, lane, total);
                    self.enter_hold(origin, lane);
                }
            }
        }
        self.holds.unread();
        self.keys.values_mut().for_each(|key| (key.flowing, key.catching_up, key.waiting) = (false, false, None));
        self.held = 0;
    }

    /// Forgets the records that are no longer held in memory.
    pub fn retain(&mut self, holds: impl Fn(u32) -> bool) {
        self.keys.values_mut().for_each(|key| key.waiting = key.waiting.filter(|index| holds(*index)));
    }

    /// Where the records that are set aside were first read, sorted.
    pub fn origins(&self) -> Vec<Origin> {
        let parked = self.open.iter().filter(|(_, open)| !open.letter);
        let mut origins: Vec<Origin> = parked.map(|(origin, _)| *origin).collect();
        origins.sort_unstable();
        origins
    }

    /// Where the dead letters were first read that hold their keys, sorted.
    pub fn held_origins(&self) -> Vec<Origin> {
        self.holds.origins()
    }
}

fn after(origin: Origin) -> std::ops::Bound<Origin> {
    std::ops::Bound::Excluded(origin)
}

#[cfg(test)]
#[path = "parked_tests.rs"]
mod tests;
