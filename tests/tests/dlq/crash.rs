//! `dlq redrive --to` killed in the middle, run twice at once, and broken on purpose.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::letters::{PATIENCE, SESSION, json, judge, pipeline, produce, read, rows, start, topic};

fn odd(below: u32) -> impl Iterator<Item = u32> {
    (1..below).step_by(2)
}

/// A pipeline with `below / 2` letters, and a topic to send them to.
fn letters(site: &Site, name: &str, below: u32) -> (PathBuf, String) {
    let file = pipeline(site, name);
    produce(site, name, &rows(odd(below)));
    site.until_idle("made", &file, PATIENCE);
    let to = format!("{name}-mended");
    topic(site, &to);
    (file, to)
}

const LETTERS: u32 = 6_000;

/// `moment` is how long it may work before it is killed; the rate makes sure that it is not done by then.
fn killed(site: &Site, name: &str, rounds: u64, moment: Duration) {
    let (file, to) = letters(site, name, 2 * LETTERS);
    // The pipeline runs meanwhile; on the embedded log its process owns the folder.
    let mut run = site.run("run", &file);
    let work = format!("{name}.work");
    let rate = format!("{}/s", (f64::from(LETTERS) / (rounds as f64 * moment.as_secs_f64())).ceil() as u64 + 1);
    let mut interrupted = 0;
    for round in 0..rounds {
        let before = site.read(&to).len();
        let mut redrive = start(site, &format!("redrive-{round}"), &[&work, "--to", &to, "--rate", &rate]);
        // It has begun, and is then killed at any moment.
        let began = wait_until(PATIENCE, || redrive.ended().is_some() || site.read(&to).len() > before);
        assert!(began, "nothing was sent: {}", redrive.stderr());
        let more = Duration::from_micros(fastrand::u64(0..=moment.as_micros() as u64));
        wait_until(more, || false);
        redrive.kill();
        interrupted += u32::from(site.read(&to).len() < LETTERS as usize);
    }
    let mut last = start(site, "last", &[&work, "--to", &to]);
    last.succeed(PATIENCE);
    run.signal("TERM");
    run.succeed(PATIENCE);
    assert_eq!(judge(odd(2 * LETTERS), &read(site, &to, LETTERS as usize)), [""; 0]);
    assert!(interrupted > 0, "every redrive was done before it was killed");
}

#[test]
fn each_letter_is_sent_once_through_kills_on_the_embedded_log() {
    killed(&Site::embedded(), "orders", 8, Duration::from_millis(300));
}

#[test]
fn each_letter_is_sent_once_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    killed(&Site::kafka(cluster.bootstrap(), SESSION), &unique("killed"), 4, Duration::from_millis(1_000));
}

/// Both begin at once; together they send each letter once, and both end well.
fn two_at_once(site: &Site, name: &str) {
    let (file, to) = letters(site, name, 2 * LETTERS);
    let mut run = site.run("run", &file);
    let work = format!("{name}.work");
    let words = [work.as_str(), "--to", to.as_str()];
    let mut both = [start(site, "one", &words), start(site, "other", &words)];
    let counts: Vec<u64> = both
        .iter_mut()
        .map(|redrive| {
            redrive.succeed(PATIENCE);
            let out: Value = serde_json::from_str(&redrive.stdout()).expect("a document");
            out["letters"].as_u64().expect("a count")
        })
        .collect();
    run.signal("TERM");
    run.succeed(PATIENCE);
    assert_eq!(judge(odd(2 * LETTERS), &read(site, &to, LETTERS as usize)), [""; 0]);
    assert_eq!(counts.iter().sum::<u64>(), u64::from(LETTERS), "{counts:?}");
}

#[test]
fn two_at_once_on_the_embedded_log() {
    two_at_once(&Site::embedded(), "orders");
}

#[test]
fn two_at_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    two_at_once(&Site::kafka(cluster.bootstrap(), SESSION), &unique("two"));
}

/// A redrive that breaks a promise dies in its transaction; a whole one goes on.
fn dies_in_its_transaction(site: &Site, name: &str, breaks: &str) -> Vec<String> {
    let (file, to) = letters(site, name, 200);
    let words = ["redrive", "--stage", "work", "--to", &to];
    let mut broken = site.broken("broken", &words, &file, [breaks, "die_in_commit", "r-77"]);
    let status = broken.wait(PATIENCE);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended otherwise: {}", broken.stderr());
    json(site, &["redrive", &format!("{name}.work"), "--to", &to]);
    judge(odd(200), &read(site, &to, 100))
}

/// Negative control: what a redrive sends outside the transaction that notes it is there twice.
#[test]
fn a_redrive_outside_the_transaction_doubles() {
    let found = dies_in_its_transaction(&Site::embedded(), "orders", "copies_first");
    assert!(found.iter().any(|f| f.starts_with("doubled r-77")), "the judge stayed green: {found:?}");
    if let Some(cluster) = KafkaCluster::shared() {
        let site = Site::kafka(cluster.bootstrap(), SESSION);
        let found = dies_in_its_transaction(&site, &unique("control"), "copies_first");
        assert!(found.iter().any(|f| f.starts_with("doubled r-77")), "the judge stayed green: {found:?}");
    }
}

/// It is the break that is seen, not the death.
#[test]
fn the_same_redrive_unbroken_sends_each_once() {
    assert_eq!(dies_in_its_transaction(&Site::embedded(), "orders", "nothing"), [""; 0]);
    if let Some(cluster) = KafkaCluster::shared() {
        let site = Site::kafka(cluster.bootstrap(), SESSION);
        assert_eq!(dies_in_its_transaction(&site, &unique("control"), "nothing"), [""; 0]);
    }
}
