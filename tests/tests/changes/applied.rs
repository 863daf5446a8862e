//! What a person has agreed to.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Play, SESSION, inserted};

/// The first stages run all the time; the last one is killed in the middle of its work, and a stage is inserted before it.
/// Seen red with the new stage begun at the first record.
fn insertion(site: &Site, name: &str) {
    let mut play = Play::new(site, name);
    let before = site.write("before.yaml", &play.text());
    let after = site.write("after.yaml", &inserted(&play.text()));
    let book = play.names.of("book");
    play.produce(4_000);
    let mut first = play.run(&before, &["--stages", "clean,split"]);
    // Of the embedded log it is the owner, whose death would cut the others off.
    first.wait_for_stderr("partitions assigned", PATIENCE);
    let mut last = play.run(&before, &["--stages", "book"]);
    play.flows(&book, 500);
    let mut early = play.start("apply", &after, &[]);
    assert_eq!(early.wait(PATIENCE).code(), Some(1), "{}", early.stderr());
    assert!(early.stderr().contains("stage_runs") && early.stderr().contains("`book`"), "{}", early.stderr());
    play.produce(4_000);
    last.kill();
    let had = site.read(&book).len();
    let mut refused = play.run(&after, &["--until-idle"]);
    assert_eq!(refused.wait(PATIENCE).code(), Some(1));
    play.start("apply", &after, &[]).succeed(PATIENCE);
    // The position is another stage's now, also for who has not heard of it.
    let mut late = play.run(&before, &["--stages", "book"]);
    assert_eq!(late.wait(PATIENCE).code(), Some(1), "{}", late.stderr());
    assert_eq!(site.read(&book).len(), had, "nothing runs that writes it");
    play.produce(2_000);
    let mut new = play.run(&after, &["--stages", "mask,book"]);
    play.flows(&book, had + 100);
    first.signal("TERM");
    first.succeed(PATIENCE);
    new.signal("TERM");
    new.succeed(PATIENCE);
    play.finish(&after);
    assert!(!site.read(&play.names.of("mask")).is_empty());
    play.judge(&[book]);
}

#[test]
fn an_inserted_stage_loses_and_doubles_nothing_on_the_embedded_log() {
    insertion(&Site::embedded(), "shop");
}

#[test]
fn an_inserted_stage_loses_and_doubles_nothing_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    insertion(&Site::kafka(cluster.bootstrap(), SESSION), &unique("inserted"));
}

/// A stage that is renamed goes on where it stood; one that is taken out again leaves its place to the next one, which
/// works off what lies between first.
fn renamed_and_taken_out(site: &Site, name: &str) {
    let mut play = Play::new(site, name);
    let before = site.write("before.yaml", &inserted(&play.text()));
    let named = site.write("named.yaml", &inserted(&play.text()).replace("name: book\n", "name: ledger\n"));
    let without = site.write("without.yaml", &play.text().replace("name: book\n", "name: ledger\n"));
    play.produce(1_500);
    play.finish(&before);
    play.produce(500);
    let mut run = play.run(&named, &["--apply", "--until-idle"]);
    run.succeed(PATIENCE);
    play.produce(500);
    // Some lie in the topic of the stage that goes.
    let mut run = play.run(&named, &["--stages", "clean,split,mask", "--until-idle"]);
    run.succeed(PATIENCE);
    let mut apply = play.start("apply", &without, &[]);
    assert_eq!(apply.wait(PATIENCE).code(), Some(1));
    assert!(apply.stderr().contains("records_left") && apply.stderr().contains("mask"), "{}", apply.stderr());
    play.finish(&named);
    play.start("apply", &without, &[]).succeed(PATIENCE);
    play.start("apply", &without, &[]).succeed(PATIENCE);
    play.produce(500);
    play.finish(&without);
    play.judge(&[play.names.of("book"), play.names.of("ledger")]);
}

#[test]
fn a_stage_is_renamed_and_another_taken_out_on_the_embedded_log() {
    renamed_and_taken_out(&Site::embedded(), "shop");
}

#[test]
fn a_stage_is_renamed_and_another_taken_out_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    renamed_and_taken_out(&Site::kafka(cluster.bootstrap(), SESSION), &unique("renamed"));
}
