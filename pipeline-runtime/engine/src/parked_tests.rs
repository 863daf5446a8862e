//! Parked keys against a model that is copied at each commit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(i64, Option<u64>),
    End(i64, bool),
    Fail(i64),
    Commit,
    Abort,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = prop_oneof![4 => (0u64..3).prop_map(Some), 1 => Just(None)];
    let step = prop_oneof![
        6 => (0i64..20, lane).prop_map(|(o, lane)| Step::Add(o, lane)),
        6 => (0i64..20, any::<bool>()).prop_map(|(o, passed)| Step::End(o, passed)),
        2 => (0i64..20).prop_map(Step::Fail),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// Goes red when `aborted` leaves an end in place, or takes an addition back twice.
    #[test]
    fn equals_a_model(steps in steps()) {
        let mut parked = Parked::default();
        let (mut open, mut committed) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Add(offset, lane) => {
                    parked.add((0, offset), lane);
                    open.entry((0u16, offset)).or_insert(lane);
                }
                Step::End(offset, passed) => {
                    let known = if open.remove(&(0, offset)).is_some() { Known::Parked } else { Known::No };
                    prop_assert_eq!(parked.end((0, offset), passed).0, known);
                }
                Step::Fail(offset) => {
                    parked.failed((0, offset));
                }
                Step::Commit => {
                    parked.committed();
                    committed = open.clone();
                }
                Step::Abort => {
                    parked.aborted();
                    open = committed.clone();
                }
            }
            prop_assert!(parked.origins().iter().eq(open.keys()));
            for lane in 0..3 {
                let count = open.values().filter(|l| **l == Some(lane)).count();
                prop_assert_eq!(parked.turn(lane) == Turn::Free, count == 0);
                prop_assert_eq!(parked.keys.get(&lane).map_or(0, |k| k.open.len()), count);
            }
            prop_assert_eq!(parked.is_empty(), open.values().all(Option::is_none));
        }
    }
}

#[test]
fn who_waits_is_woken_once() {
    let mut parked = Parked::default();
    (0..4).for_each(|o| parked.add((0, o), Some(7)));
    assert_eq!(parked.turn(7), Turn::Behind);
    assert_eq!(parked.end((0, 0), true), (Known::Parked, None));
    assert_eq!((parked.turn(7), parked.is_flowing(7)), (Turn::CatchingUp, true));
    parked.wait(7, 42);
    assert_eq!(parked.failed((0, 1)), Some(42), "it is not waited for a copy that failed");
    assert_eq!((parked.turn(7), parked.is_flowing(7)), (Turn::Behind, false));
    assert_eq!(parked.end((0, 1), true), (Known::Parked, None));
    parked.wait(7, 43);
    assert_eq!((parked.let_go(), parked.turn(7)), (vec![43], Turn::Behind));
    assert_eq!(parked.end((0, 2), true), (Known::Parked, None));
    parked.wait(7, 44);
    assert_eq!(parked.end((0, 3), true), (Known::Parked, Some(44)));
    assert_eq!((parked.turn(7), parked.end((0, 3), true)), (Turn::Free, (Known::No, None)));
}

#[test]
fn a_copy_that_ran_out_of_attempts_says_nothing_good_of_the_next() {
    let mut parked = Parked::default();
    (0..3).for_each(|o| parked.add((0, o), Some(7)));
    parked.end((0, 0), true);
    parked.wait(7, 9);
    assert_eq!(parked.end((0, 1), false), (Known::Parked, Some(9)));
    assert_eq!(parked.turn(7), Turn::Behind);
}
