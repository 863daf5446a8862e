//! Topics that Millstream makes: records go when every stage has read them and they were written long enough ago.
//!
//! Tried by hand, each turns one of these red: topics made with the broker's own retention; a keeper that does not ask
//! for the readers' positions; one that makes its first note only after its first wait; one that takes every topic of a
//! `to:` for its own; one that passes over the version of a note.

use std::collections::HashSet;
use std::time::Duration;

use millstream_log::{End, NewTopic, Retention};
use millstream_tests::process::{Process, wait_until};
use serde_json::{Value, json};

use crate::bench::{Bench, Given, HOUR, PATIENCE, YEAR, new_topic, now, numbers};
use crate::on_both_logs;

on_both_logs!(
    records_of_last_year_stay,
    what_every_group_has_read_goes_and_nothing_before,
    notes_outlive_the_process,
    notes_of_a_later_version_are_refused,
    two_processes_keep_one_pipeline,
    a_topic_named_by_to_is_freed_if_it_was_made_here,
);

const N: usize = 300;

/// `<name>.raw` through the given stages.
fn pipeline(name: &str, retention: &str, stages: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 2, retention: {retention} }} }}\n\
         source: {{ topic: {name}.raw, format: json, fields: {{ n: integer }} }}\nstages:\n{stages}"
    )
}

const WORK: &str = "  - { name: work, filter: map, with: .double = .n * 2 }\n";

fn records_of_last_year_stay(bench: &Bench) {
    let (name, old) = (&bench.name, now() - YEAR);
    bench.create(&format!("{name}.raw"));
    bench.write(&format!("{name}.raw"), numbers(0..N, old));
    let yaml = pipeline(name, "1h", WORK);
    bench.until_idle("first", &yaml, 0);
    // Something that the log does take, written later: when it is gone, the log has looked at all topics.
    let bait = NewTopic {
        settings: vec![("retention.ms".to_owned(), HOUR.to_string())],
        // Settings are Kafka's.
        ..new_topic(
            &format!("{name}.bait"),
            if name == "kept" { Retention::Written(Duration::ZERO) } else { Retention::Kept },
        )
    };
    bench.log().create(std::slice::from_ref(&bait)).expect("the topic can be made");
    bench.write(&bait.name, numbers(0..10, old));
    let _owner = bench.log();
    bench.goes(&bait.name);
    bench.until_idle("second", &yaml, 0);
    for topic in ["work", "work.state"] {
        bench.is_whole(&format!("{name}.{topic}"));
    }
    let records = bench.site.read(&format!("{name}.work"));
    assert_eq!(records.len(), N);
    assert!(records.iter().all(|r| r.millis() == Some(old)));
}

/// `slow` stops at its bound of ids; `quick` goes on, and what it writes goes as soon as it may: from then on only the
/// slow reader holds the records of `first`.
fn what_every_group_has_read_goes_and_nothing_before(bench: &Bench) {
    let name = &bench.name;
    let first = format!("{name}.first");
    bench.create(&format!("{name}.raw"));
    bench.write(&format!("{name}.raw"), numbers(0..N, now() - YEAR));
    let stages = |bound: &str| {
        pipeline(
            name,
            "2s",
            &format!(
                "  - {{ name: first, filter: map, with: .double = .n * 2 }}\n\
                 \x20 - {{ name: quick, from: first, filter: where, with: .n >= 0 }}\n\
                 \x20 - {{ name: slow, from: first, filter: where, with: .n >= 0, to: {{ retention: forever }}{bound} }}\n"
            ),
        )
    };
    let file = bench.site.write("pipeline.yaml", &stages(", dedup: { max_ids: 5 }"));
    let mut run = bench.site.run("run", &file);
    bench.goes(&format!("{name}.quick"));
    let (low, read, high) =
        (bench.ends(&first, End::Low), bench.committed(&format!("{name}.slow"), &first), bench.ends(&first, End::High));
    assert!(read.iter().zip(&high).any(|(read, high)| read < high), "the slow reader is through: {read:?} of {high:?}");
    assert!(low.iter().zip(&read).all(|(low, read)| low <= read), "deleted up to {low:?}, read up to {read:?}");
    assert!(run.stderr().contains("max_ids"), "it was to stop: {}", run.stderr());
    run.kill();
    let mut run = bench.site.run("again", &bench.site.write("pipeline.yaml", &stages("")));
    bench.goes(&first);
    bench.comes(&format!("{name}.slow"), N);
    run.signal("TERM");
    run.succeed(PATIENCE);
}

/// Notes of two hours ago free records that are kept for one, in the first moment of a process that lives for less.
fn notes_outlive_the_process(bench: &Bench) {
    let name = &bench.name;
    let (topic, key) = (format!("{name}.work"), format!("retention/{name}.work"));
    bench.create(&format!("{name}.raw"));
    bench.write(&format!("{name}.raw"), numbers(0..N, now() - YEAR));
    let yaml = pipeline(name, "1h", WORK);
    bench.until_idle("first", &yaml, 0);
    bench.is_whole(&topic);
    let mut notes = bench.control(&key).expect("a note");
    assert_eq!(notes["v"], 1);
    let high = bench.ends(&topic, End::High);
    for (partition, high) in notes["partitions"].as_array_mut().expect("partitions").iter_mut().zip(high) {
        let at = partition[0][0].as_i64().expect("a time");
        assert!((at - now()).abs() < HOUR, "noted at {at}");
        *partition = json!([[at - 2 * HOUR, high]]);
    }
    write_control(bench, &key, &notes);
    bench.until_idle("second", &yaml, 0);
    bench.goes(&topic);
}

fn notes_of_a_later_version_are_refused(bench: &Bench) {
    let name = &bench.name;
    bench.create(&format!("{name}.raw"));
    bench.write(&format!("{name}.raw"), numbers(0..N, now()));
    let yaml = pipeline(name, "1h", WORK);
    bench.until_idle("first", &yaml, 0);
    write_control(bench, &format!("retention/{name}.work"), &json!({"v": 2, "marks": "of a later form"}));
    let file = bench.site.write("pipeline.yaml", &yaml);
    let mut run = Process::start(bench.site.command(["run", "--until-idle"]).arg(file), bench.site.folder(), "second");
    assert_eq!(run.wait(PATIENCE).code(), Some(1), "{}", run.stderr());
    let said = run.stderr();
    assert!(said.contains("has version 2") && said.contains("newer_version"), "{said}");
    bench.is_whole(&format!("{name}.work"));
}

fn write_control(bench: &Bench, key: &str, value: &Value) {
    let record = Given { key: key.to_owned(), value: value.to_string(), timestamp: now() };
    bench.write(&format!("{}.control", bench.name), [record]);
}

fn two_processes_keep_one_pipeline(bench: &Bench) {
    let name = &bench.name;
    let raw = format!("{name}.raw");
    bench.create(&raw);
    let stages = format!("{WORK}  - {{ name: last, filter: where, with: .n >= 0, to: {{ retention: forever }} }}\n");
    let file = bench.site.write("pipeline.yaml", &pipeline(name, "1s", &stages));
    let mut runs = ["one", "two"].map(|run| bench.site.run(run, &file));
    for round in 0..5 {
        bench.write(&raw, numbers(round * N..(round + 1) * N, now() - YEAR));
        bench.comes(&format!("{name}.last"), (round + 1) * N);
    }
    bench.goes(&format!("{name}.work"));
    for run in &mut runs {
        assert!(run.ended().is_none(), "{}", run.stderr());
        assert!(!run.stderr().contains("keeper"), "{}", run.stderr());
    }
    for run in &mut runs {
        run.signal("TERM");
        run.succeed(PATIENCE);
    }
    let records = bench.site.read(&format!("{name}.last"));
    let seen: HashSet<i64> = records.iter().filter_map(|r| r.value["n"].as_i64()).collect();
    assert_eq!((records.len(), seen.len()), (5 * N, 5 * N));
}

fn a_topic_named_by_to_is_freed_if_it_was_made_here(bench: &Bench) {
    let name = &bench.name;
    let (foreign, made) = (format!("{name}-a.foreign"), format!("{name}-b.made"));
    bench.create(&format!("{name}.raw"));
    bench.create(&foreign);
    bench.write(&format!("{name}.raw"), numbers(0..N, now() - YEAR));
    let to = |topic: &str| format!("{{ to: {{ topic: {topic}, retention: 2s }} }}");
    let stages = format!(
        "  - name: split\n    filter: route\n    with: {{ even: 'mod(.n, 2) == 0', odd: true }}\n\
         \x20   outputs: {{ even: {}, odd: {} }}\n",
        to(&foreign),
        to(&made)
    );
    let yaml = pipeline(name, "forever", &stages);
    // The second one knows from the control topic what the first one made.
    bench.until_idle("first", &yaml, 0);
    let mut run = bench.site.run("second", &bench.site.write("pipeline.yaml", &yaml));
    bench.goes(&made);
    bench.is_whole(&foreign);
    assert_eq!(bench.site.read(&foreign).len(), N / 2);
    run.signal("TERM");
    run.succeed(PATIENCE);
}

/// Files of the embedded log are 64 MiB: the one that is written stays, those before it go.
#[test]
fn the_disk_is_freed() {
    const FILE: u64 = 64 << 20;
    let bench = Bench::embedded();
    let padding = "x".repeat(16 << 10);
    let rows: String = (0..10_000).map(|n| format!("{n},{padding}\n")).collect();
    bench.site.write("rows.csv", &format!("n,padding\n{rows}"));
    let yaml = |retention: &str| {
        format!(
            "apiVersion: millstream/v1\npipeline: kept\ndefaults: {{ topics: {{ partitions: 2, retention: {retention} }} }}\n\
             source: {{ file: rows.csv, fields: {{ n: integer }} }}\n\
             stages:\n  - {{ name: few, filter: where, with: .n < 10 }}\n"
        )
    };
    bench.until_idle("fill", &yaml("1h"), 0);
    let used = || -> u64 {
        let files = std::fs::read_dir(bench.site.folder().join("log")).expect("the log's folder");
        files.flatten().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum()
    };
    assert!(used() > 2 * FILE, "{} bytes", used());
    let mut run = bench.site.run("free", &bench.site.write("pipeline.yaml", &yaml("1s")));
    assert!(wait_until(PATIENCE, || used() < FILE + (1 << 20)), "{} bytes are still used", used());
    assert_eq!(bench.site.read("kept.in").len(), 0);
    run.signal("TERM");
    run.succeed(PATIENCE);
}
