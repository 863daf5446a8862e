//! The negative control: a worker that writes copies outside the transaction, and dies in it.

use std::os::unix::process::ExitStatusExt;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::{Violation, kinds, report};
use millstream_tests::http_server::Reply;
use millstream_tests::process::tail;
use millstream_tests::site::Site;

use crate::common::*;

/// The worker dies in the first commit that holds copies: with the break they lie in `.retry` and the records they were
/// made of count as unread, so both come to pass.
fn play(site: &Site, name: &str, breaks: &str) -> Vec<Violation> {
    let (server, faults) = service();
    let retry = "dedup: off\n    retry: { attempts: 1000, backoff: 20ms..50ms, park_after: { attempts: 1, time: 5s } }";
    let file = pipeline(site, name, &server, retry);
    faults.fail("stuck", Reply::status(503));
    produce(site, name, &rows(&["stuck", "a", "b"], 0..50));
    let mut worker = site.run_broken("worker", &file, breaks, "die_in_commit", "parked");
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    faults.mend_all();
    site.until_idle("last", &file, PATIENCE);
    judge(site, name)
}

fn both(site: impl Fn() -> (Site, String)) {
    let (whole, name) = site();
    let found = play(&whole, &name, "nothing");
    assert!(found.is_empty(), "{}", report(&found));
    let (broken, name) = site();
    let found = play(&broken, &name, "parked_first");
    assert!(kinds(&found).contains("doubled"), "{}", report(&found));
}

#[test]
fn copies_outside_the_transaction_are_doubled_on_the_embedded_log() {
    both(|| (Site::embedded(), "orders".to_owned()));
}

#[test]
fn copies_outside_the_transaction_are_doubled_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    both(|| (Site::kafka(cluster.bootstrap(), SESSION), unique("parking")));
}
