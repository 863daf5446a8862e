//! `dlq redrive` without `--to`: letters go back to their own stage, and on from there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::Seen;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::json;

use crate::letters::{PATIENCE, SESSION, bad, good, json, judge, lines, pipeline, produce, read, root, rows};

/// Odd numbers below it are letters of the second stage.
const ROWS: u32 = 60;
/// Makes every number even.
const MEND: &str = "if mod(.n, 2) == 1 { .n = .n + 1 }";

/// With a third stage, which reads what the second one writes.
pub fn flow(site: &Site, name: &str) -> PathBuf {
    let file = pipeline(site, name);
    let text = std::fs::read_to_string(file).expect("it was just written");
    site.write("pipeline.yaml", &(text + "  - { name: last, filter: map, with: .done = true }\n"))
}

/// Records of a key that are not in the order of their numbers; those that were sent back by themselves.
pub fn disorder(records: &[Seen]) -> Vec<String> {
    let mut last: BTreeMap<(Option<String>, bool), u32> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        let id = root(record.id().unwrap_or_default()).to_owned();
        let number: u32 = id.trim_start_matches("r-").parse().expect("ids are r-<n>");
        let lane = (record.key.clone(), record.header("millstream.redrive").is_some());
        if last.insert(lane, number).is_some_and(|before| before >= number) {
            found.push(format!("{id} came too late"));
        }
    }
    found
}

/// What the whole pipeline has written, once it is as much as it should be.
#[track_caller]
fn outputs(site: &Site, name: &str, wanted: usize) -> Vec<Seen> {
    let topic = format!("{name}.last");
    let mut seen = Vec::new();
    let came = wait_until(PATIENCE, || {
        seen = site.read(&topic);
        seen.len() >= wanted
    });
    assert!(came, "{} of {wanted} outputs came", seen.len());
    seen
}

/// The stage has no `.retry` when its replicas start; they join again for it, and then read whatever comes.
fn to_a_running_pipeline(site: &Site, name: &str) {
    let file = flow(site, name);
    let work = format!("{name}.work");
    produce(site, name, &rows(0..ROWS));
    let mut run = site.run("run", &file);
    run.wait_for_stderr(&format!("partitions assigned stage={work} "), PATIENCE);
    let half = ROWS as usize / 2;
    outputs(site, name, half);
    let dry = json(site, &["redrive", &work, "--dry-run"]);
    assert_eq!((&dry["letters"], &dry["to"]), (&json!(half), &json!(null)));
    assert!(site.read(&format!("{work}.retry")).is_empty());

    assert_eq!(good(site, &["edit", &work, "--with", MEND]), format!("{half} letters edited\n"));
    let one = good(site, &["redrive", &work, "--key", "k1", "--where", ".n == 2"]);
    assert_eq!(one, "1 letter sent back to `work`\n");
    outputs(site, name, half + 1);
    run.wait_for_stderr("dead letters were sent back: joining again to read them", PATIENCE);
    // The whole pipeline, a stage after the other.
    let rest = half as u64 - 1;
    assert_eq!(
        good(site, &["redrive", name, "--rate", "500/s"]),
        format!("{rest} letters sent back to their stages\n")
    );
    let all = outputs(site, name, ROWS as usize);
    assert_eq!(judge(0..ROWS, &all), [""; 0]);
    assert_eq!(disorder(&all), [""; 0]);
    for record in &all {
        let number = root(record.id().unwrap_or_default()).trim_start_matches("r-").parse::<u32>().expect("a number");
        let redriven = (number % 2 == 1).then_some("1");
        assert_eq!(record.header("millstream.redrive"), redriven, "{record:?}");
        let strange = record.headers.iter().any(|(n, _)| n.starts_with("millstream.dlq.") || n.contains(".retry."));
        assert!(!strange && record.value["done"] == true && record.value["seen"] == true, "{record:?}");
    }
    assert_eq!(json(site, &["redrive", name])["letters"], 0, "each once, however often it is called");
    assert_eq!(site.read(&format!("{name}.pass")).len(), ROWS as usize, "nothing is written to the stage's input");

    // Now the topic is there, and read.
    produce(site, name, &rows(ROWS..2 * ROWS));
    let came = wait_until(PATIENCE, || lines(site, &["export", &work]).len() == half);
    assert!(came, "{:?}", lines(site, &["export", &work]).len());
    json(site, &["edit", &work, "--with", MEND]);
    assert_eq!(json(site, &["redrive", &work])["letters"], half);
    outputs(site, name, 2 * ROWS as usize);
    run.signal("TERM");
    run.succeed(PATIENCE);
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    let all = read(site, &format!("{name}.last"), 2 * ROWS as usize);
    assert_eq!(judge(0..2 * ROWS, &all), [""; 0]);
    assert_eq!(disorder(&all), [""; 0]);
    assert_eq!(json(site, &["ls", name])["groups"], json!([]));
}

#[test]
fn letters_go_back_to_a_running_pipeline_on_the_embedded_log() {
    to_a_running_pipeline(&Site::embedded(), "orders");
}

#[test]
fn letters_go_back_to_a_running_pipeline_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    to_a_running_pipeline(&Site::kafka(cluster.bootstrap(), SESSION), &unique("back"));
}

/// What fails again is a new letter that counts, until it is sent no more; mended, it arrives. Nothing runs meanwhile, and
/// `--until-idle` does not end before all are through.
fn again_and_again(site: &Site, name: &str) {
    let file = flow(site, name);
    let work = format!("{name}.work");
    produce(site, name, &rows(0..ROWS));
    site.until_idle("first", &file, PATIENCE);
    let half = u64::from(ROWS / 2);
    for round in 1..=2 {
        assert_eq!(json(site, &["redrive", &work, "--max-redrives", "2"])["letters"], half);
        site.until_idle(&format!("again-{round}"), &file, PATIENCE);
        let failed = lines(site, &["export", &work]);
        assert_eq!(failed.len() as u64, half, "the old ones are done");
        for letter in &failed {
            let error = &letter["error"];
            assert_eq!([&error["redrives"], &error["attempts"]], [&json!(round), &json!(1)]);
            assert_eq!(error["topic"], format!("{name}.pass"), "where it was first read");
        }
    }
    let left = json(site, &["redrive", &work, "--max-redrives", "2"]);
    assert_eq!((&left["letters"], &left["left"]["sent as often as allowed"]), (&json!(0), &json!(half)));
    json(site, &["edit", &work, "--with", MEND]);
    assert_eq!(json(site, &["redrive", &work])["letters"], half);
    site.until_idle("mended", &file, PATIENCE);
    // At once: it is the end of the run that is judged.
    let all = site.read(&format!("{name}.last"));
    assert_eq!(judge(0..ROWS, &all), [""; 0]);
    assert_eq!(disorder(&all), [""; 0]);
    assert_eq!(all.iter().filter(|r| r.header("millstream.redrive") == Some("3")).count() as u64, half);
}

#[test]
fn what_fails_again_is_a_letter_again_on_the_embedded_log() {
    again_and_again(&Site::embedded(), "orders");
}

#[test]
fn what_fails_again_is_a_letter_again_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    again_and_again(&Site::kafka(cluster.bootstrap(), SESSION), &unique("again"));
}

/// A record of the same id has passed since: the letter is a duplicate, unless it is forced.
fn passed_meanwhile(site: &Site, name: &str) {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .id, fields: {{ id: string, key: string, n: integer }} }}\n\
         stages:\n  - name: work\n    filter: map\n    with: |\n      if mod(.n, 2) == 1 {{ abort }}\n      .half = .n / 2\n"
    );
    let file = site.write("pipeline.yaml", &text);
    produce(site, name, &rows([1, 3, 5].into_iter()));
    site.until_idle("first", &file, PATIENCE);
    let mended = |n: u32, to: u32| format!("{{\"id\":\"r-{n}\",\"key\":\"k{}\",\"n\":{to}}}", n % 7);
    produce(site, name, &[mended(1, 20), mended(3, 20)]);
    site.until_idle("mended", &file, PATIENCE);
    let work = format!("{name}.work");
    json(site, &["edit", &work, "--with", MEND]);
    assert_eq!(json(site, &["redrive", &work, "--key", "k1,k5"])["letters"], 0, "a key is one key");
    for key in ["k1", "k5"] {
        assert_eq!(json(site, &["redrive", &work, "--key", key])["letters"], 1);
    }
    assert_eq!(json(site, &["redrive", &work, "--force"])["letters"], 1);
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    let out = site.read(&work);
    let values = |n: u32| {
        let of = |r: &&Seen| root(r.id().unwrap_or_default()) == format!("r-{n}");
        out.iter().filter(of).map(|r| r.value["n"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!((values(1), values(3), values(5)), (vec![20], vec![20, 4], vec![6]), "{out:?}");
    // What was forced is seen, as any other.
    produce(site, name, &[mended(3, 40), mended(5, 40)]);
    site.until_idle("duplicates", &file, PATIENCE);
    assert_eq!(site.read(&work).len(), out.len());
    assert!(bad(site, &["redrive", "--topic", &format!("{work}.dlq")], 2).contains("no stage to go back to"));
    assert!(bad(site, &["redrive", &work, "--force", "--to", "x"], 2).contains("--force"));
}

#[test]
fn an_id_that_has_passed_meanwhile_passes_by_force_alone_on_the_embedded_log() {
    passed_meanwhile(&Site::embedded(), "orders");
}

#[test]
fn an_id_that_has_passed_meanwhile_passes_by_force_alone_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    passed_meanwhile(&Site::kafka(cluster.bootstrap(), SESSION), &unique("force"));
}

/// A `.retry` that somebody made with other partitions is no way back.
#[test]
fn a_topic_with_other_partitions_is_refused() {
    let site = Site::embedded();
    let file = flow(&site, "orders");
    produce(&site, "orders", &rows(0..4));
    site.until_idle("first", &file, Duration::from_secs(60));
    site.produce("orders.work.retry", &["1".to_owned()], &["--create", "--partitions", "2"]);
    assert!(bad(&site, &["redrive", "orders.work"], 2).contains("has 2 partitions"));
    assert_eq!(lines(&site, &["export", "orders.work"]).len(), 2, "the letters stay");
}
