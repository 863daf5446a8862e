//! Committed positions: past every record that can be read. Past transaction markers is allowed, not asked for.

use std::collections::BTreeMap;

use super::{History, Violation};

/// Compares one group's positions in one topic.
pub(super) fn check(group: &str, topic: &str, history: &History, found: &mut Vec<Violation>) {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for record in history.of(topic) {
        let of_partition = last.entry(record.partition).or_default();
        *of_partition = record.offset.max(*of_partition);
    }
    for (partition, last) in last {
        let committed =
            history.positions.iter().find(|p| p.group == group && p.topic == topic && p.partition == partition);
        let why = match committed {
            None => "there is none".to_owned(),
            Some(position) if position.offset <= last => {
                format!("it is {}, and there is a record at {last}", position.offset)
            }
            Some(_) => continue,
        };
        found.push(Violation::Position { group: group.into(), topic: topic.into(), partition, why });
    }
}
