//! The flagship is changed while orders flow: safe changes go through, an unsafe one waits for a person, and what comes out
//! is what comes out of it unchanged.

use std::collections::BTreeMap;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::root;
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

use crate::shop::{OUTPUTS, Outcome, STAGES, Shop, invoice};
use crate::{PATIENCE, SESSION, make_orders};

/// Ids and payloads by key and invoice, in their order.
type Lines = BTreeMap<(Option<String>, String), Vec<(String, Value)>>;

/// By their roots: a stage more on the way makes other ids.
fn lines(outcome: &Outcome, output: &str) -> Lines {
    let mut lines = Lines::new();
    for record in outcome.records(output) {
        let id = record.id().and_then(root).expect("an id with its root").to_owned();
        let of = (record.key.clone(), invoice(&record.value).to_owned());
        lines.entry(of).or_default().push((id, record.value.clone()));
    }
    lines
}

/// Payload, key and code, sorted: a stage in between makes another input topic.
fn letters(outcome: &Outcome, stage: &str) -> Vec<(String, Option<String>, String)> {
    let mut letters: Vec<_> = outcome
        .letters(stage)
        .into_iter()
        .map(|mut letter| (letter.value, letter.key, letter.headers.remove("code").expect("a code")))
        .collect();
    letters.sort();
    letters
}

/// A shop with more to do than is done in a moment.
fn busy(site: Site, name: &str) -> Shop {
    let shop = Shop::new(site, name);
    make_orders(&shop.folder().join("data"), Some("2000"));
    shop
}

fn changed_while_orders_flow(site: Site, name: &str) {
    let whole = busy(Site::embedded(), name);
    whole.run();
    let shop = busy(site, name);
    let flows = |stage: &str| {
        let topic = shop.topic(stage);
        assert!(wait_until(PATIENCE, || !shop.site().read(&topic).is_empty()), "nothing came to {topic}");
    };
    let end = |mut process: Process| {
        process.signal("TERM");
        process.succeed(PATIENCE);
    };
    let before = shop.start("before");
    flows("orders");

    // A stage at the end, more replicas, and other words for the same: another process takes that up beside the first.
    shop.change("  replicas: ${env:RETAIL_REPLICAS:-1}", "  replicas: 2 #");
    shop.change(
        "    filter: map\n    with: |\n      . = {\n        \"order\"",
        "    timeout: 20s\n    filter: map\n    with: |\n      . = {\n        \"order\"",
    );
    shop.change("\ntests:\n", "\n  - name: audit\n    filter: where\n    with: .line.sku != \"\"\n\ntests:\n");
    let mut after = shop.start("after");
    after.wait_for_stderr("stage `audit` is new", PATIENCE);
    end(before);
    flows("audit");

    // A stage in between would read what was read: that takes a person's word.
    shop.change("  - name: price ", "  - name: mask\n    filter: where\n    with: \"true\"\n\n  - name: price ");
    let mut refused = shop.start("refused");
    assert_eq!(refused.wait(PATIENCE).code(), Some(1), "{}", refused.stderr());
    let said = refused.stderr();
    assert!(said.contains("stage `mask` is inserted before `price`") && said.contains("millstream apply"), "{said}");
    assert!(after.ended().is_none(), "what runs goes on: {}", after.stderr());
    end(after);
    let file = shop.pipeline();
    shop.site().start("apply", &["apply", file.to_str().expect("a path in UTF-8")]).succeed(PATIENCE);
    let summary = shop.site().until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");

    let (whole, changed) = (whole.outcome(), shop.outcome());
    for output in OUTPUTS {
        assert_eq!(lines(&whole, output), lines(&changed, output), "{output}");
    }
    for stage in STAGES {
        assert_eq!(letters(&whole, stage), letters(&changed, stage), "dead letters of {stage}");
    }
    let audited = shop.site().read(&shop.topic("audit")).len();
    assert_eq!(audited, changed.records("orders").len(), "the stage at the end has read everything once");
}

#[test]
fn changed_while_orders_flow_on_the_embedded_log() {
    changed_while_orders_flow(Site::embedded(), "retail-orders");
}

#[test]
fn changed_while_orders_flow_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    changed_while_orders_flow(Site::kafka(cluster.bootstrap(), SESSION), &unique("changed"));
}
