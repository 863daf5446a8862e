//! A stage with levels of importance: what was read waits here, by level, until the engine could begin it.
//!
//! The engine begins records in the order in which they were admitted. So of a stage with levels no more is admitted than can
//! begin at once, and whose turn it is, is decided at the last moment: a record that matters waits for the next free place, and
//! not for all that was read before it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use millstream_log::{Batch, LogRecord, LogResult};
use millstream_spec::model::Priority;

use super::{Replica, WORK_SLICE};
use crate::input::Input;
use crate::levels::{Turns, room_of};
use crate::plan::BUDGET_RECORDS;

/// What waits of one level at most, before its partitions are not read for a while; reading goes on at half of it.
const MOST_RECORDS: usize = 4_000;
const MOST_BYTES: usize = 8 << 20;

/// What was read and not admitted.
pub(super) struct Leveled {
    turns: Turns,
    levels: Vec<Level>,
    /// There was more to admit than time.
    more: bool,
}

#[derive(Default)]
struct Level {
    batches: VecDeque<Waiting>,
    records: usize,
    bytes: usize,
    full: bool,
}

/// The rest of a batch.
struct Waiting {
    slot: u32,
    epoch: u64,
    partition: i32,
    records: VecDeque<LogRecord>,
    /// Everything below is in it or was before it.
    next: i64,
}

impl Leveled {
    pub(super) fn new(priority: &Priority) -> Self {
        let levels = priority.levels.len();
        Self {
            turns: priority.weights.as_deref().map_or_else(|| Turns::strict(levels), Turns::weighted),
            levels: (0..levels).map(|_| Level::default()).collect(),
            more: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.iter().all(|level| level.batches.is_empty())
    }

    /// Whether there was more to admit than time.
    pub(super) fn more(&self) -> bool {
        self.more
    }

    pub(super) fn clear(&mut self) {
        self.levels.iter_mut().for_each(|level| *level = Level::default());
        self.more = false;
    }

    pub(super) fn forget(&mut self, slots: &[u32]) {
        for level in &mut self.levels {
            level.batches.retain(|batch| !slots.contains(&batch.slot));
            level.records = level.batches.iter().map(|b| b.records.len()).sum();
            level.bytes = level.batches.iter().flat_map(|b| &b.records).map(LogRecord::size).sum();
            level.tell_full();
        }
    }

    /// Of these levels nothing more is read for now.
    fn full(&self) -> impl Iterator<Item = u16> {
        self.levels.iter().zip(0u16..).filter(|(level, _)| level.full).map(|(_, input)| input)
    }
}

impl Level {
    fn tell_full(&mut self) {
        if self.records > MOST_RECORDS || self.bytes > MOST_BYTES {
            self.full = true;
        } else if self.records <= MOST_RECORDS / 2 && self.bytes <= MOST_BYTES / 2 {
            self.full = false;
        }
    }
}

impl Replica {
    /// Keeps a batch of a level until its records' turn comes.
    pub(super) fn keep(&mut self, slot: u32, input: u16, batch: Batch) {
        let Some(level) = self.leveled.as_mut().and_then(|l| l.levels.get_mut(usize::from(input))) else { return };
        level.records += batch.records.len();
        level.bytes += batch.records.iter().map(LogRecord::size).sum::<usize>();
        level.batches.push_back(Waiting {
            slot,
            epoch: batch.epoch,
            partition: batch.partition.partition,
            records: batch.records.into(),
            next: batch.next,
        });
        level.tell_full();
        self.pass_empty(input);
    }

    /// Runs what may run, level by level where the stage has some. Whether there is more than one slice of it.
    pub(super) fn work_on(&mut self) -> LogResult<bool> {
        let began = Instant::now();
        loop {
            let fed = self.feed();
            let unfinished = self.work()?;
            let late = began.elapsed() > WORK_SLICE;
            if let Some(leveled) = &mut self.leveled {
                leveled.more = fed > 0 && late;
            }
            if unfinished || fed == 0 || late {
                return Ok(unfinished || (fed > 0 && late));
            }
        }
    }

    /// Admits as many records as could begin now; how many those are.
    fn feed(&mut self) -> usize {
        let mut fed = 0;
        while self.engine.hunger() > 0 && self.engine.budget().0 > 0 {
            let held = self.engine.held().0;
            let Some(Leveled { turns, levels, .. }) = &mut self.leveled else { return 0 };
            let all = levels.len();
            let waits = |level: usize| !levels[level].batches.is_empty() && held < room_of(level, all, BUDGET_RECORDS);
            let Some(level) = turns.next(waits) else { break };
            let input = level as u16;
            let level = &mut levels[level];
            let Some(front) = level.batches.front_mut() else { break };
            let (slot, epoch, partition) = (front.slot, front.epoch, front.partition);
            let Some(record) = front.records.pop_front() else { break };
            level.records -= 1;
            level.bytes = level.bytes.saturating_sub(record.size());
            level.tell_full();
            if self.epochs.get(&(slot, input)) == Some(&epoch) {
                self.admit_one(slot, input, partition, record);
            }
            self.pass_empty(input);
            fed += 1;
        }
        fed
    }

    /// Batches of which nothing is left say how far was read.
    fn pass_empty(&mut self, input: u16) {
        loop {
            let Some(level) = self.leveled.as_mut().and_then(|l| l.levels.get_mut(usize::from(input))) else { return };
            let Some(front) = level.batches.pop_front_if(|front| front.records.is_empty()) else { return };
            if self.epochs.get(&(front.slot, input)) == Some(&front.epoch) {
                self.engine.advance(front.slot, input, self.slot_epoch(front.slot), front.next);
            }
        }
    }

    fn admit_one(&mut self, slot: u32, input: u16, partition: i32, record: LogRecord) {
        let plan = &self.cx.plan.inputs[usize::from(input)];
        let (offset, timestamp, size) = (record.offset, record.timestamp, record.size());
        let key = record.key.clone();
        let read = Input::new(plan, input, partition, record);
        let id = read.dedup_id();
        self.engine.admit(slot, input, self.slot_epoch(slot), offset, key.as_deref(), &id, timestamp, size, read);
    }

    /// Partitions of levels of which enough waits.
    pub(super) fn full_levels(&self) -> BTreeSet<(u32, u16)> {
        let Some(leveled) = &self.leveled else { return BTreeSet::new() };
        let slots = || self.epochs.keys().filter(|(_, input)| *input == 0).map(|(slot, _)| *slot);
        leveled.full().flat_map(|input| slots().map(move |slot| (slot, input))).collect()
    }
}
