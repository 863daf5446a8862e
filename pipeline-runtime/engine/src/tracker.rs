//! Which offsets of one partition are done: the frontier, and what is finished beyond it.
//!
//! Only unfinished offsets are kept (and a bounded number of finished ones between them), so memory follows the records
//! held, not the distance a slow record falls behind. Offsets nobody ever reads (markers, compaction) are no one's and
//! count as finished.

use std::collections::VecDeque;

use crate::ranges::{self, Ranges};
use crate::varint;

/// An offset that was admitted.
struct Open {
    offset: i64,
    done: bool,
    /// A finished record lies between the entry before and this one.
    after_finished: bool,
}

/// One partition of one input.
pub struct Tracker {
    /// Rising; the first is unfinished. Finished ones are swept out when they are many.
    open: VecDeque<Open>,
    /// Finished entries in `open`.
    done: usize,
    /// A finished record lies after the last entry.
    tail_finished: bool,
    /// Everything below was read.
    next: i64,
    /// Finished by an earlier owner, not reached by reading yet.
    restored: VecDeque<(i64, i64)>,
    /// Ranges between unfinished entries, and after the last.
    between: usize,
    /// Bytes the ranges take, as last counted, and finishes since that may have added to them.
    counted: usize,
    since: usize,
    /// Records that may finish at any time and whose range has its room.
    promised: usize,
    /// Bytes there are for ranges.
    capacity: usize,
    committed: Committed,
    /// The position may differ from the committed one.
    dirty: bool,
}

/// A position as it is in the log, or on its way there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub ranges: Ranges,
}

/// What the growth of ranges that are not finishes (their last one grows with the reading) may take.
const SLACK: usize = 16;

impl Tracker {
    /// Starts at a committed position, with `capacity` bytes for ranges ([`ranges::raw_capacity`]).
    pub fn new(start: Committed, capacity: usize) -> Self {
        let mut tracker = Self {
            open: VecDeque::new(),
            done: 0,
            tail_finished: false,
            next: 0,
            restored: VecDeque::new(),
            between: 0,
            counted: 0,
            since: 0,
            promised: 0,
            capacity: capacity.saturating_sub(SLACK),
            committed: start,
            dirty: false,
        };
        tracker.rewind();
        tracker
    }

    /// Goes back to the last commit.
    pub fn rewind(&mut self) {
        self.open.clear();
        self.done = 0;
        self.tail_finished = false;
        self.next = self.committed.offset;
        self.restored = self.committed.ranges.iter().copied().collect();
        self.between = 0;
        self.promised = 0;
        self.dirty = false;
        self.count();
    }

    /// A record was read. `false`: it is finished, or was read before.
    #[inline]
    pub fn admit(&mut self, offset: i64) -> bool {
        if offset < self.next {
            return false;
        }
        let known = if self.restored.is_empty() { false } else { self.see(offset + 1, offset) };
        self.next = offset + 1;
        self.dirty = true;
        if known {
            return false;
        }
        self.open.push_back(Open { offset, done: false, after_finished: std::mem::take(&mut self.tail_finished) });
        true
    }

    /// Everything below `next` was read, whether it was anybody's or not. `true` if that was news.
    pub fn advance(&mut self, next: i64) -> bool {
        if next <= self.next {
            return false;
        }
        self.see(next, next);
        self.next = next;
        self.dirty = true;
        true
    }

    /// Passes restored ranges that begin below `next`; whether `offset` lies in one.
    fn see(&mut self, next: i64, offset: i64) -> bool {
        while let Some(&(start, end)) = self.restored.front() {
            if start >= next {
                break;
            }
            if !self.open.is_empty() && !self.tail_finished {
                self.tail_finished = true;
                self.between += 1;
            }
            if offset < end && offset >= start {
                return true;
            }
            if end > next {
                break;
            }
            self.restored.pop_front();
        }
        false
    }

    /// Whether the record at `offset` may start: its finish moves the frontier, or there is room for one more range.
    /// The first unfinished record always may, so a full partition still moves.
    #[inline]
    pub fn may_start(&self, offset: i64) -> bool {
        self.open.front().is_none_or(|first| first.offset == offset) || self.has_room()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.bytes(self.since + self.promised + 1) <= self.capacity
    }

    /// Bytes of the ranges if so many more are added: a length, and a distance that is at most the span of offsets. One
    /// byte more each is for a span that grows meanwhile.
    #[inline]
    fn bytes(&self, more: usize) -> usize {
        let span = self.next - self.open.front().map_or(self.next, |first| first.offset);
        self.counted + more * (3 + varint::len(span as u64))
    }

    /// Room is kept for the finish of one more record.
    #[inline]
    pub fn promise(&mut self) {
        self.promised += 1;
    }

    /// No further range fits: reading on would only fill memory.
    pub fn is_full(&self) -> bool {
        !self.open.is_empty() && !self.has_room()
    }

    /// Half of the room for ranges is taken. What is promised does not count: many quick records are no trouble.
    pub fn is_half_full(&mut self) -> bool {
        let half = self.capacity / 2;
        if self.open.is_empty() || self.bytes(self.since) <= half {
            return false;
        }
        if self.since > 0 {
            self.count();
        }
        self.counted > half
    }

    /// Hardly another range fits, whatever is promised.
    pub fn is_nearly_full(&mut self) -> bool {
        let most = self.capacity - self.capacity / 8;
        if self.open.is_empty() || self.bytes(self.since + 1) <= most {
            return false;
        }
        if self.since > 0 {
            self.count();
        }
        self.bytes(1) > most
    }

    /// Not even with what is promised is half of the room for ranges taken.
    pub fn has_plenty(&self) -> bool {
        self.bytes(self.since + self.promised + 1) <= self.capacity / 2
    }

    /// Whether as many as `more` can finish now, wherever they lie.
    pub fn has_room_for(&self, more: usize) -> bool {
        self.bytes(self.since + self.promised + more) <= self.capacity
    }

    /// Whether the finish of this unfinished offset takes no further range: it is the lowest, or what is before it is
    /// finished; or is `before`, which finishes first.
    pub fn finishes_freely(&self, offset: i64, before: Option<i64>) -> bool {
        let Ok(at) = self.open.binary_search_by_key(&offset, |o| o.offset) else { return false };
        at == 0 || self.open[at].after_finished || self.open[at - 1].done || Some(self.open[at - 1].offset) == before
    }

    /// Unfinished offsets that were read, and the span of offsets they lie in.
    pub fn spread(&self) -> (usize, i64) {
        (self.open.len() - self.done, self.next - self.frontier())
    }

    /// Stretches of unfinished offsets with finished ones after them, as half-open ranges, rising: the shortest `share` (of
    /// 100) of them. Were all of a stretch finished, there would be one range less.
    pub fn stretches(&self, share: usize) -> Vec<(i64, i64)> {
        let mut stretches: Vec<(usize, i64, i64)> = Vec::new();
        let (mut len, mut from, mut last) = (0usize, 0, 0);
        for open in &self.open {
            if len > 0 && (open.after_finished || open.done) {
                stretches.push((len, from, last + 1));
                len = 0;
            }
            if !open.done {
                if len == 0 {
                    from = open.offset;
                }
                (len, last) = (len + 1, open.offset);
            }
        }
        if len > 0 && (self.tail_finished || !self.restored.is_empty()) {
            stretches.push((len, from, last + 1));
        }
        let wanted = (stretches.len() * share).div_ceil(100);
        stretches.sort_unstable();
        stretches.truncate(wanted);
        let mut ranges: Vec<(i64, i64)> = stretches.into_iter().map(|(_, from, to)| (from, to)).collect();
        ranges.sort_unstable();
        ranges
    }

    /// Everything below was read.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether a record that was read has not ended.
    pub fn is_open(&self, offset: i64) -> bool {
        self.open.binary_search_by_key(&offset, |o| o.offset).is_ok_and(|at| !self.open[at].done)
    }

    /// Whether a record has ended, here or with an owner before, whether that is committed or not.
    pub fn is_done(&self, offset: i64) -> bool {
        if offset < self.next {
            return !self.is_open(offset);
        }
        self.restored.iter().any(|(start, end)| (*start..*end).contains(&offset))
    }

    /// A record that was promised room is given up; it stays unfinished.
    pub fn give_up(&mut self) {
        self.promised = self.promised.saturating_sub(1);
    }

    /// A record ended. `false`: it is not unfinished (a broken rule).
    #[inline]
    pub fn finish(&mut self, offset: i64) -> bool {
        self.promised = self.promised.saturating_sub(1);
        match self.open.front() {
            Some(first) if first.offset == offset => {
                self.open.pop_front();
                self.absorb();
            }
            _ => {
                let Ok(at) = self.open.binary_search_by_key(&offset, |o| o.offset) else { return false };
                if self.open[at].done {
                    return false;
                }
                self.finish_inside(at);
            }
        }
        self.dirty = true;
        true
    }

    /// The first entry is gone: what is finished right after it lies below the frontier now.
    #[inline]
    fn absorb(&mut self) {
        let range_follows = self.open.front().map_or(self.tail_finished, |o| o.done || o.after_finished);
        self.between -= usize::from(range_follows);
        while self.open.front().is_some_and(|o| o.done) {
            self.open.pop_front();
            self.done -= 1;
        }
        match self.open.front_mut() {
            Some(first) => first.after_finished = false,
            None => self.tail_finished = false,
        }
        if self.counted + self.since > 0 {
            if self.between == 0 && self.restored.is_empty() {
                (self.counted, self.since) = (0, 0);
            } else if !self.has_room() {
                self.count();
            }
        }
    }

    fn finish_inside(&mut self, at: usize) {
        let range_before = self.open[at].after_finished || self.open[at - 1].done;
        let range_after = self.open.get(at + 1).map_or(self.tail_finished, |o| o.done || o.after_finished);
        self.between = self.between + 1 - usize::from(range_before) - usize::from(range_after);
        self.open[at].done = true;
        self.done += 1;
        self.since += 1;
        if self.done > 32 && self.done * 2 > self.open.len() {
            self.sweep();
        }
        if !self.has_room() {
            self.count();
        }
    }

    /// Drops finished entries; that they were there stays known.
    fn sweep(&mut self) {
        let mut finished = false;
        self.open.retain_mut(|o| {
            if o.done {
                finished = true;
            } else {
                o.after_finished |= std::mem::take(&mut finished);
            }
            !o.done
        });
        self.tail_finished |= finished;
        self.done = 0;
    }

    fn count(&mut self) {
        let Committed { offset, ranges } = self.position();
        (self.counted, self.since) = (ranges::raw_len(offset, ranges.into_iter()), 0);
        debug_assert!(self.between + self.restored.len() >= usize::from(self.counted > 0));
    }

    /// The lowest unfinished offset, or the end of what was read.
    pub fn frontier(&self) -> i64 {
        if let Some(first) = self.open.front() {
            return first.offset;
        }
        let covering = self.restored.iter().take_while(|(start, _)| *start <= self.next).map(|(_, end)| *end).last();
        covering.map_or(self.next, |end| end.max(self.next))
    }

    /// What a commit would say.
    pub fn position(&self) -> Committed {
        let offset = self.frontier();
        let mut ranges = Ranges::with_capacity(self.between + self.restored.len());
        let (mut unfinished, mut finished) = (None, false);
        for open in &self.open {
            finished |= open.done || open.after_finished;
            if !open.done {
                if let (Some(last), true) = (unfinished, finished) {
                    ranges.push((last + 1, open.offset));
                }
                (unfinished, finished) = (Some(open.offset), false);
            }
        }
        if let (Some(last), true) = (unfinished, finished || self.tail_finished) {
            ranges.push((last + 1, self.next));
        }
        for (start, end) in &self.restored {
            let start = (*start).max(self.next);
            match ranges.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(*end),
                _ if *end <= offset => {}
                _ => ranges.push((start, *end)),
            }
        }
        Committed { offset, ranges }
    }

    /// The position to commit, if it is not the committed one.
    pub fn plan(&mut self) -> Option<Committed> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let position = self.position();
        (position != self.committed).then_some(position)
    }

    /// A planned position is durable.
    pub fn commit(&mut self, position: Committed) {
        self.committed = position;
    }

    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Whether an offset lies in the committed part.
    pub fn is_committed(&self, offset: i64) -> bool {
        offset < self.committed.offset || self.committed.ranges.iter().any(|(s, e)| (*s..*e).contains(&offset))
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
