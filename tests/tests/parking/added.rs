//! The source is given more partitions while records flow, and while earlier records of keys that go to them are set aside.

use std::path::Path;
use std::sync::Arc;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Log, partition_of};
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::{Seen, Violation, kinds, report};
use millstream_tests::http_server::Reply;
use millstream_tests::process::Process;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::common::*;

const KEYS: [&str; 12] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "k8", "k9", "k10", "k11"];
/// Records of each key before the growth, and in all.
const BEFORE: usize = 30;
const ALL: usize = 60;
/// Twice as many: a key stays, or goes to a new partition.
const WIDER: i32 = 4;

const OPTIONS: &str = "dedup: off\n    replicas: 2\n    retry: { attempts: 1000, backoff: 100ms..1s, park_after: { attempts: 2, time: 5s } }";

/// Earlier records of keys that move fail until the end, later ones pass: who reads the new partitions too soon breaks the
/// order. `waits`: the new ones are held, and everything is killed meanwhile.
fn play(
    site: &Site,
    name: &str,
    log: &dyn Fn() -> Arc<dyn Log>,
    start: &dyn Fn(&str, &Path) -> Process,
    waits: bool,
) -> Vec<Violation> {
    let (server, faults) = service();
    let file = pipeline(site, name, &server, OPTIONS);
    let moves = |key: &str| partition_of(key.as_bytes(), WIDER) >= 2;
    let moved = KEYS.iter().filter(|key| moves(key)).count();
    assert!((2..=10).contains(&moved), "{moved}");
    faults.pass_from(BEFORE as u64);
    KEYS.iter().filter(|key| moves(key)).for_each(|key| faults.fail(key, Reply::status(503)));
    produce(site, name, &rows(&KEYS, 0..BEFORE));
    let of_moved = |records: &[Seen]| records.iter().filter(|r| r.key.as_deref().is_some_and(moves)).count();
    let stay = KEYS.len() - moved;
    let mut running = vec![start("one", &file), start("two", &file)];
    reaches("outputs of keys that stay", stay * BEFORE, || outputs(site, name).len());
    reaches("records set aside", moved * BEFORE, || copies(site, name).len());
    log().add_partitions(&[(&format!("{name}.raw"), WIDER)]).expect("partitions are added");
    produce(site, name, &rows(&KEYS, BEFORE..ALL));
    let stayed = || {
        let all = outputs(site, name);
        all.len() - of_moved(&all)
    };
    reaches("outputs of keys that stay", stay * ALL, stayed);
    if waits {
        reaches("the new partitions wait", 1, || usize::from(waiting(site, name)["settled"] == true));
        running.iter_mut().for_each(Process::kill);
        running = vec![start("three", &file), start("four", &file)];
        // A process is up when it says what it has set aside.
        reaches("records set aside, after a restart", moved * BEFORE, || status(site, name, "parked"));
        assert_eq!((waiting(site, name)["from"].as_i64(), of_moved(&outputs(site, name))), (Some(2), 0));
    } else {
        reaches("later records of keys that move", 1, || of_moved(&outputs(site, name)));
    }
    faults.mend_all();
    reaches("outputs of all", KEYS.len() * ALL, || outputs(site, name).len());
    for process in &mut running {
        // The broken one does not know how to end.
        if waits {
            process.signal("TERM");
            process.succeed(PATIENCE);
        } else {
            process.kill();
        }
    }
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(stage(&summary)["read"], 0, "{summary}");
    if waits {
        assert_eq!(waiting(site, name), Value::Null);
    }
    judge(site, name)
}

fn embedded(site: &Site) -> impl Fn() -> Arc<dyn Log> + use<> {
    let folder = site.folder().join("log");
    move || {
        let log: Arc<dyn Log> = EmbeddedLog::open(&folder, EmbeddedOptions::default()).expect("the log opens");
        log
    }
}

#[test]
fn added_partitions_wait_for_the_old_ones_on_the_embedded_log() {
    let site = Site::embedded();
    let found = play(&site, "orders", &embedded(&site), &|name, file| site.run(name, file), true);
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn added_partitions_wait_for_the_old_ones_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let log = || -> Arc<dyn Log> { Arc::new(KafkaLog::new(KafkaConfig::new(cluster.bootstrap())).expect("a cluster")) };
    // Others know of new partitions after as long as this.
    let news = ["--kafka", "topic.metadata.refresh.interval.ms=1000"];
    let start =
        |name: &str, file: &Path| Process::start(site.command(["run"]).arg(file).args(news), site.folder(), name);
    let found = play(&site, &unique("added"), &log, &start, true);
    assert!(found.is_empty(), "{}", report(&found));
}

/// The negative control: a worker that takes everything for worked off, and so reads new partitions at once.
#[test]
fn new_partitions_read_at_once_break_the_order() {
    let site = Site::embedded();
    let start = |name: &str, file: &Path| site.run_broken(name, file, "all_passed", "die_in_commit", "none");
    let found = play(&site, "orders", &embedded(&site), &start, false);
    assert!(kinds(&found).contains("out of order"), "{}", report(&found));
}
