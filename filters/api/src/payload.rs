//! A record's payload: the bytes as read, the decoded value beside them, and what of it a filter has touched.

use std::sync::Arc;

use bytes::Bytes;
use vrl::path::OwnedValuePath;
use vrl::value::Value;

/// The payload of a record. Untouched, it is written with the very bytes it was read with; touched in parts, only
/// those parts are rendered anew (the codec splices them into the original text); replaced, it is rendered whole.
///
/// A tombstone (null payload) has neither bytes nor a value.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    raw: Option<Bytes>,
    value: Option<Value>,
    touched: Touched,
    partial: bool,
    json: bool,
}

/// What differs between the bytes as read and the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Touched {
    /// Nothing: the bytes are the payload.
    #[default]
    Nothing,
    /// At most these paths, in the order they were touched.
    Paths(Vec<Arc<[OwnedValuePath]>>),
    /// The whole value.
    Everything,
}

impl Payload {
    /// A tombstone.
    pub const fn null() -> Self {
        Self { raw: None, value: None, touched: Touched::Nothing, partial: false, json: false }
    }

    /// Bytes as read, not decoded.
    pub const fn from_bytes(raw: Bytes) -> Self {
        Self { raw: Some(raw), value: None, touched: Touched::Nothing, partial: false, json: false }
    }

    /// Bytes as read and the value they decode to.
    pub const fn decoded(raw: Bytes, value: Value) -> Self {
        Self { raw: Some(raw), value: Some(value), touched: Touched::Nothing, partial: false, json: false }
    }

    /// Bytes as read and, of the object they decode to, the members somebody looks at. Members that are not in the value are
    /// in the bytes all the same, so that such a payload cannot be rendered whole.
    pub const fn decoded_in_part(raw: Bytes, value: Value) -> Self {
        Self { raw: Some(raw), value: Some(value), touched: Touched::Nothing, partial: true, json: false }
    }

    /// A new value that no bytes stand behind.
    pub const fn from_value(value: Value) -> Self {
        Self { raw: None, value: Some(value), touched: Touched::Everything, partial: false, json: false }
    }

    /// The same, where a filter has made it of JSON: its bytes are JSON, whatever the format of what the stage reads.
    pub fn in_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether the bytes are JSON that a filter has made, and not as they were read.
    pub fn is_in_json(&self) -> bool {
        self.json
    }

    /// Whether this is a tombstone.
    pub fn is_null(&self) -> bool {
        self.raw.is_none() && self.value.is_none()
    }

    /// The decoded value; `None` for a tombstone or when the payload was not decoded.
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Whether the bytes may hold members that the value has not.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The bytes as read, whatever was touched since. The codec's starting point for splicing.
    pub fn original(&self) -> Option<&Bytes> {
        self.raw.as_ref()
    }

    /// What was touched since the bytes were read.
    pub fn touched(&self) -> &Touched {
        &self.touched
    }

    /// The value, to be changed at most at `paths` (or below them).
    pub fn value_mut(&mut self, paths: &Arc<[OwnedValuePath]>) -> Option<&mut Value> {
        match &mut self.touched {
            Touched::Everything => {}
            Touched::Nothing => self.touched = Touched::Paths(vec![Arc::clone(paths)]),
            Touched::Paths(all) if all.iter().any(|p| Arc::ptr_eq(p, paths)) => {}
            Touched::Paths(all) => all.push(Arc::clone(paths)),
        }
        self.value.as_mut()
    }

    /// Puts another value in the place of the whole payload.
    pub fn replace(&mut self, value: Value) {
        *self = Self::from_value(value);
    }

    /// Bytes this payload holds, for budgets: those as read, or a floor for a value without bytes.
    pub fn size(&self) -> usize {
        self.raw.as_ref().map_or(64, Bytes::len)
    }
}
