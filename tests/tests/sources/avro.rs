//! Avro with a schema in a file: typed at the check, read and written by other programs' rules, the same bytes where nothing is
//! touched, and a dead letter with the original bytes where a payload is none.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION, shown};

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"string"},
    {"name":"quantity","type":"int"},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"note","type":["null","string"],"default":null}]}"#;

const PRICED: &str = r#"{"type":"record","name":"Priced","fields":[
    {"name":"id","type":"string"},
    {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","SMALL"]},"default":"NEW"}]}"#;

fn pipeline(name: &str, total: &str) -> String {
    format!(
        "pipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: avro, schema: order.avsc, id: .id }}\n\
         stages:\n\
         \x20 - {{ name: some, filter: where, with: .quantity > 0, to: {{ format: avro }} }}\n\
         \x20 - name: priced\n\
         \x20   filter: map\n\
         \x20   with: '. = {{ \"id\": .id, \"total\": {total}, \"at\": .at }}'\n\
         \x20   to: {{ format: {{ avro: {{ schema: priced.avsc }} }} }}\n"
    )
}

fn passes(site: &Site, name: &str) {
    site.write("order.avsc", ORDER);
    site.write("priced.avsc", PRICED);
    let raw = format!("{name}.raw");
    let order = |id: &str, quantity: i32, note: Value| json!({ "id": id, "quantity": quantity, "price": "12.50", "at": "2026-11-22T08:30:00.250Z", "note": note });
    let orders = [order("a", 2, Value::Null), order("b", 0, json!("none")), order("c", 10, json!("gift"))];
    let lines: Vec<String> = orders.iter().map(ToString::to_string).collect();
    site.produce(&raw, &lines, &["--create", "--partitions", "2", "--schema", "order.avsc"]);
    site.produce(&raw, &["no datum at all".to_owned()], &[]);

    let file = site.write("avro.yaml", &pipeline(name, ".price"));
    let summary = site.until_idle("all", &file, PATIENCE);
    let first = &summary["pipelines"][0]["stages"][0];
    assert_eq!((first["read"].as_u64(), first["dead_lettered"].as_u64()), (Some(4), Some(1)), "{summary}");

    // Nothing was touched: the very same bytes, which are no text.
    let some = format!("{name}.some");
    let bytes = shown(site, &some, &[]);
    assert!(bytes.len() == 2 && bytes.iter().all(|payload| payload["base64"].is_string()), "{bytes:?}");
    assert!(bytes.iter().all(|payload| shown(site, &raw, &[]).contains(payload)), "{bytes:?}");
    assert_eq!(shown(site, &some, &["--schema", "order.avsc"]), [orders[0].clone(), orders[2].clone()]);
    let priced = |id: &str| json!({ "id": id, "total": "12.50", "at": "2026-11-22T08:30:00.250Z", "state": "NEW" });
    assert_eq!(shown(site, &format!("{name}.priced"), &["--schema", "priced.avsc"]), [priced("a"), priced("c")]);
    // The letter has the bytes that came.
    assert_eq!(shown(site, &format!("{name}.some.dlq"), &[]), [json!("no datum at all")]);
    let letters = site.command(["dlq", "ls", name, "-o", "json"]).output().expect("dlq starts");
    assert!(String::from_utf8_lossy(&letters.stdout).contains("invalid_avro"), "{letters:?}");

    // A line that is none of the schema is said with its number and its field; those before it are there.
    site.write("two.jsonl", &format!("{}\n{{\"id\":\"e\",\"quantity\":\"x\"}}\n", lines[0]));
    let mut wrong = site.command(["produce", &raw, "--schema", "order.avsc", "--file", "two.jsonl"]);
    let out = wrong.output().expect("produce starts");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("line 2: `.quantity` is of type string"), "{said}");
}

#[test]
fn avro_is_read_and_written_on_the_embedded_log() {
    passes(&Site::embedded(), "avro");
}

#[test]
fn avro_is_read_and_written_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("avro"));
}

#[test]
fn types_of_a_schema_are_checked_before_the_run() {
    let site = Site::embedded();
    site.write("order.avsc", ORDER);
    site.write("priced.avsc", PRICED);
    let refused = |total: &str, wanted: &str| {
        let file = site.write("avro.yaml", &pipeline("avro", total));
        let out = site.command(["check"]).arg(file).output().expect("check starts");
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.code() == Some(2) && said.contains(wanted), "{said}");
    };
    // What comes in has no such field, and what goes out takes no such value.
    refused(".prise", "`.total` is of type null");
    refused("true", "`.total` is of type boolean");
    refused(".price, \"totl\": 1", "`.totl` is no field of it");
}
