//! `trigger` on the embedded log: what it writes, and what it refuses without a trace.

mod common;

use common::Place;
use serde_json::Value;

const STAGE: &str = "stages: [{ name: a, filter: where, with: 'true' }]\n";

fn place() -> Place {
    let place = Place::new();
    let made = "{ generate: { value: '{ \"n\": %n }', count: 0 }, key: .n, fields: { n: integer } }";
    place.file("own.yaml", format!("pipeline: own\nsource: {made}\n{STAGE}"));
    place.file(
        "byfield.yaml",
        format!("pipeline: byfield\nsource: {}\n{STAGE}", made.replace("key: .n", "key: .n, id: .n")),
    );
    place.file("clock.yaml", format!("pipeline: clock\nsource: {{ schedule: {{ at: 2001-01-01T00:00:00Z, value: '{{ \"day\": format_timestamp!(%tick, \"%F\") }}' }} }}\n{STAGE}"));
    place.file("topic.yaml", format!("pipeline: topic\nsource: {{ topic: orders.raw }}\n{STAGE}"));
    place.file(
        "two.yaml",
        format!("pipeline: two\nsources: {{ left: {made}, right: {made} }}\nstages: [{{ name: a, from: [left, right], filter: where, with: 'true' }}]\n"),
    );
    place.run_with("produce orders.raw --create --partitions 2", "").good();
    for name in ["own", "byfield", "clock", "topic", "two"] {
        place.run(&format!("run {name} --until-idle")).good();
    }
    place
}

/// The records of a topic as (key, id, value).
fn records(place: &Place, topic: &str) -> Vec<(Value, String, Value)> {
    let lines = place.run(&format!("consume {topic} --until-end")).good();
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let headers = record["headers"].as_array().expect("a list").clone();
        let id = headers.iter().find(|pair| pair[0] == "ce_id").and_then(|pair| pair[1].as_str()).unwrap_or_default();
        (record["key"].clone(), id.to_owned(), record["value"].clone())
    };
    lines.lines().map(record).collect()
}

fn job(said: &str) -> String {
    let said: Value = serde_json::from_str(said).expect("JSON");
    said["job"].as_str().expect("an id").to_owned()
}

#[test]
fn a_job_starts_with_one_record() {
    let place = place();
    let fresh = job(&place.run("trigger own --value {\"n\":7} -o json").good());
    assert_eq!(records(&place, "own.in"), [("7".into(), fresh.clone(), serde_json::json!({ "n": 7 }))]);
    assert!(place.run("trigger own --value {\"n\":8} --id mine --key k").good().contains("job mine started"));
    assert!(records(&place, "own.in").contains(&("k".into(), "mine".to_owned(), serde_json::json!({ "n": 8 }))));
    assert!(place.run("run own --until-idle -o json").good().contains("\"forwarded\":2"));
    // The same id again is the same job.
    assert_eq!(job(&place.run("trigger own --value {\"n\":8} --id mine --key k -o json").good()), "mine");
    assert!(place.run("run own --until-idle -o json").good().contains("\"duplicates\":1"));
    let passed = job(&place.run("trigger own --value {\"n\":9} --at 2001-01-01T00:00:00Z -o json").good());
    assert_eq!(records(&place, "own.in").len(), 4, "{passed} started at once");
}

#[test]
fn each_source_has_its_way() {
    let place = place();
    assert_eq!(job(&place.run("trigger byfield --value {\"n\":7} -o json").good()), "7", "as the source names it");
    job(&place.run("trigger clock -o json").good());
    let made = &records(&place, "clock.in")[0];
    assert!(made.2["day"].as_str().is_some_and(|day| day.len() == 10), "{made:?}");
    assert_eq!(job(&place.run("trigger topic --value {} --id x -o json").good()), "orders.raw/x");
    assert_eq!(records(&place, "orders.raw")[0].1, "x");
    assert!(place.run("run topic --until-idle").good().contains('1'));
    assert_eq!(records(&place, "topic.a")[0].1.split('~').next(), Some("orders.raw/x"), "so it is called from then on");
    place.run("trigger two --source right --value {\"n\":1}").good();
    assert_eq!((records(&place, "two.in.left").len(), records(&place, "two.in.right").len()), (0, 1));
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let place = place();
    for (line, words) in [
        ("trigger own --value {", "[invalid_json]"),
        ("trigger own", "say one with `--value`"),
        ("trigger byfield --value {\"n\":7} --id other", "names this record `7`"),
        ("trigger two --value {}", "`--source`: left, right"),
        ("trigger two --value {} --source rigth", "did you mean `right`?"),
        ("trigger own --value {} --at tomorrow", "`tomorrow` is no time"),
        ("trigger own --value {} --after soon", "soon"),
        ("trigger own --value {} --wait", "--wait"),
        ("trigger own --list --value {}", "cannot be used with"),
    ] {
        let said = place.run(line).bad(2);
        assert!(said.contains(words), "{line}: {said}");
    }
    assert!(place.run("trigger own --cancel nobody").bad(1).contains("no job `nobody` waits"));
    assert!(place.run("trigger own --list").good().contains("no job waits"));
    assert_eq!((records(&place, "own.in").len(), records(&place, "byfield.in").len()), (0, 0));
    assert!(place.run("consume own.control.later --until-end").bad(1).contains("does not exist"));
    place.file("new.yaml", format!("pipeline: new\nsource: {{ schedule: {{ every: 1h }} }}\n{STAGE}"));
    assert!(place.run("trigger new").bad(2).contains("run the pipeline once"));
    assert!(place.run("trigger new --after 1h").bad(2).contains("run the pipeline once"));
}

#[test]
fn what_waits_is_listed_and_taken_back() {
    let place = place();
    let order = "trigger own --value {\"n\":1} --id a --at 2100-01-01T00:00:00Z";
    assert!(place.run(order).good().contains("job a starts 2100-01-01T00:00:00Z"));
    place.run(order).good();
    assert!(place.run(&order.replace(":1}", ":2}")).bad(2).contains("another job `a` waits already"));
    let listed: Value = serde_json::from_str(&place.run("trigger own --list -o json").good()).expect("JSON");
    let waiting = listed["waiting"].as_array().expect("a list");
    assert_eq!(
        (waiting.len(), &waiting[0]["job"], &waiting[0]["at"]),
        (1, &"a".into(), &"2100-01-01T00:00:00Z".into())
    );
    assert!(place.run("trigger own --cancel a").good().contains("taken back"));
    assert!(place.run("trigger own --list").good().contains("no job waits"));
    assert_eq!(records(&place, "own.in").len(), 0);
}
