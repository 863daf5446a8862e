//! Keeps the dedup changelog short: what has left the window is deleted from `.state`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Class, End, LogResult, TopicPartition};

use super::Replica;

/// How long the changelog of one slot was at what time of the slot, oldest first.
#[derive(Debug, Default)]
pub struct Ages {
    window_ms: i64,
    notes: VecDeque<Note>,
}

#[derive(Debug)]
struct Note {
    first: i64,
    last: i64,
    end: i64,
}

/// Notes per window: a changelog is longer than it must be by at most this share.
const NOTES: i64 = 24;

impl Ages {
    /// For ids that are remembered this long.
    pub fn new(window_ms: i64) -> Self {
        Self { window_ms, notes: VecDeque::new() }
    }

    /// Everything below offset `end` was written at slot time `time` or before.
    pub fn note(&mut self, time: i64, end: i64) {
        match self.notes.back_mut() {
            Some(note) if time < note.first + self.window_ms / NOTES => {
                (note.last, note.end) = (time.max(note.last), end.max(note.end));
            }
            _ => self.notes.push_back(Note { first: time, last: time, end }),
        }
    }

    /// Whether something can go at slot time `now`.
    pub(super) fn has_useless(&self, now: i64) -> bool {
        self.notes.front().is_some_and(|note| note.last < self.bound(now))
    }

    /// The engine drops ids by buckets of a 24th of the window, so an id may be known for that much longer.
    fn bound(&self, now: i64) -> i64 {
        now.saturating_sub(self.window_ms + self.window_ms / 24 + 1)
    }

    /// Up to which offset nothing is of use any more at slot time `now`.
    fn useless(&mut self, now: i64) -> Option<i64> {
        let bound = self.bound(now);
        let mut end = None;
        while self.notes.front().is_some_and(|note| note.last < bound) {
            end = self.notes.pop_front().map(|note| note.end);
        }
        end
    }
}

/// When the next look is due, and what is known of each slot.
pub(super) struct Trim {
    due: Instant,
    every: Duration,
    pub(super) slots: BTreeMap<u32, Ages>,
}

impl Trim {
    pub(super) fn new(window_ms: i64) -> Self {
        let every = Duration::from_millis((window_ms / NOTES).max(0) as u64);
        let every = every.clamp(Duration::from_secs(5), Duration::from_secs(600));
        Self { due: Instant::now() + every, every, slots: BTreeMap::new() }
    }
}

impl Trim {
    /// A slot came with what its changelog says. What can go already goes soon: a run may be shorter than the wait for
    /// the next look.
    pub(super) fn add(&mut self, slot: u32, ages: Ages, time: Option<i64>) {
        if time.is_some_and(|time| ages.has_useless(time)) {
            self.due = Instant::now();
        }
        self.slots.insert(slot, ages);
    }
}

impl Replica {
    /// Looks, when it is time to.
    pub(super) fn trim_state(&mut self) -> LogResult<()> {
        let Some(state) = self.cx.plan.state.clone() else { return Ok(()) };
        if Instant::now() < self.trim.due {
            return Ok(());
        }
        self.trim.due = Instant::now() + self.trim.every;
        let slots: Vec<u32> = self.trim.slots.keys().copied().collect();
        let places: Vec<TopicPartition> =
            slots.iter().map(|s| TopicPartition::new(Arc::clone(&state), *s as i32)).collect();
        let ends = match self.cx.log.ends(&places, End::High) {
            Ok(ends) => ends,
            // Nothing depends on it; the next look will do.
            Err(e) if e.class == Class::Retry => return Ok(()),
            Err(e) => return Err(e),
        };
        let mut deletions = Vec::new();
        for ((slot, place), end) in slots.into_iter().zip(places).zip(ends) {
            let (Some(time), Some(ages)) = (self.engine.slot_time(slot), self.trim.slots.get_mut(&slot)) else {
                continue;
            };
            ages.note(time, end);
            deletions.extend(ages.useless(time).map(|end| (place, end)));
        }
        if deletions.is_empty() {
            return Ok(());
        }
        match self.cx.log.delete_before(&deletions) {
            Err(e) if e.class != Class::Retry => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_the_window_goes_and_nothing_else() {
        let mut ages = Ages::new(24_000);
        for (time, end) in [(0, 10), (500, 15), (1_000, 20), (2_500, 30), (30_000, 40)] {
            ages.note(time, end);
        }
        assert_eq!(ages.useless(25_000), None, "a bucket longer than the window");
        assert!(!ages.has_useless(25_002) && ages.has_useless(25_502));
        assert_eq!(ages.useless(25_002), None, "the first note reaches to time 500");
        assert_eq!(ages.useless(25_502), Some(15));
        assert_eq!(ages.useless(28_000), Some(30));
        assert_eq!(ages.useless(54_000), None);
    }
}
