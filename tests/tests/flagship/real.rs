//! The real orders through the flagship, compared with [`expected`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_tests::checker::root;
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::expected::{self, Expected, Payload};
use crate::shop::{self, Outcome, Shop, Stage};

/// Runs them on a log and compares record by record.
pub fn come_out_as_computed(site: Site, name: &str) {
    let Some(file) = shop::real_orders() else { return };
    let (list, written) = expected::price_list(&file);
    let expected = expected::compute(&file, &list);
    assert_eq!(expected.rows, 50_062, "the real file");
    let shop = Shop::new(site, name);
    fs::write(shop.folder().join("data/orders.csv"), &file).expect("the orders");
    fs::write(shop.folder().join("data/prices.csv"), written).expect("the price list");

    let stages = shop.run();
    assert_eq!(stages, counts(&expected));
    let outcome = shop.outcome();
    for output in shop::OUTPUTS {
        records(output, &expected, &outcome);
    }
    letters("validate", &expected.broken, &outcome);
    letters("price", &expected.unlisted, &outcome);
    for stage in ["clean", "split", "orders"] {
        assert!(outcome.letters(stage).is_empty(), "dead letters of {stage}");
    }
    ids_follow_a_line_end_to_end(&outcome);
}

/// The summary that must be printed.
fn counts(expected: &Expected) -> Vec<Stage> {
    let count = |output| expected.count(output);
    let stage = |name: &str, read, outputs| Stage { read, forwarded: outputs, outputs, ..Stage::nothing(name) };
    let (broken, unlisted) = (expected.broken.len() as u64, expected.unlisted.len() as u64);
    let free = BTreeMap::from([("where".to_owned(), expected.free)]);
    vec![
        Stage {
            duplicates: expected.duplicates,
            dead_lettered: broken,
            ..stage("validate", expected.rows, count("validate"))
        },
        Stage { dropped: free, ..stage("clean", count("validate"), count("clean")) },
        Stage { dead_lettered: unlisted, ..stage("price", count("clean"), count("price")) },
        stage("split", count("price"), count("price")),
        stage("orders", count("split.sales") + count("split.guests"), count("orders")),
    ]
}

/// Payloads and keys of an output, in order per invoice.
fn records(output: &str, expected: &Expected, outcome: &Outcome) {
    let mut found: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for record in outcome.records(output) {
        let invoice = shop::invoice(&record.value);
        let key = if output == "split.sales" { record.value["customer"].as_str() } else { Some(invoice) };
        assert_eq!(record.key.as_deref(), key, "{output}: {record:?}");
        found.entry(invoice).or_default().push(plain(&record.value));
    }
    let wanted = &expected.outputs[output];
    assert_eq!(found.len(), wanted.len(), "{output}: invoices");
    for (invoice, lines) in wanted {
        let lines: Vec<Value> = lines.iter().map(plain).collect();
        assert_eq!(found.get(invoice.as_str()), Some(&lines), "{output}: invoice {invoice}");
    }
}

/// Codes and payloads, whatever their order.
fn letters(stage: &str, expected: &[(&str, Payload)], outcome: &Outcome) {
    let mut wanted: Vec<(String, String)> = expected
        .iter()
        .map(|(code, payload)| {
            let value = match payload {
                Payload::Bytes(bytes) => json!({ "base64": STANDARD.encode(bytes) }),
                Payload::Json(value) => plain(value),
            };
            ((*code).to_owned(), value.to_string())
        })
        .collect();
    wanted.sort();
    let mut found: Vec<(String, String)> = outcome
        .letters(stage)
        .into_iter()
        .map(|letter| {
            assert_eq!((letter.headers["class"].as_str(), letter.headers["attempts"].as_str()), ("data", "1"));
            assert_eq!(letter.headers["stage"], stage);
            let value: Value = serde_json::from_str(&letter.value).expect("JSON");
            (letter.headers["code"].clone(), plain(&value).to_string())
        })
        .collect();
    found.sort();
    assert!(!wanted.is_empty(), "the real orders have dead letters in {stage}");
    assert_eq!(found, wanted, "dead letters of {stage}");
}

/// The root of an id names a line of the file in every topic it comes to.
fn ids_follow_a_line_end_to_end(outcome: &Outcome) {
    let roots = |output: &str| -> BTreeMap<String, String> {
        let records = outcome.records(output).iter();
        let pair = |r: &millstream_tests::checker::Seen| {
            (r.id().and_then(root).expect("checked").to_owned(), shop::invoice(&r.value).to_owned())
        };
        records.map(pair).collect()
    };
    let first = roots("validate");
    assert_eq!(first.len(), outcome.records("validate").len(), "roots that are there twice");
    for output in shop::OUTPUTS {
        for (root, invoice) in roots(output) {
            assert_eq!(first.get(&root), Some(&invoice), "{output}: root {root}");
        }
    }
    let parts: BTreeSet<String> =
        ["split.sales", "split.refunds", "split.guests"].into_iter().flat_map(|o| roots(o).into_keys()).collect();
    assert_eq!(parts, roots("price").into_keys().collect(), "every priced line is in one of the three");
}

/// Numbers as floats: `2` and `2.0` are one price.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => json!(n.as_f64()),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => Value::Object(members.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
        other => other.clone(),
    }
}
