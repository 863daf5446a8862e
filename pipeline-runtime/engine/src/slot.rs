//! What belongs to one slot: the trackers of its inputs, its dedup state, the ids being worked on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::dedup::{Dedup, Staged};
use crate::engine::Start;
use crate::error::EngineError;
use crate::parked::Parked;
use crate::ranges;
use crate::slab::Slab;
use crate::tracker::{Committed, Tracker};
use crate::window::Window;

/// No offset was pressed.
pub const NONE_PRESSED: i64 = -1;

/// One assigned slot.
pub struct Slot {
    pub epoch: u64,
    /// By input.
    pub trackers: Vec<Tracker>,
    pub dedup: Option<Dedup>,
    pub staged: Staged,
    /// It is to go: nothing is admitted or started any more.
    pub revoked: bool,
    /// By input: records that may not start, as their finish would have no room in the metadata. The lowest offset
    /// first, as that is the one which may start when no other may.
    pub stalled: Vec<BinaryHeap<Reverse<(i64, u32)>>>,
    /// Positions of the commit under way, by input.
    pub planned: Vec<Option<Committed>>,
    /// Finished records that no commit has taken yet.
    pub finished: usize,
    /// The keys that are set aside.
    pub parked: Parked,
    /// The copies that are held.
    pub window: Window,
    /// Copies that ended since copies behind holds were last moved, and when that was.
    pub ended: usize,
    pub moved_at: Option<u64>,
    /// By input: the lowest unfinished offset that was pressed to be set aside, as the ranges were half full.
    pub pressed: Vec<i64>,
}

impl Slot {
    /// Begins at the given positions.
    pub fn new(
        epoch: u64,
        starts: &[Start],
        dedup: Option<Dedup>,
        max_metadata: usize,
        retry_input: Option<u16>,
    ) -> Result<Self, EngineError> {
        let capacity = ranges::raw_capacity(max_metadata);
        let trackers = starts
            .iter()
            .map(|start| {
                let ranges = ranges::decode(start.offset, &start.metadata)?;
                Ok(Tracker::new(Committed { offset: start.offset, ranges }, capacity))
            })
            .collect::<Result<Vec<_>, EngineError>>()?;
        let planned = trackers.iter().map(|_| None).collect();
        let stalled = trackers.iter().map(|_| BinaryHeap::new()).collect();
        let copies = retry_input.and_then(|input| starts.get(usize::from(input))).map_or(0, |start| start.offset);
        Ok(Self {
            epoch,
            trackers,
            dedup,
            staged: Staged::new(),
            revoked: false,
            stalled,
            planned,
            finished: 0,
            parked: Parked::default(),
            window: Window::new(copies),
            ended: 0,
            moved_at: None,
            pressed: vec![NONE_PRESSED; starts.len()],
        })
    }

    /// The stalled records of an input that may start now, lowest offset first, each with its room promised.
    pub fn unstall<R>(&mut self, input: u16, slab: &mut Slab<R>) -> Vec<u32> {
        let (stalled, tracker) = (&mut self.stalled[usize::from(input)], &mut self.trackers[usize::from(input)]);
        let mut going = Vec::new();
        while let Some(Reverse((offset, index))) = stalled.peek().copied()
            && tracker.may_start(offset)
        {
            stalled.pop();
            tracker.promise();
            slab[index].admitted = true;
            going.push(index);
        }
        going
    }
}
