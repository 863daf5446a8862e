//! What goes away, and what does not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Bench;
use super::kit::{Kit, numbered, record, tp};
use crate::{End, Isolation, Outgoing, Retention};

pub(super) fn old_time_stamps_do_not_age_a_kept_topic(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("kept", 1);
    kit.write((0..10).map(|i| Outgoing { timestamp: i as i64, ..numbered(&topic, 0, i) }).collect());
    bench_reads(&kit, &topic, 10);
}

pub(super) fn a_topic_with_retention_stamps_when_it_is_written(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let day = Duration::from_secs(24 * 60 * 60);
    let topic = kit.topic_with("written", 1, Retention::Written(day), None);
    // Clocks of two machines may differ by a little; a day is what the record would be off by.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    kit.write(vec![Outgoing { timestamp: 1, ..record(&topic, 0, "k", "v") }]);
    let found = kit.read(&topic, 0, Isolation::Committed);
    assert_eq!(found.len(), 1, "a record with an old time stamp of its own is gone at once");
    let off = (found[0].timestamp - now).unsigned_abs();
    assert!(off < day.as_millis() as u64 / 2, "stamped {off} ms off the time it was written");
}

pub(super) fn deleting_before_an_offset(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("delete-before", 2);
    kit.write((0..20).map(|i| numbered(&topic, (i % 2) as i32, i)).collect());
    let (zero, one) = (tp(&topic, 0), tp(&topic, 1));
    kit.log.delete_before(&[(zero.clone(), 4)]).unwrap();
    kit.until("the records are gone", || (kit.end(&zero, End::Low) == 4).then_some(()));
    // Going back deletes nothing and brings nothing back.
    kit.log.delete_before(&[(zero.clone(), 2)]).unwrap();
    assert_eq!((kit.end(&zero, End::Low), kit.end(&zero, End::High)), (4, 10));
    assert_eq!((kit.end(&one, End::Low), kit.end(&one, End::High)), (0, 10));
    let mut player = kit.join(&bench.unique("delete-before"), &topic, "a");
    kit.play("the rest is read", &mut [&mut player], |p| p[0].read(&zero) == 6 && p[0].read(&one) == 10);
    assert_eq!(player.owned[&zero].low, 4);
    kit.log.delete_before(&[(zero.clone(), 10)]).unwrap();
    kit.until("all is gone", || (kit.end(&zero, End::Low) == 10).then_some(()));
    kit.write(vec![numbered(&topic, 0, 99)]);
    kit.play("offsets go on", &mut [&mut player], |p| p[0].read(&zero) == 7);
    assert_eq!(player.records[&zero][6].offset, 10);
}

pub(super) fn a_compacted_topic_keeps_the_last_of_each_key(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic_with("compacted", 1, Retention::Compacted, None);
    kit.write((0..100).map(|i| numbered(&topic, 0, i)).collect());
    kit.write(vec![Outgoing { value: None, ..record(&topic, 0, "k3", "") }]);
    // When the log compacts is its own matter: at any time the last of each key is there, in order of offset.
    let found = kit.read(&topic, 0, Isolation::Committed);
    assert!(found.is_sorted_by_key(|r| r.offset));
    for key in 0..10 {
        let name = Bytes::from(format!("k{key}"));
        let last = found.iter().rfind(|r| r.key.as_ref() == Some(&name)).map(|r| r.value.clone());
        let wanted = if key == 3 { None } else { Some(Bytes::from((90 + key).to_string())) };
        assert_eq!(last, Some(wanted), "the last record of k{key}");
    }
}

fn bench_reads(kit: &Kit<'_>, topic: &str, count: usize) {
    let found = kit.read(topic, 0, Isolation::Committed);
    assert_eq!(found.len(), count);
    assert_eq!(kit.end(&tp(topic, 0), End::Low), 0);
}
