//! A topic gets more partitions than it had. `parking/added.rs` has those that a running pipeline takes up by itself.

use std::path::Path;
use std::time::Duration;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_test_kafka::{KafkaCluster, tool, unique};
use millstream_tests::checker::Violation;
use millstream_tests::process::tail;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Play, SESSION};

/// A command that ends with 1 and says all of these.
fn refused(play: &mut Play<'_>, command: &str, file: &Path, options: &[&str], words: &[&str]) {
    let mut process = play.start(command, file, options);
    assert_eq!(process.wait(PATIENCE).code(), Some(1), "{}", tail(&process.stderr()));
    let said = process.stderr();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// With dedup a stage stops, and waits for a person's word.
fn a_source_that_grows(site: &Site, name: &str, options: &[&str], grow: &dyn Fn(&str)) {
    let mut play = Play::new(site, name);
    let file = site.write("pipeline.yaml", &play.text());
    play.produce(1_000);
    let mut run = play.run(&file, options);
    play.flows(&play.names.of("book"), 100);
    let source = play.names.source();
    grow(&source);
    run.wait_for_stderr("partitions_added", PATIENCE);
    run.signal("TERM");
    assert_eq!(run.wait(PATIENCE).code(), Some(1), "{}", run.stderr());
    play.produce(500);
    let words = ["pipeline_changed", "has 6 partitions now and had 4", "apply --repartition"];
    refused(&mut play, "run", &file, &["--until-idle"], &words);
    refused(&mut play, "apply", &file, &[], &["[repartition]", &source]);
    let mut plan = play.start("plan", &file, &[]);
    plan.succeed(PATIENCE);
    let grows = format!("grow    {} (4 to 6 partitions)", play.names.of("clean.state"));
    assert!(plan.stdout().contains(&grows), "{}", plan.stdout());
    play.start("apply", &file, &["--repartition"]).succeed(PATIENCE);
    let mut last = play.start("run", &file, &[options, &["--until-idle"]].concat());
    last.succeed(PATIENCE);
    // Everything that was read has ended, and so much was read.
    assert_eq!(site.read(&source).iter().map(|r| r.partition).max(), Some(5));
    play.finish(&file);
}

#[test]
fn a_source_that_grows_stops_a_stage_with_dedup_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let grow = |topic: &str| {
        let mut alter = tool("org.apache.kafka.tools.TopicCommand").expect("Kafka's jars");
        alter.args(["--bootstrap-server", cluster.bootstrap(), "--alter", "--topic", topic, "--partitions", "6"]);
        let output = alter.output().expect("java runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let news = ["--kafka", "topic.metadata.refresh.interval.ms=1000"];
    a_source_that_grows(&site, &unique("grown"), &news, &grow);
}

#[test]
fn a_source_that_grows_stops_a_stage_with_dedup_on_the_embedded_log() {
    let site = Site::embedded();
    let folder = site.folder().join("log");
    let grow = |topic: &str| {
        let log = EmbeddedLog::open(&folder, EmbeddedOptions::default()).expect("the log opens");
        log.add_partitions(&[(topic, 6)]).expect("partitions are added");
    };
    a_source_that_grows(&site, "shop", &[], &grow);
}

/// Topics between stages get more partitions while records lie in them unread; `apply` is killed at any moment, and so is
/// the run after it. Seen red with the new partitions read at once.
fn topics_of_its_own(site: &Site, name: &str, longest: Duration, kills: u32) {
    let mut play = Play::new(site, name);
    // The last topic stays as it is, so that order can be seen in it.
    let before = play.text() + "    to: { partitions: 4 }\n";
    let wider =
        |count: &str| before.replace("topics: { partitions: 4 }", &format!("topics: {{ partitions: {count} }}"));
    let (six, eight) = (site.write("six.yaml", &wider("6")), site.write("eight.yaml", &wider("8")));
    let before = site.write("before.yaml", &before);
    play.produce(2_000);
    play.run(&before, &["--stages", "clean,split", "--until-idle"]).succeed(PATIENCE);
    play.produce(1_000);
    play.run(&before, &["--stages", "clean", "--until-idle"]).succeed(PATIENCE);
    refused(&mut play, "run", &eight, &[], &["pipeline_changed", "8 instead of 4", "apply --repartition"]);
    refused(&mut play, "apply", &eight, &[], &["[repartition]"]);
    refused(&mut play, "apply", &six, &["--repartition"], &["records_left", "no multiple"]);
    for kill in 0..kills {
        let mut apply = play.start("apply", &eight, &["--repartition"]);
        // A moment, not a wait for something: anywhere from the start to about the end.
        std::thread::sleep(longest * kill / kills);
        apply.kill();
    }
    play.start("apply", &eight, &["--repartition"]).succeed(PATIENCE);
    play.produce(2_000);
    let mut run = play.run(&eight, &[]);
    play.flows(&play.names.of("book"), 500);
    run.kill();
    play.finish(&eight);
    let wide = site.read(&play.names.of("split.sales"));
    assert_eq!(wide.iter().map(|r| r.partition).max(), Some(7));
    // A key's later records lie elsewhere than its earlier ones, where topics have grown; in the last one nothing shows.
    let book = play.names.of("book");
    play.judge_but(std::slice::from_ref(&book), |v| matches!(v, Violation::KeyMoved { topic, .. } if *topic != book));
}

#[test]
fn topics_of_a_pipeline_grow_on_the_embedded_log() {
    topics_of_its_own(&Site::embedded(), "shop", Duration::from_millis(150), 6);
}

#[test]
fn topics_of_a_pipeline_grow_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    topics_of_its_own(&Site::kafka(cluster.bootstrap(), SESSION), &unique("wider"), Duration::from_secs(5), 2);
}
