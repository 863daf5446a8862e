//! Tables that others write to while servers and processes are killed, and what must come of their rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millstream_test_kafka::Postgres;
use millstream_tests::checker::Seen;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

pub const SESSION: Duration = Duration::from_secs(6);
pub const PATIENCE: Duration = Duration::from_secs(150);

/// A pipeline on a source whose stage must not rely on dedup.
pub fn pipeline(site: &Site, name: &str, url: &str, source: &str) -> PathBuf {
    let text = format!(
        "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }}, dedup: off }}\nsource: {{ postgres: {{ url: \
         '{url}', every: 50ms, {source} }} }}\nstages:\n  - {{ name: out, filter: map, with: .seen = true }}\n"
    );
    site.write("pipeline.yaml", &text)
}

/// What is in the topic of a pipeline's end, as (key, number) in the order of each partition.
pub fn came(site: &Site, name: &str) -> Vec<(String, i64)> {
    let all = site.read(&format!("{name}.out"));
    let key = |r: &Seen| r.key.clone().unwrap_or_default();
    all.iter().map(|r| (key(r), r.value["n"].as_i64().expect("its number"))).collect()
}

/// What is wrong: rows that are missing, twice, or out of the order of their key.
pub fn wrong(came: &[(String, i64)], written: &[(String, i64)]) -> Vec<String> {
    let mut times: BTreeMap<&(String, i64), usize> = BTreeMap::new();
    came.iter().for_each(|row| *times.entry(row).or_default() += 1);
    let lost = written.iter().filter(|row| !times.contains_key(row)).count();
    let doubled = times.values().filter(|n| **n > 1).count();
    let mut wrong = Vec::new();
    if lost > 0 {
        wrong.push(format!("{lost} rows are lost"));
    }
    if doubled > 0 {
        wrong.push(format!("{doubled} rows are doubled"));
    }
    let unknown = times.keys().filter(|row| !written.contains(row)).count();
    if unknown > 0 {
        wrong.push(format!("{unknown} rows were never committed"));
    }
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, n) in came {
        if last.insert(key, *n).is_some_and(|before| before > *n) {
            wrong.push(format!("row {n} of {key} comes late"));
        }
    }
    wrong
}

/// Lines `key|number`.
pub fn rows(text: &str) -> Vec<(String, i64)> {
    let row = |line: &str| {
        let (key, n) = line.split_once('|')?;
        Some((key.to_owned(), n.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// Waits until something holds of a database.
pub fn holds(server: &Postgres, database: &str, question: &str) {
    let asked = || server.try_sql(database, question).is_ok_and(|said| said == "t");
    assert!(wait_until(PATIENCE, asked), "never: {question}");
}
