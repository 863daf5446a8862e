//! Polls: what ends them, what they may bring.

use std::time::Instant;

use super::Bench;
use super::kit::{Kit, PLENTY, TURN, numbered, record, tp};
use crate::{Budget, Event, Isolation};

pub(super) fn a_waker_ends_a_poll(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("wake", 1);
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(tp(&topic, 0), 0)]).unwrap();
    let waker = reader.waker();
    let patience = bench.patience();
    // Called before the poll: it is the next poll that ends early. A poll may return early of itself, so this one
    // fails only by running into its time-out.
    waker();
    let began = Instant::now();
    reader.poll(PLENTY, patience).unwrap();
    assert!(began.elapsed() < patience, "the poll ran into its time-out");
    // Called during the poll, from another thread.
    std::thread::scope(|scope| {
        scope.spawn(|| waker());
        let began = Instant::now();
        reader.poll(PLENTY, patience).unwrap();
        assert!(began.elapsed() < patience, "the poll ran into its time-out");
    });
}

pub(super) fn a_waker_ends_a_members_poll(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("wake-member", 1);
    let at = tp(&topic, 0);
    let mut player = kit.join(&bench.unique("wake"), &topic, "a");
    kit.play("the partition is assigned", &mut [&mut player], |p| p[0].owned.contains_key(&at));
    let waker = player.member.waker();
    let patience = bench.patience();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| waker());
        player.member.poll(PLENTY, patience, &mut Vec::new()).unwrap();
    });
    assert!(began.elapsed() < patience, "the poll ran into its time-out");
}

pub(super) fn new_records_end_a_poll(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("news", 1);
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(tp(&topic, 0), 0)]).unwrap();
    let patience = bench.patience();
    std::thread::scope(|scope| {
        let (log, news) = (kit.log.clone(), record(&topic, 0, "k", "news"));
        scope.spawn(move || {
            let mut writer = log.writer().unwrap();
            writer.send(&mut vec![news]).unwrap();
            writer.flush(patience).unwrap();
        });
        let mut found = 0;
        kit.until("the news come", || {
            let began = Instant::now();
            found += reader.poll(PLENTY, patience).unwrap().iter().map(|b| b.records.len()).sum::<usize>();
            assert!(began.elapsed() < patience, "the poll ran into its time-out");
            (found == 1).then_some(())
        });
    });
}

pub(super) fn a_poll_keeps_its_budget(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("budget", 3);
    kit.write((0..60).map(|i| numbered(&topic, (i % 3) as i32, i)).collect());
    let mut reader = kit.log.reader(Isolation::Committed).unwrap();
    let all: Vec<_> = (0..3).map(|p| (tp(&topic, p), 0)).collect();

    reader.assign(&all).unwrap();
    let mut found = 0;
    kit.until("all is read, seven at most at a time", || {
        let records: usize =
            reader.poll(Budget { records: 7, bytes: 1 << 20 }, TURN).unwrap().iter().map(|b| b.records.len()).sum();
        assert!(records <= 7, "{records} records where 7 were asked for");
        found += records;
        (found == 60).then_some(())
    });

    // A budget of one byte is reached by the first record.
    reader.assign(&all).unwrap();
    let mut found = 0;
    kit.until("all is read, one by one", || {
        let records: usize =
            reader.poll(Budget { records: 100, bytes: 1 }, TURN).unwrap().iter().map(|b| b.records.len()).sum();
        assert!(records <= 1, "{records} records where one reaches the budget");
        found += records;
        (found == 60).then_some(())
    });
}

pub(super) fn a_poll_without_budget_serves_events(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("no-budget", 1);
    let at = tp(&topic, 0);
    kit.fill(&topic, 5);
    let mut player = kit.join(&bench.unique("no-budget"), &topic, "a");
    let none = Budget { records: 0, bytes: 0 };
    let assignment = kit.until("the partition is assigned", || {
        let mut batches = Vec::new();
        let events = player.member.poll(none, TURN, &mut batches).unwrap();
        assert!(batches.iter().all(|b| b.records.is_empty()));
        events.into_iter().find_map(|e| if let Event::Assigned(a) = e { Some(a[0].clone()) } else { None })
    });
    player.owned.insert(at.clone(), assignment);
    player.start(&[super::player::position(&at, 0)]);
    for _ in 0..5 {
        let mut batches = Vec::new();
        player.member.poll(none, TURN, &mut batches).unwrap();
        assert!(batches.iter().all(|b| b.records.is_empty()), "records without a budget");
    }
    kit.play("with a budget they come", &mut [&mut player], |p| p[0].read(&at) == 5);
}
