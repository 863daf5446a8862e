//! The schema says what the check says: on documents that are nearly right, and on text that nearly fits a rule.

use std::sync::Arc;

use millstream_filter_api::{CheckContext, Checked, FilterSpec, Issue, Node, Page};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{schema, text};
use crate::registry::Registry;
use crate::shape::{self, Shape, TextRule};
use crate::{language, tree};

struct Named(&'static str);

impl FilterSpec for Named {
    fn name(&self) -> &'static str {
        self.0
    }
    fn page(&self) -> Page {
        Page { summary: "has a name", description: "", examples: &[] }
    }
    fn config_schema(&self) -> &'static str {
        "true"
    }
    fn check(&self, _: &Node, _: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        Err(Vec::new())
    }
}

fn registry() -> Registry {
    Registry::new(["map", "where", "route"].map(|n| Arc::new(Named(n)) as Arc<dyn FilterSpec>))
}

fn shape_fits(document: &Value) -> bool {
    let (node, issues) = tree::parse(document.to_string().as_bytes());
    // `null` is an empty file.
    let Some(node) = node else { return false };
    assert_eq!(issues, [], "{document}");
    let mut issues = Vec::new();
    shape::check(&node, &language::PIPELINE, &registry(), &mut issues);
    issues.is_empty()
}

fn rich() -> Value {
    json!({
        "apiVersion": "millstream/v1", "pipeline": "orders", "description": "x", "delivery": "exactly_once",
        "defaults": {"replicas": 2, "dedup": {"window": "24h", "max_ids": 5}, "topics": {"partitions": 3, "retention": "7d", "replication": 3, "max_record": "1MiB"}},
        "source": {"topic": "t", "start": "earliest", "format": {"csv": {"columns": ["a"], "separator": ";"}},
            "fields": {"a": "string", "b": ["integer"], "c": {"d": "number?"}}, "id": [".a", ".b"], "key": {"header": "h"}},
        "stages": [
            {"name": "clean", "filter": "map", "with": "x", "timeout": "30s", "retry": {"attempts": 6, "backoff": "200ms..30s", "park_after": {"attempts": 3, "time": "5s"}, "until": "2h"},
                "concurrency": 64, "order": "key", "on_failure": "continue", "dead_letter": {"retention": "forever"}, "dedup": false},
            {"name": "split", "from": ["clean", "source"], "filters": ["where", {"route": {"x": true}}],
                "outputs": {"x": {"to": "y", "key": ".a"}}, "to": {"topic": "z", "format": "json"}, "dedup": "off"},
        ],
        "tests": [{"name": "t", "input": [{"key": "k", "value": 1, "headers": {"h": null}, "id": "i", "timestamp": "2026-01-31T12:00:00Z"}],
            "expect": {"split.x": [{"value": {}}], "clean": []}}],
    })
}

fn others() -> Vec<Value> {
    let with = |source: Value| {
        let mut all = rich();
        all["source"] = source;
        all
    };
    let mut named = rich();
    let source = named.as_object_mut().and_then(|o| o.remove("source"));
    named["sources"] = json!({ "web": source });
    vec![
        rich(),
        named,
        with(json!({"file": "a.csv", "format": "csv", "schema": "s.json", "id": "key", "key": "hash"})),
        with(json!({"file": {"path": "a", "format": "jsonl", "separator": "tab", "follow": true}})),
        with(json!({"generate": {"value": "{}", "count": 0, "rate": "30/m", "seed": 1}})),
    ]
}

#[test]
fn right_documents_fit_both() {
    let validator = jsonschema::draft202012::new(&schema(&registry())).expect("the schema is one");
    for document in others() {
        assert!(shape_fits(&document), "{document}");
        assert!(validator.is_valid(&document), "{document}");
    }
}

#[test]
fn references_fit_editors() {
    let validator = jsonschema::draft202012::new(&schema(&registry())).expect("the schema is one");
    let mut document = rich();
    document["defaults"]["replicas"] = json!("${env:N:-2}");
    document["stages"][0]["timeout"] = json!("${file:timeout}");
    assert!(validator.is_valid(&document));
    document["stages"][0]["timeout"] = json!("${nope:x}");
    assert!(!validator.is_valid(&document));
}

const KEYS: [&str; 30] = [
    "source",
    "sources",
    "topic",
    "file",
    "generate",
    "http",
    "start",
    "fields",
    "schema",
    "with",
    "filter",
    "filters",
    "from",
    "to",
    "outputs",
    "jobs",
    "priority",
    "park_after",
    "window",
    "retention",
    "follow",
    "path",
    "header",
    "csv",
    "columns",
    "name",
    "nonsense",
    "dlq",
    "key",
    "value",
];

fn replacement() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "a",
        "A",
        "a--b",
        "dlq",
        "ingest",
        "30s",
        "0s",
        "1h..2h",
        "64KiB",
        "json",
        "avro",
        "protobuf",
        "hold_key",
        "latest",
        ".a.b",
        ".a b",
        "hash",
        "key",
        "off",
        "string?",
        "timestamp",
        "where",
        "nope",
        "a.b",
        "a.b.c",
        "tab",
        ";",
        "forever",
        "2026-01-31T12:00:00Z",
        "10/s",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..70_000).prop_map(Value::from),
        Just(json!(1.5)),
        Just(json!(3.0)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([".a"])),
        Just(json!({"header": "x"})),
        Just(json!({"csv": {}})),
        Just(json!({"min": 1, "max": 8})),
        Just(json!({"map": 1, "where": 2})),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        "[a-z0-9.:-]{0,8}".prop_map(Value::from),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Remove,
    Add(&'static str, Value),
}

/// Changes the place that is `steps` into the document.
fn change(document: &mut Value, steps: &[usize], change: &Change) {
    let count = match &*document {
        Value::Object(map) => map.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if let (Some((step, rest)), true) = (steps.split_first(), count > 0) {
        let last = rest.is_empty();
        match document {
            Value::Object(map) => {
                let key = map.keys().nth(step % count).cloned().unwrap_or_default();
                if last && matches!(change, Change::Remove) {
                    map.remove(&key);
                } else if let Some(inner) = map.get_mut(&key) {
                    self::change(inner, rest, change);
                }
            }
            Value::Array(items) => {
                if last && matches!(change, Change::Remove) {
                    items.remove(step % count);
                } else {
                    self::change(&mut items[step % count], rest, change);
                }
            }
            _ => {}
        }
        return;
    }
    match change {
        Change::Replace(value) => *document = value.clone(),
        Change::Add(key, value) => {
            if let Value::Object(map) = document {
                map.insert((*key).to_owned(), value.clone());
            }
        }
        Change::Remove => {}
    }
}

fn changes() -> impl Strategy<Value = (usize, Vec<(Vec<usize>, Change)>)> {
    let one = prop_oneof![
        3 => replacement().prop_map(Change::Replace),
        1 => Just(Change::Remove),
        2 => (prop::sample::select(&KEYS[..]), replacement()).prop_map(|(k, v)| Change::Add(k, v)),
    ];
    (0usize..5, prop::collection::vec((prop::collection::vec(0usize..16, 0..6), one), 1..3))
}

#[test]
fn schema_and_check_agree_on_documents() {
    let validator = jsonschema::draft202012::new(&schema(&registry())).expect("the schema is one");
    let mut seen = [0u32; 2];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..Default::default()
    });
    let seen_cell = std::cell::RefCell::new(&mut seen);
    runner
        .run(&changes(), |(base, all)| {
            let mut document = others().swap_remove(base);
            for (steps, one) in &all {
                change(&mut document, steps, one);
            }
            let (check, schema) = (shape_fits(&document), validator.is_valid(&document));
            seen_cell.borrow_mut()[usize::from(check)] += 1;
            prop_assert_eq!(check, schema, "check says {}, schema says {}: {}", check, schema, document);
            Ok(())
        })
        .unwrap();
    assert!(seen.iter().all(|n| *n > 200), "both verdicts were seen: {seen:?}");
}

/// Every rule for text that the language uses.
fn rules(shape: &'static Shape, all: &mut Vec<&'static TextRule>, seen: &mut Vec<&'static str>) {
    match shape {
        Shape::Text(rule) => all.push(rule),
        Shape::List(item, ..) => rules(item, all, seen),
        Shape::Map(map) => map.keys.iter().for_each(|k| rules(&k.shape, all, seen)),
        Shape::Names(names, of, _) => {
            all.push(names);
            rules(of, all, seen);
        }
        Shape::Either(several) => several.iter().for_each(|s| rules(s, all, seen)),
        Shape::Named(name, inner) if !seen.contains(name) => {
            seen.push(name);
            rules(inner, all, seen);
        }
        _ => {}
    }
}

#[test]
fn schema_and_check_agree_on_text() {
    let mut all = Vec::new();
    rules(&language::PIPELINE, &mut all, &mut Vec::new());
    assert!(all.len() > 30);
    let all: Vec<_> = all.into_iter().map(|r| (r, jsonschema::draft202012::new(&text(r)).expect("a schema"))).collect();
    let texts = prop_oneof![
        "[a-z0-9.-]{0,10}",
        "[0-9]{1,11}(ms|s|m|h|d|w|B|KiB|KB|GiB|/s|/m|/x)",
        "[0-9]{1,3}(ms|s)\\.\\.[0-9]{1,3}(s|h|)",
        "(\\.[a-zA-Z_@]{0,3}(\\[[0-9]{0,7}\\])?){1,3}",
        "\\.\"[a-z \\\\]{0,4}\"?(\\.[a-z\"]{0,3})?",
        "20[0-9]{2}-0[1-9]-(0[1-9]|1[0-9])[Tt ][01][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,9})?)?(Z|z|\\+0[0-9]:[0-5][0-9])?",
        "[A-Za-z0-9._/-]{0,260}",
        "\\PC{0,5}",
        prop::sample::select(vec![
            "off", "on", "tab", ";", "\"", "\t", "forever", "hash", "key", "latest", "dlq", "..", ".", "json"
        ])
        .prop_map(str::to_owned),
    ];
    proptest!(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() }, |(word in texts)| {
        for (rule, validator) in &all {
            let right = !rule.later.contains(&word.as_str())
                && !rule.reserved.contains(&word.as_str())
                && (rule.words.contains(&word.as_str()) || (word.chars().count() <= rule.max && (rule.fits)(&word)));
            let schema = validator.is_valid(&Value::from(word.as_str()));
            prop_assert_eq!(right, schema, "{:?} as {}: check says {}", word, rule.what, right);
        }
    });
}
