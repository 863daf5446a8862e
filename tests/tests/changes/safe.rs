//! What `run` applies by itself.

use std::collections::BTreeSet;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::root;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Play, SESSION};

/// Another expression of the same meaning, more replicas, other options, and a stage at the end: a second process begins
/// with the changed file while the first still runs, and then goes on alone.
fn goes_through(site: &Site, name: &str) {
    let mut play = Play::new(site, name);
    let before = site.write("before.yaml", &play.text());
    let changed =
        play.text().replace("replicas: 2", "replicas: 3").replace(".amount * 2", ".amount + .amount").replace(
            "    from: split.sales\n    filter: map\n",
            "    from: split.sales\n    timeout: 20s\n    filter: map\n",
        ) + "  - name: mail\n    filter: where\n    with: .number != 0\n";
    let after = site.write("after.yaml", &changed);
    play.produce(3_000);
    let mut old = play.run(&before, &[]);
    play.flows(&play.names.of("book"), 1);
    let mut new = play.run(&after, &[]);
    for said in
        ["other options of `map`", "`replicas`: 3 instead of 2", "stage `mail` is new", "other options of the stage"]
    {
        new.wait_for_stderr(said, PATIENCE);
    }
    play.produce(2_000);
    play.flows(&play.names.of("mail"), 1);
    old.signal("TERM");
    old.succeed(PATIENCE);
    play.produce(2_000);
    new.signal("TERM");
    new.succeed(PATIENCE);
    play.finish(&after);
    play.judge(&[play.names.of("book")]);
    let roots = |topic: &str| -> BTreeSet<String> {
        let records = site.read(&play.names.of(topic));
        let all: BTreeSet<String> = records.iter().filter_map(|r| root(r.id()?)).map(str::to_owned).collect();
        assert_eq!(all.len(), records.len(), "{topic} has records twice");
        all
    };
    assert_eq!(roots("mail"), roots("book"), "the new stage has read all from the beginning");
    let again = site.until_idle("again", &after, PATIENCE);
    assert_eq!(again["pipelines"][0]["stages"][0]["read"], 0);
    // What ran last is the changed one now.
    let mut old = play.run(&before, &["--until-idle"]);
    assert_eq!(old.wait(PATIENCE).code(), Some(1));
    assert!(old.stderr().contains("stage `mail` is gone"), "{}", old.stderr());
}

#[test]
fn safe_changes_go_through_on_the_embedded_log() {
    goes_through(&Site::embedded(), "shop");
}

#[test]
fn safe_changes_go_through_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    goes_through(&Site::kafka(cluster.bootstrap(), SESSION), &unique("safe"));
}
