//! Brokers that die in mid-commit, go away, come back; offsets that are gone; batches too large for their topic.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use millstream_log::{Class, End, Event, Log, Member, Outgoing, Position, Sent, TopicPartition};
use millstream_test_kafka::{KafkaCluster, Options, unique};
use support::copier::{Copier, StopOnDrop};
use support::{PLENTY, TURN, committed_values, fill, log_on, log_with, member, record, topic, until};

/// Every record of two partitions, once and in order.
fn check(log: &dyn Log, output: &str, count: usize) {
    for partition in 0..2 {
        let wanted: Vec<String> = (0..count).filter(|i| i % 2 == partition).map(|i| i.to_string()).collect();
        let found = committed_values(log, output, partition as i32);
        assert!(found == wanted, "{output}/{partition}: {} of {} records, or not in order", found.len(), wanted.len());
    }
}

/// Copies while `harm` is done to the brokers, and again until all is copied.
///
/// `count` records are there at first; who does the harm may add some.
fn copy_through(cluster: &mut KafkaCluster, count: usize, mut harm: impl FnMut(&mut KafkaCluster, &Copier)) {
    let log = log_on(cluster.bootstrap());
    let (input, output) = (topic(&*log, "fault-in", 2, None), topic(&*log, "fault-out", 2, None));
    fill(&*log, &input, 2, 0..count);
    let copier = Copier::new(log.clone(), &input, &output);
    copier.there.store(count, Ordering::Relaxed);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| copier.run(&stop));
        let stopping = StopOnDrop(&stop);
        until("a part is copied", || (copier.copied.load(Ordering::Relaxed) > 200).then_some(()));
        harm(cluster, &copier);
        let count = copier.there.load(Ordering::Relaxed);
        until("all is copied", || {
            // An unknown outcome is not counted, whichever it was: what is visible counts.
            let ends = log.ends(&[at(&output, 0), at(&output, 1)], End::Stable).ok()?;
            if ends.iter().sum::<i64>() < count as i64 {
                return None;
            }
            let seen: usize = (0..2).map(|p| committed_values(&*log, &output, p).len()).sum();
            (seen >= count).then_some(())
        });
        drop(stopping);
    });
    check(&*log, &output, copier.there.load(Ordering::Relaxed));
}

/// The one broker dies while nothing is under way, and comes back: it is said, and the copy goes on. (With one copy of
/// everything a transaction under way is another matter: Kafka 4.3 that comes back may forget the markers of a committed
/// one. Three brokers do not.) Negative control: `look_for_brokers` doing nothing leaves the first wait to run out.
#[test]
fn the_only_broker_dies_and_comes_back() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output) = (topic(&*log, "only-in", 2, None), topic(&*log, "only-out", 2, None));
    fill(&*log, &input, 2, 0..300);
    let copier = Copier::new(log.clone(), &input, &output);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| copier.run(&stop));
        let stopping = StopOnDrop(&stop);
        let copied = |count: usize| {
            until("it is copied, and its transactions have ended", || {
                let found = log.committed(&copier.group, &[at(&input, 0), at(&input, 1)]).ok()?;
                (found.into_iter().flatten().map(|c| c.offset).sum::<i64>() == count as i64).then_some(())
            });
        };
        copied(300);
        cluster.brokers()[0].kill();
        until("it is said that the broker is away", || (copier.away.load(Ordering::Relaxed) > 0).then_some(()));
        cluster.brokers()[0].restart().expect("it starts");
        cluster.brokers()[0].wait_ready(1).expect("it answers");
        fill(&*log, &input, 2, 300..600);
        copied(600);
        drop(stopping);
    });
    check(&*log, &output, 600);
}

/// Of three brokers each dies once; the others take over, coordinators included.
#[test]
fn one_of_three_brokers_dies() {
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options { brokers: 3, ..Options::default() }) else { return };
    copy_through(&mut cluster, 4_000, |cluster, copier| {
        for i in 0..3 {
            // Else a quick machine is done before the last one dies.
            let there = copier.there.fetch_add(4_000, Ordering::Relaxed);
            fill(&*copier.log, &copier.input, 2, there..there + 4_000);
            let before = copier.copied.load(Ordering::Relaxed);
            cluster.brokers()[i].kill();
            until("it goes on without", || (copier.copied.load(Ordering::Relaxed) > before).then_some(()));
            cluster.brokers()[i].restart().expect("it starts");
            cluster.brokers()[i].wait_ready(3).expect("it is back");
        }
    });
}

/// A broker that hangs with connections open: calls return by their deadlines, and the copy goes on when it wakes.
#[test]
fn a_broker_freezes_and_wakes() {
    // Not taken for dead by its own controller when both wake up: its partitions would be without a leader for a moment.
    let properties = vec![("broker.session.timeout.ms".to_owned(), "120000".to_owned())];
    let Some(mut cluster) = KafkaCluster::start_or_skip(Options { properties, ..Options::default() }) else { return };
    copy_through(&mut cluster, 3_000, |cluster, copier| {
        let log = log_on(cluster.bootstrap());
        cluster.brokers()[0].freeze().expect("it stops");
        let error = log.topics().expect_err("nobody answers");
        assert_eq!((error.class, error.code), (Class::Retry, "broker_away"), "{error}");
        let before = copier.copied.load(Ordering::Relaxed);
        cluster.brokers()[0].thaw().expect("it goes on");
        until("the copy goes on", || (copier.copied.load(Ordering::Relaxed) > before).then_some(()));
    });
}

/// Negative control: `auto.offset.reset=earliest` for members starts in silence at another offset.
#[test]
fn an_offset_that_is_gone_is_an_error() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let input = topic(&*log, "gone", 1, None);
    fill(&*log, &input, 1, 0..10);
    let at = TopicPartition::new(input.as_str(), 0);
    log.delete_before(&[(at.clone(), 5)]).expect("deleted");
    let mut a = log.join(member(&unique("gone"), &input, "a")).expect("it joins");
    assigned(&mut *a);
    a.start(&[Position { partition: at, offset: 2, metadata: String::new() }]).expect("it starts");
    let error = until("the error comes", || a.poll(PLENTY, TURN, &mut Vec::new()).err());
    // Whoever owns the partition now may have deleted what it has worked off; who joins again hears where the group stands.
    assert_eq!((error.class, error.code), (Class::Fenced, "offset_out_of_range"), "{error}");
    assert!(error.message.contains(&format!("{input}/0")) && error.message.contains("offset 2"), "{error}");
}

/// librdkafka tries again for ever, and says nothing. Negative control: `refused` that knows no `InvalidSessionTimeout`
/// leaves the wait to run out.
#[test]
fn a_session_the_brokers_refuse_is_named() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_with(cluster.bootstrap(), &[("session.timeout.ms", "3000")]);
    let input = topic(&*log, "session", 1, None);
    let mut a = log.join(member(&unique("session"), &input, "a")).expect("it asks to join");
    let error = until("the error comes", || a.poll(PLENTY, TURN, &mut Vec::new()).err());
    assert_eq!((error.class, error.code), (Class::Config, "refused_by_broker"), "{error}");
    for part in ["session.timeout.ms", "group.min.session.timeout.ms` (6000)"] {
        assert!(error.message.contains(part), "{error}");
    }
}

/// Small records whose batch is larger than the topic takes are not refused: they go in smaller batches. Negative
/// control: `refused` that names every failed record.
#[test]
fn a_batch_too_large_is_sent_in_smaller_ones() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output) = (topic(&*log, "batch-in", 1, None), topic(&*log, "batch-out", 1, Some(16 << 10)));
    fill(&*log, &input, 1, 0..1);
    let mut a = log.join(member(&unique("batch"), &input, "a")).expect("it joins");
    assigned(&mut *a);
    let from = Position { partition: TopicPartition::new(input.as_str(), 0), offset: 0, metadata: String::new() };
    a.start(std::slice::from_ref(&from)).expect("it starts");
    let noise = |seed: u32| -> Bytes {
        (0..4096u32).map(|i| millstream_log::murmur2(&(seed << 16 | i).to_be_bytes()) as u8).collect()
    };
    let records = || -> Vec<Outgoing> {
        (0..100).map(|i| Outgoing { value: Some(noise(i)), tag: u64::from(i), ..record(&output, 0, "") }).collect()
    };
    until("they are committed", || {
        let ended = a.send(&mut records()).and_then(|()| a.commit(&[Position { offset: 1, ..from.clone() }]));
        match ended {
            Ok(()) => Some(()),
            Err(Sent::Failed(error)) if error.class == Class::Abort => {
                a.abort().expect("aborted");
                None
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(committed_values(&*log, &output, 0).len(), 100);
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn assigned(member: &mut dyn Member) {
    until("the partition is assigned", || {
        let events = member.poll(PLENTY, TURN, &mut Vec::new()).expect("it polls");
        events.iter().any(|e| matches!(e, Event::Assigned(_))).then_some(())
    });
}
