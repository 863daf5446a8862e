//! Partitions that are not wanted for now: [`Member::pause`](crate::Member::pause).

use super::Bench;
use super::kit::{Kit, numbered, text, tp};
use super::player::{Player, position};
use crate::TopicPartition;

/// A member that owns partition 0 and 1 of a topic with five records each, and has read them.
fn reading(kit: &Kit<'_>, bench: &dyn Bench, what: &str) -> (String, String, Player) {
    let (topic, group) = (kit.topic(what, 2), bench.unique(what));
    more(kit, &topic, 0..5);
    let mut player = kit.join(&group, &topic, "a");
    kit.play("all is read", &mut [&mut player], |p| p[0].read(&tp(&topic, 0)) + p[0].read(&tp(&topic, 1)) == 10);
    (topic, group, player)
}

/// Records of these numbers into both partitions.
fn more(kit: &Kit<'_>, topic: &str, numbers: std::ops::Range<usize>) {
    kit.write(numbers.flat_map(|i| [numbered(topic, 0, i), numbered(topic, 1, i)]).collect());
}

/// Numbers that a partition's records carry, from `from` on.
fn expected(kit: &Kit<'_>, at: &TopicPartition, from: i64) -> Vec<String> {
    let all = kit.read(&at.topic, at.partition, crate::Isolation::Committed);
    all.iter().filter(|r| r.offset >= from).map(text).collect()
}

pub(super) fn what_is_paused_waits_and_the_rest_goes_on(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, _, mut player) = reading(&kit, bench, "paused");
    let (waits, goes) = (tp(&topic, 0), tp(&topic, 1));
    player.member.pause(std::slice::from_ref(&waits), true).unwrap();
    more(&kit, &topic, 5..40);
    kit.play("the other one is read to its end", &mut [&mut player], |p| p[0].read(&goes) == 40);
    assert_eq!(player.read(&waits), 5, "a paused partition was read");
    more(&kit, &topic, 40..45);
    kit.play("and what comes later too", &mut [&mut player], |p| p[0].read(&goes) == 45);
    assert_eq!(player.read(&waits), 5, "a paused partition was read");
    player.member.pause(std::slice::from_ref(&waits), false).unwrap();
    kit.play("it goes on where it stood", &mut [&mut player], |p| p[0].read(&waits) == 45);
    assert_eq!(player.values(&waits), expected(&kit, &waits, 0), "each once, in order");
}

pub(super) fn a_start_moves_what_is_paused(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, _, mut player) = reading(&kit, bench, "paused-start");
    let (waits, goes) = (tp(&topic, 0), tp(&topic, 1));
    player.member.pause(std::slice::from_ref(&waits), true).unwrap();
    player.start(&[position(&waits, 2), position(&goes, 3)]);
    kit.play("the other one is read again", &mut [&mut player], |p| p[0].read(&goes) == 2);
    assert_eq!(player.read(&waits), 0, "a paused partition was read");
    player.member.pause(std::slice::from_ref(&waits), false).unwrap();
    kit.play("it goes on where it was sent", &mut [&mut player], |p| p[0].read(&waits) == 3);
    assert_eq!(player.values(&waits), expected(&kit, &waits, 2));
}

pub(super) fn a_rebalance_does_not_wake_what_is_paused(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, group, mut a) = reading(&kit, bench, "paused-rebalance");
    let both = [tp(&topic, 0), tp(&topic, 1)];
    a.member.pause(&both, true).unwrap();
    let mut b = kit.join(&group, &topic, "b");
    kit.play("each owns one", &mut [&mut a, &mut b], |p| p[0].owned.len() == 1 && p[1].owned.len() == 1);
    let at = |p: &Player| p.owned.keys().next().cloned().expect("it owns one");
    let (kept, moved) = (at(&a), at(&b));
    let before = a.read(&kept);
    more(&kit, &topic, 5..30);
    kit.play("the new owner reads", &mut [&mut a, &mut b], |p| p[1].read(&moved) == 30);
    assert_eq!(a.read(&kept), before, "a paused partition was read after a rebalance");
    a.member.pause(&both, false).unwrap();
    kit.play("the old one goes on", &mut [&mut a, &mut b], |p| p[0].read(&kept) == 30);
    assert_eq!(a.values(&kept), expected(&kit, &kept, 0));
}

pub(super) fn a_new_owner_reads(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, group, mut a) = reading(&kit, bench, "paused-owner");
    let at = tp(&topic, 0);
    a.member.pause(std::slice::from_ref(&at), true).unwrap();
    a.commit(&[position(&at, 4)]);
    drop(a);
    let mut b = kit.join(&group, &topic, "b");
    kit.play("who comes next reads it", &mut [&mut b], |p| p[0].read(&at) == 1);
}

/// Kafka's client remembers a pause beyond the assignment it was made in.
pub(super) fn what_comes_back_is_not_paused(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (topic, group, mut a) = reading(&kit, bench, "paused-back");
    a.member.pause(&[tp(&topic, 0), tp(&topic, 1)], true).unwrap();
    let mut b = kit.join(&group, &topic, "b");
    kit.play("each owns one", &mut [&mut a, &mut b], |p| p[0].owned.len() == 1 && p[1].owned.len() == 1);
    let moved = b.owned.keys().next().cloned().expect("it owns one");
    b.commit(&[position(&moved, 5)]);
    drop(b);
    kit.play("it comes back", &mut [&mut a], |p| p[0].owned.len() == 2);
    more(&kit, &topic, 5..8);
    kit.play("and is read", &mut [&mut a], |p| p[0].read(&moved) == 3);
}
