//! Jobs that are undone: what they have passed is compensated, each once, the last stage first, whoever is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::{PATIENCE, SESSION, found, jobs, said};

/// What becomes of an order is in its name: `good` ones are shipped; the first item of a `poor` one cannot be charged, and
/// that of a `lost` one not be shipped; of a `stuck` one the same, and its stock is not released until that is mended; of a `hung`
/// one shipping never ends.
const KINDS: [&str; 5] = ["good", "poor", "lost", "stuck", "hung"];
const ORDERS: usize = 30;

fn orders() -> impl Iterator<Item = (String, usize)> {
    // One or two items each; those that hang have one.
    let items = |n: usize| if KINDS[n % 5] == "hung" { 1 } else { 1 + n / 5 % 2 };
    (0..ORDERS).map(move |n| (format!("{}-{n}", KINDS[n % 5]), items(n)))
}

fn pipeline(site: &Site, name: &str, server: &HttpServer) -> PathBuf {
    let stage = |name: &str, undo: &str| {
        let undo = if undo.is_empty() {
            String::new()
        } else {
            format!("    compensate: {{ http: {{ url: \"{}\", keep: true }} }}\n", server.url(undo))
        };
        format!(
            "  - name: {name}\n    filter: http\n    with: {{ url: \"{}\", keep: true, timeout: 5m }}\n    timeout: 5m\n    \
             retry: {{ attempts: 1000, backoff: 50ms..1s, park_after: {{ attempts: 2, time: 5s }} }}\n{undo}",
            server.url(&format!("/{name}"))
        )
    };
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .order }}\nstages:\n{}  - name: items\n    filter: split\n    \
         with: .items\n    key: .item\n{}{}{}",
        stage("store", "/unstore"),
        stage("reserve", "/release"),
        stage("charge", "/refund"),
        stage("ship", ""),
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn produce(site: &Site, name: &str, orders: impl Iterator<Item = (String, usize)>) {
    let row = |(order, items): (String, usize)| {
        let item = |n| format!("{{\"order\":\"{order}\",\"item\":\"{order}/{n}\"}}");
        let items: Vec<String> = (0..items).map(item).collect();
        format!("{{\"order\":\"{order}\",\"items\":[{}]}}", items.join(","))
    };
    let rows: Vec<String> = orders.map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".order"]);
}

fn server(mended: &Arc<AtomicBool>) -> HttpServer {
    let mended = Arc::clone(mended);
    let hiccups = std::sync::Mutex::new(BTreeSet::new());
    HttpServer::start(move |request| {
        let body = request.text();
        let first = body.contains("/0");
        match request.path.as_str() {
            "/charge" if body.contains("poor") && first => Reply::status(422),
            "/ship" if (body.contains("lost") || body.contains("stuck")) && first => Reply::status(422),
            "/ship" if body.contains("hung") => Reply::Hang,
            "/release" if body.contains("stuck") && first && !mended.load(Ordering::SeqCst) => Reply::status(422),
            // Each compensation fails once, and is tried again.
            "/refund" | "/release" | "/unstore" => {
                let key = request.header("idempotency-key").unwrap_or_default().to_owned();
                let new = hiccups.lock().expect("not poisoned").insert(key);
                if new { Reply::status(503) } else { Reply::json("{}") }
            }
            _ => Reply::json("{}"),
        }
    })
}

/// What the server has done for an order, by path, in the order in which it was done first: key and body. As servers do that
/// know such keys: one that comes again is the same.
pub type Effects = Vec<(String, String, String)>;

pub fn effects(server: &HttpServer) -> BTreeMap<String, Effects> {
    let mut all: BTreeMap<String, Effects> = BTreeMap::new();
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    for request in server.received() {
        let key = request.header("idempotency-key").expect("a key").to_owned();
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let order = body["order"].as_str().expect("an order").to_owned();
        let call = (request.path.clone(), body.to_string());
        match seen.insert(key.clone(), call.clone()) {
            Some(before) => assert_eq!(before, call, "two calls have the key {key}"),
            None => all.entry(order).or_default().push((request.path, key, body.to_string())),
        }
    }
    all
}

/// How often a stage has let something of a job pass.
fn passed(job: &Value, stage: &str) -> usize {
    let all = job["stages"].as_array().expect("stages").iter();
    all.filter(|s| s["stage"] == stage).map(|s| s["forwarded"].as_u64().expect("a number") as usize).sum()
}

/// What is wrong with what was done for an order.
fn wrong(order: &str, job: &Value, effects: &Effects) -> Vec<String> {
    let mut wrong = Vec::new();
    let of = |path: &str| -> Vec<&str> { effects.iter().filter(|e| e.0 == path).map(|e| e.2.as_str()).collect() };
    let good = order.starts_with("good");
    for (stage, path, undo) in
        [("store", "/store", "/unstore"), ("reserve", "/reserve", "/release"), ("charge", "/charge", "/refund")]
    {
        let (done, mut undone) = (of(path), of(undo));
        let wanted = if good { 0 } else { passed(job, stage) };
        if undone.len() != wanted {
            wrong.push(format!("{} calls of {undo}, and {wanted} records passed `{stage}`", undone.len()));
        }
        undone.sort_unstable();
        undone.dedup();
        if undone.len() != wanted || undone.iter().any(|body| !done.contains(body)) {
            wrong.push(format!("{undo} was called for {undone:?}, {path} for {done:?}"));
        }
    }
    // The last stage first, and nothing is done any more when it begins.
    let place = |e: &(String, String, String)| match e.0.as_str() {
        "/refund" => 1,
        "/release" => 2,
        "/unstore" => 3,
        _ => 0,
    };
    if !effects.is_sorted_by_key(place) {
        wrong.push(format!("out of order: {:?}", effects.iter().map(|e| e.0.as_str()).collect::<Vec<_>>()));
    }
    wrong
}

fn undone_through_kills(site: &Site, name: &str) {
    let mended = Arc::new(AtomicBool::new(false));
    let server = server(&mended);
    let file = pipeline(site, name, &server);
    produce(site, name, orders().take(ORDERS / 2));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    let called = |path: &str| server.received().iter().filter(|r| r.path == path).count();
    assert!(wait_until(PATIENCE, || called("/charge") > 3), "nothing is charged");
    running[0].kill();
    running[0] = site.run("run-2", &file);
    assert!(wait_until(PATIENCE, || called("/refund") > 1), "nothing is refunded");
    running[1].kill();
    produce(site, name, orders().skip(ORDERS / 2));
    running[1] = site.run("run-3", &file);
    assert!(wait_until(PATIENCE, || called("/unstore") > 3), "nothing is undone");
    running[0].kill();
    running[1].kill();
    running = [site.run("run-4", &file), site.run("run-5", &file)];

    // Those that hang are cancelled.
    let command = |words: &[&str]| site.command(words).output().expect("it starts");
    for (order, _) in orders().filter(|(order, _)| order.starts_with("hung")) {
        let ships =
            || server.received().iter().any(|r| r.path == "/ship" && r.text().contains(&format!("\"{order}\"")));
        assert!(wait_until(PATIENCE, ships), "{order} is not shipped");
        let cancelled = said(&command(&["jobs", "cancel", name, &order]));
        assert!(cancelled.starts_with(&format!("{order} cancelled\n")), "{cancelled}");
    }
    let state = |order: &str, mended: bool| match order.split('-').next() {
        Some("good") => "done",
        Some("stuck") if !mended => "failed",
        _ => "compensated",
    };
    let all_are = |mended: bool| {
        let wanted: Vec<(String, String)> = orders().map(|(o, _)| (state(&o, mended).to_owned(), o)).collect();
        let (mut last, mut is) = (BTreeMap::new(), Vec::new());
        wait_until(PATIENCE, || {
            last = jobs(site, name);
            is = orders().map(|(o, _)| (last.get(&o).map_or(String::new(), found_state), o)).collect();
            is == wanted
        });
        assert_eq!(is, wanted, "{last:?}");
        last
    };
    let all = all_are(false);
    let stuck = orders().map(|(o, _)| o).find(|o| o.starts_with("stuck")).expect("one is stuck");
    assert_eq!(all[&stuck]["error"]["stage"], "reserve.compensate", "{}", all[&stuck]);
    running[0].kill();
    running[0] = site.run("run-6", &file);

    // What is given up is not sent back; what undoes it is.
    mended.store(true, Ordering::SeqCst);
    let left =
        command(&["jobs", "retry", name, &orders().map(|(o, _)| o).find(|o| o.starts_with("lost")).expect("one")]);
    assert!(said(&left).contains("compensated"), "{}", said(&left));
    for (order, _) in orders().filter(|(order, _)| order.starts_with("stuck")) {
        let retried = command(&["jobs", "retry", name, &order]);
        assert!(said(&retried).contains("1 letter sent back"), "{}", said(&retried));
    }
    let all = all_are(true);
    let effects = effects(&server);
    for (order, _) in orders() {
        let wrong = wrong(&order, &all[&order], &effects[&order]);
        assert!(wrong.is_empty(), "{order}: {wrong:?}\n{}", all[&order]);
    }
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
}

fn found_state(job: &Value) -> String {
    job["state"].as_str().expect("a state").to_owned()
}

#[test]
fn what_failed_is_undone_through_kills_on_the_embedded_log() {
    undone_through_kills(&Site::embedded(), "jobs-undo");
}

#[test]
fn what_failed_is_undone_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    undone_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-undo"));
}

/// A worker dies in the commit that ends the record of `lost-2` in the stage that stores it, having written its notes as
/// `breaks` says; what the server did for it then.
fn after_a_death_in_the_commit(breaks: &str) -> Vec<String> {
    let (site, name) = (Site::embedded(), "jobs-undo-broken");
    let server = server(&Arc::default());
    let file = pipeline(&site, name, &server);
    produce(&site, name, std::iter::once(("lost-2".to_owned(), 1)));
    let mut broken = site.run_broken("broken", &file, breaks, "die_in_commit", "lost-2");
    broken.wait(PATIENCE);
    site.until_idle("whole", Path::new(&file), PATIENCE);
    let job = &jobs(&site, name)["lost-2"];
    let mut all = wrong("lost-2", job, &effects(&server)["lost-2"]);
    if found(job).0 != "compensated" || passed(job, "store") != 1 {
        all.push(job.to_string());
    }
    all
}

/// Negative control: what can be undone is written outside the transaction in which it passes. Also: `until-idle` waits for
/// what is undone.
#[test]
fn what_is_kept_before_the_transaction_is_undone_twice() {
    assert_eq!(after_a_death_in_the_commit("nothing"), [""; 0], "the fault alone breaks nothing");
    assert!(!after_a_death_in_the_commit("notes_first").is_empty());
}

#[test]
fn a_stage_that_makes_no_progress_ends_its_job() {
    let (site, name) = (Site::embedded(), "jobs-slow");
    let server = server(&Arc::default());
    let file = pipeline(&site, name, &server);
    let text = std::fs::read_to_string(&file)
        .expect("the pipeline")
        .replace("- name: ship\n", "- name: ship\n    deadline: 15s\n");
    std::fs::write(&file, text).expect("written");
    produce(&site, name, [("hung-4".to_owned(), 1), ("good-0".to_owned(), 2)].into_iter());
    site.until_idle("run", &file, PATIENCE);
    let all = jobs(&site, name);
    assert_eq!((&all["good-0"]["state"], &all["hung-4"]["state"]), (&"done".into(), &"compensated".into()), "{all:?}");
    let error = &all["hung-4"]["error"];
    assert_eq!((&error["stage"], &error["code"]), (&"ship".into(), &"deadline".into()), "{error}");
    assert_eq!(wrong("hung-4", &all["hung-4"], &effects(&server)["hung-4"]), [""; 0]);
}
