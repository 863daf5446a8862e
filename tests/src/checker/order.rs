//! Order per key, and what readers saw while it went on.

use std::collections::{BTreeMap, HashMap};

use super::{Promise, Seen, Violation, Watched};

/// The sequence number of a record within its key.
const SEQUENCE: &str = "seq";

/// Per key and partition, sequence numbers rise strictly in the order they were seen; a key stays in one partition.
pub(super) fn check(topic: &str, reader: &str, seen: &[Seen], promise: Promise, found: &mut Vec<Violation>) {
    let mut last: HashMap<(&str, i32), (i64, &Seen)> = HashMap::new();
    let mut partitions: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for record in seen {
        let Some(key) = record.key.as_deref() else { continue };
        let of_key = partitions.entry(key).or_default();
        if !of_key.contains(&record.partition) {
            of_key.push(record.partition);
        }
        let Some(sequence) = record.value.get(SEQUENCE).and_then(serde_json::Value::as_i64) else { continue };
        if let Some((before, other)) = last.insert((key, record.partition), (sequence, record))
            && before >= sequence
            && promise == Promise::ExactlyOnce
        {
            found.push(Violation::OutOfOrder {
                topic: topic.into(),
                reader: reader.into(),
                key: key.into(),
                before: other.place(),
                after: record.place(),
            });
        }
    }
    for (key, partitions) in partitions {
        if partitions.len() > 1 {
            found.push(Violation::KeyMoved { topic: topic.into(), key: key.into(), partitions });
        }
    }
}

/// A reader of committed records saw a beginning of each partition as it is now, nothing else; one that went on to the
/// end saw all of it.
pub(super) fn check_watched(watched: &Watched, now: &[Seen], found: &mut Vec<Violation>) {
    let (was, is) = (by_partition(&watched.records), by_partition(now));
    for partition in was.keys().chain(is.keys().filter(|p| !was.contains_key(p))) {
        let empty = Vec::new();
        let (was, is) = (was.get(partition).unwrap_or(&empty), is.get(partition).unwrap_or(&empty));
        let differs = was.iter().zip(is).find(|(a, b)| a.offset != b.offset || a.id() != b.id() || a.value != b.value);
        let why = match differs {
            Some((a, b)) => format!("{:?} at {}, where now {:?} is at {}", a.id(), a.offset, b.id(), b.offset),
            None if was.len() > is.len() => format!("{:?}, which is not there any more", was[is.len()].id()),
            None if watched.to_the_end && was.len() < is.len() => {
                format!("it missed {:?} at {}", is[was.len()].id(), is[was.len()].offset)
            }
            None => continue,
        };
        let (topic, reader) = (watched.topic.clone(), watched.reader.clone());
        found.push(Violation::Watched { topic, reader, partition: *partition, why });
    }
}

fn by_partition(records: &[Seen]) -> BTreeMap<i32, Vec<&Seen>> {
    let mut map: BTreeMap<i32, Vec<&Seen>> = BTreeMap::new();
    for record in records {
        map.entry(record.partition).or_default().push(record);
    }
    map
}
