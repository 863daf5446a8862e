//! Each verb once, on both logs.

use std::collections::BTreeSet;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::letters::{PATIENCE, SESSION, bad, good, json, judge, lines, pipeline, produce, read, root, rows, topic};

/// Odd numbers below it are letters of the second stage.
const ROWS: u32 = 40;

#[test]
fn letters_are_looked_at_mended_sent_again_and_purged_on_the_embedded_log() {
    every_verb(&Site::embedded(), "orders");
}

#[test]
fn letters_are_looked_at_mended_sent_again_and_purged_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    every_verb(&Site::kafka(cluster.bootstrap(), SESSION), &unique("letters"));
}

fn every_verb(site: &Site, name: &str) {
    let file = pipeline(site, name);
    produce(site, name, &rows(0..ROWS));
    site.produce(&format!("{name}.raw"), &["{'id': 'r-100'}".to_owned(), "nothing".to_owned()], &[]);
    site.until_idle("run", &file, PATIENCE);
    let work = format!("{name}.work");
    looked_at(site, name, &work);
    mended(site, name, &work);
    sent_again(site, name, &work);
    purged(site, name, &work);
}

fn looked_at(site: &Site, name: &str, work: &str) {
    let all = json(site, &["ls", name]);
    let groups: Vec<_> = all["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|g| [&g["stage"], &g["code"], &g["class"], &g["filter"], &g["count"]].map(Value::clone))
        .collect();
    let expected = [
        [json!("pass"), json!("invalid_json"), json!("data"), json!(""), json!(2)],
        [json!("work"), json!("expression_aborted"), json!("data"), json!("map"), json!(20)],
    ];
    assert_eq!(groups, expected, "{all}");
    let (first, last) = (&all["groups"][1]["first"], &all["groups"][1]["last"]);
    assert!(first.as_i64() <= last.as_i64() && first.as_i64() > Some(1_700_000_000_000), "{all}");
    let table = good(site, &["ls", name]);
    assert!(table.contains("expression_aborted: The expression said `abort`."), "{table}");

    let count = |more: &[&str]| {
        let words: Vec<&str> = ["ls", work].iter().chain(more).copied().collect();
        json(site, &words)["groups"].as_array().into_iter().flatten().filter_map(|g| g["count"].as_u64()).sum::<u64>()
    };
    assert_eq!(count(&["--where", ".n < 10"]), 5);
    assert_eq!(count(&["--where", "%error.code == \"expression_aborted\" && %key == \"k1\""]), 3);
    assert_eq!(count(&["--key", "k1"]), 3);
    assert_eq!(count(&["--code", "timeout,expression_aborted"]), 20);
    assert_eq!((count(&["--code", "timeout"]), count(&["--since", "-1h"])), (0, 20));
    assert_eq!((count(&["--until", "-1h"]), count(&["--until", "2999-01-01T00:00:00Z"])), (0, 20));

    let shown = lines(site, &["show", work, "-o", "json", "--limit", "1"]);
    let [letter] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(letter["topic"], format!("{work}.dlq"));
    let error = &letter["error"];
    assert_eq!([&error["system"], &error["stage"], &error["filter"]], ["millstream", "work", "map"]);
    assert_eq!(
        (&error["topic"], &error["attempts"], &error["redrives"]),
        (&json!(format!("{name}.pass")), &json!(1), &json!(0))
    );
    let names: Vec<_> = letter["headers"].as_array().into_iter().flatten().map(|h| h[0].clone()).collect();
    assert_eq!(names, ["ce_id"], "the record's own alone");
    assert_eq!(letter["value"]["seen"], true);
    let text = good(site, &["show", &format!("{name}.pass"), "--where", "%error.code == \"invalid_json\""]);
    assert!(text.contains("The payload is not JSON.") && text.contains("\"nothing\""), "{text}");

    let exported = lines(site, &["export", work]);
    let ids: BTreeSet<_> = exported.iter().map(|l| l["error"]["id"].clone().to_string()).collect();
    assert_eq!((exported.len(), ids.len()), (20, 20));
    assert!(bad(site, &["ls", &format!("{name}.wrok")], 2).contains("did you mean `work`?"));
    assert!(bad(site, &["ls", work, "--where", "%error.cod == 1"], 2).contains("%error.code"));
}

fn mended(site: &Site, name: &str, work: &str) {
    assert_eq!(good(site, &["edit", work, "--where", ".n < 10", "--with", ".n = .n + 1"]), "5 letters edited\n");
    let edited = lines(site, &["export", work, "--where", "%error.edited == 1"]);
    let numbers: BTreeSet<_> = edited.iter().filter_map(|l| l["value"]["n"].as_i64()).collect();
    assert_eq!(numbers, [2, 4, 6, 8, 10].into());
    assert!(edited.iter().all(|l| l["error"]["code"] == "expression_aborted"), "{edited:?}");
    assert_eq!(lines(site, &["export", work]).len(), 20, "an edited letter is one letter");
    assert_eq!(lines(site, &["export", work, "--all"]).len(), 25);

    let pass = format!("{name}.pass");
    assert!(bad(site, &["edit", &pass], 2).contains("there are several"));
    let by_hand = |editor: &str, words: &[&str]| {
        let out = site.command(["dlq", "edit", &pass]).args(words).env("EDITOR", editor).env_remove("VISUAL").output();
        let out = out.expect("dlq starts");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    let one = ["--where", "contains(string!(.), \"r-100\")"];
    assert_eq!(by_hand("true", &one), "nothing was changed\n");
    assert!(by_hand("false", &one).contains("nothing was written"));
    assert_eq!(by_hand("sed -i s/\\'/\\\\\\\\\\\"/g", &one), "1 letter edited\n");
    let mended = lines(site, &["export", &pass, "--where", "%error.edited == 1"]);
    assert_eq!(mended[0]["value"], json!({ "id": "r-100" }));
}

fn sent_again(site: &Site, name: &str, work: &str) {
    let to = format!("{name}-mended");
    assert!(good(site, &["drop", work]).contains("left: no key waits for them"), "the stage holds no keys");
    assert!(bad(site, &["redrive", work, "--to", &to], 1).contains("does not exist"));
    topic(site, &to);
    let redrive = |more: &[&str]| {
        let words: Vec<&str> = ["redrive", work, "--to", &to].iter().chain(more).copied().collect();
        json(site, &words)
    };
    assert_eq!(redrive(&["--dry-run"])["letters"], 20);
    assert!(site.read(&to).is_empty());
    let none = redrive(&["--max-redrives", "0"]);
    assert_eq!((&none["letters"], &none["left"]["sent as often as allowed"]), (&json!(0), &json!(20)));
    assert_eq!(redrive(&["--where", "%error.edited == 1"])["letters"], 5);
    assert_eq!(redrive(&["--rate", "1000/s"])["letters"], 15);
    assert_eq!(redrive(&[])["letters"], 0, "each once, however often it is called");
    let sent = read(site, &to, 20);
    assert_eq!(judge((1..ROWS).step_by(2), &sent), [""; 0]);
    for record in &sent {
        assert_eq!(record.header("millstream.redrive"), Some("1"));
        assert!(!record.headers.iter().any(|(n, _)| n.starts_with("millstream.dlq.")), "{record:?}");
        let n: u32 = root(record.id().unwrap_or_default()).trim_start_matches("r-").parse().expect("a number");
        assert_eq!(record.key, Some(format!("k{}", n % 7)), "the record's own key");
        let even = if n < 10 { n + 1 } else { n };
        assert_eq!(record.value["n"], even, "as it was mended");
    }
}

fn purged(site: &Site, name: &str, work: &str) {
    assert_eq!(good(site, &["purge", name, "--dry-run"]), "2 letters would be purged\n");
    assert_eq!(good(site, &["purge", name]), "2 letters purged\n");
    assert_eq!(json(site, &["ls", name])["groups"], json!([]));
    assert!(site.read(&format!("{name}.pass.dlq")).is_empty(), "what is done from the beginning is gone");
    assert!(site.read(&format!("{work}.dlq")).is_empty());
}
