//! What a replay beside refuses, with the code that says why; what it makes, and that all of it goes.

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::{Log, TopicPartition};
use millstream_tests::site::Site;

use crate::PATIENCE;
use crate::common::{files, produce, status};

fn said(site: &Site, words: &[&str]) -> (i32, String) {
    let mut process = site.start(&format!("said-{:08x}", fastrand::u32(..)), words);
    (status(&mut process), process.stderr())
}

#[test]
fn another_range_another_pipeline_effects_and_what_is_not_there() {
    let site = Site::embedded();
    let (file, _) = files(&site, "rows");
    produce(&site, "rows", 0, 40);
    site.until_idle("live", &file, PATIENCE);
    let replay = |file: &str, words: &str| {
        let mut all = vec!["replay", file];
        all.extend(words.split(' '));
        said(&site, &all)
    };
    let (code, why) = replay("live.yaml", "--from start --to end --beside new");
    assert_eq!(code, 0, "{why}");
    let call = site.write(
        "call.yaml",
        "pipeline: rows\nsource: { topic: rows.raw }\nstages:\n  - name: price\n    filter: http\n    with: { url: \"http://localhost:1/\" }\n",
    );
    let call = call.to_str().expect("UTF-8");
    for (file, words, code, part) in [
        ("live.yaml", "--from start --to 0:1 --beside new", "replay_differs", "--beside new --clean"),
        ("live.yaml.split", "--from start --to end --beside new", "replay_differs", "the whole pipeline"),
        ("changed.yaml", "--from start --to end --beside new", "replay_differs", "another pipeline"),
        (call, "--from start --to end --beside call", "replay_effects", "stage `price`"),
        (call, "--from start --to end --beside call", "replay_effects", "filter `http`"),
        ("live.yaml", "--from end --to end --beside none", "replay_range_empty", "no record of rows.raw"),
        ("live.yaml", "--from 0:1 --to 0:100000 --beside none", "replay_range_wrong", "nothing at 100000"),
        ("live.yaml", "--from 9:1 --to 9:2 --beside none", "replay_range_wrong", "no partition 9"),
        ("live.yaml", "--from -1h --to -2h --beside none", "replay_range_wrong", "before it begins"),
        ("live.yaml", "--from start --to end --beside a--b", "replay_name", "single dashes"),
    ] {
        let (status, why) = replay(file, words);
        assert_eq!(status, 2, "{file} {words}: {why}");
        assert!(why.contains(&format!("[{code}]")) && why.contains(part), "{file} {words}: {why}");
    }
    // The same again is no other one, also in other words.
    for words in ["--from start --to end --beside new", "--from 1970-01-01T00:00:00Z --to end --beside new"] {
        assert_eq!(replay("live.yaml", words).0, 0, "{words}");
    }
}

#[test]
fn a_range_that_retention_has_cut_and_a_live_pipeline_that_stands_still() {
    let site = Site::embedded();
    let (file, _) = files(&site, "rows");
    produce(&site, "rows", 0, 40);
    site.until_idle("live", &file, PATIENCE);
    produce(&site, "rows", 40, 80);
    let (code, why) = said(
        &site,
        &["replay", "live.yaml", "--from", "start", "--to", "end", "--beside", "new", "--diff", "--diff-timeout", "1s"],
    );
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("[replay_live_behind]") && why.contains("live stage `rows.price`"), "{why}");
    site.until_idle("live", &file, PATIENCE);
    let again = ["replay", "live.yaml", "--from", "start", "--to", "end", "--beside", "new", "--diff"];
    assert_eq!(said(&site, &again).0, 0, "it goes on where it stood");

    let log = open(&site);
    log.delete_before(&[(TopicPartition::new("rows.raw", 2), 3)]).expect("records are deleted");
    drop(log);
    for words in ["--from 2:1 --to 2:9 --beside cut", "--from -1h --to end --beside cut"] {
        let mut all = vec!["replay", "live.yaml"];
        all.extend(words.split(' '));
        let (code, why) = said(&site, &all);
        assert!(code == 2 && why.contains("[replay_range_cut]") && why.contains("--accept-gap"), "{words}: {why}");
        all.push("--accept-gap");
        assert_eq!(said(&site, &all).0, 0, "{words}: what is left");
        assert_eq!(said(&site, &["replay", "live.yaml", "--beside", "cut", "--clean"]).0, 0);
    }
}

/// All topics and positions go, and no others.
#[test]
fn clean_leaves_what_was_there_before() {
    let site = Site::embedded();
    let (file, _) = files(&site, "rows");
    produce(&site, "rows", 0, 40);
    site.until_idle("live", &file, PATIENCE);
    let before = facts(&site, "rows");
    assert!(before.1.iter().all(Option::is_some), "the live group has positions");
    let words = ["replay", "changed.yaml", "--from", "start", "--to", "end", "--beside", "new"];
    assert_eq!(said(&site, &words).0, 0);
    let (topics, positions) = facts(&site, "rows--new");
    assert!(topics.iter().any(|t| t == "rows--new.rows-odd"), "{topics:?}");
    assert!(positions.iter().all(Option::is_some), "the group beside has positions");
    // By the name alone: another file will do.
    let (code, why) = said(&site, &["replay", "live.yaml", "--beside", "new", "--clean"]);
    assert_eq!(code, 0, "{why}");
    assert_eq!(facts(&site, "rows"), before);
    assert_eq!(facts(&site, "rows--new").1, vec![None; 4], "its positions are gone");
}

/// Beside, a stage reads what the live one reads, and feeds those after it.
#[test]
fn from_a_stage_on() {
    let site = Site::embedded();
    let (file, _) = files(&site, "rows");
    produce(&site, "rows", 0, 40);
    site.until_idle("live", &file, PATIENCE);
    let words = ["replay", "live.yaml.split", "--from", "start", "--to", "end", "--beside", "new", "--diff"];
    let (code, why) = said(&site, &words);
    assert_eq!(code, 0, "{why}");
    let topics = facts(&site, "rows--new").0;
    let made: Vec<&String> = topics.iter().filter(|t| t.starts_with("rows--new.")).collect();
    let own = ["control", "rows-odd", "split.dlq", "split.even", "split.state"].map(|t| format!("rows--new.{t}"));
    assert_eq!(made, own.iter().collect::<Vec<_>>());
    let read = |topic: &str| site.read(topic).into_iter().map(|r| (r.key, r.headers, r.value)).collect::<Vec<_>>();
    assert_eq!(read("rows--new.split.even").len(), 15);
    assert_eq!(read("rows--new.rows-odd").len(), read("rows-odd").len());
}

/// All topics, and the positions in the source of the group of the first stage.
fn facts(site: &Site, pipeline: &str) -> (Vec<String>, Vec<Option<i64>>) {
    let log = open(site);
    let all: Vec<TopicPartition> = (0..4).map(|p| TopicPartition::new("rows.raw", p)).collect();
    let committed = log.committed(&format!("{pipeline}.price"), &all).expect("positions");
    (log.topics().expect("topics"), committed.into_iter().map(|c| c.map(|c| c.offset)).collect())
}

fn open(site: &Site) -> std::sync::Arc<dyn Log> {
    EmbeddedLog::open(site.folder().join("log"), EmbeddedOptions::default()).expect("the log")
}
