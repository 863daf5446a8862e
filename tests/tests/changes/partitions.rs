//! A topic gets more partitions than it had.

use std::path::Path;

use millstream_test_kafka::{KafkaCluster, tool, unique};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Play, SESSION};

fn add_partitions(cluster: &KafkaCluster, topic: &str, count: &str) {
    let mut alter = tool("org.apache.kafka.tools.TopicCommand").expect("Kafka's jars");
    alter.args(["--bootstrap-server", cluster.bootstrap(), "--alter", "--topic", topic, "--partitions", count]);
    let output = alter.output().expect("java runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// While it runs the stage stops; a new run is refused; with its own topics grown as well, `apply` goes on. The embedded log
/// cannot add partitions.
/// Seen red while a client with old news of the topic failed with `unknown_topic`.
#[test]
fn added_partitions_stop_a_stage_and_wait_for_apply() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let (site, name) = (Site::kafka(cluster.bootstrap(), SESSION), unique("added"));
    let mut play = Play::new(&site, &name);
    let file = site.write("pipeline.yaml", &play.text());
    play.produce(1_000);
    let mut run = play.run(&file, &["--kafka", "topic.metadata.refresh.interval.ms=1000"]);
    play.flows(&play.names.of("book"), 100);
    let source = play.names.source();
    add_partitions(cluster, &source, "6");
    run.wait_for_stderr("partitions_added", PATIENCE);
    run.signal("TERM");
    assert_eq!(run.wait(PATIENCE).code(), Some(1), "{}", run.stderr());
    play.produce(500);
    let refused = |play: &mut Play<'_>, command: &str, words: &[&str]| {
        let words_of: &[&str] = if command == "run" { &["--until-idle"] } else { &[] };
        let mut process = play.start(command, Path::new(&file), words_of);
        assert_eq!(process.wait(PATIENCE).code(), Some(1));
        let said = process.stderr();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    refused(&mut play, "run", &["pipeline_changed", "has 6 partitions now and had 4"]);
    // Its own topics have to be as wide.
    refused(&mut play, "apply", &["partitions_differ", &format!("{name}.clean.dlq")]);
    for side in ["clean.dlq", "clean.state"] {
        add_partitions(cluster, &play.names.of(side), "6");
    }
    play.start("apply", &file, &[]).succeed(PATIENCE);
    play.finish(&file);
    assert_eq!(site.read(&source).iter().map(|r| r.partition).max(), Some(5));
}
