//! A tick comes while the job of the one before is unfinished.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, now, ticks};

const STEP: i64 = 500;

fn pipeline(name: &str, overlap: &str, url: &str) -> String {
    format!(
        "pipeline: {name}\njobs: {{ track: true }}\ndefaults: {{ topics: {{ partitions: 3 }} }}\n\
         source: {{ schedule: {{ every: {STEP}ms, overlap: {overlap} }} }}\n\
         stages:\n  - name: work\n    filter: http\n    timeout: 5m\n    \
         with: {{ url: \"{url}\", keep: true, timeout: 5m }}\n    retry: {{ attempts: 1000, backoff: 50ms..200ms }}\n"
    )
}

/// A server that answers nobody until it is well: its calls are tried again.
fn server() -> (HttpServer, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let answer = move |_: &_| if is_well.load(Ordering::SeqCst) { Reply::json("{}") } else { Reply::status(503) };
    (HttpServer::start(answer), well)
}

/// Ticks of which there are records, after the first job has stood for at least ten of them, and then went on; and what
/// the processes said. Who runs the clock may be killed in between.
fn overlapping(site: &Site, name: &str, overlap: &str) -> (Vec<i64>, String) {
    let (server, well) = server();
    let file = site.write(&format!("{name}.yaml"), &pipeline(name, overlap, &server.url("/")));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    let records = || ticks(name, &site.read(&format!("{name}.in")));
    let mut first = 0;
    let stood = wait_until(PATIENCE, || {
        first = first.max(records().first().copied().unwrap_or(0));
        first > 0 && now() > first + 5 * STEP
    });
    assert!(stood, "no tick came");
    let leaves_out = |run: &Process| run.stderr().contains("left out");
    assert!(overlap != "skip" || wait_until(PATIENCE, || running.iter().any(leaves_out)), "no tick is left out");
    running[0].kill();
    running[0] = site.run("run-2", &file);
    assert!(wait_until(PATIENCE, || now() > first + 10 * STEP));
    assert_eq!(records(), [first], "the job before is unfinished");
    well.store(true, Ordering::SeqCst);
    let on = wait_until(PATIENCE, || ticks(name, &site.read(&format!("{name}.work"))).len() > 5);
    assert!(on, "{:?}", records());
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let said = ["run-0", "run-1", "run-2"].map(|run| std::fs::read_to_string(site.folder().join(format!("{run}.err"))));
    (records(), said.into_iter().map(|said| said.expect("a log")).collect())
}

/// Ticks that are left out are not given later. Which of them that is depends on when the clock looks: while it has no owner,
/// after a kill, nobody does.
fn skips(site: &Site, name: &str) {
    let (ticks, said) = overlapping(site, name, "skip");
    let tick = |line: &str| line.split_once("left out tick=").map(|(_, tick)| tick.trim().parse::<Timestamp>());
    let left_out: Vec<i64> = said.lines().filter_map(tick).map(|tick| tick.expect("a time").as_millisecond()).collect();
    assert!(!left_out.is_empty(), "{said}");
    assert!(!left_out.iter().any(|tick| ticks.contains(tick)), "{left_out:?} {ticks:?}");
    assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
}

/// Each of them is given, one after the other.
fn queues(site: &Site, name: &str) {
    let (ticks, _) = overlapping(site, name, "queue");
    let grid: Vec<i64> = (0..ticks.len() as i64).map(|n| ticks[0] + n * STEP).collect();
    assert_eq!(ticks, grid);
}

#[test]
fn ticks_are_left_out_while_a_job_is_unfinished_on_the_embedded_log() {
    skips(&Site::embedded(), "skips");
}

#[test]
fn ticks_are_left_out_while_a_job_is_unfinished_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    skips(&Site::kafka(cluster.bootstrap(), SESSION), &unique("skips"));
}

#[test]
fn ticks_wait_while_a_job_is_unfinished_on_the_embedded_log() {
    queues(&Site::embedded(), "queues");
}

#[test]
fn ticks_wait_while_a_job_is_unfinished_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    queues(&Site::kafka(cluster.bootstrap(), SESSION), &unique("queues"));
}
