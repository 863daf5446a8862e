//! A message to a value. Bounded by the bytes that are there, whatever lengths they claim.

use bytes::{Bytes, BytesMut};
use millstream_filter_api::Value;
use smallvec::SmallVec;
use vrl::value::{KeyString, ObjectMap};

use super::leaf::zero;
use super::left::{Below, Left};
use super::schema::{Field, Form, Message, Of, ProtobufSchema, Scalar, Types};
use super::wire::{Broken, Cursor, Got, Wire, put_tag};
use crate::error::DecodeError;

/// As for JSON.
pub(super) const MAX_DEPTH: usize = 127;
/// Fields that a payload does not have and its value does, with their defaults: nothing else bounds them.
const MAX_MADE: usize = 500_000;

impl ProtobufSchema {
    /// Decodes one payload, which is one message. Text and bytes share the payload's bytes.
    ///
    /// # Errors
    /// `invalid_protobuf`: bytes that are no message, text that is not UTF-8, a required field that is missing; and
    /// `number_out_of_range`: a number that expressions do not have. With the field and the byte.
    pub fn decode(&self, raw: &Bytes) -> Result<Value, DecodeError> {
        self.read(raw).map_err(|fault| fault.told())
    }

    /// The same without words of what it is.
    pub(crate) fn read(&self, raw: &Bytes) -> Read<Value> {
        Reader::new(self.types(), raw, false).value(self.root(), raw, &mut Left::default())
    }
}

/// What is wrong, and the way to it, innermost first.
pub(crate) struct Fault {
    pub what: String,
    pub path: Vec<String>,
    /// The payload is right, and expressions have no such number.
    pub unfit: bool,
}

impl Fault {
    /// The way to it and what it is.
    #[cold]
    pub fn tell(&self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        if path.is_empty() { self.what.clone() } else { format!("`{path}`: {}", self.what) }
    }

    #[cold]
    pub fn code(&self) -> &'static str {
        if self.unfit { "number_out_of_range" } else { "invalid_protobuf" }
    }

    #[cold]
    fn told(&self) -> DecodeError {
        let what = if self.unfit { "the payload" } else { "the payload is not of its Protobuf message" };
        DecodeError { code: self.code(), message: format!("{what}: {}", self.tell()) }
    }

    #[cold]
    pub fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

pub(crate) type Read<T> = Result<T, Fault>;

pub(super) struct Reader<'a> {
    types: &'a Types,
    /// Where the payload begins and how long it is.
    whole: (usize, usize),
    depth: usize,
    made: usize,
    /// Fields that are not known are wanted.
    keep: bool,
}

impl<'a> Reader<'a> {
    pub fn new(types: &'a Types, raw: &Bytes, keep: bool) -> Self {
        Self { types, whole: (raw.as_ptr() as usize, raw.len()), depth: 0, made: 0, keep }
    }

    #[cold]
    pub fn fault<T>(&self, raw: &Bytes, at: usize, what: impl std::fmt::Display) -> Read<T> {
        let at = (raw.as_ptr() as usize).wrapping_add(at).wrapping_sub(self.whole.0);
        // What was put together of two parts has no place.
        let what = if at <= self.whole.1 { format!("{what} at byte {at}") } else { what.to_string() };
        Err(Fault { what, path: Vec::new(), unfit: false })
    }

    pub fn got<T>(&self, raw: &Bytes, got: Got<T>) -> Read<T> {
        got.or_else(|Broken { what, at }| self.fault(raw, at, what))
    }

    pub fn enter(&mut self, raw: &Bytes) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.fault(raw, 0, format_args!("nested more than {MAX_DEPTH} deep"))
        } else {
            Ok(())
        }
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// What stands in these bytes; small on the stack, as it calls itself for what is nested.
    pub fn value(&mut self, of: Of, raw: &Bytes, left: &mut Left) -> Read<Value> {
        match of {
            Of::Message(at) | Of::Group(at) => self.message(at, raw, left).map(Value::Object),
            Of::Known(known) => self.known(known, raw),
            Of::Scalar(_) | Of::Enum(_) => {
                debug_assert!(false, "those have no bytes of their own");
                Ok(Value::Null)
            }
        }
    }

    fn message(&mut self, at: usize, raw: &Bytes, left: &mut Left) -> Read<ObjectMap> {
        self.enter(raw)?;
        let types = self.types;
        let message = &types.messages[at];
        let mut found = Found { object: ObjectMap::new(), nested: SmallVec::new() };
        let mut cursor = Cursor::new(raw);
        while !cursor.done() {
            let from = cursor.at;
            let tag = cursor.tag();
            let (number, wire) = self.got(raw, tag)?;
            let inside = cursor.at;
            let taken = match message.field(number) {
                Some(place) => self
                    .field(message, place, wire, &mut cursor, &mut found, left)
                    .map_err(|f| f.below(|| format!(".{}", message.fields[place].name)))?,
                None => false,
            };
            if !taken {
                cursor.at = inside;
                let skipped = cursor.skip(number, wire);
                self.got(raw, skipped)?;
                if self.keep {
                    left.unknown.extend_from_slice(&raw[from..cursor.at]);
                }
            }
        }
        let Found { mut object, nested } = found;
        for (place, bytes) in nested {
            let field = &message.fields[place];
            let mut below = Left::default();
            let value = self.value(field.of, &bytes, &mut below);
            object.insert(field.name.clone(), value.map_err(|f| f.below(|| format!(".{}", field.name)))?);
            if !below.is_empty() {
                left.below.push((place, Below::One(below)));
            }
        }
        self.complete(message, raw, &mut object)?;
        self.leave();
        Ok(object)
    }

    /// Defaults, and what must be there.
    fn complete(&mut self, message: &Message, raw: &Bytes, object: &mut ObjectMap) -> Read<()> {
        if object.len() < message.fields.len() {
            for place in &message.always {
                let field = &message.fields[*place];
                if !object.contains_key(&field.name) {
                    self.made += 1;
                    if self.made > MAX_MADE {
                        let what = format_args!("more than {MAX_MADE} fields are not set, too many for one value");
                        return self.fault(raw, 0, what);
                    }
                    object.insert(field.name.clone(), self.default(field));
                }
            }
        }
        for place in &message.required {
            let name = &message.fields[*place].name;
            if !object.contains_key(name) {
                let missing = self.fault(raw, 0, "is required, and is not there");
                return missing.map_err(|f| f.below(|| format!(".{name}")));
            }
        }
        Ok(())
    }

    fn default(&self, field: &Field) -> Value {
        match (field.form, field.of) {
            (Form::List { .. }, _) => Value::Array(Vec::new()),
            (Form::Map(_), _) => Value::Object(ObjectMap::new()),
            (_, Of::Scalar(scalar)) => zero(scalar),
            (_, Of::Enum(at)) => self.symbol(at, self.types.enums[at].default).unwrap_or(Value::Null),
            _ => Value::Null,
        }
    }

    /// The value of an enum's number; none where it counts as unknown.
    fn symbol(&self, at: usize, number: i32) -> Option<Value> {
        let of = &self.types.enums[at];
        match of.name(number) {
            _ if of.null => Some(Value::Null),
            Some(name) => Some(Value::Bytes(name.clone())),
            None if of.closed => None,
            None => Some(Value::Integer(number.into())),
        }
    }

    /// Reads a field whose tag was read. False where it does not count as this field.
    fn field(
        &mut self,
        message: &Message,
        place: usize,
        wire: Wire,
        cursor: &mut Cursor<'_>,
        found: &mut Found,
        left: &mut Left,
    ) -> Read<bool> {
        let field = &message.fields[place];
        let own = field.of.wire();
        match field.form {
            Form::Map(_) if wire != Wire::Length => Ok(false),
            Form::Map(key) => self.entry(field, place, key, cursor, &mut found.object, left),
            Form::List { .. } if wire == own => {
                if !matches!(own, Wire::Length | Wire::Start) || matches!(field.of, Of::Scalar(_)) {
                    let Some(item) = self.leaf(field.of, cursor)? else { return Ok(false) };
                    list(&mut found.object, &field.name).push(item);
                    return Ok(true);
                }
                let bytes = self.bytes(field, cursor)?;
                let mut below = Left::default();
                let item = self.value(field.of, &bytes, &mut below);
                let items = list(&mut found.object, &field.name);
                items.push(item.map_err(|f| f.below(|| format!("[{}]", items.len())))?);
                if self.keep {
                    left.item(place, below);
                }
                Ok(true)
            }
            Form::List { .. } if wire == Wire::Length => self.packed(field, cursor, &mut found.object, left),
            _ if wire != own => Ok(false),
            _ => {
                match field.of {
                    Of::Scalar(_) | Of::Enum(_) => {
                        let Some(value) = self.leaf(field.of, cursor)? else { return Ok(false) };
                        found.only(message, place);
                        found.object.insert(field.name.clone(), value);
                    }
                    _ => {
                        let bytes = self.bytes(field, cursor)?;
                        found.only(message, place);
                        found.nest(place, bytes);
                    }
                }
                Ok(true)
            }
        }
    }

    fn bytes(&self, field: &Field, cursor: &mut Cursor<'_>) -> Read<Bytes> {
        let bytes = match field.of {
            Of::Group(_) => cursor.group(field.number),
            _ => cursor.bytes(),
        };
        self.got(cursor.raw, bytes)
    }

    /// Numbers one after the other.
    fn packed(
        &mut self,
        field: &Field,
        cursor: &mut Cursor<'_>,
        object: &mut ObjectMap,
        left: &mut Left,
    ) -> Read<bool> {
        let bytes = cursor.bytes();
        let bytes = self.got(cursor.raw, bytes)?;
        let items = list(object, &field.name);
        let mut inner = Cursor::new(&bytes);
        while !inner.done() {
            let from = inner.at;
            let item = self.leaf(field.of, &mut inner).map_err(|f| f.below(|| format!("[{}]", items.len())))?;
            match item {
                Some(item) => items.push(item),
                None if self.keep => {
                    put_tag(&mut left.unknown, field.number, Wire::Varint);
                    left.unknown.extend_from_slice(&bytes[from..inner.at]);
                }
                None => {}
            }
        }
        Ok(true)
    }

    fn entry(
        &mut self,
        field: &Field,
        place: usize,
        key_of: Scalar,
        cursor: &mut Cursor<'_>,
        object: &mut ObjectMap,
        left: &mut Left,
    ) -> Read<bool> {
        let bytes = cursor.bytes();
        let bytes = self.got(cursor.raw, bytes)?;
        let mut inner = Cursor::new(&bytes);
        let (mut key, mut value) = (None, None);
        let mut nested = BytesMut::new();
        while !inner.done() {
            let tag = inner.tag();
            let (number, wire) = self.got(&bytes, tag)?;
            match number {
                1 if wire == Of::Scalar(key_of).wire() => key = self.leaf(Of::Scalar(key_of), &mut inner)?,
                2 if wire == field.of.wire() => match field.of {
                    Of::Scalar(_) | Of::Enum(_) => match self.leaf(field.of, &mut inner)? {
                        Some(leaf) => value = Some(leaf),
                        // An entry that is not understood.
                        None => return Ok(false),
                    },
                    _ => {
                        let got = inner.bytes();
                        nested.extend_from_slice(&self.got(&bytes, got)?);
                    }
                },
                _ => {
                    let skipped = inner.skip(number, wire);
                    self.got(&bytes, skipped)?;
                }
            }
        }
        let key: KeyString = match key.unwrap_or_else(|| zero(key_of)) {
            Value::Bytes(text) => String::from_utf8_lossy(&text).into_owned().into(),
            other => other.to_string().into(),
        };
        let mut below = Left::default();
        let value = match (value, field.of) {
            (Some(value), _) => Ok(value),
            (None, Of::Scalar(scalar)) => Ok(zero(scalar)),
            (None, Of::Enum(at)) => Ok(self.symbol(at, self.types.enums[at].default).unwrap_or(Value::Null)),
            (None, of) => self.value(of, &nested.freeze(), &mut below),
        };
        let value = value.map_err(|f| f.below(|| format!(".{key}")))?;
        if self.keep {
            left.entry(place, key.clone(), below);
        }
        if !object.contains_key(&field.name) {
            object.insert(field.name.clone(), Value::Object(ObjectMap::new()));
        }
        if let Some(Value::Object(entries)) = object.get_mut(&field.name) {
            entries.insert(key, value);
        }
        Ok(true)
    }

    /// A number, a text or bytes; nothing where it is a number that a closed enum does not have.
    fn leaf(&self, of: Of, cursor: &mut Cursor<'_>) -> Read<Option<Value>> {
        match of {
            Of::Scalar(scalar) => self.scalar(scalar, cursor).map(Some),
            Of::Enum(at) => {
                let number = cursor.varint();
                let number = self.got(cursor.raw, number)?;
                Ok(self.symbol(at, number as i32))
            }
            _ => Ok(None),
        }
    }
}

/// What was found of a message so far.
struct Found {
    object: ObjectMap,
    /// Messages in it, read when all of their parts are there.
    nested: SmallVec<[(usize, Bytes); 4]>,
}

impl Found {
    /// Nothing else of its `oneof` is set.
    fn only(&mut self, message: &Message, place: usize) {
        let Some(oneof) = message.fields[place].oneof else { return };
        for other in message.oneofs[oneof].iter().filter(|other| **other != place) {
            self.object.remove(&message.fields[*other].name);
            self.nested.retain(|(at, _)| at != other);
        }
    }

    /// A message that comes in parts is all of them.
    fn nest(&mut self, place: usize, bytes: Bytes) {
        match self.nested.iter_mut().find(|(at, _)| *at == place) {
            None => self.nested.push((place, bytes)),
            Some((_, before)) => {
                let mut both =
                    std::mem::take(before).try_into_mut().unwrap_or_else(|before| BytesMut::from(&before[..]));
                both.extend_from_slice(&bytes);
                *before = both.freeze();
            }
        }
    }
}

fn list<'o>(object: &'o mut ObjectMap, name: &KeyString) -> &'o mut Vec<Value> {
    if !object.contains_key(name) {
        object.insert(name.clone(), Value::Array(Vec::new()));
    }
    match object.get_mut(name) {
        Some(Value::Array(items)) => items,
        // It was made above, and nothing else is made of a list.
        _ => unreachable!("a list is a list"),
    }
}

impl Of {
    /// How its bytes end where it stands alone.
    pub fn wire(self) -> Wire {
        match self {
            Self::Scalar(scalar) => match scalar {
                Scalar::Double | Scalar::Fixed64 { .. } | Scalar::Sfixed64 => Wire::Eight,
                Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => Wire::Four,
                Scalar::String | Scalar::Bytes => Wire::Length,
                _ => Wire::Varint,
            },
            Self::Enum(_) => Wire::Varint,
            Self::Message(_) | Self::Known(_) => Wire::Length,
            Self::Group(_) => Wire::Start,
        }
    }
}
