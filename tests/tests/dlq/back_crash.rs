//! `dlq redrive` back to the stage, while redrives and pipelines are killed; and broken on purpose.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use fastrand::Rng;
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::back::{disorder, flow};
use crate::letters::{PATIENCE, SESSION, json, judge, pipeline, produce, read, rows, start};

const LETTERS: u32 = 3_000;

fn odd(below: u32) -> impl Iterator<Item = u32> {
    (1..below).step_by(2)
}

/// Letters that are not sent back.
fn open(site: &Site, work: &str) -> u64 {
    let groups = json(site, &["ls", work]);
    groups["groups"].as_array().into_iter().flatten().filter_map(|g| g["count"].as_u64()).sum()
}

/// In each round a redrive sends some letters and is killed at a seeded moment, and so is a process of the pipeline; then
/// all goes on. At the end every letter came through the stage and the one after it, once and in the order of its key.
/// `MILLSTREAM_CRASH_SEED=…` repeats what failed.
fn killed(site: &Site, name: &str, processes: usize, rounds: usize, moment: Duration) {
    let seed = std::env::var("MILLSTREAM_CRASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(fastrand::u64(..));
    eprintln!("{name}: MILLSTREAM_CRASH_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let file = flow(site, name);
    let (work, last) = (format!("{name}.work"), format!("{name}.last"));
    produce(site, name, &rows(odd(2 * LETTERS)));
    site.until_idle("made", &file, PATIENCE);
    json(site, &["edit", &work, "--with", ".n = .n + 1"]);
    let mut running: Vec<Process> = (0..processes).map(|n| site.run(&format!("run-{n}"), &file)).collect();
    // So slow that looking, which takes seconds on a busy machine, does not outlast the letters. The last one has no rate.
    let rate = format!("{}/s", (f64::from(LETTERS) / (4.0 * rounds as f64 * moment.as_secs_f64())).ceil() as u64 + 1);
    let (mut cut_redrives, mut cut_runs) = (0, 0);
    let mut round = 0;
    // Where the moments hit nothing there are more rounds: the rate leaves letters for them.
    while round < rounds || (round < 3 * rounds && (cut_redrives == 0 || cut_runs == 0)) {
        let before = open(site, &work);
        let mut redrive = start(site, &format!("redrive-{round}"), &[&work, "--rate", &rate]);
        // It has begun; it may first wait for the end of the session of the one that was killed.
        let began = wait_until(PATIENCE, || redrive.ended().is_some() || open(site, &work) < before);
        assert!(began, "nothing was sent: {}", redrive.stderr());
        let at = rng.usize(0..processes);
        let mut either = [&mut redrive, &mut running[at]];
        if rng.bool() {
            either.reverse();
        }
        for process in either {
            // The time itself is what is tried.
            wait_until(Duration::from_micros(rng.u64(0..=moment.as_micros() as u64)), || false);
            process.kill();
        }
        let left = open(site, &work);
        cut_redrives += u32::from(left > 0);
        cut_runs += u32::from((site.read(&last).len() as u64) < u64::from(LETTERS) - left);
        running[at] = site.run(&format!("run-{at}-{round}"), &file);
        round += 1;
    }
    start(site, "last", &[&work]).succeed(PATIENCE);
    let mut came = 0;
    let all = wait_until(PATIENCE, || {
        came = site.read(&last).len();
        came >= LETTERS as usize
    });
    assert!(all, "{came} of {LETTERS} letters came through");
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("rest", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    let out = read(site, &last, LETTERS as usize);
    assert_eq!(judge(odd(2 * LETTERS), &out), [""; 0]);
    assert_eq!(disorder(&out), [""; 0]);
    assert!(cut_redrives > 0, "every redrive was done before it was killed");
    assert!(cut_runs > 0, "no process was killed while letters were on their way");
}

#[test]
fn each_letter_comes_back_once_through_kills_on_the_embedded_log() {
    killed(&Site::embedded(), "orders", 1, 8, Duration::from_millis(500));
}

#[test]
fn each_letter_comes_back_once_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    killed(&Site::kafka(cluster.bootstrap(), SESSION), &unique("backkill"), 2, 4, Duration::from_millis(3_000));
}

/// A redrive that breaks a promise dies in its transaction; a whole one goes on, and the pipeline runs.
fn dies_in_its_transaction(site: &Site, name: &str, breaks: &str) -> Vec<String> {
    let file = pipeline(site, name);
    let work = format!("{name}.work");
    produce(site, name, &rows(odd(200)));
    site.until_idle("made", &file, PATIENCE);
    json(site, &["edit", &work, "--with", ".n = .n + 1"]);
    let mut broken = site.broken("broken", &["redrive", "--stage", "work"], &file, [breaks, "die_in_commit", "r-77"]);
    let status = broken.wait(PATIENCE);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended otherwise: {}", broken.stderr());
    json(site, &["redrive", &work]);
    site.until_idle("last", &file, PATIENCE);
    judge(odd(200), &read(site, &work, 100))
}

/// Negative control: what a redrive sends outside the transaction that notes it comes through twice.
#[test]
fn a_redrive_back_outside_the_transaction_doubles() {
    let found = dies_in_its_transaction(&Site::embedded(), "orders", "copies_first");
    assert!(found.iter().any(|f| f.starts_with("doubled r-77")), "the judge stayed green: {found:?}");
    if let Some(cluster) = KafkaCluster::shared() {
        let site = Site::kafka(cluster.bootstrap(), SESSION);
        let found = dies_in_its_transaction(&site, &unique("backcontrol"), "copies_first");
        assert!(found.iter().any(|f| f.starts_with("doubled r-77")), "the judge stayed green: {found:?}");
    }
}

/// It is the break that is seen, not the death.
#[test]
fn the_same_redrive_back_unbroken_sends_each_once() {
    assert_eq!(dies_in_its_transaction(&Site::embedded(), "orders", "nothing"), [""; 0]);
    if let Some(cluster) = KafkaCluster::shared() {
        let site = Site::kafka(cluster.bootstrap(), SESSION);
        assert_eq!(dies_in_its_transaction(&site, &unique("backcontrol"), "nothing"), [""; 0]);
    }
}
