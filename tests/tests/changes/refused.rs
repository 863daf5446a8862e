//! What waits for a person.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::Process;
use millstream_tests::site::Site;
use serde_json::Value;

use crate::common::{PATIENCE, Play, SESSION, inserted};

/// Each change, as a replacement in the file, and words of its reason. Seen red with `begin` letting everything pass.
const CHANGES: &[(&str, &str, &str, &[&str])] = &[
    ("id", "  id: .id\n", "  id: .ref\n", &["`id` of the source: .ref instead of .id", "repeats"]),
    ("key", "from: split.sales\n", "from: split.sales\n    key: .ref\n", &["stage `book`: `key`", "order"]),
    ("ingest", "  id: .id\n", "  id: .id\n  key: .account\n", &["stage `ingest` is inserted before `clean`", "again"]),
    ("from", "from: split.sales\n", "from: split.refunds\n", &["stage `book`: reads", "passed over"]),
    ("partitions", "partitions: 4", "partitions: 8", &["partitions of", "8 instead of 4"]),
    ("rename", "name: book\n", "name: ledger\n", &["stage `book` is named `ledger` now", "again from the beginning"]),
    (
        "removal",
        "  - name: clean\n    filters:\n      - where: .kind != \"noise\"\n      - map: .double = .amount * 2\n",
        "",
        &["stage `clean` is gone", "stage `split`: reads"],
    ),
];

fn are_refused(site: &Site, name: &str) {
    let mut play = Play::new(site, name);
    let before = site.write("before.yaml", &play.text());
    play.produce(1_000);
    play.finish(&before);
    play.produce(300);
    let topics = |site: &Site| {
        let all = ["ledger", "mask", "ingest", "book"].map(|s| play.names.of(s));
        all.map(|topic| site.read(&topic).len())
    };
    let there = topics(site);
    let text = play.text();
    let mut texts: Vec<(String, String, Vec<&str>)> = CHANGES
        .iter()
        .map(|(what, from, to, words)| {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{what}");
            ((*what).to_owned(), changed, words.to_vec())
        })
        .collect();
    texts.push(("insertion".into(), inserted(&text), vec!["stage `mask` is inserted before `book`", "again"]));
    for (what, changed, words) in texts {
        let file = site.write(&format!("{what}.yaml"), &changed);
        let start = |command: &[&str]| {
            Process::start(site.command(command).arg(&file), site.folder(), &format!("{what}-{}", command[0]))
        };
        let mut run = start(&["run", "--until-idle"]);
        let status = run.wait(PATIENCE).code();
        let said = run.stderr();
        assert_eq!(status, Some(1), "{what}: {said}");
        for word in words.iter().chain(&["pipeline_changed", "millstream apply"]) {
            assert!(said.contains(word), "{what} says nothing of {word:?}: {said}");
        }
        let mut plan = start(&["plan", "-o", "json"]);
        plan.succeed(PATIENCE);
        let plan: Value = serde_json::from_str(&plan.stdout()).unwrap_or_default();
        let plan = &plan["pipelines"][0];
        assert_eq!((&plan["ran"], &plan["safe"]), (&Value::Bool(true), &Value::Bool(false)), "{what}: {plan}");
        assert!(plan["changes"].as_array().is_some_and(|c| c.iter().any(|c| c["safe"] == false)), "{what}: {plan}");
        assert_eq!(topics(site), there, "{what}: something was started");
    }
    // The one of before still runs.
    play.finish(&before);
    play.judge(&[play.names.of("book")]);
}

#[test]
fn unsafe_changes_are_refused_on_the_embedded_log() {
    are_refused(&Site::embedded(), "shop");
}

#[test]
fn unsafe_changes_are_refused_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    are_refused(&Site::kafka(cluster.bootstrap(), SESSION), &unique("refused"));
}
