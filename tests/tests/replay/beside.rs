//! A changed pipeline over a range of what the live one has read, while that goes on.

use std::collections::BTreeSet;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::json;

use crate::common::{EARLIER, FIRST, document, expected, files, judge, live, moment, produce, replay, status};
use crate::{PATIENCE, SESSION};

/// Rows of the range, and those around it.
const BEFORE: u64 = 1_000_000;
const ROWS: u64 = 4_000;
const AFTER: u64 = 2_000_000;

/// Killed in the middle, called again: each record once, the differences those of the change, the live one as it was.
fn goes_beside(site: &Site, name: &str) {
    let (file, _) = files(site, name);
    produce(site, name, BEFORE, BEFORE + 50);
    let from = moment();
    produce(site, name, 0, ROWS);
    let range = (from, moment());
    let mut run = site.run("live", &file);
    let made = |site: &Site| site.read(&format!("{name}.split.even")).len() as u64;
    assert!(wait_until(PATIENCE, || made(site) >= 25 + ROWS / 2 - FIRST_EVEN), "the live pipeline is slow");
    let odd = || site.read(&format!("{name}-odd")).len() as u64;
    assert!(wait_until(PATIENCE, || odd() >= 25 + ROWS / 2 - FIRST_EVEN - 1), "the live pipeline is slow");
    let before = live(site, name);

    // Killed when it has begun; where it was too quick for that, once more.
    let out = format!("{name}--new.price");
    let interrupted = (0..5).any(|attempt| {
        let mut killed = replay(site, &format!("killed-{attempt}"), "changed.yaml", &range, &[]);
        let begun = || killed.ended().is_some() || !site.read(&out).is_empty();
        assert!(wait_until(PATIENCE, begun), "nothing came out: {}", killed.stderr());
        killed.kill();
        let done = site.read(&format!("{name}--new.split.even")).len() as u64;
        let interrupted = done < (ROWS - EARLIER) / 2;
        if !interrupted {
            clean(site, &format!("clean-{attempt}"));
        }
        interrupted
    });
    assert!(interrupted, "it was done before it was killed, every time");

    // It goes on, while rows come to the live one.
    let mut diff = replay(site, "diff", "changed.yaml", &range, &["--diff", "-o", "json"]);
    produce(site, name, AFTER, AFTER + 50);
    assert_eq!(status(&mut diff), 1, "{}", diff.stderr());
    let found = document(&diff.stdout());
    assert_eq!(judge(&expected(), &found), [""; 0], "{}", diff.stderr());
    // Negative control: a comparison that forgets what was removed.
    let mut forgets = found;
    forgets["removed"] = json!([]);
    assert!(!judge(&expected(), &forgets).is_empty(), "the judge does not see what was removed");

    // Each once, with the ids of the live ones, and nothing from outside of the range.
    let new = site.read(&out);
    let ids: BTreeSet<&str> = new.iter().filter_map(|r| r.id()).collect();
    assert_eq!(ids.len(), new.len(), "ids that are there twice");
    let numbers: BTreeSet<u64> = new.iter().filter_map(|r| r.value["n"].as_u64()).collect();
    assert_eq!(numbers, (8..ROWS).filter(|n| *n != 23).collect(), "the range");
    let live_ids: BTreeSet<&str> = before[&format!("{name}.price")].iter().filter_map(|r| r.id()).collect();
    assert_eq!(ids.difference(&live_ids).count(), 3, "r-8, r-9 and r-31 alone are new");

    // The live one: what was there is there, and the rows since then are all that has come.
    assert!(wait_until(PATIENCE, || made(site) >= 50 + ROWS / 2 - FIRST_EVEN), "the live pipeline stands still");
    run.signal("TERM");
    run.succeed(PATIENCE);
    for (topic, records) in live(site, name) {
        let was = &before[&topic];
        let kept: Vec<_> = records.iter().filter(|r| r.value["n"].as_u64().is_none_or(|n| n < AFTER)).collect();
        assert_eq!(kept.len(), was.len(), "{topic}");
        assert!(kept.iter().all(|r| was.contains(r)), "{topic}");
    }
    let orders = site.read(&format!("{name}.control"));
    assert!(orders.iter().all(|r| r.key.as_deref() != Some("replay")), "the live pipeline was told something");

    // Nothing has changed: equal. The live pipeline does not run, and is at the end of the range all the same.
    clean(site, "clean");
    let mut same = replay(site, "same", "live.yaml", &range, &["--diff", "-o", "json"]);
    assert_eq!(status(&mut same), 0, "{} {}", same.stdout(), same.stderr());
    assert_eq!(document(&same.stdout()), json!({ "added": [], "removed": [], "changed": [] }));
    clean(site, "clean-same");
    assert!(site.read(&out).is_empty());
    assert!(clean(site, "clean-nothing").contains("nothing of"));
}

/// Removes what was made beside; what it says.
fn clean(site: &Site, what: &str) -> String {
    let mut clean = site.start(what, &["replay", "live.yaml", "--beside", "new", "--clean"]);
    clean.succeed(PATIENCE);
    clean.stdout()
}

/// Even rows below the first that the live pipeline takes.
const FIRST_EVEN: u64 = FIRST / 2;

#[test]
fn a_changed_pipeline_beside_the_live_one_on_the_embedded_log() {
    goes_beside(&Site::embedded(), "rows");
}

#[test]
fn a_changed_pipeline_beside_the_live_one_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    goes_beside(&Site::kafka(cluster.bootstrap(), SESSION), &unique("beside"));
}
