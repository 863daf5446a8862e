//! Two processes take requests in while one of them is killed: what was answered is there once, and an id is one job
//! wherever it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_client::{Answer, HttpClient, wait_ready};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::common::{ANSWER, IDS, PATIENCE, SESSION, Senders, order, pipeline, root, serve, wrong};

/// Orders that are answered before the first process is killed, and again before the last.
const ORDERS: usize = 150;
/// Ids that two senders send at one moment with different payloads.
const RACES: usize = 20;

fn once_each(site: &Site, name: &str) {
    let file = site.write("pipeline.yaml", &pipeline(name, IDS));
    let (mut one, at_one) = serve(site, "one", &file);
    let (two, at_two) = serve(site, "two", &file);
    let won = races(&at_one, &at_two);
    let senders = Senders::new(vec![at_one, at_two.clone()]);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..6)
            .map(|which| {
                let senders = &senders;
                scope.spawn(move || senders.run(which))
            })
            .collect();
        let flows = |orders: usize| {
            wait_until(PATIENCE, || senders.answered() >= orders || running.iter().any(|r| r.is_finished()))
        };
        assert!(flows(ORDERS), "requests are taken in");
        // In the middle of whatever it does.
        one.kill();
        let before = senders.answered();
        assert!(flows(before + ORDERS), "the other one goes on");
        let (again, at_again) = serve(site, "again", &file);
        senders.replace(0, at_again);
        one = again;
        let before = senders.answered();
        assert!(flows(before + ORDERS), "both go on");
        one.kill();
        senders.stop();
    });
    // A repeat long after its answer, at another process.
    let jobs = senders.jobs.into_inner().expect("no panic");
    let mut client = HttpClient::new(&at_two, ANSWER);
    for n in [0, 1, ORDERS] {
        let key = format!("order-{n}");
        let post = |client: &mut HttpClient, by: &str| until_known(client, &key, &order(n, by));
        assert_eq!(post(&mut client, "sender").job().as_ref(), jobs.get(&n), "the same answer");
        let other = post(&mut client, "somebody else");
        assert_eq!((other.status, other.json()["code"].as_str()), (409, Some("id_conflict")), "{other:?}");
    }
    drop(two);
    site.until_idle("last", &file, PATIENCE);
    let out = site.read(&format!("{name}.take"));
    let (raced, sent): (Vec<_>, Vec<_>) = out.into_iter().partition(|r| r.value["by"] != "sender");
    assert_eq!(wrong(&sent, &jobs), [""; 0], "after {:?} requests that were sent again", senders.again);
    let raced: BTreeSet<String> = raced.iter().map(root).collect();
    assert_eq!(raced, won, "of each race one");
    let inlet = site.read(&format!("{name}.in"));
    let raced: BTreeSet<String> = inlet.iter().filter(|r| r.value["by"] != "sender").map(root).collect();
    assert_eq!(raced, won, "what was refused leaves no trace");
}

/// Sends until there is an answer that says something.
fn until_known(client: &mut HttpClient, key: &str, body: &str) -> Answer {
    let mut last = None;
    let known = wait_until(PATIENCE, || {
        last = client.post("/orders", &[("idempotency-key", key)], body).ok();
        last.as_ref().is_some_and(|answer| answer.status != 503)
    });
    last.filter(|_| known).expect("an answer")
}

/// Two payloads with one id at one moment at two processes: the jobs of those that were taken in.
fn races(one: &str, other: &str) -> BTreeSet<String> {
    let send = |at: &str, by: &'static str| -> Vec<Answer> {
        let mut client = HttpClient::new(at, ANSWER);
        (0..RACES).map(|n| until_known(&mut client, &format!("race-{n}"), &order(1_000_000 + n, by))).collect()
    };
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| send(one, "left"));
        let right = scope.spawn(|| send(other, "right"));
        (left.join().expect("no panic"), right.join().expect("no panic"))
    });
    let mut won = BTreeSet::new();
    for (n, (left, right)) in left.iter().zip(&right).enumerate() {
        let statuses = BTreeSet::from([left.status, right.status]);
        assert_eq!(statuses, BTreeSet::from([202, 409]), "race {n}: {left:?} {right:?}");
        won.extend(left.job().or_else(|| right.job()));
    }
    won
}

#[test]
fn each_order_comes_out_once_on_the_embedded_log() {
    once_each(&Site::embedded(), "shop");
}

#[test]
fn each_order_comes_out_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    once_each(&Site::kafka(cluster.bootstrap(), SESSION), &unique("taken"));
}

/// Negative control: a process that answers before the log has acknowledged what it answers for. It dies when some are
/// answered.
fn control(site: &Site, name: &str, breaks: &str) -> Vec<String> {
    let file = site.write("pipeline.yaml", &pipeline(name, ""));
    let mut worker = site.run_broken("worker", &file, breaks, "die_after_commit", "nobody");
    let mut client = HttpClient::of(&mut worker, ANSWER);
    wait_ready(&mut client, PATIENCE);
    let mut jobs = BTreeMap::new();
    for n in 0..20 {
        let taken = wait_until(PATIENCE, || {
            let job = client.post("/orders", &[], &order(n, "sender")).ok().and_then(|a| a.job());
            job.map(|job| jobs.insert(n, job)).is_some()
        });
        assert!(taken, "order {n} is not taken in");
    }
    Process::kill(&mut worker);
    site.until_idle("last", &file, PATIENCE);
    wrong(&site.read(&format!("{name}.take")), &jobs)
}

#[test]
fn an_answer_before_the_acknowledgement_loses_orders_on_the_embedded_log() {
    assert_eq!(control(&Site::embedded(), "shop", "nothing"), [""; 0]);
    let found = control(&Site::embedded(), "shop", "hasty_answers");
    assert!(found.iter().any(|f| f.ends_with("is lost")), "{found:?}");
}

#[test]
fn an_answer_before_the_acknowledgement_loses_orders_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = || Site::kafka(cluster.bootstrap(), Duration::from_secs(6));
    assert_eq!(control(&site(), &unique("whole"), "nothing"), [""; 0]);
    let found = control(&site(), &unique("hasty"), "hasty_answers");
    assert!(found.iter().any(|f| f.ends_with("is lost")), "{found:?}");
}
