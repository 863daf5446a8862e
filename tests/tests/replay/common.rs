//! A pipeline that prices and sorts rows, live and changed, and what becomes of a row in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_tests::checker::Seen;
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::PATIENCE;

/// What the change is about: below `FIRST` the live one drops a row, the changed one below `EARLIER`.
pub const FIRST: u64 = 10;
pub const EARLIER: u64 = 8;

/// Writes the pipeline as it runs, and a changed one; the files.
pub fn files(site: &Site, name: &str) -> (PathBuf, PathBuf) {
    let text = |keep: &str, total: &str| {
        format!(
            "pipeline: {name}\n\
             defaults: {{ topics: {{ partitions: 4 }} }}\n\
             source: {{ topic: {name}.raw, fields: {{ id: string, n: integer, kind: string? }}, id: .id }}\n\
             stages:\n\
             \x20 - name: price\n\
             \x20   filters:\n\
             \x20     - where: {keep}\n\
             \x20     - map: |\n\
             \x20         if .kind == \"bad\" {{ {bad} }}\n\
             \x20         .total = {total}\n\
             \x20 - name: split\n\
             \x20   filter: route\n\
             \x20   with: {{ odd: \"mod(.n, 2) == 1\", even: true }}\n\
             \x20   outputs: {{ odd: {{ to: {name}-odd }}, even: {{}} }}\n",
            bad = if total.contains("17") { ".kind = \"mended\"" } else { "abort" },
        )
    };
    let live = site.write("live.yaml", &text(&format!(".n >= {FIRST}"), ".n * 2"));
    let changed = format!(".n >= {EARLIER} && .n != 23");
    let changed = site.write("changed.yaml", &text(&changed, "if .n == 17 { 1 } else { .n * 2 }"));
    (live, changed)
}

/// Adds the rows `from..to` to the source, in four partitions; 31 is one that the live pipeline cannot process.
pub fn produce(site: &Site, name: &str, from: u64, to: u64) {
    let row = |n: u64| match n {
        31 => json!({ "id": format!("r-{n}"), "n": n, "kind": "bad" }).to_string(),
        _ => json!({ "id": format!("r-{n}"), "n": n }).to_string(),
    };
    let rows: Vec<String> = (from..to).map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "4", "--key", ".id"]);
}

/// Now, as `--from` and `--to` take it, when no record of before has that time and none of later an earlier one.
pub fn moment() -> String {
    let millis = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let last = millis();
    wait_until(PATIENCE, || millis() > last);
    let now = jiff::Timestamp::from_millisecond(millis() as i64).expect("a time").to_string();
    let begin = millis();
    wait_until(PATIENCE, || millis() > begin);
    now
}

/// What must differ over rows that begin below `EARLIER`: lists by id root.
pub fn expected() -> Value {
    let row = |n: u64, total: u64| json!({ "id": format!("r-{n}"), "n": n, "total": total });
    let entry = |stage: &str, n: u64, value: Value| json!({ "id": format!("r-{n}"), "stage": stage, "key": format!("r-{n}"), "headers": [], "value": value });
    let bad = json!({ "id": "r-31", "n": 31, "kind": "bad" });
    let mut letter = entry("price.dlq", 31, bad);
    letter["error"] = json!({ "code": "expression_aborted", "class": "data", "filter": "map" });
    json!({
        "added": [
            entry("split.even", 8, row(8, 16)),
            entry("split.odd", 9, row(9, 18)),
            entry("split.odd", 31, json!({ "id": "r-31", "n": 31, "kind": "mended", "total": 62 })),
        ],
        "removed": [letter, entry("split.odd", 23, row(23, 46))],
        "changed": [
            { "id": "r-17", "stage": "split.odd", "fields": { ".total": { "live": 34, "new": 1 } } },
        ],
    })
}

/// The document that `--diff -o json` printed, ids by their roots alone, in order; every id is of two parts.
pub fn document(text: &str) -> Value {
    let mut document: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("no document: {e}: {text}"));
    for list in ["added", "removed", "changed"] {
        let entries = document[list].as_array_mut().expect("a list");
        for entry in entries.iter_mut() {
            let id = entry["id"].as_str().expect("an id");
            entry["id"] = json!(id.split_once('~').map_or(id, |(root, _)| root));
        }
        entries.sort_by_key(|e| {
            let n = e["id"].as_str().and_then(|id| id.strip_prefix("r-")).and_then(|n| n.parse::<u64>().ok());
            (e["stage"].as_str().map(str::to_owned), n)
        });
    }
    document
}

/// What of a document is not as it must be.
pub fn judge(expected: &Value, found: &Value) -> Vec<String> {
    let lists = ["added", "removed", "changed"];
    let wrong = lists.iter().filter(|list| expected[**list] != found[**list]);
    let mut said: Vec<String> =
        wrong.map(|list| format!("{list}: wanted {}, found {}", expected[*list], found[*list])).collect();
    let known: BTreeSet<&str> = lists.into();
    let members = found.as_object().into_iter().flat_map(|o| o.keys());
    said.extend(members.filter(|m| !known.contains(m.as_str())).map(|m| format!("a member `{m}`")));
    said
}

/// Everything that the live pipeline has written, with its source and what it was told.
pub fn live(site: &Site, name: &str) -> BTreeMap<String, Vec<Seen>> {
    let topics = ["price", "split.even", "price.dlq", "split.dlq"];
    let own = topics.iter().map(|t| format!("{name}.{t}")).chain([format!("{name}-odd")]);
    own.map(|topic| (topic.clone(), site.read(&topic))).collect()
}

/// Starts a replay of a file beside.
pub fn replay(site: &Site, what: &str, file: &str, range: &(String, String), words: &[&str]) -> Process {
    let mut all = vec!["replay", file, "--from", &range.0, "--to", &range.1, "--beside", "new"];
    all.extend(words);
    site.start(what, &all)
}

/// Waits for its end; the exit status.
pub fn status(process: &mut Process) -> i32 {
    process.wait(PATIENCE + Duration::from_secs(60)).code().unwrap_or(-1)
}
