//! Payloads that are no JSON, as commands show and take them: MessagePack and CBOR (`--format`), Avro of a schema (`--schema
//! FILE.avsc`) or of a schema registry where the settings name one.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use millstream_codec::{AvroSchema, Codec, Coercion, Packed, Registered, Subject, encode_value};
use millstream_filter_api::Payload;

use crate::context::Context;
use crate::failure::Failure;

/// How long a registry is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How payloads are read and written.
pub struct Payloads {
    of: Of,
    /// The registry was waited for in vain.
    given_up: Cell<bool>,
}

enum Of {
    Schema(AvroSchema),
    Registry(Registered),
    Packed(Codec),
}

/// What `--format` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Binary {
    /// MessagePack
    Msgpack,
    /// CBOR
    Cbor,
}

impl From<Binary> for Payloads {
    fn from(binary: Binary) -> Self {
        let packed = match binary {
            Binary::Msgpack => Packed::Msgpack,
            Binary::Cbor => Packed::Cbor,
        };
        Self { of: Of::Packed(Codec::Packed(packed)), given_up: Cell::new(false) }
    }
}

impl Payloads {
    /// To read: as the schema of a file, from a registry where the settings name one and `bare` is not said; `None` where
    /// there is neither.
    pub fn to_read(schema: Option<&Path>, bare: bool, cx: &Context) -> Result<Option<Self>, Failure> {
        let schema = schema.map(self::schema).transpose()?;
        let of = match (cx.schema_registry()?.filter(|_| !bare), schema) {
            (Some(registry), schema) => Of::Registry(Registered::new(registry, schema, None)),
            (None, Some(schema)) => Of::Schema(schema),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { of, given_up: Cell::new(false) }))
    }

    /// To write to a topic, by the schema of a file. Behind the number that it has in the registry, in the same way; it is
    /// registered if `register` says so.
    pub fn to_write(path: &Path, topic: &str, bare: bool, register: bool, cx: &Context) -> Result<Self, Failure> {
        let schema = schema(path)?;
        let Some(registry) = cx.schema_registry()?.filter(|_| !bare) else {
            if register {
                let what = "`--register` is for a schema registry, and none is named";
                return Err(Failure::wrong(what).help("write `registry: { url: … }` into `millstream.yaml`"));
            }
            return Ok(Self { of: Of::Schema(schema), given_up: Cell::new(false) });
        };
        let subject = Subject { name: format!("{topic}-value"), schema: schema.text().to_owned(), register };
        let (tell, told) = channel();
        registry.find(
            &subject,
            std::sync::Arc::new(move || {
                // Nobody waits any more.
                let _ = tell.send(());
            }),
        );
        let _ = told.recv_timeout(PATIENCE);
        match registry.number(&subject) {
            Some(Ok(_)) => {
                let of = Of::Registry(Registered::new(registry, Some(schema), Some(subject)));
                Ok(Self { of, given_up: Cell::new(false) })
            }
            Some(Err(why)) => {
                Err(Failure::failed(why.to_string())
                    .help("`--register` registers it, `--bare` writes without a number"))
            }
            None => Err(Failure::failed(format!("the schema registry at {} does not answer", registry.address()))),
        }
    }

    /// A payload as JSON text; nothing where it is none of the schema, or has what JSON does not.
    pub fn shown(&self, payload: &Bytes) -> Option<Bytes> {
        let value = match &self.of {
            Of::Packed(codec) => {
                let decoded = codec.decode(payload.clone(), &Coercion::none()).ok()?;
                return encode_value(decoded.value()?).ok();
            }
            Of::Schema(schema) => schema.decode(payload),
            Of::Registry(avro) => {
                if avro.lacks(payload).is_some() && !self.given_up.get() {
                    avro.wait(payload, PATIENCE);
                    self.given_up.set(avro.lacks(payload).is_some());
                }
                avro.decode(payload)
            }
        };
        encode_value(&value.ok()?).ok()
    }

    /// JSON text as a payload. The error says what does not fit.
    pub fn payload(&self, json: Bytes) -> Result<Bytes, String> {
        let decoded = Codec::Json.decode(json, &Coercion::none()).map_err(|e| e.message)?;
        let value = decoded.value().ok_or("there is no value")?;
        let written = match &self.of {
            Of::Schema(schema) => schema.encode(value),
            Of::Registry(avro) => avro.encode(value, None),
            Of::Packed(codec) => {
                let whole = Payload::from_value(value.clone());
                codec.encode(&whole, codec).map(Option::unwrap_or_default)
            }
        };
        written.map_err(|e| e.message)
    }
}

/// Reads a schema.
fn schema(path: &Path) -> Result<AvroSchema, Failure> {
    let wrong = |why: String| Failure::wrong(format!("the schema `{}` {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    AvroSchema::parse(&text).map_err(|why| wrong(format!("is {why}")))
}
