//! Files as sources, and what must come of their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::time::Duration;

use millstream_tests::checker::Seen;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

pub const SESSION: Duration = Duration::from_secs(6);
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A pipeline whose first stage reads files, each as (name of the source, folder of the file). One without a name is
/// the only one.
pub fn pipeline(name: &str, sources: &[(&str, &str)], follow: bool) -> String {
    let mut text = format!("pipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }} }}\n");
    let source = |folder: &str| {
        format!(
            "{{ file: {{ path: {folder}/rows.csv, follow: {follow} }}, fields: {{ from: string, n: integer, key: string \
             }}, key: .key }}\n"
        )
    };
    let mut from = String::new();
    match sources {
        [("", folder)] => text.push_str(&format!("source: {}", source(folder))),
        _ => {
            text.push_str("sources:\n");
            sources.iter().for_each(|(name, folder)| text.push_str(&format!("  {name}: {}", source(folder))));
            let names: Vec<&str> = sources.iter().map(|(name, _)| *name).collect();
            from = format!("from: [{}], ", names.join(", "));
        }
    }
    text + &format!("stages:\n  - {{ name: merge, {from}filter: map, with: .twice = .n * 2 }}\n")
}

/// Adds rows to a file of the test's folder; the file begins with a header.
pub fn add(site: &Site, at: &str, numbers: Range<usize>) {
    let path = site.folder().join(at).join("rows.csv");
    let there = path.exists();
    fs::create_dir_all(site.folder().join(at)).expect("a folder");
    let mut text = if there { String::new() } else { "from,n,key\n".to_owned() };
    numbers.for_each(|n| text.push_str(&format!("{at},{n},k{}\n", n % 13)));
    let mut file = File::options().create(true).append(true).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

/// The numbers of rows in a topic, by file; in the order of each partition.
pub fn numbers(records: &[Seen]) -> BTreeMap<String, Vec<u64>> {
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let from = record.value["from"].as_str().expect("where it is from").to_owned();
        all.entry(from).or_default().push(record.value["n"].as_u64().expect("its number"));
    }
    all
}

/// What is wrong with the rows that came out: missing, twice, or out of the order of their file and key.
pub fn wrong(records: &[Seen], wanted: &[(&str, usize)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let found = numbers(records);
    for (from, rows) in wanted {
        let all = found.get(*from).cloned().unwrap_or_default();
        let once: BTreeSet<u64> = all.iter().copied().collect();
        let lost = (0..*rows as u64).filter(|n| !once.contains(n)).count();
        if lost > 0 {
            wrong.push(format!("{lost} rows of {from} are lost"));
        }
        if all.len() > once.len() {
            wrong.push(format!("{} rows of {from} are doubled", all.len() - once.len()));
        }
    }
    let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
    for record in records {
        let from = record.value["from"].as_str().unwrap_or_default().to_owned();
        let (key, n) = (record.key.clone().unwrap_or_default(), record.value["n"].as_u64().unwrap_or_default());
        if last.insert((from.clone(), format!("{key:?}")), n).is_some_and(|before| before > n) {
            wrong.push(format!("row {n} of {from} comes late"));
        }
    }
    wrong
}

/// Waits until a topic has this many records.
pub fn flows(site: &Site, topic: &str, records: usize) {
    assert!(wait_until(PATIENCE, || site.read(topic).len() >= records), "{topic} has not {records} records");
}

/// The payloads of a topic by their `id` and text, as `consume` shows them with these arguments.
pub fn shown(site: &Site, topic: &str, with: &[&str]) -> Vec<Value> {
    let out = site.command(["consume", topic, "--until-end"]).args(with).output().expect("consume starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut all: Vec<Value> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON")["value"].clone())
        .collect();
    all.sort_by_key(|value| (value["id"].to_string(), value.to_string()));
    all
}
