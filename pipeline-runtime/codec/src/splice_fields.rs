//! The usual change of a JSON object, in one pass without a list of its members: some of its own fields got other scalars, or
//! are new. It gives what `splice.rs` gives, or nothing.

use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{OwnedValuePath, Value};
use smallvec::SmallVec;
use vrl::path::OwnedSegment;

use crate::error::EncodeError;
use crate::render::{render, render_str};
use crate::scan::skip_space;
use crate::splice::same_scalar;
use crate::strict::{colon, pass_string, pass_value};

/// A field that was touched.
struct Field<'a> {
    name: &'a str,
    /// As it is now; `None`: it is not there.
    value: Option<&'a Value>,
    /// Where its value stands in the text.
    place: Option<(usize, usize)>,
}

/// `None` for whatever is not the usual change: deeper paths, fields that are gone, repeated or became containers, keys with
/// escapes.
pub(crate) fn splice(
    raw: &Bytes,
    value: &Value,
    touched: &[Arc<[OwnedValuePath]>],
) -> Option<Result<Bytes, EncodeError>> {
    let Value::Object(object) = value else { return None };
    let mut fields: SmallVec<[Field<'_>; 8]> = SmallVec::new();
    for path in touched.iter().flat_map(|paths| paths.iter()) {
        let [OwnedSegment::Field(name)] = path.segments.as_slice() else { return None };
        if !fields.iter().any(|field| field.name == name.as_str()) {
            fields.push(Field { name, value: object.get(name), place: None });
        }
    }
    let style = find(raw, &mut fields)?;
    Some(write(raw, fields, &style))
}

/// How the text writes members, and where the next one would stand.
struct Style<'r> {
    between: &'r [u8],
    colon: &'r [u8],
    end: usize,
    is_empty: bool,
}

fn find<'r>(text: &'r [u8], fields: &mut [Field<'_>]) -> Option<Style<'r>> {
    let start = skip_space(text, 0);
    if text.get(start) != Some(&b'{') {
        return None;
    }
    let mut style = Style { between: b",", colon: b":", end: start + 1, is_empty: true };
    let mut at = skip_space(text, start + 1);
    if text.get(at) == Some(&b'}') {
        return Some(style);
    }
    for member in 0.. {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key = pass_string(text, at)?;
        if key.escaped {
            return None;
        }
        let from = colon(text, key.end)?;
        let to = pass_value(text, from, 1)?;
        let name = text.get(at + 1..key.end - 1)?;
        if let Some(field) = fields.iter_mut().find(|field| field.name.as_bytes() == name) {
            let is_scalar = field.value.is_some_and(|v| !matches!(v, Value::Object(_) | Value::Array(_)));
            if !is_scalar || field.place.replace((from, to)).is_some() {
                return None;
            }
        }
        match member {
            0 => style.colon = &text[key.end..from],
            1 => style.between = &text[style.end..at],
            _ => {}
        }
        (style.end, style.is_empty) = (to, false);
        at = skip_space(text, to);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => break,
            _ => return None,
        }
    }
    Some(style)
}

fn write(raw: &Bytes, mut fields: SmallVec<[Field<'_>; 8]>, style: &Style<'_>) -> Result<Bytes, EncodeError> {
    fields.retain(|field| match (field.value, field.place) {
        (Some(value), Some((from, to))) => !same_scalar(&raw[from..to], value),
        (Some(_), None) => true,
        (None, _) => false,
    });
    if fields.is_empty() {
        return Ok(raw.clone());
    }
    let mut out = Vec::with_capacity(raw.len() + 64);
    let mut done = 0;
    // New fields keep the order they were made in, behind those that are there.
    fields.sort_by_key(|field| field.place.map_or(usize::MAX, |(from, _)| from));
    for field in &fields {
        let Some(value) = field.value else { continue };
        let (from, to) = field.place.unwrap_or((style.end.max(done), style.end.max(done)));
        out.extend_from_slice(&raw[done..from]);
        if field.place.is_none() {
            if !style.is_empty || done > 0 {
                out.extend_from_slice(style.between);
            }
            render_str(field.name, &mut out);
            out.extend_from_slice(style.colon);
        }
        render(value, &mut out)?;
        done = to;
    }
    out.extend_from_slice(&raw[done..]);
    Ok(out.into())
}
