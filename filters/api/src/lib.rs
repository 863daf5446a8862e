//! What a filter author depends on: the record, the outcome, the two filter traits and the factory that checks a
//! configuration. A filter can be written and tested with this crate alone.
//!
//! It must never know: a log, a broker, a runtime (no tokio, no rdkafka), or how an expression is compiled.
//!
//! Start reading at [`FilterSpec`] (how a filter is found, documented, checked and built), then [`Record`] and
//! [`Outcome`] (what it works on and what it answers).

mod config;
mod context;
mod failure;
mod filter;
mod headers;
mod json_schema;
mod keys;
mod outcome;
mod payload;
mod reads;
mod record;
pub mod units;

pub use config::{Issue, Node, NodeKind, ScalarStyle, Severity, Span};
pub use context::{CallContext, Keeper, MAX_CHECKPOINT, Saving};
pub use failure::{Class, Failure};
pub use filter::{
    Built, Call, CallFuture, Called, CheckContext, Checked, Compute, Example, Files, FilterSpec, Found, Outputs, Page,
};
pub use headers::{Headers, HeadersBuilder};
pub use json_schema::kind_of_json_schema;
pub use keys::{Keys, field_path, nearest};
pub use outcome::{Emission, Outcome};
pub use payload::{Payload, Touched};
pub use reads::Reads;
pub use record::{Meta, Record};

/// A path such as `.a.b[0]` inside a [`Value`].
pub use vrl::path::OwnedValuePath;
/// The decoded value expressions work on, and the type that describes it at check time.
pub use vrl::value::{Kind, Value};
