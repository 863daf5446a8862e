//! Dedup against a naive model that keeps every mark with its exact bucket, through commits, aborts and restores.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const CONFIG: DedupConfig = DedupConfig { window_ms: 240, max_ids: 10_000 };
const WIDTH: i64 = 10;
const KEY: (u64, u64) = (1, 2);

#[derive(Clone, Debug)]
enum Step {
    /// A record with this id, so much later than the one before (or earlier).
    Record(u8, i64),
    Commit,
    Abort,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0u8..40, prop_oneof![9 => -20i64..30, 1 => -500i64..2_000]).prop_map(|(id, dt)| Step::Record(id, dt)),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..400)
}

#[derive(Clone, Default)]
struct Model {
    time: Option<i64>,
    marks: HashMap<u8, (i64, i64)>,
}

impl Model {
    fn seen(&self, id: u8) -> bool {
        let oldest = self.time.map(|t| (t - CONFIG.window_ms).div_euclid(WIDTH));
        self.marks.get(&id).is_some_and(|(bucket, _)| Some(*bucket) >= oldest)
    }
}

proptest! {
    #[test]
    fn equals_a_naive_model_and_its_changelog(steps in steps()) {
        let mut dedup = Dedup::new(CONFIG);
        let (mut model, mut committed) = (Model::default(), Model::default());
        let mut log: Vec<Vec<u8>> = Vec::new();
        let (mut clock, mut offset) = (1_000i64, 0);
        for step in steps {
            match step {
                Step::Record(id, dt) => {
                    clock += dt;
                    offset += 1;
                    dedup.observe(clock, i64::MAX);
                    model.time = model.time.max(Some(clock));
                    let hash = hash_id(KEY, &[id]);
                    prop_assert_eq!(dedup.is_duplicate(hash, 0, offset), model.seen(id));
                    if let Some((_, own)) = model.marks.get(&id) {
                        prop_assert!(!dedup.is_duplicate(hash, 0, *own), "its own mark");
                    }
                    if !model.seen(id) {
                        prop_assert!(dedup.mark(hash, 0, offset), "R7");
                        model.marks.insert(id, (model.time.unwrap_or(0).div_euclid(WIDTH), offset));
                    }
                }
                Step::Commit => {
                    log.extend(dedup.begin_commit());
                    dedup.committed();
                    committed = model.clone();
                    let mut restore = Restore::new(Some(CONFIG));
                    log.iter().try_for_each(|bytes| restore.apply(bytes)).unwrap();
                    prop_assert_eq!(restore.snapshot(), dedup.snapshot(), "R8");
                }
                Step::Abort => {
                    dedup.begin_commit();
                    dedup.aborted();
                    model = committed.clone();
                }
                Step::Restart => {
                    let mut restore = Restore::new(Some(CONFIG));
                    log.iter().try_for_each(|bytes| restore.apply(bytes)).unwrap();
                    dedup = restore.into_dedup().unwrap();
                    model = committed.clone();
                }
            }
        }
    }
}

#[test]
fn a_changed_window_keeps_what_is_in_both() {
    let mut dedup = Dedup::new(CONFIG);
    dedup.observe(1_000, i64::MAX);
    dedup.mark(hash_id(KEY, b"a"), 0, 1);
    let bytes = dedup.begin_commit().unwrap();
    let mut restore = Restore::new(Some(DedupConfig { window_ms: 24_000, max_ids: 10 }));
    restore.apply(&bytes).unwrap();
    let mut wider = restore.into_dedup().unwrap();
    wider.observe(20_000, i64::MAX);
    assert!(wider.is_duplicate(hash_id(KEY, b"a"), 0, 2));
    wider.observe(30_000, i64::MAX);
    assert!(!wider.is_duplicate(hash_id(KEY, b"a"), 0, 2));
}

#[test]
fn more_than_allowed_is_an_error() {
    let mut dedup = Dedup::new(CONFIG);
    dedup.observe(1_000, i64::MAX);
    assert!((0..20u8).all(|n| dedup.mark(hash_id(KEY, &[n]), 0, n.into())));
    let bytes = dedup.begin_commit().unwrap();
    let mut restore = Restore::new(Some(DedupConfig { max_ids: 10, ..CONFIG }));
    assert_eq!(restore.apply(&bytes).map_err(|e| e.code()), Err("dedup_full"));
    let mut off = Restore::new(None);
    assert_eq!(off.apply(&bytes), Ok(()));
    assert_eq!(off.apply(&bytes[..bytes.len() - 1]).map_err(|e| e.code()), Err("state_corrupt"));
}

/// The hashes of version 1 of the changelog: marks made with them must be found by every later version.
#[test]
fn golden_hashes() {
    assert_eq!(hash_id((1, 2), b"orders.csv#17"), GOLDEN);
}

const GOLDEN: IdHash = [13_327_261_055_382_304_955, 15_079_879_682_540_471_494];
