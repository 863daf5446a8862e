//! Two topics, a file and a generator feed one stage: every record is one of its own, the run ends when all are worked
//! off, and what was read can be read again.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::tail;
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION, add, wrong};

const ROWS: usize = 40;

/// `web` is keyed anew by a stage, `app` is read as it is.
fn pipeline(name: &str) -> String {
    format!(
        "pipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 3 }} }}\n\
         sources:\n\
         \x20 web: {{ topic: {name}.web, fields: {{ from: string, n: integer, key: string }}, key: .key }}\n\
         \x20 app: {{ topic: {name}.app, fields: {{ from: string, n: integer, key: string }} }}\n\
         \x20 shop: {{ file: shop/rows.csv, fields: {{ from: string, n: integer, key: string }}, key: .key }}\n\
         \x20 made: {{ generate: {{ value: '{{ \"from\": \"made\", \"n\": %n, \"key\": \"k\" }}', count: {ROWS} }}, key: .key }}\n\
         stages:\n\
         \x20 - {{ name: take, from: [web, app, shop, made], filter: map, with: .twice = .n * 2 }}\n"
    )
}

/// The same rows at the same places: nothing but the topic tells them apart.
fn produce(site: &Site, name: &str, from: &str) {
    let row = |n: usize| json!({ "from": from, "n": n, "key": format!("k{}", n % 7) }).to_string();
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    site.produce(&format!("{name}.{from}"), &rows, &["--create", "--partitions", "3", "--key", ".key"]);
}

/// What a command says when it ends like this.
fn said(site: &Site, words: &[&str], status: i32) -> String {
    let mut process = site.start(&format!("said-{:08x}", fastrand::u32(..)), words);
    let ended = process.wait(PATIENCE).code();
    assert_eq!(ended, Some(status), "{words:?}: {}", tail(&process.stderr()));
    // What is said of a slow log stands behind, where no document is spoiled by it.
    process.stdout() + "\n" + &process.stderr()
}

fn all_of_them_once(site: &Site, name: &str) {
    let file = site.write("mixed.yaml", &pipeline(name));
    produce(site, name, "web");
    produce(site, name, "app");
    add(site, "shop", 0..ROWS);
    let summary = site.until_idle("all", &file, PATIENCE);
    let stages = &summary["pipelines"][0]["stages"];
    let of = |stage: usize, what: &str| stages[stage][what].as_u64();
    assert_eq!((of(0, "read"), of(1, "read"), of(1, "duplicates")), (Some(40), Some(160), Some(0)), "{summary}");
    let out = format!("{name}.take");
    let all = [("web", ROWS), ("app", ROWS), ("shop", ROWS), ("made", ROWS)];
    let found = site.read(&out);
    assert_eq!(wrong(&found, &all), [""; 0]);
    // Ids that nobody gave are places, and a place has the name of its topic.
    let named = |id: &str| found.iter().filter(|r| r.id().is_some_and(|own| own.starts_with(id))).count();
    let topic = |from: &str| named(&format!("{name}.{from}/"));
    assert_eq!((topic("web"), topic("app"), named("rows.csv#"), named("generate#")), (ROWS, ROWS, ROWS, ROWS));
    let printed = said(site, &["status", "mixed.yaml", "-o", "json"], 0);
    let status: Value = serde_json::from_str(printed.lines().next().unwrap_or_default()).expect("a document");
    let given = |source: &Value| (source["name"].clone(), source["records"].clone(), source["ended"].clone());
    let sources = status["pipelines"][0]["sources"].as_array().expect("a list");
    assert_eq!(
        sources.iter().map(given).collect::<Vec<_>>(),
        [
            (json!("web"), Value::Null, Value::Null),
            (json!("app"), Value::Null, Value::Null),
            (json!("shop"), json!(ROWS), json!(true)),
            (json!("made"), json!(ROWS), json!(true)),
        ]
    );

    // No stage is the first of all.
    let range = ["--from", "start", "--to", "end"];
    let replay = |target: &str, words: &[&str], status: i32| {
        said(site, &[&["replay", target][..], &range, words].concat(), status)
    };
    let refused = replay("mixed.yaml", &["--in-place", "--detach"], 2);
    assert!(refused.contains(&format!("say which: `{name}.ingest-web`, `{name}.take`")), "{refused}");
    let places = ["replay", "mixed.yaml.take", "--in-place", "--detach", "--from", "0:1", "--to", "end"];
    let refused = said(site, &places, 2);
    assert!(refused.contains("give times"), "{refused}");
    for (target, beside) in [("mixed.yaml", "whole"), ("mixed.yaml.take", "part")] {
        replay(target, &["--beside", beside, "--diff"], 0);
        let records = site.read(&format!("{name}--{beside}.take"));
        assert_eq!(wrong(&records, &all), [""; 0], "{beside}");
    }
    replay("mixed.yaml.take", &["--in-place", "--detach"], 0);
    site.until_idle("again", &file, PATIENCE);
    let (again, live): (Vec<_>, Vec<_>) =
        site.read(&out).into_iter().partition(|r| r.header("millstream.replay").is_some());
    assert_eq!((wrong(&again, &all), live.len(), again.len()), (Vec::new(), 4 * ROWS, 4 * ROWS));
}

#[test]
fn sources_of_all_kinds_feed_a_stage_on_the_embedded_log() {
    all_of_them_once(&Site::embedded(), "shop");
}

#[test]
fn sources_of_all_kinds_feed_a_stage_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    all_of_them_once(&Site::kafka(cluster.bootstrap(), SESSION), &unique("mixed"));
}
