//! Recent frames in memory, so that a stage reads what the one before wrote without the disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::index::{Entry, Kind, Place};

/// The records of one run, ready to be decoded.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub base: i64,
    pub end: i64,
    pub written: i64,
    /// Without the checksum.
    pub records: Bytes,
}

/// A run and whose it is.
#[derive(Debug)]
pub(crate) struct TailRun {
    pub topic: u32,
    pub partition: u32,
    /// Where its bytes begin in the segment.
    pub at: u32,
    pub run: Run,
}

#[derive(Debug)]
struct TailFrame {
    place: Place,
    runs: Vec<TailRun>,
    bytes: usize,
}

/// The newest frames in the order they were written, up to a number of bytes.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    frames: VecDeque<TailFrame>,
    bytes: usize,
    most: usize,
}

impl Tail {
    pub fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Adds a frame just written; drops the oldest ones to make room.
    pub fn push(&mut self, place: Place, runs: Vec<TailRun>) {
        let bytes = 64 + runs.iter().map(|r| 96 + r.run.records.len()).sum::<usize>();
        self.bytes += bytes;
        self.frames.push_back(TailFrame { place, runs, bytes });
        while self.bytes > self.most {
            match self.frames.pop_front() {
                Some(frame) => self.bytes -= frame.bytes,
                None => break,
            }
        }
    }

    /// The runs of an entry, if all of them are here.
    pub fn get(&self, topic: u32, partition: u32, entry: &Entry) -> Option<Vec<Run>> {
        let from = (entry.segment, entry.frame);
        let first = self.frames.partition_point(|f| (f.place.segment, f.place.frame) < from);
        let frames = self.frames.range(first..);
        let mine = |r: &&TailRun| r.topic == topic && r.partition == partition;
        let found: Vec<Run> = match entry.kind {
            Kind::Run { at, .. } => {
                let frame = frames.take(1).flat_map(|f| &f.runs);
                frame.filter(mine).filter(|r| r.at == at).map(|r| r.run.clone()).collect()
            }
            Kind::Span { end } => {
                // Without the first frame of the span some of it may have been dropped already.
                self.frames.get(first).filter(|f| (f.place.segment, f.place.frame) == from)?;
                let inside = frames.take_while(|f| (f.place.segment, f.place.frame) < (entry.segment, end));
                inside.flat_map(|f| &f.runs).filter(mine).map(|r| r.run.clone()).collect()
            }
        };
        (!found.is_empty()).then_some(found)
    }
}
