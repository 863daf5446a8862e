//! Real orders: a change of the flagship, with the differences computed from what the live one wrote.

use std::collections::BTreeMap;
use std::fs;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::SESSION;
use crate::common::{replay, status};
use crate::shop::{self, Shop};

/// Rows of the file that are used.
const ROWS: usize = 8_000;

fn totals_are_doubled(site: Site, name: &str) {
    let Some(file) = shop::real_orders() else { return };
    let shop = Shop::new(site, name);
    let text = String::from_utf8_lossy(&file);
    let rows: Vec<&str> = text.lines().take(ROWS).collect();
    // Every other product is listed: the rest are dead letters.
    let mut codes: Vec<String> =
        rows.iter().skip(1).filter_map(|r| Some(r.split(',').nth(1)?.to_uppercase())).collect();
    codes.sort();
    codes.dedup();
    let listed = codes.iter().step_by(2).map(|code| format!("{code},product,3.5,20\n"));
    let list = format!("sku,product,list_price,vat_percent\n{}", listed.collect::<String>());
    fs::write(shop.folder().join("data/prices.csv"), list).expect("the price list");
    fs::write(shop.folder().join("data/orders.csv"), rows.join("\n") + "\n").expect("the orders");
    shop.run();
    let live = fs::read_to_string(shop.folder().join("pipeline.yaml")).expect("the pipeline");
    let order = "      . = {\n        \"order\"";
    let doubled = format!("      if .quantity >= 12 {{ .total = .total * 2 }}\n{order}");
    let changed = live.replace(order, &doubled);
    assert_ne!(live, changed);
    fs::write(shop.folder().join("changed.yaml"), changed).expect("the changed one");

    let mut expected: BTreeMap<String, Value> = BTreeMap::new();
    for record in shop.site().read(&shop.topic("orders")) {
        let line = &record.value["line"];
        if line["quantity"].as_i64().is_some_and(|n| n >= 12) {
            let total = line["total"].as_f64().expect("a total");
            let fields = json!({ ".line.total": { "live": total, "new": total * 2.0 } });
            expected.insert(record.id().expect("an id").to_owned(), fields);
        }
    }
    let all = ("start".to_owned(), "end".to_owned());
    let mut diff = replay(shop.site(), "diff", "shop/changed.yaml", &all, &["--diff", "-o", "json"]);
    assert_eq!(status(&mut diff), i32::from(!expected.is_empty()), "{}", diff.stderr());
    let found: Value = serde_json::from_str(&diff.stdout()).expect("a document");
    assert_eq!((&found["added"], &found["removed"]), (&json!([]), &json!([])));
    let entry = |e: &Value| (e["id"].as_str().expect("an id").to_owned(), floats(&e["fields"]));
    let changed: BTreeMap<String, Value> = found["changed"].as_array().expect("a list").iter().map(entry).collect();
    assert_eq!(changed, expected);
    assert!(changed.len() > 200, "the file has orders of 12 and more: {}", changed.len());
}

/// `17` and `17.0` are one total.
fn floats(fields: &Value) -> Value {
    let sides = &fields[".line.total"];
    assert_eq!(fields.as_object().map(serde_json::Map::len), Some(1), "{fields}");
    json!({ ".line.total": { "live": sides["live"].as_f64(), "new": sides["new"].as_f64() } })
}

#[test]
fn a_changed_flagship_differs_by_what_was_changed_on_the_embedded_log() {
    totals_are_doubled(Site::embedded(), "retail-orders");
}

#[test]
fn a_changed_flagship_differs_by_what_was_changed_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    totals_are_doubled(Site::kafka(cluster.bootstrap(), SESSION), &unique("retail"));
}
