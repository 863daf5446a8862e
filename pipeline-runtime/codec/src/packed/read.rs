//! Items to values, whatever the format: bounded by the bytes that are there.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use millstream_filter_api::Value;
use vrl::value::{KeyString, ObjectMap};

/// As for JSON.
pub(super) const MAX_DEPTH: usize = 127;
/// Items that room is made for before they are there.
const AHEAD: usize = 16;

/// A format: how one item begins, and how one is written.
pub(super) trait Form {
    /// For people.
    const NAME: &'static str;
    /// Of payloads that cannot be read.
    const CODE: &'static str;

    /// The next item; of an array or an object its head alone.
    fn item(reader: &mut Reader<'_>) -> Read<Item>;

    fn null(out: &mut Vec<u8>);
    fn boolean(out: &mut Vec<u8>, yes: bool);
    fn integer(out: &mut Vec<u8>, integer: i64);
    fn float(out: &mut Vec<u8>, float: f64);
    // Below, the error says why not, as in "`.at` is …".
    fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str>;
    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), &'static str>;
    fn time(out: &mut Vec<u8>, time: DateTime<Utc>) -> Result<(), &'static str>;
    fn array(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str>;
    fn object(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str>;
}

/// What an item is.
pub(super) enum Item {
    /// Text, where it is a string.
    Leaf(Value),
    /// No text, though it may look so.
    Bytes(Bytes),
    /// So many items follow; without a number, as many as come before a mark.
    Array(Option<usize>),
    /// So many pairs, likewise.
    Object(Option<usize>),
}

/// The payload's only item as a value.
pub(super) fn value<F: Form>(raw: &Bytes) -> Read<Value> {
    let mut reader = Reader::new(raw);
    let value = reader.value::<F>()?;
    reader.end().map(|()| value)
}

/// The payload's only item, with the place of each part.
pub(super) fn parts<F: Form>(raw: &Bytes) -> Read<Parts> {
    let (mut reader, mut bytes) = (Reader::new(raw), Vec::new());
    let mut root = reader.part::<F>(&mut bytes)?;
    root.at.start = root.at.start.max(reader.body);
    reader.end().map(|()| Parts { root, bytes })
}

/// A payload and its parts.
pub(super) struct Parts {
    pub root: Part,
    /// Where its strings are that are no text, in order.
    pub bytes: Vec<Range<usize>>,
}

/// One item.
pub(super) struct Part {
    /// Where it stands, with all that is in it.
    pub at: Range<usize>,
    pub is: Is,
}

pub(super) enum Is {
    Leaf(Value),
    Array(Vec<Part>),
    Object(Vec<Member>),
}

pub(super) struct Member {
    pub name: KeyString,
    /// Where its name stands.
    pub at: Range<usize>,
    pub part: Part,
}

/// What is wrong, and the way to it, innermost first.
pub(super) struct Fault {
    what: String,
    path: Vec<String>,
}

impl Fault {
    /// The way to it and what it is.
    #[cold]
    pub fn tell(self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        if path.is_empty() { self.what } else { format!("`{path}`: {}", self.what) }
    }

    fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

pub(super) type Read<T> = Result<T, Fault>;

pub(super) struct Reader<'a> {
    pub raw: &'a Bytes,
    pub at: usize,
    /// Where the item begins behind a word that says no more than which format this is.
    pub body: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(raw: &'a Bytes) -> Self {
        Self { raw, at: 0, body: 0, depth: 0 }
    }

    fn end(&self) -> Read<()> {
        match self.raw.len() - self.at {
            0 => Ok(()),
            more => self.fault(format_args!("{more} bytes are left")),
        }
    }

    /// Something is wrong here.
    #[cold]
    pub fn fault<T>(&self, what: impl std::fmt::Display) -> Read<T> {
        self.fault_at(self.at, what)
    }

    /// Something is wrong with what begins there.
    #[cold]
    pub fn fault_at<T>(&self, at: usize, what: impl std::fmt::Display) -> Read<T> {
        Err(Fault { what: format!("{what} at byte {at} of {}", self.raw.len()), path: Vec::new() })
    }

    pub fn take(&mut self, count: usize) -> Read<Bytes> {
        let left = self.raw.len() - self.at;
        if count > left {
            return self.fault(format_args!("{count} bytes are announced, and {left} are left"));
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
            None => self.fault("the payload ends too early"),
        }
    }

    /// An integer of an item that began there.
    pub fn integer(&self, start: usize, integer: impl TryInto<i64> + Copy + std::fmt::Display) -> Read<Item> {
        match integer.try_into() {
            Ok(integer) => Ok(Item::Leaf(Value::Integer(integer))),
            Err(_) => self
                .fault_at(start, format_args!("{integer} is beyond the integers of expressions (64 bits with a sign)")),
        }
    }

    /// A float of an item that began there.
    pub fn float(&self, start: usize, float: f64) -> Read<Item> {
        if float.is_nan() {
            return self.fault_at(start, "a float is not a number (NaN), which no expression can compute with,");
        }
        Ok(Item::Leaf(Value::from_f64_or_zero(float)))
    }

    /// Text of an item that began there.
    pub fn text(&self, start: usize, text: Bytes) -> Read<Item> {
        match std::str::from_utf8(&text) {
            Ok(_) => Ok(Item::Leaf(Value::Bytes(text))),
            Err(_) => self.fault_at(start, "text is not UTF-8"),
        }
    }

    /// A time of an item that began there.
    pub fn time(&self, start: usize, seconds: i64, nanos: u32) -> Read<Item> {
        match DateTime::from_timestamp(seconds, nanos).filter(|_| nanos < 1_000_000_000) {
            Some(time) => Ok(Item::Leaf(Value::Timestamp(time))),
            None => self.fault_at(start, "a time is beyond all calendars"),
        }
    }

    /// Small on the stack: it calls itself for what is nested.
    fn value<F: Form>(&mut self) -> Read<Value> {
        Ok(match F::item(self)? {
            Item::Leaf(leaf) => leaf,
            Item::Bytes(bytes) => Value::Bytes(bytes),
            Item::Array(count) => {
                let mut array = Vec::with_capacity(count.unwrap_or(0).min(AHEAD));
                self.items(count, 1, |reader, n| {
                    array.push(reader.value::<F>().map_err(|f| f.below(|| format!("[{n}]")))?);
                    Ok(())
                })?;
                Value::Array(array)
            }
            Item::Object(count) => {
                let mut object = ObjectMap::new();
                self.items(count, 2, |reader, _| {
                    let (at, name) = reader.name::<F>()?;
                    let value = reader.value::<F>().map_err(|f| f.below(|| format!(".{name}")))?;
                    if object.contains_key(&name) {
                        return reader.twice(at.start, &name);
                    }
                    object.insert(name, value);
                    Ok(())
                })?;
                Value::Object(object)
            }
        })
    }

    fn part<F: Form>(&mut self, bytes: &mut Vec<Range<usize>>) -> Read<Part> {
        let start = self.at;
        let is = match F::item(self)? {
            Item::Leaf(leaf) => Is::Leaf(leaf),
            Item::Bytes(string) => {
                bytes.push(start..self.at);
                Is::Leaf(Value::Bytes(string))
            }
            Item::Array(count) => {
                let mut parts = Vec::with_capacity(count.unwrap_or(0).min(AHEAD));
                self.items(count, 1, |reader, _| {
                    parts.push(reader.part::<F>(bytes)?);
                    Ok(())
                })?;
                Is::Array(parts)
            }
            Item::Object(count) => {
                let mut members = Vec::with_capacity(count.unwrap_or(0).min(AHEAD));
                self.items(count, 2, |reader, _| {
                    let (at, name) = reader.name::<F>()?;
                    members.push(Member { name, at, part: reader.part::<F>(bytes)? });
                    Ok(())
                })?;
                Is::Object(members)
            }
        };
        Ok(Part { at: start..self.at, is })
    }

    /// The name of a member, and where it stands.
    fn name<F: Form>(&mut self) -> Read<(Range<usize>, KeyString)> {
        let start = self.at;
        match F::item(self)? {
            Item::Leaf(Value::Bytes(text)) => {
                Ok((start..self.at, KeyString::from(String::from_utf8_lossy(&text).into_owned())))
            }
            _ => self.fault_at(start, "a key of a map is not text, as names in expressions are,"),
        }
    }

    #[cold]
    fn twice<T>(&self, at: usize, name: &KeyString) -> Read<T> {
        self.fault_at(at, format_args!("the key `{name}` is there a second time"))
    }

    /// What follows the head of an array or an object, each of so many items.
    fn items(
        &mut self,
        count: Option<usize>,
        of: usize,
        mut each: impl FnMut(&mut Self, usize) -> Read<()>,
    ) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fault(format_args!("nested more than {MAX_DEPTH} deep"));
        }
        let left = self.raw.len() - self.at;
        match count {
            // An item has a byte at least.
            Some(count) if count > left / of => {
                return self.fault(format_args!("{count} items are announced, and {left} bytes are left"));
            }
            Some(count) => (0..count).try_for_each(|n| each(self, n))?,
            None => {
                for n in 0.. {
                    if self.raw.get(self.at) == Some(&super::cbor::BREAK) {
                        self.at += 1;
                        break;
                    }
                    each(self, n)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}
