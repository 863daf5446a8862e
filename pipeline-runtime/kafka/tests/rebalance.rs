//! Members come, go and die under load; every record is copied once, in order.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_log::{Event, Member, Position, TopicPartition};
use millstream_test_kafka::{KafkaCluster, unique};
use support::copier::{Copier, StopOnDrop};
use support::{PLENTY, TURN, committed_values, fill, log_on, member, topic, until};

const PARTITIONS: i32 = 4;

/// Values of each partition, as they were written.
fn check(log: &dyn millstream_log::Log, output: &str, count: usize) {
    for partition in 0..PARTITIONS {
        let wanted: Vec<String> =
            (0..count).filter(|i| i % PARTITIONS as usize == partition as usize).map(|i| i.to_string()).collect();
        let found = committed_values(log, output, partition);
        assert!(found == wanted, "{output}/{partition}: {} of {} records, or not in order", found.len(), wanted.len());
    }
}

/// Negative control: `start` that begins one record further (or, after a hand-over, at where the owner before had read).
#[test]
fn two_members_trade_places_under_load() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output) = (topic(&*log, "load-in", PARTITIONS, None), topic(&*log, "load-out", PARTITIONS, None));
    const COUNT: usize = 20_000;
    let copier = Copier::new(log.clone(), &input, &output);
    let stops = [AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false)];
    std::thread::scope(|scope| {
        let copier = &copier;
        let stopping: Vec<StopOnDrop<'_>> = stops.iter().map(StopOnDrop).collect();
        for stop in &stops[..2] {
            scope.spawn(move || copier.run(stop));
        }
        fill(&*log, &input, PARTITIONS, 0..COUNT / 2);
        until("a part is copied", || (copier.copied.load(Ordering::Relaxed) > 1_000).then_some(()));
        // One leaves cleanly, another comes, while more is written.
        stops[0].store(true, Ordering::Release);
        scope.spawn(|| copier.run(&stops[2]));
        fill(&*log, &input, PARTITIONS, COUNT / 2..COUNT);
        until("all is copied", || (copier.copied.load(Ordering::Relaxed) >= COUNT).then_some(()));
        drop(stopping);
    });
    assert_eq!(copier.copied.load(Ordering::Relaxed), COUNT);
    check(&*log, &output, COUNT);
}

/// While a partition is asked back all of them are paused, and librdkafka goes on where it thinks the application
/// stands: after the mark of a partition's end one record too far. Negative control: `KafkaMember::steer` doing nothing
/// loses the record of the partition that stays.
#[test]
fn a_record_written_during_a_rebalance_is_read() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, group) = (topic(&*log, "during", 2, None), unique("during"));
    fill(&*log, &input, 2, 0..4);
    let mut a = log.join(member(&group, &input, "a")).expect("it joins");
    let mut ended = [false, false];
    until("all is read to its end", || {
        let mut batches = Vec::new();
        for event in a.poll(PLENTY, TURN, &mut batches).expect("it polls") {
            start(&mut *a, event);
        }
        batches.iter().for_each(|b| ended[b.partition.partition as usize] |= b.at_end && b.next == 2);
        (ended == [true, true]).then_some(())
    });
    let mut b = log.join(member(&group, &input, "b")).expect("it joins");
    let going = until("one is asked back", || {
        b.poll(PLENTY, Duration::ZERO, &mut Vec::new()).expect("it polls");
        let events = a.poll(PLENTY, TURN, &mut Vec::new()).expect("it polls");
        events.into_iter().find_map(|e| if let Event::Revoking(going) = e { Some(going) } else { None })
    });
    fill(&*log, &input, 2, 4..6);
    a.release(&going).expect("nothing is open");
    let stays = TopicPartition::new(input.as_str(), 1 - going[0].partition);
    until("the record of the partition that stays is read", || {
        b.poll(PLENTY, Duration::ZERO, &mut Vec::new()).expect("it polls");
        let mut batches = Vec::new();
        a.poll(PLENTY, TURN, &mut batches).expect("it polls");
        batches.iter().filter(|b| b.partition == stays).flat_map(|b| &b.records).any(|r| r.offset == 2).then_some(())
    });
}

fn start(member: &mut dyn Member, event: Event) {
    let Event::Assigned(found) = event else { panic!("{event:?}") };
    let positions: Vec<Position> = found
        .into_iter()
        .map(|a| Position { partition: a.partition, offset: a.low, metadata: String::new() })
        .collect();
    member.start(&positions).expect("it starts");
}
