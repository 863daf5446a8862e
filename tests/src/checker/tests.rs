//! The checker must go red: perfect histories, each broken in one way.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::model::{self, Names};
use super::workload::Workload;
use super::{Committed, Expected, ExpectedOutput, History, Promise, Seen, Violation, Watched, check, report, root};

const PARTITIONS: i32 = 4;

#[test]
fn a_perfect_history_is_green() {
    let (expected, history) = perfect();
    let found = check(&expected, &history, Promise::ExactlyOnce);
    assert!(found.is_empty(), "{}", report(&found));
    for (topic, records) in &history.topics {
        assert!(records.len() > 5 || topic.ends_with("split.dlq"), "{topic} is too small to prove anything");
    }
    assert!(expected.traceless > 5);
}

#[test]
fn a_lost_output_is_red() {
    for topic in ["p.clean", "p.split.refunds", "p.split.sales", "p.book"] {
        let red = broken(|h| drop(h.topics.get_mut(topic).map(|r| r.remove(3))));
        assert!(red.contains(&"lost"), "{topic}: {red:?}");
    }
}

#[test]
fn a_lost_letter_is_red() {
    for topic in ["p.clean.dlq", "p.book.dlq"] {
        let red = broken(|h| drop(h.topics.get_mut(topic).map(|r| r.remove(1))));
        assert_eq!(red, ["lost"], "{topic}");
    }
}

#[test]
fn a_doubled_output_is_red_and_allowed_at_least_once() {
    let double = |h: &mut History| append_copy(h, "p.book", 4);
    let red = broken(double);
    assert!(red.contains(&"doubled") && red.contains(&"bad id"), "{red:?}");
    assert!(broken_under(Promise::AtLeastOnce, double).is_empty());
}

/// As a transaction replayed by an owner that computes ids anew would look: another id, the same root.
#[test]
fn a_doubled_output_under_another_id_is_red() {
    let red = broken(|h| {
        append_copy(h, "p.clean", 4);
        let copy = h.topics.get_mut("p.clean").and_then(|r| r.last_mut()).expect("a copy");
        let id = format!("{}~{:032x}", root(copy.id().expect("an id")).expect("a root"), 77);
        set_header(copy, "ce_id", &id);
    });
    assert!(red.contains(&"doubled") && !red.contains(&"bad id"), "{red:?}");
}

#[test]
fn a_doubled_letter_is_red() {
    for topic in ["p.clean.dlq", "p.book.dlq"] {
        assert_eq!(broken(|h| append_copy(h, topic, 2)), ["doubled"], "{topic}");
    }
}

#[test]
fn losing_is_never_allowed() {
    let red = broken_under(Promise::AtLeastOnce, |h| change(h, "p.book", |r| drop(r.remove(0))));
    assert_eq!(red, ["lost"]);
}

#[test]
fn two_swapped_records_of_a_key_are_red() {
    let red = broken(|h| {
        change(h, "p.clean", |records| {
            let other = (1..records.len()).find(|&i| records[i].key == records[0].key).expect("a second of that key");
            let (a, b) = (records[0].clone(), records[other].clone());
            records[0] = Seen { offset: a.offset, ..b.clone() };
            records[other] = Seen { offset: b.offset, ..a };
        });
    });
    assert_eq!(red, ["out of order"]);
}

#[test]
fn a_key_in_two_partitions_is_red() {
    let red = broken(|h| {
        let record = h.topics.get_mut("p.book").and_then(|r| r.last_mut()).expect("a record");
        record.partition = (record.partition + 1) % PARTITIONS;
    });
    assert!(red.contains(&"key moved"), "{red:?}");
}

#[test]
fn an_output_of_nothing_is_red() {
    let red = broken(|h| {
        append_copy(h, "p.book", 0);
        change(h, "p.book", |records| {
            let copy = records.last_mut().expect("a copy");
            copy.key = Some("a-new".into());
            set_header(copy, "ce_id", &format!("r-never~{:032x}", 1));
        });
    });
    assert_eq!(red, ["unexpected"]);
}

#[test]
fn a_changed_part_of_an_output_is_red() {
    let change =
        |with: fn(&mut Seen)| broken(|h| with(h.topics.get_mut("p.clean").map(|r| &mut r[2]).expect("a record")));
    assert!(change(|r| r.value["double"] = json!(1)).contains(&"wrong"));
    assert!(change(|r| r.key = None).contains(&"wrong"));
    assert!(change(|r| r.timestamp = json!(1)).contains(&"wrong"));
    assert!(change(|r| r.headers.insert(0, ("new".into(), None))).contains(&"wrong"));
    assert!(change(|r| set_header(r, "ce_id", "r-2")).contains(&"bad id"));
    assert!(change(|r| r.headers.retain(|(n, _)| n != "ce_id")).contains(&"bad id"));
}

#[test]
fn a_wrong_letter_is_red() {
    let fields =
        ["pipeline", "stage", "topic", "partition", "offset", "timestamp", "id", "attempts", "class", "redrives"];
    for topic in ["p.clean.dlq", "p.book.dlq"] {
        for field in fields {
            let red = broken(|h| {
                set_header(&mut h.topics.get_mut(topic).expect("a topic")[1], &format!("millstream.dlq.{field}"), "-3")
            });
            assert!(!red.is_empty(), "{topic} {field}");
        }
        for field in ["filter", "code", "message", "at"] {
            let name = format!("millstream.dlq.{field}");
            let red = broken(|h| h.topics.get_mut(topic).expect("a topic")[1].headers.retain(|(n, _)| *n != name));
            assert!(!red.is_empty(), "{topic} without {field}");
        }
        assert!(!broken(|h| h.topics.get_mut(topic).expect("a topic")[1].value = json!("other")).is_empty());
    }
}

#[test]
fn a_letter_for_a_record_that_was_fine_is_red() {
    let red = broken(|h| {
        append_copy(h, "p.book.dlq", 0);
        let good = h.topics["p.split.sales"].last().expect("a record").clone();
        let letter = h.topics.get_mut("p.book.dlq").and_then(|r| r.last_mut()).expect("a copy");
        let id = good.id().expect("an id").to_owned();
        for (name, value) in
            [("offset", good.offset.to_string()), ("partition", good.partition.to_string()), ("id", id)]
        {
            set_header(letter, &format!("millstream.dlq.{name}"), &value);
        }
    });
    assert_eq!(red, ["unexpected"]);
}

#[test]
fn what_a_reader_saw_must_stay() {
    let watch = |with: fn(&mut Watched)| {
        broken(|h| {
            let watched = h.watched.iter_mut().find(|w| w.topic == "p.book").expect("watched");
            with(watched);
        })
    };
    assert_eq!(watch(|w| drop(w.records.pop())), ["readers differ"]);
    assert!(watch(|w| w.records.swap(0, 1)).contains(&"readers differ"));
    assert!(watch(|w| w.records.push(Seen { offset: 10_000, ..w.records[0].clone() })).contains(&"readers differ"));
    // One that was ended early need not have seen the end.
    assert!(
        watch(|w| {
            w.to_the_end = false;
            w.records.truncate(5);
        })
        .is_empty()
    );
}

#[test]
fn a_position_before_the_end_is_red() {
    assert_eq!(broken(|h| h.positions[1].offset -= 1), ["position"]);
    assert_eq!(broken(|h| drop(h.positions.pop())), ["position"]);
}

#[test]
fn a_torn_last_line_is_no_record() {
    let line =
        r#"{"topic":"t","partition":0,"offset":1,"timestamp":5,"key":null,"headers":[["a",null]],"value":{"b":1}}"#;
    assert_eq!(Seen::from_lines(&format!("{line}\n{}", &line[..20])).expect("lines").len(), 1);
    assert!(Seen::from_lines("{}\n").is_err());
}

#[test]
fn times_are_read_in_both_forms() {
    let line = |t: &str| {
        format!(r#"{{"topic":"t","partition":0,"offset":1,"timestamp":{t},"key":null,"headers":[],"value":null}}"#)
    };
    assert_eq!(Seen::from_line(&line("1500")).expect("a line").millis(), Some(1500));
    assert_eq!(Seen::from_line(&line("\"1970-01-01T00:00:01.5Z\"")).expect("a line").millis(), Some(1500));
}

#[test]
fn equal_seeds_make_equal_input() {
    assert_eq!(Workload::new(3).rows(200).keyed, Workload::new(3).rows(200).keyed);
    assert_ne!(Workload::new(3).rows(200).keyed, Workload::new(4).rows(200).keyed);
}

/// Kinds of violations after a change to a perfect history.
fn broken(change: impl FnOnce(&mut History)) -> Vec<&'static str> {
    broken_under(Promise::ExactlyOnce, change)
}

fn broken_under(promise: Promise, change: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let (expected, mut history) = perfect();
    change(&mut history);
    let mut kinds: Vec<_> = check(&expected, &history, promise).iter().map(Violation::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Input and everything that follows from it, as a log would hold it.
fn perfect() -> (Expected, History) {
    let names = Names { pipeline: "p".into() };
    let rows = Workload::new(11).rows(1_500);
    let mut log = Log::default();
    for row in rows.keyed {
        let value: serde_json::Value = serde_json::from_str(&row).expect("JSON");
        let key = value["account"].as_str().map(str::to_owned);
        log.append(&names.source(), key, vec![("batch".into(), Some("1".into()))], value);
    }
    for line in rows.garbage {
        log.append(&names.source(), None, Vec::new(), json!(line));
    }
    let expected = model::expect(&names, &log.topics[&names.source()]);
    for (topic, outputs) in &expected.outputs {
        log.topics.entry(topic.clone()).or_default();
        for (n, output) in outputs.iter().enumerate() {
            let mut headers = output.headers.clone();
            headers.push(("ce_id".into(), Some(format!("{}~{n:032x}", output.root))));
            log.append_at(topic, output.key.clone(), headers, output.value.clone(), output.millis);
        }
    }
    for (topic, letters) in &expected.letters {
        log.topics.entry(topic.clone()).or_default();
        for letter in letters {
            let place = letter.place.unwrap_or_else(|| log.place_of(&letter.from, &letter.record));
            let mut headers = letter.record.headers.clone();
            let (partition, offset) = (place.0.to_string(), place.1.to_string());
            let millis = letter.record.millis.expect("a time").to_string();
            for (name, value) in [
                ("version", "1"),
                ("pipeline", letter.pipeline.as_str()),
                ("stage", &letter.stage),
                ("filter", "map"),
                ("topic", &letter.from),
                ("partition", &partition),
                ("offset", &offset),
                ("timestamp", &millis),
                ("id", &letter.record.root),
                ("attempts", "1"),
                ("code", "wrong_type"),
                ("message", "it is what it is"),
                ("class", &letter.class),
                ("at", "1700000000000"),
                ("redrives", "0"),
            ] {
                headers.push((format!("millstream.dlq.{name}"), Some(value.to_owned())));
            }
            log.append(topic, letter.record.key.clone(), headers, letter.record.value.clone());
        }
    }
    let mut history = History { topics: log.topics, ..History::default() };
    for topic in names.outputs() {
        let records = history.of(&topic).to_vec();
        history.watched.push(Watched { reader: "a reader".into(), topic, records, to_the_end: true });
    }
    for (group, topic) in &expected.readers {
        for ((of, partition), next) in &log.next {
            if of == topic {
                history.positions.push(Committed {
                    group: group.clone(),
                    topic: of.clone(),
                    partition: *partition,
                    offset: *next,
                });
            }
        }
    }
    (expected, history)
}

#[derive(Default)]
struct Log {
    topics: BTreeMap<String, Vec<Seen>>,
    next: HashMap<(String, i32), i64>,
}

impl Log {
    fn append(
        &mut self,
        topic: &str,
        key: Option<String>,
        headers: Vec<(String, Option<String>)>,
        value: serde_json::Value,
    ) {
        let millis = 1_000 + self.topics.get(topic).map_or(0, Vec::len) as i64;
        self.append_at(topic, key, headers, value, Some(millis));
    }

    fn append_at(
        &mut self,
        topic: &str,
        key: Option<String>,
        headers: Vec<(String, Option<String>)>,
        value: serde_json::Value,
        millis: Option<i64>,
    ) {
        let spread: u32 = key.iter().flat_map(|k| k.bytes()).map(u32::from).sum();
        let partition = (spread % PARTITIONS as u32) as i32;
        let next = self.next.entry((topic.to_owned(), partition)).or_default();
        let offset = *next;
        // Gaps as transaction markers leave them.
        *next += if offset % 7 == 0 { 2 } else { 1 };
        let timestamp = json!(millis);
        let seen = Seen { topic: topic.to_owned(), partition, offset, timestamp, key, headers, value };
        self.topics.entry(topic.to_owned()).or_default().push(seen);
    }

    fn place_of(&self, topic: &str, output: &ExpectedOutput) -> (i32, i64) {
        let of_root = |r: &&Seen| r.id().and_then(root) == Some(output.root.as_str());
        self.topics[topic].iter().find(of_root).map(Seen::place).expect("the record it came from")
    }
}

fn append_copy(history: &mut History, topic: &str, at: usize) {
    let records = history.topics.get_mut(topic).expect("a topic");
    let mut copy = records[at].clone();
    copy.offset = 1 + records.iter().filter(|r| r.partition == copy.partition).map(|r| r.offset).max().unwrap_or(0);
    records.push(copy);
    change(history, topic, |_| {});
    for position in history.positions.iter_mut().filter(|p| p.topic == topic) {
        position.offset += 2;
    }
}

/// Changes a topic, and what was watched of it: only what is broken shall be red.
fn change(history: &mut History, topic: &str, with: impl FnOnce(&mut Vec<Seen>)) {
    let records = history.topics.get_mut(topic).expect("a topic");
    with(records);
    for watched in history.watched.iter_mut().filter(|w| w.topic == topic) {
        watched.records.clone_from(records);
    }
}

fn set_header(record: &mut Seen, name: &str, value: &str) {
    for (header, old) in &mut record.headers {
        if header == name {
            *old = Some(value.to_owned());
        }
    }
}
