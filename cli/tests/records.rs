//! `produce` and `consume` on the embedded log.

mod common;

use std::io::{BufRead, BufReader};
#[cfg(unix)]
use std::io::{Read, Write};
#[cfg(unix)]
use std::process::Child;
use std::process::Stdio;
#[cfg(unix)]
use std::time::{Duration, Instant};

use common::{Ended, Place};
use serde_json::{Value, json};

/// The lines of a topic without what the clock chose, sorted by partition and offset.
fn records(place: &Place, line: &str) -> Vec<Value> {
    let mut all: Vec<Value> = place
        .run(line)
        .good()
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("a line is JSON");
            let timestamp = record.as_object_mut().and_then(|o| o.remove("timestamp"));
            assert!(timestamp.and_then(|t| t.as_i64()).is_some_and(|t| t > 1_600_000_000_000), "{line}");
            record
        })
        .collect();
    all.sort_by_key(|r| (r["partition"].as_i64(), r["offset"].as_i64()));
    all
}

#[test]
fn lines_come_back_as_they_were() {
    let place = Place::new();
    let said = place.run_with(
        "produce t --create --partitions 1 --header a=1 --header a=2",
        b"plain\r\n{\"n\": 1.10}\n\xff\n".as_slice(),
    );
    assert_eq!(said.good(), "3 records to t\n");
    let headers = json!([["a", "1"], ["a", "2"]]);
    let expected = [json!("plain"), json!({ "n": 1.10 }), json!({ "base64": "/w==" })];
    let expected: Vec<Value> = expected
        .into_iter()
        .enumerate()
        .map(|(offset, value)| json!({ "topic": "t", "partition": 0, "offset": offset, "key": null, "headers": headers, "value": value }))
        .collect();
    assert_eq!(records(&place, "consume t --until-end"), expected);
    let raw = place.run("consume t --until-end --from 0:1 --limit 1 -o json").good();
    let keys = [
        "{\"topic\":\"t\",\"partition\":0,\"offset\":1,\"timestamp\":",
        ",\"key\":null,\"headers\":[[",
        "]],\"value\":{\"n\": 1.10}}\n",
    ];
    let mut rest = raw.as_str();
    for key in keys {
        rest = rest.split_once(key).unwrap_or_else(|| panic!("{key} in {raw}")).1;
    }
}

#[test]
fn keys_and_ids_come_from_json_lines() {
    let place = Place::new();
    let lines = "{\"k\":\"a\",\"i\":17}\n{\"k\":null}\n";
    let said = place.run_with("produce t --create --partitions 4 --key .k --id .i -o json", lines).good();
    assert_eq!(said, "{\"topic\":\"t\",\"records\":2}\n");
    let all = records(&place, "consume t --until-end");
    let keyed = all.iter().find(|r| r["key"] == "a").expect("the key is there");
    assert_eq!(keyed["headers"], json!([["ce_source", "t"], ["ce_id", "17"]]));
    assert_eq!(keyed["partition"], millstream_log::partition_of(b"a", 4));
    let other = all.iter().find(|r| r["key"].is_null()).expect("null is no key");
    assert_eq!(other["headers"], json!([]));
}

#[test]
fn csv_rows_become_objects() {
    let place = Place::new();
    place.file("orders.csv", "sku,price\n00123,\"1,10\"\n");
    let said = place.run("produce t --create --partitions 1 --csv --file orders.csv --id .sku");
    assert_eq!(said.good(), "1 records to t\n");
    let all = records(&place, "consume t --until-end");
    assert_eq!(all[0]["value"], json!({ "sku": "00123", "price": "1,10" }));
    assert_eq!(all[0]["headers"][1], json!(["ce_id", "00123"]));
}

#[test]
fn a_broken_line_ends_it_with_its_number_and_what_was_sent() {
    let place = Place::new();
    let ended =
        place.run_with("produce t --create --partitions 1 --key .k", "{\"k\":1}\n{\"k\":2}\n{\"k\":\n{\"k\":4}\n");
    assert_eq!(ended.stdout, "2 records to t\n");
    let said = ended.bad(1);
    assert!(said.contains("line 3: not JSON") && said.contains("2 records before that are in `t`"), "{said}");
    assert_eq!(records(&place, "consume t --until-end").len(), 2);
}

#[test]
fn a_missing_topic_is_an_error_and_nothing_is_made() {
    let place = Place::new();
    let said = place.run_with("produce orders", "x\n").bad(1);
    assert!(said.contains("topic `orders` does not exist") && said.contains("--create"), "{said}");
    place.run_with("produce orders --create", "x\n").good();
    let said = place.run("consume ordesr --until-end").bad(1);
    assert!(said.contains("did you mean `orders`?"), "{said}");
    let said = place.run("consume orders --until-end --partition 12").bad(2);
    assert!(said.contains("has no partition 12; it has 12 (0 to 11)"), "{said}");

    let nothing = Place::new();
    let said = nothing.run("consume orders").bad(1);
    assert!(said.contains("there is no log in `.millstream`"), "{said}");
    assert!(!nothing.path().join(".millstream").exists());
}

#[test]
fn until_end_of_an_empty_topic_ends_at_once() {
    let place = Place::new();
    place.run_with("produce t --create", "").good();
    assert_eq!(place.run("consume t --until-end").good(), "");
    assert_eq!(place.run("consume t --from end --until-end").good(), "");
    place.run_with("produce t", "x\n").good();
    assert_eq!(place.run("consume t --from -1h --until-end").good().lines().count(), 1);
    assert_eq!(place.run("consume t --from 2999-01-01T00:00:00Z --until-end").good(), "");
}

#[test]
fn many_records_go_through_and_a_closed_pipe_is_quiet() {
    let place = Place::new();
    let lines: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(place.run_with("produce t --create --partitions 3 --id .n", &lines).good(), "50000 records to t\n");
    let mut seen: Vec<i64> = place
        .run("consume t --until-end")
        .good()
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok()?["value"]["n"].as_i64())
        .collect();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..50_000));

    let mut child = place
        .command(["consume", "t", "--until-end"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    // Dropping the reader closes the pipe while megabytes are still to come.
    BufReader::new(child.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a line comes");
    let ended = Ended::of(child.wait_with_output().expect("it ends"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn what_is_typed_arrives_at_once_at_who_follows() {
    let place = Place::new();
    place.run_with("produce t --create --partitions 1", "").good();
    let mut typing = spawn(&place, "produce t");
    let mut keyboard = typing.stdin.take().expect("stdin is piped");
    // The producer owns the folder; the consumer reaches it over its socket, or the other way round.
    let mut following = spawn(&place, "consume t");
    let mut screen = BufReader::new(following.stdout.take().expect("stdout is piped"));
    for word in ["one", "two"] {
        keyboard.write_all(format!("{word}\n").as_bytes()).expect("the producer reads");
        let mut line = String::new();
        screen.read_line(&mut line).expect("the consumer prints");
        assert!(line.ends_with(&format!("\"value\":\"{word}\"}}\n")), "{line}");
    }
    // The one that did not own the folder goes on without the other.
    drop(keyboard);
    assert_eq!(wait(&mut typing), Some(0));
    place.run_with("produce t", "three\n").good();
    let mut line = String::new();
    screen.read_line(&mut line).expect("the consumer prints");
    assert!(line.ends_with("\"value\":\"three\"}\n"), "{line}");
    interrupt(&following);
    let mut rest = String::new();
    screen.read_to_string(&mut rest).expect("stdout ends");
    assert_eq!((wait(&mut following), rest.as_str()), (Some(0), ""));
}

#[cfg(unix)]
fn spawn(place: &Place, line: &str) -> Child {
    place
        .command(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.is_ok_and(|s| s.success()));
}

#[cfg(unix)]
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::yield_now();
    }
}

/// As `-Z` of kcat and rpk; `--value` for tombstones that have a key.
#[test]
fn produce_writes_tombstones() {
    let place = Place::new();
    place.run_with("produce t --create --partitions 1 -Z", "a\n\nb\n").good();
    place
        .run_with("produce t --key .k --value .v", "{\"k\":\"x\",\"v\":null}\n{\"k\":\"y\",\"v\":{\"n\": 1.10}}\n")
        .good();
    let all: Vec<(Value, Value)> =
        records(&place, "consume t --until-end").into_iter().map(|r| (r["key"].clone(), r["value"].clone())).collect();
    let expected = [
        (json!(null), json!("a")),
        (json!(null), json!(null)),
        (json!(null), json!("b")),
        (json!("x"), json!(null)),
        (json!("y"), json!({ "n": 1.10 })),
    ];
    assert_eq!(all, expected);
    let refused = place.run_with("produce t --tombstone --key .k", "{}").bad(2);
    assert!(refused.contains("--value FIELD"), "{refused}");
}

#[test]
fn an_offset_past_the_end_is_remarked() {
    let place = Place::new();
    place.run_with("produce t --create --partitions 2", "a\nb\n").good();
    let ended = place.run("consume t --until-end --from 1:99");
    assert!(ended.stderr.contains("partition 1 ends at offset 1: there is nothing at 99"), "{ended:?}");
    assert_eq!(ended.good().lines().count(), 1, "the other partition is read from its start");
}

#[test]
fn a_file_in_the_place_of_the_log_is_named() {
    let place = Place::new();
    place.file("afile", "x");
    for line in ["produce t --data-dir afile", "consume t --data-dir afile"] {
        let said = place.run(line).bad(2);
        assert!(said.contains("`afile` is a file, and the log is a folder"), "{said}");
    }
}
