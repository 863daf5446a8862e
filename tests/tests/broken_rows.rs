//! What becomes of rows and lines of a file that are none.

use std::fs;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::Seen;
use millstream_tests::site::Site;

const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(180);

fn pipeline(name: &str, file: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ file: {file}, fields: {{ n: integer, text: string }} }}\n\
         stages:\n  - {{ name: work, filter: map, with: .double = .n * 2 }}\n"
    )
}

fn dlq(letter: &Seen, name: &str) -> String {
    letter.header(&format!("millstream.dlq.{name}")).unwrap_or_default().to_owned()
}

/// Runs a file through one stage: numbers that came out, and the letters as (code, message, payload).
fn work_off(site: &Site, name: &str, file: &str, bytes: &[u8]) -> (Vec<i64>, Vec<(String, String, String)>) {
    fs::write(site.folder().join(file), bytes).expect("a file");
    site.until_idle("run", &site.write("pipeline.yaml", &pipeline(name, file)), PATIENCE);
    let mut out: Vec<i64> = site.read(&format!("{name}.work")).iter().filter_map(|r| r.value["n"].as_i64()).collect();
    out.sort_unstable();
    let mut letters: Vec<_> = site
        .read(&format!("{name}.work.dlq"))
        .iter()
        .map(|l| {
            (dlq(l, "code"), dlq(l, "message"), l.value.as_str().map_or_else(|| l.value.to_string(), str::to_owned))
        })
        .collect();
    letters.sort();
    (out, letters)
}

/// The row `5` is JSON, and would be taken for a payload if the stage were to judge.
fn csv(site: &Site, name: &str) {
    let file = b"n,text\n1,one\n5\n2,\"two\nlines\"\n3,three,more\n4,\"four\" x\n6,caf\xe9\n7,\"open\n";
    let (out, letters) = work_off(site, name, "rows.csv", file);
    assert_eq!(out, [1, 2]);
    let csv = |message: &str, payload: &str| ("invalid_csv".to_owned(), message.to_owned(), payload.to_owned());
    let stray = "text follows a closing quote (a quote inside quotes is written twice), at line 7 of `rows.csv`";
    let latin = r#"{"base64":"NixjYWbp"}"#;
    let utf8 = "column `text` is not UTF-8 text at byte 3, at line 8 of `rows.csv`";
    assert_eq!(
        letters,
        [
            csv("a quote is opened and never closed, at line 9 of `rows.csv`", "7,\"open"),
            csv("expected 2 fields as in the header, found 1, at line 3 of `rows.csv`", "5"),
            csv("expected 2 fields as in the header, found 3, at line 6 of `rows.csv`", "3,three,more"),
            csv(stray, "4,\"four\" x"),
            ("invalid_utf8".to_owned(), utf8.to_owned(), latin.to_owned()),
        ]
    );
}

fn json_lines(site: &Site, name: &str) {
    let file = b"{\"n\":1,\"text\":\"a\"}\n\n{\"n\":2\n{\"n\":3,\"text\":\"caf\xe9\"}\n";
    let (out, letters) = work_off(site, name, "lines.jsonl", file);
    assert_eq!(out, [1]);
    let codes: Vec<&str> = letters.iter().map(|l| l.0.as_str()).collect();
    assert_eq!(codes, ["invalid_json", "invalid_utf8"], "{letters:?}");
    assert!(letters[0].1.ends_with("at line 3 of `lines.jsonl`") && letters[0].2 == "{\"n\":2", "{letters:?}");
    assert!(letters[1].1.ends_with("at line 4 of `lines.jsonl`"), "{letters:?}");
}

#[test]
fn a_broken_row_says_why_and_where_on_the_embedded_log() {
    csv(&Site::embedded(), "rows");
    json_lines(&Site::embedded(), "lines");
}

#[test]
fn a_broken_row_says_why_and_where_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    csv(&Site::kafka(cluster.bootstrap(), SESSION), &unique("rows"));
    json_lines(&Site::kafka(cluster.bootstrap(), SESSION), &unique("lines"));
}
