//! A restart of the process.

use super::Bench;
use super::kit::{Kit, numbered, record, tp};
use super::player::position;
use crate::{Committed, End, Isolation, Outgoing, Position, Retention, TopicInfo};

pub(super) fn records_and_positions_survive(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let (input, output) = (kit.topic("restart-in", 3), kit.topic("restart-out", 1));
    let written = kit.topic_with("restart-w", 1, Retention::Written(std::time::Duration::from_secs(86_400)), None);
    let group = bench.unique("restart");
    kit.write((0..30).map(|i| numbered(&input, (i % 3) as i32, i)).collect());
    kit.write(vec![Outgoing { value: None, key: None, ..record(&written, 0, "", "") }]);
    kit.log.delete_before(&[(tp(&input, 2), 4)]).unwrap();
    let at = tp(&input, 1);
    let mut player = kit.join(&group, &input, "a");
    kit.play("the input is read", &mut [&mut player], |p| p[0].owned.len() == 3 && p[0].read(&at) == 10);
    player.send(vec![record(&output, 0, "k", "one"), record(&output, 0, "k", "two")]);
    player.commit(&[Position { metadata: "half".into(), ..position(&at, 5) }]);
    player.send(vec![record(&output, 0, "k", "open")]);
    let before = kit.read(&input, 0, Isolation::Committed);
    let stamped = kit.read(&written, 0, Isolation::Committed);
    drop(player);
    drop(kit);
    bench.reopen();

    let kit = Kit::new(bench);
    assert_eq!(kit.log.describe(&[&input]).unwrap(), [Some(TopicInfo { partitions: 3 })]);
    assert_eq!(kit.read(&input, 0, Isolation::Committed), before);
    assert_eq!(kit.read(&written, 0, Isolation::Committed), stamped);
    assert_eq!(kit.end(&tp(&input, 2), End::Low), 4);
    assert_eq!(kit.committed(&group, &at), Some(Committed { offset: 5, metadata: "half".into() }));
    let mut player = kit.join(&group, &input, "b");
    kit.play("the rest is read", &mut [&mut player], |p| p[0].read(&at) == 5 && p[0].owned.len() == 3);
    assert_eq!(player.owned[&tp(&input, 0)].committed.as_ref().map(|c| c.offset), Some(0));
    player.send(vec![record(&output, 0, "k", "three")]);
    player.commit(&[position(&at, 10)]);
    assert_eq!(kit.values(&output, 0), ["one", "two", "three"]);
    kit.write(vec![numbered(&input, 0, 7)]);
    assert_eq!(kit.read(&input, 0, Isolation::Committed).last().map(|r| r.offset), Some(10));
}
