//! A value to a datum. What the schema cannot carry is refused by the name of the field.

use bytes::Bytes;
use chrono::DateTime;
use millstream_filter_api::Value;
use serde_json::Value as Json;
use vrl::value::ObjectMap;

use super::schema::{AvroSchema, Field, Id, Type};
use super::text;
use crate::error::EncodeError;

/// As in decoding.
const MAX_DEPTH: usize = 127;

impl AvroSchema {
    /// Encodes one value as one datum.
    ///
    /// # Errors
    /// `encode_failed`, with the path of what the schema cannot carry and the reason.
    pub fn encode(&self, value: &Value) -> Result<Bytes, EncodeError> {
        let mut writer = Writer { types: self.types(), out: Vec::with_capacity(128), depth: 0 };
        writer.value(self.root(), value).map_err(|fault| {
            let path: String = fault.path.iter().rev().map(String::as_str).collect();
            EncodeError::new(format!("`{}` {}", if path.is_empty() { "." } else { &path }, fault.what))
        })?;
        Ok(writer.out.into())
    }
}

/// The datum of a field's default. A union's default is of its first branch, and bytes are written as text there, one byte
/// a character, as the specification says.
pub(super) fn default_datum(types: &[Type], of: Id, json: &Json) -> Result<Bytes, String> {
    let mut writer = Writer { types, out: Vec::new(), depth: 0 };
    writer.default(of, json)?;
    Ok(writer.out.into())
}

struct Fault {
    what: String,
    /// Innermost first.
    path: Vec<String>,
}

impl Fault {
    fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

#[cold]
fn fault<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { what: what.into(), path: Vec::new() })
}

#[cold]
fn unfit<T>(value: &Value, wanted: &str) -> Result<T, Fault> {
    fault(format!("is of type {}, and its schema wants {wanted}", value.kind_str()))
}

struct Writer<'a> {
    types: &'a [Type],
    out: Vec<u8>,
    depth: usize,
}

impl Writer<'_> {
    fn long(&mut self, number: i64) {
        let mut rest = (number << 1 ^ number >> 63) as u64;
        while rest >= 0x80 {
            self.out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        self.out.extend_from_slice(bytes);
    }

    /// Small on the stack: it calls itself for what is nested.
    fn value(&mut self, id: Id, value: &Value) -> Result<(), Fault> {
        let types = self.types;
        match (&types[id], value) {
            (Type::Array(items), Value::Array(array)) => {
                self.enter()?;
                if !array.is_empty() {
                    self.long(array.len() as i64);
                    for (n, item) in array.iter().enumerate() {
                        self.value(*items, item).map_err(|f| f.below(|| format!("[{n}]")))?;
                    }
                }
                self.out.push(0);
                self.depth -= 1;
            }
            (Type::Array(_), other) => return unfit(other, "an array"),
            (Type::Map(values), Value::Object(object)) => {
                self.enter()?;
                if !object.is_empty() {
                    self.long(object.len() as i64);
                    for (key, value) in object {
                        self.bytes(key.as_bytes());
                        self.value(*values, value).map_err(|f| f.below(|| format!(".{key}")))?;
                    }
                }
                self.out.push(0);
                self.depth -= 1;
            }
            (Type::Record(fields), Value::Object(object)) => {
                self.enter()?;
                self.record(fields, object)?;
                self.depth -= 1;
            }
            (Type::Map(_) | Type::Record(_), other) => return unfit(other, "an object"),
            (Type::Union(branches), _) => self.union(branches, value)?,
            (leaf, _) => self.leaf(leaf, value)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn leaf(&mut self, of: &Type, value: &Value) -> Result<(), Fault> {
        match (of, value) {
            (Type::Null, Value::Null) => {}
            (Type::Null, other) => return unfit(other, "null"),
            (Type::Boolean, Value::Boolean(yes)) => self.out.push(u8::from(*yes)),
            (Type::Boolean, other) => return unfit(other, "a boolean"),
            (Type::Int, Value::Integer(number)) => match i32::try_from(*number) {
                Ok(number) => self.long(number.into()),
                Err(_) => return fault(format!("is {number}, beyond an `int` of 32 bits")),
            },
            (Type::Long, Value::Integer(number)) => self.long(*number),
            (Type::Int | Type::Long, other) => return unfit(other, "a whole number"),
            (Type::Float, number @ (Value::Float(_) | Value::Integer(_))) => {
                let wide = float(number);
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() {
                    return fault(format!("is {wide}, beyond a `float` of 32 bits"));
                }
                self.out.extend_from_slice(&narrow.to_le_bytes());
            }
            (Type::Double, number @ (Value::Float(_) | Value::Integer(_))) => {
                let wide = float(number);
                if matches!(number, Value::Integer(whole) if wide as i128 != i128::from(*whole)) {
                    return fault(format!("is {number}, which no `double` holds exactly"));
                }
                self.out.extend_from_slice(&wide.to_le_bytes());
            }
            (Type::Float | Type::Double, other) => return unfit(other, "a number"),
            (Type::Bytes, _) => match string(value) {
                Some(bytes) => self.bytes(bytes),
                None => return unfit(value, "bytes"),
            },
            (Type::String, Value::Timestamp(time)) => {
                self.bytes(vrl::value::value::timestamp_to_string(time).as_bytes())
            }
            (Type::String, _) => {
                let text = text_of(value, "text")?;
                self.bytes(text.as_bytes());
            }
            (Type::Enum(symbols), _) => {
                let text = text_of(value, "a symbol")?;
                match symbols.iter().position(|symbol| symbol.as_ref() == text.as_bytes()) {
                    Some(index) => self.long(index as i64),
                    None => return fault(format!("is `{}`, and its enum has no such symbol", short(text))),
                }
            }
            (Type::Fixed(size), _) => match string(value) {
                Some(bytes) if bytes.len() == *size => self.out.extend_from_slice(bytes),
                Some(bytes) => return fault(format!("has {} bytes, and its schema wants {size}", bytes.len())),
                None => return unfit(value, "bytes"),
            },
            (Type::Decimal { scale, precision, size }, _) => {
                let text = match value {
                    Value::Integer(whole) => whole.to_string(),
                    // The shortest text that reads back equal: what was written, where it was written by people.
                    Value::Float(float) => float.to_string(),
                    _ => text_of(value, "a decimal number")?.to_owned(),
                };
                let bytes = text::decimal_bytes(&text, *scale, *precision, *size);
                let bytes = bytes.or_else(|why| fault(format!("is no decimal of its schema: {why}")))?;
                match size {
                    Some(_) => self.out.extend_from_slice(&bytes),
                    None => self.bytes(&bytes),
                }
            }
            (Type::Uuid { fixed }, _) => {
                let text = text_of(value, "a UUID")?;
                match (uuid::Uuid::try_parse(text), fixed) {
                    (Ok(uuid), true) => self.out.extend_from_slice(uuid.as_bytes()),
                    (Ok(_), false) => self.bytes(text.as_bytes()),
                    (Err(_), _) => return fault(format!("is `{}`, which is no UUID", short(text))),
                }
            }
            (Type::Date, _) => {
                let text = text_of(value, "a date")?;
                match text::days(text) {
                    Some(days) => self.long(days.into()),
                    None => return fault(format!("is `{}`, which is no date such as `2026-11-22`", short(text))),
                }
            }
            (Type::Time { per_second }, _) => {
                let text = text_of(value, "a time of day")?;
                match text::time_units(text, *per_second) {
                    Some(units) => self.long(units),
                    None => {
                        let unit = if *per_second == 1_000 { "milliseconds" } else { "microseconds" };
                        return fault(format!(
                            "is `{}`, which is no time such as `08:30:00` in whole {unit}",
                            short(text)
                        ));
                    }
                }
            }
            (Type::Timestamp { per_second }, _) => {
                let time = match value {
                    Value::Timestamp(time) => *time,
                    _ => {
                        let text = text_of(value, "a timestamp")?;
                        match DateTime::parse_from_rfc3339(text) {
                            Ok(time) => time.to_utc(),
                            Err(_) => {
                                let what = "which is no time such as `2026-11-22T08:30:00Z`";
                                return fault(format!("is `{}`, {what}", short(text)));
                            }
                        }
                    }
                };
                match text::units(time, *per_second) {
                    Some(units) => self.long(units),
                    None => return fault(format!("is {time}, which is no whole number of its schema's units")),
                }
            }
            (Type::LocalTimestamp { per_second }, _) => {
                let text = text_of(value, "a local time")?;
                match text::local_units(text, *per_second) {
                    Some(units) => self.long(units),
                    None => {
                        return fault(format!("is `{}`, which is no time such as `2026-11-22T08:30:00`", short(text)));
                    }
                }
            }
            (Type::Duration, Value::Object(object)) => {
                let known = ["months", "days", "milliseconds"];
                if let Some(other) = object.keys().find(|key| !known.contains(&key.as_str())) {
                    return fault(format!("has `{other}`, which no duration has"));
                }
                for name in known {
                    let part = match object.get(name) {
                        None => Some(0),
                        Some(Value::Integer(part)) => u32::try_from(*part).ok(),
                        Some(_) => None,
                    };
                    match part {
                        Some(part) => self.out.extend_from_slice(&part.to_le_bytes()),
                        None => return fault(format!("has `{name}`, which is no whole number of 32 bits")),
                    }
                }
            }
            (Type::Union(_) | Type::Array(_) | Type::Map(_) | Type::Record(_), _) => {
                debug_assert!(false, "nested types are written above");
            }
            (Type::Duration, other) => return unfit(other, "an object of months, days and milliseconds"),
        }
        Ok(())
    }

    fn record(&mut self, fields: &[Field], object: &ObjectMap) -> Result<(), Fault> {
        let mut found = 0;
        for field in fields {
            match (object.get(&field.name), &field.default) {
                (Some(value), _) => {
                    found += 1;
                    self.value(field.of, value).map_err(|f| f.below(|| format!(".{}", field.name)))?;
                }
                (None, Some(default)) => self.out.extend_from_slice(default),
                // What may be null is null where it is missing.
                (None, None) => self.value(field.of, &Value::Null).map_err(|_| Fault {
                    what: "is missing, and its schema has no default".to_owned(),
                    path: vec![format!(".{}", field.name)],
                })?,
            }
        }
        if found < object.len()
            && let Some(other) = object.keys().find(|key| !fields.iter().any(|field| field.name == **key))
        {
            return Err(Fault { what: "is no field of the schema".to_owned(), path: vec![format!(".{other}")] });
        }
        Ok(())
    }

    /// The first branch whose type is the value's own; else the first that takes it.
    fn union(&mut self, branches: &[Id], value: &Value) -> Result<(), Fault> {
        let types = self.types;
        let own = branches.iter().enumerate().filter(|(_, branch)| is_own(&types[**branch], value));
        let other = branches.iter().enumerate().filter(|(_, branch)| !is_own(&types[**branch], value));
        let (start, depth, mut first) = (self.out.len(), self.depth, None);
        for (index, branch) in own.chain(other) {
            self.long(index as i64);
            match self.value(*branch, value) {
                Ok(()) => return Ok(()),
                Err(why) => {
                    self.out.truncate(start);
                    self.depth = depth;
                    // Why the one that was meant did not take it says more than that the others did not.
                    if types[*branch] != Type::Null {
                        first.get_or_insert(why);
                    }
                }
            }
        }
        match first {
            Some(why) if branches.iter().filter(|branch| types[**branch] != Type::Null).count() == 1 => Err(why),
            Some(why) if !why.path.is_empty() => Err(why),
            _ => unfit(value, "one of the branches of its union, and none takes it"),
        }
    }

    fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { fault(format!("is nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    fn default(&mut self, id: Id, json: &Json) -> Result<(), String> {
        let types = self.types;
        let plain = |fault: Fault| fault.what;
        match (&types[id], json) {
            (Type::Union(branches), _) => {
                let first = branches.first().ok_or("a union without branches")?;
                self.long(0);
                self.default(*first, json)
            }
            (Type::Record(fields), Json::Object(object)) => {
                for field in fields {
                    match (object.get(field.name.as_str()), &field.default) {
                        (Some(json), _) => self.default(field.of, json)?,
                        (None, Some(default)) => self.out.extend_from_slice(default),
                        (None, None) => return Err(format!("`{}` is missing", field.name)),
                    }
                }
                Ok(())
            }
            (Type::Array(items), Json::Array(array)) => {
                if !array.is_empty() {
                    self.long(array.len() as i64);
                    array.iter().try_for_each(|item| self.default(*items, item))?;
                }
                self.out.push(0);
                Ok(())
            }
            (Type::Map(values), Json::Object(object)) => {
                if !object.is_empty() {
                    self.long(object.len() as i64);
                    for (key, json) in object {
                        self.bytes(key.as_bytes());
                        self.default(*values, json)?;
                    }
                }
                self.out.push(0);
                Ok(())
            }
            (
                Type::Bytes | Type::Fixed(_) | Type::Decimal { .. } | Type::Duration | Type::Uuid { fixed: true },
                Json::String(text),
            ) => {
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                let bytes = bytes.ok_or("a character beyond one byte")?;
                let size = match &types[id] {
                    Type::Fixed(size) => Some(*size),
                    Type::Decimal { size, .. } => *size,
                    Type::Duration => Some(12),
                    Type::Uuid { .. } => Some(16),
                    _ => None,
                };
                match size {
                    Some(size) if size != bytes.len() => return Err(format!("{} bytes and not {size}", bytes.len())),
                    Some(_) => self.out.extend_from_slice(&bytes),
                    None => self.bytes(&bytes),
                }
                Ok(())
            }
            // As numbers, not as the text that values are.
            (
                Type::Date | Type::Time { .. } | Type::Timestamp { .. } | Type::LocalTimestamp { .. },
                Json::Number(number),
            ) => {
                self.long(number.as_i64().ok_or_else(|| format!("{number} is no whole number"))?);
                Ok(())
            }
            (_, Json::Null) => self.value(id, &Value::Null).map_err(plain),
            (_, Json::Bool(yes)) => self.value(id, &Value::Boolean(*yes)).map_err(plain),
            (_, Json::String(text)) => {
                self.value(id, &Value::Bytes(Bytes::copy_from_slice(text.as_bytes()))).map_err(plain)
            }
            (_, Json::Number(number)) => {
                let value = number.as_i64().map(Value::Integer);
                let value = value.or_else(|| number.as_f64().map(Value::from_f64_or_zero));
                self.value(id, &value.unwrap_or(Value::Null)).map_err(plain)
            }
            (_, other) => Err(format!("{other} does not fit")),
        }
    }
}

/// Whether the type is the one that a value of this kind has before others.
fn is_own(of: &Type, value: &Value) -> bool {
    match value {
        Value::Null => *of == Type::Null,
        Value::Boolean(_) => *of == Type::Boolean,
        Value::Integer(_) => matches!(of, Type::Int | Type::Long),
        Value::Float(_) => matches!(of, Type::Float | Type::Double),
        Value::Timestamp(_) => matches!(of, Type::Timestamp { .. }),
        Value::Array(_) => matches!(of, Type::Array(_)),
        Value::Bytes(_) | Value::String(_) | Value::Regex(_) => matches!(
            of,
            Type::String
                | Type::Enum(_)
                | Type::Uuid { .. }
                | Type::Date
                | Type::Time { .. }
                | Type::LocalTimestamp { .. }
                | Type::Decimal { .. }
        ),
        Value::Object(_) => matches!(of, Type::Record(_)),
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(float) => float.into_inner(),
        Value::Integer(whole) => *whole as f64,
        _ => 0.0,
    }
}

fn string(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::String(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn text_of<'v>(value: &'v Value, wanted: &str) -> Result<&'v str, Fault> {
    match string(value) {
        Some(bytes) => std::str::from_utf8(bytes).or_else(|_| fault("holds bytes that are not UTF-8 text")),
        None => unfit(value, wanted),
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
