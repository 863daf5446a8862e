//! One job through every interleaving of failure, crash, cancel and redrive, in a model of its pipeline and log.
//!
//! What is modelled: a chain of stages that let pass, split, drop, set aside and fail; the notes in one log; the count that
//! reads them, commits or crashes; the word to the stages, which comes late; compensations that fail, are sent back and
//! crash; commands that cancel, and that send letters back on old knowledge.

use std::collections::{BTreeMap, BTreeSet};

use super::super::job::JobStatus;
use super::super::note::{Note, What};
use super::super::state::JobState;

/// What is wrong with the count on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// It begins while records of the job are on their way.
    Early,
    /// It begins with the first stage.
    Forward,
    /// It does not wait for a stage to end.
    AllAtOnce,
    /// What is to be undone is written before the transaction of the status.
    TwoTransactions,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy)]
struct Going {
    stage: usize,
    root: bool,
    aside: bool,
    /// Sent back after the job was given up.
    late: bool,
}

/// The count: what it has in memory, and what is committed.
#[derive(Clone, Default)]
struct Count {
    status: Option<JobStatus>,
    next: usize,
    changed: bool,
}

struct World {
    random: Random,
    broken: Broken,
    /// Which stages have a compensation, and at which a dead letter ends the job.
    stages: Vec<(bool, bool)>,
    going: Vec<Going>,
    letters: Vec<usize>,
    notes: Vec<Note<'static>>,
    memory: Count,
    durable: Count,
    /// The word to the stages.
    stop: bool,
    /// By offset: the stage that a record passed, and whether it came too late to be in order.
    passed: BTreeMap<i64, (usize, bool)>,
    /// What compensations have to end with, and their dead letters.
    undoing: Vec<i64>,
    undo_letters: Vec<i64>,
    undone: Vec<i64>,
    wrong: Option<String>,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const UNDO: [&str; 5] = ["a.compensate", "b.compensate", "c.compensate", "d.compensate", "e.compensate"];

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut random = Random(seed);
        let count = 2 + random.below(4);
        let continues = random.one_in(5);
        let stages: Vec<_> = (0..count).map(|_| (!random.one_in(3), !(continues && random.one_in(2)))).collect();
        Self {
            random,
            broken,
            stages,
            going: vec![Going { stage: 0, root: true, aside: false, late: false }],
            letters: Vec::new(),
            notes: Vec::new(),
            memory: Count::default(),
            durable: Count::default(),
            stop: false,
            passed: BTreeMap::new(),
            undoing: Vec::new(),
            undo_letters: Vec::new(),
            undone: Vec::new(),
            wrong: None,
        }
    }

    fn say(&mut self, stage: &'static str, what: What<'static>, record: Option<Going>) {
        let root = record.is_some_and(|r| r.root);
        let aside = record.is_some_and(|r| r.aside);
        self.notes.push(Note { root, aside, at: self.notes.len() as i64, ..Note::new(stage, what, 1) });
    }

    /// A record ends in its stage, as the dice say.
    fn work(&mut self, calm: bool) {
        if self.going.is_empty() {
            return;
        }
        let n = self.random.below(self.going.len());
        let record = self.going.swap_remove(n);
        let Going { stage, late, .. } = record;
        let (can_be_undone, ends_job) = self.stages[stage];
        let name = NAMES[stage];
        // The word may not have come yet.
        if self.stop && (calm || !self.random.one_in(3)) {
            return self.say(name, What::Dropped, Some(record));
        }
        match self.random.below(if calm { 4 } else { 9 }) {
            0..=4 => {
                let last = stage + 1 == self.stages.len();
                let outputs = [1, 1, 1, 1, 1, 2, 2, 0][self.random.below(8)];
                for _ in 0..outputs {
                    if can_be_undone {
                        self.passed.insert(self.notes.len() as i64, (stage, late));
                        self.say(name, What::Passed, Some(record));
                    }
                    if !last {
                        self.going.push(Going { stage: stage + 1, root: false, aside: false, late });
                    }
                }
                let births = if last { 0 } else { outputs };
                self.say(name, What::Forwarded { births, result: None, into: Vec::new() }, Some(record));
            }
            5 => self.say(name, What::Dropped, Some(record)),
            6 if !record.aside => {
                self.say(name, What::Parked, Some(record));
                self.going.push(Going { root: false, aside: true, ..record });
            }
            _ => {
                self.letters.push(stage);
                let what = What::Dead { code: "x".into(), message: "why".into(), ends_job };
                self.say(name, what, Some(record));
            }
        }
    }

    /// A letter is sent back by somebody who knows what was committed, or a moment ago.
    fn redrive(&mut self) {
        let given_up = self.durable.status.as_ref().is_some_and(JobStatus::is_given_up);
        if self.letters.is_empty() || given_up {
            return;
        }
        let n = self.random.below(self.letters.len());
        let stage = self.letters.swap_remove(n);
        // The count may decide before it reads this, and then the record is late.
        self.going.push(Going { stage, root: false, aside: false, late: true });
        self.say(NAMES[stage], What::Redriven, None);
    }

    fn read(&mut self, all: bool) {
        let left = self.notes.len() - self.memory.next;
        let count = if all { left } else { self.random.below(left + 1) };
        for _ in 0..count {
            let (note, offset) = (&self.notes[self.memory.next], self.memory.next as i64);
            if self.memory.status.is_some() || !note.says_nothing_new() {
                let status = self.memory.status.get_or_insert_with(|| JobStatus::begin(note));
                status.add(note, offset);
                self.memory.changed = true;
            }
            self.memory.next += 1;
        }
    }

    /// What the count writes in one transaction; it may crash before that.
    fn commit(&mut self, crashes: bool) {
        let mut order: Vec<String> = NAMES.iter().map(|n| (*n).to_owned()).collect();
        if self.broken == Broken::Forward {
            order.reverse();
        }
        let mut begun = Vec::new();
        let Some(status) = &mut self.memory.status else { return };
        let mut step = status.compensate(&order);
        if step.is_none() && self.broken == Broken::Early && status.stopped.is_some() {
            step = status.undo.step(&order);
        }
        while let Some(due) = step {
            begun.extend(due.at);
            step = None;
            if self.broken == Broken::AllAtOnce {
                status.undo.open = 0;
                step = status.compensate(&order);
            }
        }
        if self.broken == Broken::TwoTransactions {
            self.undoing.append(&mut begun);
        }
        if crashes {
            self.memory = self.durable.clone();
            // The owner that comes after it looks at what is due.
            return;
        }
        self.undoing.extend(begun);
        if let Some(news) = status.news() {
            self.stop = news.is_some();
        }
        self.memory.changed = false;
        self.durable = self.memory.clone();
    }

    /// A compensation ends, or crashes after its effect, which has the same key then.
    fn undo(&mut self, calm: bool) {
        if self.undoing.is_empty() {
            return;
        }
        let n = self.random.below(self.undoing.len());
        let at = self.undoing[n];
        let stage = self.passed[&at].0;
        match self.random.below(if calm { 1 } else { 5 }) {
            0..=2 => {
                self.check_order(at);
                self.undone.push(at);
                self.undoing.swap_remove(n);
                self.say(UNDO[stage], What::Forwarded { births: 0, result: None, into: Vec::new() }, None);
            }
            3 => {
                self.undoing.swap_remove(n);
                self.undo_letters.push(at);
                let what = What::Dead { code: "y".into(), message: "why".into(), ends_job: false };
                self.say(UNDO[stage], what, None);
            }
            _ => self.say(UNDO[stage], What::Parked, None),
        }
    }

    fn redrive_undo(&mut self) {
        if let Some(at) = self.undo_letters.pop() {
            self.undoing.push(at);
            self.say(UNDO[self.passed[&at].0], What::Redriven, None);
        }
    }

    fn check_order(&mut self, at: i64) {
        let (stage, _) = self.passed[&at];
        let undone: BTreeSet<i64> = self.undone.iter().copied().collect();
        let before = |(other, (s, late)): (&i64, &(usize, bool))| *s > stage && !late && !undone.contains(other);
        if let Some((other, (s, _))) = self.passed.iter().find(|found| before(*found)) {
            self.wrong = Some(format!("{at} of stage {stage} was undone before {other} of stage {s}"));
        }
        if let Some(going) = self.going.iter().find(|going| !going.late) {
            self.wrong = Some(format!("{at} was undone while a record is on its way in stage {}", going.stage));
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..=11 => self.work(false),
            12..=20 => self.read(false),
            21..=27 => self.commit(false),
            28 => self.commit(true),
            29..=35 => self.undo(false),
            36 | 37 => self.redrive_undo(),
            38 if self.random.one_in(3) => self.say("", What::Cancel, None),
            _ => self.redrive(),
        }
    }

    /// All goes well from now on.
    fn end(&mut self) {
        for _ in 0..10_000 {
            self.work(true);
            self.undo(true);
            self.redrive_undo();
            self.read(true);
            self.commit(false);
            let ended = self.going.is_empty() && self.undoing.is_empty() && self.undo_letters.is_empty();
            if ended && self.memory.next == self.notes.len() && !self.stop {
                return;
            }
        }
        self.wrong = Some("it does not end".to_owned());
    }

    fn check(&mut self) -> Option<JobState> {
        self.end();
        let status = self.memory.status.as_ref()?;
        let (open, undo) = (status.open, &status.undo);
        let once: BTreeSet<i64> = self.undone.iter().copied().collect();
        let state = status.state;
        let mut wrong = None;
        if once.len() != self.undone.len() {
            wrong = Some("something was undone twice".to_owned());
        } else if open != 0 || undo.open != 0 || undo.letters != 0 {
            wrong = Some(format!("{open} records are open, and {undo:?}"));
        } else {
            let all = once.len() == self.passed.len();
            let right = match state {
                JobState::Compensated => all && !once.is_empty(),
                // Nothing had passed, or the letter waits for somebody to decide.
                JobState::Failed | JobState::Cancelled => {
                    once.is_empty() && (self.passed.is_empty() || status.stopped.is_none())
                }
                JobState::Done => once.is_empty() && self.letters.is_empty(),
                _ => false,
            };
            if !right {
                wrong = Some(format!("{} of {} were undone, and the job is {state:?}", once.len(), self.passed.len()));
            }
        }
        self.wrong = self.wrong.take().or(wrong);
        Some(state)
    }
}

fn run(seed: u64, broken: Broken) -> (Option<JobState>, Option<String>) {
    let mut world = World::new(seed, broken);
    for _ in 0..20 + world.random.below(200) {
        world.step();
    }
    let state = world.check();
    (state, world.wrong)
}

#[test]
fn every_interleaving_undoes_each_once_in_reverse_order() {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..20_000 {
        let (state, wrong) = run(seed, Broken::Nothing);
        assert_eq!(wrong, None, "seed {seed}");
        *states.entry(state.map_or("none", JobState::word)).or_default() += 1;
    }
    // It is no test of what does not happen.
    for state in ["done", "failed", "cancelled", "compensated"] {
        assert!(states.get(state).is_some_and(|count| *count > 100), "{states:?}");
    }
}

/// Negative control: each of these mistakes is found within a few hundred seeds.
#[test]
fn mistakes_are_found() {
    for broken in [Broken::Early, Broken::Forward, Broken::AllAtOnce, Broken::TwoTransactions] {
        let found = (0..2_000).find(|seed| run(*seed, broken).1.is_some());
        assert!(found.is_some(), "{broken:?}");
    }
}

#[test]
fn what_a_later_file_cannot_undo_is_said() {
    let mut undo = super::Undo::default();
    assert!(!undo.pass("gone", 3) && !undo.pass("kept", 5));
    let order = ["kept".to_owned()];
    assert_eq!(undo.step(&order), Some(super::Step { stage: Some(0), at: vec![5] }));
    assert_eq!((undo.step(&order), undo.progress()), (None, super::Progress::Owing));
    undo.add(&Note::new("kept.compensate", What::Dropped, 1));
    assert_eq!(undo.step(&order), Some(super::Step { stage: None, at: vec![3] }));
    assert_eq!((undo.step(&order), undo.progress()), (None, super::Progress::Lost));
}

#[test]
fn many_records_are_undone_in_parts_and_too_many_end_the_job() {
    let mut undo = super::Undo::default();
    let too_many: Vec<i64> = (0..=super::MOST as i64).filter(|at| undo.pass("a", *at)).collect();
    assert_eq!((too_many, undo.needs()), (vec![super::MOST as i64], Some(0)));
    let mut last = super::MOST as i64 + 1;
    while let Some(step) = undo.step(&["a".to_owned()]) {
        assert!(step.at.len() <= super::AT_ONCE && step.at.first() == Some(&(last - 1)));
        last -= step.at.len() as i64;
        step.at.iter().for_each(|_| undo.add(&Note::new("a.compensate", What::Dropped, 1)));
    }
    assert_eq!((last, undo.progress()), (0, super::Progress::Undone));
}
