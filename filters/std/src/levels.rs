//! `levels`: each record to the output that a field or a header names.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Keys, Node, Outcome, Outputs, OwnedValuePath,
    Page, Reads, Record, Value,
};

use crate::paths;

/// The filter `levels`.
pub(crate) struct LevelsSpec;

impl FilterSpec for LevelsSpec {
    fn name(&self) -> &'static str {
        "levels"
    }

    fn page(&self) -> Page {
        Page {
            summary: "sends each record to the output that a field or a header names",
            description: "\
`levels: { by: .tier, levels: [gold, silver, bronze] }` has one output per level. The record goes on byte for byte to the \
output whose name the field has (or the header: `by: { header: tier }`), and to the last one where it has another value, \
none, or is a tombstone: what nobody has named is never preferred.

It is the first half of a stage with `priority`, which has it in a stage of its own. Levels has several outputs, so it is the \
last filter of its stage.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "required": ["by", "levels"],
  "additionalProperties": false,
  "properties": {
    "by": {"description": "a field of the payload, or { header: NAME }", "anyOf": [
      {"type": "string", "pattern": "^\\."},
      {"type": "object", "required": ["header"], "properties": {"header": {"type": "string"}}, "additionalProperties": false}
    ]},
    "levels": {"description": "names of the outputs, the last for the rest", "type": "array", "minItems": 2, "items": {"type": "string"}}
  }
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, &["by", "levels"], &mut issues);
        let by = keys.get("by").and_then(|node| by(node, cx).map_err(|found| issues.extend(found)).ok());
        let names: Vec<String> = keys
            .get("levels")
            .and_then(Node::as_list)
            .map(|all| all.iter().filter_map(Node::as_text).map(str::to_owned).collect())
            .unwrap_or_default();
        if names.len() < 2 && issues.is_empty() {
            let message = "`levels` names two outputs or more";
            issues.push(Issue::error(with.span, "wrong_count", message).help("such as `levels: [gold, bronze]`"));
        }
        let (Some(by), true) = (by, issues.is_empty()) else { return Err(issues) };
        let by = Arc::new(by);
        let index: Arc<HashMap<String, u16>> = Arc::new(names.iter().cloned().zip(0..).collect());
        Ok(Checked {
            long: None,
            types: vec![cx.input.clone(); names.len()],
            outputs: Outputs::Named(names),
            effects: false,
            reads: match &*by {
                By::Field(path) => Reads::of_paths([path]),
                By::Header(_) => Reads::nothing(),
            },
            warnings: Vec::new(),
            build: Arc::new(move || {
                Built::Compute(Box::new(Levels { by: Arc::clone(&by), index: Arc::clone(&index) }))
            }),
        })
    }
}

/// What names the level.
enum By {
    Field(OwnedValuePath),
    Header(String),
}

fn by(node: &Node, cx: &CheckContext<'_>) -> Result<By, Vec<Issue>> {
    if let Some(name) = node.get("header").and_then(Node::as_text) {
        return Ok(By::Header(name.to_owned()));
    }
    let Some(text) = node.as_text() else {
        let message = format!("expected a field or `{{ header: NAME }}`, found {}", node.describe());
        return Err(vec![Issue::error(node.span, "wrong_type", message).help("such as `by: .tier`")]);
    };
    paths::known_field(node, text, cx).map(By::Field)
}

struct Levels {
    by: Arc<By>,
    /// Output by name of the level.
    index: Arc<HashMap<String, u16>>,
}

impl Compute for Levels {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        let named = match &*self.by {
            By::Field(path) => match record.payload.value().and_then(|value| value.get(path)) {
                Some(Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok().and_then(|name| self.index.get(name)),
                Some(Value::Integer(n)) => self.index.get(n.to_string().as_str()),
                _ => None,
            },
            By::Header(name) => record.headers.get_str(name).and_then(|name| self.index.get(name)),
        };
        Outcome::ForwardTo(named.copied().unwrap_or(self.index.len().saturating_sub(1) as u16))
    }
}

const EXAMPLES: &[Example] = &[Example {
    title: "What has no level of its own is of the last",
    yaml: "levels: { by: .tier, levels: [gold, bronze] }",
    fields: "{ id: integer, tier: string? }",
    input: "{\"id\":1,\"tier\":\"gold\"}\n{\"id\":2,\"tier\":\"bronze\"}\n{\"id\":3,\"tier\":\"other\"}\n{\"id\":4}",
    output: "{\"output\":\"gold\",\"value\":{\"id\":1,\"tier\":\"gold\"}}\n{\"output\":\"bronze\",\"value\":{\"id\":2,\"tier\":\"bronze\"}}\n{\"output\":\"bronze\",\"value\":{\"id\":3,\"tier\":\"other\"}}\n{\"output\":\"bronze\",\"value\":{\"id\":4}}",
}];
