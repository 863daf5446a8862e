//! The formats of payloads, and the choice between "the same bytes", "spliced" and "rendered whole".

use std::time::Duration;

use bytes::Bytes;
use millstream_filter_api::{Payload, Reads, Touched, Value};

use crate::avro::AvroSchema;
use crate::coercion::Coercion;
use crate::error::{DecodeError, EncodeError};
use crate::packed::Packed;
use crate::protobuf::ProtobufSchema;
use crate::registered::Registered;
use crate::{json, members, render, row, splice};

/// How long a command waits for a schema.
const SETTLE: Duration = Duration::from_secs(10);

/// How payloads are encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Bytes, whatever they are; the value is a string of these bytes.
    Raw,
    /// UTF-8; the value is a string.
    Text,
    /// One JSON value.
    Json,
    /// One row a record; the value is an object of its columns.
    Csv {
        /// Column names in order.
        columns: Vec<String>,
        /// The byte between fields.
        separator: u8,
    },
    /// One datum a record, without a header.
    Avro(AvroSchema),
    /// The same behind the number of its schema in a registry.
    Registered(Registered),
    /// MessagePack or CBOR: one item.
    Packed(Packed),
    /// One message a record.
    Protobuf(ProtobufSchema),
}

impl Codec {
    /// Decodes one payload and keeps its bytes. JSON is one value nested at most 127 levels deep; of a repeated key the
    /// last value counts, the text keeps both. Numbers that fit no 64-bit integer become floats in the value, infinite
    /// ones where a float ends too (the text keeps them). Strings without escapes share the payload's bytes.
    pub fn decode(&self, raw: Bytes, coercion: &Coercion) -> Result<Payload, DecodeError> {
        let value = match self {
            Self::Raw => Value::Bytes(raw.clone()),
            Self::Text => {
                std::str::from_utf8(&raw).map_err(|e| DecodeError::utf8("the payload", e.valid_up_to()))?;
                Value::Bytes(raw.clone())
            }
            Self::Json => {
                let mut value = json::parse(&raw)?;
                coercion.apply(&mut value);
                value
            }
            Self::Csv { columns, separator } => row::decode(&raw, columns, *separator, coercion)?,
            Self::Avro(schema) => schema.decode(&raw)?,
            Self::Protobuf(schema) => schema.decode(&raw)?,
            Self::Registered(avro) => {
                let mut value = avro.decode(&raw)?;
                coercion.apply(&mut value);
                value
            }
            Self::Packed(packed) => {
                let mut value = packed.decode(&raw)?;
                coercion.apply(&mut value);
                value
            }
        };
        Ok(Payload::decoded(raw, value))
    }

    /// As [`Codec::decode`], for somebody who looks at no more than `reads`. The same payloads are refused, for the same
    /// reasons.
    pub fn decode_part(&self, raw: Bytes, coercion: &Coercion, reads: &Reads) -> Result<Payload, DecodeError> {
        if let (Self::Json, Reads::Members(wanted)) = (self, reads)
            && let Some(mut value) = members::parse(&raw, wanted)
        {
            coercion.apply(&mut value);
            return Ok(Payload::decoded_in_part(raw, value));
        }
        self.decode(raw, coercion)
    }

    /// Encodes a payload that was decoded as `original_format`; `None` for a tombstone.
    ///
    /// Untouched and of the same format, the very same bytes come back (a reference count). JSON touched in parts is
    /// spliced: members not touched keep their text, order and white space; touched ones are replaced in place, added
    /// at the end or cut out; a touched member whose value did not change keeps its text too. Where a touched key is
    /// repeated in the original, the last one takes the value, as in decoding, and the others are cut out. A CSV row
    /// keeps the text of columns not touched; it carries the columns it names, no other member. MessagePack and CBOR keep the
    /// bytes of what is equal. Whatever else is rendered whole. What a filter has put there as JSON is JSON, whatever was read. A payload that was never decoded is decoded without types first if the formats differ.
    pub fn encode(&self, payload: &Payload, original_format: &Self) -> Result<Option<Bytes>, EncodeError> {
        let original_format = if payload.is_in_json() { &Self::Json } else { original_format };
        let same_format = self == original_format;
        match (payload.original(), payload.value(), payload.touched()) {
            (None, None, _) => Ok(None),
            (Some(raw), _, Touched::Nothing) | (Some(raw), None, _) if same_format => Ok(Some(raw.clone())),
            // JSON is text.
            (Some(raw), _, Touched::Nothing) if payload.is_in_json() && matches!(self, Self::Raw | Self::Text) => {
                Ok(Some(raw.clone()))
            }
            (Some(raw), None, _) => {
                let decoded = original_format.decode(raw.clone(), &Coercion::none())?;
                self.encode(&decoded, original_format)
            }
            (Some(raw), Some(value), Touched::Paths(paths)) if same_format => {
                self.splice(raw, value, paths, payload.is_partial()).map(Some)
            }
            _ if payload.is_partial() => Err(EncodeError::in_part()),
            (original, Some(value), _) => {
                // One of another format begins with no number, and says nothing of what is text and what is bytes.
                let told = matches!(original_format, Self::Registered(_) | Self::Packed(_));
                self.render(value, original.filter(|_| told), original_format).map(Some)
            }
        }
    }

    /// The schema that has to be fetched before this payload can be decoded, and where from.
    pub fn lacks(&self, raw: &[u8]) -> Option<(&Registered, u32)> {
        match self {
            Self::Registered(avro) => avro.lacks(raw).map(|id| (avro, id)),
            _ => None,
        }
    }

    /// Waits until the schema of a payload is known, for commands: what does so in a run goes on with others instead.
    pub fn settle(&self, raw: &[u8]) {
        if let Self::Registered(avro) = self {
            avro.wait(raw, SETTLE);
        }
    }

    fn packed(&self) -> Option<Packed> {
        if let Self::Packed(packed) = self { Some(*packed) } else { None }
    }

    fn splice(
        &self,
        raw: &Bytes,
        value: &Value,
        paths: &[std::sync::Arc<[millstream_filter_api::OwnedValuePath]>],
        partial: bool,
    ) -> Result<Bytes, EncodeError> {
        match self {
            Self::Json => splice::splice(raw, value, paths, partial),
            Self::Csv { columns, separator } => row::splice(raw, value, paths, columns, *separator),
            Self::Packed(packed) => packed.splice(raw, value),
            Self::Registered(registered) => registered.splice(value, raw),
            Self::Raw | Self::Text | Self::Avro(_) | Self::Protobuf(_) => self.render(value, Some(raw), self),
        }
    }

    fn render(&self, value: &Value, original: Option<&Bytes>, of: &Self) -> Result<Bytes, EncodeError> {
        match self {
            Self::Json => render::encode_value(value),
            Self::Csv { columns, separator } => row::encode(value, columns, *separator),
            Self::Avro(schema) => schema.encode(value),
            Self::Protobuf(schema) => schema.encode(value, original.filter(|_| matches!(of, Self::Protobuf(_)))),
            Self::Registered(schema) => schema.encode(value, original.filter(|_| matches!(of, Self::Registered(_)))),
            Self::Packed(packed) => packed.encode(value, original.zip(of.packed())),
            Self::Raw => string(value, "raw"),
            Self::Text => {
                let bytes = string(value, "text")?;
                std::str::from_utf8(&bytes).map_err(|e| DecodeError::utf8("the payload", e.valid_up_to()))?;
                Ok(bytes)
            }
        }
    }
}

fn string(value: &Value, format: &str) -> Result<Bytes, EncodeError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::String(text) => Ok(text.as_bytes().clone()),
        other => Err(EncodeError::new(format!(
            "a payload of format {format} must be a string, and this is of type {}; make it one, as by `. = encode_json(.)`",
            other.kind_str()
        ))),
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
