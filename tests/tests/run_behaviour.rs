//! How `millstream run` begins and ends, and what it does with sources that are interrupted: what a person at a terminal
//! or an orchestrator relies on.

use std::collections::HashSet;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::{Seen, root};
use millstream_tests::process::{LineCount, Process, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

const SESSION: Duration = Duration::from_secs(6);
/// For what takes a second or two on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A pipeline of one stage over a topic.
fn one_stage(name: &str, options: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, fields: {{ n: integer }} }}\n\
         stages:\n  - name: work\n    filter: map\n    with: .double = .n * 2\n{options}"
    )
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{{\"n\":{n},\"key\":\"k{}\"}}", n % 50)).collect()
}

const KEYED: [&str; 5] = ["--create", "--partitions", "2", "--key", ".key"];

/// Every number of the range once, each key's in order.
fn has_each_once(records: &[Seen], range: std::ops::Range<u32>) {
    let mut seen = HashSet::new();
    let mut last: std::collections::HashMap<&str, i64> = std::collections::HashMap::new();
    for record in records {
        let n = record.value["n"].as_i64().expect("a number");
        assert!(seen.insert(n), "{n} is there twice");
        let key = record.key.as_deref().unwrap_or("");
        assert!(last.insert(key, n).is_none_or(|before| before < n), "{n} of key {key} is out of order");
        assert_eq!(record.value["double"], n * 2);
    }
    let lost: Vec<i64> = range.clone().map(i64::from).filter(|n| !seen.contains(n)).collect();
    assert!(lost.is_empty() && seen.len() == range.len(), "lost: {lost:?}");
}

fn total(summary: &Value, stage: usize, count: &str) -> u64 {
    summary["pipelines"][0]["stages"][stage][count].as_u64().unwrap_or_else(|| panic!("no {count} in {summary}"))
}

/// Waits until a topic has records.
fn flows(site: &Site, topic: &str) {
    assert!(wait_until(PATIENCE, || !site.read(topic).is_empty()), "nothing came to {topic}");
}

fn drains_on(signal: &str, site: &Site, name: &str) {
    site.produce(&format!("{name}.raw"), &numbers(0..20_000), &KEYED);
    let file = site.write("pipeline.yaml", &one_stage(name, ""));
    let mut run = site.run("run", &file);
    flows(site, &format!("{name}.work"));
    run.signal(signal);
    run.succeed(Duration::from_secs(20));
    // What was begun is committed: the rest is exactly what is left.
    let before = site.read(&format!("{name}.work")).len() as u64;
    let summary = site.until_idle("rest", &file, PATIENCE);
    assert_eq!(before + total(&summary, 0, "forwarded"), 20_000);
    has_each_once(&site.read(&format!("{name}.work")), 0..20_000);
}

#[test]
fn sigterm_drains_on_the_embedded_log() {
    drains_on("TERM", &Site::embedded(), "orders");
}

#[test]
fn ctrl_c_drains_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    drains_on("INT", &Site::kafka(cluster.bootstrap(), SESSION), &unique("drain"));
}

fn waits_for_its_source(site: &Site, name: &str) {
    let file = site.write("pipeline.yaml", &one_stage(name, ""));
    let mut run = site.run("run", &file);
    run.wait_for_stderr(&format!("{name}.raw"), PATIENCE);
    assert!(run.stderr().contains("does not exist"), "{}", run.stderr());
    site.produce(&format!("{name}.raw"), &numbers(0..100), &KEYED);
    flows(site, &format!("{name}.work"));
    run.signal("TERM");
    run.succeed(PATIENCE);
}

#[test]
fn a_missing_source_topic_is_waited_for_on_the_embedded_log() {
    waits_for_its_source(&Site::embedded(), "orders");
}

#[test]
fn a_missing_source_topic_is_waited_for_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    waits_for_its_source(&Site::kafka(cluster.bootstrap(), SESSION), &unique("missing"));
}

#[test]
fn a_missing_source_topic_ends_a_run_that_is_told_to() {
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &one_stage("orders", ""));
    let mut run = site.run("run", &file);
    run.wait_for_stderr("does not exist", PATIENCE);
    run.signal("TERM");
    run.succeed(PATIENCE);
}

fn more_replicas_than_partitions(site: &Site, name: &str) {
    site.produce(&format!("{name}.raw"), &numbers(0..3_000), &KEYED);
    let file = site.write("pipeline.yaml", &one_stage(name, "    replicas: 5\n"));
    let summary = site.until_idle("run", &file, PATIENCE);
    assert_eq!(total(&summary, 0, "read"), 3_000);
    has_each_once(&site.read(&format!("{name}.work")), 0..3_000);
}

#[test]
fn replicas_without_a_partition_do_no_harm() {
    more_replicas_than_partitions(&Site::embedded(), "orders");
    if let Some(cluster) = KafkaCluster::shared() {
        more_replicas_than_partitions(&Site::kafka(cluster.bootstrap(), SESSION), &unique("replicas"));
    }
}

/// The second reads what the first writes, so that idle means both.
fn two_pipelines(site: &Site, name: &str) {
    site.produce(&format!("{name}.raw"), &numbers(0..3_000), &KEYED);
    let first = site.write("first.yaml", &one_stage(name, ""));
    let second = format!(
        "apiVersion: millstream/v1\npipeline: {name}-second\nsource: {{ topic: {name}.work, format: json, fields: {{ n: integer }} }}\n\
         stages:\n  - {{ name: even, filter: where, with: \"mod(.n, 2) == 0\" }}\n"
    );
    let second = site.write("second.yaml", &second);
    let mut run = Process::start(
        site.command(["run", "--until-idle", "--create-source", "-o", "json"]).args([&first, &second]),
        site.folder(),
        "run",
    );
    run.succeed(PATIENCE);
    let summary: Value = serde_json::from_str(run.stdout().lines().last().unwrap_or_default()).expect("a summary");
    let read = |at: usize| summary["pipelines"][at]["stages"][0]["read"].as_u64();
    assert_eq!((read(0), read(1)), (Some(3_000), Some(3_000)), "{summary}");
    assert_eq!(site.read(&format!("{name}-second.even")).len(), 1_500);
}

#[test]
fn two_pipelines_run_in_one_process() {
    two_pipelines(&Site::embedded(), "orders");
    if let Some(cluster) = KafkaCluster::shared() {
        two_pipelines(&Site::kafka(cluster.bootstrap(), SESSION), &unique("two"));
    }
}

#[test]
fn exit_status_says_who_has_to_act() {
    let site = Site::embedded();
    site.produce("orders.raw", &numbers(0..100), &KEYED);
    let ends_with = |name: &str, text: &str| {
        let file = site.write("pipeline.yaml", text);
        let mut run = Process::start(site.command(["run", "--until-idle"]).arg(file), site.folder(), name);
        let status = run.wait(PATIENCE).code();
        (status, run.stderr())
    };
    let (status, said) = ends_with("good", &one_stage("orders", ""));
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = ends_with("misspelt", &one_stage("orders", "    replcias: 2\n"));
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("pipeline.yaml:9:5") && said.contains("replicas"), "{said}");
    // A stage at the bound of its memory for ids stops, because going on would break a promise.
    let (status, said) = ends_with(
        "stopped",
        &one_stage("orders", "    dedup: { max_ids: 5 }\n").replace("pipeline: orders", "pipeline: few"),
    );
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("max_ids"), "{said}");
}

const FILE_ROWS: u32 = 60_000;

/// Killed in the middle, as soon as a reader sees outputs, several times; then finished.
fn interrupted(site: &Site, name: &str, source: &str, prefix: &str) {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\nsource:\n{source}\
         stages:\n  - name: work\n    filter: map\n    with: .double = .n * 2\n"
    );
    let file = site.write("pipeline.yaml", &text);
    let topic = format!("{name}.in");
    let mut at_kills = Vec::new();
    for time in 0..3 {
        let before = if time == 0 { 0 } else { site.read(&topic).len() };
        let mut run = site.run(&format!("run-{time}"), &file);
        let all = FILE_ROWS as usize;
        assert!(wait_until(PATIENCE, || site.read(&topic).len() > before.min(all - 1) || run.ended().is_some()));
        assert!(run.ended().is_none(), "{}", run.stderr());
        run.kill();
        at_kills.push(site.read(&topic).len());
    }
    site.until_idle("last", &file, PATIENCE * 2);
    assert!(at_kills.iter().any(|n| (1..FILE_ROWS as usize).contains(n)), "never in the middle: {at_kills:?}");
    for topic in [topic, format!("{name}.work")] {
        let records = site.read(&topic);
        let mut numbers: Vec<i64> = records.iter().filter_map(|r| r.value["n"].as_i64()).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..i64::from(FILE_ROWS)), "{topic}: {} records", numbers.len());
    }
    // The ids are those of any run: named by the place at the source.
    let roots: HashSet<String> = site
        .read(&format!("{name}.work"))
        .iter()
        .map(|r| r.id().and_then(root).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(roots.len(), FILE_ROWS as usize);
    assert!(roots.iter().all(|r| r.starts_with(prefix)), "{:?}", roots.iter().next());
}

fn interrupted_file(site: &Site, name: &str) {
    let rows: String = (0..FILE_ROWS).map(|n| format!("{n},k{}\n", n % 50)).collect();
    site.write("rows.csv", &format!("n,key\n{rows}"));
    let source = "  file: rows.csv\n  fields: { n: integer, key: string }\n  key: .key\n";
    interrupted(site, name, source, "rows.csv#");
}

fn interrupted_generator(site: &Site, name: &str) {
    let source = format!(
        "  generate: {{ value: '{{ \"n\": %n, \"key\": \"k\" + to_string(mod(%n, 50)) }}', count: {FILE_ROWS}, rate: 20000 }}\n  key: .key\n"
    );
    interrupted(site, name, &source, "generate#");
}

#[test]
fn a_file_gives_each_row_once_on_the_embedded_log() {
    interrupted_file(&Site::embedded(), "rows");
}

#[test]
fn a_file_gives_each_row_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    interrupted_file(&Site::kafka(cluster.bootstrap(), SESSION), &unique("rows"));
}

#[test]
fn a_generator_gives_each_record_once_on_the_embedded_log() {
    interrupted_generator(&Site::embedded(), "made");
}

#[test]
fn a_generator_gives_each_record_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    interrupted_generator(&Site::kafka(cluster.bootstrap(), SESSION), &unique("made"));
}

#[test]
fn a_lookup_finds_its_table_beside_the_pipeline() {
    let site = Site::embedded();
    site.write("prices.csv", "key,price\nk1,2.5\nk2,4\n");
    let lines: Vec<String> = (1..=3).map(|n| format!("{{\"n\":{n},\"key\":\"k{n}\"}}")).collect();
    site.produce("orders.raw", &lines, &KEYED);
    let text = one_stage("orders", "").replace(
        "    filter: map\n    with: .double = .n * 2\n",
        "    filters:\n      - lookup: { table: prices.csv, by: .key, into: .price }\n      - where: .price != null\n",
    );
    let text = text.replace("fields: { n: integer }", "fields: { n: integer, key: string }");
    let summary = site.until_idle("run", &site.write("pipeline.yaml", &text), PATIENCE);
    assert_eq!((total(&summary, 0, "read"), total(&summary, 0, "forwarded")), (3, 2), "{summary}");
    let mut found: Vec<String> =
        site.read("orders.work").iter().map(|r| format!("{} {}", r.value["key"], r.value["price"])).collect();
    found.sort();
    assert_eq!(found[0].split(' ').next(), Some("\"k1\""), "{found:?}");
    assert!(found[0].contains("2.5") && found[1].contains('4'), "{found:?}");
}

const MANY: u32 = 1_000_000;
const MEMORY: u64 = 256 << 20;

#[test]
fn memory_does_not_grow_with_the_topic() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let (site, name) = (Site::kafka(cluster.bootstrap(), SESSION), unique("memory"));
    let padding = "x".repeat(160);
    let topic = format!("{name}.raw");
    for part in 0..10 {
        let range = part * (MANY / 10)..(part + 1) * (MANY / 10);
        let lines: Vec<String> =
            range.map(|n| format!("{{\"n\":{n},\"key\":\"k{}\",\"p\":\"{padding}\"}}", n % 5_000)).collect();
        site.produce(&topic, &lines, &KEYED);
    }
    // Without dedup: what it remembers is bounded by `max_ids`, not by this.
    let file = site.write("pipeline.yaml", &one_stage(&name, "    dedup: off\n"));
    let mut command = site.command(["run", "--until-idle"]);
    let mut run = Process::start(command.arg(&file), site.folder(), "run");
    let mut peak = 0;
    let ended = wait_until(Duration::from_secs(300), || {
        peak = run.peak_memory().unwrap_or(0).max(peak);
        run.ended().is_some()
    });
    assert!(ended, "{}", run.stderr());
    run.succeed(PATIENCE);
    eprintln!("memory_does_not_grow_with_the_topic: {} MiB at most", peak >> 20);
    assert!(peak > 0 && peak < MEMORY, "{} MiB", peak >> 20);
    let mut count = site.start("count", &["consume", &format!("{name}.work"), "--until-end"]);
    count.succeed(Duration::from_secs(120));
    assert_eq!(LineCount::of(&count).now(), MANY as usize);
}

/// Four partitions, two replicas, and more ids than fit. Negative control: a `fail` that takes every error for a new
/// reason, or a prefix of `engine_error`'s own.
#[test]
fn the_same_fault_is_told_once() {
    let site = Site::embedded();
    site.produce("orders.raw", &numbers(0..4_000), &["--create", "--partitions", "4", "--key", ".key"]);
    let file = site.write("pipeline.yaml", &one_stage("orders", "    replicas: 2\n    dedup: { max_ids: 100 }\n"));
    let mut run = site.run("run", &file);
    assert_eq!(run.wait(PATIENCE).code(), Some(1), "{}", run.stderr());
    let told = run.stderr();
    let told: Vec<&str> = told.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("[dedup_full]") && told[0].matches("stage `work`").count() == 1, "{told:?}");
}
