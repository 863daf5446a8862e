//! What can go wrong between bytes and values. Both are faults of the record: a dead letter of class `data`.

use std::fmt;

/// Bytes that are not what their format says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Stable: `invalid_json`, `invalid_utf8`, `invalid_csv`, `invalid_avro`, `invalid_protobuf`, `invalid_msgpack`, `invalid_cbor`,
    /// `number_out_of_range`, or one of [`crate::Registered::decode`].
    pub code: &'static str,
    /// What is wrong and where, lower case, no full stop.
    pub message: String,
}

/// A value that the output's format cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// Stable: `encode_failed`, `number_out_of_range`, or a [`DecodeError`]'s code where the payload had to be decoded first.
    pub code: &'static str,
    /// What is wrong and where, lower case, no full stop.
    pub message: String,
}

impl DecodeError {
    pub(crate) fn json(message: impl fmt::Display) -> Self {
        Self { code: "invalid_json", message: format!("the payload is not JSON: {message}") }
    }

    pub(crate) fn utf8(what: &str, at: usize) -> Self {
        Self { code: "invalid_utf8", message: format!("{what} is not UTF-8 text at byte {at}") }
    }

    pub(crate) fn avro(message: impl fmt::Display) -> Self {
        Self { code: "invalid_avro", message: format!("the payload is not Avro of its schema: {message}") }
    }

    pub(crate) fn csv(message: impl Into<String>) -> Self {
        Self { code: "invalid_csv", message: message.into() }
    }
}

impl EncodeError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: "encode_failed", message: message.into() }
    }

    /// Members that nobody was to look at would be lost.
    pub(crate) fn in_part() -> Self {
        Self::new("the payload was decoded in part and is to be written whole; this is a fault of Millstream")
    }
}

impl From<DecodeError> for EncodeError {
    fn from(e: DecodeError) -> Self {
        Self { code: e.code, message: e.message }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}
impl std::error::Error for EncodeError {}
