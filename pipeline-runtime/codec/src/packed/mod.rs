//! MessagePack and CBOR: formats that carry what JSON carries, and bytes and times beside, in fewer bytes and without a schema.
//!
//! | MessagePack | CBOR | value |
//! |---|---|---|
//! | `nil` | `null`, `undefined` | null |
//! | `bool` | `true`, `false` | boolean |
//! | `int`, `uint` | integers, bignums (tags 2 and 3) | integer, where 64 bits with a sign hold it |
//! | `float` | floats of any width | float; written as wide as it must be (CBOR), with 64 bits (MessagePack) |
//! | `str` | text, in one piece or several | text |
//! | `bin` | bytes, likewise | bytes |
//! | `array`, `map` | the same, also without a length | array, object; keys are text, and each is there once |
//! | timestamp (extension -1) | times (tags 0 and 1) | timestamp |
//!
//! What has no value is refused by its place, so that nothing is lost in silence. Of a payload that is changed, what was not
//! changed keeps its very bytes (`write.rs`), as in JSON.
//!
//! Heads of items are read and written by `rmp` and `ciborium-ll`; the tests hold payloads against `rmpv` and `ciborium`.

mod cbor;
mod msgpack;
mod read;
mod write;

use bytes::Bytes;
use cbor::Cbor;
use millstream_filter_api::Value;
use msgpack::Msgpack;

use crate::error::{DecodeError, EncodeError};
use read::{Fault, Form};

/// A format of values in bytes that needs no schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// MessagePack.
    Msgpack,
    /// CBOR (RFC 8949).
    Cbor,
}

impl Packed {
    /// By the word that pipelines use.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Msgpack, Self::Cbor].into_iter().find(|packed| packed.word() == word)
    }

    /// `msgpack` or `cbor`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Msgpack => "msgpack",
            Self::Cbor => "cbor",
        }
    }

    /// Decodes one payload, which is one item and nothing after it, nested at most 127 levels deep. Text and bytes share the
    /// payload's bytes; what it claims of lengths takes no memory.
    ///
    /// # Errors
    /// `invalid_msgpack` or `invalid_cbor`: too few bytes or too many, what the format does not know, text that is not UTF-8,
    /// and what no value stands for; with the byte and, inside of an array or an object, the place.
    pub(crate) fn decode(self, raw: &Bytes) -> Result<Value, DecodeError> {
        match self {
            Self::Msgpack => read::value::<Msgpack>(raw).map_err(refused::<Msgpack>),
            Self::Cbor => read::value::<Cbor>(raw).map_err(refused::<Cbor>),
        }
    }

    /// Encodes a whole value. What it has taken over from `original` as bytes stays bytes; other strings are text where they
    /// are UTF-8.
    ///
    /// # Errors
    /// `encode_failed`, with the path of what the format cannot carry and the reason.
    pub(crate) fn encode(self, value: &Value, original: Option<(&Bytes, Self)>) -> Result<Bytes, EncodeError> {
        // What can no longer be read has nothing that was taken over.
        let parsed = original.and_then(|(raw, from)| from.parts(raw).ok().map(|parts| (raw, parts)));
        let taken = parsed.as_ref().map(|(raw, parts)| (*raw, parts));
        match self {
            Self::Msgpack => write::whole::<Msgpack>(value, taken),
            Self::Cbor => write::whole::<Cbor>(value, taken),
        }
    }

    /// The original with `value` in the place of what it decodes to: what is equal keeps its bytes.
    ///
    /// # Errors
    /// As [`Packed::encode`].
    pub(crate) fn splice(self, raw: &Bytes, value: &Value) -> Result<Bytes, EncodeError> {
        let Ok(parts) = self.parts(raw) else { return self.encode(value, None) };
        match self {
            Self::Msgpack => write::spliced::<Msgpack>(raw, value, &parts),
            Self::Cbor => write::spliced::<Cbor>(raw, value, &parts),
        }
    }

    fn parts(self, raw: &Bytes) -> Result<read::Parts, Fault> {
        match self {
            Self::Msgpack => read::parts::<Msgpack>(raw),
            Self::Cbor => read::parts::<Cbor>(raw),
        }
    }
}

fn refused<F: Form>(fault: Fault) -> DecodeError {
    DecodeError { code: F::CODE, message: format!("the payload cannot be read as {}: {}", F::NAME, fault.tell()) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_tests;
