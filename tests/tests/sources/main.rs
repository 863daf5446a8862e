//! Several sources in one pipeline, end to end.

mod avro;
mod changed;
mod common;
mod grown;
mod killed;
mod mixed;
mod packed;
mod protobuf;
mod registry;
mod registry_protobuf;
