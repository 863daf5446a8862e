//! Letters counted by what went wrong where.

use std::collections::BTreeMap;

use serde::Serialize;

use super::letter::Letter;

/// Letters of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Stable code.
    pub code: String,
    /// data, permanent, exhausted or bug.
    pub class: String,
    /// Where it failed.
    pub stage: String,
    /// In which filter; empty where none was reached.
    pub filter: String,
    /// How many.
    pub count: u64,
    /// When the first became a letter, in milliseconds since 1970.
    pub first: i64,
    /// When the last did.
    pub last: i64,
}

/// Counts letters.
#[derive(Default)]
pub struct Groups {
    /// By stage, code, class, filter.
    groups: BTreeMap<[String; 4], (u64, i64, i64)>,
}

impl Groups {
    /// Counts one more. `stage` is said where the letter does not say it.
    pub fn add(&mut self, letter: &Letter, stage: &str) {
        let e = &letter.error;
        let stage = if e.stage.is_empty() { stage } else { &e.stage };
        let key = [stage, &e.code, &e.class, &e.filter].map(str::to_owned);
        let (count, first, last) = self.groups.entry(key).or_insert((0, e.at, e.at));
        *count += 1;
        *first = e.at.min(*first);
        *last = e.at.max(*last);
    }

    /// The groups; of each stage the largest first.
    pub fn into_list(self) -> Vec<Group> {
        let mut list: Vec<Group> = self
            .groups
            .into_iter()
            .map(|([stage, code, class, filter], (count, first, last))| Group {
                code,
                class,
                stage,
                filter,
                count,
                first,
                last,
            })
            .collect();
        list.sort_by(|a, b| (&a.stage, b.count, &a.code).cmp(&(&b.stage, a.count, &b.code)));
        list
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_log::LogRecord;

    #[test]
    fn counts_with_first_and_last() {
        let mut groups = Groups::default();
        for (code, at) in [("timeout", "30"), ("invalid_json", "20"), ("timeout", "10")] {
            let headers = [("millstream.dlq.code", Some(code.as_bytes())), ("millstream.dlq.at", Some(at.as_bytes()))];
            let headers = headers.into_iter().collect();
            let record = LogRecord { offset: 0, timestamp: 1, key: None, value: None, headers };
            groups.add(&Letter::new(Arc::from("t"), 0, record), "clean");
        }
        let list = groups.into_list();
        let found: Vec<_> =
            list.iter().map(|g| (g.stage.as_str(), g.code.as_str(), g.count, g.first, g.last)).collect();
        assert_eq!(found, [("clean", "timeout", 2, 10, 30), ("clean", "invalid_json", 1, 20, 20)]);
    }
}
