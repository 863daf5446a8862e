//! A value to a message. What the message type cannot carry is refused by the name of the field.

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::ObjectMap;

use super::decode::MAX_DEPTH;
use super::known::told;
use super::left::{Below, Left, before};
use super::schema::{Enum, Field, Form, Known, Message, Of, ProtobufSchema, Scalar, Types};
use super::wire::{Wire, put_length, put_tag, put_varint};
use crate::error::EncodeError;

impl ProtobufSchema {
    /// Encodes one value as one message. Fields that are not known stay as they are in `original`, which is the payload that the
    /// value was read from: those of a message in the message at its place.
    ///
    /// # Errors
    /// `encode_failed`, with the path of what the message type cannot carry and the reason.
    pub fn encode(&self, value: &Value, original: Option<&Bytes>) -> Result<Bytes, EncodeError> {
        let old = original.and_then(|raw| self.left(raw));
        let mut writer = Writer { types: self.types(), out: Vec::with_capacity(128), depth: 0 };
        let written = writer.content(self.root(), value, old.as_ref().map(|(value, left)| (value, left)));
        written.map_err(|fault| EncodeError::new(told(&fault)))?;
        Ok(writer.out.into())
    }
}

pub(super) struct Fault {
    pub what: String,
    /// Innermost first.
    pub path: Vec<String>,
}

impl Fault {
    #[cold]
    pub fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

pub(super) type Written = Result<(), Fault>;

#[cold]
pub(super) fn fault<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { what: what.into(), path: Vec::new() })
}

#[cold]
pub(super) fn unfit<T>(value: &Value, wanted: &str) -> Result<T, Fault> {
    fault(format!("is of type {}, and its message wants {wanted}", value.kind_str()))
}

/// What a message was, and what is left of it.
type Old<'o> = Option<(&'o Value, &'o Left)>;

pub(super) struct Writer<'a> {
    types: &'a Types,
    pub out: Vec<u8>,
    depth: usize,
}

impl Writer<'_> {
    pub fn enter(&mut self) -> Written {
        self.depth += 1;
        if self.depth > MAX_DEPTH { fault(format!("is nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        put_varint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// The bytes of a message, without its length.
    fn content(&mut self, of: Of, value: &Value, old: Old<'_>) -> Written {
        match (of, value) {
            (Of::Message(at) | Of::Group(at), Value::Object(object)) => {
                self.enter()?;
                let types = self.types;
                self.message(&types.messages[at], object, old)?;
                self.leave();
                Ok(())
            }
            (Of::Message(_) | Of::Group(_), other) => unfit(other, "an object"),
            (Of::Known(known), _) => self.known(known, value),
            (Of::Scalar(scalar), _) => self.scalar(scalar, value),
            (Of::Enum(at), _) => self.symbol(&self.types.enums[at], value),
        }
    }

    fn message(&mut self, message: &Message, object: &ObjectMap, old: Old<'_>) -> Written {
        let mut met = 0;
        let mut set = vec![None; message.oneofs.len()];
        for (place, field) in message.fields.iter().enumerate() {
            let value = object.get(&field.name);
            met += usize::from(value.is_some());
            let Some(value) = value.filter(|value| !self.is_absent(field, value)) else {
                if field.form == Form::Required {
                    let what = if value.is_some() { "is null, and is required" } else { "is missing, and is required" };
                    return fault(what).map_err(|f| f.below(|| format!(".{}", field.name)));
                }
                continue;
            };
            if let Some(oneof) = field.oneof
                && let Some(other) = set[oneof].replace(&field.name)
            {
                let what = format!("is set, and so is `{other}`, and of these two one can be");
                return fault(what).map_err(|f| f.below(|| format!(".{}", field.name)));
            }
            let old = old.and_then(|(value, left)| {
                let Value::Object(object) = value else { return None };
                Some((object.get(&field.name)?, left.at(place)?))
            });
            self.field(field, value, old).map_err(|f| f.below(|| format!(".{}", field.name)))?;
        }
        if met < object.len() {
            let known = |name: &str| message.fields.iter().any(|field| field.name.as_str() == name);
            if let Some(name) = object.keys().find(|name| !known(name)) {
                let what = format!("is no field of `{}`", message.name);
                return fault(what).map_err(|f| f.below(|| format!(".{name}")));
            }
        }
        if let Some((_, left)) = old {
            self.out.extend_from_slice(&left.unknown);
        }
        Ok(())
    }

    /// Null is as good as nothing where a field may be absent, but for those that have a null of their own.
    fn is_absent(&self, field: &Field, value: &Value) -> bool {
        let nulls = match field.of {
            Of::Known(known) => known == Known::Value,
            Of::Enum(at) => self.types.enums[at].null,
            _ => false,
        };
        value.is_null() && !nulls && matches!(field.form, Form::Optional | Form::Required)
    }

    fn field(&mut self, field: &Field, value: &Value, old: Option<(&Value, &Below)>) -> Written {
        match (field.form, value) {
            (Form::List { packed }, Value::Array(items)) => self.list(field, packed, items, old),
            (Form::List { .. }, other) => unfit(other, "an array"),
            (Form::Map(key), Value::Object(entries)) => self.map(field, key, entries, old),
            (Form::Map(_), other) => unfit(other, "an object"),
            (Form::Implicit, _) => {
                let from = self.out.len();
                put_tag(&mut self.out, field.number, field.of.wire());
                self.default_less(from, |writer| writer.content(field.of, value, None))
            }
            (Form::Optional | Form::Required, _) => {
                let old = match old {
                    Some((value, Below::One(left))) => Some((value, left)),
                    _ => None,
                };
                self.one(field, value, old)
            }
        }
    }

    /// What is written behind a tag that begins at `from` is taken back with it if it is a default: those are zeros all.
    pub fn default_less(&mut self, from: usize, write: impl FnOnce(&mut Self) -> Written) -> Written {
        let inside = self.out.len();
        write(self)?;
        if self.out[inside..].iter().all(|byte| *byte == 0) {
            self.out.truncate(from);
        }
        Ok(())
    }

    /// A field with its tag.
    fn one(&mut self, field: &Field, value: &Value, old: Old<'_>) -> Written {
        put_tag(&mut self.out, field.number, field.of.wire());
        match field.of {
            Of::Scalar(_) | Of::Enum(_) => self.content(field.of, value, None),
            Of::Message(_) | Of::Known(_) => {
                let from = self.out.len();
                self.content(field.of, value, old)?;
                put_length(&mut self.out, from);
                Ok(())
            }
            Of::Group(_) => {
                self.content(field.of, value, old)?;
                put_tag(&mut self.out, field.number, Wire::End);
                Ok(())
            }
        }
    }

    fn list(&mut self, field: &Field, packed: bool, items: &[Value], old: Option<(&Value, &Below)>) -> Written {
        if packed {
            if items.is_empty() {
                return Ok(());
            }
            put_tag(&mut self.out, field.number, Wire::Length);
            let from = self.out.len();
            for (n, item) in items.iter().enumerate() {
                self.content(field.of, item, None).map_err(|f| f.below(|| format!("[{n}]")))?;
            }
            put_length(&mut self.out, from);
            return Ok(());
        }
        let left = match old {
            Some((Value::Array(old), Below::Items(left))) if left.iter().any(|left| !left.is_empty()) => {
                Some((old, left, before(items, old)))
            }
            _ => None,
        };
        for (n, item) in items.iter().enumerate() {
            let old = left.as_ref().and_then(|(old, left, before)| {
                let at = before[n]?;
                Some((old.get(at)?, left.get(at)?))
            });
            self.one(field, item, old).map_err(|f| f.below(|| format!("[{n}]")))?;
        }
        Ok(())
    }

    fn map(&mut self, field: &Field, key_of: Scalar, entries: &ObjectMap, old: Option<(&Value, &Below)>) -> Written {
        for (key, value) in entries {
            put_tag(&mut self.out, field.number, Wire::Length);
            let from = self.out.len();
            put_tag(&mut self.out, 1, Of::Scalar(key_of).wire());
            let old = match old {
                Some((Value::Object(old), Below::Entries(left))) => old.get(key).zip(left.get(key)),
                _ => None,
            };
            let written = self.key(key_of, key).and_then(|()| {
                put_tag(&mut self.out, 2, field.of.wire());
                let inside = self.out.len();
                self.content(field.of, value, old)?;
                if matches!(field.of, Of::Message(_) | Of::Known(_)) {
                    put_length(&mut self.out, inside);
                }
                Ok(())
            });
            written.map_err(|f| f.below(|| format!(".{key}")))?;
            put_length(&mut self.out, from);
        }
        Ok(())
    }

    fn key(&mut self, of: Scalar, key: &str) -> Written {
        // Other ways to write a number would be other keys of the value and the same of the message.
        let whole = || key.parse::<i64>().ok().filter(|number| number.to_string() == key).map(Value::Integer);
        let value = match of {
            Scalar::String | Scalar::Uint64 { .. } | Scalar::Fixed64 { .. } => {
                Some(Value::Bytes(key.to_owned().into()))
            }
            Scalar::Bool => key.parse::<bool>().ok().map(Value::Boolean),
            _ => whole(),
        };
        match value {
            Some(value) => self.scalar(of, &value),
            None => fault("is no key of this map"),
        }
    }

    fn symbol(&mut self, of: &Enum, value: &Value) -> Written {
        let number = match value {
            Value::Null if of.null => 0,
            Value::Integer(number) => match i32::try_from(*number) {
                Ok(number) if !of.closed || of.name(number).is_some() => number,
                _ => return fault(format!("is {number}, and its enum has no such number")),
            },
            _ => {
                let text = text_of(value, "the name of an enum's value")?;
                match of.numbers.get(text.as_bytes()) {
                    Some(number) => *number,
                    None => return fault(format!("is `{}`, and its enum has no such name", short(text))),
                }
            }
        };
        put_varint(&mut self.out, i64::from(number) as u64);
        Ok(())
    }

    #[inline(never)]
    pub fn scalar(&mut self, of: Scalar, value: &Value) -> Written {
        match (of, value) {
            (Scalar::Double, Value::Float(_) | Value::Integer(_)) => {
                let wide = float(value);
                if matches!(value, Value::Integer(whole) if wide as i128 != i128::from(*whole)) {
                    return fault(format!("is {value}, which no `double` holds exactly"));
                }
                self.out.extend_from_slice(&wide.to_le_bytes());
            }
            (Scalar::Float, Value::Float(_) | Value::Integer(_)) => {
                let wide = float(value);
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() {
                    return fault(format!("is {wide:?}, beyond a `float` of 32 bits"));
                }
                self.out.extend_from_slice(&narrow.to_le_bytes());
            }
            (Scalar::Double | Scalar::Float, other) => return unfit(other, "a number"),
            (Scalar::Bool, Value::Boolean(yes)) => self.out.push(u8::from(*yes)),
            (Scalar::Bool, other) => return unfit(other, "a boolean"),
            (Scalar::String, Value::Timestamp(time)) => {
                self.bytes(vrl::value::value::timestamp_to_string(time).as_bytes());
            }
            (Scalar::String, _) => {
                let text = text_of(value, "text")?;
                self.bytes(text.as_bytes());
            }
            (Scalar::Bytes, _) => match string(value) {
                Some(bytes) => self.bytes(bytes),
                None => return unfit(value, "bytes"),
            },
            (Scalar::Uint64 { .. } | Scalar::Fixed64 { .. }, _) => {
                let number = match value {
                    Value::Integer(number) => u64::try_from(*number).ok(),
                    _ => {
                        let text = text_of(value, "a whole number")?;
                        text.parse::<u64>().ok().filter(|number| number.to_string() == text)
                    }
                };
                match number {
                    Some(number) if matches!(of, Scalar::Uint64 { .. }) => put_varint(&mut self.out, number),
                    Some(number) => self.out.extend_from_slice(&number.to_le_bytes()),
                    None => return fault(format!("is {value}, no whole number of 64 bits without sign")),
                }
            }
            (_, Value::Integer(number)) => return self.whole(of, *number),
            (_, other) => return unfit(other, "a whole number"),
        }
        Ok(())
    }

    fn whole(&mut self, of: Scalar, number: i64) -> Written {
        let beyond = |what: &str| fault(format!("is {number}, beyond {what}"));
        let signed = || i32::try_from(number);
        let unsigned = || u32::try_from(number);
        let zigzag = |number: i64| (number << 1 ^ number >> 63) as u64;
        match of {
            Scalar::Int64 => put_varint(&mut self.out, number as u64),
            Scalar::Sint64 => put_varint(&mut self.out, zigzag(number)),
            Scalar::Sfixed64 => self.out.extend_from_slice(&number.to_le_bytes()),
            Scalar::Uint32 | Scalar::Fixed32 => match (unsigned(), of) {
                (Ok(short), Scalar::Fixed32) => self.out.extend_from_slice(&short.to_le_bytes()),
                (Ok(short), _) => put_varint(&mut self.out, short.into()),
                (Err(_), _) => return beyond("32 bits without sign"),
            },
            _ => match (signed(), of) {
                (Ok(short), Scalar::Sfixed32) => self.out.extend_from_slice(&short.to_le_bytes()),
                (Ok(short), Scalar::Sint32) => put_varint(&mut self.out, zigzag(short.into()) & 0xffff_ffff),
                (Ok(short), _) => put_varint(&mut self.out, i64::from(short) as u64),
                (Err(_), _) => return beyond("32 bits"),
            },
        }
        Ok(())
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(float) => float.into_inner(),
        Value::Integer(whole) => *whole as f64,
        _ => 0.0,
    }
}

pub(super) fn string(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::String(text) => Some(text.as_bytes()),
        _ => None,
    }
}

pub(super) fn text_of<'v>(value: &'v Value, wanted: &str) -> Result<&'v str, Fault> {
    match string(value) {
        Some(bytes) => std::str::from_utf8(bytes).or_else(|_| fault("holds bytes that are not UTF-8 text")),
        None => unfit(value, wanted),
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
