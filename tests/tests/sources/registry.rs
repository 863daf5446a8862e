//! Avro whose schemas are in a registry: producers move to a newer schema while the pipeline runs, a registry that is away loses
//! nothing, and each thing that can be wrong with a payload is a dead letter of its own kind.

use std::collections::BTreeMap;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::Reply;
use millstream_tests::process::{tail, wait_until};
use millstream_tests::schema_registry::SchemaRegistry;
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION};

const V1: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"quantity","type":"int"},{"name":"old","type":"string"}]}"#;
const V2: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"note","type":["null","string"]},
    {"name":"id","type":"string"},{"name":"quantity","type":"long"}]}"#;
/// What the pipeline wants.
const WANTED: &str = r#"{"type":"record","name":"Order","namespace":"store","fields":[{"name":"id","type":"string"},
    {"name":"amount","type":"double","aliases":["quantity"]},{"name":"note","type":["null","string"],"default":null}]}"#;
const PRICED: &str = r#"{"type":"record","name":"Priced","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"total","type":"double"}]}"#;

/// The registry, and what the commands and the pipeline of a test find in its folder.
fn set_up(site: &Site, name: &str) -> SchemaRegistry {
    let registry = SchemaRegistry::start();
    registry.only_for("mill", "s3cret");
    site.write("password", "s3cret");
    let named = format!(
        "registry: {{ url: \"{}\", auth: {{ basic: {{ user: mill, password: \"${{file:password}}\" }} }} }}\n",
        registry.url()
    );
    site.write("millstream.yaml", &named);
    for (file, schema) in [("v1.avsc", V1), ("v2.avsc", V2), ("wanted.avsc", WANTED), ("priced.avsc", PRICED)] {
        site.write(file, schema);
    }
    site.write(
        "pipeline.yaml",
        &format!(
            "pipeline: {name}\n{named}defaults: {{ topics: {{ partitions: 2 }} }}\n\
             source: {{ topic: {name}.raw, format: avro, schema: wanted.avsc, id: .id }}\n\
             stages:\n\
             \x20 - {{ name: some, filter: where, with: .amount > 0, to: {{ format: {{ avro: {{ register: true }} }} }} }}\n\
             \x20 - name: priced\n\
             \x20   filter: map\n\
             \x20   with: '. = {{ \"id\": .id, \"total\": .amount * 2.0 }}'\n\
             \x20   to: {{ format: {{ avro: {{ schema: priced.avsc, subject: record, register: true }} }} }}\n"
        ),
    );
    registry
}

fn old(id: usize) -> String {
    json!({ "id": format!("o{id}"), "quantity": id, "old": "x" }).to_string()
}

fn new(id: usize) -> String {
    json!({ "id": format!("n{id}"), "quantity": id, "note": "new" }).to_string()
}

/// The payloads of a topic; by the registry, unless they are wanted `bare`.
fn payloads(site: &Site, topic: &str, bare: bool) -> Vec<Value> {
    let mut command = site.command(["consume", topic, "--until-end"]);
    command.args(bare.then_some("--bare"));
    let out = command.output().expect("consume starts");
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(|l| serde_json::from_str::<Value>(l).expect("a line of JSON")["value"].clone()).collect()
}

/// What is wrong with what came of `count` old orders and as many new ones, from number 1 on.
fn wrong(site: &Site, name: &str, count: usize) -> Vec<String> {
    let mut totals: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for value in payloads(site, &format!("{name}.priced"), false) {
        let id = value["id"].as_str().unwrap_or("none").to_owned();
        totals.entry(id).or_default().push(value["total"].as_f64().unwrap_or(-1.0));
    }
    let mut wrong = Vec::new();
    for n in 1..=count {
        for id in [format!("o{n}"), format!("n{n}")] {
            match totals.remove(&id).as_deref() {
                Some([total]) if *total == 2.0 * n as f64 => {}
                None => wrong.push(format!("{id} is lost")),
                other => wrong.push(format!("{id} came as {other:?}")),
            }
        }
    }
    wrong.extend(totals.into_keys().map(|id| format!("{id} was not sent")));
    wrong
}

fn passes(site: &Site, name: &str) {
    let registry = set_up(site, name);
    let (raw, some) = (format!("{name}.raw"), format!("{name}.some"));
    let lines: Vec<String> = (0..=20).map(old).collect();
    site.produce(&raw, &lines, &["--create", "--partitions", "2", "--schema", "v1.avsc", "--register"]);
    let file = site.folder().join("pipeline.yaml");
    let mut worker = site.run("worker", &file);
    let came = |wanted: usize| payloads(site, &format!("{name}.priced"), true).len() >= wanted;
    assert!(wait_until(PATIENCE, || came(20)), "{}", tail(&worker.stderr()));

    // A newer schema, while the pipeline runs; and everything that can be wrong, each a letter of its own.
    let narrow = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
    // Numbers whose bytes are text.
    registry.register_as(0x0f20, "other", "syntax = \"proto3\";", "PROTOBUF", json!([]));
    registry.register_as(0x0f21, "other", narrow, "AVRO", json!([]));
    let broken: &[(&str, &str)] = &[
        ("avro_magic_byte", "{\"id\":\"a\"}"),
        ("avro_truncated", "\0\0"),
        ("avro_truncated", "\0\0\0\0\x01\x06a"),
        ("invalid_avro", "\0\0\0\0\x01\x01"),
        ("avro_unknown_schema", "\0\0\0\x10\0x"),
        ("avro_unusable_schema", "\0\0\0\x0f\u{20}x"),
        ("avro_schema_mismatch", "\0\0\0\x0f\u{21}\x02a"),
    ];
    let texts: Vec<String> = broken.iter().map(|(_, text)| (*text).to_owned()).collect();
    site.produce(&raw, &texts, &[]);
    let lines: Vec<String> = (1..=20).map(new).collect();
    site.produce(&raw, &lines, &["--schema", "v2.avsc", "--register"]);
    assert!(wait_until(PATIENCE, || came(40)), "{}", tail(&worker.stderr()));
    worker.kill();
    let summary = site.until_idle("rest", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    assert_eq!(wrong(site, name, 20), [""; 0]);

    // What was let pass is what was read, number and all.
    let (before, after) = (payloads(site, &raw, true), payloads(site, &some, true));
    assert!(after.len() == 40 && after.iter().all(|payload| before.contains(payload)), "{after:?}");
    let letters = site.command(["dlq", "ls", name, "-o", "json"]).output().expect("dlq starts");
    let letters: Value = serde_json::from_slice(&letters.stdout).expect("JSON");
    let letters = letters.to_string();
    for (code, _) in broken {
        assert!(letters.contains(&format!("\"{code}\"")), "{code} is not in {letters}");
    }
    let dead = payloads(site, &format!("{some}.dlq"), true);
    assert!(dead.len() == broken.len() && dead.iter().all(|payload| before.contains(payload)), "{dead:?}");
    // Registered where the pipeline said so, under the names of its strategies, and each schema fetched once a process.
    let subjects = registry.subjects();
    let names: Vec<&str> = subjects.keys().map(String::as_str).filter(|name| *name != "other").collect();
    assert_eq!(names, [format!("{raw}-value").as_str(), &format!("{some}-value"), "shop.Priced"]);
    assert!(registry.calls("GET /api/schemas/ids/1") <= 12, "{}", registry.calls("GET /api/schemas/ids/1"));
}

#[test]
fn schemas_of_a_registry_move_on_on_the_embedded_log() {
    passes(&Site::embedded(), "moving");
}

#[test]
fn schemas_of_a_registry_move_on_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("moving"));
}

/// A process that starts while the registry answers so is killed, and another one goes on until it answers again.
fn through_outage(site: &Site, name: &str, outage: Reply) -> Vec<String> {
    let registry = set_up(site, name);
    let raw = format!("{name}.raw");
    let (before, after): (Vec<String>, Vec<String>) = (1..=30).map(|n| (old(n), new(n))).unzip();
    site.produce(&raw, &before, &["--create", "--partitions", "2", "--schema", "v1.avsc", "--register"]);
    site.produce(&raw, &after, &["--schema", "v2.avsc", "--register"]);
    // What is written can be, so that the outage is met by what is read.
    registry.register(&format!("{name}.some-value"), WANTED);
    registry.register("shop.Priced", PRICED);
    let file = site.folder().join("pipeline.yaml");
    registry.fail(Some(outage));
    let mut first = site.run("first", &file);
    first.wait_for_stderr("the schema registry gives no answer", PATIENCE);
    let calls = registry.calls("");
    assert!(wait_until(PATIENCE, || registry.calls("") > calls + 3), "it asks again");
    assert_eq!(first.stderr().matches("the schema registry gives no answer").count(), 1, "once an outage");
    first.kill();
    let mut second = site.run("second", &file);
    let calls = registry.calls("");
    assert!(wait_until(PATIENCE, || registry.calls("") > calls + 3), "{}", tail(&second.stderr()));
    registry.fail(None);
    let came = || payloads(site, &format!("{name}.priced"), true).len() == 60;
    assert!(wait_until(PATIENCE, came), "{}", tail(&second.stderr()));
    assert!(second.ended().is_none(), "{}", tail(&second.stderr()));
    assert!(site.read(&format!("{name}.some.dlq")).is_empty(), "an outage is no record's fault");
    second.signal("TERM");
    second.wait(PATIENCE);
    wrong(site, name, 30)
}

#[test]
fn a_registry_that_is_away_loses_nothing_on_the_embedded_log() {
    assert_eq!(through_outage(&Site::embedded(), "away", Reply::status(503)), [""; 0]);
}

#[test]
fn a_registry_that_is_away_loses_nothing_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    assert_eq!(through_outage(&site, &unique("away"), Reply::status(500)), [""; 0]);
}

/// Negative control: a registry that says of all schemas that there are none, in place of one that is away, makes dead letters of
/// good records, and they are missed.
#[test]
fn schemas_that_are_not_there_are_missed() {
    let none = r#"{"error_code":40403,"message":"Schema not found"}"#;
    let found = registry_without(none);
    assert!(found.iter().filter(|line| line.ends_with("is lost")).count() >= 30, "{found:?}");
}

fn registry_without(answer: &str) -> Vec<String> {
    let site = Site::embedded();
    let registry = set_up(&site, "none");
    let lines: Vec<String> = (1..=30).map(old).collect();
    site.produce("none.raw", &lines, &["--create", "--schema", "v1.avsc", "--register"]);
    registry.register("none.some-value", WANTED);
    registry.register("shop.Priced", PRICED);
    // The numbers of outputs are asked by other calls.
    let id = registry.subjects()["none.raw-value"][0];
    registry.forget(id, answer);
    site.until_idle("all", &site.folder().join("pipeline.yaml"), PATIENCE);
    wrong(&site, "none", 30)
}

#[test]
fn a_schema_that_is_not_registered_stops_the_stage() {
    let site = Site::embedded();
    let registry = set_up(&site, "none");
    site.produce("none.raw", &[old(1)], &["--create", "--schema", "v1.avsc", "--register"]);
    let text = std::fs::read_to_string(site.folder().join("pipeline.yaml")).expect("a pipeline");
    let file = site.write("pipeline.yaml", &text.replace("subject: record, register: true", "subject: topic-record"));
    let out = site.command(["run", "--until-idle"]).arg(&file).output().expect("run starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("`none.priced-shop.Priced`"), "{said}");
    assert!(said.contains("schema_not_registered"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    assert!(!registry.subjects().contains_key("none.priced-shop.Priced"));
}

#[test]
fn check_asks_the_registry() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let (site, name) = (Site::kafka(cluster.bootstrap(), SESSION), unique("asked"));
    let registry = set_up(&site, &name);
    site.produce(&format!("{name}.raw"), &[old(1)], &["--create", "--schema", "v1.avsc", "--register"]);
    let check = || {
        let out = site.command(["check", "pipeline.yaml"]).output().expect("check starts");
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    assert_eq!(registry.subjects().len(), 1, "nothing is registered by a check");
    registry.register("shop.Priced", V1);
    registry.refuse("the field `total` has no default");
    let (status, said) = check();
    assert!(status == Some(1) && said.contains("`shop.Priced`: the field `total` has no default"), "{said}");
    let strict = WANTED.replace(",\"default\":null", "");
    site.write("wanted.avsc", &strict);
    let (status, said) = check();
    assert!(status == Some(1) && said.contains("the field `note` was not written"), "{said}");
}
