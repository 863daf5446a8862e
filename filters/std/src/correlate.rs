//! `correlate`: what a record has in common with the event it waits for has to be there.

use std::sync::Arc;

use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Keys, Node, Outcome, Outputs, OwnedValuePath,
    Page, Reads, Record, Value,
};

use crate::paths;

/// The header that keeps a record's key while it has that of its event.
pub(crate) const KEY_HEADER: &str = "millstream.wait.key";

/// The filter `correlate`.
pub(crate) struct CorrelateSpec;

impl FilterSpec for CorrelateSpec {
    fn name(&self) -> &'static str {
        "correlate"
    }

    fn page(&self) -> Page {
        Page {
            summary: "lets pass what has the field by which records and events meet",
            description: "\
`correlate: { by: .uid }` lets a record go on byte for byte, and keeps its key in the header `millstream.wait.key`. A record in \
which the field is null or missing, or whose payload is a tombstone, becomes a dead letter of class `data` with the code \
`no_correlation`: nothing could ever meet it.

It is the first part of a stage with `wait_for`, which has it in stages of its own.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "required": ["by"],
  "additionalProperties": false,
  "properties": {"by": {"description": "a field of the payload", "type": "string", "pattern": "^\\."}}
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, &["by"], &mut issues);
        let by = keys.text("by", ".uid", &mut issues);
        let path = by.and_then(|(node, text)| {
            paths::known_field(node, text, cx).map_err(|found| issues.extend(found)).ok().map(|path| (path, text))
        });
        let (Some((path, text)), true) = (path, issues.is_empty()) else { return Err(issues) };
        let text: Arc<str> = Arc::from(text);
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![cx.input.clone()],
            effects: false,
            reads: Reads::Everything,
            warnings: Vec::new(),
            long: None,
            build: Arc::new(move || {
                Built::Compute(Box::new(Correlate { path: path.clone(), text: Arc::clone(&text) }))
            }),
        })
    }
}

struct Correlate {
    path: OwnedValuePath,
    text: Arc<str>,
}

impl Compute for Correlate {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        let found = record.payload.value().and_then(|value| value.get(&self.path));
        let what = match found {
            Some(Value::Null) => "null",
            None => "missing",
            Some(_) => {
                record.headers = record.headers.with(KEY_HEADER, record.key.as_deref());
                return Outcome::Forward;
            }
        };
        Outcome::data("no_correlation", format!("`{}` is {what}: nothing can meet this", self.text))
    }
}

const EXAMPLES: &[Example] = &[Example {
    title: "Without the field nothing could meet it",
    yaml: "correlate: { by: .uid }",
    fields: "{ uid: string? }",
    input: "{\"uid\":\"u-1\",\"n\":1.10}\n{\"uid\":null}\n{}",
    output: "{\"value\":{\"uid\":\"u-1\",\"n\":1.10}}\n{\"failed\":\"no_correlation\"}\n{\"failed\":\"no_correlation\"}",
}];
