//! The hard cases of parking, each by hand. `simulation` meets most of them by chance; here each is told apart.

use millstream_engine::*;

const TIME_MS: u64 = 1_000;

fn config() -> EngineConfig {
    EngineConfig {
        order: Order::Key,
        concurrency: 64,
        attempts: 5,
        backoff_min_ms: 10,
        backoff_max_ms: 10,
        dedup: Some(DedupConfig { window_ms: 1 << 40, max_ids: 100_000 }),
        commit_every_ms: 100,
        commit_records: 10_000,
        budget_records: 10_000,
        budget_bytes: 1 << 30,
        max_metadata: 4_000,
        inputs: 2,
        retry_input: Some(1),
        park: Some(Park { attempts: 1, time_ms: TIME_MS }),
        hash_key: (1, 2),
        inline: false,
        hold: false,
    }
}

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_000_000 + ms as i64 }
}

type Tested = Engine<i64, ()>;

fn engine(config: EngineConfig) -> Tested {
    let mut e = Engine::new(config, 1);
    let restored = e.restore();
    e.assign(0, 1, &[Start::default(), Start::default()], restored, now(0)).unwrap();
    e
}

/// A live record; its id is its offset.
fn admit(e: &mut Tested, offset: i64, key: &str) {
    assert!(e.admit(0, 0, 1, offset, Some(key.as_bytes()), &offset.to_be_bytes(), 0, 1, offset));
}

fn copy<'a>(origin_offset: i64, key: &'a str, id: &'a [u8]) -> Copy<'a> {
    Copy {
        origin_input: 0,
        origin_offset,
        key: Some(key.as_bytes()),
        id,
        timestamp: 0,
        size: 1,
        attempts: 1,
        delay_ms: 0,
        kind: CopyKind::Parked,
        forced: false,
    }
}

fn admit_copy(e: &mut Tested, offset: i64, origin: i64, key: &str) -> bool {
    e.admit_copy(0, 1, offset, copy(origin, key, &origin.to_be_bytes()), origin)
}

fn forward(e: &mut Tested, work: Work<i64>, ms: u64) {
    assert_eq!(work.task, Task::Run);
    assert_eq!(e.finish(work.ticket, Fate::Forwarded(()), now(ms)), Finished::Taken);
}

/// An attempt fails and its record is set aside.
fn fail_and_park(e: &mut Tested, work: Work<i64>, ms: u64) {
    assert_eq!(work.task, Task::Run);
    let (ticket, record) = (work.ticket, work.record);
    let answer = e.finish(ticket, Fate::Retry { record, after_ms: None }, now(ms));
    assert!(matches!(answer, Finished::Park { .. }), "{answer:?}");
    assert_eq!(e.finish(ticket, Fate::Parked(()), now(ms)), Finished::Taken);
}

fn commit(e: &mut Tested, ms: u64) {
    while e.pop_released().is_some() {}
    e.begin_commit(now(ms));
    e.committed(now(ms));
    assert!(e.counters().balanced());
}

/// 30,000 copies of a key that fails, and one of another key behind them: the other passes in the first pass, and little
/// is held. When the service is back, the many come in order, in few passes. Goes red without the share of a key, or
/// when a pass is asked for at each end.
#[test]
fn a_key_with_very_many_copies_keeps_no_other_out() {
    const MANY: i64 = 30_000;
    let mut e = engine(EngineConfig { attempts: 1_000, ..config() });
    let id = 0i64.to_be_bytes();
    (0..MANY).for_each(|o| e.restore_copy(0, o, &copy(o, "many", &id)));
    e.restore_copy(0, MANY, &copy(MANY, "other", &id));
    assert_eq!(e.parked_len(), MANY as usize + 1);
    let read = |e: &mut Tested, from: i64| {
        for o in from..MANY {
            admit_copy(e, o, o, "many");
        }
        admit_copy(e, MANY, MANY, "other");
    };
    read(&mut e, 0);
    let mut passed = Vec::new();
    for ms in (0..1_000).step_by(20) {
        while let Some(work) = e.next(now(ms)) {
            if work.origin.offset == MANY {
                passed.push(MANY);
                forward(&mut e, work, ms);
            } else {
                assert_eq!(work.origin.offset, 0, "one of a key at a time, and in order");
                let (ticket, record) = (work.ticket, work.record);
                assert_eq!(e.finish(ticket, Fate::Retry { record, after_ms: None }, now(ms)), Finished::Taken);
            }
        }
        commit(&mut e, ms);
        assert!(e.held().0 <= 64 && e.rereads(now(ms)).is_empty(), "{:?}", e.held());
    }
    assert_eq!(passed, [MANY]);
    let mut passes = 0;
    for ms in (2_000..).step_by(20).take(2_000) {
        while let Some(work) = e.next(now(ms)) {
            passed.push(work.origin.offset);
            forward(&mut e, work, ms);
        }
        commit(&mut e, ms);
        assert!(e.held().0 <= 2_048);
        if e.rereads(now(ms)) == [0] {
            passes += 1;
            let from = e.retry_position(0).unwrap().offset;
            read(&mut e, from);
        }
        if e.parked_len() == 0 {
            break;
        }
    }
    let sorted = passed[1..].is_sorted();
    assert_eq!((sorted, passed.len(), passes), (true, MANY as usize + 1, passes), "all of them, in order");
    assert!(passes <= 70, "{passes} passes: what is held is bounded by the room for finished ranges");
    assert_eq!(e.counters().parked, -(MANY + 1), "an owner before had set them aside");
}

/// Goes red when a key is set aside without a bound, or when the input of copies is stopped too.
#[test]
fn at_the_bound_of_copies_no_more_is_read() {
    let mut e = engine(config());
    let id = [0];
    (0..199_999).for_each(|o| e.restore_copy(0, o, &copy(o, "a", &id)));
    assert_eq!((e.full_slots().count(), e.parked_full().count()), (0, 0));
    e.restore_copy(0, 199_999, &copy(199_999, "a", &id));
    e.restore_copy(0, 200_000, &Copy { kind: CopyKind::SentBack, ..copy(5, "b", &id) });
    assert_eq!((e.full_slots().collect::<Vec<_>>(), e.parked_full().collect::<Vec<_>>()), (vec![(0, 0)], vec![0]));
    assert!(admit_copy(&mut e, 0, 0, "a"));
    let work = e.next(now(0)).unwrap();
    forward(&mut e, work, 0);
    assert_eq!(e.full_slots().count(), 0);
}

/// Goes red when the deadline of a call is forgotten, or stays in the past.
#[test]
fn a_call_that_hangs_is_cut_off_and_its_key_set_aside() {
    let mut e = engine(config());
    admit(&mut e, 0, "a");
    admit(&mut e, 1, "a");
    let work = e.next(now(5)).unwrap();
    assert_eq!(e.next_deadline(), Some(5 + TIME_MS));
    assert_eq!(e.overdue(now(4 + TIME_MS)), []);
    assert_eq!(e.overdue(now(5 + TIME_MS)), [work.ticket]);
    assert_eq!((e.overdue(now(6 + TIME_MS)), e.next_deadline()), (vec![], None), "each is named once");
    admit(&mut e, 2, "b");
    let other = e.next(now(6 + TIME_MS)).unwrap();
    assert_eq!(e.overdue(now(6 + 2 * TIME_MS)), [other.ticket], "also when another one is late");
    fail_and_park(&mut e, work, 7 + 2 * TIME_MS);
    let behind = e.next(now(7 + 2 * TIME_MS)).unwrap();
    assert_eq!((behind.origin.offset, behind.attempt, behind.task), (1, 0, Task::Park(Reason::Behind)));
    e.finish(behind.ticket, Fate::Parked(()), now(8 + 2 * TIME_MS));
    assert_eq!(e.parked(0), [(0, 0), (0, 1)]);
    commit(&mut e, 8 + 2 * TIME_MS);
    assert_eq!((e.counters().read, e.counters().parked), (2, 2));
}

/// A record that waits for its key's last copies would wait for ever if these cannot be read. Goes red when nobody is
/// let go for want of room.
#[test]
fn who_waits_for_copies_makes_way_when_there_is_no_room() {
    let mut e = engine(EngineConfig { budget_records: 12, ..config() });
    for offset in 0..3 {
        admit(&mut e, offset, "a");
    }
    let work = e.next(now(0)).unwrap();
    fail_and_park(&mut e, work, 0);
    for _ in 0..2 {
        let behind = e.next(now(0)).unwrap();
        assert_eq!(behind.task, Task::Park(Reason::Behind));
        e.finish(behind.ticket, Fate::Parked(()), now(0));
    }
    commit(&mut e, 0);
    assert!(admit_copy(&mut e, 0, 0, "a"));
    let first = e.next(now(0)).unwrap();
    forward(&mut e, first, 0);
    admit(&mut e, 3, "a");
    assert!(e.next(now(0)).is_none(), "it waits: only two copies are left");
    let others: Vec<i64> = (4..12).collect();
    for offset in &others {
        admit(&mut e, *offset, &offset.to_string());
    }
    assert_eq!(e.budget(), (0, 0));
    let work = e.next(now(0)).unwrap();
    assert_eq!((work.origin.offset, work.task), (3, Task::Park(Reason::Behind)));
    e.finish(work.ticket, Fate::Parked(()), now(0));
    assert_eq!(e.budget().0, 1);
}

/// The log refuses the copy itself: the record becomes a letter at once, or it is refused for ever. It refuses what came
/// of a record whose key is set aside again by the abort: that keeps its place. Goes red when the two are not told apart.
#[test]
fn a_refused_copy_is_buried_and_a_refused_output_keeps_its_place() {
    let mut e = engine(config());
    admit(&mut e, 0, "a");
    admit(&mut e, 1, "a");
    let work = e.next(now(0)).unwrap();
    fail_and_park(&mut e, work, 0);
    commit(&mut e, 0);
    let behind = e.next(now(0)).unwrap();
    let place = behind.place;
    e.finish(behind.ticket, Fate::Parked(()), now(0));
    e.poison(place, "too large".to_owned());
    e.aborted(now(0));
    admit(&mut e, 1, "a");
    let buried = e.next(now(0)).unwrap();
    assert_eq!(buried.task, Task::Bury("too large".to_owned()));
    e.finish(buried.ticket, Fate::DeadLettered(()), now(0));
    commit(&mut e, 0);

    // Free again within a transaction, and what ran then is refused.
    assert!(admit_copy(&mut e, 0, 0, "a"));
    admit(&mut e, 2, "a");
    let first = e.next(now(0)).unwrap();
    let (first, live) = match first.task {
        Task::Run => (first, None),
        _ => panic!("the copy came first: {first:?}"),
    };
    assert!(live.is_none_or(|work: Work<i64>| work.origin.offset == 2));
    let parked = e.next(now(0)).unwrap();
    assert_eq!(parked.task, Task::Park(Reason::Behind), "the copy has not ended");
    e.finish(parked.ticket, Fate::Parked(()), now(0));
    forward(&mut e, first, 0);
    assert!(admit_copy(&mut e, 1, 2, "a"));
    let second = e.next(now(0)).unwrap();
    forward(&mut e, second, 0);
    admit(&mut e, 3, "a");
    let free = e.next(now(0)).unwrap();
    let place = free.place;
    forward(&mut e, free, 0);
    e.poison(place, "too large".to_owned());
    e.aborted(now(0));
    assert_eq!(e.parked(0), [(0, 0)]);
    admit(&mut e, 2, "a");
    let again = e.next(now(0)).unwrap();
    assert_eq!((again.origin.offset, &again.task), (2, &Task::Park(Reason::Behind)));
    e.finish(again.ticket, Fate::Parked(()), now(0));
    admit(&mut e, 3, "a");
    let again = e.next(now(0)).unwrap();
    assert_eq!((again.origin.offset, again.task), (3, Task::Park(Reason::Behind)), "behind its key's copy");
}

/// A parked id is not marked: another key's record with it passes, and the copy is the duplicate. Goes red when the copy
/// is judged only once, or counted as read again.
#[test]
fn a_copy_is_judged_when_its_turn_comes() {
    let mut e = engine(config());
    assert!(e.admit(0, 0, 1, 0, Some(b"a"), b"same", 0, 1, 0));
    let work = e.next(now(0)).unwrap();
    fail_and_park(&mut e, work, 0);
    commit(&mut e, 0);
    assert!(e.admit_copy(0, 1, 0, copy(0, "a", b"same"), 0));
    let work = e.next(now(0)).unwrap();
    let (ticket, record) = (work.ticket, work.record);
    assert_eq!(e.finish(ticket, Fate::Retry { record, after_ms: None }, now(0)), Finished::Taken);
    assert!(e.admit(0, 0, 1, 1, Some(b"b"), b"same", 0, 1, 1));
    let other = e.next(now(0)).expect("a copy that waits holds its id back from nobody");
    forward(&mut e, other, 0);
    assert!(e.next(now(500)).is_none());
    commit(&mut e, 500);
    let counters = e.counters();
    assert_eq!((counters.read, counters.forwarded, counters.duplicates, counters.parked), (2, 1, 1, 0));
}

/// Goes red when the end of a letter that was sent back counts as one more record.
#[test]
fn a_letter_that_was_sent_back_is_counted_apart() {
    let mut e = engine(config());
    let sent_back = Copy { kind: CopyKind::SentBack, ..copy(0, "a", b"x") };
    e.restore_copy(0, 0, &sent_back);
    admit(&mut e, 7, "a");
    let live = e.next(now(0)).unwrap();
    assert_eq!(live.task, Task::Run, "its key does not wait for it");
    assert!(e.admit_copy(0, 1, 0, sent_back, 0));
    let work = e.next(now(0)).unwrap();
    assert_eq!((work.place.input, work.origin.input, work.attempt), (1, 0, 2));
    forward(&mut e, work, 0);
    forward(&mut e, live, 0);
    commit(&mut e, 0);
    assert_eq!((e.counters().read, e.counters().forwarded, e.counters().redriven), (1, 1, 1));
}

/// The lowest copy must get in though ranges are full, or nothing ever moves. Goes red when no pass is asked for after
/// ranges were short. (That copies are held which have no room to end is what the simulation finds.)
#[test]
fn full_ranges_never_keep_the_lowest_copy_out() {
    let mut e = engine(EngineConfig { max_metadata: 40, ..config() });
    let id = [0];
    (0..200).for_each(|o| e.restore_copy(0, o, &copy(o, &(o % 50).to_string(), &id)));
    let read = |e: &mut Tested, from: i64| {
        for o in from..200 {
            admit_copy(e, o, o, &(o % 50).to_string());
        }
    };
    read(&mut e, 0);
    for ms in 0..1_000 {
        let mut works: Vec<_> = std::iter::from_fn(|| e.next(now(ms))).collect();
        // The lowest of them is the last to end.
        works.reverse();
        works.into_iter().for_each(|work| forward(&mut e, work, ms));
        commit(&mut e, ms);
        if e.rereads(now(ms)) == [0] {
            let from = e.retry_position(0).unwrap().offset;
            read(&mut e, from);
        }
        if e.parked_len() == 0 {
            return;
        }
    }
    panic!("{} copies are left", e.parked_len());
}

/// Slots whose copies fill the window, by number or by bytes, keep no other slot's copies out. Goes red when the window is
/// one for all.
#[test]
fn a_slot_with_very_many_copies_keeps_no_other_slots_out() {
    for size in [1, 1 << 20] {
        let mut e = engine(EngineConfig { attempts: 1_000, budget_bytes: 64 << 20, ..config() });
        let restored = e.restore();
        e.assign(1, 1, &[Start::default(), Start::default()], restored, now(0)).unwrap();
        for o in 0..3_000i64 {
            let (key, id) = (o.to_string(), o.to_be_bytes());
            e.restore_copy(0, o, &copy(o, &key, &id));
            e.admit_copy(0, 1, o, Copy { size, delay_ms: 1 << 30, ..copy(o, &key, &id) }, o);
        }
        let full = e.held().0;
        const OTHERS: i64 = 300;
        let read = |e: &mut Tested, from: i64| {
            for o in from..OTHERS {
                let id = o.to_be_bytes();
                e.admit_copy(1, 1, o, Copy { size, ..copy(o, "other", &id) }, o);
            }
        };
        (0..OTHERS).for_each(|o| e.restore_copy(1, o, &copy(o, "other", &o.to_be_bytes())));
        read(&mut e, 0);
        let (mut passed, mut passes) = (0, 0);
        for ms in 0..OTHERS as u64 + 10 {
            while let Some(work) = e.next(now(ms)) {
                assert_eq!((work.place.slot, work.origin.offset), (1, passed), "the others are not due");
                passed += 1;
                forward(&mut e, work, ms);
            }
            commit(&mut e, ms);
            assert!(e.held().0 <= 2_048 && size * e.held().0 <= 16 << 20, "{} beside {full}", e.held().0);
            if e.rereads(now(ms)).contains(&1) {
                passes += 1;
                let from = e.retry_position(1).unwrap().offset;
                read(&mut e, from);
            }
        }
        assert_eq!(passed, OTHERS, "{passes} passes, {full} of the first slot");
    }
}

/// A copy that somebody else wrote, or broke, names a place of its own; that a record read there waits for its copy is
/// chance. Goes red when any end of a copy ends what is open under its origin.
#[test]
fn a_broken_copy_sets_no_key_free() {
    let mut e = engine(config());
    admit(&mut e, 0, "a");
    let work = e.next(now(0)).unwrap();
    fail_and_park(&mut e, work, 0);
    commit(&mut e, 0);
    assert!(e.admit_copy(0, 1, 0, Copy { kind: CopyKind::SentBack, ..copy(0, "b", b"broken") }, 0));
    let broken = e.next(now(0)).unwrap();
    e.finish(broken.ticket, Fate::DeadLettered(()), now(0));
    assert_eq!(e.parked(0), [(0, 0)]);
    admit(&mut e, 1, "a");
    assert_eq!(e.next(now(0)).unwrap().task, Task::Park(Reason::Behind), "its key waits for the copy");
    commit(&mut e, 0);
    assert_eq!((e.counters().redriven, e.counters().parked), (1, 1));
}

/// Aborts one after the other, with a copy that fails and one whose call hangs: each is tried as often as its waits
/// allow. Goes red when an abort forgets attempts and waits.
#[test]
fn aborts_make_no_copy_run_at_once() {
    let mut e = engine(EngineConfig { attempts: 100, backoff_min_ms: 1_000, backoff_max_ms: 1_000, ..config() });
    let mut tried: Vec<Vec<u32>> = vec![Vec::new(); 2];
    for ms in (0..10_000).step_by(50) {
        for (o, key) in [(0, "fails"), (1, "hangs")] {
            let id = [o as u8];
            assert!(e.admit_copy(0, 1, o, copy(o, key, &id), o));
        }
        while let Some(work) = e.next(now(ms)) {
            let (ticket, record, which) = (work.ticket, work.record, work.origin.offset);
            tried[which as usize].push(work.attempt);
            if which == 0 {
                assert_eq!(e.finish(ticket, Fate::Retry { record, after_ms: None }, now(ms)), Finished::Taken);
            }
        }
        e.aborted(now(ms));
    }
    assert_eq!(tried[0], (2..=11).collect::<Vec<_>>(), "each counts");
    assert_eq!(tried[1], [2; 10], "an attempt that was cut off is none");
}

/// A call that takes long is let on as often as it shows that it is under way; where its partition needs the room it is set
/// aside, and the attempt does not count: it would have been the last one.
#[test]
fn a_call_that_is_under_way_is_let_on_until_its_place_is_needed() {
    let mut e = engine(EngineConfig { attempts: 1, max_metadata: 400, concurrency: 1_000, ..config() });
    admit(&mut e, 0, "slow");
    let slow = e.next(now(0)).unwrap();
    for ms in [TIME_MS, 2 * TIME_MS, 3 * TIME_MS] {
        assert_eq!(e.overdue(now(ms - 1)), []);
        assert_eq!(e.overdue(now(ms)), [slow.ticket]);
        assert!(e.let_on(slow.ticket, now(ms)));
    }
    let mut ms = 3 * TIME_MS;
    for offset in 1.. {
        assert!(offset < 1_000, "its place is never needed");
        // Every other one waits behind it, so that what is finished is many ranges.
        if offset % 2 == 1 {
            admit(&mut e, offset, "slow");
            assert!(e.next(now(ms)).is_none());
            continue;
        }
        admit(&mut e, offset, &format!("k{offset}"));
        let work = e.next(now(ms)).unwrap();
        forward(&mut e, work, ms);
        let overdue = e.overdue(now(ms));
        if overdue.contains(&slow.ticket) {
            break;
        }
    }
    ms += 1;
    assert!(!e.let_on(slow.ticket, now(ms)), "others need its place");
    e.uncount(slow.ticket);
    let answer = e.finish(slow.ticket, Fate::Retry { record: 0, after_ms: None }, now(ms));
    assert!(matches!(answer, Finished::Park { attempts: 0, .. }), "{answer:?}");
    assert_eq!(e.finish(slow.ticket, Fate::Parked(()), now(ms)), Finished::Taken);
    assert!(!e.let_on(slow.ticket, now(ms)), "it is over");
    let at = e.committed_position(0).unwrap();
    assert_eq!((at.slot, at.input, at.offset), (0, 0, 0));
    assert_eq!(e.committed_position(1), None);
}
