//! Two processes of one pipeline on a real Kafka, killed, frozen and started again while they work: nothing is lost,
//! nothing doubled, nothing out of order, and a reader of committed records never sees otherwise.
//!
//! `MILLSTREAM_CRASH_ROUNDS=100` makes it long, `MILLSTREAM_CRASH_SEED=…` repeats what failed. That it can fail is
//! proved by `crash_controls.rs` and by the checker's own tests.

use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, tool, unique};
use millstream_tests::checker::{History, Promise, check, report};
use millstream_tests::crash::{Crash, Faults, Plan};
use millstream_tests::kafka_tools;
use millstream_tests::site::Site;

/// The shortest that brokers take.
const SESSION: Duration = Duration::from_secs(6);
const MOMENT: Duration = Duration::from_millis(3_500);
/// Long enough to lose every partition, and for others to have worked on.
const FREEZE: Duration = Duration::from_secs(9);

fn plan(delivery: &'static str, rounds: usize) -> Plan {
    let seed = fastrand::u64(..);
    Plan { seed, delivery, workers: 2, rounds, rows: 6_000, moment: MOMENT, faults: Faults::Both(FREEZE), beside: true }
}

#[test]
fn exactly_once_survives_kills_and_zombies() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let plan = plan("exactly_once", 8).with_environment("exactly_once_survives_kills_and_zombies");
    let mut crash = Crash::new(&site, &unique("crash"), plan);
    crash.play();
    let (expected, mut history) = crash.finish();
    let groups: Vec<String> = expected.readers.iter().map(|(group, _)| group.clone()).collect();
    let arguments = kafka_tools::describe_groups(cluster.bootstrap(), &groups);
    history.positions = kafka_tools::positions(&run_tool(GROUPS, &arguments));
    let found = check(&expected, &history, Promise::ExactlyOnce);
    assert!(found.is_empty(), "{}", report(&found));
    kafkas_own_reader_agrees(cluster.bootstrap(), &crash.names().of("book"), &history);
}

#[test]
fn at_least_once_never_loses() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let plan = plan("at_least_once", 4).with_environment("at_least_once_never_loses");
    let mut crash = Crash::new(&site, &unique("crash"), plan);
    crash.play();
    let (mut expected, history) = crash.finish();
    // Positions are asked for in the test above.
    expected.readers.clear();
    let found = check(&expected, &history, Promise::AtLeastOnce);
    assert!(found.is_empty(), "{}", report(&found));
}

const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// The records as the Java client reads them are those that `consume` printed.
fn kafkas_own_reader_agrees(bootstrap: &str, topic: &str, history: &History) {
    let out = run_tool(CONSUMER, &kafka_tools::console_consumer(bootstrap, topic));
    let mut theirs = kafka_tools::shown(&out).expect("lines of the console consumer");
    let mut ours: Vec<_> =
        history.of(topic).iter().map(|r| (r.partition, r.offset, r.key.clone(), r.id().map(str::to_owned))).collect();
    theirs.sort();
    ours.sort();
    assert!(!ours.is_empty());
    let differs = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    assert!(
        ours.len() == theirs.len() && differs.is_none(),
        "{} ours, {} theirs: {differs:?}",
        ours.len(),
        theirs.len()
    );
}

fn run_tool(class: &str, arguments: &[String]) -> String {
    let output = tool(class).expect("Kafka's jars").args(arguments).output().expect("java runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{class} failed: {said}{out}");
    out
}
