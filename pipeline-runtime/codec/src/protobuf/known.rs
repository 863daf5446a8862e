//! Messages of Google's own whose values are other than objects of their fields.

use bytes::Bytes;
use chrono::DateTime;
use millstream_filter_api::Value;
use vrl::value::{KeyString, ObjectMap};

use super::decode::{Read, Reader};
use super::encode::{Fault, Writer, Written, fault, string, text_of, unfit};
use super::leaf::{float_value, zero};
use super::schema::{Known, Of, Scalar};
use super::wire::{Cursor, Wire, put_length, put_tag, put_varint};

/// Seconds of a duration at most, as its documentation says: ten thousand years.
const MAX_SECONDS: i64 = 315_576_000_000;

impl Reader<'_> {
    pub(super) fn known(&mut self, known: Known, raw: &Bytes) -> Read<Value> {
        match known {
            Known::Timestamp => {
                let (seconds, nanos) = self.time(raw)?;
                let time = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
                match time.and_then(|nanos| DateTime::from_timestamp(seconds, nanos)) {
                    Some(time) => Ok(Value::Timestamp(time)),
                    None => self.fault(raw, 0, format_args!("{seconds} s and {nanos} ns are no time")),
                }
            }
            Known::Duration => {
                let (seconds, nanos) = self.time(raw)?;
                match duration(seconds, nanos) {
                    Some(text) => Ok(Value::Bytes(text.into())),
                    None => self.fault(raw, 0, format_args!("{seconds} s and {nanos} ns are no duration")),
                }
            }
            Known::Wrapper(scalar) => {
                let mut value = zero(scalar);
                self.fields(raw, |reader, number, wire, cursor| {
                    let own = number == 1 && wire == Of::Scalar(scalar).wire();
                    if own {
                        value = reader.scalar(scalar, cursor)?;
                    }
                    Ok(own)
                })?;
                Ok(value)
            }
            Known::Struct => self.object(raw).map(Value::Object),
            Known::List => self.items(raw).map(Value::Array),
            Known::Value => self.json(raw),
        }
    }

    /// Each field of a message, of which `take` takes some.
    fn fields(
        &mut self,
        raw: &Bytes,
        mut take: impl FnMut(&mut Self, u32, Wire, &mut Cursor<'_>) -> Read<bool>,
    ) -> Read<()> {
        let mut cursor = Cursor::new(raw);
        while !cursor.done() {
            let tag = cursor.tag();
            let (number, wire) = self.got(raw, tag)?;
            if !take(self, number, wire, &mut cursor)? {
                let skipped = cursor.skip(number, wire);
                self.got(raw, skipped)?;
            }
        }
        Ok(())
    }

    /// Seconds and nanoseconds.
    fn time(&mut self, raw: &Bytes) -> Read<(i64, i32)> {
        let (mut seconds, mut nanos) = (0, 0);
        self.fields(raw, |reader, number, wire, cursor| {
            let own = wire == Wire::Varint && matches!(number, 1 | 2);
            if own {
                let read = cursor.varint();
                let read = reader.got(cursor.raw, read)?;
                if number == 1 { seconds = read as i64 } else { nanos = read as i32 }
            }
            Ok(own)
        })?;
        Ok((seconds, nanos))
    }

    fn object(&mut self, raw: &Bytes) -> Read<ObjectMap> {
        self.enter(raw)?;
        let mut object = ObjectMap::new();
        self.fields(raw, |reader, number, wire, cursor| {
            if (number, wire) != (1, Wire::Length) {
                return Ok(false);
            }
            let entry = cursor.bytes();
            let entry = reader.got(cursor.raw, entry)?;
            let (mut key, mut value) = (KeyString::from(""), Bytes::new());
            reader.fields(&entry, |reader, number, wire, cursor| {
                match (number, wire) {
                    (1, Wire::Length) => {
                        let text = reader.scalar(Scalar::String, cursor)?;
                        key = String::from_utf8_lossy(string(&text).unwrap_or_default()).into_owned().into();
                    }
                    (2, Wire::Length) => {
                        let bytes = cursor.bytes();
                        value = reader.got(cursor.raw, bytes)?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            let value = reader.json(&value).map_err(|f| f.below(|| format!(".{key}")))?;
            object.insert(key, value);
            Ok(true)
        })?;
        self.leave();
        Ok(object)
    }

    fn items(&mut self, raw: &Bytes) -> Read<Vec<Value>> {
        self.enter(raw)?;
        let mut items = Vec::new();
        self.fields(raw, |reader, number, wire, cursor| {
            if (number, wire) != (1, Wire::Length) {
                return Ok(false);
            }
            let item = cursor.bytes();
            let item = reader.got(cursor.raw, item)?;
            items.push(reader.json(&item).map_err(|f| f.below(|| format!("[{}]", items.len())))?);
            Ok(true)
        })?;
        self.leave();
        Ok(items)
    }

    /// Of what a `Value` is the last counts.
    fn json(&mut self, raw: &Bytes) -> Read<Value> {
        let mut value = Value::Null;
        self.fields(raw, |reader, number, wire, cursor| {
            value = match (number, wire) {
                (1, Wire::Varint) => {
                    let null = cursor.varint();
                    reader.got(cursor.raw, null)?;
                    Value::Null
                }
                (2, Wire::Eight) => {
                    let double = cursor.array();
                    float_value(f64::from_le_bytes(reader.got(cursor.raw, double)?))?
                }
                (3, Wire::Length) => reader.scalar(Scalar::String, cursor)?,
                (4, Wire::Varint) => reader.scalar(Scalar::Bool, cursor)?,
                (5 | 6, Wire::Length) => {
                    let inner = cursor.bytes();
                    let inner = reader.got(cursor.raw, inner)?;
                    match number {
                        5 => Value::Object(reader.object(&inner)?),
                        _ => Value::Array(reader.items(&inner)?),
                    }
                }
                _ => return Ok(false),
            };
            Ok(true)
        })?;
        Ok(value)
    }
}

impl Writer<'_> {
    /// The content of such a message.
    pub(super) fn known(&mut self, known: Known, value: &Value) -> Written {
        match (known, value) {
            (Known::Timestamp, Value::Timestamp(time)) => {
                self.time(time.timestamp(), time.timestamp_subsec_nanos().min(999_999_999) as i32);
            }
            (Known::Timestamp, _) => {
                let text = text_of(value, "a timestamp")?;
                match DateTime::parse_from_rfc3339(text) {
                    Ok(time) => self.time(time.timestamp(), time.timestamp_subsec_nanos().min(999_999_999) as i32),
                    Err(_) => return fault(format!("is `{}`, which is no RFC 3339 time", short(text))),
                }
            }
            (Known::Duration, _) => {
                let text = text_of(value, "a duration such as `1.5s`")?;
                match parsed(text) {
                    Some((seconds, nanos)) => self.time(seconds, nanos),
                    None => return fault(format!("is `{}`, which is no duration such as `1.5s`", short(text))),
                }
            }
            (Known::Wrapper(scalar), _) => {
                let from = self.out.len();
                put_tag(&mut self.out, 1, Of::Scalar(scalar).wire());
                self.default_less(from, |writer| writer.scalar(scalar, value))?;
            }
            (Known::Struct, Value::Object(object)) => self.object(object)?,
            (Known::Struct, other) => return unfit(other, "an object"),
            (Known::List, Value::Array(items)) => self.items(items)?,
            (Known::List, other) => return unfit(other, "an array"),
            (Known::Value, _) => self.json(value)?,
        }
        Ok(())
    }

    fn time(&mut self, seconds: i64, nanos: i32) {
        for (number, part) in [(1, seconds), (2, nanos.into())] {
            if part != 0 {
                put_tag(&mut self.out, number, Wire::Varint);
                put_varint(&mut self.out, part as u64);
            }
        }
    }

    fn object(&mut self, object: &ObjectMap) -> Written {
        self.enter()?;
        for (key, value) in object {
            put_tag(&mut self.out, 1, Wire::Length);
            let entry = self.out.len();
            put_tag(&mut self.out, 1, Wire::Length);
            self.bytes(key.as_bytes());
            put_tag(&mut self.out, 2, Wire::Length);
            let from = self.out.len();
            self.json(value).map_err(|f| f.below(|| format!(".{key}")))?;
            put_length(&mut self.out, from);
            put_length(&mut self.out, entry);
        }
        self.leave();
        Ok(())
    }

    fn items(&mut self, items: &[Value]) -> Written {
        self.enter()?;
        for (n, item) in items.iter().enumerate() {
            put_tag(&mut self.out, 1, Wire::Length);
            let from = self.out.len();
            self.json(item).map_err(|f| f.below(|| format!("[{n}]")))?;
            put_length(&mut self.out, from);
        }
        self.leave();
        Ok(())
    }

    fn json(&mut self, value: &Value) -> Written {
        let number = match value {
            Value::Null => 1,
            Value::Integer(_) | Value::Float(_) => 2,
            Value::Bytes(_) | Value::String(_) | Value::Timestamp(_) | Value::Regex(_) => 3,
            Value::Boolean(_) => 4,
            Value::Object(_) => 5,
            Value::Array(_) => 6,
        };
        match value {
            Value::Null => self.out.extend_from_slice(&[1 << 3, 0]),
            Value::Integer(_) | Value::Float(_) => {
                put_tag(&mut self.out, number, Wire::Eight);
                self.scalar(Scalar::Double, value)?;
            }
            Value::Boolean(_) => {
                put_tag(&mut self.out, number, Wire::Varint);
                self.scalar(Scalar::Bool, value)?;
            }
            Value::Object(object) => {
                put_tag(&mut self.out, number, Wire::Length);
                let from = self.out.len();
                self.object(object)?;
                put_length(&mut self.out, from);
            }
            Value::Array(items) => {
                put_tag(&mut self.out, number, Wire::Length);
                let from = self.out.len();
                self.items(items)?;
                put_length(&mut self.out, from);
            }
            _ => {
                put_tag(&mut self.out, number, Wire::Length);
                self.scalar(Scalar::String, value)?;
            }
        }
        Ok(())
    }
}

/// As JSON has it: `1.500s`, with no digits behind the point, or three, six or nine.
fn duration(seconds: i64, nanos: i32) -> Option<String> {
    let fits = seconds.abs() <= MAX_SECONDS && nanos.abs() < 1_000_000_000;
    if !fits || seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    Some(match nanos {
        0 => format!("{sign}{seconds}s"),
        _ if nanos.is_multiple_of(1_000_000) => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        _ => format!("{sign}{seconds}.{nanos:09}s"),
    })
}

fn parsed(text: &str) -> Option<(i64, i32)> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_suffix('s')?;
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || part.is_empty() || part.len() > 9 || !digits(whole) || !digits(part) {
        return None;
    }
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
    let nanos: i32 = format!("{part:0<9}").parse().ok()?;
    Some((sign * seconds, sign as i32 * nanos))
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Faults of both ways are told in the same form.
pub(super) fn told(fault: &Fault) -> String {
    let path: String = fault.path.iter().rev().map(String::as_str).collect();
    format!("`{}` {}", if path.is_empty() { "." } else { &path }, fault.what)
}
