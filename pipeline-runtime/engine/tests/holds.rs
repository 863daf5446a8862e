//! The hard cases of keys that are held, each by hand. `simulation` meets them by chance; here each is told apart.

use millstream_engine::*;

fn config() -> EngineConfig {
    EngineConfig {
        order: Order::Key,
        concurrency: 64,
        attempts: 5,
        backoff_min_ms: 10,
        backoff_max_ms: 10,
        dedup: None,
        commit_every_ms: 100,
        commit_records: 10_000,
        budget_records: 10_000,
        budget_bytes: 1 << 30,
        max_metadata: 4_000,
        inputs: 2,
        retry_input: Some(1),
        park: Some(Park { attempts: 1, time_ms: 1_000 }),
        hash_key: (1, 2),
        inline: false,
        hold: true,
    }
}

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_000_000 + ms as i64 }
}

type Tested = Engine<i64, ()>;

fn engine() -> Tested {
    let mut e = Engine::new(config(), 1);
    let restored = e.restore();
    e.assign(0, 1, &[Start::default(), Start::default()], restored, now(0)).unwrap();
    e
}

/// A live record of the one key.
fn admit(e: &mut Tested, offset: i64) {
    assert!(e.admit(0, 0, 1, offset, Some(b"k"), b"", 0, 1, offset));
}

/// A record of `.retry`. `sent`: of a mark or the end of a hold.
fn admit_copy(e: &mut Tested, offset: i64, origin_offset: i64, kind: CopyKind, sent: u32) -> bool {
    let copy = Copy {
        origin_input: 0,
        origin_offset,
        key: Some(b"k"),
        id: b"",
        timestamp: 0,
        size: 1,
        attempts: sent,
        delay_ms: 0,
        kind,
        forced: false,
    };
    e.admit_copy(0, 1, offset, copy, origin_offset)
}

fn next(e: &mut Tested) -> Option<(i64, Task, Ticket)> {
    e.next(now(0)).map(|work| (work.origin.offset, work.task, work.ticket))
}

/// What runs next is this record.
#[track_caller]
fn runs(e: &mut Tested, origin: i64) -> Ticket {
    let (offset, task, ticket) = next(e).expect("something may run");
    assert_eq!((offset, task), (origin, Task::Run));
    ticket
}

/// What is next is this record, and it goes behind others of its key.
#[track_caller]
fn goes_behind(e: &mut Tested, origin: i64) {
    let (offset, task, ticket) = next(e).expect("something is to be set aside");
    assert_eq!((offset, task), (origin, Task::Park(Reason::Behind)));
    assert_eq!(e.finish(ticket, Fate::Parked(()), now(0)), Finished::Taken);
}

fn hold(e: &mut Tested, ticket: Ticket) {
    assert!(e.may_hold(ticket));
    assert_eq!(e.finish(ticket, Fate::Held(()), now(0)), Finished::Taken);
}

fn forward(e: &mut Tested, ticket: Ticket) {
    assert_eq!(e.finish(ticket, Fate::Forwarded(()), now(0)), Finished::Taken);
}

fn commit(e: &mut Tested) {
    while e.pop_released().is_some() {}
    e.begin_commit(now(0));
    e.committed(now(0));
    assert!(e.counters().balanced());
    assert_eq!(e.counters().violations.total(), 0);
}

/// R3: a letter that was released and is sent back later meets a record of its key that is under way. The letter may fail
/// again and hold the key, so it waits for that one; those that have not begun wait for the letter.
#[test]
fn a_letter_that_was_released_runs_beside_no_other_record_of_its_key() {
    let mut e = engine();
    admit(&mut e, 0);
    let letter = runs(&mut e, 0);
    hold(&mut e, letter);
    commit(&mut e);
    assert!(!admit_copy(&mut e, 0, 0, CopyKind::Hold, 0) && e.held_keys() == 1);
    assert!(!admit_copy(&mut e, 1, 0, CopyKind::Free, 0) && e.held_keys() == 0);
    admit(&mut e, 1);
    let under_way = runs(&mut e, 1);
    assert!(admit_copy(&mut e, 2, 0, CopyKind::First, 0));
    admit(&mut e, 2);
    assert!(next(&mut e).is_none(), "the letter waits for what is under way, and the rest behind it");
    forward(&mut e, under_way);
    let again = runs(&mut e, 0);
    goes_behind(&mut e, 2);
    assert!(next(&mut e).is_none());
    hold(&mut e, again);
    commit(&mut e);
    assert_eq!((e.held_keys(), e.waiting_len()), (1, (0, 1)));
}

/// The same while the other record waits for its next attempt.
#[test]
fn nor_beside_one_that_is_tried_again() {
    let mut e = Engine::new(EngineConfig { park: None, ..config() }, 1);
    let restored = e.restore();
    e.assign(0, 1, &[Start::default(), Start::default()], restored, now(0)).unwrap();
    admit(&mut e, 1);
    let ticket = runs(&mut e, 1);
    assert_eq!(e.finish(ticket, Fate::Retry { record: 1, after_ms: None }, now(0)), Finished::Taken);
    assert!(admit_copy(&mut e, 0, 0, CopyKind::First, 0));
    assert!(next(&mut e).is_none());
    let work = e.next(now(1_000)).expect("its next attempt");
    assert_eq!(work.origin.offset, 1);
    assert_eq!(e.finish(work.ticket, Fate::Forwarded(()), now(1_000)), Finished::Taken);
    let letter = runs(&mut e, 0);
    forward(&mut e, letter);
    admit(&mut e, 2);
    let free = runs(&mut e, 2);
    forward(&mut e, free);
    commit(&mut e);
}

/// R3, at least once: a copy was written, and the commit that was to say so failed. It is read before the copy of an
/// earlier record of its key, as one that was moved, and must not run before that.
#[test]
fn a_copy_whose_commit_failed_keeps_its_turn() {
    let mut e = engine();
    admit(&mut e, 0);
    let work = e.next(now(0)).expect("the first record");
    let answer = e.finish(work.ticket, Fate::Retry { record: 0, after_ms: None }, now(0));
    assert!(matches!(answer, Finished::Park { .. }), "{answer:?}");
    assert_eq!(e.finish(work.ticket, Fate::Parked(()), now(0)), Finished::Taken);
    commit(&mut e);
    admit(&mut e, 1);
    goes_behind(&mut e, 1);
    while e.pop_released().is_some() {}
    e.begin_commit(now(0));
    e.aborted(now(0));
    assert!(!admit_copy(&mut e, 4, 1, CopyKind::Parked, 0), "it is not its turn");
    assert!(admit_copy(&mut e, 5, 0, CopyKind::Parked, 0));
    let first = runs(&mut e, 0);
    assert!(next(&mut e).is_none());
    forward(&mut e, first);
    commit(&mut e);
    assert_eq!(e.rereads(now(0)), [0]);
    assert!(admit_copy(&mut e, 4, 1, CopyKind::Parked, 0));
    let second = runs(&mut e, 1);
    forward(&mut e, second);
}

/// Two people decide: one sends a letter back, it fails and holds its key again; what the other says of the first letter
/// comes only then. It is not about the second one.
#[test]
fn a_late_word_ends_no_newer_hold() {
    let mut e = engine();
    admit(&mut e, 0);
    let ticket = runs(&mut e, 0);
    hold(&mut e, ticket);
    commit(&mut e);
    assert!(!admit_copy(&mut e, 0, 0, CopyKind::Hold, 0));
    assert!(admit_copy(&mut e, 1, 0, CopyKind::First, 0));
    let ticket = runs(&mut e, 0);
    hold(&mut e, ticket);
    commit(&mut e);
    assert!(!admit_copy(&mut e, 2, 0, CopyKind::Free, 0), "nothing to run");
    assert!(!admit_copy(&mut e, 3, 0, CopyKind::Hold, 1));
    commit(&mut e);
    assert_eq!(e.held_keys(), 1);
    // Read again, now that the mark is known: it is about the letter before.
    if e.rereads(now(0)) == [0] {
        admit_copy(&mut e, 2, 0, CopyKind::Free, 0);
        commit(&mut e);
    }
    assert_eq!(e.held_keys(), 1);
    assert!(!admit_copy(&mut e, 4, 0, CopyKind::Free, 1));
    commit(&mut e);
    assert_eq!((e.held_keys(), e.retry_position(0).map(|at| at.offset)), (0, Some(5)));
}

/// A letter that no key waited for holds none when it fails again: later records have passed it.
#[test]
fn a_letter_of_another_time_holds_nothing() {
    let mut e = engine();
    assert!(admit_copy(&mut e, 0, 0, CopyKind::SentBack, 0));
    let letter = runs(&mut e, 0);
    assert!(!e.may_hold(letter));
}
