//! `on_failure: hold_key`: a dead letter holds its key until somebody decides, through kills, on both logs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

/// The shortest that brokers take.
const SESSION: Duration = Duration::from_secs(6);
/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];
/// Which record of a key fails.
const BAD: [(&str, u32); 3] = [("k0", 3), ("k1", 5), ("k2", 2)];
const FIRST: u32 = 10;
const ALL: u32 = 20;

fn pipeline(site: &Site, name: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .id, fields: {{ id: string, key: string, n: integer, bad: boolean }} }}\n\
         stages:\n  - name: work\n    on_failure: hold_key\n    replicas: 2\n    filter: map\n    with: |\n      \
         if .bad == true {{ abort }}\n      .seen = true\n"
    );
    site.write("pipeline.yaml", &text)
}

fn produce(site: &Site, name: &str, numbers: std::ops::Range<u32>) {
    let row = |n: u32, key: &str| {
        let bad = BAD.contains(&(key, n));
        format!("{{\"id\":\"{key}-{n}\",\"key\":\"{key}\",\"n\":{n},\"bad\":{bad}}}")
    };
    let rows: Vec<String> = numbers.flat_map(|n| KEYS.map(|key| row(n, key))).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".key"]);
}

/// What the stage has written, by key, in its order.
fn outputs(site: &Site, name: &str) -> BTreeMap<String, Vec<u32>> {
    let mut all: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for record in site.read(&format!("{name}.work")) {
        let n = record.value["n"].as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number");
        all.entry(record.key.clone().expect("a key")).or_default().push(n);
    }
    all
}

fn wanted(until: impl Fn(&str) -> Vec<u32>) -> BTreeMap<String, Vec<u32>> {
    KEYS.iter().map(|key| ((*key).to_owned(), until(key))).collect()
}

/// Waits until exactly this is there.
#[track_caller]
fn comes(site: &Site, name: &str, wanted: &BTreeMap<String, Vec<u32>>) {
    let mut last = BTreeMap::new();
    wait_until(PATIENCE, || {
        last = outputs(site, name);
        last == *wanted
    });
    assert_eq!(last, *wanted);
}

/// Runs until idle, with this exit status.
fn run(site: &Site, label: &str, file: &Path, status: i32) -> (Value, String) {
    let file = file.to_str().expect("a path that is text");
    let mut run = site.start(label, &["run", file, "--until-idle", "-o", "json"]);
    let code = run.wait(PATIENCE).code();
    assert_eq!(code, Some(status), "{}", run.stderr());
    let summary: Value = serde_json::from_str(run.stdout().lines().last().unwrap_or_default()).expect("a summary");
    (summary["pipelines"][0].clone(), run.stderr())
}

#[track_caller]
fn dlq(site: &Site, words: &[&str]) -> String {
    let out = site.command(["dlq"]).args(words).output().expect("dlq starts");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "dlq {words:?}: {said}");
    String::from_utf8(out.stdout).expect("UTF-8")
}

fn held_until_somebody_decides(site: &Site, name: &str) {
    let file = pipeline(site, name);
    let work = format!("{name}.work");
    produce(site, name, 0..FIRST);

    // The others go on, and the run says what is to be done.
    let (summary, said) = run(site, "first", &file, 1);
    let bad = |key: &str| BAD.iter().find(|(k, _)| *k == key).map(|(_, n)| *n);
    let held = wanted(|key| (0..bad(key).unwrap_or(FIRST)).collect());
    comes(site, name, &held);
    let stage = &summary["stages"][0];
    assert_eq!((&stage["read"], &stage["dead_lettered"], &stage["held"]), (&80.into(), &3.into(), &17.into()));
    assert_eq!(summary["balanced"], true, "{summary}");
    assert!(
        said.contains("stage `work`: 3 keys held, 17 records wait behind") && said.contains("[keys_held]"),
        "{said}"
    );

    // Processes of an older file, in which the stage only computed, hear that there is a `.retry` to be read.
    let control = site.read(&format!("{name}.control"));
    assert!(control.iter().any(|record| record.key.as_deref() == Some("retry/work")), "{control:?}");

    // Killed while they are held, by two processes, and with more records behind.
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    produce(site, name, FIRST..ALL);
    let others = wanted(|key| (0..bad(key).unwrap_or(ALL)).collect());
    comes(site, name, &others);
    running[0].kill();
    running[0] = site.run("run-2", &file);

    let list = dlq(site, &["ls", &work]);
    assert!(list.contains("3 letters hold their keys"), "{list}");
    let shown = dlq(site, &["show", &work, "--key", "k1"]);
    assert!(shown.contains("holds its key"), "{shown}");
    assert!(
        dlq(site, &["purge", &work]).starts_with("0 letters purged\n3 letters left"),
        "nobody could decide any more"
    );
    assert_eq!(dlq(site, &["drop", &work, "--key", "k1", "--dry-run"]), "1 letter would be dropped\n");

    // Without it; and with the letter kept.
    assert_eq!(dlq(site, &["drop", &work, "--key", "k1"]), "1 letter dropped\n");
    assert_eq!(dlq(site, &["release", &work, "--key", "k2"]), "1 letter released\n");
    let without = |gone: &[&str]| {
        wanted(|key| match bad(key) {
            Some(n) if gone.contains(&key) => (0..ALL).filter(|at| *at != n).collect(),
            Some(n) => (0..n).collect(),
            None => (0..ALL).collect(),
        })
    };
    comes(site, name, &without(&["k1", "k2"]));
    assert!(dlq(site, &["release", &work, "--key", "k2"]).starts_with("0 letters released"));
    let open = dlq(site, &["ls", &work, "-o", "json"]);
    let open: Value = serde_json::from_str(&open).expect("JSON");
    assert_eq!((&open["groups"][0]["count"], &open["holding"]), (&2.into(), &1.into()), "{open}");

    // What fails again holds its key again.
    assert_eq!(dlq(site, &["redrive", &work, "--key", "k0"]), "1 letter sent back to `work`\n");
    let again = wait_until(PATIENCE, || {
        dlq(site, &["show", &work, "--key", "k0"]).contains("sent again once before")
            && dlq(site, &["ls", &work]).contains("1 letter holds its key")
    });
    assert!(again, "{}", dlq(site, &["show", &work]));
    assert_eq!(outputs(site, name), without(&["k1", "k2"]));

    // Mended, it comes first, whoever dies meanwhile.
    assert_eq!(dlq(site, &["edit", &work, "--key", "k0", "--with", ".bad = false"]), "1 letter edited\n");
    running[1].kill();
    assert_eq!(dlq(site, &["redrive", &work, "--key", "k0"]), "1 letter sent back to `work`\n");
    running[0].kill();
    running[0] = site.run("run-3", &file);
    let mut all = without(&["k1", "k2"]);
    all.insert("k0".to_owned(), (0..ALL).collect());
    comes(site, name, &all);
    running[0].signal("TERM");
    running[0].succeed(PATIENCE);

    // Nothing is left but the letter that was released, and its key is free.
    let (summary, _) = run(site, "last", &file, 0);
    assert_eq!(summary["balanced"], true, "{summary}");
    assert!(dlq(site, &["purge", &work]).starts_with("1 letter purged"));
    assert_eq!(outputs(site, name), all);
}

#[test]
fn a_key_is_held_until_somebody_decides_on_the_embedded_log() {
    held_until_somebody_decides(&Site::embedded(), "hold");
}

#[test]
fn a_key_is_held_until_somebody_decides_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    held_until_somebody_decides(&Site::kafka(cluster.bootstrap(), SESSION), &unique("hold"));
}
