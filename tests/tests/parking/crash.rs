//! Processes are killed, partitions change hands, and replicas come and go while keys are set aside.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::report;
use millstream_tests::http_server::Reply;
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::common::*;

const KEYS: [&str; 12] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11"];
/// Records of each key, in each round.
const ROUND: usize = 40;

/// Few attempts before a key is set aside, and no end of them: what fails today passes tomorrow.
const OPTIONS: &str = "replicas: 2\n    timeout: 60s\n    retry: { attempts: 1000, backoff: 10ms..200ms, park_after: { attempts: 2, time: 400ms } }";

/// In each round some keys go down, some come up, rows are added, and a process is killed at a seeded moment. At the end
/// all are up, and every record is there once, in the order of its key. `MILLSTREAM_CRASH_SEED=…` repeats what failed.
fn killed(site: &Site, name: &str, processes: usize, rounds: usize, moment: Duration) {
    let seed = std::env::var("MILLSTREAM_CRASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(fastrand::u64(..));
    eprintln!("{name}: MILLSTREAM_CRASH_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (server, faults) = service();
    let file = pipeline(site, name, &server, OPTIONS);
    produce(site, name, &rows(&KEYS, 0..5));
    let mut running: Vec<Process> = (0..processes).map(|n| site.run(&format!("run-{n}"), &file)).collect();
    reaches("first outputs", KEYS.len() * 5, || outputs(site, name).len());
    let mut seq = 5;
    let mut interrupted = 0;
    for round in 0..rounds {
        for key in KEYS {
            match rng.u8(0..8) {
                0 | 1 => faults.fail(key, Reply::status(503)),
                2 => faults.fail(key, Reply::Reset),
                3 => faults.fail(key, Reply::Hang),
                4..=6 => faults.mend(key),
                _ => {}
            }
        }
        // Some are down in every round, or nothing would be set aside.
        faults.fail(KEYS[round % KEYS.len()], Reply::status(503));
        produce(site, name, &rows(&KEYS, seq..seq + ROUND));
        seq += ROUND;
        // The time itself is what is tried.
        wait_until(Duration::from_millis(rng.u64(0..=moment.as_millis() as u64)), || false);
        let at = rng.usize(0..processes);
        assert_eq!(running[at].ended(), None, "a run ended by itself:\n{}", running[at].stderr());
        running[at].kill();
        interrupted += usize::from(!copies(site, name).is_empty() && outputs(site, name).len() < KEYS.len() * seq);
        running[at] = site.run(&format!("run-{at}-{round}"), &file);
    }
    faults.mend_all();
    finish(site, name, &file, &mut running, KEYS.len() * seq);
    assert!(interrupted * 2 >= rounds, "{interrupted} of {rounds} kills met records that were set aside");
}

/// Everything is worked off, and judged.
fn finish(site: &Site, name: &str, file: &Path, running: &mut [Process], all: usize) {
    let mut found = 0;
    let done = wait_until(PATIENCE, || {
        found = outputs(site, name).len();
        found >= all
    });
    if !done {
        // Where the stage stands says whether it works, waits, or has stopped reading.
        let status = site.command(["status", name, "-o", "json"]).output().expect("status starts");
        let (done, set_aside) = (ids(&outputs(site, name)), ids(&copies(site, name)));
        let keys: Vec<_> = KEYS.iter().map(|k| (k, done.get(*k).map_or(0, Vec::len))).collect();
        let left: Vec<_> = set_aside.iter().map(|(key, ids)| (key, ids.len())).collect();
        panic!(
            "{found} of {all} outputs, by key {keys:?}; copies that are not trimmed: {left:?}\n{}",
            String::from_utf8_lossy(&status.stdout)
        );
    }
    for process in running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("last", file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    let found = judge(site, name);
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    killed(&site, &unique("parking"), 2, 6, Duration::from_millis(3_000));
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_through_kills_on_the_embedded_log() {
    killed(&Site::embedded(), "orders", 1, 10, Duration::from_millis(600));
}

/// One replica, two, one again, while keys are down: what was set aside goes with its partition.
fn scaled(site: &Site, name: &str) {
    let (server, faults) = service();
    let file = pipeline(site, name, &server, &OPTIONS.replace("replicas: 2", "replicas: 1"));
    let down = ["k0", "k3", "k7"];
    for key in down {
        faults.fail(key, Reply::status(503));
    }
    produce(site, name, &rows(&KEYS, 0..ROUND));
    let mut running = [site.run("run", &file)];
    let others = KEYS.len() - down.len();
    reaches("copies", down.len() * ROUND, || copies(site, name).len());
    let mut seq = ROUND;
    for replicas in ["2", "1"] {
        let stage = format!("{name}.reserve");
        let out = site.command(["scale", &stage, replicas]).output().expect("scale starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        // The partitions have moved when what was added since is through, for keys that are up, and set aside, for the
        // others.
        running[0].wait_for_stderr(&format!("scaled by order stage={stage} replicas={replicas}"), PATIENCE);
        produce(site, name, &rows(&KEYS, seq..seq + ROUND));
        seq += ROUND;
        reaches("outputs of other keys", others * seq, || outputs(site, name).len());
        reaches("copies", down.len() * seq, || copies(site, name).len());
    }
    assert!(outputs(site, name).iter().all(|r| r.key.as_deref().is_some_and(|key| !down.contains(&key))));
    faults.mend_all();
    finish(site, name, &file, &mut running, KEYS.len() * seq);
}

#[test]
fn what_is_set_aside_goes_with_its_partition_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    scaled(&Site::kafka(cluster.bootstrap(), SESSION), &unique("parking"));
}

#[test]
fn what_is_set_aside_goes_with_its_partition_on_the_embedded_log() {
    scaled(&Site::embedded(), "orders");
}
