//! A pipeline that makes letters, the command line on them, and what became of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use millstream_tests::checker::Seen;
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

/// The shortest that brokers take.
pub const SESSION: Duration = Duration::from_secs(6);
/// For what takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
pub const PARTITIONS: &str = "3";

/// Odd numbers fail in the second stage, what is no JSON in the first.
pub fn pipeline(site: &Site, name: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: {PARTITIONS} }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .id, fields: {{ id: string, key: string, n: integer }} }}\n\
         stages:\n  - {{ name: pass, filter: map, with: .seen = true }}\n  - name: work\n    filter: map\n    with: |\n      \
         if mod(.n, 2) == 1 {{ abort }}\n      .half = .n / 2\n"
    );
    site.write("pipeline.yaml", &text)
}

/// Numbers as rows, `r-<n>` by id.
pub fn rows(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    numbers.map(|n| format!("{{\"id\":\"r-{n}\",\"key\":\"k{}\",\"n\":{n}}}", n % 7)).collect()
}

pub fn produce(site: &Site, name: &str, rows: &[String]) {
    let options = ["--create", "--partitions", PARTITIONS, "--key", ".key"];
    site.produce(&format!("{name}.raw"), rows, &options);
}

/// Makes an empty topic.
pub fn topic(site: &Site, topic: &str) {
    let mut command = site.command(["produce", topic, "--create", "--partitions", PARTITIONS]);
    let made = command.stdin(std::process::Stdio::null()).output().expect("produce starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Runs `dlq` with these words.
pub fn dlq(site: &Site, words: &[&str]) -> Output {
    site.command(["dlq"]).args(words).output().expect("dlq starts")
}

/// What it printed; it must end well.
#[track_caller]
pub fn good(site: &Site, words: &[&str]) -> String {
    let out = dlq(site, words);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "dlq {words:?} ended with {}: {said}", out.status);
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// What it said; it must end with this status.
#[track_caller]
pub fn bad(site: &Site, words: &[&str], status: i32) -> String {
    let out = dlq(site, words);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(status), "dlq {words:?}: {said}");
    said
}

/// The same as JSON.
#[track_caller]
pub fn json(site: &Site, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&good(site, &words)).expect("one JSON document")
}

/// The same as JSON lines.
#[track_caller]
pub fn lines(site: &Site, words: &[&str]) -> Vec<Value> {
    good(site, words).lines().map(|l| serde_json::from_str(l).expect("a line is JSON")).collect()
}

/// A `redrive` that goes on by itself.
pub fn start(site: &Site, name: &str, words: &[&str]) -> Process {
    let mut command = site.command(["dlq", "redrive", "-o", "json"]);
    Process::start(command.args(words), site.folder(), name)
}

/// The id at the source of a record that a stage wrote.
pub fn root(id: &str) -> &str {
    millstream_tests::checker::root(id).unwrap_or(id)
}

/// Committed records of a topic, once as many are there as should be: a commit that was acknowledged may still be on its
/// way to the partitions.
pub fn read(site: &Site, topic: &str, wanted: usize) -> Vec<Seen> {
    wait_until(PATIENCE, || site.read(topic).len() >= wanted);
    site.read(topic)
}

/// Compares what was sent with the letters that should have been: each once, and nothing else.
pub fn judge(letters: impl Iterator<Item = u32>, sent: &[Seen]) -> Vec<String> {
    let mut times: BTreeMap<String, u32> = letters.map(|n| (format!("r-{n}"), 0)).collect();
    let mut found = Vec::new();
    for record in sent {
        let id = root(record.id().unwrap_or_default());
        match times.get_mut(id) {
            Some(times) => *times += 1,
            None => found.push(format!("unexpected {id}")),
        }
    }
    found.extend(times.iter().filter(|(_, n)| **n == 0).map(|(id, _)| format!("lost {id}")));
    found.extend(times.iter().filter(|(_, n)| **n > 1).map(|(id, n)| format!("doubled {id}: {n} times")));
    found
}

#[test]
fn the_judge_sees_what_is_lost_doubled_and_unexpected() {
    let seen = |id: &str| {
        let line = format!(
            "{{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"timestamp\":0,\"key\":null,\"headers\":[[\"ce_id\",\"{id}\"]],\"value\":1}}"
        );
        Seen::from_line(&line).expect("a record")
    };
    assert_eq!(judge([1, 2].into_iter(), &[seen("r-1"), seen("r-2")]), [""; 0]);
    let all = judge([1, 2].into_iter(), &[seen("r-1"), seen("r-1"), seen("r-3")]);
    assert_eq!(all, ["unexpected r-3", "lost r-2", "doubled r-1: 2 times"]);
}
