//! `run` on the embedded log.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Place;
use serde_json::{Value, json};

const PIPELINE: &str = "\
pipeline: orders
source:
  topic: orders.raw
  fields: { quantity: integer, unit_price: number }
stages:
  - name: price
    filter: map
    with: |
      .total = .quantity * .unit_price
  - name: keep
    filter: where
    with: .total > 1.0
";

/// Five lines: three go through, one is dropped by `where`, one is a dead letter.
const LINES: &str = "\
{\"quantity\":2,\"unit_price\":1.5,\"k\":\"a\"}
{\"quantity\":1,\"unit_price\":0.5,\"k\":\"b\"}
{\"quantity\":3,\"unit_price\":1.0,\"k\":\"a\"}
{\"quantity\":\"x\",\"unit_price\":1.0,\"k\":\"c\"}
{\"quantity\":4,\"unit_price\":2.5,\"k\":\"d\"}
";

#[test]
fn until_idle_works_the_input_off_and_adds_up() {
    let place = Place::new();
    place.file("orders.yaml", PIPELINE);
    place.run_with("produce orders.raw --create --partitions 3 --key .k", LINES).good();
    let ended = place.run("run orders --until-idle -o json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let last = ended.stdout.lines().last().expect("a document");
    let summary: Value = serde_json::from_str(last).expect("JSON");
    let pipeline = &summary["pipelines"][0];
    assert_eq!((&pipeline["name"], &pipeline["balanced"]), (&json!("orders"), &json!(true)), "{summary}");
    let [price, keep] = [&pipeline["stages"][0], &pipeline["stages"][1]];
    let counts = |s: &Value, keys: [&str; 4]| keys.map(|k| s[k].as_u64().unwrap_or(99));
    assert_eq!(counts(price, ["read", "forwarded", "dead_lettered", "outputs"]), [5, 4, 1, 4], "{summary}");
    assert_eq!(counts(keep, ["read", "forwarded", "dead_lettered", "outputs"]), [4, 3, 0, 3], "{summary}");
    assert_eq!(keep["dropped"], json!({ "where": 1 }));
    let keys = [
        "name",
        "read",
        "forwarded",
        "dropped",
        "duplicates",
        "dead_lettered",
        "parked",
        "held",
        "retried",
        "outputs",
        "seconds",
    ];
    assert!(price.as_object().is_some_and(|o| keys.iter().all(|k| o.contains_key(*k)) && o.len() == keys.len()));

    let mut totals: Vec<String> = place
        .run("consume orders.keep --until-end")
        .good()
        .lines()
        .filter_map(|l| Some(serde_json::from_str::<Value>(l).ok()?["value"]["total"].to_string()))
        .collect();
    totals.sort();
    assert_eq!(totals, ["10.0", "3.0", "3.0"]);
    assert_eq!(place.run("consume orders.price.dlq --until-end").good().lines().count(), 1);

    // Again: nothing is read twice.
    let table = place.run("run orders --until-idle").good();
    assert!(table.contains("stage") && table.lines().any(|l| l.starts_with("price") && l.contains(" 0 ")), "{table}");
}

#[test]
fn a_wrong_pipeline_and_what_comes_later_start_nothing() {
    let place = Place::new();
    place.file("orders.yaml", PIPELINE.replace("filter: map", "filter: mpa"));
    let said = place.run("run orders").bad(2);
    assert!(
        said.contains("orders.yaml:7:") && said.contains("did you mean `map`?") && said.contains("nothing was started"),
        "{said}"
    );
    assert!(!place.path().join(".millstream").exists());
    place.file("orders.yaml", PIPELINE);
    let said = place.run("run orders --listen nowhere").bad(2);
    assert!(said.contains("`--listen nowhere`"), "{said}");
    assert!(place.run("run none").bad(2).contains("there is no pipeline `none` here"));
    assert!(place.run("run orders.yaml orders --until-idle").bad(2).contains("two pipelines `orders`"));
    place.file("endless.yaml", "pipeline: endless\nsource:\n  generate: { value: '{ \"n\": 1 }' }\nstages:\n  - { name: a, filter: where, with: 'true' }\n");
    assert!(place.run("run endless --until-idle").bad(2).contains("`--until-idle` would never end"));
}

#[test]
fn a_missing_source_is_made_when_asked() {
    let place = Place::new();
    place.file("orders.yaml", PIPELINE);
    place.run("run orders --until-idle --create-source --no-listen").good();
    assert_eq!(place.run("consume orders.raw --until-end").good(), "");
}

#[test]
fn a_closed_stderr_does_not_stop_a_run() {
    for format in ["text", "json"] {
        let place = Place::new();
        place.file("orders.yaml", PIPELINE);
        place.run_with("produce orders.raw --create --partitions 1 --key .k", LINES).good();
        let mut child = place
            .command(["run", "orders", "--until-idle", "-o", "json", "--log-format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stderr.take());
        let deadline = Instant::now() + Duration::from_secs(60);
        while child.try_wait().expect("a child can be asked").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("a child can be ended");
                panic!("it did not end");
            }
            std::thread::yield_now();
        }
        let ended = common::Ended::of(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(place.run("consume orders.keep --until-end").good().lines().count(), 3);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_drains_commits_and_ends_with_0() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        place.file("orders.yaml", PIPELINE);
        place.run_with("produce orders.raw --create --partitions 2 --key .k", LINES).good();
        let mut child = place
            .command(["run", "orders", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // Through its outputs: they are visible when they are committed.
        let deadline = Instant::now() + Duration::from_secs(60);
        while place.run("consume orders.keep --until-end").stdout.lines().count() < 3 {
            assert!(Instant::now() < deadline, "no outputs came");
            assert!(child.try_wait().expect("a child can be asked").is_none(), "it ended");
        }
        let pid = child.id().to_string();
        let killed = std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(killed.is_ok_and(|s| s.success()));
        let ended = common::Ended::of(child.wait_with_output().expect("it ends"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let summary: Value = serde_json::from_str(ended.stdout.lines().last().expect("a document")).expect("JSON");
        assert_eq!(summary["pipelines"][0]["stages"][0]["read"], 5, "{summary}");
        assert_eq!(place.run("run orders --until-idle").code, Some(0));
        assert_eq!(place.run("consume orders.keep --until-end").good().lines().count(), 3);
    }
}
