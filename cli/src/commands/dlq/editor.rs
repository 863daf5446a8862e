//! One letter as a JSON document in an editor, and back.

use std::io::Write;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_host::letters::Letter;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::consume::line;
use crate::failure::Failure;

/// What of a letter can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The record's key.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: Option<Bytes>,
    /// The record's own headers.
    pub headers: Headers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    key: Option<Text>,
    headers: Vec<(String, Option<Text>)>,
    #[serde(borrow)]
    value: &'a RawValue,
    /// Only to be read.
    #[serde(default, rename = "error")]
    _error: IgnoredAny,
}

/// Text, or bytes that are none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Base64 { base64: String },
}

/// What the editor shows. The payload stands there as it is in the record.
pub fn document(letter: &Letter) -> String {
    let mut out = b"{\n  \"key\": ".to_vec();
    line::optional(letter.record.key.as_deref(), &mut out);
    out.extend_from_slice(b",\n  \"headers\": [");
    for (i, (name, value)) in letter.headers.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\n    [" } else { b",\n    [" });
        line::text(name, &mut out);
        out.extend_from_slice(b", ");
        line::optional(value, &mut out);
        out.push(b']');
    }
    out.extend_from_slice(b"],\n  \"value\": ");
    out.extend_from_slice(&shown(letter.record.value.as_deref()));
    out.extend_from_slice(b",\n  \"error\": ");
    // Texts and numbers always serialize.
    let _ = serde_json::to_writer(&mut out, &letter.error);
    out.extend_from_slice(b"\n}\n");
    String::from_utf8(out).unwrap_or_default()
}

/// JSON as it stands, else text, else base64.
fn shown(value: Option<&[u8]>) -> Vec<u8> {
    let Some(bytes) = value else { return b"null".to_vec() };
    if is_json(bytes) {
        return bytes.trim_ascii().to_vec();
    }
    let mut out = Vec::new();
    line::optional(Some(bytes), &mut out);
    out
}

fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What the editor left.
pub fn parse(text: &str, letter: &Letter) -> Result<Mended, String> {
    let document: Document<'_> =
        serde_json::from_str(text).map_err(|e| format!("what the editor left is no letter: {e}"))?;
    let mut headers = HeadersBuilder::default();
    for (name, value) in document.headers {
        headers.push(&name, bytes(value)?.as_deref());
    }
    let value = value(document.value.get(), letter.record.value.as_ref())?;
    Ok(Mended { key: bytes(document.key)?, value, headers: headers.finish() })
}

fn bytes(text: Option<Text>) -> Result<Option<Bytes>, String> {
    match text {
        None => Ok(None),
        Some(Text::Plain(text)) => Ok(Some(Bytes::from(text))),
        Some(Text::Base64 { base64 }) => {
            STANDARD.decode(base64).map(|b| Some(Bytes::from(b))).map_err(|e| format!("that is no base64: {e}"))
        }
    }
}

/// JSON is taken as it stands; a string for what was no JSON is the text itself, not JSON.
fn value(new: &str, before: Option<&Bytes>) -> Result<Option<Bytes>, String> {
    match before {
        None if new == "null" => return Ok(None),
        Some(bytes) if shown(Some(bytes)) == new.as_bytes() => return Ok(Some(bytes.clone())),
        Some(old) if !is_json(old) => {
            if let Ok(text) = serde_json::from_str::<Text>(new) {
                return bytes(Some(text));
            }
        }
        _ => {}
    }
    Ok(Some(Bytes::copy_from_slice(new.as_bytes())))
}

/// Opens the text in the editor of the user, and gives what is left when it ends.
pub fn edit(text: &str) -> Result<String, Failure> {
    let named = ["VISUAL", "EDITOR"].into_iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.trim().is_empty()));
    let Some(editor) = named else {
        return Err(Failure::wrong("there is no editor").help("set EDITOR, or change letters by `--with EXPR`"));
    };
    let failed = |e: std::io::Error| Failure::failed(format!("the letter cannot be edited in a file: {e}"));
    let mut file = tempfile::Builder::new().prefix("letter-").suffix(".json").tempfile().map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(failed)?;
    // Through a shell: `EDITOR` may have options.
    let ended = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path()).status();
    match ended {
        Ok(status) if status.success() => {}
        Ok(status) => {
            return Err(Failure::failed(format!("`{editor}` ended with {status}")).help("nothing was written"));
        }
        Err(e) => return Err(Failure::failed(format!("`{editor}` cannot be started: {e}"))),
    }
    // Anew by its name: many editors put another file in its place.
    std::fs::read_to_string(file.path()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_log::LogRecord;

    fn letter(value: Option<&'static [u8]>) -> Letter {
        let headers = [("a", Some(&b"1"[..])), ("b", None), ("c", Some(&[0xff])), ("millstream.dlq.code", Some(b"x"))];
        let (key, headers) = (Some(Bytes::from_static(b"k")), headers.into_iter().collect());
        let record = LogRecord { offset: 1, timestamp: 2, key, value: value.map(Bytes::from_static), headers };
        Letter::new(Arc::from("t"), 0, record)
    }

    #[test]
    fn what_is_not_changed_comes_back_as_it_was() {
        for value in
            [None, Some(&b" {\"n\":1.10}\n"[..]), Some(b"no json"), Some(b"\xff"), Some(b"null"), Some(b"\"x\"")]
        {
            let letter = letter(value);
            let same = Mended {
                key: letter.record.key.clone(),
                value: letter.record.value.clone(),
                headers: letter.headers.clone(),
            };
            assert_eq!(parse(&document(&letter), &letter), Ok(same));
        }
    }

    #[test]
    fn changes_are_taken() {
        let changed = |value: &'static [u8], from: &str, to: &str| {
            let letter = letter(Some(value));
            let text = document(&letter);
            assert!(text.contains(from), "{text}");
            parse(&text.replace(from, to), &letter)
        };
        let value = |m: Result<Mended, String>| m.unwrap().value.unwrap();
        assert_eq!(value(changed(b"{\"n\": 1.10}", "1.10", "2.20")), "{\"n\": 2.20}");
        assert_eq!(value(changed(b"{'n': 1}", "{'n': 1}", "{\\\"n\\\": 1}")), "{\"n\": 1}", "text stays text");
        assert_eq!(value(changed(b"{'n': 1}", "\"{'n': 1}\"", "{\"n\": 1}")), "{\"n\": 1}", "JSON is taken as it is");
        assert_eq!(changed(b"1", "\"key\": \"k\"", "\"key\": null").unwrap().key, None);
        assert!(changed(b"1", "\"key\"", "\"kee\"").is_err_and(|e| e.contains("kee")));
        assert!(changed(b"1", "}", "").is_err());
    }
}
