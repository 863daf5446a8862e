//! `split`: each element of an array becomes a record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Emission, Example, FilterSpec, Issue, Kind, Node, Outcome, Outputs,
    OwnedValuePath, Page, Payload, Reads, Record, Touched, Value,
};
use serde_json::value::RawValue;
use vrl::path::OwnedSegment;

use crate::paths;

/// The filter `split`.
pub(crate) struct SplitSpec;

impl FilterSpec for SplitSpec {
    fn name(&self) -> &'static str {
        "split"
    }

    fn page(&self) -> Page {
        Page {
            summary: "makes a record of each element of an array",
            description: "\
`split: .items` emits one record per element of the array at that path, in order: the payload is the element (with its \
text as it stands in the original), key, headers and timestamp are the input's, ids are derived from the input's. An empty \
array emits nothing.

A record without an array there becomes a dead letter of class `data` with code `not_an_array`. A tombstone passes.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{"type": "string", "pattern": "^\\.", "description": "path of an array in the payload"}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let Some(text) = with.as_text() else {
            let message = format!("expected the path of an array, found {}", with.describe());
            return Err(vec![Issue::error(with.span, "wrong_type", message).help("such as `split: .items`")]);
        };
        let path = paths::known_field(with, text, cx)?;
        let kind = cx.input.at_path(&path);
        let Some(items) = kind.as_array() else {
            let message = format!("`{text}` is no array by the types declared, it is of type {kind}");
            return Err(vec![Issue::error(with.span, "wrong_type", message)]);
        };
        let element = if kind.is_any() { Kind::any() } else { items.reduced_kind().without_undefined() };
        let text: Arc<str> = Arc::from(text);
        Ok(Checked {
            long: None,
            outputs: Outputs::Single,
            types: vec![element],
            effects: false,
            reads: Reads::Everything,
            warnings: Vec::new(),
            build: Arc::new(move || Built::Compute(Box::new(Split { path: path.clone(), text: Arc::clone(&text) }))),
        })
    }
}

struct Split {
    path: OwnedValuePath,
    text: Arc<str>,
}

impl Compute for Split {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        if record.payload.is_null() {
            return Outcome::Forward;
        }
        let payload = std::mem::take(&mut record.payload);
        let found = payload.value().and_then(|v| v.get(&self.path));
        let Some(Value::Array(items)) = found else {
            let message = match found {
                None => format!("`{}` is missing, and must be an array", self.text),
                Some(Value::Null) => format!("`{}` is null, and must be an array", self.text),
                Some(other) => format!("`{}` is of type {}, and must be an array", self.text, other.kind_str()),
            };
            // A failed record is given up as it came.
            record.payload = payload;
            return Outcome::data("not_an_array", message);
        };
        let texts = texts(&payload, &self.path).filter(|t| t.len() == items.len());
        let emissions = items.iter().enumerate().map(|(i, item)| {
            let payload = match &texts {
                Some(texts) => Payload::decoded(texts[i].clone(), item.clone()).in_json(),
                None => Payload::from_value(item.clone()),
            };
            Emission { output: 0, record: Record { payload, ..record.clone() } }
        });
        Outcome::Emit(emissions.collect())
    }
}

/// The elements' own texts, where the payload is JSON and nothing on the way to them was touched.
fn texts(payload: &Payload, path: &OwnedValuePath) -> Option<Vec<Bytes>> {
    let meets = |p: &OwnedValuePath| p.segments.iter().zip(&path.segments).all(|(a, b)| a == b || a.is_index());
    match payload.touched() {
        Touched::Nothing => {}
        Touched::Paths(all) if !all.iter().flat_map(|p| p.iter()).any(meets) => {}
        _ => return None,
    }
    let raw = payload.original()?;
    let mut text: &[u8] = raw;
    for segment in &path.segments {
        let next: &RawValue = match segment {
            OwnedSegment::Field(name) => {
                let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(text).ok()?;
                members.get(name.as_str()).copied()?
            }
            OwnedSegment::Index(index) => {
                let items: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
                items.get(usize::try_from(*index).ok()?).copied()?
            }
        };
        text = next.get().as_bytes();
    }
    let items: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
    Some(items.into_iter().map(|item| raw.slice_ref(item.get().as_bytes())).collect())
}

const EXAMPLES: &[Example] = &[Example {
    title: "The lines of an order",
    yaml: "split: .lines",
    fields: "{ order: string, lines: [ { sku: string, price: number } ] }",
    input: "{\"order\":\"A\",\"lines\":[{\"sku\":\"x\",\"price\":1.10},{\"sku\":\"y\",\"price\":2}]}\n{\"order\":\"B\",\"lines\":null}",
    output: "{\"value\":{\"sku\":\"x\",\"price\":1.10}}\n{\"value\":{\"sku\":\"y\",\"price\":2}}\n{\"failed\":\"not_an_array\"}",
}];
