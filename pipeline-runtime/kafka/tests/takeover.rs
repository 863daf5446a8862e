//! A dead owner's transaction is ended at once by who comes next, and a zombie's has no effect.
//!
//! The owners that die are processes of their own: this test binary again, told by the environment what to be. Their
//! transactions would stay open for ten minutes, longer than any wait here.

#![expect(clippy::print_stdout, reason = "the owner of a child process tells its parent how it goes")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use millstream_log::{Class, End, Event, Log, Member, Position, Sent, TopicPartition};
use millstream_test_kafka::{KafkaCluster, unique};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use support::{PATIENCE, PLENTY, TURN, committed_values, fill, log_on, log_with, member, record, topic, until};

const ROLE: &str = "MILLSTREAM_KAFKA_TEST_OWNER";

/// Polls until the one partition is assigned, and starts it at its committed position or the first record.
fn begin(member: &mut dyn Member) -> Position {
    until("the partition is assigned", || {
        let events = member.poll(PLENTY, TURN, &mut Vec::new()).expect("it polls");
        let found = events.into_iter().find_map(|e| if let Event::Assigned(a) = e { Some(a) } else { None })?;
        let offset = found[0].committed.as_ref().map_or(found[0].low, |c| c.offset);
        let position = Position { partition: found[0].partition.clone(), offset, metadata: String::new() };
        member.start(std::slice::from_ref(&position)).expect("it starts");
        Some(position)
    })
}

/// Reads up to an offset.
fn read_to(member: &mut dyn Member, offset: i64) {
    until("the input is read", || {
        let mut batches = Vec::new();
        member.poll(PLENTY, TURN, &mut batches).expect("it polls");
        batches.iter().any(|b| b.next >= offset).then_some(())
    });
}

/// Not a test of its own: what the child processes do. In a plain run the variable is not set.
#[test]
fn owner() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [brokers, group, input, output]: [&str; 4] =
        role.split(' ').collect::<Vec<_>>().try_into().expect("four words");
    let log = log_with(brokers, &[("transaction.timeout.ms", "600000")]);
    let mut a = log.join(member(group, input, "a")).expect("it joins");
    let from = begin(&mut *a);
    read_to(&mut *a, 5);
    a.send(&mut vec![record(output, 0, "by a")]).expect("it is queued");
    // On the broker: only then is the transaction one that can block others.
    let at = TopicPartition::new(output, 0);
    until("the output has arrived", || (log.ends(std::slice::from_ref(&at), End::High).ok()?[0] > 0).then_some(()));
    println!("\nopen");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let outcome = match a.commit(&[Position { offset: 5, ..from }]) {
        Ok(()) => "committed",
        Err(Sent::Failed(e)) if matches!(e.class, Class::Fenced | Class::Abort) => "refused",
        Err(other) => panic!("{other:?}"),
    };
    println!("\n{outcome}");
}

struct Owner {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Owner {
    /// Starts a process that owns the input and waits with an open transaction.
    fn start(brokers: &str, group: &str, input: &str, output: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["owner", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, [brokers, group, input, output].join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut owner = Self { child, input, output: BufReader::new(output) };
        assert_eq!(owner.says(&["open"]), "open");
        owner
    }

    fn says(&mut self, words: &[&str]) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let count = self.output.read_line(&mut line).expect("it talks");
            assert!(count > 0, "the owner ended without saying one of {words:?}");
            if words.contains(&line.trim()) {
                return line.trim().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes over, copies, and everybody can see it.
fn successor(log: &dyn Log, group: &str, input: &str, output: &str, wanted: i64) {
    let mut b = log.join(member(group, input, "b")).expect("it joins");
    let from = begin(&mut *b);
    assert_eq!(from.offset, wanted);
    read_to(&mut *b, 5);
    b.send(&mut vec![record(output, 0, "by b")]).expect("it is queued");
    b.commit(&[Position { offset: 5, ..from }]).expect("it commits");
    until("b's output is visible", || (!committed_values(log, output, 0).is_empty()).then_some(()));
    b.leave(Duration::from_secs(20));
}

/// Negative control: without `end_transaction_of` in `take_over` the output stays behind the dead owner's for ten
/// minutes, and the wait runs out.
#[test]
fn killed_in_the_very_first_transaction() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output, group) =
        (topic(&*log, "killed-in", 1, None), topic(&*log, "killed-out", 1, None), unique("killed"));
    fill(&*log, &input, 1, 0..5);
    let mut owner = Owner::start(cluster.bootstrap(), &group, &input, &output);
    owner.child.kill().expect("kill -9");
    owner.child.wait().expect("it is dead");
    successor(&*log, &group, &input, &output, 0);
    assert_eq!(committed_values(&*log, &output, 0), ["by b"]);
}

/// Negative control: a commit that goes out without the group's generation and the old producer's epoch (a plain
/// producer in `Producer::ensure`) puts `by a` beside `by b`.
#[test]
fn a_stopped_process_that_wakes_up_changes_nothing() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output, group) =
        (topic(&*log, "zombie-in", 1, None), topic(&*log, "zombie-out", 1, None), unique("zombie"));
    fill(&*log, &input, 1, 0..5);
    let mut owner = Owner::start(cluster.bootstrap(), &group, &input, &output);
    owner.signal("STOP");
    successor(&*log, &group, &input, &output, 0);
    owner.signal("CONT");
    owner.input.write_all(b"commit\n").expect("it listens");
    assert_eq!(owner.says(&["refused", "committed"]), "refused");
    assert_eq!(committed_values(&*log, &output, 0), ["by b"]);
    let at = TopicPartition::new(input.as_str(), 0);
    assert_eq!(log.committed(&group, &[at]).expect("known")[0].as_ref().map(|c| c.offset), Some(5));
}

/// The dead owner had sent its positions and not yet ended the transaction: a read of committed positions waits for
/// it. Negative control: claims read by a committed reader only (`Shared::committed` without its fallback) wait for
/// ever, and the assignment never comes.
#[test]
fn killed_between_positions_and_commit() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output, group) =
        (topic(&*log, "between-in", 1, None), topic(&*log, "between-out", 1, None), unique("between"));
    fill(&*log, &input, 1, 0..5);
    // By hand what a member does, up to that moment.
    let id = format!("{group}.dead");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap());
    let consumer: BaseConsumer = config.clone().set("group.id", &group).create().expect("a consumer");
    let claim = positions(&input, 2, &format!("1;{id};mine"));
    until("the claim is committed", || consumer.commit(&claim, CommitMode::Sync).ok());
    let producer: BaseProducer =
        config.set("transactional.id", &id).set("transaction.timeout.ms", "600000").create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("registered");
    producer.begin_transaction().expect("begun");
    producer.send(BaseRecord::<str, str>::to(&output).partition(0).payload("by the dead")).expect("queued");
    producer.flush(PATIENCE).expect("delivered");
    let metadata = consumer.group_metadata().expect("in a group");
    producer
        .send_offsets_to_transaction(&positions(&input, 4, "1;;never"), &metadata, PATIENCE)
        .expect("the positions are sent");
    std::mem::forget(producer);

    let at = TopicPartition::new(input.as_str(), 0);
    let seen = log.committed(&group, std::slice::from_ref(&at)).expect("it does not wait")[0].clone().expect("some");
    assert_eq!((seen.offset, seen.metadata.as_str()), (2, "mine"));
    successor(&*log, &group, &input, &output, 2);
    assert_eq!(committed_values(&*log, &output, 0), ["by b"]);
}

/// A transaction that no claim names holds the positions until the cluster ends it, longer than a question waits: the
/// empty transactions of step 4 are aborted meanwhile, and change nothing. (What they are for, a commit of positions that
/// a frozen broker takes after the end of its transaction, cannot be made at will: `broker_faults` meets it now and then.)
/// Negative control: `abort_positions` with a commit in place of its abort, and another offset, begins at the wrong one.
#[test]
fn positions_held_by_a_stranger_are_waited_for() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output, group) =
        (topic(&*log, "stranger-in", 1, None), topic(&*log, "stranger-out", 1, None), unique("stranger"));
    fill(&*log, &input, 1, 0..5);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap());
    let consumer: BaseConsumer = config.clone().set("group.id", &group).create().expect("a consumer");
    let claim = positions(&input, 2, &format!("1;{group}.dead;mine"));
    until("the claim is committed", || consumer.commit(&claim, CommitMode::Sync).ok());
    let stranger = format!("{group}.stranger");
    config.set("transactional.id", &stranger).set("transaction.timeout.ms", "15000");
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("registered");
    producer.begin_transaction().expect("begun");
    let metadata = consumer.group_metadata().expect("in a group");
    let pending = positions(&input, 4, "1;;never");
    producer.send_offsets_to_transaction(&pending, &metadata, PATIENCE).expect("the positions are sent");
    std::mem::forget(producer);
    successor(&*log, &group, &input, &output, 2);
    assert_eq!(committed_values(&*log, &output, 0), ["by b"]);
}

fn positions(topic: &str, offset: i64, metadata: &str) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, 0);
    element.set_offset(Offset::Offset(offset)).expect("an offset");
    element.set_metadata(metadata);
    list
}
