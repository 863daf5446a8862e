//! The pipeline language: a YAML file becomes a checked [`model::Pipeline`], or a list of everything that is wrong with
//! it, each issue at its line and column.
//!
//! It must never know: a log, a broker, a runtime, which filters there are (they come in a [`Registry`]) or how an
//! expression is compiled. It reads no file and no environment but through what its caller gives.
//!
//! Start reading at [`check`], which is the way of a file: `tree.rs` (YAML with places), `reference.rs` (`${env:…}`),
//! `shape.rs` over the tables in `language.rs`, then the meaning: `source.rs`, `stage.rs`, `outputs.rs`, `link.rs`.

mod callback;
mod check;
mod compensate;
mod defaults;
mod format;
pub mod graph;
mod http;
mod inlets;
mod isolate;
mod jobs;
mod language;
mod lines;
mod link;
mod lowering;
pub mod model;
mod objects;
mod outputs;
pub mod path;
mod postgres;
mod priority;
mod protobuf;
mod read;
mod reference;
mod registry;
mod render;
mod rules;
mod scalar;
pub mod schedule;
mod schema;
mod schemas;
mod shape;
mod source;
mod spelling;
mod stage;
mod taint;
mod tests_section;
mod topics;
pub mod tree;
mod types;
mod waiting;

pub use check::{SourceFile, Verdict, check, check_all, check_all_to_run};
pub use defaults::PARTITIONS;
pub use millstream_filter_api::units;
pub use protobuf::ProtobufFile;
pub use reference::resolve;
pub use registry::{CallbackCheck, GeneratorCheck, Registry, SchemaRegistryMaker};
pub use render::render;
pub use schema::schema;
pub use schemas::schema_registry;
pub use spelling::nearest;
