//! Dead letters: they have the time they were written at, and go by that time if they are told to.
//!
//! Tried by hand: a header left out turns the last red; letters with the records' own times turn both red; a `.dlq` made without its retention the first.

use std::time::Duration;

use millstream_log::{End, Retention};

use crate::bench::{Bench, Given, HOUR, YEAR, new_topic, now};
use crate::on_both_logs;

on_both_logs!(
    letters_go_by_the_time_they_were_written_at,
    letters_stay_by_default_whatever_the_records_times,
    the_form_of_a_letter_stays,
);

/// Records that no stage can decode, at the worst of times.
fn broken(bench: &Bench) -> [i64; 3] {
    let raw = format!("{}.raw", bench.name);
    let times = [1, now() - YEAR, now() + 70 * YEAR];
    bench.create(&raw);
    bench.write(&raw, times.map(|timestamp| Given { key: "k".into(), value: "{".into(), timestamp }));
    times
}

fn yaml(name: &str, options: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\nsource: {{ topic: {name}.raw, format: json, fields: {{ n: integer }} }}\n\
         stages:\n  - {{ name: work, filter: where, with: .n >= 0{options} }}\n"
    )
}

fn letters_go_by_the_time_they_were_written_at(bench: &Bench) {
    broken(bench);
    let totals = bench.until_idle("run", &yaml(&bench.name, ", dead_letter: { retention: 1s }"), 0);
    assert_eq!(totals["dead_lettered"], 3);
    // An embedded log frees itself only while somebody has it open.
    let _owner = bench.log();
    bench.goes(&format!("{}.work.dlq", bench.name));
}

fn letters_stay_by_default_whatever_the_records_times(bench: &Bench) {
    let times = broken(bench);
    bench.until_idle("run", &yaml(&bench.name, ""), 0);
    // When this is gone, the log has looked at all topics.
    let bait = new_topic(&format!("{}.bait", bench.name), Retention::Written(Duration::from_millis(1)));
    bench.log().create(std::slice::from_ref(&bait)).expect("the topic can be made");
    bench.write(&bait.name, [Given { key: "k".into(), value: "v".into(), timestamp: 0 }]);
    let _owner = bench.log();
    bench.goes(&bait.name);
    let letters = bench.site.read(&format!("{}.work.dlq", bench.name));
    assert_eq!(bench.ends(&format!("{}.work.dlq", bench.name), End::Low), [0, 0]);
    let mut own: Vec<i64> = letters.iter().filter_map(|l| l.header("millstream.dlq.timestamp")?.parse().ok()).collect();
    own.sort_unstable();
    let mut wanted = times.to_vec();
    wanted.sort_unstable();
    assert_eq!(own, wanted);
    for letter in letters {
        let off = letter.millis().map(|at| (at - now()).abs());
        assert!(off.is_some_and(|off| off < HOUR), "{letter:?} has another time than that of its writing");
    }
}

/// Version 1 of the headers, name by name. They are in topics: each later version must write them so, or rise.
fn the_form_of_a_letter_stays(bench: &Bench) {
    let name = &bench.name;
    bench.create(&format!("{name}.raw"));
    bench.write(&format!("{name}.raw"), [Given { key: "k".into(), value: "{".into(), timestamp: 77 }]);
    bench.until_idle("run", &yaml(name, ""), 0);
    let letters = bench.site.read(&format!("{name}.work.dlq"));
    let letter = letters.first().expect("a letter");
    let at = letter.header("millstream.dlq.at").and_then(|at| at.parse().ok()).unwrap_or(0);
    assert!((now() - at).abs() < HOUR, "{letter:?}");
    let partition = letter.partition;
    let wanted = [
        ("version", "1".to_owned()),
        ("pipeline", name.clone()),
        ("stage", "work".to_owned()),
        ("filter", String::new()),
        ("topic", format!("{name}.raw")),
        ("partition", partition.to_string()),
        ("offset", "0".to_owned()),
        ("timestamp", "77".to_owned()),
        ("id", format!("{name}.raw/{partition}/0")),
        ("attempts", "1".to_owned()),
        ("code", "invalid_json".to_owned()),
        ("message", letter.header("millstream.dlq.message").unwrap_or_default().to_owned()),
        ("class", "data".to_owned()),
        ("at", at.to_string()),
        ("redrives", "0".to_owned()),
    ];
    let wanted: Vec<(String, Option<String>)> =
        wanted.into_iter().map(|(name, value)| (format!("millstream.dlq.{name}"), Some(value))).collect();
    assert_eq!(letter.headers, wanted);
    assert_eq!((letter.key.as_deref(), letter.value.as_str()), (Some("k"), Some("{")));
}
