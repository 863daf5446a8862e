//! Protobuf of a `.proto` file with imports: typed at the check, read and written by other programs' rules, the same bytes where
//! nothing is touched, fields that the file does not know kept where something is, and a dead letter with the original bytes where a
//! payload is none.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::json;

use crate::common::{PATIENCE, SESSION, shown};

const ORDER: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "shop/state.proto";
message Order {
  string id = 1;
  int32 quantity = 2;
  double price = 3;
  google.protobuf.Timestamp at = 4;
  optional string note = 5;
  State state = 6;
  repeated Line lines = 7;
  message Line { string sku = 1; }
}
"#;

const STATE: &str = "syntax = \"proto3\"; package shop; enum State { NEW = 0; PAID = 1; }\n";

const PRICED: &str = r#"syntax = "proto3";
package shop;
import "shop/state.proto";
message Other {}
message Priced { string id = 1; double total = 2; State state = 3; }
"#;

/// What producers already write: the pipeline's file does not know all of it.
const NEWER: &str = r#"syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  int32 quantity = 2;
  double price = 3;
  google.protobuf.Timestamp at = 4;
  optional string note = 5;
  int32 state = 6;
  repeated Line lines = 7;
  string added = 99;
  message Line { string sku = 1; string added = 2; }
}
"#;

fn pipeline(name: &str, total: &str) -> String {
    format!(
        "pipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: protobuf, schema: protos/order.proto, id: .id }}\n\
         stages:\n\
         \x20 - {{ name: some, filter: where, with: .quantity > 0, to: {{ format: protobuf }} }}\n\
         \x20 - {{ name: more, filter: map, with: .quantity = .quantity + 1, to: {{ format: protobuf }} }}\n\
         \x20 - name: priced\n\
         \x20   filter: map\n\
         \x20   with: '. = {{ \"id\": .id, \"total\": {total}, \"state\": .state }}'\n\
         \x20   to: {{ format: {{ protobuf: {{ schema: protos/priced.proto, message: Priced }} }} }}\n"
    )
}

fn set_up(site: &Site) {
    std::fs::create_dir_all(site.folder().join("protos/shop")).expect("a folder");
    let all = [("order", ORDER), ("shop/state", STATE), ("priced", PRICED), ("newer", NEWER)];
    all.iter().for_each(|(name, text)| drop(site.write(&format!("protos/{name}.proto"), text)));
}

fn passes(site: &Site, name: &str) {
    set_up(site);
    let raw = format!("{name}.raw");
    let order = |id: &str, quantity: i32, added: &str| {
        json!({ "id": id, "quantity": quantity, "price": 12.5, "at": "2026-11-22T08:30:00.250Z", "state": 1, "added": added,
            "lines": [{ "sku": "cup", "added": added }] })
    };
    let orders = [order("a", 2, "x"), order("b", 0, "y"), order("c", 10, "")];
    let lines: Vec<String> = orders.iter().map(ToString::to_string).collect();
    site.produce(&raw, &lines, &["--create", "--partitions", "2", "--schema", "protos/newer.proto"]);
    site.produce(&raw, &["no message at all".to_owned()], &[]);

    let file = site.write("protobuf.yaml", &pipeline(name, ".price"));
    let summary = site.until_idle("all", &file, PATIENCE);
    let first = &summary["pipelines"][0]["stages"][0];
    assert_eq!((first["read"].as_u64(), first["dead_lettered"].as_u64()), (Some(4), Some(1)), "{summary}");

    // Nothing was touched: the very same bytes.
    let newer = ["--schema", "protos/newer.proto"];
    assert_eq!(shown(site, &format!("{name}.some"), &newer), [orders[0].clone(), orders[2].clone()]);
    let (before, after) = (shown(site, &raw, &[]), shown(site, &format!("{name}.some"), &[]));
    assert!(after.len() == 2 && after.iter().all(|payload| before.contains(payload)), "{after:?}");
    // Something was: all else is there, known or not.
    let changed = [order("a", 3, "x"), order("c", 11, "")];
    assert_eq!(shown(site, &format!("{name}.more"), &newer), changed);
    let priced = |id: &str| json!({ "id": id, "total": 12.5, "state": "PAID" });
    let schema = ["--schema", "protos/priced.proto", "--message", "Priced"];
    assert_eq!(shown(site, &format!("{name}.priced"), &schema), [priced("a"), priced("c")]);
    // The letter has the bytes that came.
    assert_eq!(shown(site, &format!("{name}.some.dlq"), &[]), [json!("no message at all")]);
    let letters = site.command(["dlq", "ls", name, "-o", "json"]).output().expect("dlq starts");
    assert!(String::from_utf8_lossy(&letters.stdout).contains("invalid_protobuf"), "{letters:?}");
}

#[test]
fn protobuf_is_read_and_written_on_the_embedded_log() {
    passes(&Site::embedded(), "protobuf");
}

#[test]
fn protobuf_is_read_and_written_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("protobuf"));
}

#[test]
fn types_of_a_message_are_checked_before_the_run() {
    let site = Site::embedded();
    set_up(&site);
    let refused = |total: &str, wanted: &str| {
        let file = site.write("protobuf.yaml", &pipeline("protobuf", total));
        let out = site.command(["check"]).arg(file).output().expect("check starts");
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.code() == Some(2) && said.contains(wanted), "{said}");
    };
    // What comes in has no such field, and what goes out takes no such value, or has no such field.
    refused(".prise", "`.total` is of type null");
    refused("true", "`.total` is of type boolean");
    refused(".price, \"totl\": 1", "`.totl` is no field of `shop.Priced`");
}
