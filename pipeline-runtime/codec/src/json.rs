//! JSON text to a value, in one pass and without a tree between: a visitor straight into [`Value`]. Strings without
//! escapes are slices of the payload, not copies.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use millstream_filter_api::Value;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use vrl::value::{KeyString, ObjectMap};

use crate::error::DecodeError;
use crate::scan::{skip_string, skip_value};

/// Exactly one JSON value with nothing but white space around it. Nesting is capped by serde_json (127 levels).
pub(crate) fn parse(raw: &Bytes) -> Result<Value, DecodeError> {
    // UTF-8 is checked once for the whole text; checking string by string is slower.
    let text = std::str::from_utf8(raw).map_err(|e| DecodeError::utf8("the payload", e.valid_up_to()))?;
    let parsed = parse_text(text, Seed { raw, beyond: None });
    parsed.or_else(|e| parse_beyond_range(raw).unwrap_or(Err(e))).map_err(DecodeError::json)
}

/// One value of a text that was found to be JSON. `None` where the parser sees it otherwise, as for a number beyond range.
pub(crate) fn parse_part(raw: &Bytes, part: Range<usize>) -> Option<Value> {
    parse_text(std::str::from_utf8(raw.get(part)?).ok()?, Seed { raw, beyond: None }).ok()
}

fn parse_text(text: &str, seed: Seed<'_>) -> serde_json::Result<Value> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

/// The parser refuses numbers beyond a float (`1e400`). They are decoded as infinite, which is the nearest float: the
/// text keeps them, and whoever computes with one finds out. `None` if the text holds none.
#[cold]
fn parse_beyond_range(raw: &Bytes) -> Option<serde_json::Result<Value>> {
    let (tame, places) = tamed(raw)?;
    let tame = Bytes::from(tame);
    let text = std::str::from_utf8(&tame).ok()?;
    let beyond = Beyond { places, seen: Cell::new(0) };
    Some(parse_text(text, Seed { raw: &tame, beyond: Some(&beyond) }))
}

/// The text with each number beyond range replaced by one of equal length and sign that is not, so that everything else
/// is found (or refused) at its place; and which of all numbers of the text these are.
fn tamed(raw: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let (mut text, mut places, mut at, mut count) = (raw.to_vec(), Vec::new(), 0, 0);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => at = skip_string(raw, at).unwrap_or(raw.len()),
            b'-' | b'0'..=b'9' => {
                let end = skip_value(raw, at).unwrap_or(raw.len());
                let digits = at + usize::from(*byte == b'-');
                if is_beyond(&raw[digits..end]) {
                    text[digits..end].fill(b'0');
                    text[digits..digits + 2].copy_from_slice(b"1e");
                    places.push(count);
                }
                count += 1;
                at = end;
            }
            _ => at += 1,
        }
    }
    (!places.is_empty()).then_some((text, places))
}

/// Whether a number without its sign is one of JSON and beyond a float. A float's parser takes more than JSON does: what
/// JSON does not know is left for the parser of JSON to refuse.
fn is_beyond(number: &[u8]) -> bool {
    let json = match number {
        [b'0', b'0'..=b'9', ..] => false,
        [b'0'..=b'9', ..] => !number.windows(2).any(|w| w[0] == b'.' && !w[1].is_ascii_digit()),
        _ => false,
    };
    let parsed = || std::str::from_utf8(number).ok().and_then(|n| n.parse::<f64>().ok());
    json && parsed().is_some_and(f64::is_infinite)
}

/// Which of a text's numbers, counted as they stand, are beyond range.
struct Beyond {
    places: Vec<usize>,
    seen: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Seed<'r> {
    raw: &'r Bytes,
    beyond: Option<&'r Beyond>,
}

impl Seed<'_> {
    /// The number that was read, or an infinite one in its place.
    fn number(self, value: Value, negative: bool) -> Value {
        let Some(beyond) = self.beyond else { return value };
        let place = beyond.seen.get();
        beyond.seen.set(place + 1);
        match beyond.places.binary_search(&place) {
            Ok(_) if negative => Value::from_f64_or_zero(f64::NEG_INFINITY),
            Ok(_) => Value::from_f64_or_zero(f64::INFINITY),
            Err(_) => value,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(self.number(Value::Integer(value), value < 0))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        let value = i64::try_from(value).map_or_else(|_| Value::from_f64_or_zero(value as f64), Value::Integer);
        Ok(self.number(value, false))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(self.number(Value::from_f64_or_zero(value), value.is_sign_negative()))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value, E> {
        Ok(Value::Bytes(self.raw.slice_ref(value.as_bytes())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(value.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = ObjectMap::new();
        while let Some(key) = members.next_key::<KeyString>()? {
            object.insert(key, members.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}
