//! What a record says of an object.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use millstream_host::Fault;
use serde_json::{Map, Value};

use crate::decide::{Event, State};

/// What is known of an object when its record is made.
pub struct Told<'a> {
    /// URL of the place, with a slash at its end.
    pub base: &'a str,
    /// Name below it; bytes, because file systems know no more.
    pub name: &'a [u8],
    /// What became of it.
    pub event: Event,
    /// As it is, or was before it was deleted.
    pub state: &'a State,
}

/// What is in an object.
pub enum Content<'a> {
    /// Nobody asked, or it is gone.
    None,
    /// It is larger than this.
    TooLarge(usize),
    /// These bytes, to be written as text or as base64, in at most so many bytes of payload.
    Bytes {
        /// All of them.
        bytes: &'a [u8],
        /// As base64.
        base64: bool,
        /// Of a payload.
        room: usize,
    },
}

/// The payload, and what is wrong with it.
pub fn payload(told: &Told<'_>, content: Content<'_>) -> (Bytes, Option<Fault>) {
    let fault = |code: &str, message: String| Some(Fault { code: code.to_owned(), message });
    let mut fields = Map::new();
    fields.insert("url".into(), format!("{}{}", told.base, encoded(told.name)).into());
    fields.insert("name".into(), String::from_utf8_lossy(told.name).into_owned().into());
    fields.insert("size".into(), told.state.size.into());
    let modified = told.state.modified.and_then(|ns| Timestamp::from_nanosecond(ns.into()).ok());
    fields.insert("modified".into(), modified.map_or(Value::Null, |time| time.to_string().into()));
    let etag = Some(told.state.etag.as_str()).filter(|etag| !etag.is_empty());
    fields.insert("etag".into(), etag.map_or(Value::Null, Value::from));
    fields.insert("event".into(), told.event.name().into());
    let mut wrong = None;
    if std::str::from_utf8(told.name).is_err() {
        wrong = fault("object_name_not_utf8", "the name of the object is not UTF-8; its bytes stand in `url`".into());
    }
    let too_large = |size: u64, most: usize| {
        let message = format!(
            "the object has {size} bytes, and {most} fit into a record; raise `max_content`, or leave out `emit: content`"
        );
        fault("object_too_large", message)
    };
    let reference = Bytes::from(Value::Object(fields.clone()).to_string());
    match content {
        _ if wrong.is_some() => (reference, wrong),
        Content::None => (reference, None),
        Content::TooLarge(most) => (reference, too_large(told.state.size, most)),
        Content::Bytes { bytes, base64, room } => {
            let text = match base64 {
                true => STANDARD.encode(bytes),
                false => match std::str::from_utf8(bytes) {
                    Ok(text) => text.to_owned(),
                    Err(error) => {
                        let at = error.valid_up_to();
                        let message = format!("the object is not UTF-8 at byte {at}; take `encoding: base64`");
                        return (reference, fault("object_not_text", message));
                    }
                },
            };
            fields.insert("content".into(), text.into());
            let payload = Bytes::from(Value::Object(fields).to_string());
            match payload.len() <= room {
                true => (payload, None),
                // Control characters grow sixfold where they are written as JSON.
                false => (reference, too_large(payload.len() as u64, room)),
            }
        }
    }
}

/// A name as a part of a URL: any bytes, as ASCII. Without `~` and `#`, which have a meaning in ids.
pub fn encoded(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b'=' | b'@' | b'+' | b',' => {
                text.push(char::from(*byte));
            }
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(name: &'a [u8], state: &'a State) -> Told<'a> {
        Told { base: "file:///srv/", name, event: Event::Created, state }
    }

    fn bytes(bytes: &[u8], base64: bool) -> Content<'_> {
        Content::Bytes { bytes, base64, room: 1_000 }
    }

    #[test]
    fn a_record_names_its_object() {
        let state = State { size: 3, modified: Some(1_500_000_000), etag: "x".into() };
        let (payload_, fault) = payload(&told("a b#ü.txt".as_bytes(), &state), bytes(b"a\nb", false));
        let text = r#"{"url":"file:///srv/a%20b%23%C3%BC.txt","name":"a b#ü.txt","size":3,"modified":"1970-01-01T00:00:01.5Z","etag":"x","event":"created","content":"a\nb"}"#;
        let same: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&payload_).unwrap(), same);
        assert_eq!(fault, None);
        let unknown = State { size: 0, modified: None, etag: String::new() };
        let (reference, _) = payload(&told(b"a", &unknown), Content::None);
        let reference: Value = serde_json::from_slice(&reference).unwrap();
        assert_eq!((&reference["modified"], &reference["etag"]), (&Value::Null, &Value::Null));
        assert_eq!(reference.get("content"), None);
        let (raw, fault) = payload(&told(b"a", &unknown), bytes(b"\xff", true));
        assert_eq!(serde_json::from_slice::<Value>(&raw).unwrap()["content"], "/w==");
        assert_eq!(fault, None);
    }

    #[test]
    fn what_does_not_fit_is_a_fault_and_never_cut() {
        let state = State { size: 3, modified: None, etag: String::new() };
        let code = |name: &[u8], content: Content<'_>| {
            let (payload, fault) = payload(&told(name, &state), content);
            assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap().get("content"), None);
            fault.map(|fault| fault.code)
        };
        assert_eq!(code(b"a", bytes(b"\xff", false)).as_deref(), Some("object_not_text"));
        assert_eq!(code(b"a", bytes(&[1; 300], false)).as_deref(), Some("object_too_large"));
        assert_eq!(code(b"a", Content::TooLarge(2)).as_deref(), Some("object_too_large"));
        assert_eq!(code(b"\xff", bytes(b"a", false)).as_deref(), Some("object_name_not_utf8"));
    }
}
