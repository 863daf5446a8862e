//! Who is no longer the owner can change nothing.

use super::Bench;
use super::kit::{Kit, class, record, tp};
use super::player::{Player, position};
use crate::{Class, MemberConfig, TopicPartition};

fn short(kit: &Kit<'_>, group: &str, topic: &str, name: &str) -> MemberConfig {
    MemberConfig { session_timeout: kit.bench.short_session_timeout(), ..kit.config(group, topic, name) }
}

/// A member with a short session that has read five records and sent an output of them, and is not polled any more;
/// beside it a second member that takes over.
fn taken_over(kit: &Kit<'_>, group: &str, output: &str) -> (Player, TopicPartition) {
    let topic = kit.topic("fenced", 1);
    let at = tp(&topic, 0);
    kit.fill(&topic, 5);
    let mut a = kit.join_with(short(kit, group, &topic, "a"));
    kit.play("a has read", &mut [&mut a], |p| p[0].read(&at) == 5);
    a.send(vec![record(output, 0, "k", "by a, committed")]);
    a.commit(&[position(&at, 2)]);
    a.send(vec![record(output, 0, "k", "by a, never committed")]);
    (a, at)
}

pub(super) fn a_member_taken_for_dead_cannot_commit(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("stalled");
    let output = kit.topic("fenced-out", 1);
    let (mut a, at) = taken_over(&kit, &group, &output);
    let mut b = kit.join_with(kit.config(&group, &at.topic, "b"));
    kit.play("b takes over from a, which is not polled", &mut [&mut b], |p| p[0].owned.contains_key(&at));
    assert_eq!(b.owned[&at].committed.as_ref().map(|c| c.offset), Some(2));

    // a wakes up and goes on where it was: its output and position must have no effect, and it is told so.
    let outcome = a.member.send(&mut vec![record(&output, 0, "k", "by a, too late")]);
    let outcome = outcome.and_then(|()| a.member.commit(&[position(&at, 5)]));
    let error = outcome.expect_err("a member taken for dead could commit");
    assert!(matches!(class(&error), Some(Class::Fenced | Class::Abort)), "{error:?}");
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(2));

    kit.play("b reads on", &mut [&mut b], |p| p[0].read(&at) == 3);
    b.send(vec![record(&output, 0, "k", "by b")]);
    b.commit(&[position(&at, 5)]);
    kit.until("b's output is visible", || (kit.values(&output, 0).len() >= 2).then_some(()));
    assert_eq!(kit.values(&output, 0), ["by a, committed", "by b"]);
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(5));
    drop(a);
}

pub(super) fn a_forgotten_members_transaction_is_ended(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("forgotten");
    let output = kit.topic("forgotten-out", 1);
    let (a, at) = taken_over(&kit, &group, &output);
    // As a process that hangs: nothing is closed, its transaction stays open.
    std::mem::forget(a);
    let mut b = kit.join_with(kit.config(&group, &at.topic, "b"));
    kit.play("b takes over and reads", &mut [&mut b], |p| p[0].read(&at) == 3);
    b.send(vec![record(&output, 0, "k", "by b")]);
    b.commit(&[position(&at, 5)]);
    // Were a's transaction still open, b's output would stay hidden behind it.
    assert_eq!(kit.values(&output, 0), ["by a, committed", "by b"]);
}

pub(super) fn a_dropped_members_partitions_go_to_others(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let group = bench.unique("dropped");
    let output = kit.topic("dropped-out", 1);
    let (a, at) = taken_over(&kit, &group, &output);
    let mut b = kit.join_with(kit.config(&group, &at.topic, "b"));
    // As a thread that panics.
    drop(a);
    kit.play("b takes over and reads", &mut [&mut b], |p| p[0].read(&at) == 3);
    b.send(vec![record(&output, 0, "k", "by b")]);
    b.commit(&[position(&at, 5)]);
    assert_eq!(kit.values(&output, 0), ["by a, committed", "by b"]);
}

pub(super) fn a_partition_given_away_cannot_be_committed(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("given-away", 2);
    let group = bench.unique("given-away");
    let output = kit.topic("given-away-out", 1);
    let mut a = kit.join(&group, &topic, "a");
    kit.play("a has both", &mut [&mut a], |p| p[0].owned.len() == 2);
    let mut b = kit.join(&group, &topic, "b");
    kit.play("they share", &mut [&mut a, &mut b], |p| p[0].owned.len() == 1 && p[1].owned.len() == 1);
    let (kept, given) = (a.owned.keys().next().unwrap().clone(), b.owned.keys().next().unwrap().clone());
    let before = kit.committed(&group, &given);

    let outcome = a.member.send(&mut vec![record(&output, 0, "k", "not yours")]);
    let outcome = outcome.and_then(|()| a.member.commit(&[position(&given, 1)]));
    let error = outcome.expect_err("a position of somebody else's partition was committed");
    assert!(matches!(class(&error), Some(Class::Fenced | Class::Abort)), "{error:?}");
    assert_eq!(kit.committed(&group, &given), before);
    assert!(kit.values(&output, 0).is_empty());

    // What it still owns is not affected: after an abort it goes on.
    if class(&error) == Some(Class::Abort) {
        a.member.abort().unwrap();
        a.start(&[position(&kept, 0)]);
        a.commit(&[position(&kept, 0)]);
    }
}
