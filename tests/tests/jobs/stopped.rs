//! Jobs that are cancelled, and jobs whose deadline passes: what runs for them is cancelled, the rest is dropped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::{PATIENCE, SESSION, found, jobs, said, says};

/// Orders of two items each, with keys of their own. What the server does with their first item is in their names.
const ORDERS: [&str; 4] = ["good-0", "hang-1", "fail-2", "good-3"];

fn pipeline(site: &Site, name: &str, jobs: &str, url: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {jobs}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .order }}\n\
         stages:\n  - name: items\n    filter: split\n    with: .items\n    key: .of\n  - name: bill\n    filter: http\n    timeout: 5m\n    \
         with: {{ url: \"{url}\", keep: true, timeout: 5m }}\n    \
         retry: {{ attempts: 1000, backoff: 50ms..1s, park_after: {{ attempts: 2, time: 5m }} }}\n  \
         - name: mail\n    filter: map\n    with: .sent = true\n"
    );
    let row = |order: &str| format!("{{\"order\":\"{order}\",\"items\":[{{\"of\":\"{order}\"}},{{\"of\":\"good\"}}]}}");
    let rows: Vec<String> = ORDERS.iter().map(|order| row(order)).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".order"]);
    site.write(&format!("{name}.yaml"), &text)
}

fn server() -> HttpServer {
    HttpServer::start(|request| match request.text() {
        body if body.contains("hang") => Reply::Hang,
        body if body.contains("fail") => Reply::status(503),
        _ => Reply::json("{}"),
    })
}

/// Waits until the jobs are in these states.
#[track_caller]
fn stand(site: &Site, name: &str, wanted: [&str; 4]) -> BTreeMap<String, Value> {
    let (mut last, mut states) = (BTreeMap::new(), Vec::new());
    let wanted: Vec<(String, String)> = ORDERS.iter().zip(wanted).map(|(o, w)| ((*o).into(), w.into())).collect();
    wait_until(PATIENCE, || {
        last = jobs(site, name);
        states = ORDERS.iter().map(|o| ((*o).to_owned(), last.get(*o).map_or(String::new(), |j| found(j).0))).collect();
        states == wanted
    });
    assert_eq!(states, wanted, "{last:?}");
    last
}

/// What stages are told of jobs, as it stands.
fn told(site: &Site, name: &str) -> Vec<String> {
    let mut all = BTreeMap::new();
    for record in site.read(&format!("{name}.control")) {
        let key = record.key.unwrap_or_default();
        if key.starts_with("job/") {
            all.insert(key, record.value);
        }
    }
    all.retain(|_, value| !value.is_null());
    all.into_keys().collect()
}

fn cancelled(site: &Site, name: &str) {
    let server = server();
    let file = pipeline(site, name, "{ track: true }", &server.url("/bill"));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    stand(site, name, ["done", "running", "waiting", "done"]);

    let cancel = |job: &str| site.command(["jobs", "cancel", name, job]).output().expect("jobs starts");
    says(&cancel("hang-1"), "hang-1 cancelled\n");
    // Nobody waits for the answer any more.
    server.wait_for_abandoned(1);
    running[0].kill();
    says(&cancel("fail-2"), "fail-2 cancelled\n");
    running[0] = site.run("run-2", &file);
    let all = stand(site, name, ["done", "cancelled", "cancelled", "done"]);
    assert_eq!(all["good-0"]["open"], 0);
    let ended = wait_until(PATIENCE, || {
        let all = jobs(site, name);
        all["hang-1"]["open"] == 0 && all["fail-2"]["open"] == 0
    });
    assert!(ended, "{:?}", jobs(site, name));
    let all = jobs(site, name);
    for job in ["hang-1", "fail-2"] {
        // What it had done stays done, and the rest was dropped.
        let bill = all[job]["stages"].as_array().expect("stages").iter().find(|s| s["stage"] == "bill").expect("bill");
        assert_eq!((&bill["forwarded"], &bill["dropped"]), (&1.into(), &1.into()), "{}", all[job]);
    }
    // The word to the stages is taken back when nothing is left.
    assert!(wait_until(PATIENCE, || told(site, name).is_empty()), "{:?}", told(site, name));

    let again = cancel("hang-1");
    says(&again, "hang-1 was cancelled before\n");
    let late = cancel("good-0");
    assert!(late.status.code() == Some(1) && said(&late).contains("is done"), "{}", said(&late));
    let unknown = cancel("good-9");
    assert!(unknown.status.code() == Some(1) && said(&unknown).contains("knows no job"), "{}", said(&unknown));
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
}

#[test]
fn a_cancelled_job_is_dropped_where_it_stands_on_the_embedded_log() {
    cancelled(&Site::embedded(), "jobs-cancel");
}

#[test]
fn a_cancelled_job_is_dropped_where_it_stands_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    cancelled(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-cancel"));
}

#[test]
fn a_job_that_is_late_has_failed_and_its_rest_is_dropped() {
    let (site, server, name) = (Site::embedded(), server(), "jobs-late");
    // Long enough for the good ones on a machine that is busy.
    let file = pipeline(&site, name, "{ track: true, deadline: 20s }", &server.url("/bill"));
    let summary = site.until_idle("run", &file, PATIENCE);
    let bill = &summary["pipelines"][0]["stages"][1];
    assert_eq!(bill["dropped"], serde_json::json!({ "deadline": 2 }), "{summary}");
    let all = stand(&site, name, ["done", "failed", "failed", "done"]);
    for job in ["hang-1", "fail-2"] {
        assert_eq!((&all[job]["error"]["code"], &all[job]["open"]), (&"deadline".into(), &0.into()));
    }
    assert!(told(&site, name).is_empty());
}
