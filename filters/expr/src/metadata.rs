//! What `%…` means: which names there are, how they are filled from a record, how assigned ones go back.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use millstream_filter_api::{Headers, Kind, Record, Value};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::kind::{Collection, Field};
use vrl::value::{KeyString, ObjectMap};

use crate::failure::ExprFailure;
use crate::rewrite::Facts;
use crate::state::ExprState;

/// Names that may be read and never assigned.
const READ_ONLY: [&str; 6] = ["id", "topic", "partition", "offset", "timestamp", "attempt"];

/// The type of `%`.
pub(crate) fn kind(extra: &[(&'static str, Kind)]) -> Kind {
    let headers = Collection::from_unknown(Kind::bytes().or_null().or_undefined());
    let mut known = BTreeMap::from([
        (Field::from("key"), Kind::bytes().or_null()),
        (Field::from("id"), Kind::bytes()),
        (Field::from("headers"), Kind::object(headers)),
        (Field::from("topic"), Kind::bytes()),
        (Field::from("partition"), Kind::integer()),
        (Field::from("offset"), Kind::integer()),
        (Field::from("timestamp"), Kind::timestamp()),
        (Field::from("attempt"), Kind::integer()),
    ]);
    known.extend(extra.iter().map(|(name, kind)| (Field::from(*name), kind.clone())));
    Kind::object(known)
}

/// The paths that an expression must not assign: (path, and everything below it).
pub(crate) fn read_only(extra: &[(&'static str, Kind)]) -> impl Iterator<Item = (OwnedTargetPath, bool)> {
    let names = READ_ONLY.into_iter().chain(extra.iter().map(|(name, _)| *name));
    let path = |name: &str| OwnedTargetPath::metadata(OwnedValuePath::single_field(name));
    names.map(move |name| (path(name), true)).chain([(path("headers"), false)])
}

/// Which of a record's metadata a program needs, and what it may change.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    names: Vec<KeyString>,
    headers: Wanted,
    writes_key: bool,
    written_headers: Vec<String>,
}

#[derive(Debug, Default)]
enum Wanted {
    #[default]
    None,
    These(Vec<String>),
    All,
}

impl Plan {
    /// From what the program names. Assigned names are filled too: they may be assigned in one branch only.
    pub(crate) fn new(facts: &Facts, extra: &[(&'static str, Kind)]) -> Self {
        let mut plan = Self::default();
        let read = facts.reads.iter().map(|(path, _)| path).chain(&facts.tests);
        let written = || facts.writes.iter().chain(&facts.deletes).map(|(path, _)| path);
        for path in read.chain(written()).filter(|p| p.prefix == PathPrefix::Metadata) {
            plan.want(&path.path, extra);
        }
        for path in written().filter(|p| p.prefix == PathPrefix::Metadata) {
            match path.path.segments.as_slice() {
                [OwnedSegment::Field(name)] if name.as_str() == "key" => plan.writes_key = true,
                // Twice is no harm.
                [OwnedSegment::Field(name), OwnedSegment::Field(header)] if name.as_str() == "headers" => {
                    plan.written_headers.push(header.to_string());
                }
                _ => {}
            }
        }
        plan
    }

    fn want(&mut self, path: &OwnedValuePath, extra: &[(&'static str, Kind)]) {
        let Some(OwnedSegment::Field(name)) = path.segments.first() else {
            self.headers = Wanted::All;
            let all = READ_ONLY.into_iter().chain(["key"]).chain(extra.iter().map(|(name, _)| *name));
            self.names = all.map(KeyString::from).collect();
            return;
        };
        if name.as_str() != "headers" {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
            return;
        }
        match (path.segments.get(1), &mut self.headers) {
            (_, Wanted::All) => {}
            (Some(OwnedSegment::Field(header)), Wanted::These(these)) => these.push(header.to_string()),
            (Some(OwnedSegment::Field(header)), none) => *none = Wanted::These(vec![header.to_string()]),
            (_, other) => *other = Wanted::All,
        }
    }

    /// Puts what is needed into the state's `%`.
    pub(crate) fn fill(&self, state: &mut ExprState, record: &Record) {
        for name in &self.names {
            let value = match name.as_str() {
                "key" => optional(record.key.as_ref()),
                "id" => Value::Bytes(record.meta.id.clone()),
                "topic" => Value::Bytes(Bytes::copy_from_slice(record.meta.topic.as_bytes())),
                "partition" => Value::Integer(record.meta.partition.into()),
                "offset" => Value::Integer(record.meta.offset),
                "attempt" => Value::Integer(record.meta.attempt.into()),
                "timestamp" => DateTime::from_timestamp_millis(record.timestamp).map_or(Value::Null, Value::Timestamp),
                extra => state.extra(extra).cloned().unwrap_or(Value::Null),
            };
            set(object(&mut state.metadata), name, value);
        }
        let headers = match &self.headers {
            Wanted::None => return,
            Wanted::These(_) | Wanted::All => {
                object(&mut state.metadata).entry(KeyString::from("headers")).or_insert(Value::Null)
            }
        };
        let headers = object(headers);
        match &self.headers {
            Wanted::None => {}
            Wanted::These(these) => {
                for name in these {
                    match record.headers.get(name) {
                        Some(value) => set(headers, &KeyString::from(name.as_str()), header(value)),
                        None => drop(headers.remove(name.as_str())),
                    }
                }
            }
            Wanted::All => {
                headers.clear();
                headers.extend(record.headers.iter().map(|(name, value)| (KeyString::from(name), header(value))));
            }
        }
    }

    /// Whether a run can change key or headers.
    pub(crate) fn writes(&self) -> bool {
        self.writes_key || !self.written_headers.is_empty()
    }

    /// Puts assigned names back into the record. Key and headers that did not change are left as they are, repeated
    /// headers too; the record is untouched if anything cannot be carried.
    pub(crate) fn write_back(&self, metadata: &Value, record: &mut Record) -> Result<(), ExprFailure> {
        let Some(metadata) = metadata.as_object() else { return Ok(()) };
        let key = if self.writes_key { bytes_of(metadata.get("key"), "%key")? } else { record.key.clone() };
        let mut changed: Option<Headers> = None;
        for name in &self.written_headers {
            let headers = changed.as_ref().unwrap_or(&record.headers);
            let old = headers.get(name);
            let new = metadata.get("headers").and_then(Value::as_object).and_then(|h| h.get(name.as_str()));
            match (new, old) {
                (None, None) => {}
                (None, Some(_)) => changed = Some(headers.without(name)),
                (Some(value), old) => {
                    let value = bytes_of(Some(value), &format!("%headers.{name}"))?;
                    if old != Some(value.as_deref()) {
                        changed = Some(headers.with(name, value.as_deref()));
                    }
                }
            }
        }
        record.key = key;
        if let Some(headers) = changed {
            record.headers = headers;
        }
        Ok(())
    }
}

fn optional(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |b| Value::Bytes(b.clone()))
}

fn header(value: Option<&[u8]>) -> Value {
    value.map_or(Value::Null, |v| Value::Bytes(Bytes::copy_from_slice(v)))
}

fn set(object: &mut ObjectMap, name: &KeyString, value: Value) {
    match object.get_mut(name) {
        Some(slot) => *slot = value,
        None => drop(object.insert(name.clone(), value)),
    }
}

/// The object in `value`, made one if it is none.
fn object(value: &mut Value) -> &mut ObjectMap {
    if !value.is_object() {
        *value = Value::Object(ObjectMap::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("made an object above"),
    }
}

fn bytes_of(value: Option<&Value>, name: &str) -> Result<Option<Bytes>, ExprFailure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(_) | Value::Array(_)) => Err(ExprFailure::failed(format!(
            "`{name}` must be a string, and was assigned {}; `encode_json` makes a string of it",
            value.map_or("nothing", Value::kind_str)
        ))),
        Some(scalar) => Ok(Some(scalar.coerce_to_bytes())),
    }
}
