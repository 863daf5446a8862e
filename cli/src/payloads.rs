//! Payloads that are no JSON, as commands show and take them: MessagePack and CBOR (`--format`), Avro and Protobuf of a schema
//! (`--schema FILE`) or of a schema registry where the settings name one.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use millstream_codec::{AvroSchema, Codec, Coercion, Packed, ProtobufSchema, Registered, Subject, encode_value};
use millstream_filter_api::Payload;
use millstream_spec::ProtobufFile;

use crate::context::Context;
use crate::failure::Failure;
use crate::pipelines::Beside;

/// How long a registry is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What payloads are that are no JSON.
#[derive(Args, Debug)]
pub struct PayloadArgs {
    /// Payloads are of this format, and shown and taken as JSON
    #[arg(long, value_name = "FORMAT", conflicts_with = "schema")]
    format: Option<Binary>,
    /// Payloads are data of this Avro schema (an .avsc file), or of this Protobuf message (a .proto file or a set of descriptors)
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Which message of the Protobuf file; default the only one
    #[arg(long, value_name = "NAME", requires = "schema")]
    message: Option<String>,
    /// Where imports of the .proto file are looked for, besides its own folder; repeats
    #[arg(long, value_name = "FOLDER", requires = "schema")]
    include: Vec<String>,
}

/// What `--format` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Binary {
    /// MessagePack
    Msgpack,
    /// CBOR
    Cbor,
}

enum Schema {
    Avro(AvroSchema),
    Protobuf(ProtobufSchema),
}

impl Schema {
    fn codec(self) -> Codec {
        match self {
            Self::Avro(schema) => Codec::Avro(schema),
            Self::Protobuf(schema) => Codec::Protobuf(schema),
        }
    }
}

/// How payloads are read and written.
pub struct Payloads {
    of: Of,
    /// The registry was waited for in vain.
    given_up: Cell<bool>,
}

enum Of {
    /// The payload is of this format, and nothing stands before it.
    Bare(Codec),
    /// One after the other, until one can read it.
    Registry(Vec<Registered>),
}

impl Payloads {
    /// To read: as the schema of a file, from a registry where the settings name one and `bare` is not said; `None` where
    /// there is neither.
    pub fn to_read(schema: &PayloadArgs, bare: bool, cx: &Context) -> Result<Option<Self>, Failure> {
        if let Some(binary) = schema.format {
            return Ok(Some(Self::packed(binary)));
        }
        let of = match (cx.schema_registry()?.filter(|_| !bare), schema.read()?) {
            (Some(registry), Some(Schema::Protobuf(schema))) => {
                Of::Registry(vec![Registered::protobuf(registry, Some(schema), true, None)])
            }
            (Some(registry), None) => {
                let avro = Registered::new(Arc::clone(&registry), None, None);
                Of::Registry(vec![avro, Registered::protobuf(registry, None, true, None)])
            }
            (Some(registry), Some(Schema::Avro(schema))) => {
                Of::Registry(vec![Registered::new(registry, Some(schema), None)])
            }
            (None, Some(schema)) => Of::Bare(schema.codec()),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { of, given_up: Cell::new(false) }))
    }

    /// To write to a topic, by the schema of a file; `None` where there is none. Behind the number that it has in the registry, in the same way; it is
    /// registered if `register` says so.
    pub fn to_write(
        schema: &PayloadArgs,
        topic: &str,
        bare: bool,
        register: bool,
        cx: &Context,
    ) -> Result<Option<Self>, Failure> {
        if let Some(binary) = schema.format {
            return Ok(Some(Self::packed(binary)));
        }
        let Some(schema) = schema.read()? else { return Ok(None) };
        Self::of_file(schema, topic, bare, register, cx).map(Some)
    }

    fn packed(binary: Binary) -> Self {
        let packed = match binary {
            Binary::Msgpack => Packed::Msgpack,
            Binary::Cbor => Packed::Cbor,
        };
        Self { of: Of::Bare(Codec::Packed(packed)), given_up: Cell::new(false) }
    }

    fn of_file(schema: Schema, topic: &str, bare: bool, register: bool, cx: &Context) -> Result<Self, Failure> {
        let Some(registry) = cx.schema_registry()?.filter(|_| !bare) else {
            if register {
                let what = "`--register` is for a schema registry, and none is named";
                return Err(Failure::wrong(what).help("write `registry: { url: … }` into `millstream.yaml`"));
            }
            return Ok(Self { of: Of::Bare(schema.codec()), given_up: Cell::new(false) });
        };
        let (text, protobuf) = match &schema {
            Schema::Avro(schema) => (schema.text().to_owned(), false),
            Schema::Protobuf(schema) => match (schema.files().text(), schema.files().imports().is_empty()) {
                (Some(text), true) => (text.to_owned(), true),
                _ => return Err(not_in_a_registry()),
            },
        };
        let subject = Subject { name: format!("{topic}-value"), schema: text, protobuf, register };
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
                let registered = match schema {
                    Schema::Avro(schema) => Registered::new(registry, Some(schema), Some(subject)),
                    Schema::Protobuf(schema) => Registered::protobuf(registry, Some(schema), true, Some(subject)),
                };
                Ok(Self { of: Of::Registry(vec![registered]), given_up: Cell::new(false) })
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
        match &self.of {
            Of::Bare(codec) => {
                let decoded = codec.decode(payload.clone(), &Coercion::none()).ok()?;
                encode_value(decoded.value()?).ok()
            }
            Of::Registry(all) => {
                let first = all.first()?;
                if first.lacks(payload).is_some() && !self.given_up.get() {
                    first.wait(payload, PATIENCE);
                    self.given_up.set(first.lacks(payload).is_some());
                }
                all.iter().find_map(|one| encode_value(&one.decode(payload).ok()?).ok())
            }
        }
    }

    /// JSON text as a payload. The error says what does not fit.
    pub fn payload(&self, json: Bytes) -> Result<Bytes, String> {
        let decoded = Codec::Json.decode(json, &Coercion::none()).map_err(|e| e.message)?;
        let value = decoded.value().ok_or("there is no value")?;
        let written = match &self.of {
            Of::Bare(codec) => {
                let whole = Payload::from_value(value.clone());
                codec.encode(&whole, codec).map(Option::unwrap_or_default)
            }
            Of::Registry(all) => all.first().ok_or("there is no schema")?.encode(value, None),
        };
        written.map_err(|e| e.message)
    }
}

impl PayloadArgs {
    /// Reads the file; what it is is known by its ending.
    fn read(&self) -> Result<Option<Schema>, Failure> {
        let Some(path) = &self.schema else { return Ok(None) };
        match path.to_str().filter(|path| ProtobufFile::is_named(path)) {
            Some(path) => self.protobuf(path).map(Some),
            None if self.message.is_some() || !self.include.is_empty() => {
                Err(Failure::wrong("`--message` and `--include` are for Protobuf, and the schema is none by its name")
                    .help("name a file that ends with `.proto`, `.desc`, `.binpb` or `.pb`"))
            }
            None => avro(path).map(Schema::Avro).map(Some),
        }
    }

    fn protobuf(&self, path: &str) -> Result<Schema, Failure> {
        let include = self.include.iter().map(String::as_str).collect();
        let file = ProtobufFile { path, include, message: self.message.as_deref(), wide: true };
        match file.load(&Beside::of(PathBuf::new())) {
            Ok(schema) => Ok(Schema::Protobuf(schema)),
            Err((_, why)) if why.contains("say which one") => {
                Err(Failure::wrong(why.replace("`message`", "`--message`")))
            }
            Err((_, why)) => Err(Failure::wrong(why)),
        }
    }
}

fn not_in_a_registry() -> Failure {
    Failure::wrong("a schema with imports, or a set of descriptors, in a schema registry is not supported yet")
        .help("put all in one `.proto` file, or write messages without a number before them with `--bare`")
}

/// Reads a schema of Avro.
fn avro(path: &Path) -> Result<AvroSchema, Failure> {
    let wrong = |why: String| Failure::wrong(format!("the schema `{}` {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    AvroSchema::parse(&text).map_err(|why| wrong(format!("is {why}")))
}
