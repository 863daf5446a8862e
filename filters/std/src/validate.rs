//! `validate`: lets only records pass that fit a schema.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use jsonschema::Validator;
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Keys, Kind, Node, NodeKind, Outcome, Outputs,
    Page, Reads, Record, Span, Value, kind_of_json_schema,
};

use crate::types;

/// Longest message of a dead letter: it may quote the value at fault, which can be large.
const MAX_MESSAGE: usize = 400;

/// The filter `validate`.
pub(crate) struct ValidateSpec;

impl FilterSpec for ValidateSpec {
    fn name(&self) -> &'static str {
        "validate"
    }

    fn page(&self) -> Page {
        Page {
            summary: "lets only records pass that fit a schema",
            description: "\
`validate: {}` checks each payload against the source's `schema` (JSON Schema), or against its `fields` if it has no \
schema: every field that is not marked `?` must be there, and each must be of its type; further fields are fine. \
`validate: { schema: FILE }` checks against that JSON Schema file. References to other files or to the network are \
refused; `format` is an annotation unless the schema's draft makes it more.

What fits goes on byte for byte, and later expressions know its types. What does not fit becomes a dead letter of class \
`data` with code `schema_violation`; the message names the field. Integers beyond 64 bits are checked as floats.

A tombstone passes.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": ["object", "null"],
  "properties": {"schema": {"type": "string", "description": "a JSON Schema file; default: the source's schema or fields"}},
  "additionalProperties": false
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, &["schema"], &mut issues);
        let file = keys.get("schema").and_then(|_| keys.text("schema", "schemas/order.json", &mut issues));
        if !issues.is_empty() {
            return Err(issues);
        }
        let rule = match (file, cx.source_schema) {
            (Some((node, path)), _) => from_file(node, path, cx),
            (None, Some((path, text))) => from_text(with, path, text),
            (None, None) if cx.input.is_any() || cx.input.is_json() => {
                let issue = Issue::error(with.span, "nothing_to_validate", "there is no schema to validate against");
                Err(issue.help("give the source a `schema` or `fields`, or say `validate: { schema: FILE }`"))
            }
            (None, None) => Ok((Rule::Fields(cx.input.clone()), cx.input.clone())),
        };
        let (rule, kind) = rule.map_err(|issue| vec![issue])?;
        let rule = Arc::new(rule);
        Ok(Checked {
            long: None,
            outputs: Outputs::Single,
            types: vec![types::narrowed(cx.input, kind)],
            effects: false,
            reads: Reads::Everything,
            warnings: Vec::new(),
            build: Arc::new(move || Built::Compute(Box::new(Validate { rule: Arc::clone(&rule) }))),
        })
    }
}

enum Rule {
    Schema(Box<Validator>),
    Fields(Kind),
}

fn from_file(node: &Node, path: &str, cx: &CheckContext<'_>) -> Result<(Rule, Kind), Issue> {
    let bytes = cx.files.read(Path::new(path)).map_err(|e| {
        Issue::error(node.span, "file_unreadable", format!("`{path}` cannot be read: {e}"))
            .help("paths start at the pipeline's folder")
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Issue::error(node.span, "schema_invalid", format!("`{path}` is not UTF-8 text")))?;
    from_text(node, path, &text)
}

fn from_text(node: &Node, path: &str, text: &str) -> Result<(Rule, Kind), Issue> {
    let invalid = |what: String| Issue::error(node.span, "schema_invalid", format!("`{path}` {what}"));
    let schema: serde_json::Value =
        serde_json::from_str(text).map_err(|e| invalid(format!("is not a JSON Schema: {e}")))?;
    let validator = jsonschema::options()
        .with_retriever(NoReferences)
        .build(&schema)
        .map_err(|e| invalid(format!("is not a JSON Schema that can be used: {e}")))?;
    let kind = kind_of_json_schema(text).map_err(|e| invalid(format!("is not a JSON Schema: {e}")))?;
    Ok((Rule::Schema(Box::new(validator)), kind))
}

/// A check does no I/O but through what it is given.
struct NoReferences;

impl jsonschema::Retrieve for NoReferences {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("it refers to `{uri}`, and only references within the file are supported").into())
    }
}

struct Validate {
    rule: Arc<Rule>,
}

impl Compute for Validate {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        let Some(value) = record.payload.value() else { return Outcome::Forward };
        match self.rule.fault(value) {
            None => Outcome::Forward,
            Some((_, message)) => Outcome::data("schema_violation", shortened(message)),
        }
    }
}

impl Rule {
    /// The path of what does not fit, and what is wrong with it.
    fn fault(&self, value: &Value) -> Option<(String, String)> {
        let validator = match self {
            Self::Fields(kind) => return types::mismatch(value, kind),
            Self::Schema(validator) => validator,
        };
        match serde_json::to_value(within_range(value).as_ref()) {
            Ok(json) => validator.validate(&json).err().map(|e| {
                let path: String = e.instance_path().as_str().replace('/', ".");
                let path = if path.is_empty() { ".".to_owned() } else { path };
                (path.clone(), format!("`{path}`: {e}"))
            }),
            Err(e) => Some((".".to_owned(), format!("the payload is no JSON value: {e}"))),
        }
    }
}

/// Looks at a payload: the path of what does not fit, and what is wrong with it.
pub type Fits = Arc<dyn Fn(&Value) -> Option<(String, String)> + Send + Sync>;

/// What looks at payloads as `validate: {}` does: by a source's schema (its path, its text), else by its types.
///
/// # Errors
/// What is wrong with the schema.
pub fn fits(types: &Kind, schema: Option<(&str, &str)>) -> Result<Fits, String> {
    let node = Node { kind: NodeKind::Null, span: Span::default() };
    let rule = match schema {
        Some((path, text)) => from_text(&node, path, text).map_err(|issue| issue.message)?.0,
        None => Rule::Fields(types.clone()),
    };
    Ok(Arc::new(move |value| rule.fault(value).map(|(path, message)| (path, shortened(message)))))
}

/// A schema sees the largest float in place of a number beyond it, which would turn into null. All but the rarest
/// payloads are as they are.
fn within_range(value: &Value) -> Cow<'_, Value> {
    let mut within = Cow::Borrowed(value);
    if beyond(value) {
        clamp(within.to_mut());
    }
    within
}

fn beyond(value: &Value) -> bool {
    match value {
        Value::Float(f) => f.is_infinite(),
        Value::Array(items) => items.iter().any(beyond),
        Value::Object(members) => members.values().any(beyond),
        _ => false,
    }
}

fn clamp(value: &mut Value) {
    match value {
        Value::Float(f) if f.is_infinite() => *value = Value::from_f64_or_zero(f64::MAX.copysign(f.into_inner())),
        Value::Array(items) => items.iter_mut().for_each(clamp),
        Value::Object(members) => members.values_mut().for_each(clamp),
        _ => {}
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "Against the source's fields",
        yaml: "validate: {}",
        fields: "{ id: string, quantity: integer, price: number, note: string? }",
        input: "{\"id\":\"a\",\"quantity\":1,\"price\":2,\"more\":true}\n{\"id\":\"a\",\"quantity\":\"1\",\"price\":2}\n{\"id\":\"a\",\"price\":2}",
        output: "{\"value\":{\"id\":\"a\",\"quantity\":1,\"price\":2,\"more\":true}}\n{\"failed\":\"schema_violation\"}\n{\"failed\":\"schema_violation\"}",
    },
    Example {
        title: "Against a JSON Schema file (here: `quantity` is an integer of at least 1)",
        yaml: "validate: { schema: schemas/quantity.json }",
        fields: "",
        input: "{\"quantity\": 1}\n{\"quantity\": 0}\n{}",
        output: "{\"value\": {\"quantity\": 1}}\n{\"failed\": \"schema_violation\"}\n{\"failed\": \"schema_violation\"}",
    },
];
