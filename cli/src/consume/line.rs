//! A record as one line of JSON: what stands in the record is spliced in as it stands there.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_filter_api::Headers;
use millstream_log::LogRecord;
use serde::de::IgnoredAny;

use crate::payloads::Payloads;

/// Writes records as lines. Keeps what repeats.
pub struct LineWriter {
    /// `{"topic":"…","partition":`
    start: Vec<u8>,
    /// Of payloads that are Avro.
    schema: Option<Payloads>,
}

impl LineWriter {
    /// For a topic.
    pub fn new(topic: &str) -> Self {
        let mut start = b"{\"topic\":".to_vec();
        text(topic, &mut start);
        start.extend_from_slice(b",\"partition\":");
        Self { start, schema: None }
    }

    /// Shows payloads of this schema as JSON; others as ever.
    pub fn of(mut self, schema: Option<Payloads>) -> Self {
        self.schema = schema;
        self
    }

    /// Appends one line: topic, partition, offset, timestamp, key, headers, value.
    pub fn write(&self, partition: i32, record: &LogRecord, out: &mut Vec<u8>) {
        self.write_with(partition, record, &record.headers, b"", out);
    }

    /// The same with other headers, and with more members (`,"name":…`) after the value.
    pub fn write_with(&self, partition: i32, record: &LogRecord, headers: &Headers, more: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start);
        // Writing into memory does not fail.
        let _ = write!(out, "{partition},\"offset\":{},\"timestamp\":{},\"key\":", record.offset, record.timestamp);
        optional(record.key.as_deref(), out);
        out.extend_from_slice(b",\"headers\":[");
        for (i, (name, value)) in headers.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
            text(name, out);
            out.push(b',');
            optional(value, out);
            out.push(b']');
        }
        out.extend_from_slice(b"],\"value\":");
        let decoded = self.schema.as_ref().zip(record.value.as_ref()).and_then(|(schema, value)| schema.shown(value));
        match decoded {
            Some(json) => out.extend_from_slice(&json),
            None => payload(record.value.as_deref(), out),
        }
        out.extend_from_slice(more);
        out.extend_from_slice(b"}\n");
    }
}

/// Null, or a payload as [`value`] shows it.
pub fn payload(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => out.extend_from_slice(b"null"),
        Some(bytes) => value(bytes, out),
    }
}

/// The JSON itself if it is JSON, else text, else bytes.
fn value(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(json) if serde_json::from_str::<IgnoredAny>(json).is_ok() => {
            // A line break can only be between the words of a JSON text: inside a string it is escaped.
            out.extend(bytes.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        }
        Ok(plain) => text(plain, out),
        Err(_) => base64(bytes, out),
    }
}

/// Null, text, or bytes that are no text.
pub fn optional(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(plain))) => text(plain, out),
        Some((bytes, Err(_))) => base64(bytes, out),
    }
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"base64\":\"");
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// A JSON string.
pub fn text(plain: &str, out: &mut Vec<u8>) {
    // A text always serializes, and writing into memory does not fail.
    let _ = serde_json::to_writer(out, plain);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn line(key: Option<&'static [u8]>, headers: Headers, value: Option<&'static [u8]>) -> String {
        let bytes = |b: Option<&'static [u8]>| b.map(Bytes::from_static);
        let record =
            LogRecord { offset: 3, timestamp: 1_700_000_000_123, key: bytes(key), value: bytes(value), headers };
        let mut out = Vec::new();
        LineWriter::new("orders.raw").write(2, &record, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn shown(bytes: &'static [u8]) -> String {
        let line = line(None, Headers::new(), Some(bytes));
        let value = line.split_once("\"value\":").unwrap().1;
        value.strip_suffix("}\n").unwrap().to_owned()
    }

    #[test]
    fn the_whole_line() {
        let headers = [("a", Some(&b"1"[..])), ("a", None), ("b", Some(&[0xff]))].into_iter().collect();
        assert_eq!(
            line(Some(b"k\"1"), headers, Some(b"{\"n\":1.10}")),
            "{\"topic\":\"orders.raw\",\"partition\":2,\"offset\":3,\"timestamp\":1700000000123,\"key\":\"k\\\"1\",\
             \"headers\":[[\"a\",\"1\"],[\"a\",null],[\"b\",{\"base64\":\"/w==\"}]],\"value\":{\"n\":1.10}}\n"
        );
        assert_eq!(
            line(None, Headers::new(), None),
            "{\"topic\":\"orders.raw\",\"partition\":2,\"offset\":3,\"timestamp\":1700000000123,\"key\":null,\
             \"headers\":[],\"value\":null}\n"
        );
    }

    #[test]
    fn json_keeps_its_text_and_stays_on_one_line() {
        assert_eq!(
            shown(b"{\"b\":1e3,\"a\":123456789012345678901234567890, \"a\":-0.0}"),
            "{\"b\":1e3,\"a\":123456789012345678901234567890, \"a\":-0.0}"
        );
        assert_eq!(shown(b"{\r\n \"a\": \"x\\ny\"\n}"), "{   \"a\": \"x\\ny\" }");
        assert_eq!(shown(b"17"), "17");
        assert_eq!(shown(b"null"), "null");
    }

    #[test]
    fn what_is_not_json_is_text_and_what_is_no_text_is_base64() {
        assert_eq!(shown(b"{\"a\":1"), r#""{\"a\":1""#);
        assert_eq!(shown(b"1 2"), "\"1 2\"");
        assert_eq!(shown(b""), "\"\"");
        assert_eq!(shown("a\u{0}\u{2028}ü\n".as_bytes()), "\"a\\u0000\u{2028}ü\\n\"");
        assert_eq!(shown(b"\"\xff\""), r#"{"base64":"Iv8i"}"#);
    }

    #[test]
    fn every_line_is_json_again() {
        for value in
            [&b"{\"a\":[1,{}]}"[..], b"\"\\ud800\"", b"\"\x01\"", b"[[[[", b"nul", b"01", b"1.", b"\xef\xbb\xbf{}"]
        {
            let line = line(Some(value), Headers::new(), Some(value));
            assert!(serde_json::from_str::<IgnoredAny>(&line).is_ok(), "{line}");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
        }
    }
}
