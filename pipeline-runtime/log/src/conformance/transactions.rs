//! Outputs and positions in one transaction: all or nothing, for everybody who looks.

use super::Bench;
use super::kit::{Kit, PLENTY, TURN, numbered, record, text, tp};
use super::player::{Player, position};
use crate::{Committed, Delivery, End, Isolation, Position, TopicPartition};

/// A member that has read `count` records of a new topic of one partition.
fn reading(kit: &Kit<'_>, group: &str, count: usize) -> (Player, TopicPartition) {
    let topic = kit.topic("tx-in", 1);
    kit.fill(&topic, count);
    let at = tp(&topic, 0);
    let mut player = kit.join(group, &topic, "a");
    kit.play("the input is read", &mut [&mut player], |p| p[0].read(&at) == count);
    (player, at)
}

pub(super) fn outputs_and_positions_appear_together(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("together");
    let (mut player, at) = reading(&kit, &group, 10);
    let (x, y) = (kit.topic("tx-x", 2), kit.topic("tx-y", 1));
    for round in 0..3 {
        let value = |part: &str| format!("{round}{part}");
        player.send(vec![record(&x, 0, "k", &value("a")), record(&y, 0, "k", &value("b"))]);
        player.send(vec![record(&x, 1, "k", &value("c")), record(&x, 0, "k", &value("d"))]);
        // Nothing of this round is visible yet.
        assert_eq!(kit.values(&x, 0).len(), 2 * round);
        assert_eq!(kit.values(&y, 0).len(), round);
        let before = kit.committed(&group, &at).map_or(0, |c| c.offset);
        assert_eq!(before, 3 * round as i64);
        player.commit(&[position(&at, 3 * (round as i64 + 1))]);
        assert_eq!(kit.committed(&group, &at).unwrap().offset, 3 * (round as i64 + 1));
        kit.until("the outputs are visible", || {
            (kit.values(&x, 0).len() == 2 * round + 2 && kit.values(&y, 0).len() == round + 1).then_some(())
        });
    }
    assert_eq!(kit.values(&x, 0), ["0a", "0d", "1a", "1d", "2a", "2d"]);
    assert_eq!(kit.values(&x, 1), ["0c", "1c", "2c"]);
    assert_eq!(kit.values(&y, 0), ["0b", "1b", "2b"]);
}

pub(super) fn an_abort_leaves_nothing(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("abort");
    let (mut player, at) = reading(&kit, &group, 10);
    let output = kit.topic("tx-abort", 1);
    player.send(vec![record(&output, 0, "k", "first")]);
    player.commit(&[position(&at, 4)]);
    for _ in 0..2 {
        player.send((0..20).map(|i| record(&output, 0, "k", &format!("never {i}"))).collect());
        player.member.abort().unwrap();
        player.start(&[position(&at, 4)]);
        kit.play("the input is read again", &mut [&mut player], |p| p[0].read(&at) == 6);
    }
    // An abort with nothing sent is no error either.
    player.member.abort().unwrap();
    player.start(&[position(&at, 4)]);
    player.send(vec![record(&output, 0, "k", "second")]);
    player.commit(&[position(&at, 10)]);
    kit.until("both are visible", || (kit.values(&output, 0).len() >= 2).then_some(()));
    assert_eq!(kit.values(&output, 0), ["first", "second"]);
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(10));
}

pub(super) fn a_position_can_reach_the_end_past_transactions(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (mut player, at) = reading(&kit, &bench.unique("upstream"), 4);
    let middle = kit.topic("tx-middle", 1);
    for i in 0..4 {
        player.send(vec![numbered(&middle, 0, i)]);
        if i == 2 {
            player.member.abort().unwrap();
            player.start(&[position(&at, i as i64)]);
        } else {
            player.commit(&[position(&at, i as i64 + 1)]);
        }
    }
    let group = bench.unique("downstream");
    let middle = tp(&middle, 0);
    let mut reader = kit.join(&group, &middle.topic, "b");
    kit.play("the end is reached", &mut [&mut reader], |p| {
        p[0].read(&middle) == 3 && p[0].at_end.get(&middle) == Some(&true)
    });
    assert_eq!(reader.values(&middle), ["0", "1", "3"]);
    let next = reader.next[&middle];
    reader.commit(&[position(&middle, next)]);
    assert_eq!(kit.committed(&group, &middle).unwrap().offset, kit.end(&middle, End::High));
}

pub(super) fn an_open_transaction_is_invisible(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("open");
    let (mut player, at) = reading(&kit, &group, 3);
    let output = kit.topic("tx-open", 1);
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(tp(&output, 0), 0)]).unwrap();
    player.send((0..50).map(|i| numbered(&output, 0, i)).collect());
    for _ in 0..10 {
        let found = reader.poll(PLENTY, TURN).unwrap();
        assert!(found.iter().all(|b| b.records.is_empty()), "an open transaction was read");
    }
    assert_eq!(kit.end(&tp(&output, 0), End::Stable), 0);
    player.commit(&[position(&at, 3)]);
    let mut values = Vec::new();
    kit.until("the committed records are read", || {
        for batch in reader.poll(PLENTY, TURN).unwrap() {
            values.extend(batch.records.iter().map(text));
        }
        (values.len() >= 50).then_some(())
    });
    assert_eq!(values, (0..50).map(|i| i.to_string()).collect::<Vec<_>>());
}

pub(super) fn an_uncommitted_reader_passes_aborted_records(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (mut player, at) = reading(&kit, &bench.unique("passes"), 3);
    let output = kit.topic("tx-passes", 1);
    player.send(vec![record(&output, 0, "k", "aborted")]);
    player.member.abort().unwrap();
    player.start(&[position(&at, 0)]);
    player.send(vec![record(&output, 0, "k", "committed")]);
    player.commit(&[position(&at, 3)]);
    // An uncommitted reader may see what was aborted, and must see what was committed.
    let seen: Vec<String> = kit.read(&output, 0, Isolation::Uncommitted).iter().map(text).collect();
    assert!(matches!(&seen[..], [c] if c == "committed") || seen == ["aborted", "committed"], "{seen:?}");
    assert_eq!(kit.values(&output, 0), ["committed"]);
    assert_eq!(kit.end(&tp(&output, 0), End::Stable), kit.end(&tp(&output, 0), End::High));
}

pub(super) fn positions_commit_without_outputs(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("only-positions");
    let (mut player, at) = reading(&kit, &group, 5);
    for offset in [2, 2, 5] {
        player.commit(&[position(&at, offset)]);
        assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(offset));
    }
    assert_eq!(kit.committed(&bench.unique("nobody"), &at), None);
}

pub(super) fn outputs_commit_without_positions(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("only-outputs");
    let (mut player, at) = reading(&kit, &group, 5);
    let output = kit.topic("tx-only", 1);
    player.commit(&[position(&at, 1)]);
    player.send(vec![record(&output, 0, "k", "alone")]);
    player.commit(&[]);
    assert_eq!(kit.values(&output, 0), ["alone"]);
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(1));
}

pub(super) fn metadata_comes_back_as_it_was(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("metadata");
    let (mut player, at) = reading(&kit, &group, 3);
    let most = player.member.max_metadata();
    assert!(most >= 1024, "only {most} bytes of metadata");
    let printable: String = (b' '..=b'~').map(char::from).collect();
    for metadata in
        [printable.clone(), String::new(), "v1;3-5,7".into(), printable.repeat(most / 95 + 1)[..most].into()]
    {
        player.commit(&[Position { metadata: metadata.clone(), ..position(&at, 3) }]);
        assert_eq!(kit.committed(&group, &at), Some(Committed { offset: 3, metadata }));
    }
}

pub(super) fn at_least_once_writes_and_commits(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("alo-in", 1);
    let output = kit.topic("alo-out", 1);
    let group = bench.unique("alo");
    kit.fill(&topic, 10);
    let at = tp(&topic, 0);
    let mut config = kit.config(&group, &topic, "a");
    config.delivery = Delivery::AtLeastOnce;
    let mut player = kit.join_with(config);
    kit.play("the input is read", &mut [&mut player], |p| p[0].read(&at) == 10);
    player.send((0..10).map(|i| numbered(&output, 0, i)).collect());
    player.commit(&[Position { metadata: "m".into(), ..position(&at, 10) }]);
    assert_eq!(kit.committed(&group, &at), Some(Committed { offset: 10, metadata: "m".into() }));
    assert_eq!(kit.values(&output, 0), (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
}
