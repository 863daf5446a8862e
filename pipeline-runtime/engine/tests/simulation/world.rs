//! The model log of one stage: partitions, committed positions, `.state`, and who may write.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::{CommitPlan, CopyKind, Now, Order, Place};

pub use crate::breaks::Break;
use crate::jobs::Note;
use crate::ranges::read_ranges;

/// What the filter does with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forward,
    Drop,
    /// Cannot be processed.
    Bad,
    /// Fails this many times before it goes through; three is too often.
    Flaky(u32),
    /// The log refuses its output.
    Refused,
    /// Fails twice, and the log refuses its copy.
    Bulky,
}

/// What a copy says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub input: u16,
    pub offset: i64,
    pub attempts: u32,
    /// By the wall clock.
    pub due: i64,
    pub kind: CopyKind,
    /// A letter that is to pass dedup.
    pub forced: bool,
}

/// One record of the input.
#[derive(Clone, Debug)]
pub struct Rec {
    pub offset: i64,
    pub key: Option<u8>,
    pub id: u16,
    pub kind: Kind,
    /// Its kind in the next stage.
    pub then: Kind,
    pub timestamp: i64,
    /// How often its letter was sent back before.
    pub sent: u32,
    /// What it is an output of, in the stage before.
    pub origin: Option<Place>,
    /// Of a copy.
    pub head: Option<Head>,
}

/// What a record became, as a reader of committed data sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    Forward,
    Drop,
    Letter,
    /// A dead letter, and the mark that it holds its key.
    Hold,
    /// A copy that is written again.
    Move,
    /// A hold is over; nothing became visible.
    Freed,
    /// A copy for `.retry`.
    Park {
        attempts: u32,
        due: i64,
    },
}

/// A visible end of a record.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub input: u16,
    pub offset: i64,
    /// Where its copy lies, if it is the end of a letter that was sent back.
    pub sent_back: Option<i64>,
    pub out: Out,
    /// A dead letter that holds its key, as promised.
    pub holds: bool,
    /// Of a dead letter that was sent back.
    pub redriven: bool,
    /// No partition's time was later when it became visible.
    pub latest: i64,
}

/// What is promised, and broken.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    pub order: Order,
    /// The dedup window in ms.
    pub window: Option<i64>,
    /// Or at least once.
    pub exactly_once: bool,
    /// The stage before is exactly once, so nothing comes in twice.
    pub exact_input: bool,
    /// Attempts of a record in all.
    pub attempts: u32,
    /// Dead letters hold their keys.
    pub hold: bool,
    pub broken: Break,
}

/// One partition of one input.
#[derive(Default)]
pub struct Input {
    pub records: Vec<Rec>,
    /// End offset; the last ones may be nobody's.
    pub end: i64,
    pub committed: (i64, String),
    /// Offsets that a commit has covered.
    pub covered: BTreeSet<i64>,
}

/// A partition of all inputs.
#[derive(Default)]
pub struct Partition {
    pub inputs: Vec<Input>,
    pub state: Vec<Vec<u8>>,
    /// Visible ends, in order.
    pub outputs: Vec<Ended>,
    /// Which of them are letters that were sent back.
    pub sent: BTreeSet<usize>,
    /// The latest time of a record that was read, no later than the wall clock then.
    pub latest: i64,
}

/// Where the wall clock begins.
pub const WALL: i64 = 1_000_000;

pub struct World {
    pub promise: Promise,
    pub partitions: Vec<Partition>,
    /// Forwarded records that the next stage has not got yet.
    pub fresh: Vec<(u32, Rec)>,
    /// Whether there is a next stage.
    pub goes_on: bool,
    /// Notes of jobs that nobody has added up yet.
    pub notes: Vec<Note>,
    owners: BTreeMap<u32, (usize, u64)>,
    epoch: u64,
    now: u64,
    /// Commits that were applied while their replica never heard of it: its own counts miss them.
    pub unheard: u64,
    /// Records whose end was counted by no replica that still can tell.
    pub finished: u64,
    /// Which input is `.retry`.
    pub retry: u16,
    /// When what the stage calls fails, for a key or for all.
    outages: Vec<(Option<u8>, u64, u64)>,
    /// Records that failed for it, or whose call was cancelled: they may run out of attempts.
    pub suffered: BTreeSet<Place>,
    /// Records that were set aside, and copies that were loaded, in all.
    pub parked: usize,
    /// Letters that hold their keys and nobody has decided about; and letters that were released; with how often each was
    /// sent back before.
    pub undecided: BTreeSet<(Place, u32)>,
    pub released: BTreeSet<(Place, u32)>,
    /// The last letter of each record that held its key, by how often it was sent back before.
    pub held: BTreeMap<Place, u32>,
    /// Letters that were sent back, of whose holds somebody may say late that they are over.
    pub outdated: BTreeSet<(Place, u32)>,
    /// Holds, and copies that were written again, in all.
    pub holds: usize,
    pub moved: BTreeSet<Place>,
    pub written_again: BTreeSet<Place>,
    /// Letters that were sent back, in all.
    pub sent_back: u64,
}

impl World {
    /// A stage that nothing was written to yet.
    pub fn new(promise: Promise, partitions: usize, inputs: usize) -> Self {
        let partition = || Partition {
            inputs: std::iter::repeat_with(Input::default).take(inputs + 1).collect(),
            ..Partition::default()
        };
        Self {
            promise,
            partitions: std::iter::repeat_with(partition).take(partitions).collect(),
            fresh: Vec::new(),
            goes_on: false,
            notes: Vec::new(),
            owners: BTreeMap::new(),
            epoch: 0,
            now: 0,
            unheard: 0,
            finished: 0,
            retry: inputs as u16,
            outages: Vec::new(),
            suffered: BTreeSet::new(),
            parked: 0,
            undecided: BTreeSet::new(),
            released: BTreeSet::new(),
            held: BTreeMap::new(),
            outdated: BTreeSet::new(),
            holds: 0,
            moved: BTreeSet::new(),
            written_again: BTreeSet::new(),
            sent_back: 0,
        }
    }

    /// What the stage calls will fail now and then.
    pub fn plan_outages(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(..4) {
            let key = (rng.u8(..3) > 0).then(|| rng.u8(..4));
            let from = rng.u64(..5_000);
            self.outages.push((key, from, from + rng.u64(50..6_000)));
        }
    }

    /// Whether a call for this record fails now.
    pub fn is_down(&self, key: Option<u8>) -> bool {
        self.outages.iter().any(|(k, from, to)| (k.is_none() || *k == key) && (*from..*to).contains(&self.now))
    }

    /// Where the records of open copies of a kind were first read, sorted.
    pub fn open_copies(&self, partition: u32, kind: CopyKind) -> Vec<(u16, i64)> {
        let log = &self.partitions[partition as usize].inputs[usize::from(self.retry)];
        let open = log.records.iter().filter(|r| !log.covered.contains(&r.offset)).filter_map(|r| r.head);
        let open = open.filter(|head| head.kind == kind).map(|head| (head.input, head.offset));
        open.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Something is in `.retry`, perhaps with a marker after it.
    pub fn append(&mut self, slot: u32, record: Rec) -> Place {
        let retry = &mut self.partitions[slot as usize].inputs[usize::from(self.retry)];
        let offset = retry.end;
        retry.records.push(Rec { offset, ..record });
        retry.end += 1 + retry.end % 2;
        Place { slot, input: self.retry, offset }
    }

    /// Where a record was first read.
    pub fn origin_of(&self, place: Place) -> Place {
        let head = if place.input == self.retry { self.record(place).head } else { None };
        head.map_or(place, |head| Place { input: head.input, offset: head.offset, ..place })
    }

    /// Fills all inputs.
    pub fn fill(&mut self, rng: &mut fastrand::Rng) {
        let keys = rng.u8(1..12);
        // Records between two that differ by a window, about.
        let step = self.promise.window.unwrap_or(1_000) / rng.i64(2..60) + 1;
        let from_the_future = rng.u8(..4) == 0;
        let live = usize::from(self.retry);
        for partition in &mut self.partitions {
            // Ids come again in the same input or in another one.
            let mut ids = 0;
            for input in &mut partition.inputs[..live] {
                let mut time = 0;
                for _ in 0..rng.u16(1..150) {
                    // Offsets have gaps: transaction markers, compaction.
                    input.end += if rng.u8(..8) == 0 { rng.i64(1..4) } else { 0 };
                    // One key is hot; one record in ten has none; one id in ten was there before.
                    let key = match rng.u8(..10) {
                        0 => None,
                        1..=4 => Some(0),
                        _ => Some(rng.u8(..keys)),
                    };
                    let repeats = ids > 0 && rng.u8(..8) == 0;
                    let id = if repeats { rng.u16(..ids) } else { ids };
                    ids += 1;
                    time += rng.i64(0..2 * step);
                    let timestamp = if from_the_future && rng.u8(..50) == 0 { i64::MAX / 4 } else { time };
                    let (kind, then) = (Kind::any(rng), Kind::any(rng));
                    let offset = input.end;
                    input.records.push(Rec {
                        offset,
                        key,
                        id,
                        kind,
                        then,
                        timestamp,
                        sent: 0,
                        origin: None,
                        head: None,
                    });
                    input.end += 1;
                }
                input.end += rng.i64(0..3);
            }
        }
    }

    /// Takes in what the stage before has forwarded; a marker follows.
    pub fn receive(&mut self, fresh: Vec<(u32, Rec)>) {
        for (slot, record) in fresh {
            let input = &mut self.partitions[slot as usize].inputs[0];
            input.records.push(Rec { offset: input.end, head: None, ..record });
            input.end += 2;
        }
    }

    /// A record was read: a partition's time may be as late as it is.
    pub fn was_read(&mut self, slot: u32, timestamp: i64) {
        let wall = self.now().wall_ms;
        let latest = &mut self.partitions[slot as usize].latest;
        *latest = (*latest).max(timestamp.min(wall));
    }

    /// What the engine is told a record's time is.
    pub fn told_time(&self, timestamp: i64) -> i64 {
        if self.promise.broken == Break::StoppedClock { 0 } else { timestamp }
    }

    pub fn partitions(&self) -> u32 {
        self.partitions.len() as u32
    }

    pub fn now(&self) -> Now {
        Now { mono_ms: self.now, wall_ms: WALL + self.now as i64 }
    }

    pub fn pass_time(&mut self, ms: u64) {
        self.now += ms;
    }

    /// A partition gets a new owner; the one before is fenced from here on.
    pub fn assign(&mut self, partition: u32, replica: usize) -> u64 {
        self.epoch += 1;
        self.owners.insert(partition, (replica, self.epoch));
        self.epoch
    }

    pub fn owned_by(&self, replica: usize) -> Vec<u32> {
        self.owners.iter().filter(|(_, (r, _))| *r == replica).map(|(p, _)| *p).collect()
    }

    pub fn owns(&self, partition: u32, replica: usize, epoch: u64) -> bool {
        self.promise.broken == Break::NoFence || self.owners.get(&partition) == Some(&(replica, epoch))
    }

    /// Applies a transaction.
    pub fn apply(&mut self, plan: &CommitPlan, outputs: &[(Place, Out)], duplicates: &[Place]) -> Result<(), String> {
        self.note(outputs, duplicates);
        let ended = self.apply_positions(plan)?;
        self.apply_state(plan);
        // A letter that was sent back and gave nothing was a duplicate.
        for place in ended.into_iter().filter(|place| !outputs.iter().any(|(p, _)| p == place)) {
            self.note_freed(place);
        }
        self.apply_outputs(outputs);
        Ok(())
    }

    /// Gives the letters that ended, and the ends of holds.
    pub fn apply_positions(&mut self, plan: &CommitPlan) -> Result<Vec<Place>, String> {
        let mut ended = Vec::new();
        for position in &plan.positions {
            let partition = position.slot;
            let input = &mut self.partitions[partition as usize].inputs[usize::from(position.input)];
            let before = input.committed.0;
            if position.offset < before {
                return Err(format!("R1: partition {partition} went back from {before} to {}", position.offset));
            }
            let ranges = read_ranges(position.offset, &position.metadata)?;
            for record in &input.records {
                let o = record.offset;
                let done = o < position.offset || ranges.iter().any(|(s, e)| (*s..*e).contains(&o));
                if !done && input.covered.contains(&o) {
                    return Err(format!("R1: offset {o} of partition {partition} was committed and is not any more"));
                }
                if done && input.covered.insert(o) {
                    match record.head.map(|head| head.kind) {
                        None => self.finished += 1,
                        Some(CopyKind::First | CopyKind::Free) => {
                            ended.push(Place { slot: partition, input: position.input, offset: o });
                        }
                        Some(_) => {}
                    }
                }
            }
            input.committed = (position.offset, position.metadata.clone());
        }
        Ok(ended)
    }

    pub fn apply_state(&mut self, plan: &CommitPlan) {
        for (slot, marks) in &plan.state {
            self.partitions[*slot as usize].state.push(marks.clone());
        }
    }

    pub fn apply_outputs(&mut self, outputs: &[(Place, Out)]) {
        for (place, out) in outputs {
            let origin = self.origin_of(*place);
            match *out {
                Out::Park { attempts, due } => {
                    self.set_aside(*place, attempts, due);
                    continue;
                }
                Out::Move => {
                    self.moved.insert(origin);
                    let record = self.record(*place).clone();
                    let again = self.append(place.slot, record);
                    self.written_again.insert(again);
                    continue;
                }
                Out::Hold => self.mark(*place),
                _ => {}
            }
            let head = if place.input == self.retry { self.record(*place).head } else { None };
            let kind = head.map(|head| head.kind);
            let holds =
                matches!(out, Out::Letter | Out::Hold) && self.promise.hold && self.record(*place).key.is_some();
            let redriven = kind == Some(CopyKind::First);
            let sent_back = (kind == Some(CopyKind::SentBack)).then_some(place.offset);
            let partition = &mut self.partitions[place.slot as usize];
            let out = if *out == Out::Hold { Out::Letter } else { *out };
            let Place { input, offset, .. } = origin;
            let latest = partition.latest;
            partition.outputs.push(Ended { input, offset, sent_back, out, holds, redriven, latest });
        }
        self.pass_on(outputs);
    }

    /// A copy is in `.retry`.
    pub fn set_aside(&mut self, place: Place, attempts: u32, due: i64) {
        let record = self.record(place).clone();
        let head =
            Head { input: place.input, offset: place.offset, attempts, due, kind: CopyKind::Parked, forced: false };
        self.append(place.slot, Rec { head: Some(head), ..record });
        self.parked += 1;
    }

    /// The next stage sees what was forwarded.
    pub fn pass_on(&mut self, outputs: &[(Place, Out)]) {
        for (place, _) in outputs.iter().filter(|(_, out)| *out == Out::Forward) {
            let record = self.record(*place).clone();
            let origin = Some(self.origin_of(*place));
            self.fresh.push((place.slot, Rec { kind: record.then, sent: 0, origin, ..record }));
        }
    }

    pub fn worked_off(&self) -> bool {
        self.fresh.is_empty() && self.partitions.iter().flat_map(|p| &p.inputs).all(|i| i.committed.0 >= i.end)
    }

    pub fn describe(&self) -> String {
        let inputs = self.partitions.iter().flat_map(|p| &p.inputs);
        let positions: Vec<_> = inputs.map(|i| (&i.committed, i.end)).collect();
        format!("committed and ends {positions:?}, owners {:?}", self.owners)
    }

    pub fn record(&self, place: Place) -> &Rec {
        let records = &self.partitions[place.slot as usize].inputs[usize::from(place.input)].records;
        &records[records.binary_search_by_key(&place.offset, |r| r.offset).expect("a place that was read")]
    }
}

impl Kind {
    fn any(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..20) {
            0 => Self::Drop,
            1 => Self::Bad,
            2..=3 => Self::Flaky(rng.u32(1..5)),
            4 => Self::Refused,
            5 if rng.bool() => Self::Bulky,
            _ => Self::Forward,
        }
    }
}
