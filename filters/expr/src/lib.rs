//! Expressions of the pipeline language: VRL, compiled when a pipeline is checked and run once per record. Types come
//! from the source, so that mistakes show before a run, at their place in the file.
//!
//! It must never know: a log, a broker, a runtime, how payloads are encoded, or which filter an expression is part of.
//!
//! Start reading at [`Expression`]. `rewrite.rs` and `checked.rs` are why integer overflow is an error here and not a
//! silent wrap, `metadata.rs` is what `%…` means, `fields.rs` finds misspelled fields.

mod assign;
mod checked;
mod diagnose;
mod expression;
mod failure;
mod fields;
mod functions;
mod metadata;
mod rewrite;
mod state;
mod target;

pub use expression::{Expression, Options, Purpose};
pub use failure::ExprFailure;
pub use state::ExprState;
pub use target::room_for;
