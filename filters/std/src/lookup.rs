//! `lookup`: adds to each record what a table says about one of its fields.

use std::path::Path;
use std::sync::Arc;

use millstream_expr::room_for;
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Keys, Kind, Node, Outcome, Outputs,
    OwnedValuePath, Page, Reads, Record, Value, field_path, nearest,
};
use vrl::path::OwnedSegment;

use crate::paths;
use crate::table::Table;

/// The filter `lookup`.
pub(crate) struct LookupSpec;

impl FilterSpec for LookupSpec {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn page(&self) -> Page {
        Page {
            summary: "adds what a table says about a field",
            description: "\
`lookup: { table: FILE, by: .f, into: .g, missing: pass }` reads the table once, when the pipeline is checked, finds the \
row whose key is the field `by`, and puts it into the field `into`; the rest of the payload keeps its text.

- `table`: a file `.csv` (with a header) or `.jsonl`, at most 256 MiB. The key is the column named as the last part of \
`by`; in a CSV file without such a column it is the first. With exactly one other column `into` becomes its value, with \
several an object of them. A CSV column is integer, float or boolean where all its fields are, else text; empty is null.
- `by`: the field to look up: a text, or a number or boolean, which is compared as text (`7` finds `7`).
- `into`: the field to set.
- `missing`: what happens without a row, or where `by` is null or missing: `pass` (the default) sets `into` to null, \
`drop` drops the record (reason `lookup`), `dead_letter` makes it a dead letter of class `data`, code `lookup_missing`.

A payload that is no object becomes a dead letter with code `not_an_object`. A tombstone passes.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "required": ["table", "by", "into"],
  "properties": {
    "table": {"type": "string", "description": "a .csv or .jsonl file, relative to the pipeline"},
    "by": {"type": "string", "pattern": "^\\.", "description": "the field to look up"},
    "into": {"type": "string", "pattern": "^\\.", "description": "the field to set"},
    "missing": {"enum": ["pass", "drop", "dead_letter"], "default": "pass"}
  },
  "additionalProperties": false
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, &["by", "into", "missing", "table"], &mut issues);
        let table = keys.text("table", "data/prices.csv", &mut issues);
        let by = keys.text("by", ".sku", &mut issues);
        let into = keys.text("into", ".price", &mut issues);
        let missing = keys.get("missing").map_or(Some(Missing::Pass), |node| Missing::of(node, &mut issues));
        let by = by.and_then(|(node, text)| match paths::known_field(node, text, cx) {
            Ok(path) => Some((path, text)),
            Err(found) => {
                issues.extend(found);
                None
            }
        });
        let into = into.and_then(|(node, text)| field_path(node, text).map_err(|issue| issues.push(issue)).ok());
        let loaded = match (table, &by) {
            (Some((node, name)), Some((by, _))) => {
                load(node, name, by, cx).map_err(|issue| issues.push(issue)).ok().map(|t| (t, name))
            }
            _ => None,
        };
        let (Some((table, name)), Some((by, by_text)), Some(into), Some(missing), true) =
            (loaded, by, into, missing, issues.is_empty())
        else {
            return Err(issues);
        };
        let found = if missing == Missing::Pass { table.kind.clone().or_null() } else { table.kind.clone() };
        let mut kind = if cx.input.is_any() { Kind::any_object() } else { cx.input.clone() };
        kind.insert(&into, found);
        let touched: Arc<[OwnedValuePath]> = Arc::from([settled(&into)]);
        let plan =
            Arc::new(Plan { table, name: name.to_owned(), by, by_text: by_text.to_owned(), into, touched, missing });
        Ok(Checked {
            long: None,
            outputs: Outputs::Single,
            types: vec![kind],
            effects: false,
            reads: Reads::Everything,
            warnings: Vec::new(),
            build: Arc::new(move || Built::Compute(Box::new(Lookup { plan: Arc::clone(&plan) }))),
        })
    }
}

/// Shared by all replicas: the table is held once.
struct Plan {
    table: Table,
    name: String,
    by: OwnedValuePath,
    by_text: String,
    into: OwnedValuePath,
    touched: Arc<[OwnedValuePath]>,
    missing: Missing,
}

#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Pass,
    Drop,
    DeadLetter,
}

impl Missing {
    fn of(node: &Node, issues: &mut Vec<Issue>) -> Option<Self> {
        const WORDS: [&str; 3] = ["pass", "drop", "dead_letter"];
        match node.as_text() {
            Some("pass") => Some(Self::Pass),
            Some("drop") => Some(Self::Drop),
            Some("dead_letter") => Some(Self::DeadLetter),
            other => {
                let found = other.map_or_else(|| node.describe().to_owned(), |t| format!("`{t}`"));
                let message = format!("`missing` is `pass`, `drop` or `dead_letter`, found {found}");
                let issue = Issue::error(node.span, "unknown_value", message);
                issues.push(match other.and_then(|t| nearest(t, &WORDS)) {
                    Some(near) => issue.help(format!("did you mean `{near}`?")),
                    None => issue,
                });
                None
            }
        }
    }
}

fn load(node: &Node, name: &str, by: &OwnedValuePath, cx: &CheckContext<'_>) -> Result<Table, Issue> {
    let bytes = cx.files.read(Path::new(name)).map_err(|e| {
        Issue::error(node.span, "file_unreadable", format!("`{name}` cannot be read: {e}"))
            .help("paths start at the pipeline's folder")
    })?;
    let key = by.segments.iter().rev().find_map(|s| match s {
        OwnedSegment::Field(name) => Some(name.as_str()),
        OwnedSegment::Index(_) => None,
    });
    Table::load(name, bytes, key.unwrap_or(""))
        .map_err(|fault| Issue::error(node.span, "table_invalid", format!("`{name}` {fault}")))
}

/// An index from the end may mean any element.
fn settled(path: &OwnedValuePath) -> OwnedValuePath {
    let from_end = |s: &&OwnedSegment| !matches!(s, OwnedSegment::Index(i) if *i < 0);
    path.segments.iter().take_while(from_end).cloned().collect::<Vec<_>>().into()
}

struct Lookup {
    plan: Arc<Plan>,
}

impl Compute for Lookup {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        let plan = &*self.plan;
        let Some(payload) = record.payload.value() else { return Outcome::Forward };
        if !payload.is_object() {
            let message = format!("the payload is of type {}, and must be an object", payload.kind_str());
            return Outcome::data("not_an_object", message);
        }
        if let Err(message) = room_for(payload, &plan.into.segments) {
            return Outcome::data("not_an_object", message);
        }
        let key = payload.get(&plan.by);
        let row = match (key.and_then(|key| plan.table.get(key)), plan.missing) {
            (Some(row), _) => row.clone(),
            (None, Missing::Pass) => Value::Null,
            (None, Missing::Drop) => return Outcome::Drop("lookup"),
            (None, Missing::DeadLetter) => {
                let key = key.map_or_else(|| "missing".to_owned(), ToString::to_string);
                let message = format!("no row of `{}` for `{}`, which is {key}", plan.name, plan.by_text);
                return Outcome::data("lookup_missing", message);
            }
        };
        if let Some(payload) = record.payload.value_mut(&plan.touched) {
            payload.insert(&plan.into, row);
        }
        Outcome::Forward
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "A price from `data/prices.csv` (columns sku, price)",
        yaml: "lookup: { table: data/prices.csv, by: .sku, into: .price }",
        fields: "{ sku: string }",
        input: "{\"sku\":\"A\",\"n\":1.10}\n{\"sku\":\"?\"}",
        output: "{\"value\":{\"sku\":\"A\",\"n\":1.10,\"price\":2.5}}\n{\"value\":{\"sku\":\"?\",\"price\":null}}",
    },
    Example {
        title: "Several columns make an object; a record without a row is a dead letter (`data/skus.jsonl`)",
        yaml: "lookup: { table: data/skus.jsonl, by: .line.sku, into: .about, missing: dead_letter }",
        fields: "{ line: { sku: string } }",
        input: "{\"line\":{\"sku\":\"A\"}}\n{\"line\":{\"sku\":\"?\"}}",
        output: "{\"value\":{\"line\":{\"sku\":\"A\"},\"about\":{\"group\":\"toys\",\"weight\":0.5}}}\n{\"failed\":\"lookup_missing\"}",
    },
];
