//! Writes a changed value into the JSON text it came from, so that what was not touched keeps its text byte for byte:
//! 30-digit integers, `1.10`, escapes, order, white space, repeated keys.
//!
//! Two rules make it safe. A member that no touched path names is copied without a look. A member below a touched path
//! is compared with the value, part by part, and only parts that differ are rendered: so a path that was touched but
//! not changed (`if … { .x = 0 }`) changes nothing, and a wrong guess about array positions costs text, never a value.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{OwnedValuePath, Value};
use smallvec::SmallVec;
use vrl::path::OwnedSegment;
use vrl::value::ObjectMap;

use crate::error::EncodeError;
use crate::render::{encode_value, render, render_str};
use crate::scan::{Member, elements, members, skip_space, skip_value};
use crate::splice_fields;

/// The text of `value`, which differs from what `raw` decodes to at most at `touched` or below.
/// Where the value is `partial`, members that nobody touched are in `raw` alone.
pub(crate) fn splice(
    raw: &Bytes,
    value: &Value,
    touched: &[Arc<[OwnedValuePath]>],
    partial: bool,
) -> Result<Bytes, EncodeError> {
    match splice_fields::splice(raw, value, touched) {
        Some(spliced) => spliced,
        None => splice_any(raw, value, touched, partial),
    }
}

fn splice_any(
    raw: &Bytes,
    value: &Value,
    touched: &[Arc<[OwnedValuePath]>],
    partial: bool,
) -> Result<Bytes, EncodeError> {
    let paths: Paths<'_> = touched.iter().flat_map(|p| p.iter()).map(|p| p.segments.as_slice()).collect();
    let mut splicer = Splicer { raw, out: Vec::new(), done: 0 };
    match splicer.value(skip_space(raw, 0), value, Scope::of(&paths), 0) {
        Ok(_) if splicer.done == 0 => Ok(raw.clone()),
        Ok(_) => {
            splicer.copy_to(raw.len());
            Ok(splicer.out.into())
        }
        Err(Stop::NotJson) if partial => Err(EncodeError::in_part()),
        Err(Stop::NotJson) => encode_value(value),
        Err(Stop::Encode(e)) => Err(e),
    }
}

type Path<'a> = &'a [OwnedSegment];
type Paths<'a> = SmallVec<[Path<'a>; 8]>;

/// What of a value may differ from the text.
#[derive(Clone, Copy)]
enum Scope<'a> {
    All,
    Below(&'a [Path<'a>]),
}

impl<'a> Scope<'a> {
    fn of(paths: &'a [Path<'a>]) -> Self {
        if paths.iter().any(|p| p.is_empty()) { Self::All } else { Self::Below(paths) }
    }
}

enum Stop {
    /// The text is not the JSON it should be, or nested deeper than the decoder allows: nothing to splice into.
    NotJson,
    Encode(EncodeError),
}

impl From<EncodeError> for Stop {
    fn from(e: EncodeError) -> Self {
        Self::Encode(e)
    }
}

/// Copies `raw` to `out` lazily: everything up to `done` is settled, and stays 0 until the first edit.
struct Splicer<'r> {
    raw: &'r [u8],
    out: Vec<u8>,
    done: usize,
}

impl Splicer<'_> {
    /// Settles the value whose text starts at `pos`; gives the position after it.
    fn value(&mut self, pos: usize, value: &Value, scope: Scope<'_>, depth: usize) -> Result<usize, Stop> {
        if depth > 128 {
            return Err(Stop::NotJson);
        }
        match (self.raw.get(pos), value) {
            (Some(b'{'), Value::Object(object)) => self.object(pos, object, scope, depth),
            (Some(b'['), Value::Array(array)) => self.array(pos, array, scope, depth),
            _ => {
                let end = skip_value(self.raw, pos).ok_or(Stop::NotJson)?;
                let text = self.raw.get(pos..end).ok_or(Stop::NotJson)?;
                if !same_scalar(text, value) {
                    self.cut(pos, end);
                    render(value, &mut self.out)?;
                }
                Ok(end)
            }
        }
    }

    fn object(&mut self, pos: usize, object: &ObjectMap, scope: Scope<'_>, depth: usize) -> Result<usize, Stop> {
        let (members, end) = members(self.raw, pos).ok_or(Stop::NotJson)?;
        let keys: SmallVec<[Cow<'_, str>; 16]> =
            members.iter().map(|m| key_of(self.raw, m)).collect::<Option<_>>().ok_or(Stop::NotJson)?;
        let scope = match scope {
            // A position written to an object makes an array of it, so nothing of the old object may be left.
            Scope::Below(paths) if !paths.iter().all(|p| p.first().is_some_and(OwnedSegment::is_field)) => Scope::All,
            other => other,
        };
        // Only a comparison of everything can meet many keys; the last place of each decides.
        let last: Option<HashMap<&str, usize>> =
            matches!(scope, Scope::All).then(|| keys.iter().enumerate().map(|(i, k)| (k.as_ref(), i)).collect());
        let mut kept = 0usize;
        for (i, member) in members.iter().enumerate() {
            let key = keys[i].as_ref();
            let below: Paths<'_> = match scope {
                Scope::All => Paths::new(),
                Scope::Below(paths) => tails(paths, |s| matches!(s, OwnedSegment::Field(f) if f.as_str() == key)),
            };
            let touched = last.is_some() || !below.is_empty();
            let repeated_later = match &last {
                Some(last) => last.get(key) != Some(&i),
                None => touched && keys[i + 1..].iter().any(|k| k == key),
            };
            let value = if touched && !repeated_later { object.get(key) } else { None };
            if touched && value.is_none() {
                if kept > 0 {
                    self.cut(members[i - 1].value.1, member.value.1);
                }
                continue;
            }
            if kept == 0 && i > 0 {
                self.cut(members[0].key.0, member.key.0);
            }
            kept += 1;
            if let Some(value) = value {
                let scope = if last.is_some() { Scope::All } else { Scope::of(&below) };
                self.value(member.value.0, value, scope, depth + 1)?;
            }
        }
        if let (0, Some((first, tail))) = (kept, members.first().zip(members.last())) {
            self.cut(first.key.0, tail.value.1);
        }
        self.append_members(pos, &members, &keys, object, scope, kept)?;
        Ok(end)
    }

    /// Adds the members that the text does not have, after its last one and in its style.
    fn append_members(
        &mut self,
        pos: usize,
        members: &[Member],
        keys: &[Cow<'_, str>],
        object: &ObjectMap,
        scope: Scope<'_>,
        mut count: usize,
    ) -> Result<(), Stop> {
        let raw = self.raw;
        let at = members.last().map_or(pos + 1, |m| m.value.1);
        let between: &[u8] = match members {
            [first, second, ..] => &raw[first.value.1..second.key.0],
            _ => b",",
        };
        let colon: &[u8] = members.first().map_or(b":", |m| &raw[m.key.1..m.value.0]);
        let mut add = |key: &str, value: &Value| -> Result<(), Stop> {
            self.cut(at.max(self.done), at);
            if count > 0 {
                self.out.extend_from_slice(between);
            }
            count += 1;
            render_str(key, &mut self.out);
            self.out.extend_from_slice(colon);
            Ok(render(value, &mut self.out)?)
        };
        match scope {
            Scope::All => {
                let present: HashSet<&str> = keys.iter().map(AsRef::as_ref).collect();
                for (key, value) in object.iter().filter(|(k, _)| !present.contains(k.as_str())) {
                    add(key, value)?;
                }
            }
            Scope::Below(paths) => {
                for (i, path) in paths.iter().enumerate() {
                    let Some(OwnedSegment::Field(key)) = path.first() else { continue };
                    let settled = paths[..i].iter().any(|p| p.first() == path.first());
                    if settled || keys.iter().any(|k| k == key.as_str()) {
                        continue;
                    }
                    if let Some(value) = object.get(key) {
                        add(key, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn array(&mut self, pos: usize, array: &[Value], scope: Scope<'_>, depth: usize) -> Result<usize, Stop> {
        let (elements, end) = elements(self.raw, pos).ok_or(Stop::NotJson)?;
        let by_position = |p: &Path<'_>| matches!(p.first(), Some(OwnedSegment::Index(i)) if *i >= 0);
        let scope = match scope {
            // Elements moved: positions say nothing, compare everything.
            Scope::Below(paths) if array.len() < elements.len() || !paths.iter().all(by_position) => Scope::All,
            other => other,
        };
        for (i, (element, value)) in elements.iter().zip(array).enumerate() {
            match scope {
                Scope::All => {
                    self.value(element.0, value, Scope::All, depth + 1)?;
                }
                Scope::Below(paths) => {
                    let below = tails(paths, |s| matches!(s, OwnedSegment::Index(n) if usize::try_from(*n) == Ok(i)));
                    if !below.is_empty() {
                        self.value(element.0, value, Scope::of(&below), depth + 1)?;
                    }
                }
            }
        }
        if let (Some(tail), true) = (elements.last(), array.len() < elements.len()) {
            self.cut(if array.is_empty() { elements[0].0 } else { elements[array.len() - 1].1 }, tail.1);
        }
        if array.len() > elements.len() {
            let raw = self.raw;
            let at = elements.last().map_or(pos + 1, |e| e.1);
            let between: &[u8] = match elements.as_slice() {
                [first, second, ..] => &raw[first.1..second.0],
                _ => b",",
            };
            self.cut(at, at);
            for (i, value) in array.iter().enumerate().skip(elements.len()) {
                if i > 0 {
                    self.out.extend_from_slice(between);
                }
                render(value, &mut self.out)?;
            }
        }
        Ok(end)
    }

    fn copy_to(&mut self, pos: usize) {
        if self.out.capacity() == 0 {
            self.out.reserve(self.raw.len() + 64);
        }
        if let Some(settled) = self.raw.get(self.done..pos) {
            self.out.extend_from_slice(settled);
            self.done = pos;
        }
    }

    /// Leaves out `from..to`; what stands before is copied. Positions only ever grow.
    fn cut(&mut self, from: usize, to: usize) {
        self.copy_to(from);
        self.done = self.done.max(to);
    }
}

/// The rests of the paths whose first segment is meant.
fn tails<'a>(paths: &[Path<'a>], mut meant: impl FnMut(&OwnedSegment) -> bool) -> Paths<'a> {
    paths.iter().filter_map(|p| p.split_first()).filter(|(first, _)| meant(first)).map(|(_, rest)| rest).collect()
}

pub(crate) fn key_of<'r>(raw: &'r [u8], member: &Member) -> Option<Cow<'r, str>> {
    let quoted = raw.get(member.key.0..member.key.1)?;
    let plain = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', plain).is_none() {
        return std::str::from_utf8(plain).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(quoted).ok().map(Cow::Owned)
}

/// Whether the text decodes to this value. An integer's text also stands for the equal float: the decoder made it one
/// where the types say so.
pub(crate) fn same_scalar(text: &[u8], value: &Value) -> bool {
    match value {
        Value::Null => text == b"null",
        Value::Boolean(b) => text == if *b { &b"true"[..] } else { b"false" },
        Value::Integer(i) => serde_json::from_slice::<i64>(text).is_ok_and(|t| t == *i),
        // Any number beyond a float was decoded as the infinite one of its sign.
        Value::Float(f) if f.is_infinite() => std::str::from_utf8(text).is_ok_and(|t| t.parse() == Ok(f.into_inner())),
        Value::Float(f) => serde_json::from_slice::<f64>(text).is_ok_and(|t| t.to_bits() == f.to_bits()),
        Value::Bytes(bytes) => same_string(text, bytes),
        Value::String(string) => same_string(text, string.as_bytes()),
        Value::Object(_) | Value::Array(_) | Value::Regex(_) | Value::Timestamp(_) => false,
    }
}

fn same_string(text: &[u8], value: &[u8]) -> bool {
    let [b'"', inner @ .., b'"'] = text else { return false };
    if memchr::memchr(b'\\', inner).is_none() {
        return inner == value;
    }
    serde_json::from_slice::<Cow<'_, str>>(text).is_ok_and(|t| t.as_bytes() == value)
}

#[cfg(test)]
#[path = "splice_tests.rs"]
mod tests;
