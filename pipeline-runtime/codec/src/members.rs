//! JSON of which a few members are wanted: the rest of the object is passed over, not built. What is passed over is held to
//! the grammar all the same, so that a text is JSON or not whoever reads it.

use std::borrow::Cow;

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::{KeyString, ObjectMap};

use crate::json;
use crate::scan::skip_space;
use crate::strict::{colon, pass_string, pass_value};

/// The object of `raw` with those of its members that are `wanted`; of a repeated key the last value counts. `None` where
/// the text is no object, or nothing this pass is sure about: then the whole is to be parsed.
pub(crate) fn parse(raw: &Bytes, wanted: &[KeyString]) -> Option<Value> {
    std::str::from_utf8(raw).ok()?;
    let text: &[u8] = raw;
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    let mut object = ObjectMap::new();
    at = skip_space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return ends(text, at + 1).then_some(Value::Object(object));
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key = pass_string(text, at)?;
        let name = name(text.get(at..key.end)?, key.escaped)?;
        let from = colon(text, key.end)?;
        let to = pass_value(text, from, 1)?;
        if let Some(wanted) = wanted.iter().find(|w| w.as_bytes() == name.as_ref()) {
            let value = json::parse_part(raw, from..to)?;
            match object.get_mut(wanted) {
                Some(before) => *before = value,
                None => drop(object.insert(wanted.clone(), value)),
            }
        }
        at = skip_space(text, to);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => return ends(text, at + 1).then_some(Value::Object(object)),
            _ => return None,
        }
    }
}

/// The key between its quotes.
fn name(quoted: &[u8], escaped: bool) -> Option<Cow<'_, [u8]>> {
    if escaped {
        let name: String = serde_json::from_slice(quoted).ok()?;
        return Some(Cow::Owned(name.into_bytes()));
    }
    quoted.get(1..quoted.len() - 1).map(Cow::Borrowed)
}

/// Whether nothing but white space follows.
fn ends(text: &[u8], at: usize) -> bool {
    skip_space(text, at) == text.len()
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
