//! Brokers that are not there, go away in the middle, or stop answering: a run waits and goes on, and what comes out is
//! what the checker wants.
//!
//! A lone broker is not killed here in the middle of transactions: Kafka 4.3 may come back with a transaction that it calls
//! complete and whose markers it never wrote, and then no client sees what lies behind. The adapter says so
//! (`positions_held`). With three brokers the others finish what one has begun.

use std::time::Duration;

use millstream_test_kafka::{Broker, KafkaCluster, Options, unique};
use millstream_tests::checker::model::{self, Names};
use millstream_tests::checker::workload::Workload;
use millstream_tests::checker::{History, Promise, check, report};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

const SESSION: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(180);
/// After a fault: sessions and transactions of before may have to run out.
const RECOVERY: Duration = Duration::from_secs(400);

/// Rows before a fault and after it, the fault itself in the middle of the work; the checker at the end.
fn survives(brokers: usize, fault: impl Fn(&mut Broker)) {
    let options = Options { brokers, ..Options::default() };
    let Some(mut cluster) = KafkaCluster::start_or_skip(options) else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let names = Names { pipeline: unique("faults") };
    let file = site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
    let mut workload = Workload::new(fastrand::u64(..));
    site.produce_rows(&names.source(), &workload.rows(20_000), 0);
    let mut run = site.run("run", &file);
    assert!(wait_until(PATIENCE, || !site.read(&names.of("clean")).is_empty()), "nothing came out:\n{}", run.stderr());
    let count = cluster.brokers().len();
    fault(&mut cluster.brokers()[0]);
    for broker in cluster.brokers() {
        // One that stood still for long may end itself; whoever runs brokers starts it again.
        if broker.wait_ready(count).is_err() {
            broker.restart().expect("a broker");
            broker.wait_ready(count).expect("all brokers are back");
        }
    }
    site.produce_rows(&names.source(), &workload.rows(5_000), 1);
    assert!(run.ended().is_none(), "the run ended:\n{}", run.stderr());
    // The process that met the fault itself must work the rest off, not only a new one.
    let book = names.of("book");
    let expected = model::expect(&names, &site.read(&names.source()));
    let wanted = expected.outputs[&book].len();
    let all = wait_until(RECOVERY, || site.read(&book).len() >= wanted);
    assert!(all, "{} of {wanted} records came out after the fault:\n{}", site.read(&book).len(), run.stderr());
    run.signal("TERM");
    run.succeed(PATIENCE);
    site.until_idle("last", &file, RECOVERY);
    let mut history = History::default();
    for topic in names.outputs().into_iter().chain(names.letters()).chain([names.source()]) {
        let records = site.read(&topic);
        history.topics.insert(topic, records);
    }
    let mut expected = model::expect(&names, history.of(&names.source()));
    expected.readers.clear();
    let found = check(&expected, &history, Promise::ExactlyOnce);
    assert!(found.is_empty(), "{}", report(&found));
}

#[test]
fn one_broker_of_three_is_killed_and_comes_back() {
    survives(3, |broker| {
        broker.kill();
        broker.restart().expect("a broker");
    });
}

#[test]
fn the_only_broker_stops_answering() {
    survives(1, |broker| {
        broker.freeze().expect("it runs");
        // Time is the fault here: nothing is waited for.
        wait_until(Duration::from_secs(15), || false);
        broker.thaw().expect("it is there");
    });
}

#[test]
fn a_run_begins_before_its_broker() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let names = Names { pipeline: unique("early") };
    site.produce_rows(&names.source(), &Workload::new(1).rows(500), 0);
    let broker = &mut cluster.brokers()[0];
    broker.kill();
    let file = site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
    let mut run = site.run("run", &file);
    run.wait_for_stderr("trying again", PATIENCE);
    assert!(run.stderr().contains(&broker.address()), "{}", run.stderr());
    broker.restart().expect("a broker");
    broker.wait_ready(1).expect("a broker");
    assert!(wait_until(RECOVERY, || !site.read(&names.of("book")).is_empty()), "nothing came out:\n{}", run.stderr());
    run.signal("TERM");
    run.succeed(PATIENCE);
}

/// Draining cannot end while the broker is away; the second signal does not wait for it. The deadline of the drain is
/// far beyond that of the test.
#[test]
fn a_second_signal_ends_a_drain_that_hangs() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let names = Names { pipeline: unique("hang") };
    site.produce_rows(&names.source(), &Workload::new(1).rows(60_000), 0);
    let file = site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
    let file = file.display().to_string();
    let mut run = site.start("run", &["run", &file, "--drain-timeout", "10m"]);
    assert!(wait_until(PATIENCE, || !site.read(&names.of("clean")).is_empty()), "nothing came out:\n{}", run.stderr());
    let broker = &mut cluster.brokers()[0];
    broker.freeze().expect("it runs");
    run.signal("TERM");
    run.wait_for_stderr("finishing", PATIENCE);
    // One that comes too soon after the first counts as its echo.
    let again = || {
        run.signal("TERM");
        run.stderr().contains("stopping at once")
    };
    assert!(wait_until(PATIENCE, again), "{}", run.stderr());
    let status = run.wait(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", run.stderr());
    broker.thaw().expect("it is there");
}
