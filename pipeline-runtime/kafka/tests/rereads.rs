//! A member that reads partitions again and again, while others come and go. `MILLSTREAM_TEST_ROUNDS=N` lets N others come.

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_log::{Class, Event, Log, MemberConfig, Position, TopicPartition};
use millstream_test_kafka::{KafkaCluster, unique};
use support::copier::StopOnDrop;
use support::{PATIENCE, PLENTY, TURN, fill, log_on, member, topic, until};

const PARTITIONS: i32 = 2;
const RECORDS: usize = 240;
/// Where reading begins again. Above zero, as librdkafka takes another way there.
const FROM: i64 = 40;

/// Reads its side partitions from the committed position to the end, again and again. Gives the passes made.
struct Reader<'a> {
    log: &'a dyn Log,
    config: MemberConfig,
    side: &'a str,
}

impl Reader<'_> {
    fn run(&self, passes: usize, stop: &AtomicBool) -> usize {
        let mut config = self.config.clone();
        config.name = unique("reader");
        let mut member = self.log.join(config).expect("it joins");
        // By partition: the next offset expected, and since when.
        let mut reading: BTreeMap<TopicPartition, (i64, Instant)> = BTreeMap::new();
        let (mut made, mut turn) = (0, 0u32);
        let mut ended: std::collections::BTreeSet<TopicPartition> = Default::default();
        let end = (RECORDS / PARTITIONS as usize) as i64;
        while made < passes && !stop.load(Ordering::Acquire) {
            turn += 1;
            let mut batches = Vec::new();
            let events = match member.poll(PLENTY, TURN, &mut batches) {
                Ok(events) => events,
                Err(e) if e.class == Class::Retry => continue,
                Err(e) => panic!("{e}"),
            };
            for batch in batches {
                let Some((next, since)) = reading.get_mut(&batch.partition) else { continue };
                for record in &batch.records {
                    assert_eq!(record.offset, *next, "{}: turn {turn}", batch.partition);
                    *next += 1;
                    *since = Instant::now();
                }
                if batch.at_end {
                    ended.insert(batch.partition.clone());
                }
            }
            let mut again = Vec::new();
            for event in events {
                match event {
                    Event::Assigned(found) => {
                        let positions: Vec<Position> = found.into_iter().map(|a| at(a.partition)).collect();
                        for position in positions.iter().filter(|p| *p.partition.topic == *self.side) {
                            reading.insert(position.partition.clone(), (FROM, Instant::now()));
                        }
                        member.start(&positions).expect("it starts");
                    }
                    Event::Revoking(going) => {
                        reading.retain(|at, _| !going.contains(at));
                        member.release(&going).expect("nothing is open");
                    }
                    Event::Lost(gone) => reading.retain(|at, _| !gone.contains(at)),
                    Event::BrokerAway(..) => {}
                }
            }
            for (place, (next, since)) in &mut reading {
                assert!(since.elapsed() < PATIENCE, "{place} is not read any more at {next}, pass {made}");
                if *next >= end && (made % 3 == 0 || ended.contains(place)) {
                    ended.remove(place);
                    made += 1;
                    (*next, *since) = (FROM, Instant::now());
                    again.push(at(place.clone()));
                }
            }
            if !again.is_empty() {
                member.start(&again).expect("it starts again");
            }
        }
        member.leave(Duration::from_secs(10));
        made
    }
}

fn at(partition: TopicPartition) -> Position {
    Position { partition, offset: FROM, metadata: String::new() }
}

#[test]
fn what_is_read_again_is_read_through_rebalances() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, side) = (topic(&*log, "lead", PARTITIONS, None), topic(&*log, "side", PARTITIONS, None));
    fill(&*log, &input, PARTITIONS, 0..RECORDS);
    fill(&*log, &side, PARTITIONS, 0..RECORDS);
    let config = MemberConfig { side: vec![side.clone()], ..member(&unique("rereads"), &input, "a") };
    let rounds: usize = std::env::var("MILLSTREAM_TEST_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(3);
    let stop = AtomicBool::new(false);
    let reader = Reader { log: &*log, config, side: &side };
    std::thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let stays = scope.spawn({
            let (reader, stop) = (&reader, &stop);
            move || reader.run(usize::MAX, stop)
        });
        for round in 0..rounds {
            let never = AtomicBool::new(false);
            let made = reader.run(1 + round * 7 % 30, &never);
            eprintln!("round {round}: {made}");
            assert!(!stays.is_finished());
        }
        drop(stopping);
        until("it ends", || stays.is_finished().then_some(()));
    });
}
