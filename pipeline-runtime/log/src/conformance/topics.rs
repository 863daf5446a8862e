//! Topics: describing, creating, listing, deleting, their ends.

use super::Bench;
use super::kit::{Kit, new_topic, numbered, record, tp};
use super::player::position;
use crate::{Class, End, Outgoing, Retention, TopicInfo};

pub(super) fn describe_creates_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let known = kit.topic("known", 3);
    let unknown = bench.unique("unknown");
    for _ in 0..2 {
        let found = kit.log.describe(&[&unknown, &known, &unknown]).unwrap();
        assert_eq!(found, [None, Some(TopicInfo { partitions: 3 }), None]);
    }
    assert!(!kit.log.topics().unwrap().contains(&unknown));
    let error = kit.log.ends(&[tp(&unknown, 0)], End::High).unwrap_err();
    assert!(matches!(error.class, Class::Config | Class::Retry), "{error} ({:?})", error.class);
    assert_eq!(kit.log.describe(&[&unknown]).unwrap(), [None]);
}

pub(super) fn creating_twice_changes_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("twice", 2);
    let other = bench.unique("other");
    kit.fill(&topic, 3);
    let again = [new_topic(&topic, 5, Retention::Kept, None), new_topic(&other, 1, Retention::Kept, None)];
    kit.log.create(&again).unwrap();
    let found = kit.log.describe(&[&topic, &other]).unwrap();
    assert_eq!(found, [Some(TopicInfo { partitions: 2 }), Some(TopicInfo { partitions: 1 })]);
    assert_eq!(kit.values(&topic, 0), ["0", "1", "2"]);
}

pub(super) fn topics_are_listed_and_deleted(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (b, a) = (kit.topic("list-b", 1), kit.topic("list-a", 1));
    let names = kit.log.topics().unwrap();
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.contains(&a) && names.contains(&b), "{names:?}");
    kit.fill(&a, 3);
    kit.log.delete(&[&a, &bench.unique("never")]).unwrap();
    kit.until("the deleted topic is gone", || kit.log.describe(&[&a]).unwrap()[0].is_none().then_some(()));
    let names = kit.log.topics().unwrap();
    assert!(!names.contains(&a) && names.contains(&b), "{names:?}");
    // The name can be used again, and nothing of the old topic is left.
    kit.until("the name can be used again", || {
        kit.log.create(&[new_topic(&a, 2, Retention::Kept, None)]).ok()?;
        (kit.log.describe(&[&a]).unwrap()[0] == Some(TopicInfo { partitions: 2 })).then_some(())
    });
    assert_eq!(kit.end(&tp(&a, 0), End::High), 0);
    assert!(kit.values(&a, 0).is_empty());
}

pub(super) fn partitions_are_added(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, other) = (kit.topic("grows", 2), kit.topic("stays", 3));
    let group = bench.unique("grows");
    kit.write((0..6).map(|i| numbered(&topic, (i % 2) as i32, i)).collect());
    let mut player = kit.join(&group, &topic, "a");
    kit.play("both are read", &mut [&mut player], |p| p[0].read(&tp(&topic, 1)) == 3);
    player.commit(&[position(&tp(&topic, 1), 2)]);
    player.member.leave(bench.patience());
    for _ in 0..2 {
        kit.log.add_partitions(&[(&topic, 5), (&other, 2)]).unwrap();
        let found = kit.log.describe(&[&topic, &other]).unwrap();
        assert_eq!(found, [Some(TopicInfo { partitions: 5 }), Some(TopicInfo { partitions: 3 })]);
    }
    let all: Vec<_> = (0..5).map(|p| tp(&topic, p)).collect();
    for end in [End::Low, End::High, End::Stable] {
        let there = if end == End::Low { [0; 5] } else { [3, 3, 0, 0, 0] };
        assert_eq!(kit.log.ends(&all, end).unwrap(), there, "{end:?}");
    }
    kit.write(vec![numbered(&topic, 4, 7)]);
    drop(kit);
    bench.reopen();
    let kit = Kit::new(bench);
    assert_eq!(kit.values(&topic, 4), ["7"]);
    assert_eq!(kit.values(&topic, 1), ["1", "3", "5"]);
    assert_eq!(kit.committed(&group, &tp(&topic, 1)).map(|c| c.offset), Some(2));
    assert_eq!(kit.committed(&group, &tp(&topic, 4)), None);
    let error = kit.log.add_partitions(&[(&bench.unique("never"), 2)]).unwrap_err();
    assert_eq!((error.class, error.code), (Class::Config, "unknown_topic"), "{error}");
}

pub(super) fn ends_of_an_empty_and_a_filled_partition(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("ends", 3);
    kit.write((0..7).map(|i| numbered(&topic, 1, i)).collect());
    let partitions = [tp(&topic, 1), tp(&topic, 0), tp(&topic, 2)];
    assert_eq!(kit.log.ends(&partitions, End::Low).unwrap(), [0, 0, 0]);
    assert_eq!(kit.log.ends(&partitions, End::High).unwrap(), [7, 0, 0]);
    assert_eq!(kit.log.ends(&partitions, End::Stable).unwrap(), [7, 0, 0]);
    assert!(kit.log.ends(&[], End::High).unwrap().is_empty());
}

pub(super) fn the_first_record_at_or_after_a_time(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("at-time", 2);
    let stamp = |i: usize| 1_700_000_000_000 + 1_000 * i as i64;
    kit.write((0..40).map(|i| Outgoing { timestamp: stamp(i), ..record(&topic, 0, "k", "v") }).collect());
    let at = tp(&topic, 0);
    for (time, offset) in [(0, 0), (stamp(0), 0), (stamp(0) + 1, 1), (stamp(25), 25), (stamp(38) + 1, 39)] {
        assert_eq!(kit.end(&at, End::AtTime(time)), offset, "at {time}");
    }
    assert_eq!(kit.end(&at, End::AtTime(stamp(39) + 1)), 40, "after all");
    assert_eq!(kit.end(&tp(&topic, 1), End::AtTime(0)), 0, "an empty partition");
}
