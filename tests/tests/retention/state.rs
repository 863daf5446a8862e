//! The dedup changelog: it stays short, and what it says after a restart is what was known before.
//!
//! Tried by hand, each turns one of these red: no trimming when a slot is restored; half the window taken for all of it.

use millstream_log::End;
use millstream_tests::process::wait_until;

use crate::bench::{Bench, HOUR, PARTITIONS, PATIENCE, now, numbers};
use crate::on_both_logs;

on_both_logs!(
    the_changelog_is_as_long_as_its_window,
    a_run_that_goes_on_trims,
    what_is_within_the_window_is_never_trimmed
);

/// Ids of a round of records.
const N: usize = 100;
const SECOND: i64 = 1_000;
/// The window.
const WINDOW: i64 = 120 * SECOND;

fn yaml(name: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: {PARTITIONS} }} }}\n\
         source: {{ topic: {name}.raw, format: json, fields: {{ n: integer }}, id: .n }}\n\
         stages:\n  - {{ name: work, filter: where, with: .n >= 0, dedup: {{ window: 2m }} }}\n"
    )
}

/// Ids of a round, written at a time of the records, and worked off by a process of their own: (duplicates, forwarded).
fn round(bench: &Bench, run: &str, ids: usize, time: i64) -> (u64, u64) {
    bench.write(&format!("{}.raw", bench.name), numbers(ids * N..(ids + 1) * N, time));
    let totals = bench.until_idle(run, &yaml(&bench.name), 0);
    let count = |what: &str| totals[what].as_u64().expect("a count");
    (count("duplicates"), count("forwarded"))
}

const NEW: (u64, u64) = (0, N as u64);
const AGAIN: (u64, u64) = (N as u64, 0);

fn the_changelog_is_as_long_as_its_window(bench: &Bench) {
    bench.create(&format!("{}.raw", bench.name));
    let state = format!("{}.work.state", bench.name);
    let begin = now() - 24 * HOUR;
    let mut highs: Vec<Vec<i64>> = Vec::new();
    for number in 0..5 {
        let time = begin + number as i64 * 2 * WINDOW;
        assert_eq!(round(bench, &format!("round-{number}"), number, time), NEW);
        highs.push(bench.ends(&state, End::High));
        // Begins with what the run before left: the round before that is of no use by then.
        if let Some(before) = number.checked_sub(2) {
            let low = bench.ends(&state, End::Low);
            // On Kafka a marker ends each transaction; it may stay.
            let trimmed = low.iter().zip(&highs[before]).all(|(low, high)| *low >= high - 1);
            assert!(trimmed, "round {number}: begins at {low:?}, ended at {highs:?} after each round");
        }
    }
    let last = begin + 4 * 2 * WINDOW;
    assert_eq!(round(bench, "within", 4, last + WINDOW / 2), AGAIN, "a repeat within the window");
    assert_eq!(round(bench, "after", 2, last + WINDOW / 2), NEW, "a repeat after the window");
    assert_eq!(round(bench, "within-again", 2, last + WINDOW), AGAIN, "and that counts as seen");
}

/// It looks every five seconds, and cuts what had been written by the look before: rounds go on until it has cut twice.
fn a_run_that_goes_on_trims(bench: &Bench) {
    let (name, begin) = (&bench.name, now() - 30 * 24 * HOUR);
    let (raw, state) = (format!("{name}.raw"), format!("{name}.work.state"));
    bench.create(&raw);
    let mut run = bench.site.run("run", &bench.site.write("pipeline.yaml", &yaml(name)));
    let (mut number, mut low) = (0, vec![0; PARTITIONS as usize]);
    for _ in 0..2 {
        let further = || {
            bench.write(&raw, numbers(number * N..(number + 1) * N, begin + number as i64 * 2 * WINDOW));
            number += 1;
            bench.comes(&format!("{name}.work"), number * N);
            bench.ends(&state, End::Low).iter().zip(&low).all(|(now, then)| now > then)
        };
        assert!(wait_until(PATIENCE, further), "{state} grows and grows: {:?}", bench.ends(&state, End::High));
        low = bench.ends(&state, End::Low);
    }
    run.signal("TERM");
    run.succeed(PATIENCE);
    let last = begin + (number as i64 - 1) * 2 * WINDOW;
    assert_eq!(round(bench, "within", number - 1, last + WINDOW / 2), AGAIN);
    assert_eq!(round(bench, "after", 0, last + WINDOW / 2), NEW);
}

/// Each process is begun with a changelog that the one before had the chance to cut too short.
fn what_is_within_the_window_is_never_trimmed(bench: &Bench) {
    bench.create(&format!("{}.raw", bench.name));
    let begin = now() - 24 * HOUR;
    assert_eq!(round(bench, "old", 0, begin - 10 * WINDOW), NEW);
    assert_eq!(round(bench, "a", 1, begin), NEW);
    assert_eq!(round(bench, "b", 2, begin + 100 * SECOND), NEW);
    assert_eq!(round(bench, "c", 3, begin + 110 * SECOND), NEW);
    assert_eq!(round(bench, "a-again", 1, begin + 115 * SECOND), AGAIN);
    assert_eq!(round(bench, "b-again", 2, begin + 118 * SECOND), AGAIN);
    assert_eq!(round(bench, "old-again", 0, begin + 118 * SECOND), NEW);
}
