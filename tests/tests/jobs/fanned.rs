//! Jobs of a source that several stages read: one is done when all of them have done with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::{PATIENCE, SESSION, all_found, in_state, jobs};

const ORDERS: usize = 60;

/// One stage is fast and drops some; the other asks a server, and refuses some.
fn pipeline(site: &Site, name: &str, server: &HttpServer) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {{ track: true }}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .order }}\nstages:\n  - name: fast\n    filter: where\n    with: .n \
         != 0\n  - name: slow\n    from: source\n    filter: http\n    with: {{ url: \"{}\", keep: true }}\n    retry: {{ \
         attempts: 1000, backoff: 50ms..1s }}\n  - name: last\n    filter: map\n    with: .seen = true\n",
        server.url("/")
    );
    site.write(&format!("{name}.yaml"), &text)
}

/// Each order comes twice: the repeat is no second job, and is not waited for.
fn produce(site: &Site, name: &str, orders: std::ops::Range<usize>) {
    let row = |n: usize| format!("{{\"order\":\"order-{n}\",\"n\":{},\"bad\":{}}}", n % 3, n % 10 == 7);
    let rows: Vec<String> = orders.clone().chain(orders).map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".order"]);
}

/// State, and how many records the stages let pass, dropped or refused.
fn wanted(n: usize, is_mended: bool) -> (String, [u64; 5]) {
    let bad = n % 10 == 7;
    let went = u64::from(!bad || is_mended);
    let state = if went == 1 { "done" } else { "failed" };
    let dropped = u64::from(n.is_multiple_of(3));
    (state.to_owned(), [1 - dropped, dropped, went, u64::from(bad), went])
}

fn found(job: &Value) -> (String, [u64; 5]) {
    let count = |stage: &str, what: &str| {
        let stages = job["stages"].as_array().expect("stages");
        stages.iter().find(|s| s["stage"] == stage).map_or(0, |s| s[what].as_u64().expect("a number"))
    };
    let counts = [
        count("fast", "forwarded"),
        count("fast", "dropped"),
        count("slow", "forwarded"),
        count("slow", "dead_lettered"),
        count("last", "forwarded"),
    ];
    (job["state"].as_str().expect("a state").to_owned(), counts)
}

#[track_caller]
fn all_are(site: &Site, name: &str, is_mended: bool) {
    all_found(site, name, ORDERS, |n| wanted(n, is_mended), found);
}

/// What it is to catch: with jobs that begin in each reader by itself those whose fast half is done would be done.
fn exact_through_kills(site: &Site, name: &str) {
    let (open, mended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_open, is_mended) = (Arc::clone(&open), Arc::clone(&mended));
    let server = HttpServer::start(move |request| match request.text() {
        _ if !is_open.load(Ordering::SeqCst) => Reply::status(503),
        body if body.contains("\"bad\":true") && !is_mended.load(Ordering::SeqCst) => Reply::status(422),
        _ => Reply::json("{}"),
    });
    let file = pipeline(site, name, &server);
    produce(site, name, 0..ORDERS / 2);
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    // While nothing comes through the slow stage, none is done.
    let known = || jobs(site, name).len() == ORDERS / 2;
    assert!(wait_until(PATIENCE, known), "{:?}", jobs(site, name).len());
    let fast = || jobs(site, name).values().all(|job| found(job).1[..2].iter().sum::<u64>() == 1);
    assert!(wait_until(PATIENCE, fast), "the fast stage is not through");
    assert_eq!(in_state(&jobs(site, name), "done"), [""; 0]);
    running[0].kill();
    open.store(true, Ordering::SeqCst);
    running[0] = site.run("run-2", &file);
    assert!(wait_until(PATIENCE, || !in_state(&jobs(site, name), "done").is_empty()), "none is done");
    produce(site, name, ORDERS / 2..ORDERS);
    running[1].kill();
    running[1] = site.run("run-3", &file);
    all_are(site, name, false);
    // Letters of one reader that are sent back: the other has nothing to do with them.
    mended.store(true, Ordering::SeqCst);
    let redriven = site.command(["dlq", "redrive", &format!("{name}.slow")]).output().expect("it starts");
    assert!(redriven.status.success(), "{redriven:?}");
    all_are(site, name, true);
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
}

#[test]
fn a_job_is_done_when_all_readers_are_on_the_embedded_log() {
    exact_through_kills(&Site::embedded(), "jobs-fan");
}

#[test]
fn a_job_is_done_when_all_readers_are_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    exact_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-fan"));
}
