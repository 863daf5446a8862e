//! Jobs that wait for their time, while the processes that would start them are killed: each starts once, or was taken
//! back.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(180);
const JOBS: usize = 24;

/// A clock that has stopped, so that all records are of the test; run once, so that its topics are there.
fn pipeline(site: &Site, name: &str) -> std::path::PathBuf {
    pipeline_with(site, name, "partitions: 3")
}

fn pipeline_with(site: &Site, name: &str, topics: &str) -> std::path::PathBuf {
    let text = format!(
        "pipeline: {name}\ndefaults: {{ topics: {{ {topics} }} }}\n\
         source: {{ schedule: {{ at: 2001-01-01T00:00:00Z }} }}\n\
         stages:\n  - {{ name: note, filter: map, with: '.seen = true' }}\n"
    );
    let file = site.write(&format!("{name}.yaml"), &text);
    site.until_idle(&format!("{name}-first"), &file, PATIENCE);
    file
}

/// What a `trigger` printed, and its exit status.
fn trigger(site: &Site, name: &str, words: &[&str]) -> (Option<i32>, Value) {
    let mut command = site.command(["trigger", name, "-o", "json"]);
    let output = command.args(words).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::String(said));
    (output.status.code(), value)
}

fn good(site: &Site, name: &str, words: &[&str]) -> Value {
    let (code, value) = trigger(site, name, words);
    assert_eq!(code, Some(0), "{words:?}: {value}");
    value
}

/// How often each job of the test is in a topic.
fn jobs(site: &Site, topic: &str) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for record in site.read(topic) {
        let id = record.headers.iter().find(|(name, _)| name == "ce_id").and_then(|(_, id)| id.clone()).expect("an id");
        *all.entry(id.split('~').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    all
}

fn through_kills(site: &Site, name: &str) {
    let file = pipeline(site, name);
    let begun = good(site, name, &["--value", "{\"n\": 0}"]);
    let first = begun["job"].as_str().expect("an id").to_owned();
    let start = |at: usize, round: usize| site.run(&format!("worker-{at}-{round}"), &file);
    let mut workers: Vec<Process> = (0..2).map(|at| start(at, 0)).collect();
    let id = |n: usize| format!("job-{n:02}");
    for n in 0..JOBS {
        let after = format!("{}ms", 100 + n * 400);
        let job = good(site, name, &["--id", &id(n), "--value", &format!("{{\"n\": {n}}}"), "--after", &after]);
        assert!(job["job"] == id(n) && job["at"].is_string(), "{job}");
        // Some die while they start one.
        if n % 8 == 5 {
            let at = n / 8 % 2;
            workers[at].kill();
            workers[at] = start(at, n);
        }
    }
    let far = good(site, name, &["--id", "far", "--value", "{}", "--after", "1h"]);
    assert_eq!(
        good(site, name, &["--list"])["waiting"].as_array().and_then(|all| all.last()).map(|w| &w["job"]),
        Some(&far["job"])
    );
    assert_eq!(good(site, name, &["--cancel", "far"])["job"], "far");
    assert_eq!(trigger(site, name, &["--cancel", "far"]).0, Some(1), "it waits no more");
    let last = format!("{name}.note");
    assert!(wait_until(PATIENCE, || jobs(site, &last).len() > JOBS), "{:?}", jobs(site, &last));
    for worker in &mut workers {
        worker.signal("TERM");
        worker.succeed(PATIENCE);
    }
    let once: BTreeMap<String, usize> = (0..JOBS).map(id).chain([first]).map(|id| (id, 1)).collect();
    assert_eq!(jobs(site, &format!("{name}.in")), once);
    assert_eq!(jobs(site, &last), once);
    assert_eq!(good(site, name, &["--list"])["waiting"], Value::Array(Vec::new()));
    // Nobody runs: the command does what a process would do.
    good(site, name, &["--id", "later", "--value", "{}", "--after", "1h"]);
    assert_eq!(good(site, name, &["--cancel", "later"])["job"], "later");
    assert_eq!(good(site, name, &["--list"])["waiting"], Value::Array(Vec::new()));
}

#[test]
fn each_job_starts_once_on_the_embedded_log() {
    through_kills(&Site::embedded(), "jobs");
}

#[test]
fn each_job_starts_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs"));
}

/// Negative control: who starts a job before it notes that it is started, and dies between both, starts it twice.
fn control(site: &Site, name: &str, breaks: &str) -> BTreeMap<String, usize> {
    let file = pipeline(site, name);
    good(site, name, &["--id", "job", "--value", "{\"n\": 1}", "--after", "1ms"]);
    let mut worker = site.run_broken("worker", &file, breaks, "die_in_commit", "job");
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    let mut worker = site.run("again", &file);
    let out = format!("{name}.note");
    assert!(wait_until(PATIENCE, || jobs(site, &out).contains_key("job")), "it never starts");
    let listed = || good(site, name, &["--list"])["waiting"] == Value::Array(Vec::new());
    assert!(wait_until(PATIENCE, listed), "it waits on");
    worker.signal("TERM");
    worker.succeed(PATIENCE);
    jobs(site, &format!("{name}.in"))
}

#[test]
fn a_job_before_its_note_starts_twice_on_the_embedded_log() {
    assert_eq!(control(&Site::embedded(), "jobs", "copies_first")["job"], 2);
    assert_eq!(control(&Site::embedded(), "jobs", "nothing")["job"], 1);
}

#[test]
fn a_job_before_its_note_starts_twice_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = || Site::kafka(cluster.bootstrap(), SESSION);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| control(&site(), &unique("whole"), "nothing"));
        assert_eq!(control(&site(), &unique("broken"), "copies_first")["job"], 2);
        assert_eq!(whole.join().expect("no panic")["job"], 1);
    });
}

/// A job that the log does not take waits on, in sight, and holds up no other.
fn refused(site: &Site, name: &str) {
    let file = pipeline_with(site, name, "partitions: 3, max_record: 64KiB");
    // It counts as it is stored, and chance cannot be compressed.
    let large: String = std::iter::repeat_with(fastrand::alphanumeric).take(110 << 10).collect();
    let large = format!("\"{large}\"");
    good(site, name, &["--id", "large", "--value", &large, "--after", "1ms"]);
    good(site, name, &["--id", "small", "--value", "{}", "--after", "2ms"]);
    let mut worker = site.run("worker", &file);
    worker.wait_for_stderr("cannot be started", PATIENCE);
    assert!(wait_until(PATIENCE, || jobs(site, &format!("{name}.note")).contains_key("small")), "it is held up");
    let listed = good(site, name, &["--list"]);
    assert_eq!(listed["waiting"].as_array().map(Vec::len), Some(1), "{listed}");
    good(site, name, &["--cancel", "large"]);
    worker.signal("TERM");
    worker.succeed(PATIENCE);
}

#[test]
fn a_job_that_is_refused_holds_up_no_other_on_the_embedded_log() {
    refused(&Site::embedded(), "small");
}

#[test]
fn a_job_that_is_refused_holds_up_no_other_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    refused(&Site::kafka(cluster.bootstrap(), SESSION), &unique("small"));
}
