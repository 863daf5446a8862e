//! Output topics: each expected record once, and as expected.

use std::collections::{BTreeMap, HashMap};

use super::{ExpectedOutput, Promise, Seen, Violation, root};

/// Compares one topic.
pub(super) fn check(
    topic: &str,
    wanted: &[ExpectedOutput],
    seen: &[Seen],
    promise: Promise,
    found: &mut Vec<Violation>,
) {
    let mut by_root: HashMap<&str, Vec<&Seen>> = HashMap::new();
    let mut ids: HashMap<&str, (i32, i64)> = HashMap::new();
    for record in seen {
        let Some(id) = record.id() else {
            found.push(bad_id(topic, record, "there is no header ce_id".into()));
            continue;
        };
        let Some(root) = root(id) else {
            found.push(bad_id(topic, record, format!("`{id}` is not `<root>~<hash>`")));
            continue;
        };
        if let Some(other) = ids.insert(id, record.place())
            && promise == Promise::ExactlyOnce
        {
            found.push(bad_id(topic, record, format!("`{id}` is also at {other:?}")));
        }
        by_root.entry(root).or_default().push(record);
    }
    let mut wanted_roots: BTreeMap<&str, Vec<&ExpectedOutput>> = BTreeMap::new();
    for one in wanted {
        wanted_roots.entry(&one.root).or_default().push(one);
    }
    for (root, wanted) in wanted_roots {
        let there = by_root.remove(root).unwrap_or_default();
        if there.len() < wanted.len() {
            found.push(Violation::Lost { topic: topic.into(), root: root.into() });
        }
        if there.len() > wanted.len() && promise == Promise::ExactlyOnce {
            let places = there.iter().map(|r| r.place()).collect();
            found.push(Violation::Doubled { topic: topic.into(), root: root.into(), places });
        }
        for record in there {
            compare(topic, &wanted, record, found);
        }
    }
    for (root, records) in by_root {
        for record in records {
            found.push(Violation::Unexpected { topic: topic.into(), place: record.place(), root: root.into() });
        }
    }
}

/// Says how a record differs from what it should be; with several of one root, from the first of them.
fn compare(topic: &str, wanted: &[&ExpectedOutput], record: &Seen, found: &mut Vec<Violation>) {
    let headers = record.passed_headers();
    let equal = |w: &&ExpectedOutput| {
        w.value == record.value && w.key == record.key && w.headers == headers && same_time(w.millis, record.millis())
    };
    if wanted.iter().any(equal) {
        return;
    }
    let Some(first) = wanted.first() else { return };
    differences(topic, first, record, record.millis(), found);
}

/// One violation per part that differs. `millis` is the record's time, wherever it stands.
pub(super) fn differences(
    topic: &str,
    wanted: &ExpectedOutput,
    record: &Seen,
    millis: Option<i64>,
    found: &mut Vec<Violation>,
) {
    let mut differs = |what: &'static str, expected: String, is: String| {
        if expected != is {
            found.push(Violation::Wrong { topic: topic.into(), place: record.place(), what, expected, found: is });
        }
    };
    if wanted.value != record.value {
        differs("payload", wanted.value.to_string(), record.value.to_string());
    }
    differs("key", format!("{:?}", wanted.key), format!("{:?}", record.key));
    differs("headers", format!("{:?}", wanted.headers), format!("{:?}", record.passed_headers()));
    if !same_time(wanted.millis, millis) {
        differs("timestamp", format!("{:?}", wanted.millis), format!("{millis:?}"));
    }
}

/// A time that the model does not know is not compared.
fn same_time(wanted: Option<i64>, is: Option<i64>) -> bool {
    wanted.is_none() || wanted == is
}

fn bad_id(topic: &str, record: &Seen, why: String) -> Violation {
    Violation::BadId { topic: topic.into(), place: record.place(), why }
}
