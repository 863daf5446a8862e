//! What may leave an isolated stage: the fields that are allowed, and no secret, neither in a record nor in a message.

use bytes::Bytes;
use memchr::memmem::Finder;
use millstream_filter_api::{Failure, Headers, Payload, Record, Value};
use millstream_log::{LogRecord, Outgoing};
use millstream_spec::model::{Isolate, OwnedSegment};

use crate::chain::Ended;
use crate::outputs::Written;

/// A field that is not allowed, a header or key that was made anew.
pub const NOT_ALLOWED: &str = "field_not_allowed";
/// The text of a secret in an output.
pub const SECRET: &str = "secret_in_output";
/// A shorter secret is in everything, and is not looked for.
const SHORTEST: usize = 4;
/// A field's name in a message.
const LONGEST_NAME: usize = 100;

/// The guard of one isolated stage.
pub struct Guard {
    secrets: Vec<Kept>,
    allowed: Option<Vec<Vec<OwnedSegment>>>,
}

/// A secret, and the forms in which it would show.
struct Kept {
    name: String,
    /// The text, and as it stands in JSON.
    forms: Vec<String>,
    finders: Vec<Finder<'static>>,
}

impl Guard {
    /// Of a stage's `isolate`.
    pub fn new(isolate: &Isolate) -> Self {
        let secrets = isolate.secrets.iter().filter(|(_, text)| text.reveal().trim().len() >= SHORTEST);
        let allowed = isolate.allow_fields.as_ref();
        Self {
            secrets: secrets.map(|(name, text)| Kept::new(name, text.reveal().trim())).collect(),
            allowed: allowed.map(|all| all.iter().map(|path| path.segments.clone()).collect()),
        }
    }

    /// What a chain gave, or the failure that it is where it may not leave. What a filter says of its failure leaves too.
    pub fn look(&self, input: &LogRecord, ended: Ended) -> Ended {
        match ended {
            Ended::Forwarded(mut records) => {
                let wrong = records.iter_mut().find_map(|(_, record)| self.stranger(input, record));
                match wrong {
                    Some(what) => Ended::Failed(usize::MAX, Box::new(Failure::data(NOT_ALLOWED, self.hide(&what)))),
                    None => Ended::Forwarded(records),
                }
            }
            // Before the first filter nothing is known that was not in the record.
            Ended::Failed(at, failure) if at != usize::MAX => Ended::Failed(at, self.said(failure)),
            other => other,
        }
    }

    /// Refuses what holds a secret, as it would be written.
    fn written(&self, outputs: &[Outgoing]) -> Result<(), Box<Failure>> {
        let parts = |o: &Outgoing| [o.value.clone(), o.key.clone(), Some(o.headers.packed().clone())];
        let holds = |kept: &&Kept| {
            let finds = |bytes: &Bytes| kept.finders.iter().any(|f| f.find(bytes).is_some());
            outputs.iter().any(|o| parts(o).iter().flatten().any(finds))
        };
        match self.secrets.iter().find(holds) {
            Some(kept) => {
                let why = format!("the output holds the secret `{}`, which does not leave the stage", kept.name);
                Err(Box::new(Failure::data(SECRET, why)))
            }
            None => Ok(()),
        }
    }

    /// The same for what could be written, or the failure to do so.
    pub fn let_out(&self, written: Result<Written, Box<Failure>>) -> Result<Written, Box<Failure>> {
        let written = written.map_err(|failure| self.said(failure))?;
        self.written(&written).map(|()| written)
    }

    /// What a failure may say outside.
    fn said(&self, mut failure: Box<Failure>) -> Box<Failure> {
        failure.message = self.hide(&failure.message);
        if self.allowed.is_some() {
            tracing::debug!(code = %failure.code, message = %failure.message, "a filter of an isolated stage failed");
            failure.message =
                "the filter's words are withheld: the stage is isolated, and they may hold what may not leave \
                               it; the process that runs it logs them at the level `debug`"
                    .to_owned();
        }
        failure
    }

    fn hide(&self, text: &str) -> String {
        let forms = self.secrets.iter().flat_map(|kept| &kept.forms);
        forms.fold(text.to_owned(), |text, form| text.replace(form.as_str(), "***"))
    }

    /// What of a record may not leave, in words. Its payload is written from its fields afterwards: the bytes as read may
    /// hold a field twice, of which only the last one was looked at.
    fn stranger(&self, input: &LogRecord, record: &mut Record) -> Option<String> {
        let allowed = self.allowed.as_ref()?;
        if record.key != input.key {
            return Some("the stage has made a key of its own, which its `allow_fields` do not cover".to_owned());
        }
        if let Some(name) = new_header(&input.headers, &record.headers) {
            return Some(format!(
                "the header `{}` was made in the stage, whose `allow_fields` do not cover it",
                short(name)
            ));
        }
        let paths: Vec<&[OwnedSegment]> = allowed.iter().map(Vec::as_slice).collect();
        let found = match record.payload.value() {
            Some(value) => field(value, &paths, &mut String::new()),
            None => (!record.payload.is_null()).then(String::new),
        };
        if let Some(at) = found {
            let at = if at.is_empty() { "." } else { &at };
            return Some(format!("the field `{}` is not in the stage's `allow_fields`", short(at)));
        }
        if let Some(value) = record.payload.value().cloned() {
            record.payload = Payload::from_value(value);
        }
        None
    }
}

impl Kept {
    fn new(name: &str, text: &str) -> Self {
        let json = serde_json::to_string(text).unwrap_or_default();
        let mut forms = vec![text.to_owned(), json.trim_matches('"').to_owned()];
        forms.dedup();
        let finders = forms.iter().map(|form| Finder::new(form.as_bytes()).into_owned()).collect();
        Self { name: name.to_owned(), forms, finders }
    }
}

/// A header that the input did not have like this.
fn new_header<'h>(before: &Headers, now: &'h Headers) -> Option<&'h str> {
    now.iter().find(|pair| !before.iter().any(|known| known == *pair)).map(|(name, _)| name)
}

/// The first field that none of the paths covers.
fn field(value: &Value, allowed: &[&[OwnedSegment]], at: &mut String) -> Option<String> {
    if allowed.iter().any(|path| path.is_empty()) {
        return None;
    }
    let below = |is: &dyn Fn(&OwnedSegment) -> bool| -> Vec<&[OwnedSegment]> {
        allowed.iter().filter(|path| is(&path[0])).map(|path| &path[1..]).collect()
    };
    let mut enter = |part: String, inner: &Value, next: Vec<&[OwnedSegment]>| {
        let length = at.len();
        at.push_str(&part);
        let found = if next.is_empty() { Some(at.clone()) } else { field(inner, &next, at) };
        at.truncate(length);
        found
    };
    match value {
        Value::Object(map) => map.iter().find_map(|(name, inner)| {
            let next = below(&|segment| matches!(segment, OwnedSegment::Field(known) if known == name));
            enter(format!(".{name}"), inner, next)
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(i, inner)| {
            let next =
                below(&|segment| matches!(segment, OwnedSegment::Index(known) if usize::try_from(*known) == Ok(i)));
            enter(format!("[{i}]"), inner, next)
        }),
        Value::Null => None,
        _ => Some(at.clone()),
    }
}

fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use millstream_spec::model::Secret;
    use serde_json::json;

    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(&Isolate {
            secrets: vec![
                ("KEY".to_owned(), Secret::new("s3\"cret".to_owned())),
                ("PIN".to_owned(), Secret::new("12".to_owned())),
            ],
            apart: true,
            allow_fields: Some(allow.iter().map(|p| millstream_spec::path::field(p).expect("a path")).collect()),
        })
    }

    fn leaves(allow: &[&str], value: serde_json::Value) -> Option<String> {
        let mut record = Record::from(Value::from(value));
        let input = LogRecord { offset: 0, timestamp: 0, key: None, value: None, headers: Headers::new() };
        guard(allow).stranger(&input, &mut record)
    }

    #[test]
    fn only_allowed_fields_leave_and_only_their_names_are_told() {
        let allow = [".id", ".card.brand", ".items", ".list[0]"];
        assert_eq!(leaves(&allow, json!({"id": 1, "card": {"brand": "x"}, "items": [{"any": 1}], "list": [5]})), None);
        assert_eq!(leaves(&allow, json!({"card": {}, "list": [], "id": {"deep": 1}})), None);
        for (value, field) in [
            (json!({"pan": "4111"}), ".pan"),
            (json!({"card": {"brand": "x", "pan": "4111"}}), ".card.pan"),
            (json!({"card": "4111"}), ".card"),
            (json!({"list": [5, "4111"]}), "[1]"),
            (json!("4111"), "`.`"),
            (json!(["4111"]), "[0]"),
        ] {
            let said = leaves(&allow, value).expect("it does not leave");
            assert!(said.contains(field) && !said.contains("4111"), "{said}");
        }
    }

    #[test]
    fn a_secret_leaves_in_no_form_and_is_in_no_message() {
        let guard = guard(&[".a"]);
        let output = |value: &str| Outgoing {
            to: millstream_log::TopicPartition::new("t", 0),
            key: None,
            value: Some(Bytes::from(value.to_owned())),
            headers: Headers::new(),
            timestamp: 0,
            tag: 0,
        };
        assert!(guard.written(&[output("{\"a\":\"fine 12\"}")]).is_ok(), "too short to be looked for");
        for value in ["s3\"cret", "{\"a\":\"my s3\\\"cret\"}"] {
            let failure = guard.written(&[output("x"), output(value)]).expect_err("it does not leave");
            assert!(failure.message.contains("KEY") && !failure.message.contains("s3"), "{}", failure.message);
        }
        let said = guard.hide("no s3\"cret here, nor s3\\\"cret");
        assert_eq!(said, "no *** here, nor ***");
    }
}
