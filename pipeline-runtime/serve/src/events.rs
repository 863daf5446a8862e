//! CloudEvents 1.0 over HTTP: attributes and payloads of events in binary, structured and batched mode.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use millstream_host::intake::{Message, Name};
use millstream_spec::model::Format;
use serde_json::value::RawValue;

use crate::problem::Problem;

/// Events of one batch at most.
const MAX_EVENTS: usize = 1_000;
/// Attributes of an event at most, and bytes of one.
const MAX_ATTRIBUTES: usize = 100;
const MAX_ATTRIBUTE: usize = 4_096;

/// An event in binary mode: its attributes are headers, the body is its payload.
pub(crate) fn binary(headers: &HeaderMap, body: Bytes) -> Result<Message, Problem> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().and_then(unescaped);
        let text = text.ok_or_else(|| bad(name, format!("the header `ce-{name}` is not readable")))?;
        if attributes.insert(name.to_owned(), text).is_some() {
            return Err(bad(name, format!("the header `ce-{name}` is there twice")));
        }
    }
    let content = headers.get(CONTENT_TYPE).and_then(|c| c.to_str().ok()).map(str::to_owned);
    message(attributes, content, body)
}

/// An event in structured mode.
pub(crate) fn structured(format: &Format, body: &[u8]) -> Result<Message, Problem> {
    one(format, serde_json::from_slice(body).map_err(|e| broken(&e))?)
}

/// Events in one list.
pub(crate) fn batch(format: &Format, body: &[u8]) -> Result<Vec<Message>, Problem> {
    let all: Vec<Members<'_>> = serde_json::from_slice(body).map_err(|e| broken(&e))?;
    if all.len() > MAX_EVENTS {
        let detail = format!("a batch holds at most {MAX_EVENTS} events, and these are {}", all.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail));
    }
    all.into_iter().map(|event| one(format, event)).collect()
}

type Members<'b> = BTreeMap<String, &'b RawValue>;

fn one(format: &Format, mut members: Members<'_>) -> Result<Message, Problem> {
    let data = members.remove("data");
    let base64 = members.remove("data_base64");
    let mut attributes = BTreeMap::new();
    for (name, value) in members {
        let text = match serde_json::from_str(value.get()) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(serde_json::Value::Bool(flag)) => flag.to_string(),
            Ok(serde_json::Value::Number(number)) => number.to_string(),
            Ok(serde_json::Value::Null) => continue,
            _ => return Err(bad(&name, format!("the attribute `{name}` is no text, number or flag"))),
        };
        attributes.insert(name, text);
    }
    let content = attributes.remove("datacontenttype");
    let payload = match (data, base64) {
        (Some(_), Some(_)) => return Err(bad("data", "an event has `data` or `data_base64`, not both".to_owned())),
        (None, Some(text)) => {
            let text: Option<String> = serde_json::from_str(text.get()).ok();
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            Bytes::from(bytes.ok_or_else(|| bad("data_base64", "`data_base64` is no base64".to_owned()))?)
        }
        (Some(value), None) => match (format, serde_json::from_str::<String>(value.get())) {
            // Text is text, and not the JSON of it.
            (Format::Text | Format::Raw, Ok(text)) => Bytes::from(text),
            _ => Bytes::copy_from_slice(value.get().as_bytes()),
        },
        (None, None) if *format == Format::Json => Bytes::from_static(b"null"),
        (None, None) => Bytes::new(),
    };
    let content = content.or_else(|| data.is_some().then(|| "application/json".to_owned()));
    message(attributes, content, payload)
}

/// Required attributes; `specversion` beside them.
const REQUIRED: &[&str] = &["id", "source", "type"];

fn message(
    mut attributes: BTreeMap<String, String>,
    content: Option<String>,
    payload: Bytes,
) -> Result<Message, Problem> {
    match attributes.get("specversion").map(String::as_str) {
        Some("1.0") => {}
        Some(other) => return Err(bad("specversion", format!("`specversion` is `{}`, and 1.0 is read", cut(other)))),
        None => return Err(bad("specversion", "an event needs the attribute `specversion`".to_owned())),
    }
    for name in REQUIRED {
        if attributes.get(*name).is_none_or(String::is_empty) {
            return Err(bad(name, format!("an event needs the attribute `{name}`")));
        }
    }
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(bad("attributes", format!("an event has at most {MAX_ATTRIBUTES} attributes")));
    }
    let legal = |name: &str| name.len() <= 100 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    for (name, value) in &attributes {
        if name.is_empty() || !legal(name) {
            let shown = cut(name);
            return Err(bad(shown, format!("`{shown}` is no name of an attribute (a-z, 0-9)")));
        }
        if value.len() > MAX_ATTRIBUTE {
            return Err(bad(name, format!("the attribute `{name}` has more than {MAX_ATTRIBUTE} bytes")));
        }
    }
    let id = attributes.remove("id").unwrap_or_default();
    let source = attributes.get("source").cloned().unwrap_or_default();
    let mut headers = Vec::new();
    // `ce_id` is the record's own: the job.
    headers.push(("ce_eventid".to_owned(), Bytes::from(id.clone())));
    headers.extend(attributes.into_iter().map(|(name, value)| (format!("ce_{name}"), Bytes::from(value))));
    headers.extend(content.map(|content| ("content-type".to_owned(), Bytes::from(content))));
    Ok(Message { payload, headers, name: Name::Event(Bytes::from(source), Bytes::from(id)) })
}

/// `%20` and the like in the value of a header. `None` where it is not UTF-8 then.
fn unescaped(text: &str) -> Option<String> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16)).map(|d| d as u8);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4) | low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// A name as far as it is shown.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(50)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

fn bad(attribute: &str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_event", detail).field(attribute)
}

fn broken(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_event", format!("the body is no event in JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const EVENT: &str =
        r#"{"specversion":"1.0","id":"A-1","source":"/shop","type":"order","subject":"s","n":7,"data": {"a": 1.10}}"#;

    fn header<'m>(message: &'m Message, name: &str) -> Option<&'m [u8]> {
        message.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }

    #[test]
    fn both_modes_are_one_event() {
        let event = structured(&Format::Json, EVENT.as_bytes()).expect("an event");
        assert_eq!(event.payload, r#"{"a": 1.10}"#, "its very text");
        assert_eq!(event.name, Name::Event(Bytes::from_static(b"/shop"), Bytes::from_static(b"A-1")));
        assert_eq!(header(&event, "ce_subject"), Some(&b"s"[..]));
        assert_eq!(header(&event, "ce_n"), Some(&b"7"[..]));
        assert_eq!(header(&event, "ce_eventid"), Some(&b"A-1"[..]));
        assert_eq!(header(&event, "ce_id"), None, "the record's own");
        let pairs = [
            ("ce-specversion", "1.0"),
            ("ce-id", "A-1"),
            ("ce-source", "/shop"),
            ("ce-type", "order"),
            ("ce-subject", "s"),
            ("ce-n", "7"),
            ("content-type", "application/json"),
        ];
        let map = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair =
                |(n, v): &(&'static str, &'static str)| (HeaderName::from_static(n), HeaderValue::from_static(v));
            pairs.iter().map(pair).collect()
        };
        assert_eq!(binary(&map(&pairs), Bytes::from_static(br#"{"a": 1.10}"#)).expect("an event"), event);
        for missing in ["ce-id", "ce-source", "ce-type", "ce-specversion"] {
            let left: Vec<_> = pairs.iter().copied().filter(|(n, _)| *n != missing).collect();
            let problem = binary(&map(&left), Bytes::new()).expect_err(missing);
            assert_eq!((problem.status(), problem.said().2), (400, missing.strip_prefix("ce-")));
        }
        let escaped = map(&[&pairs[..3], &[("ce-type", "K%C3%A4se%20100%")]].concat());
        let event = binary(&escaped, Bytes::new()).expect("an event");
        assert_eq!(header(&event, "ce_type"), Some("Käse 100%".as_bytes()));
    }

    #[test]
    fn payloads_come_in_their_forms() {
        let event = |format, data: &str| {
            let text = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{data}}}"#);
            structured(&format, text.as_bytes()).map(|m| m.payload).map_err(|p| p.said().2.map(str::to_owned))
        };
        assert_eq!(event(Format::Json, r#","data":"x""#), Ok(Bytes::from_static(b"\"x\"")));
        assert_eq!(event(Format::Text, r#","data":"x\n""#), Ok(Bytes::from_static(b"x\n")));
        assert_eq!(event(Format::Raw, r#","data_base64":"AAE=""#), Ok(Bytes::from_static(&[0, 1])));
        assert_eq!(event(Format::Json, ""), Ok(Bytes::from_static(b"null")));
        assert_eq!(event(Format::Json, r#","data_base64":"!""#), Err(Some("data_base64".to_owned())));
        assert_eq!(event(Format::Json, r#","data":1,"data_base64":"AAE=""#), Err(Some("data".to_owned())));
        assert_eq!(event(Format::Json, r#","more":{}"#), Err(Some("more".to_owned())));
        assert_eq!(event(Format::Json, r#","Upper":"x""#), Err(Some("Upper".to_owned())));
    }

    #[test]
    fn a_batch_is_all_or_nothing() {
        let two = batch(&Format::Json, format!("[{EVENT},{}]", EVENT.replace("A-1", "A-2")).as_bytes()).expect("two");
        assert_eq!(two.len(), 2);
        assert!(batch(&Format::Json, b"[]").expect("none").is_empty());
        let problem = batch(&Format::Json, format!("[{EVENT},{{}}]").as_bytes()).expect_err("one is none");
        assert_eq!(problem.status(), 400);
        assert!(batch(&Format::Json, EVENT.as_bytes()).is_err());
        let many = format!("[{}]", vec![EVENT; MAX_EVENTS + 1].join(","));
        assert_eq!(batch(&Format::Json, many.as_bytes()).expect_err("too many").status(), 413);
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let _ = structured(&Format::Json, &body);
            let _ = batch(&Format::Raw, &body);
            let _ = structured(&Format::Text, text.as_bytes());
            let _ = unescaped(&text);
        }
    }
}
