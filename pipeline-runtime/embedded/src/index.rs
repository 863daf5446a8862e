//! The index of one partition in memory: which offsets are where. Pure.
//!
//! An entry is a run, or a span: several small runs of one partition near each other in the log, which are found by
//! reading the log between them. So a record that was committed alone costs no entry of its own.

use std::collections::VecDeque;

use crate::frame::Row;

/// A span covers at most this much of the log.
const SPAN_BYTES: u32 = 64 << 10;
/// Runs written further apart than this are not put into one span, so that retention by time stays fine enough.
const SPAN_MS: i64 = 1_000;

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub segment: u32,
    /// Where the frame begins in the segment file.
    pub frame: u32,
    /// Where its data begins.
    pub data: u32,
    /// Where it ends.
    pub end: u32,
}

/// Some offsets of a partition and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First offset to be shown.
    pub base: i64,
    /// Offset after the last to be shown.
    pub end: i64,
    /// The latest time stamp in it.
    pub max_timestamp: i64,
    /// When its last record was written.
    pub written: i64,
    pub segment: u32,
    /// Where the (first) frame begins.
    pub frame: u32,
    pub kind: Kind,
    /// From a frame that moved records.
    pub moved: bool,
}

/// Where exactly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One run at this place of the segment.
    Run { at: u32, len: u32, base: i64 },
    /// All frames from `frame` up to here; those runs of them that are this partition's and were not moved.
    Span { end: u32 },
}

impl Entry {
    /// Bytes of the log it pins, about.
    pub fn bytes(&self) -> u64 {
        match self.kind {
            Kind::Run { len, .. } => u64::from(len),
            // Of a span only some is this partition's; counting all of it errs towards leaving a file alone.
            Kind::Span { end } => u64::from(end - self.frame),
        }
    }
}

/// Entries in order of offset, not overlapping.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: VecDeque<Entry>,
}

impl Index {
    /// The entry with this offset or the first one after it.
    pub fn find(&self, offset: i64) -> Option<&Entry> {
        self.entries.get(self.entries.partition_point(|e| e.end <= offset))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Puts a run at the end, or, if it was moved, in the place of what is there.
    pub fn add(&mut self, row: &Row, place: Place) {
        if row.moved {
            self.replace(row, place);
            return;
        }
        if let Some(last) = self.entries.back_mut()
            && last.segment == place.segment
            && !last.moved
            && last.end == row.base
            && row.written.saturating_sub(last.written) <= SPAN_MS
            && place.end - last.frame <= SPAN_BYTES
        {
            last.end = row.end;
            last.max_timestamp = last.max_timestamp.max(row.max_timestamp);
            last.written = row.written;
            last.kind = Kind::Span { end: place.end };
            return;
        }
        self.entries.push_back(entry(row, place));
    }

    fn replace(&mut self, row: &Row, place: Place) {
        let first = self.entries.partition_point(|e| e.end <= row.base);
        let after = self.entries.partition_point(|e| e.base < row.end).max(first);
        let before = self.entries.get(first).filter(|e| e.base < row.base).map(|e| Entry { end: row.base, ..*e });
        let behind = after.checked_sub(1).filter(|last| *last >= first).and_then(|last| self.entries.get(last));
        let behind = behind.filter(|e| e.end > row.end).map(|e| Entry { base: row.end, ..*e });
        self.entries.drain(first..after);
        let new = [before, Some(entry(row, place)), behind];
        for entry in new.into_iter().flatten().rev() {
            self.entries.insert(first, entry);
        }
    }

    /// Forgets everything below an offset.
    pub fn trim(&mut self, low: i64) {
        while self.entries.front().is_some_and(|e| e.end <= low) {
            self.entries.pop_front();
        }
        if let Some(first) = self.entries.front_mut() {
            first.base = first.base.max(low);
        }
    }

    /// The first offset between `low` and `next` that is in no entry.
    pub fn hole(&self, low: i64, next: i64) -> Option<i64> {
        let mut at = low;
        for entry in &self.entries {
            if entry.base > at {
                return Some(at);
            }
            at = at.max(entry.end);
        }
        (at < next).then_some(at)
    }
}

fn entry(row: &Row, place: Place) -> Entry {
    Entry {
        base: row.base,
        end: row.end,
        max_timestamp: row.max_timestamp,
        written: row.written,
        segment: place.segment,
        frame: place.frame,
        kind: Kind::Run { at: place.data + row.at, len: row.len, base: row.base },
        moved: row.moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(base: i64, end: i64) -> Row {
        Row { topic: 1, partition: 0, base, end, written: 0, max_timestamp: 0, at: 0, len: 50, moved: false }
    }

    fn place(frame: u32) -> Place {
        Place { segment: 1, frame, data: frame + 10, end: frame + 100 }
    }

    fn ranges(index: &Index) -> Vec<(i64, i64)> {
        index.iter().map(|e| (e.base, e.end)).collect()
    }

    #[test]
    fn small_neighbours_share_an_entry() {
        let mut index = Index::default();
        for i in 0..10_000 {
            index.add(&row(i, i + 1), place(16 + i as u32 * 100));
        }
        assert!(index.iter().count() <= 17, "{} entries", index.iter().count());
        for offset in [0, 1, 9_999] {
            let found = index.find(offset).unwrap();
            assert!(found.base <= offset && offset < found.end);
        }
        assert!(index.find(10_000).is_none());
        assert_eq!(index.hole(0, 10_000), None);
        assert_eq!(index.hole(0, 10_001), Some(10_000));
    }

    #[test]
    fn moved_runs_take_the_place_of_what_they_replace() {
        let mut index = Index::default();
        for i in 0..4 {
            index.add(&row(i * 10, i * 10 + 10), place(i as u32 * (1 << 20)));
        }
        index.add(&Row { moved: true, ..row(5, 25) }, place(9 << 20));
        assert_eq!(ranges(&index), [(0, 5), (5, 25), (25, 30), (30, 40)]);
        index.add(&Row { moved: true, ..row(0, 40) }, place(10 << 20));
        assert_eq!(ranges(&index), [(0, 40)]);
        // A moved run of what is no longer in the index, as recovery finds it after the old file is gone.
        let mut index = Index::default();
        index.add(&row(40, 50), place(0));
        index.add(&Row { moved: true, ..row(0, 10) }, place(1 << 20));
        assert_eq!(ranges(&index), [(0, 10), (40, 50)]);
        assert_eq!(index.hole(0, 50), Some(10));
    }

    #[test]
    fn trimming_cuts_inside_an_entry() {
        let mut index = Index::default();
        index.add(&row(0, 10), place(0));
        index.add(&row(10, 20), place(1 << 20));
        index.trim(13);
        assert_eq!(ranges(&index), [(13, 20)]);
        index.trim(20);
        assert_eq!(ranges(&index), []);
    }
}
