//! What sources make themselves, as payloads of their format.

use bytes::Bytes;
use millstream_codec::{Codec, Coercion, encode_value};
use millstream_filter_api::{Payload, Value};

/// A value as a payload. Where payloads are text, text is meant as it is and all else is JSON; the error says what the format
/// does not take.
pub fn payload(value: Value, codec: &Codec) -> Result<Bytes, String> {
    match (value, codec) {
        (Value::Bytes(text), Codec::Text | Codec::Raw) => Ok(text),
        (Value::String(text), Codec::Text | Codec::Raw) => Ok(text.as_bytes().clone()),
        (value, codec) if is_text(codec) => encode_value(&value).map_err(|e| e.message),
        (value, codec) => {
            let encoded = codec.encode(&Payload::from_value(value), codec);
            encoded.map(Option::unwrap_or_default).map_err(|e| e.message)
        }
    }
}

/// JSON that somebody wrote by hand, as a payload. What is none stays as it is, for the format to refuse.
pub fn of_json(json: Bytes, codec: &Codec) -> Result<Bytes, String> {
    if is_text(codec) {
        return Ok(json);
    }
    let value = Codec::Json.decode(json.clone(), &Coercion::none()).ok().and_then(|read| read.value().cloned());
    value.map_or(Ok(json), |value| payload(value, codec))
}

/// Whether people can write payloads of this format as they are.
pub fn is_text(codec: &Codec) -> bool {
    matches!(codec, Codec::Json | Codec::Text | Codec::Raw | Codec::Csv { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_codec::{AvroSchema, Packed};
    use vrl::value;

    /// Red where all is written as JSON: a reader of the source's topic then has dead letters only.
    #[test]
    fn what_is_made_is_of_the_format() {
        let avro = r#"{"type":"record","name":"O","fields":[{"name":"n","type":"long"}]}"#;
        let avro = Codec::Avro(AvroSchema::parse(avro).unwrap());
        for (codec, bytes) in [
            (Codec::Json, &b"{\"n\":3}"[..]),
            (Codec::Text, b"{\"n\":3}"),
            (Codec::Packed(Packed::Msgpack), b"\x81\xa1n\x03"),
            (avro.clone(), b"\x06"),
        ] {
            assert_eq!(payload(value!({ "n": 3 }), &codec).unwrap(), bytes, "{codec:?}");
            assert_eq!(of_json("{\"n\":3}".into(), &codec).unwrap(), bytes, "{codec:?}");
        }
        assert_eq!(payload(value!("a"), &Codec::Text).unwrap(), "a");
        assert_eq!(payload(value!("a"), &Codec::Json).unwrap(), "\"a\"");
        assert!(payload(value!({ "m": 3 }), &avro).unwrap_err().contains('n'));
        assert_eq!(of_json("no JSON".into(), &avro).unwrap(), "no JSON");
    }
}
