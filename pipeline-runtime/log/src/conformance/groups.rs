//! Groups: who owns which partition, and what goes with it when it moves.

use std::collections::BTreeSet;

use super::Bench;
use super::kit::{Kit, new_topic, numbered, tp};
use super::player::{Player, position};
use crate::{Class, Committed, End, MemberConfig, Position, Retention, TopicPartition};

/// How many partitions each owns; panics if two own the same one.
fn shares(players: &[&mut Player]) -> Vec<usize> {
    let mut all = BTreeSet::new();
    for player in players {
        for at in player.owned.keys() {
            assert!(all.insert(at.clone()), "{at} is owned by two members");
        }
    }
    players.iter().map(|p| p.owned.len()).collect()
}

pub(super) fn one_member_gets_every_partition(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("one", 4);
    kit.write((0..5).map(|i| numbered(&topic, 2, i)).collect());
    let mut player = kit.join(&bench.unique("one"), &topic, "a");
    kit.play("all four are assigned", &mut [&mut player], |p| p[0].owned.len() == 4);
    for (partition, high) in [(0, 0), (1, 0), (2, 5), (3, 0)] {
        let assignment = &player.owned[&tp(&topic, partition)];
        assert_eq!((assignment.low, assignment.high), (0, high));
        assert_eq!(assignment.committed, None);
    }
    kit.play("its records are read", &mut [&mut player], |p| p[0].read(&tp(&topic, 2)) == 5);
}

pub(super) fn three_members_share_the_partitions(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("three", 6);
    let group = bench.unique("three");
    let mut a = kit.join(&group, &topic, "a");
    kit.play("one has all", &mut [&mut a], |p| shares(p) == [6]);
    let mut b = kit.join(&group, &topic, "b");
    kit.play("two share", &mut [&mut a, &mut b], |p| shares(p) == [3, 3]);
    let mut c = kit.join(&group, &topic, "c");
    kit.play("three share", &mut [&mut a, &mut b, &mut c], |p| shares(p) == [2, 2, 2]);
    assert!(a.lost.is_empty() && b.lost.is_empty() && c.lost.is_empty(), "a healthy member lost a partition");
    // Cooperative: what stayed was never taken away and given back.
    for (name, player) in [("a", &a), ("b", &b)] {
        for at in player.owned.keys() {
            let times = player.assigned.iter().filter(|x| x.partition == *at).count();
            assert_eq!(times, 1, "{name}: {at} was assigned {times} times while it could stay");
        }
    }
}

pub(super) fn a_member_too_many_stands_by(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("stand-by", 2);
    let group = bench.unique("stand-by");
    let (mut a, mut b, mut c) =
        (kit.join(&group, &topic, "a"), kit.join(&group, &topic, "b"), kit.join(&group, &topic, "c"));
    let sorted = |p: &[&mut Player]| {
        let mut shares = shares(p);
        shares.sort_unstable();
        shares
    };
    kit.play("two work, one stands by", &mut [&mut a, &mut b, &mut c], |p| sorted(p) == [0, 1, 1]);
    let mut rest: Vec<Player> = Vec::new();
    let mut gone = None;
    for player in [a, b, c] {
        if gone.is_none() && !player.owned.is_empty() {
            gone = Some(player);
        } else {
            rest.push(player);
        }
    }
    gone.expect("one of them works").member.leave(bench.patience());
    let mut rest: Vec<&mut Player> = rest.iter_mut().collect();
    kit.play("who stood by steps in", &mut rest, |p| shares(p) == [1, 1]);
}

pub(super) fn partitions_are_handed_over_with_position_and_metadata(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("hand-over", 2);
    let group = bench.unique("hand-over");
    let all = [tp(&topic, 0), tp(&topic, 1)];
    kit.write((0..20).map(|i| numbered(&topic, (i % 2) as i32, i)).collect());
    let mut a = kit.join(&group, &topic, "a");
    a.releases = false;
    kit.play("a has read all", &mut [&mut a], |p| all.iter().all(|at| p[0].read(at) == 10));
    let early: Vec<Position> = all.iter().map(|at| Position { metadata: "early".into(), ..position(at, 3) }).collect();
    a.commit(&early);

    let mut b = kit.join(&group, &topic, "b");
    kit.play("a is asked for one", &mut [&mut a, &mut b], |p| !p[0].revoking.is_empty());
    assert_eq!(a.revoking.len(), 1, "{:?}", a.revoking);
    let moved = a.revoking[0].clone();
    for _ in 0..5 {
        a.turn();
        b.turn();
        assert!(b.owned.is_empty(), "b was given {moved} before a released it");
    }
    // Still a's: it may finish and commit.
    a.commit(&[Position { metadata: "late, 7 of 10".into(), ..position(&moved, 7) }]);
    a.release();
    a.releases = true;
    kit.play("b gets it", &mut [&mut a, &mut b], |p| shares(p) == [1, 1]);
    let assignment = &b.owned[&moved];
    assert_eq!(assignment.committed, Some(Committed { offset: 7, metadata: "late, 7 of 10".into() }));
    assert_eq!((assignment.low, assignment.high), (0, 10));
    kit.play("b reads the rest", &mut [&mut a, &mut b], |p| p[1].read(&moved) == 3);
    let offsets: Vec<i64> = b.records[&moved].iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [7, 8, 9]);
    let kept = all.iter().find(|at| **at != moved).unwrap();
    assert_eq!(kit.committed(&group, kept), Some(Committed { offset: 3, metadata: "early".into() }));
}

pub(super) fn who_leaves_hands_everything_over(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("leave", 3);
    let group = bench.unique("leave");
    kit.fill(&topic, 4);
    let at = tp(&topic, 0);
    let mut a = kit.join(&group, &topic, "a");
    kit.play("a has read", &mut [&mut a], |p| p[0].owned.len() == 3 && p[0].read(&at) == 4);
    a.commit(&[position(&at, 4)]);
    a.member.leave(bench.patience());
    let mut b = kit.join(&group, &topic, "b");
    kit.play("b has all", &mut [&mut b], |p| shares(p) == [3]);
    assert_eq!(b.owned[&at].committed.as_ref().map(|c| c.offset), Some(4));
}

pub(super) fn a_deleted_group_has_no_positions(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("forgotten", 2);
    let (group, other) = (bench.unique("forgotten"), bench.unique("stays"));
    kit.fill(&topic, 4);
    let at = tp(&topic, 0);
    for group in [&group, &other] {
        let mut player = kit.join(group, &topic, "a");
        kit.play("it has read", &mut [&mut player], |p| p[0].owned.len() == 2 && p[0].read(&at) == 4);
        player.commit(&[position(&at, 3)]);
        let refused = kit.log.delete_groups(&[group]).expect_err("it has a member");
        assert_eq!((refused.code, refused.class), ("group_in_use", Class::Retry));
        player.member.leave(bench.patience());
    }
    let never = bench.unique("never");
    kit.until("the member that left is gone", || match kit.log.delete_groups(&[&never, &group]) {
        Ok(()) => Some(()),
        Err(e) => {
            assert_eq!(e.class, Class::Retry, "{e}");
            None
        }
    });
    assert_eq!(kit.committed(&group, &at), None);
    assert_eq!(kit.committed(&other, &at).map(|c| c.offset), Some(3), "another group keeps its own");
    let mut player = kit.join(&group, &topic, "b");
    kit.play("it begins anew", &mut [&mut player], |p| p[0].owned.len() == 2 && p[0].read(&at) == 4);
    assert_eq!(player.owned[&at].committed, None);
}

pub(super) fn side_topics_follow_their_lead(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let lead = kit.topic("lead", 4);
    let sides = [kit.topic("side-x", 4), kit.topic("side-y", 4)];
    let group = bench.unique("sides");
    for topic in [&lead, &sides[0], &sides[1]] {
        kit.write((0..8).map(|i| numbered(topic, (i % 4) as i32, i)).collect());
    }
    let config = |name: &str| {
        let mut config = kit.config(&group, &lead, name);
        config.side = sides.to_vec();
        config
    };
    let (mut a, mut b) = (kit.join_with(config("a")), kit.join_with(config("b")));
    kit.play("two share", &mut [&mut a, &mut b], |p| shares(p) == [6, 6]);
    for player in [&a, &b] {
        let order: Vec<&TopicPartition> = player.assigned.iter().map(|x| &x.partition).collect();
        for (i, at) in order.iter().enumerate().filter(|(_, at)| *at.topic == *lead) {
            let after: Vec<&TopicPartition> = order[i + 1..].iter().copied().take(2).collect();
            assert_eq!(after, [&tp(&sides[0], at.partition), &tp(&sides[1], at.partition)], "after {at}");
        }
        for at in player.owned.keys() {
            let lead = tp(&lead, at.partition);
            assert!(player.owned.contains_key(&lead), "{at} is here but {lead} is not");
        }
    }
    kit.play("all of it is read", &mut [&mut a, &mut b], |p| {
        p.iter().all(|player| player.owned.keys().all(|at| player.read(at) == 2))
    });
    let at = tp(&sides[1], a.owned.keys().next().unwrap().partition);
    a.commit(&[position(&at, 1)]);
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(1));
    a.member.leave(bench.patience());
    kit.play("b has all", &mut [&mut b], |p| shares(p) == [12]);
    assert_eq!(b.owned[&at].committed.as_ref().map(|c| c.offset), Some(1));
}

pub(super) fn a_partition_comes_when_its_side_topics_have_it(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (lead, side) = (kit.topic("wide", 2), kit.topic("narrow", 2));
    let group = bench.unique("widened");
    kit.log.add_partitions(&[(&lead, 3)]).unwrap();
    kit.write((0..3).map(|i| numbered(&lead, i, i as usize)).collect());
    let config = |name: &str| MemberConfig { side: vec![side.clone()], ..kit.config(&group, &lead, name) };
    let mut a = kit.join_with(config("a"));
    kit.play("what both topics have", &mut [&mut a], |p| (0..2).all(|i| p[0].read(&tp(&lead, i)) == 1));
    for _ in 0..5 {
        a.turn();
    }
    assert_eq!(shares(&[&mut a]), [4], "{:?}", a.owned.keys());
    kit.log.add_partitions(&[(&side, 3)]).unwrap();
    a.member.leave(bench.patience());
    let mut b = kit.join_with(config("b"));
    kit.play("all", &mut [&mut b], |p| shares(p) == [6] && p[0].read(&tp(&lead, 2)) == 1);
}

pub(super) fn two_groups_read_the_same_topic(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("both", 1);
    kit.fill(&topic, 10);
    let at = tp(&topic, 0);
    let groups = [bench.unique("first"), bench.unique("second")];
    let (mut a, mut b) = (kit.join(&groups[0], &topic, "a"), kit.join(&groups[1], &topic, "b"));
    kit.play("both read all", &mut [&mut a, &mut b], |p| p.iter().all(|player| player.read(&at) == 10));
    a.commit(&[position(&at, 10)]);
    b.commit(&[position(&at, 4)]);
    assert_eq!(kit.committed(&groups[0], &at).map(|c| c.offset), Some(10));
    assert_eq!(kit.committed(&groups[1], &at).map(|c| c.offset), Some(4));
}

pub(super) fn start_reads_from_the_positions_given(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("start", 2);
    kit.write((0..20).map(|i| numbered(&topic, (i % 2) as i32, i)).collect());
    let mut player = kit.join(&bench.unique("start"), &topic, "a");
    player.starts = false;
    kit.play("both are assigned", &mut [&mut player], |p| p[0].owned.len() == 2);
    for _ in 0..5 {
        player.turn();
    }
    assert!(player.records.is_empty(), "records came before start");
    let (zero, one) = (tp(&topic, 0), tp(&topic, 1));
    player.start(&[position(&zero, 8)]);
    kit.play("the one started is read", &mut [&mut player], |p| p[0].read(&zero) == 2);
    assert_eq!(player.read(&one), 0, "the other was not started");
    player.start(&[position(&one, 3)]);
    kit.play("the other is read", &mut [&mut player], |p| p[0].read(&one) == 7);
    assert_eq!(player.read(&zero), 2, "starting one must not rewind the other");
}

pub(super) fn starting_twice_rewinds(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("rewind", 1);
    let at = tp(&topic, 0);
    kit.fill(&topic, 10);
    let mut player = kit.join(&bench.unique("rewind"), &topic, "a");
    for from in [0, 4, 2] {
        if from > 0 {
            player.start(&[position(&at, from)]);
        }
        kit.play("it is read from there", &mut [&mut player], |p| p[0].read(&at) == 10 - from as usize);
        assert_eq!(player.records[&at][0].offset, from);
    }
}

pub(super) fn where_a_member_starts_is_remembered(bench: &dyn Bench) {
    // A group that begins at the end must find that end again after a restart, or what came in between is lost.
    let kit = Kit::new(bench);
    let topic = bench.unique("remember");
    kit.log.create(&[new_topic(&topic, 1, Retention::Kept, None)]).unwrap();
    let group = bench.unique("remember");
    let at = tp(&topic, 0);
    kit.fill(&topic, 5);
    let mut a = kit.join(&group, &topic, "a");
    a.starts = false;
    kit.play("it is assigned", &mut [&mut a], |p| p[0].owned.contains_key(&at));
    let end = kit.end(&at, End::High);
    a.start(&[Position { metadata: "began here".into(), ..position(&at, end) }]);
    a.member.leave(bench.patience());
    kit.fill(&topic, 2);
    let mut b = kit.join(&group, &topic, "b");
    kit.play("b reads what came since", &mut [&mut b], |p| p[0].read(&at) == 2);
    assert_eq!(b.assigned[0].committed, Some(Committed { offset: 5, metadata: "began here".into() }));
}
