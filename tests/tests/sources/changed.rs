//! A pipeline gets sources, and loses them: nothing is given twice, nothing that was accepted is lost.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

use crate::common::{PATIENCE, SESSION, add, flows, pipeline, wrong};

struct Play<'a> {
    site: &'a Site,
    name: &'a str,
    steps: usize,
}

impl Play<'_> {
    fn start(&mut self, words: &[&str]) -> Process {
        self.steps += 1;
        Process::start(&mut self.site.command(words), self.site.folder(), &format!("step-{}", self.steps))
    }

    fn done(&mut self, words: &[&str]) {
        self.start(words).succeed(PATIENCE);
    }

    /// Wants it to fail with all these words.
    fn refused(&mut self, command: &[&str], words: &[&str]) {
        let mut process = self.start(command);
        assert_eq!(process.wait(PATIENCE).code(), Some(1), "{command:?}: {}", process.stderr());
        let said = process.stderr();
        words.iter().for_each(|word| assert!(said.contains(word), "{command:?} does not say {word:?}: {said}"));
    }

    /// Runs a file until a topic has so many records.
    fn run(&mut self, file: &str, topic: &str, records: usize) {
        let mut run = self.start(&["run", file]);
        run.wait_for_stderr("the source runs here", PATIENCE);
        flows(self.site, topic, records);
        if topic == self.topic("merge") {
            // Behind the last record are ends of transactions, which count as unread.
            assert!(wait_until(PATIENCE, || self.worked_off(file)), "the stage is not at the end of its input");
        }
        run.signal("TERM");
        run.succeed(PATIENCE);
    }

    fn worked_off(&self, file: &str) -> bool {
        let out = self.site.command(["status", file, "-o", "json"]).output().expect("millstream");
        let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        status["pipelines"][0]["stages"][0]["lag"] == 0
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}.{rest}", self.name)
    }

    fn holds(&self, rest: &str) -> usize {
        self.site.read(&self.topic(rest)).len()
    }
}

/// The topics of the sources tell whether rows came again: the stage would drop them as repeats.
fn gets_and_loses_sources(site: &Site, name: &str) {
    let mut play = Play { site, name, steps: 0 };
    site.write("one.yaml", &pipeline(name, &[("", "eu")], true));
    site.write("two.yaml", &pipeline(name, &[("eu", "eu"), ("us", "us")], true));
    site.write("eu.yaml", &pipeline(name, &[("eu", "eu")], true));
    site.write("other.yaml", &pipeline(name, &[("eu", "eu"), ("us", "uk")], true));
    let (input, out) = (play.topic("in"), play.topic("merge"));
    add(site, "eu", 0..300);
    add(site, "us", 0..200);
    add(site, "uk", 0..200);
    play.run("one.yaml", &out, 300);
    // Rows are accepted, and nobody reads them.
    play.done(&["scale", &out, "0"]);
    add(site, "eu", 300..400);
    play.run("one.yaml", &input, 400);
    play.done(&["scale", &out, "--reset"]);
    play.refused(
        &["run", "two.yaml"],
        &["pipeline_changed", "the source is named `eu` now", "give all its records again"],
    );
    play.refused(&["apply", "two.yaml"], &["records_left", "offsets of"]);
    play.run("one.yaml", &out, 400);
    play.done(&["apply", "two.yaml"]);
    play.done(&["apply", "two.yaml"]);
    play.refused(&["run", "one.yaml"], &["pipeline_changed", "source `us` is gone"]);
    add(site, "eu", 400..500);
    play.run("two.yaml", &out, 700);
    assert_eq!((play.holds("in.eu"), play.holds("in.us")), (100, 200), "it goes on where it stood");
    play.refused(&["run", "eu.yaml"], &["pipeline_changed", "source `us` is gone", "never given"]);
    play.done(&["apply", "eu.yaml"]);
    add(site, "eu", 500..550);
    play.run("eu.yaml", &out, 750);
    // A name that was used stands somewhere.
    play.refused(&["run", "other.yaml"], &["pipeline_changed", "source `us` is new", "gave 200 records"]);
    assert_eq!(wrong(&site.read(&out), &[("eu", 550), ("us", 200)]), [""; 0]);
}

#[test]
fn nothing_comes_twice_on_the_embedded_log() {
    gets_and_loses_sources(&Site::embedded(), "shop");
}

#[test]
fn nothing_comes_twice_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    gets_and_loses_sources(&Site::kafka(cluster.bootstrap(), SESSION), &unique("named"));
}
