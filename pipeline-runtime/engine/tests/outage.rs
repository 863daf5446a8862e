//! A service that is gone for every key, and keys that are gone while the service is there: driven by hand, in virtual
//! time, with copies that come back at once.

use std::collections::VecDeque;

use millstream_engine::{
    Copy, CopyKind, DedupConfig, Engine, EngineConfig, Fate, Finished, Now, Order, Park, Reason, Start, Task,
};

const SLOT: u32 = 0;

fn config() -> EngineConfig {
    EngineConfig {
        order: Order::Key,
        concurrency: 64,
        attempts: 6,
        backoff_min_ms: 50,
        backoff_max_ms: 5_000,
        dedup: Some(DedupConfig { window_ms: 86_400_000, max_ids: 1_000_000 }),
        commit_every_ms: 100,
        commit_records: 20_000,
        budget_records: 10_000,
        budget_bytes: 16 << 20,
        max_metadata: 4_000,
        inputs: 2,
        retry_input: Some(1),
        park: Some(Park { attempts: 2, time_ms: 1_000 }),
        hash_key: (1, 2),
        inline: false,
        hold: false,
    }
}

/// Keys from here on are dropped before anything is called,
const NO_CALL: u32 = 1_000_000;
/// and from here on they are too old for a third attempt.
const EXPIRES: u32 = 900_000;

/// A record: its key, and its number.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    key: u32,
    number: i64,
}

/// What a replica and a log do, as short as it can be said.
struct World {
    engine: Engine<Record, ()>,
    now: u64,
    /// Live records that are not read yet.
    input: VecDeque<Record>,
    next: i64,
    /// Copies that are written, and read again in the next step: their record, attempts, delay and offset.
    copies: Vec<(Record, u32, u64, i64)>,
    next_copy: i64,
    down: Box<dyn Fn(u32) -> bool>,
    passed: Vec<(u64, u32)>,
    letters: usize,
    attempts: usize,
}

impl World {
    fn new(down: impl Fn(u32) -> bool + 'static) -> Self {
        Self::with(config(), down)
    }

    fn with(config: EngineConfig, down: impl Fn(u32) -> bool + 'static) -> Self {
        let mut engine = Engine::new(config, 7);
        let restored = engine.restore();
        engine
            .assign(SLOT, 1, &[Start::default(), Start::default()], restored, Now { mono_ms: 0, wall_ms: 0 })
            .unwrap();
        Self {
            engine,
            now: 0,
            input: VecDeque::new(),
            next: 0,
            copies: Vec::new(),
            next_copy: 0,
            down: Box::new(down),
            passed: Vec::new(),
            letters: 0,
            attempts: 0,
        }
    }

    fn add(&mut self, key: u32) {
        self.input.push_back(Record { key, number: self.next });
        self.next += 1;
    }

    fn time(&self) -> Now {
        Now { mono_ms: self.now, wall_ms: self.now as i64 }
    }

    /// Ten milliseconds: reads, runs, commits.
    fn step(&mut self) {
        self.now += 10;
        let now = self.time();
        let mut room = self.engine.budget().0;
        while room > 0
            && let Some(record) = self.input.pop_front()
        {
            room -= 1;
            let (key, id) = (record.key.to_be_bytes(), record.number.to_be_bytes());
            assert!(self.engine.admit(SLOT, 0, 1, record.number, Some(&key), &id, 0, 10, record.clone()));
        }
        for (record, attempts, delay_ms, offset) in std::mem::take(&mut self.copies) {
            let (key, id) = (record.key.to_be_bytes(), record.number.to_be_bytes());
            let copy = Copy {
                origin_input: 0,
                origin_offset: record.number,
                key: Some(&key),
                id: &id,
                timestamp: 0,
                size: 10,
                attempts,
                delay_ms,
                kind: CopyKind::Parked,
                forced: false,
            };
            assert!(self.engine.admit_copy(SLOT, 1, offset, copy, record.clone()), "few enough for the window");
        }
        while let Some(work) = self.engine.next(now) {
            match work.task {
                Task::Run => {}
                Task::Move => panic!("nothing is held"),
                Task::Bury(why) => panic!("nothing was refused: {why}"),
                Task::Park(Reason::Behind) => {
                    self.park(work.record, work.attempt, 0);
                    self.engine.finish(work.ticket, Fate::Parked(()), now);
                    continue;
                }
                Task::Park(Reason::Parked { delay_ms }) => {
                    self.park(work.record, work.attempt, delay_ms);
                    self.engine.finish(work.ticket, Fate::Parked(()), now);
                    continue;
                }
            }
            if work.record.key >= NO_CALL {
                self.passed.push((self.now, work.record.key));
                self.engine.finish(work.ticket, Fate::Dropped("where", ()), now);
                continue;
            }
            self.attempts += 1;
            if (EXPIRES..NO_CALL).contains(&work.record.key) && work.attempt > 1 {
                self.letters += 1;
                self.engine.finish(work.ticket, Fate::Expired { letter: (), failed: true, holds: false }, now);
                continue;
            }
            if !(self.down)(work.record.key) {
                self.passed.push((self.now, work.record.key));
                self.engine.answered(work.ticket, now);
                self.engine.finish(work.ticket, Fate::Forwarded(()), now);
                continue;
            }
            match self.engine.finish(work.ticket, Fate::Retry { record: work.record, after_ms: None }, now) {
                Finished::Taken | Finished::Stale => {}
                Finished::Park { record, attempts, delay_ms } => {
                    self.park(record, attempts, delay_ms);
                    self.engine.finish(work.ticket, Fate::Parked(()), now);
                }
                Finished::Exhausted { .. } => {
                    self.letters += 1;
                    self.engine.finish(work.ticket, Fate::DeadLettered(()), now);
                }
            }
        }
        while self.engine.pop_released().is_some() {}
        if self.engine.commit_due(now, false) {
            self.engine.begin_commit(now);
            self.engine.committed(now);
        }
        assert_eq!(self.engine.counters().violations.total(), 0);
    }

    fn park(&mut self, record: Record, attempts: u32, delay_ms: u64) {
        self.copies.push((record, attempts, delay_ms, self.next_copy));
        self.next_copy += 1;
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.step();
        }
    }
}

/// Every key is set aside before a second has passed: what goes on failing are copies. Goes red when only live records
/// speak for the service: then every copy runs out of attempts.
#[test]
fn an_outage_makes_no_flood_of_dead_letters() {
    let mut world = World::new(|_| true);
    for n in 0..400 {
        world.add(n % 40);
    }
    world.run(120_000);
    assert!(world.engine.breaker().is_some(), "it is open after {} attempts", world.attempts);
    assert!(world.letters <= 8, "{} dead letters", world.letters);
    let before = world.attempts;
    world.run(60_000);
    assert!((5..=40).contains(&(world.attempts - before)), "{} probes in a minute", world.attempts - before);
    world.down = Box::new(|_| false);
    world.run(60_000);
    assert_eq!((world.passed.len() + world.letters, world.engine.breaker()), (400, None));
}

/// Some keys are gone for good and hardly anything else comes: what comes passes at once all the same. Goes red when a
/// record that never failed waits for the time of the next probe.
#[test]
fn keys_that_are_gone_hold_up_no_other() {
    let mut world = World::new(|key| key < 5);
    for n in 0..100 {
        world.add(n % 5);
    }
    for round in 0..60 {
        world.run(2_000);
        let (asked, key) = (world.now, 100 + round);
        world.add(key);
        world.run(300);
        let passed = world.passed.iter().find(|(_, k)| *k == key).map(|(at, _)| *at);
        assert!(passed.is_some_and(|at| at - asked <= 100), "record {round} of a good key: {passed:?} after {asked}");
    }
}

fn in_place() -> EngineConfig {
    EngineConfig { attempts: 1_000, park: Some(Park { attempts: 1_000, time_ms: 1 << 40 }), ..config() }
}

/// The same while records of those keys wait where they stand: what comes is read and tried. Goes red when nothing is
/// read while a record waits for another attempt.
#[test]
fn keys_that_are_gone_and_not_set_aside_hold_up_no_other() {
    let mut world = World::with(in_place(), |key| key < 5);
    for n in 0..100 {
        world.add(n % 5);
    }
    let mut opened = 0;
    for round in 0..60 {
        world.run(15_000);
        opened += u32::from(world.engine.breaker().is_some());
        let (asked, key) = (world.now, 100 + round);
        world.add(key);
        world.run(300);
        let passed = world.passed.iter().find(|(_, k)| *k == key).map(|(at, _)| *at);
        assert!(passed.is_some_and(|at| at - asked <= 100), "record {round} of a good key: {passed:?} after {asked}");
    }
    assert!(opened > 10, "else it says nothing: {opened}");
}

/// All is gone, and each record that comes has a key of its own: none of them is known to fail. Goes red when each is
/// tried at once.
#[test]
fn an_outage_of_ever_new_keys_is_no_flood_of_calls() {
    let mut world = World::with(in_place(), |_| true);
    for n in 0..6_000 {
        world.add(n);
        world.run(20);
    }
    let opened = world.attempts;
    for n in 0..6_000 {
        world.add(6_000 + n);
        world.run(10);
    }
    let (calls, held) = (world.attempts - opened, world.engine.held().0);
    assert!((30..=90).contains(&calls), "{calls} calls in a minute");
    assert!(held < 1_000 && world.letters == 0, "{held} are held");
    world.down = Box::new(|_| false);
    world.run(60_000);
    assert_eq!((world.passed.len(), world.engine.breaker()), (12_000, None));
}

/// What ends without a call says nothing of the service, and what is too old has failed: neither closes the breaker, and
/// neither is held up for long. Goes red when any end counts as an answer.
#[test]
fn an_end_without_an_answer_closes_no_breaker() {
    let mut world = World::new(|_| true);
    for n in 0..40 {
        world.add(n);
    }
    world.run(20_000);
    assert!(world.engine.breaker().is_some());
    let (letters, attempts) = (world.letters, world.attempts);
    for n in 0..600 {
        world.add(NO_CALL + n);
        if n % 20 == 0 {
            world.add(EXPIRES + n);
        }
        world.run(100);
        assert!(world.engine.breaker().is_some(), "after {n}");
    }
    let (letters, attempts) = (world.letters - letters, world.attempts - attempts);
    assert!(attempts <= 100, "{attempts} calls in a minute");
    assert!(letters <= 40, "{letters} letters");
    let late = world.passed.iter().zip(0..600).filter(|((at, _), n)| *at > 20_000 + 100 * n + 2_000).count();
    assert_eq!((world.passed.len(), late), (600, 0), "what calls nothing passes");
}

/// Two keys are no outage, also when their records fail and then the copies of these. Goes red when a key and its copies
/// count as two.
#[test]
fn two_keys_are_no_outage() {
    let mut world = World::new(|key| key < 2);
    for n in 0..40 {
        world.add(n % 2);
    }
    for _ in 0..2_000 {
        world.run(10);
        assert_eq!(world.engine.breaker(), None, "after {} ms", world.now);
    }
}
