//! Protobuf whose schemas are in a registry: producers move to a newer schema while the pipeline runs and dies, what the pipeline does not
//! know of it is kept, and each thing that can be wrong with a payload is a dead letter of its own kind. The control is another message of
//! the same schema, which would fit: if the place of the message were not heeded, it would be among the orders.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{tail, wait_until};
use millstream_tests::schema_registry::SchemaRegistry;
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION};

const V1: &str = "syntax = \"proto3\"; package shop; message Order { string id = 1; int32 quantity = 2; }";
/// The message is not the first one any more.
const V2: &str = "syntax = \"proto3\"; package shop; message Refund { string id = 1; }\n\
                  message Order { string id = 1; int32 quantity = 2; string note = 3; }";
const PRICED: &str =
    "syntax = \"proto3\"; package shop; message Other {} message Priced { string id = 1; int64 total = 2; }";

/// The registry, and what the commands and the pipeline of a test find in its folder.
fn set_up(site: &Site, name: &str) -> SchemaRegistry {
    let registry = SchemaRegistry::start();
    let named = format!("registry: {{ url: \"{}\" }}\n", registry.url());
    site.write("millstream.yaml", &named);
    for (file, schema) in [("v1.proto", V1), ("v2.proto", V2), ("priced.proto", PRICED)] {
        site.write(file, schema);
    }
    site.write(
        "pipeline.yaml",
        &format!(
            "pipeline: {name}\n{named}defaults: {{ topics: {{ partitions: 2 }} }}\n\
             source: {{ topic: {name}.raw, format: protobuf, schema: v1.proto, id: .id }}\n\
             stages:\n\
             \x20 - {{ name: some, filter: where, with: .quantity > 0, to: {{ format: {{ protobuf: {{ register: true }} }} }} }}\n\
             \x20 - {{ name: more, filter: map, with: .quantity = .quantity + 1, to: {{ format: {{ protobuf: {{ register: true }} }} }} }}\n\
             \x20 - name: priced\n\
             \x20   filter: map\n\
             \x20   with: '. = {{ \"id\": .id, \"total\": .quantity * 2 }}'\n\
             \x20   to: {{ format: {{ protobuf: {{ schema: priced.proto, message: Priced, subject: record, register: true }} }} }}\n"
        ),
    );
    registry
}

/// The payloads of a topic; by a schema, by the registry, or bare.
fn payloads(site: &Site, topic: &str, how: &[&str]) -> Vec<Value> {
    let out = site.command(["consume", topic, "--until-end"]).args(how).output().expect("consume starts");
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(|l| serde_json::from_str::<Value>(l).expect("a line of JSON")["value"].clone()).collect()
}

fn orders(range: std::ops::RangeInclusive<usize>, note: Option<&str>) -> Vec<String> {
    let one = |n: usize| match note {
        Some(note) => json!({ "id": format!("n{n}"), "quantity": n, "note": note }),
        None => json!({ "id": format!("o{n}"), "quantity": n }),
    };
    range.map(|n| one(n).to_string()).collect()
}

fn passes(site: &Site, name: &str) {
    let registry = set_up(site, name);
    let (raw, some) = (format!("{name}.raw"), format!("{name}.some"));
    let v1 = ["--create", "--partitions", "2", "--schema", "v1.proto", "--register"];
    site.produce(&raw, &orders(0..=10, None), &v1);
    let file = site.folder().join("pipeline.yaml");
    let mut worker = site.run("worker", &file);
    let priced = format!("{name}.priced");
    let came = |wanted: usize| payloads(site, &priced, &["--bare"]).len() >= wanted;
    assert!(wait_until(PATIENCE, || came(10)), "{}", tail(&worker.stderr()));

    // Numbers whose bytes are text.
    registry.register_as(0x0f20, "other", "\"int\"", "AVRO", json!([]));
    registry.register_as(0x0f21, "other", "syntax = \"proto3\"; import \"x.proto\";", "PROTOBUF", json!([]));
    let broken: &[(&str, &str)] = &[
        ("protobuf_magic_byte", "{\"id\":\"a\"}"),
        ("protobuf_truncated", "\0\0"),
        ("protobuf_truncated", "\0\0\0\0\x01"),
        ("invalid_protobuf", "\0\0\0\0\x01\0\x12\x05a"),
        ("protobuf_unknown_schema", "\0\0\0\x10\0\0x"),
        ("protobuf_unusable_schema", "\0\0\0\x0f\u{20}\0x"),
        ("protobuf_unusable_schema", "\0\0\0\x0f\u{21}\0x"),
        ("protobuf_unusable_schema", "\0\0\0\0\x01\x02\x06"),
    ];
    let texts: Vec<String> = broken.iter().map(|(_, text)| (*text).to_owned()).collect();
    site.produce(&raw, &texts, &[]);
    let v2 = |message: &'static str| ["--schema", "v2.proto", "--message", message, "--register"];
    site.produce(&raw, &[json!({ "id": "r" }).to_string()], &v2("Refund"));
    site.produce(&raw, &orders(1..=10, Some("new")), &v2("Order"));
    assert!(wait_until(PATIENCE, || came(15)), "{}", tail(&worker.stderr()));
    worker.kill();
    let summary = site.until_idle("rest", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");

    let mut all = payloads(site, &priced, &[]);
    all.sort_by_key(ToString::to_string);
    let want = |n: usize| ["n", "o"].map(|kind| json!({ "id": format!("{kind}{n}"), "total": 2 * (n + 1) }));
    let mut wanted: Vec<Value> = (1..=10).flat_map(want).collect();
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(all, wanted);
    // What was let pass is what was read, number and all; what was changed keeps what the pipeline does not know.
    let (before, after) = (payloads(site, &raw, &["--bare"]), payloads(site, &some, &["--bare"]));
    assert!(after.len() == 20 && after.iter().all(|payload| before.contains(payload)), "{after:?}");
    let more = payloads(site, &format!("{name}.more"), &["--bare"]);
    let noted = |value: &&Value| value.as_str().is_some_and(|text| text.contains("\u{1a}\u{3}new"));
    assert_eq!((more.len(), more.iter().filter(noted).count()), (20, 10), "{more:?}");
    let letters = site.command(["dlq", "ls", name, "-o", "json"]).output().expect("dlq starts");
    let letters = String::from_utf8_lossy(&letters.stdout).into_owned();
    for code in broken.iter().map(|(code, _)| *code).chain(["protobuf_schema_mismatch"]) {
        assert!(letters.contains(&format!("\"{code}\"")), "{code} is not in {letters}");
    }
    let dead = payloads(site, &format!("{some}.dlq"), &["--bare"]);
    assert!(dead.len() == broken.len() + 1 && dead.iter().all(|payload| before.contains(payload)), "{dead:?}");
    let subjects = registry.subjects();
    let names: Vec<&str> = subjects.keys().map(String::as_str).filter(|name| *name != "other").collect();
    assert_eq!(
        names,
        [&format!("{name}.more-value"), &format!("{raw}-value"), &format!("{some}-value"), "shop.Priced"]
    );
}

#[test]
fn protobuf_of_a_registry_moves_on_on_the_embedded_log() {
    passes(&Site::embedded(), "messages");
}

#[test]
fn protobuf_of_a_registry_moves_on_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("messages"));
}
