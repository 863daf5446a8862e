//! MessagePack and CBOR: typed by `fields`, the same bytes where nothing is touched, and dead letters with the original bytes
//! where a payload is none or has what no value stands for.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION, shown};

fn pipeline(name: &str) -> String {
    format!(
        "pipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: msgpack, fields: {{ id: string, price: number, lines: any }}, id: .id }}\n\
         stages:\n\
         \x20 - {{ name: some, filter: where, with: .price > 1, to: {{ format: msgpack }} }}\n\
         \x20 - {{ name: dear, filter: map, with: .price = .price * 2, to: {{ format: cbor }} }}\n\
         \x20 - {{ name: plain, filter: map, with: .seen = true, to: {{ format: json }} }}\n"
    )
}

fn passes(site: &Site, name: &str) {
    let raw = format!("{name}.raw");
    let orders = [
        json!({ "id": "a", "price": 2.5, "lines": [{ "sku": "cup", "n": i64::MAX }] }),
        json!({ "id": "b", "price": 1, "lines": [] }),
        json!({ "id": "c", "price": 3, "lines": null }),
    ];
    let lines: Vec<String> = orders.iter().map(ToString::to_string).collect();
    site.produce(&raw, &lines, &["--create", "--partitions", "2", "--format", "msgpack"]);
    // The number 1, and something behind it.
    site.produce(&raw, &["\u{1}more".to_owned()], &[]);

    let file = site.write("packed.yaml", &pipeline(name));
    let summary = site.until_idle("all", &file, PATIENCE);
    let first = &summary["pipelines"][0]["stages"][0];
    assert_eq!((first["read"].as_u64(), first["dead_lettered"].as_u64()), (Some(4), Some(1)), "{summary}");

    // Nothing was touched: the very same bytes, which are no text.
    let some = format!("{name}.some");
    let (before, after) = (shown(site, &raw, &[]), shown(site, &some, &[]));
    assert!(after.len() == 2 && after.iter().all(|payload| payload["base64"].is_string()), "{after:?}");
    assert!(after.iter().all(|payload| before.contains(payload)), "{after:?} of {before:?}");
    assert_eq!(shown(site, &some, &["--format", "msgpack"]), [orders[0].clone(), orders[2].clone()]);

    let dear = |of: &Value, price: f64| {
        let mut of = of.clone();
        of["price"] = json!(price);
        of
    };
    let wanted = [dear(&orders[0], 5.0), dear(&orders[2], 6.0)];
    assert_eq!(shown(site, &format!("{name}.dear"), &["--format", "cbor"]), wanted);
    let plain = wanted.map(|mut order| {
        order["seen"] = json!(true);
        order
    });
    assert_eq!(shown(site, &format!("{name}.plain"), &[]), plain);

    // The letter has the bytes that came, and says what is wrong where.
    assert_eq!(shown(site, &format!("{name}.some.dlq"), &[]), [json!("\u{1}more")]);
    let letters = site.command(["dlq", "show", name, "-o", "json"]).output().expect("dlq starts");
    let said = String::from_utf8_lossy(&letters.stdout);
    assert!(said.contains("invalid_msgpack") && said.contains("4 bytes are left at byte 1 of 5"), "{letters:?}");
}

#[test]
fn packed_payloads_are_read_and_written_on_the_embedded_log() {
    passes(&Site::embedded(), "packed");
}

#[test]
fn packed_payloads_are_read_and_written_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("packed"));
}
