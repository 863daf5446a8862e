//! `take_event`: the event that a record has met lands in the record.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Keys, Kind, Node, Outcome, Outputs,
    OwnedValuePath, Page, Reads, Record, Value,
};

use crate::correlate::KEY_HEADER;

/// The header in which an event comes along.
const EVENT_HEADER: &str = "millstream.wait.event";

/// The filter `take_event`.
pub(crate) struct TakeEventSpec;

impl FilterSpec for TakeEventSpec {
    fn name(&self) -> &'static str {
        "take_event"
    }

    fn page(&self) -> Page {
        Page {
            summary: "puts the event that a record has waited for into `.event`",
            description: "\
`take_event: {}` takes the payload of the event out of the header `millstream.wait.event` and puts it into `.event`, in the place of \
what was there; the record gets the key back that it had before it waited. A record that met nothing gets null. One whose \
payload is no object becomes a dead letter of class `data` with the code `not_an_object`.

It is the last part of a stage with `wait_for`, which has it in a stage of its own.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{"description": "nothing to be said", "anyOf": [{"type": "null"}, {"type": "object", "additionalProperties": false}]}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let mut issues = Vec::new();
        Keys::of(with, &[], &mut issues);
        if !issues.is_empty() {
            return Err(issues);
        }
        let mut kind = if cx.input.is_any() { Kind::any_object() } else { cx.input.clone() };
        kind.insert(&EVENT[0], Kind::any());
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![kind],
            effects: false,
            reads: Reads::Everything,
            warnings: Vec::new(),
            build: Arc::new(|| Built::Compute(Box::new(TakeEvent))),
            long: None,
        })
    }
}

static EVENT: LazyLock<Arc<[OwnedValuePath]>> = LazyLock::new(|| Arc::from([OwnedValuePath::single_field("event")]));

struct TakeEvent;

impl Compute for TakeEvent {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        if !record.payload.value().is_some_and(Value::is_object) {
            return Outcome::data("not_an_object", "the payload must be an object, for its event to be put there");
        }
        let event = match record.headers.get(EVENT_HEADER).flatten() {
            None => Value::Null,
            Some(bytes) => match Codec::Json.decode(Bytes::copy_from_slice(bytes), &Coercion::none()) {
                Ok(payload) => payload.value().cloned().unwrap_or(Value::Null),
                Err(e) => return Outcome::data(e.code, format!("the event: {}", e.message)),
            },
        };
        if let Some(payload) = record.payload.value_mut(&EVENT) {
            payload.insert(&EVENT[0], event);
        }
        if let Some(key) = record.headers.get(KEY_HEADER) {
            record.key = key.map(Bytes::copy_from_slice);
        }
        record.headers = record.headers.without(EVENT_HEADER).without(KEY_HEADER);
        Outcome::Forward
    }
}

const EXAMPLES: &[Example] = &[Example {
    title: "What has met nothing",
    yaml: "take_event: {}",
    fields: "{ uid: string }",
    input: "{\"uid\":\"u-1\",\"n\":1.10}",
    output: "{\"value\":{\"uid\":\"u-1\",\"n\":1.10,\"event\":null}}",
}];
