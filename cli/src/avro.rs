//! `--schema FILE.avsc`: payloads of Avro, as commands show and take them.

use std::path::Path;

use bytes::Bytes;
use millstream_codec::{AvroSchema, Codec, Coercion, encode_value};

use crate::failure::Failure;

/// Reads a schema.
pub fn schema(path: &Path) -> Result<AvroSchema, Failure> {
    let wrong = |why: String| Failure::wrong(format!("the schema `{}` {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    AvroSchema::parse(&text).map_err(|why| wrong(format!("is {why}")))
}

/// A payload as JSON text; nothing where it is none of the schema, or has what JSON does not.
pub fn shown(schema: &AvroSchema, payload: &Bytes) -> Option<Bytes> {
    encode_value(&schema.decode(payload).ok()?).ok()
}

/// JSON text as a payload. The error says what does not fit.
pub fn payload(schema: &AvroSchema, json: Bytes) -> Result<Bytes, String> {
    let decoded = Codec::Json.decode(json, &Coercion::none()).map_err(|e| e.message)?;
    let value = decoded.value().ok_or("there is no value")?;
    schema.encode(value).map_err(|e| e.message)
}
