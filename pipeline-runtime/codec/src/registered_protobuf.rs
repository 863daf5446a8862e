//! Protobuf whose schemas are in a registry: a byte 0, the number of the schema in four bytes, which of its messages, the message.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use millstream_filter_api::Value;

use crate::error::{DecodeError, EncodeError};
use crate::protobuf::ProtobufSchema;
use crate::registered::{Known, SCHEMA_UNRESOLVED, SchemaRegistry};

/// The byte 0 and the number.
const HEAD: usize = 5;
/// Messages within messages that a payload may name.
const MAX_PATH: u64 = 32;
/// Messages that are remembered; beyond it all are compiled anew.
const MAX_MESSAGES: usize = 1_000;

/// How messages are read and written.
pub(crate) struct Messages {
    /// What the pipeline names.
    pub wanted: Option<ProtobufSchema>,
    /// 64 bits without sign are text.
    pub wide: bool,
    /// By the number of the schema and where the message is in it.
    known: RwLock<HashMap<(u32, Vec<i32>), ProtobufSchema>>,
}

/// What stands before a message.
struct Head {
    id: u32,
    path: Vec<i32>,
    /// Where the message begins.
    length: usize,
}

impl Messages {
    pub fn new(wanted: Option<ProtobufSchema>, wide: bool) -> Self {
        Self { wanted, wide, known: RwLock::default() }
    }

    pub fn decode(&self, registry: &dyn SchemaRegistry, raw: &Bytes) -> Result<Value, DecodeError> {
        let Head { id, path, length } = head(raw)?;
        let written = self.written_by(registry, id, path)?;
        let by = match &self.wanted {
            // Fields that one of them does not know are as ever; but it is to be the same message.
            Some(wanted) if wanted.name() == written.name() => wanted,
            Some(wanted) => {
                let (name, is) = (wanted.name(), written.name());
                let message = format!("the payload of schema {id} is a `{is}`, and the pipeline reads `{name}`");
                return Err(DecodeError { code: "protobuf_schema_mismatch", message });
            }
            None => &written,
        };
        by.read(&raw.slice(length..)).map_err(|fault| DecodeError {
            code: fault.code(),
            message: format!("the payload of schema {id}: {}", fault.tell()),
        })
    }

    /// `number` is that of the schema that the pipeline names. Of `original` stays what is not known where `keep` says so.
    pub fn encode(
        &self,
        registry: &dyn SchemaRegistry,
        number: Option<Result<u32, Arc<str>>>,
        value: &Value,
        original: Option<&Bytes>,
        keep: bool,
    ) -> Result<Bytes, EncodeError> {
        let before = original.and_then(|raw| head(raw).ok().map(|head| (head, raw)));
        let rest = before.as_ref().filter(|_| keep).map(|(head, raw)| raw.slice(head.length..));
        let (id, schema) = match (&self.wanted, number, before) {
            (Some(schema), Some(Ok(id)), _) => (id, schema.clone()),
            (Some(_), Some(Err(why)), _) => return Err(EncodeError::new(why.to_string())),
            (_, _, Some((head, _))) => (head.id, self.written_by(registry, head.id, head.path)?),
            (_, _, None) => {
                return Err(EncodeError::new(
                    "a payload has no schema to be written by, as it was made here; name one with `to: { format: { protobuf: \
                     { schema: FILE.proto } } }`",
                ));
            }
        };
        let message = schema.encode(value, rest.as_ref())?;
        let mut out = Vec::with_capacity(HEAD + 1 + message.len());
        out.push(0);
        out.extend_from_slice(&id.to_be_bytes());
        put_path(&mut out, schema.path());
        out.extend_from_slice(&message);
        Ok(out.into())
    }

    fn written_by(
        &self,
        registry: &dyn SchemaRegistry,
        id: u32,
        path: Vec<i32>,
    ) -> Result<ProtobufSchema, DecodeError> {
        let place = (id, path);
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Ok(known.clone());
        }
        let address = registry.address();
        let wrong = |code, message| DecodeError { code, message };
        let unusable =
            |why: &str| wrong("protobuf_unusable_schema", format!("schema {id} of the registry at {address}: {why}"));
        let schema = match registry.known(id) {
            Some(Known::Protobuf(files)) => files.at(&place.1, self.wide).map_err(|why| unusable(&why))?,
            Some(Known::Schema(_)) => return Err(unusable("it is of Avro")),
            Some(Known::Unusable(why)) => return Err(unusable(&why)),
            Some(Known::Nothing) => {
                let message = format!("the registry at {address} has no schema {id}");
                return Err(wrong("protobuf_unknown_schema", message));
            }
            None => {
                let message = format!("schema {id} is not known: {address} was not asked yet");
                return Err(wrong(SCHEMA_UNRESOLVED, message));
            }
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_MESSAGES {
            known.clear();
        }
        known.insert(place, schema.clone());
        Ok(schema)
    }
}

fn head(raw: &[u8]) -> Result<Head, DecodeError> {
    let truncated = |what: &str| {
        let message = format!("a payload of {} bytes is shorter than {what}", raw.len());
        DecodeError { code: "protobuf_truncated", message }
    };
    let id = match raw {
        [0, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]),
        [] | [0, ..] => return Err(truncated("the number of its schema")),
        [other, ..] => {
            let message =
                format!("the payload begins with the byte {other}, and one whose schema is in a registry with 0");
            return Err(DecodeError { code: "protobuf_magic_byte", message });
        }
    };
    let mut length = HEAD;
    let mut next = || {
        let mut number: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = *raw.get(length)?;
            length += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        // Longer than any index; no message has this one.
        Some(i64::MAX)
    };
    let short = || truncated("the place of its message in the schema");
    let count = next().ok_or_else(short)?;
    // None stands for the first message alone.
    let path = match u64::try_from(count) {
        Ok(0) => vec![0],
        Ok(count @ 1..=MAX_PATH) => {
            let all = (0..count).map(|_| next().map(|index| i32::try_from(index).unwrap_or(-1)));
            all.collect::<Option<Vec<_>>>().ok_or_else(short)?
        }
        _ => {
            let message = format!("the place of the message in schema {id} has {count} parts");
            return Err(DecodeError { code: "protobuf_unusable_schema", message });
        }
    };
    Ok(Head { id, path, length })
}

fn put_path(out: &mut Vec<u8>, path: &[i32]) {
    if path == [0] {
        out.push(0);
        return;
    }
    let all = std::iter::once(path.len() as u64).chain(path.iter().map(|index| u64::from(index.unsigned_abs())));
    for number in all {
        let mut rest = number << 1;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_message_passes_there_and_back() {
        for path in [vec![0], vec![1], vec![0, 0], vec![2, 70, 1], vec![300]] {
            let mut raw = vec![0, 0, 0, 1, 2];
            put_path(&mut raw, &path);
            let length = raw.len();
            raw.push(0xff);
            let found = head(&raw).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            assert_eq!((found.id, found.path, found.length), (258, path, length));
        }
        // The first message has a short form, and a long one that others write.
        assert_eq!(head(&[0, 0, 0, 0, 7, 2, 0, 9]).map(|head| (head.path, head.length)).ok(), Some((vec![0], 7)));
        let code = |raw: &[u8]| head(raw).err().map(|e| e.code);
        assert_eq!(code(b"{\"id\":1}"), Some("protobuf_magic_byte"));
        assert_eq!(code(&[]), Some("protobuf_truncated"));
        assert_eq!(code(&[0, 0, 0, 0, 7]), Some("protobuf_truncated"));
        assert_eq!(code(&[0, 0, 0, 0, 7, 4, 0]), Some("protobuf_truncated"));
        assert_eq!(code(&[0, 0, 0, 0, 7, 1]), Some("protobuf_unusable_schema"));
        assert_eq!(code(&[0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some("protobuf_unusable_schema"));
    }
}
