//! Several sources in one pipeline, end to end.

mod avro;
mod avro_evolution;
mod changed;
mod common;
mod csv_to_avro;
mod grown;
mod killed;
mod mixed;
mod packed;
mod protobuf;
mod registry;
mod registry_protobuf;
