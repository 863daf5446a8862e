//! The engine against a model log in virtual time: crashes, zombies, hand-overs, aborts, lost answers, refused records,
//! transient failures, outages of a key or of all, calls that hang, keys that are set aside and come back, dead letters
//! that are sent back, keys that are held by dead letters until somebody decides, duplicates, a
//! window that passes and skewed keys, all from one seed. Two stages in a chain, the
//! first with one or two inputs, each exactly once or at least once, in any order and with any budget. `world.rs` is the log and what it allows,
//! `replica.rs` carries out what an engine decides as the host does, `checker.rs` knows the rules, and `letters.rs` those of
//! letters that are sent back, `jobs.rs` adds up what became of each job, `breaks.rs` has what is broken in negative controls.
//!
//! `MILLSTREAM_SEED=N` runs one seed, `MILLSTREAM_SEEDS=N` that many. A failure prints its seed.
//!
//! Negative controls are at the end: the world is broken on purpose and the checker must say so.

mod breaks;
mod checker;
mod copies;
mod jobs;
mod letters;
mod ranges;
mod replica;
mod world;

use jobs::Jobs;
use millstream_engine::{DedupConfig, EngineConfig, Order, Park};
use replica::Replica;
use world::{Break, Promise, World};

/// A stage of the chain: its log, and those who work on it.
struct Stage {
    world: World,
    replicas: Vec<Replica>,
}

impl Stage {
    fn new(
        rng: &mut fastrand::Rng,
        seed: u64,
        broken: Break,
        partitions: usize,
        inputs: usize,
    ) -> Result<Self, String> {
        let (order, exactly_once) = match broken {
            Break::OvertakeKey
            | Break::RunBehind
            | Break::FreeEarly
            | Break::NoScan
            | Break::NoRollback
            | Break::CopiesOutside
            | Break::NoHold
            | Break::NoMark
            | Break::FreeAny
            | Break::ParkOutside
            | Break::SentBackAnyhow => (Order::Key, true),
            Break::OvertakePartition => (Order::Partition, true),
            Break::LossyAtLeastOnce => (Order::Key, false),
            Break::Nothing => {
                ([Order::Key, Order::Key, Order::Partition, Order::None][rng.usize(..4)], rng.u8(..4) > 0)
            }
            _ => ([Order::Key, Order::Partition, Order::None][rng.usize(..3)], true),
        };
        // From a few records to longer than the whole input.
        let window = rng.u8(..4).gt(&0).then(|| [240, 2_400, 1 << 40][rng.usize(..3)]);
        let told_window = if broken == Break::ShortWindow { window.map(|w| w / 24) } else { window };
        let attempts = [3, 3, 8, 30][rng.usize(..4)];
        let hold =
            order == Order::Key && (rng.bool() || matches!(broken, Break::NoHold | Break::NoMark | Break::FreeAny));
        let park = Park { attempts: rng.u32(1..4), time_ms: rng.u64(20..600) };
        let config = EngineConfig {
            order: if matches!(broken, Break::OvertakeKey | Break::OvertakePartition) { Order::None } else { order },
            concurrency: [rng.usize(1..8), rng.usize(1..=64)][rng.usize(..2)],
            attempts,
            backoff_min_ms: 5,
            backoff_max_ms: [200, 2_000][rng.usize(..2)],
            dedup: told_window.map(|window_ms| DedupConfig { window_ms, max_ids: 10_000 }),
            commit_every_ms: 100,
            commit_records: rng.usize(5..200),
            budget_records: [rng.usize(1..20), rng.usize(10..200)][rng.usize(..2)],
            budget_bytes: [rng.usize(1..200), 1 << 20][rng.usize(..2)],
            // What ends a hold takes room for two ranges at least.
            max_metadata: [if hold { 200 } else { 40 }, 400, 3_000][rng.usize(..3)],
            inputs: inputs as u16 + 1,
            retry_input: Some(inputs as u16),
            park: (rng.u8(..4) > 0).then_some(park),
            hash_key: (1, 2),
            inline: rng.bool(),
            hold: hold && broken != Break::NoHold,
        };
        let promise = Promise { order, window, exactly_once, exact_input: true, attempts, hold, broken };
        let mut world = World::new(promise, partitions, inputs);
        world.plan_outages(rng);
        let mut replicas: Vec<Replica> = (0..rng.usize(1..4)).map(|i| Replica::new(i, config.clone(), seed)).collect();
        for partition in 0..world.partitions() {
            let to = rng.usize(..replicas.len());
            replicas[to].take(partition, &mut world)?;
        }
        Ok(Self { world, replicas })
    }

    /// Something happens to some replica.
    fn step(&mut self, rng: &mut fastrand::Rng) -> Result<(), String> {
        let Self { world, replicas } = self;
        world.pass_time(rng.u64(..30));
        let at = rng.usize(..replicas.len());
        if rng.u8(..20) == 0 {
            world.decide(rng, 1);
        }
        match rng.u8(..100) {
            0 => crash(at, replicas, world, rng)?,
            1 => lose(at, replicas, world, rng)?,
            2..=3 => hand_over(at, replicas, world, rng)?,
            4 => world.redrive(rng),
            5..=30 => replicas[at].read(world, rng),
            31..=60 => replicas[at].work(world, rng),
            61..=85 => replicas[at].answer(world, rng),
            _ => commit(at, replicas, world, rng, true)?,
        }
        // A zombie learns of its loss at some time, and not at once.
        if rng.u8(..10) == 0 {
            replicas[at].learn(world);
        }
        Ok(())
    }

    /// A round without faults.
    fn work_off(&mut self, rng: &mut fastrand::Rng) -> Result<(), String> {
        let Self { world, replicas } = self;
        world.pass_time(50);
        if rng.u8(..4) == 0 {
            world.decide(rng, 20);
        }
        for at in 0..replicas.len() {
            replicas[at].learn(world);
            // Budgets may be of a few bytes, and passes through what is held are long.
            (0..5).for_each(|_| replicas[at].read(world, rng));
            replicas[at].work(world, rng);
            replicas[at].answer_all(world);
            commit(at, replicas, world, rng, false)?;
        }
        Ok(())
    }
}

/// How often a run met what it is about.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    copies: usize,
    behind: usize,
    cut_off: usize,
    passes: usize,
    breaker: usize,
    restored: usize,
    sent_back: usize,
    holds: usize,
    moved: usize,
}

/// One run of a chain of two stages, as its seed says. What is wrong, if anything.
fn simulate(seed: u64, broken: Break) -> Result<Met, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let partitions = rng.usize(1..4);
    let inputs = if broken == Break::MixInputs { 2 } else { rng.usize(1..3) };
    let mut first = Stage::new(&mut rng, seed, broken, partitions, inputs)?;
    let mut second = Stage::new(&mut rng, seed, broken, partitions, 1)?;
    // A stage can only be told what it read twice where the one before never writes twice.
    second.world.promise.exact_input = first.world.promise.exactly_once;
    first.world.goes_on = true;
    first.world.fill(&mut rng);
    let mut jobs = Jobs::default();
    let exact = first.world.promise.exactly_once && second.world.promise.exactly_once;
    let counted = exact && matches!(broken, Break::Nothing | Break::UntoldDuplicates | Break::NotesOutside);
    for step in 0..rng.usize(200..1_500) {
        if rng.bool() { &mut first } else { &mut second }.step(&mut rng)?;
        let fresh = std::mem::take(&mut first.world.fresh);
        second.world.receive(fresh);
        second.world.fresh.clear();
        jobs.add(std::mem::take(&mut first.world.notes));
        jobs.add(std::mem::take(&mut second.world.notes));
        if counted && step % 16 == 0 {
            jobs.check([&first.world, &second.world])?;
        }
    }
    for round in 0.. {
        first.work_off(&mut rng)?;
        let fresh = std::mem::take(&mut first.world.fresh);
        second.world.receive(fresh);
        second.work_off(&mut rng)?;
        second.world.fresh.clear();
        if first.world.worked_off() && second.world.worked_off() {
            break;
        }
        // Many copies and a budget of a few bytes: a pass is for one of them.
        if round > if broken == Break::Nothing { 100_000 } else { 2_000 } {
            return Err(format!("never worked off: {} then {}", first.world.describe(), second.world.describe()));
        }
    }
    jobs.add(std::mem::take(&mut first.world.notes));
    jobs.add(std::mem::take(&mut second.world.notes));
    if counted {
        jobs.check([&first.world, &second.world])?;
    }
    for (stage, name) in [(&first, "first"), (&second, "second")] {
        checker::check_end(&stage.world, &stage.replicas).map_err(|why| format!("{name} stage: {why}"))?;
    }
    let mut met = Met::default();
    for stage in [first, second] {
        met.copies += stage.world.parked;
        met.sent_back += stage.world.partitions.iter().map(|p| p.sent.len()).sum::<usize>();
        met.holds += stage.world.holds;
        for replica in stage.replicas {
            let Met { behind, cut_off, passes, breaker, restored, moved, .. } = replica.met();
            met.moved += moved;
            met.behind += behind;
            met.cut_off += cut_off;
            met.passes += passes;
            met.breaker += breaker;
            met.restored += restored;
        }
    }
    Ok(met)
}

/// A replica dies. Its partitions go to others, or to itself after a restart.
fn crash(at: usize, replicas: &mut [Replica], world: &mut World, rng: &mut fastrand::Rng) -> Result<(), String> {
    let partitions = world.owned_by(at);
    replicas[at].restart();
    for partition in partitions {
        let to = rng.usize(..replicas.len());
        replicas[to].take(partition, world)?;
    }
    Ok(())
}

/// A partition goes to another replica without the first one knowing: until it learns, it is a zombie.
fn lose(at: usize, replicas: &mut [Replica], world: &mut World, rng: &mut fastrand::Rng) -> Result<(), String> {
    let to = rng.usize(..replicas.len());
    match world.owned_by(at).first() {
        Some(partition) if to != at && !replicas[to].holds(*partition) => replicas[to].take(*partition, world),
        _ => Ok(()),
    }
}

/// A clean hand-over: finish what is started, commit, give up.
fn hand_over(at: usize, replicas: &mut [Replica], world: &mut World, rng: &mut fastrand::Rng) -> Result<(), String> {
    let to = rng.usize(..replicas.len());
    let Some(partition) = world.owned_by(at).first().copied() else { return Ok(()) };
    if to == at || replicas[to].holds(partition) {
        return Ok(());
    }
    replicas[at].revoke(partition);
    replicas[at].answer_all(world);
    commit(at, replicas, world, rng, true)?;
    if world.owned_by(at).contains(&partition) {
        replicas[at].give_up(partition);
        replicas[to].take(partition, world)?;
    }
    Ok(())
}

fn commit(
    at: usize,
    replicas: &mut [Replica],
    world: &mut World,
    rng: &mut fastrand::Rng,
    faults: bool,
) -> Result<(), String> {
    let survived = replicas[at].commit(world, rng, faults)?;
    if !survived {
        crash(at, replicas, world, rng)?;
    }
    if rng.u8(..4) == 0 { checker::check_now(world) } else { Ok(()) }
}

/// A run whose panic (an assertion of the engine) is a finding like any other.
fn guarded(seed: u64, broken: Break) -> Result<Met, String> {
    std::panic::catch_unwind(|| simulate(seed, broken)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", words.unwrap_or("no message")))
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_rule_holds_whatever_happens() {
    let seeds = match number("MILLSTREAM_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("MILLSTREAM_SEEDS").unwrap_or(1_000),
    };
    let (mut met, mut failed) = (Met::default(), Vec::new());
    let many = seeds.end - seeds.start >= 1_000;
    for seed in seeds {
        match guarded(seed, Break::Nothing) {
            Ok(Met { copies, behind, cut_off, passes, breaker, restored, sent_back, holds, moved }) => {
                met.sent_back += sent_back;
                met.holds += holds;
                met.moved += moved;
                met.copies += copies;
                met.behind += behind;
                met.cut_off += cut_off;
                met.passes += passes;
                met.breaker += breaker;
                met.restored += restored;
            }
            Err(why) => failed.push(format!("seed {seed}: {why}")),
        }
    }
    assert!(failed.is_empty(), "{} seeds failed; MILLSTREAM_SEED=N runs one:\n{}", failed.len(), failed.join("\n"));
    let least = [
        met.copies / 100,
        met.behind / 100,
        met.cut_off / 10,
        met.passes / 10,
        met.breaker,
        met.restored / 10,
        met.sent_back / 10,
        met.holds / 100,
        met.moved / 10,
    ];
    assert!(!many || least.iter().all(|n| *n >= 10), "the simulation no longer meets what it is about: {met:?}");
}

/// Some seed must fail, and by the rule that was broken.
fn goes_red(broken: Break, rule: &str) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let red = (0..200).any(|seed| guarded(seed, broken).is_err_and(|why| why.contains(rule)));
    std::panic::set_hook(hook);
    assert!(red, "the checker does not notice {broken:?} by {rule}");
}

#[test]
fn positions_committed_before_outputs_are_noticed() {
    goes_red(Break::PositionsFirst, "lost");
}

#[test]
fn marks_outside_the_transaction_are_noticed() {
    goes_red(Break::MarksOutside, "lost");
}

#[test]
fn a_missing_fence_is_noticed() {
    goes_red(Break::NoFence, "R");
}

#[test]
fn a_later_record_of_a_failing_key_that_overtakes_is_noticed() {
    goes_red(Break::OvertakeKey, "R3");
}

#[test]
fn a_later_record_of_a_partition_that_overtakes_is_noticed() {
    goes_red(Break::OvertakePartition, "R3");
}

#[test]
fn a_next_stage_that_reads_uncommitted_is_noticed() {
    goes_red(Break::ReadUncommitted, "twice");
}

#[test]
fn inputs_that_begin_at_the_same_offset_are_noticed() {
    goes_red(Break::MixInputs, "R");
}

#[test]
fn ids_that_never_leave_the_window_are_noticed() {
    goes_red(Break::StoppedClock, "duplicate of none");
}

#[test]
fn ids_that_leave_the_window_early_are_noticed() {
    goes_red(Break::ShortWindow, "passed twice in the window");
}

#[test]
fn at_least_once_that_commits_first_is_noticed() {
    goes_red(Break::LossyAtLeastOnce, "lost");
}

#[test]
fn reading_over_the_budget_is_noticed() {
    goes_red(Break::Flood, "R5");
}

#[test]
fn later_records_of_a_key_that_is_set_aside_are_noticed_if_they_run() {
    goes_red(Break::RunBehind, "R3");
}

#[test]
fn a_key_that_is_free_too_early_is_noticed() {
    goes_red(Break::FreeEarly, "R3");
}

#[test]
fn a_new_owner_that_does_not_know_what_is_set_aside_is_noticed() {
    goes_red(Break::NoScan, "R3");
}

#[test]
fn a_key_that_stays_free_after_an_abort_is_noticed() {
    goes_red(Break::NoRollback, "R3");
}

#[test]
fn copies_that_end_outside_the_transaction_are_noticed() {
    goes_red(Break::CopiesOutside, "lost");
}

#[test]
fn copies_written_outside_the_transaction_are_noticed() {
    goes_red(Break::ParkOutside, "has a copy and is not committed");
}

#[test]
fn letters_that_are_sent_back_twice_are_noticed() {
    goes_red(Break::SendTwice, "sent back twice");
}

#[test]
fn letters_that_do_not_pass_dedup_though_they_are_to_are_noticed() {
    goes_red(Break::ForgetForced, "which was sent back, gave nothing");
}

#[test]
fn letters_that_keys_wait_for_are_noticed() {
    goes_red(Break::SentBackAsParked, "R4");
}

#[test]
fn letters_that_overtake_each_other_are_noticed() {
    goes_red(Break::SentBackAnyhow, "which was sent back, came after a later one");
}

#[test]
fn a_dead_letter_that_does_not_hold_its_key_is_noticed() {
    goes_red(Break::NoHold, "holds its key");
}

#[test]
fn a_hold_that_a_new_owner_does_not_find_is_noticed() {
    goes_red(Break::NoMark, "holds its key");
}

#[test]
fn a_late_word_that_ends_a_newer_hold_is_noticed() {
    goes_red(Break::FreeAny, "holds its key");
}

#[test]
fn duplicates_that_no_job_hears_of_are_noticed() {
    goes_red(Break::UntoldDuplicates, "jobs");
}

#[test]
fn notes_of_jobs_outside_the_transaction_are_noticed() {
    goes_red(Break::NotesOutside, "jobs");
}
