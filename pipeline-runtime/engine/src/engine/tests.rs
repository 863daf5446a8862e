//! What shows only from inside.

use super::*;
use crate::config::{DedupConfig, Now, Order};
use crate::counters::Rule;
use crate::dedup;
use crate::work::{Fate, Finished, Work};

const NOW: Now = Now { mono_ms: 0, wall_ms: 0 };

fn engine(max_metadata: usize) -> Engine<(), ()> {
    let config = EngineConfig {
        order: Order::None,
        concurrency: 10_000,
        attempts: 1,
        backoff_min_ms: 1,
        backoff_max_ms: 1,
        dedup: Some(DedupConfig { window_ms: 1 << 40, max_ids: 100_000 }),
        commit_every_ms: 100,
        commit_records: 100_000,
        budget_records: 10_000,
        budget_bytes: 1 << 20,
        max_metadata,
        inputs: 1,
        retry_input: None,
        park: None,
        hash_key: (1, 2),
        inline: false,
        hold: false,
    };
    let mut engine = Engine::new(config, 1);
    let restored = engine.restore();
    engine.assign(0, 1, &[Start::default()], restored, NOW).unwrap();
    engine
}

/// Each end put all stalled records back to be looked at: thousands of looks for one that may start.
#[test]
fn an_end_wakes_only_those_that_may_start() {
    let mut e = engine(40);
    for offset in 0..5_000i64 {
        e.admit(0, 0, 1, offset, None, &offset.to_be_bytes(), 0, 1, ());
    }
    let started: Vec<Work<()>> = std::iter::from_fn(|| e.next(NOW)).collect();
    assert!((2..40).contains(&started.len()) && started[0].place.offset == 0, "{}", started.len());
    for work in started.iter().skip(1).step_by(2) {
        e.finish(work.ticket, Fate::Forwarded(()), NOW);
        assert!(e.ready.len() < 40, "{} woken at once", e.ready.len());
        while e.next(NOW).is_some() {}
    }
    e.finish(started[0].ticket, Fate::Forwarded(()), NOW);
    assert!((1..40).contains(&e.ready.len()), "the frontier has moved: someone may start, {}", e.ready.len());
}

/// All that stalled runs in the end, the lowest offset first, whichever record ends.
#[test]
fn what_stalled_is_not_forgotten() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut e = engine([0, 20, 40][rng.usize(..3)]);
        for offset in 0..500i64 {
            e.admit(0, 0, 1, offset, None, &rng.u16(..400).to_be_bytes(), 0, 1, ());
        }
        let mut running = Vec::new();
        loop {
            running.extend(std::iter::from_fn(|| e.next(NOW)).map(|w| w.ticket));
            if running.is_empty() {
                break;
            }
            let ticket = running.swap_remove(rng.usize(..running.len()));
            assert_eq!(e.finish(ticket, Fate::Forwarded(()), NOW), Finished::Taken);
        }
        assert_eq!((e.slab.len(), e.slots[&0].trackers[0].frontier()), (0, 500), "seed {seed}");
    }
}

/// R7: a second record of an id that passed within the window must not pass unnoticed.
#[test]
fn r7_is_asserted() {
    let mut e = engine(4_000);
    e.admit(0, 0, 1, 5, None, b"x", 0, 1, ());
    let work = e.next(NOW).unwrap();
    let id = dedup::hash_id((1, 2), b"x");
    e.slots.get_mut(&0).unwrap().dedup.as_mut().unwrap().mark(id, 0, 4);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        e.finish(work.ticket, Fate::Forwarded(()), NOW);
    }));
    assert!(caught.is_err() || e.counters.violations.of(Rule::R7) > 0, "a duplicate was emitted, and nobody says so");
}
