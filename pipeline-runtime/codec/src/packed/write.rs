//! Values to items. Where there is an original, what is equal to a part of it is copied from there, bytes and all: the width of
//! numbers, the order of keys, the kind of strings.

use std::collections::HashSet;

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::ObjectMap;

use super::read::{Form, Is, MAX_DEPTH, Member, Part, Parts};
use crate::error::EncodeError;

/// A whole value; `taken` is what it was made of.
pub(super) fn whole<F: Form>(value: &Value, taken: Option<(&Bytes, &Parts)>) -> Result<Bytes, EncodeError> {
    let mut writer = Writer { out: Vec::with_capacity(128), depth: 0, taken };
    writer.finish::<F>(value, None)
}

/// The original with the parts that differ from `value` written anew.
pub(super) fn spliced<F: Form>(raw: &Bytes, value: &Value, parts: &Parts) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(raw.len() + 32);
    out.extend_from_slice(&raw[..parts.root.at.start]);
    let mut writer = Writer { out, depth: 0, taken: Some((raw, parts)) };
    writer.finish::<F>(value, Some(&parts.root))
}

struct Writer<'a> {
    out: Vec<u8>,
    depth: usize,
    taken: Option<(&'a Bytes, &'a Parts)>,
}

struct Fault {
    what: &'static str,
    /// Innermost first.
    path: Vec<String>,
}

impl From<&'static str> for Fault {
    #[cold]
    fn from(what: &'static str) -> Self {
        Self { what, path: Vec::new() }
    }
}

impl Fault {
    fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}

impl Writer<'_> {
    fn finish<F: Form>(&mut self, value: &Value, was: Option<&Part>) -> Result<Bytes, EncodeError> {
        self.value::<F>(value, was).map_err(|fault| {
            let path: String = fault.path.iter().rev().map(String::as_str).collect();
            EncodeError::new(format!("`{}` {}", if path.is_empty() { "." } else { &path }, fault.what))
        })?;
        Ok(std::mem::take(&mut self.out).into())
    }

    /// Writes a value, and says whether it is what was there. Small on the stack: it calls itself for what is nested.
    fn value<F: Form>(&mut self, value: &Value, was: Option<&Part>) -> Result<bool, Fault> {
        let start = self.out.len();
        let same = match (value, was.map(|part| &part.is)) {
            (Value::Array(items), was) => {
                self.enter()?;
                let parts = if let Some(Is::Array(parts)) = was { Some(parts.as_slice()) } else { None };
                F::array(&mut self.out, items.len())?;
                let mut same = parts.is_some_and(|parts| parts.len() == items.len());
                for (n, item) in items.iter().enumerate() {
                    let part = parts.and_then(|parts| parts.get(n));
                    same &= self.value::<F>(item, part).map_err(|f| f.below(|| format!("[{n}]")))?;
                }
                self.depth -= 1;
                same
            }
            (Value::Object(object), was) => {
                self.enter()?;
                let members = if let Some(Is::Object(members)) = was { Some(members.as_slice()) } else { None };
                let same = self.object::<F>(object, members.unwrap_or_default())?;
                self.depth -= 1;
                same && members.is_some()
            }
            (leaf, Some(Is::Leaf(old))) if is_same(old, leaf) => true,
            (leaf, _) => {
                self.leaf::<F>(leaf)?;
                false
            }
        };
        if let (true, Some(part), Some((raw, _))) = (same, was, self.taken) {
            self.out.truncate(start);
            self.out.extend_from_slice(&raw[part.at.clone()]);
        }
        Ok(same)
    }

    /// Members in the order in which they were there, then others by name.
    fn object<F: Form>(&mut self, object: &ObjectMap, members: &[Member]) -> Result<bool, Fault> {
        F::object(&mut self.out, object.len())?;
        let mut same = object.len() == members.len();
        let mut known = HashSet::with_capacity(members.len());
        for member in members {
            let Some(value) = object.get(&member.name) else {
                same = false;
                continue;
            };
            known.insert(member.name.as_str());
            if let Some((raw, _)) = self.taken {
                self.out.extend_from_slice(&raw[member.at.clone()]);
            }
            let written = self.value::<F>(value, Some(&member.part));
            same &= written.map_err(|f| f.below(|| format!(".{}", member.name)))?;
        }
        for (name, value) in object.iter().filter(|(name, _)| !known.contains(name.as_str())) {
            let below = |f: Fault| f.below(|| format!(".{name}"));
            F::text(&mut self.out, name.as_bytes()).map_err(|what| below(what.into()))?;
            self.value::<F>(value, None).map_err(below)?;
        }
        Ok(same)
    }

    #[inline(never)]
    fn leaf<F: Form>(&mut self, value: &Value) -> Result<(), Fault> {
        let is_bytes = |bytes: &Bytes| std::str::from_utf8(bytes).is_err() || self.was_bytes(bytes);
        let is_bytes = matches!(value, Value::Bytes(bytes) if is_bytes(bytes));
        let out = &mut self.out;
        match value {
            Value::Null => F::null(out),
            Value::Boolean(yes) => F::boolean(out, *yes),
            Value::Integer(integer) => F::integer(out, *integer),
            Value::Float(float) => F::float(out, float.into_inner()),
            Value::Bytes(bytes) if is_bytes => F::bytes(out, bytes)?,
            Value::Bytes(text) => F::text(out, text)?,
            Value::String(text) => F::text(out, text.as_bytes())?,
            Value::Regex(regex) => F::text(out, regex.as_str().as_bytes())?,
            Value::Timestamp(time) => F::time(out, *time)?,
            Value::Array(_) | Value::Object(_) => debug_assert!(false, "nested values are written above"),
        }
        Ok(())
    }

    /// Whether a string is (a part of) one of the original that is no text: strings of payloads are not copied, so that it can
    /// be told by where it lies. Its contents do not tell.
    fn was_bytes(&self, string: &Bytes) -> bool {
        let Some((raw, parts)) = self.taken else { return false };
        let Some(at) = (string.as_ptr() as usize).checked_sub(raw.as_ptr() as usize) else { return false };
        let next = parts.bytes.partition_point(|place| place.end <= at);
        parts.bytes.get(next).is_some_and(|place| place.contains(&at) && at + string.len() <= place.end)
    }

    fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        // What is written can be read again.
        if self.depth > MAX_DEPTH { Err("is nested more than 127 deep".into()) } else { Ok(()) }
    }
}

/// Whether a part stands for this value. An integer also stands for the equal float: the decoder made it one where the types
/// say so.
fn is_same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        // Zeros of two signs are equal, and not the same.
        (Value::Float(old), Value::Float(new)) => old.to_bits() == new.to_bits(),
        (Value::Integer(old), Value::Float(new)) => (*old as f64).to_bits() == new.to_bits(),
        _ => old == new,
    }
}
