//! Payloads whose schemas are in a registry. Avro: a byte 0, the number of the schema in four bytes, the datum. What was written is
//! read by the schema that it names, as the schema that the pipeline names, if it does. Protobuf: `registered_protobuf.rs`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use millstream_filter_api::{Kind, Value};

use crate::avro::{AvroSchema, Framed, Resolution};
use crate::error::{DecodeError, EncodeError};
use crate::protobuf::{ProtobufFiles, ProtobufSchema};
use crate::registered_protobuf::Messages;

/// What stands before each datum.
const HEAD: usize = 5;
/// The code of a payload whose schema has to be fetched first.
pub const SCHEMA_UNRESOLVED: &str = "schema_unresolved";
/// Pairs of schemas that are remembered; beyond it all are matched anew.
const MAX_PAIRS: usize = 1_000;

/// Called once there is something new to be asked.
pub type Ready = Arc<dyn Fn() + Send + Sync>;

/// A registry of schemas. Nothing here waits, but for [`SchemaRegistry::ask`].
pub trait SchemaRegistry: Send + Sync {
    /// Its address, without secrets.
    fn address(&self) -> &str;

    /// The schema of a number, if it is here, be it from long ago.
    fn known(&self, id: u32) -> Option<Known>;

    /// Whether what is known of a number is to be gone by: that there is none counts for a while alone.
    fn is_fresh(&self, id: u32) -> bool;

    /// Gets the schema of a number, however long the registry is away, and says so when it is known.
    fn fetch(&self, id: u32, ready: Ready);

    /// The number of a schema in its subject, if it is here; or why there is none.
    fn number(&self, subject: &Subject) -> Option<Result<u32, Arc<str>>>;

    /// Gets that number in the same way; registers the schema where the subject says so.
    fn find(&self, subject: &Subject, ready: Ready);

    /// Asks something and waits for the answer.
    ///
    /// # Errors
    /// What went wrong, for people.
    fn ask(&self, question: &Question<'_>) -> Result<Answer, String>;
}

/// A schema of a number.
#[derive(Clone)]
pub enum Known {
    /// As it is.
    Schema(AvroSchema),
    /// The same of Protobuf.
    Protobuf(ProtobufFiles),
    /// The registry has no such number.
    Nothing,
    /// It has, and it is no schema that can be read.
    Unusable(Arc<str>),
}

/// Where a schema is registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The subject's name.
    pub name: String,
    /// The text of the schema.
    pub schema: String,
    /// It is one of Protobuf, not of Avro.
    pub protobuf: bool,
    /// Register it if it is not there.
    pub register: bool,
}

/// What a command wants to know.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// The latest schema of a subject.
    Latest(&'a str),
    /// Whether a schema is registered there.
    Lookup(&'a Subject),
    /// Whether one would be accepted as the next version.
    Compatible(&'a Subject),
}

/// What a registry says to that.
pub enum Answer {
    /// There is no such subject, or no such schema in it.
    Nothing,
    /// A schema and its number.
    Schema(u32, AvroSchema),
    /// The same of Protobuf.
    Protobuf(u32, ProtobufFiles),
    /// The number of a schema.
    Number(u32),
    /// Whether it is compatible, and why not.
    Compatible(Result<(), String>),
}

/// How payloads of a topic are read and written whose schemas are in a registry. Cloning shares it.
#[derive(Clone)]
pub struct Registered(Arc<Inner>);

struct Inner {
    registry: Arc<dyn SchemaRegistry>,
    schema: Option<AvroSchema>,
    /// Of Protobuf, where it is not Avro.
    messages: Option<Messages>,
    subject: Option<Subject>,
    /// How data of a schema are read as the one above.
    pairs: RwLock<HashMap<u32, Arc<Resolution>>>,
}

impl Registered {
    /// `schema` is what values are read as and written by. Without one they are what they were written as; a value that was
    /// changed is written by the schema it was read by. `subject` is where the schema is registered, of an output.
    pub fn new(registry: Arc<dyn SchemaRegistry>, schema: Option<AvroSchema>, subject: Option<Subject>) -> Self {
        Self(Arc::new(Inner { registry, schema, messages: None, subject, pairs: RwLock::default() }))
    }

    /// The same of Protobuf; without a schema, `wide` takes 64 bits without sign as text.
    pub fn protobuf(
        registry: Arc<dyn SchemaRegistry>,
        message: Option<ProtobufSchema>,
        wide: bool,
        subject: Option<Subject>,
    ) -> Self {
        let messages = Some(Messages::new(message, wide));
        Self(Arc::new(Inner { registry, schema: None, messages, subject, pairs: RwLock::default() }))
    }

    /// Whether it is Protobuf, not Avro.
    pub fn is_protobuf(&self) -> bool {
        self.0.messages.is_some()
    }

    /// The message of Protobuf that the pipeline names.
    pub fn message(&self) -> Option<&ProtobufSchema> {
        self.0.messages.as_ref()?.wanted.as_ref()
    }

    /// The schema of Avro that the pipeline names.
    pub fn schema(&self) -> Option<&AvroSchema> {
        self.0.schema.as_ref()
    }

    /// Where it is registered.
    pub fn subject(&self) -> Option<&Subject> {
        self.0.subject.as_ref()
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<dyn SchemaRegistry> {
        &self.0.registry
    }

    /// The type of values, where the pipeline names a schema.
    pub fn kind(&self) -> Option<Kind> {
        self.schema().map(AvroSchema::kind).or_else(|| self.message().map(ProtobufSchema::kind))
    }

    /// The schema that has to be fetched before this payload can be decoded.
    pub fn lacks(&self, raw: &[u8]) -> Option<u32> {
        let id = number(raw).ok()?;
        (!self.0.registry.is_fresh(id)).then_some(id)
    }

    /// Whether the number that payloads are written with has to be fetched first, or why there is none.
    pub fn unnumbered(&self) -> Option<Result<&Subject, Arc<str>>> {
        let subject = self.0.subject.as_ref()?;
        match self.0.registry.number(subject) {
            None => Some(Ok(subject)),
            Some(Err(why)) => Some(Err(why)),
            Some(Ok(_)) => None,
        }
    }

    /// Waits until a payload can be decoded, for commands; gives up after `limit`.
    pub fn wait(&self, raw: &[u8], limit: Duration) {
        let Some(id) = self.lacks(raw) else { return };
        let (tell, told) = mpsc::channel();
        self.0.registry.fetch(
            id,
            Arc::new(move || {
                // Nobody waits any more.
                let _ = tell.send(());
            }),
        );
        let _ = told.recv_timeout(limit);
    }

    /// Decodes a payload. Its schema must have been fetched.
    ///
    /// # Errors
    /// `avro_magic_byte`, `avro_truncated`, `avro_unknown_schema`, `avro_unusable_schema`, `avro_schema_mismatch`,
    /// `invalid_avro`, and the same of `protobuf`; and `schema_unresolved` where the registry was not asked.
    pub fn decode(&self, raw: &Bytes) -> Result<Value, DecodeError> {
        if let Some(messages) = &self.0.messages {
            return messages.decode(&*self.0.registry, raw);
        }
        let id = number(raw)?;
        let writer = self.written_by(id)?;
        let datum = raw.slice(HEAD..);
        let by = match &self.0.schema {
            Some(reader) if *reader != writer => Framed::As(&self.pair(id, &writer, reader)).decode(&datum),
            _ => Framed::Own(&writer).decode(&datum),
        };
        by.map_err(|(code, what)| DecodeError { code, message: format!("the payload of schema {id}: {what}") })
    }

    fn written_by(&self, id: u32) -> Result<AvroSchema, DecodeError> {
        let address = self.0.registry.address();
        let wrong = |code, message| DecodeError { code, message };
        match self.0.registry.known(id) {
            Some(Known::Schema(schema)) => Ok(schema),
            Some(Known::Protobuf(_)) => {
                let message = format!("schema {id} of the registry at {address}: it is of Protobuf");
                Err(wrong("avro_unusable_schema", message))
            }
            Some(Known::Nothing) => {
                Err(wrong("avro_unknown_schema", format!("the registry at {address} has no schema {id}")))
            }
            Some(Known::Unusable(why)) => {
                Err(wrong("avro_unusable_schema", format!("schema {id} of the registry at {address}: {why}")))
            }
            None => Err(wrong(SCHEMA_UNRESOLVED, format!("schema {id} is not known: {address} was not asked yet"))),
        }
    }

    fn pair(&self, id: u32, writer: &AvroSchema, reader: &AvroSchema) -> Arc<Resolution> {
        if let Some(pair) = self.0.pairs.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(pair);
        }
        let pair = Arc::new(Resolution::new(writer, reader));
        let mut pairs = self.0.pairs.write().unwrap_or_else(PoisonError::into_inner);
        if pairs.len() >= MAX_PAIRS {
            pairs.clear();
        }
        pairs.insert(id, Arc::clone(&pair));
        pair
    }

    /// Encodes a value; `original` is the payload that it was read from, where it was read so.
    ///
    /// # Errors
    /// `encode_failed`: what the schema cannot carry, by its field; or there is no schema to write it by.
    pub fn encode(&self, value: &Value, original: Option<&Bytes>) -> Result<Bytes, EncodeError> {
        self.write(value, original, false)
    }

    /// The same of a value that differs in parts from what `original` was: what its schema does not know of that stays.
    pub(crate) fn splice(&self, value: &Value, original: &Bytes) -> Result<Bytes, EncodeError> {
        self.write(value, Some(original), true)
    }

    fn write(&self, value: &Value, original: Option<&Bytes>, keep: bool) -> Result<Bytes, EncodeError> {
        if let Some(messages) = &self.0.messages {
            let number = self.0.subject.as_ref().and_then(|subject| self.0.registry.number(subject));
            return messages.encode(&*self.0.registry, number, value, original, keep);
        }
        let (id, datum) = match (&self.0.schema, self.0.subject.as_ref().and_then(|s| self.0.registry.number(s))) {
            (Some(schema), Some(Ok(id))) => (id, schema.encode(value)?),
            (Some(_), Some(Err(why))) => return Err(EncodeError::new(why.to_string())),
            _ => {
                let Some(id) = original.and_then(|raw| number(raw).ok()) else {
                    let what = "has no schema to be written by, as it was made here";
                    return Err(EncodeError::new(format!(
                        "a payload {what}; name one with `to: {{ format: {{ avro: {{ schema: FILE.avsc }} }} }}`"
                    )));
                };
                (id, self.written_by(id)?.encode(value)?)
            }
        };
        let mut out = Vec::with_capacity(HEAD + datum.len());
        out.push(0);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&datum);
        Ok(out.into())
    }
}

/// The number that a payload begins with.
fn number(raw: &[u8]) -> Result<u32, DecodeError> {
    match raw {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [] | [0, ..] => Err(DecodeError {
            code: "avro_truncated",
            message: format!("a payload of {} bytes is shorter than the number of its schema", raw.len()),
        }),
        [other, ..] => Err(DecodeError {
            code: "avro_magic_byte",
            message: format!("the payload begins with the byte {other}, and one whose schema is in a registry with 0"),
        }),
    }
}

/// Bytes of the one are bytes of the other.
impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.registry.address() == other.0.registry.address()
                && self.0.schema == other.0.schema
                && match (&self.0.messages, &other.0.messages) {
                    (None, None) => true,
                    (Some(one), Some(two)) => one.wanted == two.wanted && one.wide == two.wide,
                    _ => false,
                }
    }
}

impl Eq for Registered {}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, subject) = (self.0.registry.address(), &self.0.subject);
        f.debug_struct("Registered").field("registry", &address).field("subject", subject).finish_non_exhaustive()
    }
}
