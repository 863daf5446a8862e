//! Each a mistake that was in the engine once.

use millstream_engine::*;
fn config() -> EngineConfig {
    EngineConfig {
        order: Order::Key,
        concurrency: 64,
        attempts: 3,
        backoff_min_ms: 10,
        backoff_max_ms: 10,
        dedup: Some(DedupConfig { window_ms: 1 << 40, max_ids: 100_000 }),
        commit_every_ms: 100,
        commit_records: 10_000,
        budget_records: 10_000,
        budget_bytes: 1 << 30,
        max_metadata: 40,
        inputs: 1,
        retry_input: None,
        park: None,
        hash_key: (1, 2),
        inline: false,
        hold: false,
    }
}
fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_000_000 + ms as i64 }
}
fn engine(c: EngineConfig, start: Start) -> Engine<i64, i64> {
    let mut e = Engine::new(c, 1);
    let r = e.restore();
    e.assign(0, 1, &[start], r, now(0)).unwrap();
    e
}
fn at(offset: i64) -> Start {
    Start { offset, metadata: String::new() }
}

/// Odd records finish as they come, even ones hang. `dups`: every other run of ten is duplicates.
fn longest_metadata(dups: bool) -> usize {
    let mut e = engine(EngineConfig { concurrency: 5_000, max_metadata: 200, ..config() }, at(0));
    e.admit(0, 0, 1, 0, None, b"seen", 0, 1, 0);
    let w = e.next(now(0)).unwrap();
    e.finish(w.ticket, Fate::Forwarded(0), now(0));
    while e.pop_released().is_some() {}
    e.begin_commit(now(0));
    e.committed(now(0));
    for o in 1..5_000i64 {
        let id = if o / 10 % 2 == 0 || !dups { format!("fresh{o}") } else { "seen".into() };
        e.admit(0, 0, 1, o, None, id.as_bytes(), 0, 1, o);
    }
    let mut longest = 0;
    let mut odd = std::collections::VecDeque::new();
    loop {
        while let Some(w) = e.next(now(0)) {
            if w.place.offset % 2 == 1 && w.place.offset > 1 {
                odd.push_back(w)
            }
        }
        let Some(w) = odd.pop_front() else { break };
        e.finish(w.ticket, Fate::Forwarded(0), now(0));
        while e.pop_released().is_some() {}
        for p in e.begin_commit(now(1)).positions {
            longest = longest.max(p.metadata.len());
        }
        e.committed(now(1));
    }
    longest
}

/// Duplicates never took room, yet their end gives room back.
#[test]
fn metadata_stays_within_its_bound() {
    assert!(longest_metadata(false) <= 200, "control");
    assert!(longest_metadata(true) <= 200);
}

/// All starts are in use and a retry is due: nothing can be done before an answer, so nothing is due.
#[test]
fn no_deadline_in_the_past_while_nothing_can_start() {
    let mut e = engine(EngineConfig { concurrency: 1, max_metadata: 4000, ..config() }, at(0));
    e.admit(0, 0, 1, 0, None, b"a", 0, 1, 0);
    e.admit(0, 0, 1, 1, None, b"b", 0, 1, 1);
    let w = e.next(now(0)).unwrap();
    e.finish(w.ticket, Fate::Retry { record: w.record, after_ms: None }, now(0));
    assert!(e.next(now(1)).is_some(), "b runs, and takes long");
    assert!(e.next(now(1_000)).is_none() && !e.has_ready());
    assert!(
        e.next_deadline().is_none_or(|d| d > 1_000),
        "due {:?} at 1000: a host that waits for it spins",
        e.next_deadline()
    );
}

/// The host's own loop (poll_timeout and idle as in replica/mod.rs), with a marker seen after the thread was busy.
#[test]
fn a_gap_is_committed_in_the_hosts_loop() {
    let mut e = engine(config(), at(0));
    e.next(now(0));
    let mut clock = 300; // a slow start() or commit between
    e.advance(0, 0, 1, 5);
    for turn in 0..10_000 {
        assert!(e.next(now(clock)).is_none());
        let timeout =
            if e.has_ready() { 0 } else { e.next_deadline().map_or(100, |d| d.saturating_sub(clock).min(100)) };
        let timeout = if e.has_uncommitted() { timeout.clamp(1, 2) } else { timeout };
        clock += timeout.max(u64::from(turn % 100 == 0));
        if e.commit_due(now(clock), timeout > 0) {
            return;
        }
    }
    panic!("after 10000 turns without a wait: not committed, idle {}", e.is_idle());
}

/// The frontier record was compacted away; all behind it was finished by the owner before.
#[test]
fn a_restored_gap_is_committed() {
    // offset 10 unfinished, 11..15 finished
    let mut e = engine(config(), at(10));
    for o in 10..15 {
        e.admit(0, 0, 1, o, None, &[o as u8], 0, 1, o);
    }
    while let Some(w) = e.next(now(0)) {
        if w.place.offset != 10 {
            e.finish(w.ticket, Fate::Forwarded(0), now(0));
        }
    }
    while e.pop_released().is_some() {}
    let p = e.begin_commit(now(0)).positions.remove(0);
    assert_eq!(p.offset, 10);
    let mut e = engine(config(), Start { offset: p.offset, metadata: p.metadata });
    for o in 11..15 {
        assert!(!e.admit(0, 0, 1, o, None, &[o as u8], 0, 1, o));
    }
    e.advance(0, 0, 1, 15);
    assert!((0..100).any(|n| e.commit_due(now(1_000 * n), true)), "position 15 is never committed: until-idle hangs");
}

/// A slot that had nothing to do writes nothing to its changelog.
#[test]
fn a_quiet_slot_writes_no_state() {
    let mut e = engine(config(), at(0));
    let r = e.restore();
    e.assign(1, 1, &[at(0)], r, now(0)).unwrap();
    for slot in 0..2 {
        e.admit(slot, 0, 1, 0, None, b"x", 5, 1, 0);
    }
    while let Some(w) = e.next(now(0)) {
        e.finish(w.ticket, Fate::Forwarded(0), now(0));
    }
    while e.pop_released().is_some() {}
    e.begin_commit(now(0));
    e.committed(now(0));
    e.admit(0, 0, 1, 1, None, b"y", 6, 1, 1);
    let w = e.next(now(1)).unwrap();
    e.finish(w.ticket, Fate::Forwarded(0), now(1));
    e.pop_released();
    let state: Vec<u32> = e.begin_commit(now(1)).state.iter().map(|s| s.0).collect();
    assert_eq!(state, [0]);
}

/// R2: outputs that were never handed to the transaction must not be covered by its positions.
#[test]
fn r2_is_asserted() {
    let mut e = engine(config(), at(0));
    e.admit(0, 0, 1, 0, None, b"x", 5, 1, 0);
    let w = e.next(now(0)).unwrap();
    e.finish(w.ticket, Fate::Forwarded(0), now(0));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        e.begin_commit(now(0));
    }))
    .is_err();
    assert!(caught || e.counters().violations.of(Rule::R2) > 0, "a commit without its outputs goes unnoticed");
}

/// R6: a partition went away with outputs in the open transaction; committing it must not go unnoticed.
#[test]
fn r6_is_asserted() {
    let mut e = engine(config(), at(0));
    e.admit(0, 0, 1, 0, None, b"x", 5, 1, 0);
    let w = e.next(now(0)).unwrap();
    e.finish(w.ticket, Fate::Forwarded(0), now(0));
    e.pop_released();
    e.remove(&[0]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        e.begin_commit(now(0));
        e.committed(now(0));
    }))
    .is_err();
    assert!(caught || e.counters().violations.total() > 0, "counted as committed: {:?}", e.counters());
}

/// Whether the engine breaks a rule in `doing`: a debug build ends, a release build counts.
fn breaks(rule: Rule, e: &mut Engine<i64, i64>, doing: impl FnOnce(&mut Engine<i64, i64>)) -> bool {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| doing(e)));
    let named = |panic: &Box<dyn std::any::Any + Send>| {
        panic.downcast_ref::<String>().is_some_and(|s| s.contains(&format!("rule {rule:?} is broken")))
    };
    caught.is_err_and(|panic| named(&panic)) || e.counters().violations.of(rule) > 0
}

/// R5: a host that admits more than the budget it was told does not go unnoticed, by records or by bytes.
#[test]
fn r5_is_asserted() {
    let small = EngineConfig { budget_records: 2, budget_bytes: 10, ..config() };
    let admit = |offset: i64, size| {
        move |e: &mut Engine<i64, i64>| {
            e.admit(0, 0, 1, offset, None, &[offset as u8], 0, size, offset);
        }
    };
    let mut e = engine(small.clone(), at(0));
    assert!(!breaks(Rule::R5, &mut e, admit(0, 9)) && !breaks(Rule::R5, &mut e, admit(1, 100)));
    assert_eq!(e.budget(), (0, 0));
    assert!(breaks(Rule::R5, &mut e, admit(2, 0)), "a third record of two");
    let mut e = engine(small, at(0));
    assert!(!breaks(Rule::R5, &mut e, admit(0, 10)));
    assert!(breaks(Rule::R5, &mut e, admit(1, 1)), "a record when the bytes are used up");
}

/// Each record has a time bucket of its own, and nobody asks whether a commit is due before `next` gives nothing more:
/// numbers of buckets would come round and ids be found under another's.
#[test]
fn no_more_is_handed_out_when_time_buckets_are_crowded() {
    let dedup = Some(DedupConfig { window_ms: 24, max_ids: 1 << 20 });
    let c = EngineConfig { dedup, budget_records: 1 << 20, commit_records: 1 << 20, max_metadata: 4_000, ..config() };
    let mut e = engine(c, at(0));
    for o in 0..100_000i64 {
        e.admit(0, 0, 1, o, None, &o.to_be_bytes(), o, 1, o);
    }
    let (mut ended, mut commits) = (0, 0);
    while ended < 100_000 {
        let mut since = 0;
        while let Some(w) = e.next(now(0)) {
            e.finish(w.ticket, Fate::Forwarded(0), now(0));
            since += 1;
        }
        assert!((1..1 << 16).contains(&since), "{since} records with a bucket each in one transaction");
        ended += since;
        if ended < 100_000 {
            assert!(e.commit_due(now(0), false), "nothing more is handed out, so a commit must be due");
            assert!(!e.has_ready(), "a host would ask again and again");
        }
        while e.pop_released().is_some() {}
        e.begin_commit(now(0));
        e.committed(now(0));
        commits += 1;
    }
    assert_eq!(commits, 2);
    e.admit(0, 0, 1, 100_000, None, &99_999i64.to_be_bytes(), 100_000, 1, 0);
    assert!(e.next(now(0)).is_none() && e.has_uncommitted(), "a repeat is known after that");
}

/// An abort told the host to read a slot again that is being handed over. What it reads is not taken, and the next
/// owner reads it from the same position.
#[test]
fn an_abort_reads_nothing_again_of_a_slot_that_is_handed_over() {
    let mut e = engine(config(), at(3));
    let r = e.restore();
    e.assign(1, 1, &[at(7)], r, now(0)).unwrap();
    for (slot, offset) in [(0, 3), (1, 7)] {
        e.admit(slot, 0, 1, offset, None, &[slot as u8], 0, 1, 0);
    }
    let started: Vec<Ticket> = std::iter::from_fn(|| e.next(now(0))).map(|w| w.ticket).collect();
    e.revoke(&[1]);
    assert!(!e.drained(&[1]));
    let (positions, cancelled) = e.aborted(now(0));
    assert_eq!(cancelled, started);
    assert_eq!(positions.iter().map(|p| (p.slot, p.offset)).collect::<Vec<_>>(), [(0, 3)]);
    assert!(e.drained(&[1]), "nothing of it is left to wait for");
    assert!(!e.admit(1, 0, 1, 7, None, b"1", 0, 1, 0) && e.admit(0, 0, 1, 3, None, b"0", 0, 1, 0));
}

/// A refusal that comes in after its slot was lost was kept for good, and met the record when the slot came back.
#[test]
fn poison_of_a_lost_slot_is_forgotten() {
    let mut e = engine(config(), at(0));
    e.remove(&[0]);
    e.poison(Place { slot: 0, input: 0, offset: 0 }, "too large".to_owned());
    let r = e.restore();
    e.assign(0, 2, &[at(0)], r, now(0)).unwrap();
    e.admit(0, 0, 2, 0, None, b"x", 0, 1, 0);
    assert_eq!(e.next(now(0)).unwrap().task, Task::Run);
}

/// A position that moves over markers, at a log that always has more of them: the host wakes at its time, and not all the
/// time. Goes red when the gap stays the deadline after it has passed without a quiet poll.
#[test]
fn a_position_that_moved_is_no_reason_to_poll_all_the_time() {
    let mut e = engine(config(), at(0));
    let (mut ms, mut polls) = (0, 0);
    loop {
        assert!(e.next(now(ms)).is_none());
        if e.commit_due(now(ms), false) {
            break;
        }
        let wait = e.next_deadline().map_or(100, |at| at.saturating_sub(ms).min(100));
        polls += 1;
        assert!(wait > 0 && polls < 100, "a poll without a wait at {ms} ms");
        // Each brings something, so none is quiet.
        ms += wait.min(30);
        e.advance(0, 0, 1, ms as i64);
    }
    assert!((400..=430).contains(&ms), "{ms}");
}
