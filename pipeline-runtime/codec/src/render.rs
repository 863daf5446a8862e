//! A value to JSON text.

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::value::timestamp_to_string;

use crate::error::EncodeError;

/// Deeper values are refused: an expression in a loop could nest them without end, and readers cap depth too.
const MAX_DEPTH: usize = 512;

/// JSON text of a value: compact, keys sorted, integers as they are, floats in the shortest form that reads back equal
/// and keeps a fraction or exponent (`2.0`), times as RFC 3339 text.
///
/// # Errors
/// An infinite float (`number_out_of_range`), a string that is not UTF-8 (both named by their path), or more than 512 levels.
pub fn encode_value(value: &Value) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(128);
    render(value, &mut out)?;
    Ok(out.into())
}

/// Appends the JSON text of `value`.
pub(crate) fn render(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    render_at(value, out, 0).map_err(|fault| {
        let path: String = fault.path.iter().rev().map(String::as_str).collect();
        let path = if path.is_empty() { "." } else { &path };
        EncodeError { code: fault.code, message: format!("`{path}` {}", fault.what) }
    })
}

/// Appends a JSON string.
pub(crate) fn render_str(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail, and a string has no value that JSON lacks.
    let _ = serde_json::to_writer(out, text);
}

struct Fault {
    code: &'static str,
    what: &'static str,
    /// Innermost segment first; empty unless something failed, so success costs nothing.
    path: Vec<String>,
}

fn render_at(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let fault = |what| Err(Fault { code: "encode_failed", what, path: Vec::new() });
    match value {
        _ if depth > MAX_DEPTH => return fault("is nested too deep for JSON output (512 levels)"),
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Integer(i) => {
            let _ = serde_json::to_writer(out, i);
        }
        Value::Float(f) if f.is_finite() => {
            let _ = serde_json::to_writer(out, &f.into_inner());
        }
        Value::Float(_) => {
            let what = "is a number beyond 1.8e308, and cannot be written anew";
            return Err(Fault { code: "number_out_of_range", what, path: Vec::new() });
        }
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => render_str(text, out),
            Err(_) => {
                return fault(
                    "holds bytes that are not UTF-8 text, which JSON cannot carry; `encode_base64` makes text of them",
                );
            }
        },
        Value::String(text) => render_str(text, out),
        Value::Regex(regex) => render_str(regex.as_str(), out),
        Value::Timestamp(time) => render_str(&timestamp_to_string(time), out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                render_at(item, out, depth + 1).map_err(|f| f.below(|| format!("[{i}]")))?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                render_str(key, out);
                out.push(b':');
                render_at(member, out, depth + 1).map_err(|f| f.below(|| format!(".{key}")))?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

impl Fault {
    /// Names are added for the innermost levels only: a path of 512 segments helps nobody.
    fn below(mut self, segment: impl FnOnce() -> String) -> Self {
        if self.path.len() < 32 {
            self.path.push(segment());
        }
        self
    }
}
