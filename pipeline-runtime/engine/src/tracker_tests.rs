//! The tracker against a naive model, and its bound.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn start(offset: i64, ranges: &[(i64, i64)]) -> Committed {
    Committed { offset, ranges: ranges.to_vec() }
}

#[test]
fn finishes_out_of_order() {
    let mut t = Tracker::new(start(10, &[]), 3_000);
    assert!([10, 11, 12, 15, 16].into_iter().all(|o| t.admit(o)));
    assert!(!t.admit(12), "delivered twice");
    assert!(t.finish(12));
    assert_eq!(t.plan(), Some(start(10, &[(12, 15)])));
    assert!(t.finish(16));
    assert_eq!(t.position(), start(10, &[(12, 15), (16, 17)]));
    assert!(t.finish(10) && !t.finish(10));
    assert_eq!(t.position(), start(11, &[(12, 15), (16, 17)]));
    assert!(t.finish(11));
    assert_eq!(t.position(), start(15, &[(16, 17)]));
    assert!(t.advance(20) && !t.advance(20));
    assert_eq!(t.position(), start(15, &[(16, 20)]), "what nobody reads is finished");
    assert!(t.finish(15));
    assert_eq!(t.position(), start(20, &[]));
}

#[test]
fn goes_on_after_an_earlier_owner() {
    let mut t = Tracker::new(start(10, &[(12, 15), (20, 25)]), 3_000);
    assert_eq!(t.plan(), None, "nothing new");
    let admitted: Vec<i64> = (10..23).filter(|o| t.admit(*o)).collect();
    assert_eq!(admitted, [10, 11, 15, 16, 17, 18, 19]);
    assert_eq!(t.position(), start(10, &[(12, 15), (20, 25)]));
    assert!(t.finish(11) && t.finish(19));
    assert_eq!(t.position(), start(10, &[(11, 15), (19, 25)]));
    assert!([10, 15, 16, 17, 18].into_iter().all(|o| t.finish(o)));
    assert_eq!(t.position(), start(25, &[]), "over the rest of the range it stands in");
    t.rewind();
    assert!(t.admit(10) && t.admit(11) && !t.admit(12));
}

#[test]
fn a_full_partition_still_moves() {
    let capacity = 40;
    let mut t = Tracker::new(start(0, &[]), capacity);
    (0..100).for_each(|o| assert!(t.admit(o)));
    let mut started = 0;
    for offset in (2..100).step_by(2) {
        if t.may_start(offset) {
            t.promise();
            assert!(t.finish(offset));
            started += 1;
        }
    }
    assert!((3..20).contains(&started), "{started}");
    assert!(t.is_full() && t.may_start(0));
    let Committed { offset, ranges } = t.position();
    assert!(ranges::raw_len(offset, ranges.into_iter()) <= capacity);
    for offset in 0..100 {
        if t.may_start(offset) {
            t.promise();
            t.finish(offset);
        }
    }
    assert!(!t.is_full());
    assert_eq!(t.position(), start(100, &[]));
    let mut none = Tracker::new(start(0, &[]), 0);
    assert!(none.admit(0) && none.admit(1) && none.is_full());
    assert!(none.may_start(0) && !none.may_start(1));
    assert!(none.finish(0) && none.finish(1) && !none.is_full());
}

#[test]
fn memory_follows_what_is_held() {
    let mut t = Tracker::new(start(0, &[]), 3_000);
    assert!(t.admit(0));
    for offset in 1..100_000 {
        assert!(t.admit(offset) && t.finish(offset));
    }
    assert!(t.open.len() < 100, "{}", t.open.len());
    assert_eq!(t.position(), start(0, &[(1, 100_000)]));
}

/// What a partition looks like to someone who keeps every offset.
#[derive(Default)]
struct Model {
    read: BTreeMap<i64, bool>,
    restored: BTreeSet<i64>,
    next: i64,
}

impl Model {
    fn finished(&self, offset: i64) -> bool {
        self.restored.contains(&offset) || self.read.get(&offset).copied().unwrap_or(offset < self.next)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(i64),
    Advance(i64),
    Finish(usize),
    Commit,
    Rewind,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0i64..3).prop_map(Step::Admit),
        1 => (0i64..5).prop_map(Step::Advance),
        7 => any::<usize>().prop_map(Step::Finish),
        1 => Just(Step::Commit),
        1 => Just(Step::Rewind),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn equals_a_naive_model(steps in steps()) {
        let mut t = Tracker::new(start(0, &[]), 100);
        let mut model = Model::default();
        let mut committed = Model::default();
        for step in steps {
            match step {
                Step::Admit(skip) => {
                    let offset = model.next + skip;
                    let news = !model.finished(offset);
                    prop_assert_eq!(t.admit(offset), news);
                    model.next = offset + 1;
                    if news {
                        model.read.insert(offset, false);
                    }
                }
                Step::Advance(skip) => {
                    prop_assert_eq!(t.advance(model.next + skip), skip > 0);
                    model.next += skip;
                }
                Step::Finish(which) => {
                    let open: Vec<i64> = model.read.iter().filter(|(_, done)| !**done).map(|(o, _)| *o).collect();
                    if open.is_empty() { continue; }
                    let offset = open[which % open.len()];
                    if t.may_start(offset) {
                        t.promise();
                        prop_assert!(t.finish(offset));
                        model.read.insert(offset, true);
                    }
                }
                Step::Commit => {
                    if let Some(position) = t.plan() {
                        prop_assert!(position.offset >= t.committed().offset, "R1");
                        t.commit(position);
                    }
                    committed = Model { read: BTreeMap::new(), restored: BTreeSet::new(), next: t.committed().offset };
                    for (s, e) in &t.committed().ranges {
                        committed.restored.extend(*s..*e);
                    }
                }
                Step::Rewind => {
                    t.rewind();
                    model = Model { read: BTreeMap::new(), restored: committed.restored.clone(), next: committed.next };
                }
            }
            let position = t.position();
            let lowest = model.read.iter().find(|(_, done)| !**done).map(|(o, _)| *o);
            prop_assert_eq!(position.offset, lowest.unwrap_or_else(|| {
                (model.next..).find(|o| !model.restored.contains(o)).unwrap_or(model.next)
            }));
            // A finished record beyond the frontier is in a range; an unfinished one, or one not read, is in none.
            let inside = |o: i64| position.ranges.iter().any(|(s, e)| (*s..*e).contains(&o));
            for o in position.offset..model.next + 400 {
                match model.read.get(&o) {
                    Some(done) => prop_assert_eq!(inside(o), *done, "offset {}", o),
                    None if model.restored.contains(&o) => prop_assert!(inside(o), "restored {}", o),
                    None => prop_assert!(!inside(o) || o < model.next, "not read {}", o),
                }
            }
            prop_assert!(position.ranges.windows(2).all(|w| w[0].1 < w[1].0));
            prop_assert!(position.ranges.first().is_none_or(|r| r.0 > position.offset));
            prop_assert_eq!(ranges::decode(position.offset, &ranges::encode(position.offset, &position.ranges)), Ok(position.ranges.clone()));
            prop_assert!(ranges::raw_len(position.offset, position.ranges.into_iter()) <= 100);
        }
    }
}

#[test]
fn the_shortest_stretches_come_first() {
    let mut tracker = Tracker::new(Committed::default(), 1_000);
    (0..20).for_each(|o| assert!(tracker.admit(o)));
    // Unfinished: 0 1 2, 5, 8 9, 19.
    for o in [3, 4, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18] {
        tracker.promise();
        assert!(tracker.finish(o));
    }
    assert_eq!(tracker.stretches(100), [(0, 3), (5, 6), (8, 10)], "nothing finished is after 19");
    assert_eq!(tracker.stretches(60), [(5, 6), (8, 10)]);
    assert_eq!(tracker.stretches(1), [(5, 6)]);
    assert_eq!(tracker.spread(), (7, 20));
    assert!(tracker.finishes_freely(0, None) && tracker.finishes_freely(8, None) && !tracker.finishes_freely(9, None));
    assert!(tracker.finishes_freely(9, Some(8)) && !tracker.finishes_freely(2, Some(0)));
}
