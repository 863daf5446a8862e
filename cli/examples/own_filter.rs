//! A binary of your own: the whole command line, with a filter beside the built-in ones.
//!
//! ```text
//! cargo run -p millstream --example own_filter -- filters mask
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Node, Outcome, Outputs, OwnedValuePath, Page,
    Reads, Record, Value,
};

/// `mask: .card` puts `*` in the place of all but the last four characters of a text.
struct Mask;

impl FilterSpec for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    fn page(&self) -> Page {
        Page {
            summary: "hides all but the last four characters of a field",
            description: "The option is the field. What is no text is a dead letter with code `not_a_text`; a field that \
                          is missing or null passes.",
            examples: &[Example {
                title: "a card number",
                yaml: "mask: .card",
                fields: "{ card: string }",
                input: r#"{"card": "4111111111111111"}"#,
                output: r#"{"value": {"card": "************1111"}}"#,
            }],
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{ "type": "string", "pattern": "^\\.[a-z_]+$" }"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let Some(field) = with.as_text().and_then(|t| t.strip_prefix('.')).filter(|f| !f.is_empty()) else {
            let issue = Issue::error(with.span, "bad_value", "`mask` takes a field");
            return Err(vec![issue.help("write it as `mask: .card`")]);
        };
        let paths: Arc<[OwnedValuePath]> = Arc::from([OwnedValuePath::single_field(field)]);
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![cx.input.clone()],
            effects: false,
            reads: Reads::Everything,
            build: Arc::new(move || Built::Compute(Box::new(Masking { paths: Arc::clone(&paths) }))),
            warnings: Vec::new(),
            long: None,
        })
    }
}

struct Masking {
    paths: Arc<[OwnedValuePath]>,
}

impl Compute for Masking {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        let path = &self.paths[0];
        let masked = match record.payload.value().and_then(|v| v.get(path)) {
            None | Some(Value::Null) => return Outcome::Forward,
            Some(Value::Bytes(bytes)) => mask(&String::from_utf8_lossy(bytes)),
            Some(_) => return Outcome::data("not_a_text", format!("`{path}` is no text")),
        };
        // Naming the path lets the codec splice the new text in and keep every other byte.
        if let Some(value) = record.payload.value_mut(&self.paths) {
            value.insert(path, masked);
        }
        Outcome::Forward
    }
}

fn mask(text: &str) -> String {
    let hidden = text.chars().count().saturating_sub(4);
    text.chars().enumerate().map(|(i, c)| if i < hidden { '*' } else { c }).collect()
}

fn main() -> ExitCode {
    let mut filters = millstream::built_in_filters();
    filters.push(Arc::new(Mask));
    millstream::main_with(filters)
}
