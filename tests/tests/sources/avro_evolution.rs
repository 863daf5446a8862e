//! `pipelines/avro-evolution`: a shop with an older schema and one with a newer one write to the topic that the pipeline reads,
//! while it runs and is killed.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{tail, wait_until};
use millstream_tests::schema_registry::SchemaRegistry;
use millstream_tests::site::Site;
use millstream_tests::workspace;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION, shown};

const FILES: [&str; 3] = ["old-shop.yaml", "new-shop.yaml", "pipeline.yaml"];
const SCHEMAS: [&str; 3] = ["order-1.avsc", "order-2.avsc", "total.avsc"];

/// The total of order `n`, where there is one.
fn total(shop: &str, n: u64) -> Option<Value> {
    let currency = if shop == "old" { "EUR" } else { "NOK" };
    let quantity = n % 4;
    (quantity > 0).then(|| json!({ "id": format!("{shop}-{n}"), "cents": quantity * (100 + n), "currency": currency }))
}

fn evolves(site: &Site, name: &str) {
    let registry = SchemaRegistry::start();
    site.write("millstream.yaml", &format!("registry: {{ url: \"{}\" }}\n", registry.url()));
    let from = workspace().join("pipelines/avro-evolution");
    let read = |name: &str| std::fs::read_to_string(from.join(name)).expect("it is there");
    std::fs::create_dir_all(site.folder().join("schemas")).expect("a folder");
    for schema in SCHEMAS {
        let at = format!("schemas/{schema}");
        site.write(&at, &read(&at));
    }
    // On one cluster with others: names and the address of the registry are of this test.
    let own = |text: String| {
        let url = "${env:SCHEMA_REGISTRY_URL:-http://localhost:8081}";
        assert!(text.contains(url), "the registry is named otherwise:\n{text}");
        let text = text.replace(url, &registry.url()).replace("pipeline: ", &format!("pipeline: {name}-"));
        text.replace("shop.orders", &format!("{name}.orders")).replace("shop.totals", &format!("{name}.totals"))
    };
    let [old, new, pipeline] = FILES.map(|file| site.write(file, &own(read(file))));

    site.until_idle("old", &old, PATIENCE);
    let mut worker = site.run("worker", &pipeline);
    let totals = format!("{name}.totals");
    let came = |count: usize| {
        let out = site.command(["consume", &totals, "--until-end", "--bare"]).output().expect("consume starts");
        out.stdout.iter().filter(|byte| **byte == b'\n').count() >= count
    };
    assert!(wait_until(PATIENCE, || came(75)), "{}", tail(&worker.stderr()));
    site.until_idle("new", &new, PATIENCE);
    assert!(wait_until(PATIENCE, || came(76)), "{}", tail(&worker.stderr()));
    worker.kill();
    site.until_idle("rest", &pipeline, PATIENCE);

    let mut wanted: Vec<Value> =
        ["old", "new"].iter().flat_map(|shop| (0..100).filter_map(|n| total(shop, n))).collect();
    wanted.sort_by_key(|value| value["id"].to_string());
    assert_eq!(shown(site, &totals, &[]), wanted);
    let versions = &registry.subjects()[&format!("{name}.orders-value")];
    assert_eq!(versions.len(), 2, "an older and a newer schema under one subject");
}

#[test]
fn producers_move_to_a_newer_schema_on_the_embedded_log() {
    evolves(&Site::embedded(), "evolving");
}

#[test]
fn producers_move_to_a_newer_schema_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    evolves(&Site::kafka(cluster.bootstrap(), SESSION), &unique("evolving"));
}
