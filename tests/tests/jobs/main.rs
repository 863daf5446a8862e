//! What is known of jobs is exact: through splitting, retries, records set aside, dead letters that are sent back, and
//! processes that are killed in the middle, on both logs.

mod api;
mod callbacks;
mod fanned;
mod fulfilled;
mod polled;
mod replies;
mod stopped;
mod undone;
mod waits;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

/// The shortest that brokers take.
const SESSION: Duration = Duration::from_secs(6);
/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
const ORDERS: usize = 60;

/// What the server does with an item, until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// 503: tried again, and set aside.
    Flaky,
    /// 422: a dead letter at once.
    Bad,
}

/// The items of an order: quantities, where 0 is dropped, and kinds.
fn items(order: usize) -> Vec<(usize, Kind)> {
    let kind = |item: usize| match (order % 10, order % 7, item) {
        (3, _, 0) => Kind::Bad,
        (_, 5, 0) => Kind::Flaky,
        _ => Kind::Good,
    };
    (0..order % 4).map(|item| ((order + item) % 3, kind(item))).collect()
}

/// How many items of an order are billed, and how many of a kind among them.
fn billed(order: usize, kind: Option<Kind>) -> u64 {
    items(order).iter().filter(|(q, k)| *q > 0 && kind.is_none_or(|kind| kind == *k)).count() as u64
}

fn produce(site: &Site, name: &str, orders: std::ops::Range<usize>) {
    let row = |order: usize| {
        let item = |(q, kind): &(usize, Kind)| format!("{{\"order\":{order},\"q\":{q},\"kind\":\"{kind:?}\"}}");
        let all: Vec<String> = items(order).iter().map(item).collect();
        format!("{{\"order\":\"order-{order}\",\"customer\":\"c{}\",\"items\":[{}]}}", order % 5, all.join(","))
    };
    let rows: Vec<String> = orders.map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".order"]);
}

fn pipeline(site: &Site, name: &str, url: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {{ track: true, result: bill }}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .order }}\n\
         stages:\n  - name: items\n    filter: split\n    with: .items\n  - name: keep\n    filter: where\n    with: .q != 0\n  \
         - name: bill\n    filter: http\n    with: {{ url: \"{url}\", keep: true }}\n    \
         retry: {{ attempts: 1000, backoff: 50ms..2s, park_after: {{ attempts: 2, time: 5s }} }}\n"
    );
    site.write(&format!("{name}.yaml"), &text)
}

/// It printed this. A log that is slow to answer is told of on stderr, which is no fault.
fn says(out: &std::process::Output, what: &str) {
    assert!(out.status.success() && String::from_utf8_lossy(&out.stdout) == what, "{}", said(out));
}

fn said(out: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Jobs by their ids.
fn jobs(site: &Site, name: &str) -> BTreeMap<String, Value> {
    let out = site.command(["jobs", "ls", &format!("{name}.yaml"), "--limit", "1000", "-o", "json"]).output();
    let out = out.expect("jobs starts");
    let Ok(document) = serde_json::from_slice::<Value>(&out.stdout) else { panic!("jobs ls: {}", said(&out)) };
    let jobs = document["jobs"].as_array().expect("a list").clone();
    assert_eq!(document["count"], jobs.len());
    jobs.into_iter().map(|job| (job["job"].as_str().expect("an id").to_owned(), job)).collect()
}

fn in_state(jobs: &BTreeMap<String, Value>, state: &str) -> Vec<String> {
    jobs.iter().filter(|(_, job)| job["state"] == state).map(|(id, _)| id.clone()).collect()
}

/// What a job has to be when everything is worked off.
fn wanted(order: usize, mended: bool) -> (String, [u64; 6]) {
    let bad = billed(order, Some(Kind::Bad));
    let state = if bad > 0 && !mended { "failed" } else { "done" };
    let all = items(order).len() as u64;
    let kept = billed(order, None);
    let went = if mended { kept } else { kept - bad };
    (state.to_owned(), [1, kept, all - kept, went, bad, 0])
}

fn found(job: &Value) -> (String, [u64; 6]) {
    let count = |stage: &str, what: &str| {
        let stages = job["stages"].as_array().expect("stages");
        stages.iter().find(|s| s["stage"] == stage).map_or(0, |s| s[what].as_u64().expect("a number"))
    };
    let counts = [
        count("items", "forwarded"),
        count("keep", "forwarded"),
        count("keep", "dropped"),
        count("bill", "forwarded"),
        count("bill", "dead_lettered"),
        count("items", "duplicates") + count("keep", "duplicates") + count("bill", "duplicates"),
    ];
    (job["state"].as_str().expect("a state").to_owned(), counts)
}

/// Waits until each job is as it has to be.
#[track_caller]
fn all_ended(site: &Site, name: &str, mended: bool) {
    all_found(site, name, ORDERS, |n| wanted(n, mended), found);
}

/// Waits until the jobs `order-0` to `order-<orders - 1>`, and no others, are found as they are wanted.
#[track_caller]
fn all_found<T: PartialEq + Debug>(
    site: &Site,
    name: &str,
    orders: usize,
    wanted: impl Fn(usize) -> T,
    found: impl Fn(&Value) -> T,
) {
    let wanted: BTreeMap<String, T> = (0..orders).map(|n| (format!("order-{n}"), wanted(n))).collect();
    let mut last = BTreeMap::new();
    wait_until(PATIENCE, || {
        last = jobs(site, name).iter().map(|(id, job)| (id.clone(), found(job))).collect();
        last == wanted
    });
    let wrong: Vec<_> = wanted.iter().map(|(id, w)| (id, w, last.get(id))).filter(|(_, w, l)| Some(*w) != *l).collect();
    assert!(wrong.is_empty() && last.len() == wanted.len(), "{} of {orders}: {wrong:?}", last.len());
}

fn exact_through_kills(site: &Site, name: &str) {
    let (well, mended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_well, is_mended) = (Arc::clone(&well), Arc::clone(&mended));
    let server = HttpServer::start(move |request| match request.text() {
        body if body.contains("Flaky") && !is_well.load(Ordering::SeqCst) => Reply::status(503),
        body if body.contains("Bad") && !is_mended.load(Ordering::SeqCst) => Reply::status(422),
        _ => Reply::json("{}"),
    });
    let file = pipeline(site, name, &server.url("/bill"));
    produce(site, name, 0..ORDERS / 2);
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    assert!(wait_until(PATIENCE, || server.received().len() > 5), "nothing is billed");
    running[0].kill();
    running[0] = site.run("run-2", &file);
    produce(site, name, ORDERS / 2..ORDERS);

    // Those of which only what is set aside is left are waiting, whoever is killed meanwhile.
    let aside = |n: &usize| billed(*n, Some(Kind::Flaky)) > 0 && billed(*n, Some(Kind::Bad)) == 0;
    let aside: Vec<String> = (0..ORDERS).filter(aside).map(|n| format!("order-{n}")).collect();
    assert!(aside.len() > 3);
    let mut waiting = Vec::new();
    wait_until(PATIENCE, || {
        waiting = in_state(&jobs(site, name), "waiting");
        aside.iter().all(|id| waiting.contains(id))
    });
    assert!(aside.iter().all(|id| waiting.contains(id)), "{aside:?} and waiting are {waiting:?}");
    running[1].kill();
    running[0].kill();
    running = [site.run("run-3", &file), site.run("run-4", &file)];
    well.store(true, Ordering::SeqCst);
    all_ended(site, name, false);

    // Sent back, they run again; the command is killed in the middle, and a process too.
    mended.store(true, Ordering::SeqCst);
    let failed = in_state(&jobs(site, name), "failed");
    let first = failed.first().expect("some have failed");
    let command = |words: &[&str]| site.command(["jobs"]).args(words).output().expect("jobs starts");
    let waited = command(&["wait", name, first]);
    assert_eq!(waited.status.code(), Some(1), "{}", said(&waited));
    assert!(said(&waited).contains("422"), "{}", said(&waited));
    let retried = command(&["retry", name, first]);
    says(&retried, "1 letter sent back to their stages\n");
    let waited = command(&["wait", name, first, "--timeout", "3m"]);
    assert!(waited.status.success() && said(&waited).contains("result: {"), "{}", said(&waited));
    let mut redrive = site.start("redrive", &["dlq", "redrive", &format!("{name}.bill")]);
    running[0].kill();
    redrive.kill();
    running[0] = site.run("run-5", &file);
    let redriven = site.command(["dlq", "redrive", &format!("{name}.bill")]).output().expect("dlq starts");
    assert!(redriven.status.success(), "{}", said(&redriven));
    all_ended(site, name, true);
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let unknown = command(&["show", name, "order-x"]);
    assert!(unknown.status.code() == Some(1) && said(&unknown).contains("knows no job `order-x`"));
}

#[test]
fn the_state_of_jobs_is_exact_through_kills_on_the_embedded_log() {
    exact_through_kills(&Site::embedded(), "jobs-e2e");
}

#[test]
fn the_state_of_jobs_is_exact_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    exact_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-e2e"));
}

/// A worker dies in the commit that ends the record of `order-1`, once it has written its notes as `breaks` says.
fn after_a_death_in_the_commit(site: &Site, breaks: &str) -> (String, [u64; 6]) {
    let name = "jobs-broken";
    let server = HttpServer::start(|_| Reply::json("{}"));
    let file = pipeline(site, name, &server.url("/bill"));
    produce(site, name, 0..2);
    let mut broken = site.run_broken("broken", &file, breaks, "die_in_commit", "order-1");
    broken.wait(PATIENCE);
    site.until_idle("whole", Path::new(&file), PATIENCE);
    found(&jobs(site, name)["order-1"])
}

/// Negative control: notes that are written outside the transaction count an end twice when it is done again.
#[test]
fn notes_before_the_transaction_count_twice() {
    let whole = ("done".to_owned(), [1, 1, 0, 1, 0, 0]);
    assert_eq!(after_a_death_in_the_commit(&Site::embedded(), "nothing"), whole, "the fault alone breaks nothing");
    let (state, counts) = after_a_death_in_the_commit(&Site::embedded(), "notes_first");
    assert!(counts != whole.1 || state != whole.0, "{state} {counts:?}");
}

#[test]
fn old_jobs_are_forgotten_and_open_ones_are_not() {
    let (site, name) = (Site::embedded(), "jobs-old");
    let server = HttpServer::start(|request| match request.text() {
        body if body.contains("Flaky") => Reply::status(503),
        _ => Reply::json("{}"),
    });
    let file = pipeline(&site, name, &server.url("/bill"));
    let text =
        std::fs::read_to_string(&file).expect("the pipeline").replace("track: true", "track: true, retention: 2s");
    std::fs::write(&file, text).expect("written");
    // Of the second one an item fails for as long as it is tried.
    let open = (0..ORDERS).find(|n| billed(*n, Some(Kind::Flaky)) > 0).expect("a flaky one");
    produce(&site, name, 1..2);
    produce(&site, name, open..open + 1);
    let mut run = site.run("run", &file);
    let known = || jobs(&site, name).into_keys().collect::<Vec<_>>();
    assert!(wait_until(PATIENCE, || known().contains(&format!("order-{open}"))), "{:?}", known());
    assert!(wait_until(PATIENCE, || known() == [format!("order-{open}")]), "{:?}", known());
    run.signal("TERM");
    run.succeed(PATIENCE);
}

#[test]
fn what_cannot_be_tracked_is_said() {
    let site = Site::embedded();
    let source = "source: { topic: raw, format: json }\n";
    let stage = |name: &str, more: &str| format!("  - {{ name: {name}, filter: map, with: .a = 1{more} }}\n");
    let refused = |head: &str, stages: &str| {
        let text = format!("apiVersion: millstream/v1\npipeline: p\n{head}{source}stages:\n{stages}");
        let out = site.command(["check"]).arg(site.write("p.yaml", &text)).output().expect("check starts");
        assert_eq!(out.status.code(), Some(2), "{}", said(&out));
        said(&out)
    };
    let loose = refused("delivery: at_least_once\njobs: { track: true }\n", &stage("a", ""));
    assert!(loose.contains("`exactly_once`"), "{loose}");
    let taken = refused("jobs: {}\n", &stage("jobs", ""));
    assert!(taken.contains("a stage is called `jobs`"), "{taken}");
    let unknown = refused("jobs: { result: bil }\n", &stage("bill", ""));
    assert!(unknown.contains("did you mean `bill`?"), "{unknown}");
    let none = refused("jobs: { progress: .a + }\n", &stage("a", ""));
    assert!(none.contains("p.yaml:3:23"), "{none}");
    let untracked =
        site.write("p.yaml", &format!("apiVersion: millstream/v1\npipeline: p\n{source}stages:\n{}", stage("a", "")));
    site.produce("raw", &["{}".to_owned()], &["--create"]);
    let out = site.command(["jobs", "ls"]).arg(untracked).output().expect("jobs starts");
    assert!(out.status.code() == Some(2) && said(&out).contains("jobs_not_tracked"), "{}", said(&out));
}
