//! Names of records: the id of what is read, the id of what is written, and the key of an output.

use bytes::{BufMut, Bytes, BytesMut};
use millstream_codec::exact_number;
use millstream_filter_api::{Headers, OwnedValuePath, Payload, Value};
use millstream_log::LogRecord;
use millstream_spec::model::{IdRule, KeyRule};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// The header that carries a record's id from stage to stage.
pub const ID_HEADER: &str = "ce_id";
/// The header that says where an id is from.
pub const SOURCE_HEADER: &str = "ce_source";

/// The id of a record that is read: by the source's rule, or by the header our own stages write. Empty or missing
/// falls back to the coordinates.
pub fn of_input(
    rule: &InputIds,
    record: &LogRecord,
    payload: Option<&Payload>,
    coordinates: impl FnOnce() -> Bytes,
) -> Bytes {
    let headers = &record.headers;
    let found = match rule {
        InputIds::Own => header(headers, ID_HEADER),
        InputIds::Source(IdRule::Default) => match (header(headers, SOURCE_HEADER), header(headers, ID_HEADER)) {
            (Some(source), Some(id)) => Some(join(&[&source, &id])),
            _ => None,
        },
        InputIds::Source(IdRule::Key) => record.key.clone(),
        InputIds::Source(IdRule::Hash) => record.value.as_ref().map(|v| hex128(hash128(&[v]))),
        InputIds::Source(IdRule::Header(name)) => header(headers, name),
        InputIds::Source(IdRule::Fields(paths)) => payload.and_then(|p| fields_text(p, paths)),
    };
    match found {
        Some(id) if !id.is_empty() => id,
        _ => coordinates(),
    }
}

/// Where a record's id is found.
#[derive(Clone, Debug)]
pub enum InputIds {
    /// In the header that a stage of this pipeline wrote.
    Own,
    /// By the rule of the pipeline's source.
    Source(IdRule),
}

/// `topic/partition/offset`.
pub fn coordinates(topic: &str, partition: i32, offset: i64) -> Bytes {
    Bytes::from(format!("{topic}/{partition}/{offset}"))
}

fn header(headers: &Headers, name: &str) -> Option<Bytes> {
    let value = headers.get(name)??;
    // The value lies inside the packed headers: share them instead of copying.
    Some(headers.packed().slice_ref(value))
}

/// Several parts as one id. Each part's length goes in, so that ("a/b", "c") and ("a", "b/c") differ only where they
/// must; a single part is itself.
fn join(parts: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::with_capacity(parts.iter().map(|p| p.len() + 1).sum());
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.put_u8(b'/');
        }
        for byte in *part {
            if matches!(byte, b'/' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(*byte);
        }
    }
    out.freeze()
}

/// One field as its text, several joined by `/`. `None` when any is null or missing: half a name is no name.
fn fields_text(payload: &Payload, paths: &[OwnedValuePath]) -> Option<Bytes> {
    if let [path] = paths {
        return field_text(payload, path);
    }
    let parts = paths.iter().map(|p| field_text(payload, p)).collect::<Option<Vec<_>>>()?;
    let parts: Vec<&[u8]> = parts.iter().map(|b| b.as_ref()).collect();
    Some(join(&parts))
}

/// By the value, but for numbers that no value tells apart: two of them would be one id, and one record would be
/// dropped as a duplicate that it is not (R7).
fn field_text(payload: &Payload, path: &OwnedValuePath) -> Option<Bytes> {
    match payload.value()?.get(path)? {
        value @ Value::Float(_) => match exact_number(payload, path) {
            Some(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
            None => scalar_text(value),
        },
        value => scalar_text(value),
    }
}

fn scalar_text(value: &Value) -> Option<Bytes> {
    match value {
        Value::Null => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Integer(n) => Some(Bytes::from(n.to_string())),
        other => Some(millstream_codec::encode_value(other).unwrap_or_else(|_| Bytes::from(format!("{other}")))),
    }
}

/// The key an output gets: by its rule, or as the record has it.
pub fn of_output_key(
    rule: Option<&KeyRule>,
    key: Option<&Bytes>,
    payload: &Payload,
    encoded: Option<&Bytes>,
    headers: &Headers,
) -> Option<Bytes> {
    match rule {
        None => key.cloned(),
        Some(KeyRule::Header(name)) => header(headers, name),
        Some(KeyRule::Hash) => encoded.map(|bytes| hex128(hash128(&[bytes]))),
        Some(KeyRule::Fields(paths)) => key_of_fields(payload, paths),
    }
}

fn key_of_fields(payload: &Payload, paths: &[OwnedValuePath]) -> Option<Bytes> {
    if let [path] = paths {
        return field_text(payload, path);
    }
    if !paths.iter().any(|p| exact_number(payload, p).is_some()) {
        return key_fields(payload.value()?, paths);
    }
    let mut array = BytesMut::from(&b"["[..]);
    for (i, path) in paths.iter().enumerate() {
        if i > 0 {
            array.put_u8(b',');
        }
        match (exact_number(payload, path), payload.value().and_then(|v| v.get(path))) {
            (Some(text), _) => array.put_slice(text.as_bytes()),
            (None, Some(value)) => array.put_slice(&millstream_codec::encode_value(value).ok()?),
            (None, None) => array.put_slice(b"null"),
        }
    }
    array.put_u8(b']');
    Some(array.freeze())
}

/// One field is its text; several are a JSON array, so that no two different lists of values are one key. All null or
/// missing is no key.
pub fn key_fields(value: &Value, paths: &[OwnedValuePath]) -> Option<Bytes> {
    if let [path] = paths {
        return scalar_text(value.get(path)?);
    }
    let parts: Vec<Value> = paths.iter().map(|p| value.get(p).cloned().unwrap_or(Value::Null)).collect();
    if parts.iter().all(Value::is_null) {
        return None;
    }
    millstream_codec::encode_value(&Value::Array(parts)).ok()
}

/// What the ids of one output of one stage have in common.
#[derive(Clone, Debug)]
pub struct OutputIds {
    seed: SipHasher13,
}

impl OutputIds {
    /// For an output of a stage. A pipeline that runs beside (`orders--try`) names its outputs as the live one does.
    pub fn new(pipeline: &str, stage: &str, output: &str) -> Self {
        let pipeline = pipeline.split("--").next().unwrap_or(pipeline);
        let mut seed = SipHasher13::new();
        for part in [pipeline, stage, output] {
            seed.write_u64(part.len() as u64);
            seed.write(part.as_bytes());
        }
        Self { seed }
    }

    /// Appends `<root>~<hash>` for output number `index` of the record `input_id`.
    pub fn write(&self, root: &[u8], input_id: &[u8], index: u32, out: &mut Vec<u8>) {
        let mut hasher = self.seed;
        hasher.write_u32(index);
        hasher.write(input_id);
        out.extend_from_slice(root);
        out.push(b'~');
        push_hex(hasher.finish128().as_u128(), out);
    }
}

/// The root of an id: what stands before the hash our own stages append.
pub fn root(id: &[u8]) -> &[u8] {
    const HASH: usize = 32;
    match id.len().checked_sub(HASH + 1) {
        Some(at) if at > 0 && id[at] == b'~' && id[at + 1..].iter().all(u8::is_ascii_hexdigit) => &id[..at],
        _ => id,
    }
}

/// A hash of byte strings that is equal on every machine and run.
pub fn hash128(parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

/// The id of the first call for a record: equal on every attempt in a stage, wherever it runs; different per stage.
pub(crate) fn call_id(pipeline: &str, stage: &str, id: &[u8]) -> std::sync::Arc<str> {
    let hash = hash128(&[b"call", pipeline.as_bytes(), stage.as_bytes(), id]);
    std::sync::Arc::from(format!("{hash:032x}"))
}

fn hex128(hash: u128) -> Bytes {
    let mut out = Vec::with_capacity(32);
    push_hex(hash, &mut out);
    Bytes::from(out)
}

fn push_hex(hash: u128, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in hash.to_be_bytes() {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stage: &str, index: u32, input: &str) -> String {
        let mut out = Vec::new();
        OutputIds::new("orders", stage, "").write(root(input.as_bytes()), input.as_bytes(), index, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Golden: an id must never change between versions, or a restart in the middle would double outputs downstream.
    #[test]
    fn output_ids_are_stable_and_keep_the_root() {
        let first = id("clean", 0, "536365/1");
        assert_eq!(first, "536365/1~f933391040cb7d95788cfe756112f952");
        let second = id("split", 0, &first);
        assert!(second.starts_with("536365/1~"), "{second}");
        assert_eq!(second.matches('~').count(), 1);
        assert_ne!(id("clean", 1, "536365/1"), first);
        assert_ne!(id("price", 0, "536365/1"), first);
    }

    #[test]
    fn a_root_may_hold_tildes() {
        assert_eq!(root(b"a~b"), b"a~b");
        assert_eq!(root(b"~0123456789abcdef0123456789abcdef"), b"~0123456789abcdef0123456789abcdef");
        assert_eq!(root(b"a~b~0123456789abcdef0123456789abcdef"), b"a~b");
    }

    /// Red while the value alone made names: each pair was one id, and the second record a duplicate.
    #[test]
    fn numbers_that_a_float_does_not_tell_apart_have_names_of_their_own() {
        let path = |name: &str| OwnedValuePath::single_field(name);
        let names = |number: &str| {
            let json = format!("{{\"n\": {number}, \"a\": \"x\"}}");
            let payload =
                millstream_codec::Codec::Json.decode(json.into(), &millstream_codec::Coercion::none()).unwrap();
            let text = |b: Option<Bytes>| String::from_utf8(b.unwrap().to_vec()).unwrap();
            (
                text(fields_text(&payload, &[path("n")])),
                text(fields_text(&payload, &[path("a"), path("n")])),
                text(key_of_fields(&payload, &[path("n")])),
                text(key_of_fields(&payload, &[path("n"), path("a"), path("none")])),
            )
        };
        for number in
            ["123456789012345678901234567890", "123456789012345678901234567891", "1e400", "0.1000000000000000000001"]
        {
            let want = (number.to_owned(), format!("x/{number}"), number.to_owned(), format!("[{number},\"x\",null]"));
            assert_eq!(names(number), want);
        }
        assert_eq!(names("1.10").0, "1.1");
        assert_eq!(names("1.10").3, "[1.1,\"x\",null]");
    }

    #[test]
    fn joined_ids_do_not_collide() {
        assert_ne!(join(&[b"a/b", b"c"]), join(&[b"a", b"b/c"]));
        assert_eq!(join(&[b"a", b"b"]), Bytes::from_static(b"a/b"));
    }
}
