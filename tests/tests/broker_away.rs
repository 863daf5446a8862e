//! Commands that begin while no broker is there.

use std::net::TcpListener;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, Options, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(180);
const SAID: &str = "has not answered yet";

fn nobody_there() -> Site {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    Site::kafka(&free.to_string(), SESSION)
}

#[test]
fn commands_go_on_when_the_broker_comes() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let (site, topic) = (Site::kafka(cluster.bootstrap(), SESSION), unique("away"));
    site.produce(&topic, &["first".to_owned()], &["--create", "--partitions", "1"]);
    cluster.brokers()[0].kill();

    let input = site.write("lines.txt", "second\n");
    let pipeline = "apiVersion: millstream/v1\npipeline: away\nsource: { topic: TOPIC, format: text }\n\
                    stages: [{ name: all, filter: where, with: \"true\" }]\n";
    let file = site.write("pipeline.yaml", &pipeline.replace("TOPIC", &topic));
    let mut produce = site.start("produce", &["produce", &topic, "--file", &input.display().to_string()]);
    let mut follow = site.start("follow", &["consume", &topic]);
    let mut until_end = site.start("until-end", &["consume", &topic, "--until-end"]);
    let mut check = Process::start(site.command(["check"]).arg(&file), site.folder(), "check");
    for waiting in [&mut produce, &mut follow, &mut until_end, &mut check] {
        waiting.wait_for_stderr(SAID, PATIENCE);
    }

    cluster.brokers()[0].restart().expect("a broker");
    cluster.brokers()[0].wait_ready(1).expect("a broker");
    for ending in [&mut produce, &mut until_end, &mut check] {
        ending.succeed(PATIENCE);
    }
    assert!(until_end.stdout().contains("first"), "{}", until_end.stdout());
    let both = || follow.stdout().contains("first") && follow.stdout().contains("second");
    assert!(wait_until(PATIENCE, both), "{}", follow.stderr());
    follow.signal("INT");
    follow.succeed(PATIENCE);
}

/// The deadline is shorter than the ten seconds of a question to a broker.
#[test]
fn ctrl_c_ends_the_wait_for_a_broker() {
    let site = nobody_there();
    let mut follow = site.start("follow", &["consume", "t"]);
    follow.wait_for_stderr(SAID, PATIENCE);
    follow.signal("INT");
    follow.succeed(Duration::from_secs(9));
    let mut check = site.start("produce", &["produce", "t", "--file", "/dev/null"]);
    check.wait_for_stderr(SAID, PATIENCE);
    // It takes the signal's own action while it waits. Whoever runs the tests in the background has INT ignored, and so
    // have their children; TERM takes the same way.
    check.signal("TERM");
    check.wait(Duration::from_secs(9));
}

/// Its first question takes a client ten seconds. Negative control: `Running::reach` asking on its own thread.
#[test]
fn ctrl_c_ends_a_run_that_waits_for_a_broker() {
    let site = nobody_there();
    let pipeline = "pipeline: nobody\nsource: { topic: t, format: text }\n\
                    stages: [{ name: all, filter: where, with: \"true\" }]\n";
    let mut run = site.run("run", &site.write("pipeline.yaml", pipeline));
    run.wait_for_stderr(SAID, PATIENCE);
    run.signal("INT");
    run.succeed(Duration::from_secs(9));
}

#[test]
fn what_has_an_end_gives_up_with_the_reason() {
    let site = nobody_there();
    let mut commands = [
        site.start("until-end", &["consume", "t", "--until-end"]),
        site.start("produce", &["produce", "t", "--file", "/dev/null"]),
    ];
    for command in &mut commands {
        let status = command.wait(PATIENCE * 3);
        assert_eq!(status.code(), Some(1), "{}", command.stderr());
        assert!(command.stderr().contains("broker_away"), "{}", command.stderr());
    }
}
