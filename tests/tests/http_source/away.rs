//! The log does not answer: requests are refused within a bounded time, and taken in again when it does.

use std::time::Instant;

use millstream_test_kafka::{KafkaCluster, Options};
use millstream_tests::http_client::{HttpClient, wait_ready};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{ANSWER, IDS, PATIENCE, SESSION, order, pipeline, root, serve};

/// `leave` takes the log away from the process that serves, `come` gives it back.
fn refuses_and_goes_on(site: &Site, at: &str, leave: impl FnOnce(), come: impl FnOnce()) {
    let mut client = HttpClient::new(at, ANSWER);
    let post = |client: &mut HttpClient, n: usize| {
        client.post("/orders", &[("idempotency-key", &format!("order-{n}"))], &order(n, "sender"))
    };
    assert!(wait_until(PATIENCE, || post(&mut client, 0).is_ok_and(|a| a.status == 202)));
    let first = post(&mut client, 0).expect("an answer").job();
    leave();
    let began = Instant::now();
    let refused = post(&mut client, 1).expect("an answer, though none that takes it in");
    assert_eq!(refused.status, 503, "{refused:?} after {:?}", began.elapsed());
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let not_ready = || {
        let mut client = HttpClient::new(at, ANSWER);
        client.request("GET", "/readyz", &[], &[]).is_ok_and(|a| a.status == 503)
    };
    assert!(wait_until(PATIENCE, not_ready), "it says that it is not ready");
    assert!(HttpClient::new(at, ANSWER).request("GET", "/livez", &[], &[]).is_ok_and(|a| a.status == 200));
    come();
    wait_ready(&mut client, PATIENCE);
    assert!(wait_until(PATIENCE, || post(&mut client, 1).is_ok_and(|a| a.status == 202)), "the same key again");
    assert_eq!(post(&mut client, 0).expect("an answer").job(), first);
    let out = || site.read("shop.take");
    assert!(wait_until(PATIENCE, || out().len() == 2), "{:?}", out());
    assert_eq!(out().iter().map(root).filter(|job| Some(job) == first.as_ref()).count(), 1);
}

#[test]
fn a_broker_that_is_away_refuses_and_comes_back() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let file = site.write("pipeline.yaml", &pipeline("shop", IDS));
    let (_process, at) = serve(&site, "serves", &file);
    let broker = std::cell::RefCell::new(&mut cluster.brokers()[0]);
    refuses_and_goes_on(
        &site,
        &at,
        || broker.borrow_mut().kill(),
        || {
            broker.borrow_mut().restart().expect("a broker");
            broker.borrow_mut().wait_ready(1).expect("a broker");
        },
    );
}

/// The process that has the folder stands still: the other one has no log.
#[test]
fn a_folder_that_does_not_answer_refuses_and_comes_back() {
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline("shop", IDS));
    let (owner, _) = serve(&site, "owner", &file);
    let (_other, at) = serve(&site, "other", &file);
    let freeze = || {
        owner.signal("STOP");
        assert!(wait_until(PATIENCE, || owner.is_stopped()), "it stands still");
    };
    refuses_and_goes_on(&site, &at, freeze, || owner.signal("CONT"));
}
