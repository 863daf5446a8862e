//! Bytes to values and back: raw, text, JSON, CSV, MessagePack, CBOR, Avro and Protobuf, also by the schemas of a registry
//! (the port of one is here, [`SchemaRegistry`]). Decoding keeps the bytes beside the value; encoding writes those
//! very bytes again where nothing was touched, and splices changes into the original JSON text where something was, so
//! that what a filter leaves alone keeps its text at any size of number.
//!
//! It must never know: an expression language's compiler, a log, a broker, a runtime. It does no I/O.
//!
//! Start reading at [`Codec`], then `splice.rs`, which is the heart of fidelity. [`CsvTyping`] serves sources that read
//! CSV files.

mod address;
mod avro;
mod codec;
mod coercion;
mod error;
mod exact;
mod json;
mod members;
mod packed;
mod protobuf;
mod registered;
mod registered_protobuf;
mod render;
mod row;
mod scan;
mod splice;
mod splice_fields;
mod strict;
mod typing;

pub use address::{RegistryAddress, RegistryAuth};
pub use avro::AvroSchema;
pub use codec::Codec;
pub use coercion::Coercion;
pub use error::{DecodeError, EncodeError};
pub use exact::exact_number;
pub use packed::Packed;
pub use protobuf::{ProtobufFiles, ProtobufSchema};
pub use registered::{Answer, Known, Question, Ready, Registered, SCHEMA_UNRESOLVED, SchemaRegistry, Subject};
pub use render::encode_value;
pub use typing::CsvTyping;
