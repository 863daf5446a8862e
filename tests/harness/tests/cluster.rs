//! The harness against itself: it starts, a killed broker comes back, and nothing outlives its owner.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use millstream_test_kafka::{KafkaCluster, Options};

/// Negative control: without `restart` the last connection is refused and `wait_ready` reports an ended broker.
#[test]
fn a_killed_broker_comes_back_on_the_same_port() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options { secure: true, ..Options::default() }) else { return };
    let secure = cluster.secure().expect("asked for").clone();
    assert!(TcpStream::connect(&secure.sasl).is_ok() && secure.ca.exists());
    let broker = &mut cluster.brokers()[0];
    broker.kill();
    assert!(TcpStream::connect(broker.address()).is_err(), "the port is closed");
    broker.restart().expect("starts");
    broker.wait_ready(1).expect("answers");
}

/// Negative control: with a guard that does not end its child the port stays open and the deadline passes.
#[test]
fn brokers_end_with_the_process_that_started_them() {
    if KafkaCluster::shared().is_none() {
        return;
    }
    let mut owner = Command::new(env!("CARGO_BIN_EXE_millstream-test-kafka"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut line = String::new();
    BufReader::new(owner.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("brokers=").expect("brokers=…").to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    owner.kill().expect("kill -9");
    owner.wait().expect("ended");
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < end, "the broker outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}
