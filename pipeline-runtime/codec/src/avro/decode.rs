//! A datum to a value. Bounded by the bytes that are there, whatever lengths and counts they claim.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use millstream_filter_api::Value;
use vrl::value::ObjectMap;

use super::schema::{AvroSchema, Id, Type};
use super::text;
use crate::error::DecodeError;

/// As for JSON.
const MAX_DEPTH: usize = 127;
/// Items that take no bytes (nulls, empty records), in one payload: nothing else bounds them.
const MAX_EMPTY: usize = 100_000;

impl AvroSchema {
    /// Decodes one payload, which is one datum and nothing after it. Text and bytes share the payload's bytes.
    ///
    /// # Errors
    /// `invalid_avro`: too few bytes or too many, a count or an index beyond what can be, text that is not UTF-8, a number
    /// that is no float; with the byte and, inside of a record, the field.
    pub fn decode(&self, raw: &Bytes) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(self.types(), raw);
        let value = reader.value(self.root());
        reader.end(value).map_err(|fault| DecodeError::avro(fault.tell()))
    }
}

/// What is wrong, and the way to it, innermost first.
pub(super) struct Fault {
    pub what: String,
    pub path: Vec<String>,
    pub why: Why,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The bytes are none of the schema.
    Corrupt,
    /// They end too early.
    Short,
    /// They are, and another schema takes no such thing.
    Unfit,
}

impl Fault {
    /// The way to it and what it is.
    #[cold]
    pub fn tell(self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        if path.is_empty() { self.what } else { format!("`{path}`: {}", self.what) }
    }

    pub fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

pub(super) type Read<T> = Result<T, Fault>;

pub(super) struct Reader<'a> {
    pub types: &'a [Type],
    raw: &'a Bytes,
    at: usize,
    depth: usize,
    empty: usize,
}

impl<'a> Reader<'a> {
    pub fn new(types: &'a [Type], raw: &'a Bytes) -> Self {
        Self { types, raw, at: 0, depth: 0, empty: 0 }
    }

    /// Nothing follows what was read.
    pub fn end(&self, read: Read<Value>) -> Read<Value> {
        match (read, self.raw.len() - self.at) {
            (Ok(value), 0) => Ok(value),
            (Ok(_), more) => {
                let what = format!("{more} bytes are left at byte {} of {}", self.at, self.raw.len());
                Err(Fault { what, path: Vec::new(), why: Why::Corrupt })
            }
            (fault, _) => fault,
        }
    }
}

impl Reader<'_> {
    #[cold]
    pub fn fault<T>(&self, what: impl std::fmt::Display) -> Read<T> {
        Err(Fault { what: format!("{what} at byte {}", self.at), path: Vec::new(), why: Why::Corrupt })
    }

    #[cold]
    fn short<T>(&self, what: impl std::fmt::Display) -> Read<T> {
        self.fault(what).map_err(|fault| Fault { why: Why::Short, ..fault })
    }

    pub fn take(&mut self, count: usize) -> Read<Bytes> {
        let left = self.raw.len() - self.at;
        if count > left {
            return self.short(format_args!("{count} bytes are announced, and {left} are left"));
        }
        let bytes = self.raw.slice(self.at..self.at + count);
        self.at += count;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        match self.raw.get(self.at..self.at + N).and_then(|bytes| bytes.try_into().ok()) {
            Some(array) => {
                self.at += N;
                Ok(array)
            }
            None => self.short("the payload ends"),
        }
    }

    /// A zigzag number.
    pub fn long(&mut self) -> Read<i64> {
        let mut number: u64 = 0;
        for (n, byte) in self.raw[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if n == 9 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                self.at += n + 1;
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        if self.raw.len() - self.at < 10 {
            self.short("the payload ends in a number")
        } else {
            self.fault("a number has no end")
        }
    }

    pub fn int(&mut self) -> Read<i32> {
        let long = self.long()?;
        i32::try_from(long).or_else(|_| self.fault(format_args!("{long} is no 32-bit number")))
    }

    pub fn length(&mut self) -> Read<usize> {
        let long = self.long()?;
        usize::try_from(long).or_else(|_| self.fault(format_args!("the length {long}")))
    }

    pub fn bytes(&mut self) -> Read<Bytes> {
        let count = self.length()?;
        self.take(count)
    }

    pub fn text(&mut self) -> Read<Bytes> {
        let from = self.at;
        let bytes = self.bytes()?;
        if std::str::from_utf8(&bytes).is_err() {
            self.at = from;
            return self.fault("a string is not UTF-8");
        }
        Ok(bytes)
    }

    fn float(&self, float: f64) -> Read<Value> {
        if float.is_nan() {
            return self.fault("a float is not a number (NaN), which no expression can compute with,");
        }
        Ok(Value::from_f64_or_zero(float))
    }

    /// Small on the stack: it calls itself for what is nested.
    pub fn value(&mut self, id: Id) -> Read<Value> {
        let types = self.types;
        Ok(match &types[id] {
            Type::Union(branches) => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|index| branches.get(index)) {
                    // A union is no level of its own: it cannot contain another one.
                    Some(branch) => self.value(*branch)?,
                    None => return self.fault(format_args!("the union has no branch {index}")),
                }
            }
            Type::Array(items) => {
                self.enter()?;
                let mut array = Vec::new();
                self.blocks(|reader| {
                    let item = reader.value(*items).map_err(|f| f.below(|| format!("[{}]", array.len())))?;
                    array.push(item);
                    Ok(())
                })?;
                self.leave();
                Value::Array(array)
            }
            Type::Map(values) => {
                self.enter()?;
                let mut object = ObjectMap::new();
                self.blocks(|reader| {
                    let key = reader.text()?;
                    let key = String::from_utf8_lossy(&key).into_owned();
                    let value = reader.value(*values).map_err(|f| f.below(|| format!(".{key}")))?;
                    object.insert(key.into(), value);
                    Ok(())
                })?;
                self.leave();
                Value::Object(object)
            }
            Type::Record(fields) => {
                self.enter()?;
                let mut object = ObjectMap::new();
                for field in fields {
                    let value = self.value(field.of).map_err(|f| f.below(|| format!(".{}", field.name)))?;
                    object.insert(field.name.clone(), value);
                }
                self.leave();
                Value::Object(object)
            }
            leaf => self.leaf(leaf)?,
        })
    }

    #[inline(never)]
    pub fn leaf(&mut self, of: &Type) -> Read<Value> {
        Ok(match of {
            Type::Null => Value::Null,
            Type::Boolean => match self.array::<1>()? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                [other] => return self.fault(format_args!("{other} is no boolean")),
            },
            Type::Int => Value::Integer(self.int()?.into()),
            Type::Long => Value::Integer(self.long()?),
            Type::Float => {
                let float = f32::from_le_bytes(self.array()?);
                self.float(float.into())?
            }
            Type::Double => {
                let float = f64::from_le_bytes(self.array()?);
                self.float(float)?
            }
            Type::Bytes => Value::Bytes(self.bytes()?),
            Type::String => Value::Bytes(self.text()?),
            Type::Enum(symbols) => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|index| symbols.get(index)) {
                    Some(symbol) => Value::Bytes(symbol.clone()),
                    None => return self.fault(format_args!("the enum has no symbol {index}")),
                }
            }
            Type::Fixed(size) => Value::Bytes(self.take(*size)?),
            Type::Decimal { scale, size, .. } => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                match text::decimal(&bytes, *scale) {
                    Some(text) => Value::Bytes(text.into()),
                    None => {
                        return self.fault(format_args!(
                            "a decimal of {} bytes, more than {}",
                            bytes.len(),
                            text::MAX_DECIMAL
                        ));
                    }
                }
            }
            Type::Uuid { fixed: false } => Value::Bytes(self.text()?),
            Type::Uuid { fixed: true } => {
                let bytes = self.array::<16>()?;
                Value::Bytes(uuid::Uuid::from_bytes(bytes).hyphenated().to_string().into())
            }
            Type::Date => {
                let days = self.int()?;
                match text::date(days) {
                    Some(date) => Value::Bytes(date.into()),
                    None => return self.fault(format_args!("the date {days} days after 1970")),
                }
            }
            Type::Time { per_second } => {
                let units = if *per_second == 1_000 { self.int()?.into() } else { self.long()? };
                match text::time(units, *per_second) {
                    Some(time) => Value::Bytes(time.into()),
                    None => return self.fault(format_args!("{units} is no time of a day")),
                }
            }
            Type::Timestamp { per_second } => {
                let units = self.long()?;
                match timestamp(units, *per_second) {
                    Some(time) => Value::Timestamp(time),
                    None => return self.fault(format_args!("the time {units} is beyond all calendars")),
                }
            }
            Type::LocalTimestamp { per_second } => {
                let units = self.long()?;
                match timestamp(units, *per_second) {
                    Some(time) => Value::Bytes(text::local(time, *per_second).into()),
                    None => return self.fault(format_args!("the time {units} is beyond all calendars")),
                }
            }
            Type::Union(_) | Type::Array(_) | Type::Map(_) | Type::Record(_) => {
                debug_assert!(false, "nested types are read above");
                Value::Null
            }
            Type::Duration => {
                let bytes = self.array::<12>()?;
                let part = |n: usize| {
                    let part = [bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]];
                    Value::Integer(u32::from_le_bytes(part).into())
                };
                let parts = [("months", part(0)), ("days", part(4)), ("milliseconds", part(8))];
                Value::Object(parts.into_iter().map(|(name, part)| (name.into(), part)).collect())
            }
        })
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    pub fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fault(format_args!("nested more than {MAX_DEPTH} deep")) } else { Ok(()) }
    }

    /// The items of an array or the entries of a map, block by block.
    pub fn blocks(&mut self, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        loop {
            let count = match self.long()? {
                0 => return Ok(()),
                count @ 1.. => count.unsigned_abs(),
                negative => {
                    // The bytes of the block follow, for those who pass over it.
                    self.length()?;
                    negative.unsigned_abs()
                }
            };
            for _ in 0..count {
                let before = self.at;
                each(self)?;
                // Entries of a map have a key.
                if self.at == before {
                    self.empty += 1;
                    if self.empty > MAX_EMPTY {
                        return self.fault(format_args!("more than {MAX_EMPTY} items without bytes"));
                    }
                }
            }
        }
    }
}

fn timestamp(units: i64, per_second: i64) -> Option<DateTime<Utc>> {
    let nanos = units.rem_euclid(per_second) * (1_000_000_000 / per_second);
    DateTime::from_timestamp(units.div_euclid(per_second), u32::try_from(nanos).ok()?)
}
