//! A letter's payload, decoded as well as it can be: in the format of the topic it was read from, else as JSON, else
//! as text, else as bytes.

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{Payload, Touched, Value};

use super::letter::Letter;
use super::place::Place;

/// A payload and how it was decoded.
#[derive(Debug)]
pub struct Decoded {
    /// Bytes and value.
    pub payload: Payload,
    /// How.
    pub form: Form,
}

/// How a payload was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The format the stage expects.
    wanted: Codec,
    /// The one it could be decoded with.
    found: Codec,
}

impl Place {
    /// Decodes a letter's payload. It always decodes as something: bytes at last.
    pub fn decode(&self, letter: &Letter) -> Decoded {
        let origin = self.origins.iter().find(|o| o.topic == letter.error.topic).or(self.origins.first());
        let wanted = origin.map_or(Codec::Json, |o| o.codec.clone());
        let Some(raw) = &letter.record.value else {
            return Decoded { payload: Payload::null(), form: Form { found: wanted.clone(), wanted } };
        };
        wanted.settle(raw);
        let none = Coercion::none();
        let coercion = origin.map_or(&none, |o| &o.coercion);
        for (codec, coercion) in [(wanted.clone(), coercion), (Codec::Json, &none), (Codec::Text, &none)] {
            if let Ok(payload) = codec.decode(raw.clone(), coercion) {
                return Decoded { payload, form: Form { found: codec, wanted } };
            }
        }
        let payload = Payload::decoded(raw.clone(), Value::Bytes(raw.clone()));
        Decoded { payload, form: Form { found: Codec::Raw, wanted } }
    }
}

impl Form {
    /// The bytes of a payload that an expression may have changed. Text that stands for a payload which its format
    /// refused stays text: it may be half mended.
    pub fn encode(&self, payload: &Payload) -> Result<Option<Bytes>, String> {
        match (payload.original(), payload.value()) {
            (Some(raw), _) if *payload.touched() == Touched::Nothing => Ok(Some(raw.clone())),
            (_, Some(Value::Bytes(text))) if self.found != self.wanted => Ok(Some(text.clone())),
            (_, Some(Value::String(text))) if self.found != self.wanted => Ok(Some(text.as_bytes().clone())),
            _ => self.wanted.encode(payload, &self.found).map_err(|e| e.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_filter_api::Headers;
    use millstream_log::LogRecord;

    fn decoded(bytes: &'static [u8]) -> Decoded {
        let record = LogRecord {
            offset: 0,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from_static(bytes)),
            headers: Headers::new(),
        };
        Place::of_topic("t").decode(&Letter::new(Arc::from("t"), 0, record))
    }

    #[test]
    fn json_else_text_else_bytes() {
        assert!(decoded(b"{\"a\":1}").payload.value().is_some_and(Value::is_object));
        assert_eq!(decoded(b"{\"a\":").payload.value(), Some(&Value::from("{\"a\":")));
        assert_eq!(decoded(b"\xff").payload.value(), Some(&Value::Bytes(Bytes::from_static(b"\xff"))));
    }

    #[test]
    fn text_that_was_no_json_stays_text_and_a_value_becomes_json() {
        let mut broken = decoded(b"{'a':1}");
        assert_eq!(broken.form.encode(&broken.payload), Ok(Some(Bytes::from_static(b"{'a':1}"))));
        broken.payload.replace(Value::from("{\"a\":1}"));
        assert_eq!(broken.form.encode(&broken.payload), Ok(Some(Bytes::from_static(b"{\"a\":1}"))));
        broken.payload.replace(Value::from(vec![Value::from(1)]));
        assert_eq!(broken.form.encode(&broken.payload), Ok(Some(Bytes::from_static(b"[1]"))));
        let mut fine = decoded(b"{\"a\": 1}");
        assert_eq!(fine.form.encode(&fine.payload), Ok(Some(Bytes::from_static(b"{\"a\": 1}"))));
        fine.payload.replace(Value::from("x"));
        assert_eq!(fine.form.encode(&fine.payload), Ok(Some(Bytes::from_static(b"\"x\""))));
    }
}
