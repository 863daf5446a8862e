//! What the old reader has finished beyond its position is not done again by the stage that goes on in its place.

use std::collections::BTreeSet;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::Process;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::common::{PATIENCE, Play, SESSION};

const ORDERS: usize = 200;

/// The first record hangs and holds the position; all others end beyond it. Seen red with the metadata left out of what is
/// handed over: the new stage reads 200 records.
fn are_handed_over(site: &Site, name: &str) {
    let hung = std::sync::atomic::AtomicBool::new(false);
    let server = HttpServer::start(move |request| {
        let slow = request.text().contains("\"k0-0\"");
        if slow && !hung.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Reply::Hang;
        }
        Reply::json("{\"left\":7}")
    });
    let source = format!("{name}.raw");
    let text = |stages: &str| {
        format!(
            "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 1 }} }}\nsource: {{ topic: {source}, \
             format: json, fields: {{ id: string, key: string }}, id: .id }}\nstages:\n{stages}  - name: call\n    filter: \
             http\n    with: {{ url: \"{}\", into: .stock, timeout: 100s }}\n    timeout: 100s\n    concurrency: 64\n    \
             retry: {{ park_after: {{ attempts: 100, time: 1h }} }}\n",
            server.url("/stock")
        )
    };
    let before = site.write("before.yaml", &text(""));
    let after = site.write("after.yaml", &text("  - name: mask\n    filter: map\n    with: .masked = true\n"));
    let orders: Vec<String> =
        (0..ORDERS).map(|n| format!("{{\"id\":\"k{}-{n}\",\"key\":\"k{}\"}}", n % 50, n % 50)).collect();
    // The key of the first comes once: later ones would wait for it.
    let orders: Vec<String> =
        orders.into_iter().enumerate().filter(|(n, _)| *n == 0 || n % 50 != 0).map(|(_, order)| order).collect();
    site.produce(&source, &orders, &["--create", "--partitions", "1", "--key", ".key"]);
    let mut play = Play::new(site, name);
    let mut run = play.run(&before, &["--drain-timeout", "2s"]);
    play.flows(&format!("{name}.call"), orders.len() - 1);
    run.signal("TERM");
    run.wait(PATIENCE);
    play.start("apply", &after, &[]).succeed(PATIENCE);
    let mut run =
        Process::start(site.command(["run", "--until-idle", "-o", "json"]).arg(&after), site.folder(), "last");
    run.succeed(PATIENCE);
    let summary: Value = serde_json::from_str(run.stdout().lines().last().unwrap_or_default()).unwrap_or_default();
    let stages = &summary["pipelines"][0]["stages"];
    assert_eq!((&stages[0]["read"], &stages[1]["read"]), (&Value::from(1), &Value::from(1)), "{summary}");
    let outputs = site.read(&format!("{name}.call"));
    let ids: BTreeSet<&str> = outputs.iter().filter_map(|r| r.value["id"].as_str()).collect();
    assert_eq!((ids.len(), outputs.len()), (orders.len(), orders.len()), "each once");
    assert_eq!(server.received().len(), orders.len() + 1, "the one that hung was called again");
    let masked: Vec<_> = outputs.iter().filter(|r| r.value["masked"] == true).collect();
    assert_eq!(masked.len(), 1);
}

#[test]
fn finished_ranges_are_handed_over_on_the_embedded_log() {
    are_handed_over(&Site::embedded(), "stock");
}

#[test]
fn finished_ranges_are_handed_over_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    are_handed_over(&Site::kafka(cluster.bootstrap(), SESSION), &unique("ranges"));
}
