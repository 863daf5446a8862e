//! Readers in no group.

use super::Bench;
use super::kit::{Kit, PLENTY, TURN, numbered, tp};
use crate::{End, Isolation};

pub(super) fn a_reader_reads_what_it_is_given_and_no_more(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("given", 3);
    kit.write((0..30).map(|i| numbered(&topic, (i % 3) as i32, i)).collect());
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    // Each round names other partitions and offsets; the ones of the round before must not come any more.
    for (partitions, from) in [(vec![0, 1], 0), (vec![2], 4), (vec![0, 2], 7)] {
        let given: Vec<_> = partitions.iter().map(|p| (tp(&topic, *p), from)).collect();
        reader.assign(&given).unwrap();
        let mut found: Vec<(i32, i64)> = Vec::new();
        let wanted: Vec<(i32, i64)> = partitions.iter().flat_map(|p| (from..10).map(|o| (*p, o))).collect();
        kit.until("the partitions given are read", || {
            for batch in reader.poll(PLENTY, TURN).unwrap() {
                assert_eq!(batch.epoch, 0);
                found.extend(batch.records.iter().map(|r| (batch.partition.partition, r.offset)));
            }
            (found.len() >= wanted.len()).then_some(())
        });
        found.sort_unstable();
        assert_eq!(found, wanted);
    }
}

pub(super) fn batches_lead_to_the_end(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("lead", 1);
    kit.fill(&topic, 25);
    let at = tp(&topic, 0);
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(at.clone(), 3)]).unwrap();
    let (mut next, mut ended) = (3, false);
    let mut budget = PLENTY;
    budget.records = 4;
    kit.until("the end is reached and said", || {
        for batch in reader.poll(budget, TURN).unwrap() {
            for record in &batch.records {
                assert_eq!(record.offset, next, "a record is missing or came twice");
                next += 1;
            }
            assert_eq!(batch.next, next);
            ended = batch.at_end;
            assert!(!ended || next == 25, "at the end at {next} of 25");
        }
        (next == 25 && ended).then_some(())
    });
    kit.fill(&topic, 1);
    kit.until("what comes later is read on", || {
        for batch in reader.poll(budget, TURN).unwrap() {
            next = batch.next;
        }
        (next == 26).then_some(())
    });
    assert_eq!(kit.end(&at, End::High), 26);
}

pub(super) fn a_reader_starts_at_the_first_record_still_there(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("still-there", 1);
    let at = tp(&topic, 0);
    kit.fill(&topic, 10);
    kit.log.delete_before(&[(at.clone(), 6)]).unwrap();
    kit.until("the records are gone", || (kit.end(&at, End::Low) == 6).then_some(()));
    let offsets: Vec<i64> = kit.read(&topic, 0, Isolation::Committed).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [6, 7, 8, 9]);
}
