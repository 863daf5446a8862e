//! One key fails, others do not.

use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::{Seen, report};
use millstream_tests::http_server::Reply;
use millstream_tests::site::Site;
use serde_json::json;

use crate::common::*;

/// Records of each key; those of the failing one lie between all the others.
const EACH: usize = 1_500;

/// While one key fails, every record of every other key passes, and its own wait in `.retry`; when it recovers they come
/// back in order. Seen red with nothing parked: no copy ever comes.
fn one_key_fails_for_a_while(site: &Site, name: &str) {
    let (server, faults) = service();
    let retry = "retry: { attempts: 1000, backoff: 20ms..100ms, park_after: { attempts: 2, time: 5s } }";
    let file = pipeline(site, name, &server, retry);
    faults.fail("stuck", Reply::status(503));
    let keys = ["stuck", "a", "b", "c", "d", "e"];
    produce(site, name, &rows(&keys, 0..EACH));
    let others = EACH * (keys.len() - 1);
    let mut run = site.run("run", &file);
    reaches("answers to other keys", others, || faults.answered(|key| key != "stuck"));
    reaches("outputs of other keys", others, || outputs(site, name).len());
    reaches("copies", EACH, || copies(site, name).len());
    reaches("records set aside in `status`", EACH, || status(site, name, "parked"));
    // The moment at which the key recovers: all others are through, none of its own is, and each lies there once.
    let set_aside = copies(site, name);
    assert_eq!(ids(&outputs(site, name)).get("stuck"), None);
    assert_eq!(ids(&set_aside).keys().collect::<Vec<_>>(), ["stuck"]);
    assert_eq!(ids(&set_aside)["stuck"], (0..EACH).map(|n| format!("stuck-{n}")).collect::<Vec<_>>());
    assert_eq!(reason(&set_aside[0]), "parked");
    assert!(set_aside[1..].iter().all(|copy| reason(copy) == "behind"));
    // A record that comes now is set aside too; one that comes after the key is free again is not.
    faults.mend("stuck");
    produce(site, name, &rows(&["stuck", "a"], EACH..EACH + 100));
    reaches("outputs of all", EACH * keys.len() + 200, || outputs(site, name).len());
    reaches("nothing set aside in `status`", 1, || usize::from(status(site, name, "parked") == 0));
    run.signal("TERM");
    run.succeed(PATIENCE);
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(stage(&summary)["read"], 0, "{summary}");
    let found = judge(site, name);
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn one_key_fails_for_a_while_on_the_embedded_log() {
    one_key_fails_for_a_while(&Site::embedded(), "orders");
}

#[test]
fn one_key_fails_for_a_while_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    one_key_fails_for_a_while(&Site::kafka(cluster.bootstrap(), SESSION), &unique("parking"));
}

/// A call that hangs is given up when its key is to be set aside, long before its time-out; one that is reset counts as
/// an attempt. Seen red with calls that are let go on: their key waits for one time-out after the other.
#[test]
fn hanging_and_reset_calls_are_set_aside() {
    let site = Site::embedded();
    let (server, faults) = service();
    let file = pipeline(
        &site,
        "orders",
        &server,
        "timeout: 8s\n    retry: { attempts: 1000, backoff: 20ms..50ms, park_after: { attempts: 2, time: 3s } }",
    );
    faults.fail("hangs", Reply::Hang);
    faults.fail("resets", Reply::Reset);
    let keys = ["hangs", "resets", "a", "b"];
    produce(&site, "orders", &rows(&keys, 0..20));
    let mut run = site.run("run", &file);
    server.wait_for_abandoned(1);
    reaches("copies", 40, || copies(&site, "orders").len());
    reaches("outputs of other keys", 40, || outputs(&site, "orders").len());
    let first = |key: &str| {
        let all = copies(&site, "orders");
        all.into_iter().find(|c| c.key.as_deref() == Some(key)).expect("a copy")
    };
    let why = |copy: &Seen| copy.header("millstream.retry.message").unwrap_or_default().to_owned();
    assert_eq!(why(&first("hangs")), "no answer before its key was set aside");
    assert_eq!(first("hangs").header("millstream.retry.attempts"), Some("1"));
    assert_eq!(first("resets").header("millstream.retry.code"), Some("http_connection"));
    assert_eq!(first("resets").header("millstream.retry.attempts"), Some("2"));
    faults.mend_all();
    reaches("outputs of all", 80, || outputs(&site, "orders").len());
    run.signal("TERM");
    run.succeed(PATIENCE);
    let found = judge(&site, "orders");
    assert!(found.is_empty(), "{}", report(&found));
}

fn letter<'a>(letters: &'a [Seen], id: &str) -> &'a Seen {
    let found: Vec<&Seen> = letters.iter().filter(|l| l.value["id"] == id).collect();
    assert_eq!(found.len(), 1, "letters of {id}");
    found[0]
}

/// A parked record that runs out of attempts, or fails for good, is a dead letter of its own place and counts all its
/// attempts; the key goes on with its next record. Seen red with attempts counted anew after parking.
#[test]
fn a_parked_record_may_become_a_dead_letter() {
    let site = Site::embedded();
    let (server, faults) = service();
    let retry = "retry: { attempts: 5, backoff: 20ms..50ms, park_after: { attempts: 2, time: 5s } }";
    let file = pipeline(&site, "orders", &server, retry);
    faults.fail("late", Reply::status(503));
    faults.fail("never", Reply::status(503));
    let records = rows(&["never", "late", "a"], 0..3);
    produce(&site, "orders", &records);
    let mut run = site.run("run", &file);
    reaches("copies", 6, || copies(&site, "orders").len());
    faults.fail("late", Reply::status(422));
    reaches("letters", 6, || site.read("orders.reserve.dlq").len());
    run.signal("TERM");
    run.succeed(PATIENCE);
    let letters = site.read("orders.reserve.dlq");
    let input = site.read("orders.raw");
    for seq in 0..3 {
        let id = format!("never-{seq}");
        let letter = letter(&letters, &id);
        let field = |name: &str| letter.header(&format!("millstream.dlq.{name}")).expect("a header");
        assert_eq!([field("class"), field("attempts"), field("code")], ["exhausted", "5", "http_status"], "{id}");
        let origin = input.iter().find(|r| r.value["id"] == id.as_str()).expect("its origin");
        assert_eq!(field("topic"), "orders.raw");
        assert_eq!(
            (field("partition"), field("offset")),
            (&*origin.partition.to_string(), &*origin.offset.to_string())
        );
        assert_eq!(letter.key, origin.key);
        assert!(letter.headers.iter().all(|(name, _)| !name.starts_with("millstream.retry.")), "{:?}", letter.headers);
    }
    let order = |key: &str| ids(&letters).remove(key).unwrap_or_default();
    assert_eq!(order("never"), ["never-0", "never-1", "never-2"]);
    assert_eq!(order("late"), ["late-0", "late-1", "late-2"]);
    let attempts: u32 =
        letter(&letters, "late-0").header("millstream.dlq.attempts").expect("a header").parse().expect("a number");
    assert!((3..=5).contains(&attempts), "two before it was parked, {attempts} in all");
    let sent = |id: &str| server.received().iter().filter(|r| field(r, "id") == id).count();
    assert_eq!([sent("never-0"), sent("never-1")], [5, 5], "attempts as the server saw them");
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(stage(&summary)["read"], 0, "{summary}");
}

/// `retry.until` ends what `attempts` would not, for the record that failed first and for the one behind it.
#[test]
fn a_record_is_given_up_when_its_time_is_over() {
    let site = Site::embedded();
    let (server, faults) = service();
    let retry = "retry: { attempts: 1000, backoff: 20ms..1s, park_after: { attempts: 2, time: 5s }, until: 1s }";
    let file = pipeline(&site, "orders", &server, retry);
    faults.fail("never", Reply::status(503));
    produce(&site, "orders", &rows(&["never", "a"], 0..2));
    let summary = site.until_idle("run", &file, PATIENCE);
    assert_eq!([&stage(&summary)["forwarded"], &stage(&summary)["dead_lettered"]], [&json!(2); 2], "{summary}");
    let letters = site.read("orders.reserve.dlq");
    for id in ["never-0", "never-1"] {
        let letter = letter(&letters, id);
        let field = |name: &str| letter.header(&format!("millstream.dlq.{name}")).expect("a header");
        assert_eq!([field("class"), field("code"), field("filter")], ["exhausted", "http_status", "http"], "{id}");
        let sent = server.received().iter().filter(|r| crate::common::field(r, "id") == id).count();
        assert_eq!(field("attempts"), sent.to_string(), "{id}: as many as the server saw");
    }
}

/// The server says when to come back; the copy keeps it.
#[test]
fn what_the_server_says_of_the_next_attempt_holds_for_a_parked_record() {
    let site = Site::embedded();
    let (server, faults) = service();
    let retry = "retry: { attempts: 10, backoff: 1ms..2ms, park_after: { attempts: 1, time: 5s } }";
    let file = pipeline(&site, "orders", &server, retry);
    faults.fail("busy", Reply::status(429).header("Retry-After", "2"));
    produce(&site, "orders", &rows(&["busy"], 0..2));
    let mut run = site.run("run", &file);
    reaches("copies", 2, || copies(&site, "orders").len());
    faults.mend_all();
    reaches("outputs", 2, || outputs(&site, "orders").len());
    run.signal("TERM");
    run.succeed(PATIENCE);
    let received = server.received();
    assert_eq!(received.len(), 3, "one attempt that failed, one for each record that did not");
    // A lower bound: the server asked for it.
    let waited = received[1].at - received[0].at;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    let found = judge(&site, "orders");
    assert!(found.is_empty(), "{}", report(&found));
}

/// `--until-idle` does not end while a key is set aside, and the summary counts each record once, by its last fate.
#[test]
fn a_run_until_idle_waits_for_what_is_set_aside() {
    let site = Site::embedded();
    let (server, faults) = service();
    let retry = "retry: { attempts: 1000, backoff: 20ms..50ms, park_after: { attempts: 1, time: 5s } }";
    let file = pipeline(&site, "orders", &server, retry);
    faults.fail("stuck", Reply::status(503));
    produce(&site, "orders", &rows(&["stuck", "a"], 0..50));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            reaches("answers to the other key", 50, || faults.answered(|key| key == "a"));
            // Long enough for a run that does not wait to be over.
            let tries = server.received().len();
            reaches("further attempts", tries + 20, || server.received().len());
            faults.mend_all();
        });
        let summary = site.until_idle("run", &file, PATIENCE);
        let stage = stage(&summary);
        assert_eq!([&stage["read"], &stage["forwarded"], &stage["outputs"]], [&json!(100); 3], "{summary}");
        assert_eq!([&stage["parked"], &stage["held"], &stage["dead_lettered"]], [&json!(0); 3], "{summary}");
        assert!(stage["retried"].as_u64() >= Some(20), "{summary}");
        assert_eq!(summary["pipelines"][0]["balanced"], true);
    });
    let found = judge(&site, "orders");
    assert!(found.is_empty(), "{}", report(&found));
}
