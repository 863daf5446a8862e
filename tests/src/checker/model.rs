//! The crash tests' pipeline, and what it must give: computed here in plain Rust from the input topic as it is, record by
//! record, with nothing of the engine.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Expected, ExpectedLetter, ExpectedOutput, Seen};

/// Names of a pipeline's topics.
#[derive(Clone, Debug)]
pub struct Names {
    /// The pipeline's name.
    pub pipeline: String,
}

impl Names {
    /// The topic that is its source.
    pub fn source(&self) -> String {
        format!("{}.raw", self.pipeline)
    }

    /// Topic of a stage, or of `stage.output`.
    pub fn of(&self, stage: &str) -> String {
        format!("{}.{stage}", self.pipeline)
    }

    /// Output topics, first to last.
    pub fn outputs(&self) -> Vec<String> {
        ["clean", "split.refunds", "split.sales", "book"].map(|s| self.of(s)).into()
    }

    /// Dead-letter topics.
    pub fn letters(&self) -> Vec<String> {
        ["clean.dlq", "split.dlq", "book.dlq"].map(|s| self.of(s)).into()
    }
}

/// The pipeline's file. Several stages, so that what one gives is read by the next while processes die.
pub fn yaml(names: &Names, delivery: &str) -> String {
    let (pipeline, source) = (&names.pipeline, names.source());
    format!(
        "apiVersion: millstream/v1
pipeline: {pipeline}
delivery: {delivery}
defaults:
  replicas: 2
  dedup: {{ window: 24h }}
  topics: {{ partitions: 4 }}
source:
  topic: {source}
  format: json
  fields: {{ id: string, account: string, seq: integer, amount: integer, kind: string, ref: string }}
  id: .id
stages:
  - name: clean
    filters:
      - where: .kind != \"noise\"
      - map: .double = .amount * 2
  - name: split
    filter: route
    with:
      refunds: .amount < 0
      sales: true
  - name: book
    from: split.sales
    filter: map
    with: |
      .number = parse_int!(.ref)
"
    )
}

/// What must be in each topic, from the records of the source topic in order per partition.
pub fn expect(names: &Names, input: &[Seen]) -> Expected {
    let mut expected = Expected::default();
    for topic in names.outputs() {
        expected.outputs.insert(topic, Vec::new());
    }
    for topic in names.letters() {
        expected.letters.insert(topic, Vec::new());
    }
    expected.readers = vec![
        (names.of("clean"), names.source()),
        (names.of("split"), names.of("clean")),
        (names.of("book"), names.of("split.sales")),
    ];
    // Equal ids have equal keys here, so they meet in one partition and this set may span all.
    let mut marked = HashSet::new();
    for record in input {
        step(names, record, &mut marked, &mut expected);
    }
    expected
}

fn step(names: &Names, record: &Seen, marked: &mut HashSet<String>, expected: &mut Expected) {
    let fields = record.value.as_object();
    let id = match fields.and_then(|f| f.get("id")).and_then(Value::as_str) {
        Some(id) => id.to_owned(),
        // No JSON, no id: the record is named by where it lies.
        None => format!("{}/{}/{}", record.topic, record.partition, record.offset),
    };
    if marked.contains(&id) {
        expected.traceless += 1;
        return;
    }
    let amount = fields.and_then(|f| f.get("amount")).and_then(Value::as_i64);
    if let Some(fields) = fields
        && fields.get("kind") == Some(&json!("noise"))
    {
        marked.insert(id);
        expected.traceless += 1;
        return;
    }
    let (Some(fields), Some(amount)) = (fields, amount) else {
        let place = Some(record.place());
        return letter(names, "clean", &names.source(), place, output(&id, record, record.value.clone()), expected);
    };
    marked.insert(id.clone());
    let mut value = fields.clone();
    value.insert("double".into(), json!(amount * 2));
    let cleaned = output(&id, record, Value::Object(value.clone()));
    push(names, "clean", cleaned.clone(), expected);
    if amount < 0 {
        return push(names, "split.refunds", cleaned, expected);
    }
    push(names, "split.sales", cleaned.clone(), expected);
    match fields.get("ref").and_then(Value::as_str).and_then(|r| r.parse::<i64>().ok()) {
        None => letter(names, "book", &names.of("split.sales"), None, cleaned, expected),
        Some(number) => {
            value.insert("number".into(), json!(number));
            push(names, "book", output(&id, record, Value::Object(value)), expected);
        }
    }
}

fn output(root: &str, record: &Seen, value: Value) -> ExpectedOutput {
    ExpectedOutput {
        root: root.to_owned(),
        key: record.key.clone(),
        millis: record.millis(),
        value,
        headers: record.passed_headers(),
    }
}

fn push(names: &Names, stage: &str, output: ExpectedOutput, expected: &mut Expected) {
    expected.outputs.entry(names.of(stage)).or_default().push(output);
}

fn letter(
    names: &Names,
    stage: &str,
    from: &str,
    place: Option<(i32, i64)>,
    record: ExpectedOutput,
    expected: &mut Expected,
) {
    let letter = ExpectedLetter {
        pipeline: names.pipeline.clone(),
        stage: stage.to_owned(),
        from: from.to_owned(),
        place,
        class: "data".to_owned(),
        record,
    };
    expected.letters.entry(names.of(&format!("{stage}.dlq"))).or_default().push(letter);
}
