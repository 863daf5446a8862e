//! The service is gone for every key.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::report;
use millstream_tests::http_server::Reply;
use millstream_tests::site::Site;

use crate::common::*;

/// Six attempts and the first wait, as by default: a key that fails alone has used them up within seconds.
const RETRY: &str = "retry: { attempts: 6, backoff: 200ms..1s, park_after: { attempts: 2, time: 1s } }";

/// The breaker opens and reading stops; while it is open nothing runs out of attempts. It closes when the service is
/// back, and everything is delivered. Seen red with a breaker that failing copies do not open: all keys were set aside
/// within a second, and every record became a dead letter.
fn the_whole_service_is_down(site: &Site, name: &str) {
    let (server, faults) = service();
    let file = pipeline(site, name, &server, RETRY);
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    faults.fail_all(Reply::status(503));
    produce(site, name, &rows(&keys, 0..20));
    let mut run = site.run("run", &file);
    run.wait_for_stderr("breaker_open", PATIENCE);
    let tries = server.received().len();
    // It is probed, and by no more than one record at a time.
    reaches("probes", tries + 3, || server.received().len());
    faults.mend_all();
    reaches("outputs of all", keys.len() * 20, || outputs(site, name).len());
    run.wait_for_stderr("reading goes on [breaker_open]", PATIENCE);
    run.signal("TERM");
    run.succeed(PATIENCE);
    let said = run.stderr();
    assert_eq!(said.matches("calls fail for every key").count(), 1, "once when it opens: {said}");
    let found = judge(site, name);
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn the_whole_service_is_down_on_the_embedded_log() {
    the_whole_service_is_down(&Site::embedded(), "orders");
}

#[test]
fn the_whole_service_is_down_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    the_whole_service_is_down(&Site::kafka(cluster.bootstrap(), SESSION), &unique("outage"));
}
