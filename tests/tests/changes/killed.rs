//! `apply` is killed at any moment: what ran before runs on or is stopped, and applying again does the rest.

use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Play, SESSION, inserted};

/// After each kill the pipeline as it was is run: with the old file nothing may be read twice, whatever was done of the
/// change by then. Seen red with the new stage begun at the
/// first record. `host/tests/applying` has a fault at every step.
fn can_be_done_again(site: &Site, name: &str, longest: Duration, kills: u32) {
    let mut play = Play::new(site, name);
    let before = site.write("before.yaml", &play.text());
    let after = site.write("after.yaml", &inserted(&play.text()));
    play.produce(1_000);
    play.finish(&before);
    for kill in 0..kills {
        // The first stages only: the last one has something to read when it is its turn.
        play.produce(200);
        let mut old = play.run(&before, &["--stages", "clean,split", "--until-idle"]);
        old.wait(PATIENCE);
        let mut apply = play.start("apply", &after, &[]);
        // A moment, not a wait for something: anywhere from the start to about the end.
        std::thread::sleep(longest * kill / kills);
        apply.kill();
        let mut old = play.run(&before, &["--until-idle"]);
        let status = old.wait(PATIENCE).code();
        let said = old.stderr();
        let stopped = said.contains("position_moved") || said.contains("pipeline_changed");
        assert!(status == Some(0) || (status == Some(1) && stopped), "{status:?}: {said}");
    }
    play.start("apply", &after, &[]).succeed(PATIENCE);
    play.produce(500);
    play.finish(&after);
    play.judge(&[play.names.of("book")]);
}

#[test]
fn a_killed_apply_can_be_done_again_on_the_embedded_log() {
    can_be_done_again(&Site::embedded(), "shop", Duration::from_millis(120), 12);
}

#[test]
fn a_killed_apply_can_be_done_again_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    can_be_done_again(&Site::kafka(cluster.bootstrap(), SESSION), &unique("killed"), Duration::from_secs(8), 4);
}
