//! What is sent of a record, and what an answer does to it: decisions without I/O.

use bytes::Bytes;
use millstream_codec::{Codec, Coercion, encode_value};
use millstream_filter_api::{Failure, OwnedValuePath, Payload, Touched, Value};

use super::answer::{Answer, invalid};
use crate::into::Into;

pub(crate) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

/// A body and what kind it is; nothing at all for `None`.
pub(crate) type Body = Option<(Bytes, &'static str)>;

/// The payload as it is: the very bytes where nothing was touched.
pub(crate) fn of_payload(payload: &Payload) -> Result<Body, Failure> {
    let bytes = match (payload.original(), payload.value(), payload.touched()) {
        (None, None, _) => return Ok(None),
        (Some(raw), _, Touched::Nothing) | (Some(raw), None, _) => raw.clone(),
        (_, Some(value), _) => match (written(payload), string(value)) {
            (Written::Text, Some(text)) => text.clone(),
            (Written::Json, _) => Codec::Json.encode(payload, &Codec::Json).map_err(unwritten)?.unwrap_or_default(),
            _ => return json(value),
        },
    };
    let kind = match payload.value() {
        _ if starts_json(&bytes) && Codec::Json.decode(bytes.clone(), &Coercion::none()).is_ok() => JSON,
        Some(_) if written(payload) == Written::Json => JSON,
        _ => plain(&bytes),
    };
    Ok(Some((bytes, kind)))
}

/// What an expression gave: text as it is, null as nothing, anything else as JSON.
pub(super) fn of_value(value: Value) -> Result<Body, Failure> {
    match value {
        Value::Null => Ok(None),
        value => match string(&value) {
            Some(text) => Ok(Some((text.clone(), plain(text)))),
            None => json(&value),
        },
    }
}

fn json(value: &Value) -> Result<Body, Failure> {
    encode_value(value).map(|bytes| Some((bytes, JSON))).map_err(unwritten)
}

fn unwritten(e: millstream_codec::EncodeError) -> Failure {
    Failure::data(e.code, format!("the body of the call: {}", e.message))
}

/// A string, in either of the forms a value has for it.
fn string(value: &Value) -> Option<&Bytes> {
    match value {
        Value::Bytes(text) => Some(text),
        Value::String(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn plain(bytes: &[u8]) -> &'static str {
    if std::str::from_utf8(bytes).is_ok() { TEXT } else { BYTES }
}

/// Puts an answer in the place of the payload. JSON keeps the very bytes that came, where JSON is written.
pub(super) fn replace(payload: &mut Payload, answer: Answer) -> Result<(), Failure> {
    *payload = match (answer, written(payload)) {
        (Answer::Json(json), _) => json.in_json(),
        (Answer::Text(text), Written::Text) => Payload::decoded(text.clone(), Value::Bytes(text)),
        (Answer::Text(text), _) => Payload::from_value(readable(text)?),
        (Answer::Empty, Written::Text) => Payload::decoded(Bytes::new(), Value::Bytes(Bytes::new())),
        (Answer::Empty, _) => Payload::from_value(Value::Null),
    };
    Ok(())
}

/// Sets one field to an answer; the rest keeps its text.
pub(super) fn insert(payload: &mut Payload, into: &Into, answer: Answer) -> Result<(), Failure> {
    let value = match answer {
        Answer::Empty => Value::Null,
        Answer::Json(json) => json.value().cloned().unwrap_or(Value::Null),
        Answer::Text(text) => readable(text)?,
    };
    into.set(payload, value);
    Ok(())
}

fn readable(text: Bytes) -> Result<Value, Failure> {
    match std::str::from_utf8(&text) {
        Ok(_) => Ok(Value::Bytes(text)),
        Err(_) => Err(invalid("the answer is neither JSON nor UTF-8 text".to_owned())),
    }
}

/// How the payload's bytes were written. A filter is not told its stage's format, and does not need to: bytes and value
/// side by side say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Json,
    /// Formats `text` and `raw`: the value is a string of the bytes.
    Text,
    /// Format `csv`, or one of bytes, as `msgpack`.
    Row,
}

fn written(payload: &Payload) -> Written {
    let Some(raw) = payload.original().filter(|_| !payload.is_in_json()) else { return Written::Json };
    match payload.value() {
        Some(Value::Object(_) | Value::Array(_)) if !starts_json(raw) && !payload_is_root_touched(payload) => {
            Written::Row
        }
        // Bytes that are no text were never JSON, whatever was made of them.
        Some(value) if string(value).is_none() && std::str::from_utf8(raw).is_err() => Written::Row,
        None => Written::Text,
        Some(value) => match string(value) {
            Some(text) if text == raw || !raw.trim_ascii_start().starts_with(b"\"") => Written::Text,
            _ => Written::Json,
        },
    }
}

/// Then the value says nothing about the bytes that were.
fn payload_is_root_touched(payload: &Payload) -> bool {
    match payload.touched() {
        Touched::Nothing => false,
        Touched::Everything => true,
        Touched::Paths(all) => all.iter().any(|paths| paths.iter().any(OwnedValuePath::is_root)),
    }
}

fn starts_json(raw: &[u8]) -> bool {
    matches!(raw.trim_ascii_start().first(), Some(b'{' | b'['))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_codec::Packed;

    fn json(text: &'static str) -> Payload {
        Codec::Json.decode(text.into(), &Coercion::none()).unwrap()
    }

    fn text(text: &'static str) -> Payload {
        Codec::Text.decode(text.into(), &Coercion::none()).unwrap()
    }

    fn row(line: &'static str) -> Payload {
        let csv = Codec::Csv { columns: vec!["a".into(), "b".into()], separator: b',' };
        csv.decode(line.into(), &Coercion::none()).unwrap()
    }

    fn sent(payload: &Payload) -> (String, &'static str) {
        let (bytes, kind) = of_payload(payload).unwrap().unwrap();
        (String::from_utf8(bytes.to_vec()).unwrap(), kind)
    }

    #[test]
    fn the_payload_is_sent_as_it_is_with_its_kind() {
        for (payload, body, kind) in [
            (json("{ \"n\": 1.10 }"), "{ \"n\": 1.10 }", JSON),
            (json("\"a\""), "\"a\"", JSON),
            (json("7"), "7", JSON),
            (text("hello"), "hello", TEXT),
            (text("{\"a\": 1}"), "{\"a\": 1}", JSON),
            (text("{a"), "{a", TEXT),
            (row("1,2"), "1,2", TEXT),
            (Payload::from_bytes("[1]".into()), "[1]", JSON),
        ] {
            assert_eq!(sent(&payload), (body.to_owned(), kind));
        }
        let raw = Codec::Raw.decode(Bytes::from_static(&[0xff]), &Coercion::none()).unwrap();
        assert_eq!(of_payload(&raw).unwrap(), Some((Bytes::from_static(&[0xff]), BYTES)));
        assert_eq!(of_payload(&Payload::null()).unwrap(), None);
        assert_eq!(of_value(Value::Null).unwrap(), None);
        assert_eq!(of_value(Value::Integer(1)).unwrap(), Some(("1".into(), JSON)));
        assert_eq!(of_value(Value::from("a")).unwrap(), Some(("a".into(), TEXT)));
    }

    #[test]
    fn what_was_touched_is_spliced_where_it_can_be() {
        let touched: Arc<[OwnedValuePath]> = Arc::from([OwnedValuePath::single_field("a")]);
        let change = |mut payload: Payload| {
            payload.value_mut(&touched).unwrap().insert(&OwnedValuePath::single_field("a"), Value::Integer(5));
            sent(&payload)
        };
        assert_eq!(change(json("{ \"n\": 1.10, \"a\":1 }")), ("{ \"n\": 1.10, \"a\":5 }".to_owned(), JSON));
        assert_eq!(change(row("1,2")), ("{\"a\":5,\"b\":\"2\"}".to_owned(), JSON));
    }

    #[test]
    fn an_answer_takes_the_place_of_the_payload_in_its_own_format() {
        let answer = |text: &'static str| match Codec::Json.decode(text.into(), &Coercion::none()) {
            Ok(payload) => Answer::Json(payload),
            Err(_) if text.is_empty() => Answer::Empty,
            Err(_) => Answer::Text(text.into()),
        };
        let csv = Codec::Csv { columns: vec!["a".into(), "b".into()], separator: b',' };
        let big = "{ \"n\": 123456789012345678901234567890 }";
        for (mut payload, codec, body, want) in [
            (json("{}"), Codec::Json, big, big),
            (json("{}"), Codec::Json, "hello", "\"hello\""),
            (json("{}"), Codec::Json, "", "null"),
            (text("x"), Codec::Text, big, big),
            (text("x"), Codec::Text, "hello", "hello"),
            (text("x"), Codec::Text, "", ""),
            (row("1,2"), csv.clone(), "{\"b\":4,\"a\":3}", "3,4"),
        ] {
            replace(&mut payload, answer(body)).unwrap();
            assert_eq!(codec.encode(&payload, &codec).unwrap().unwrap(), want, "{codec:?} {body}");
        }
        // Red where the answer does not say that it is JSON. Before the second one nothing is as it was read.
        let root: Arc<[OwnedValuePath]> = Arc::from([OwnedValuePath::root()]);
        for (packed, want) in [(Packed::Msgpack, &b"\x81\xa1a\x03"[..]), (Packed::Cbor, b"\xa1\x61a\x03")] {
            let codec = Codec::Packed(packed);
            for (touch, times) in [(false, 1), (true, 1), (false, 2), (true, 2)] {
                let raw = codec.encode(&json("{\"b\":1}"), &Codec::Json).unwrap().unwrap();
                let mut payload = codec.decode(raw, &Coercion::none()).unwrap();
                if touch {
                    *payload.value_mut(&root).unwrap() = json("{\"c\":2}").value().unwrap().clone();
                }
                for _ in 0..times {
                    replace(&mut payload, answer("{ \"a\": 3 }")).unwrap();
                }
                assert_eq!(codec.encode(&payload, &codec).unwrap().unwrap(), want, "{codec:?} {touch} {times}");
            }
        }
        let unreadable = replace(&mut json("{}"), Answer::Text(Bytes::from_static(&[0xff])));
        assert_eq!(unreadable.unwrap_err().code, "http_response_invalid");
        let path = OwnedValuePath::single_field("r");
        let into = Into { touched: Arc::from([path.clone()]), path };
        let mut payload = json("{ \"n\": 1.10 }");
        insert(&mut payload, &into, answer("{\"x\":1}")).unwrap();
        let out = Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap();
        assert_eq!(out, "{ \"n\": 1.10,\"r\": {\"x\":1} }");
    }
}
