//! The filters that call out: one file or folder each, with its page, its configuration, its code. What the page's
//! examples say is what a test holds, against a server of its own.
//!
//! It must never know: a log, a broker, how calls are scheduled, counted and retried. A filter here makes one attempt and
//! says what it came to; dropping the attempt ends it.
//!
//! The client of schema registries (`schemas/`) is here too, as it goes over the same HTTP client.
//!
//! Start reading at [`registry`], then `http/mod.rs`.

mod http;
mod into;
mod public;
mod schemas;
mod secrets;
mod sql;
mod webhook;

use std::sync::Arc;

use millstream_filter_api::FilterSpec;

pub use schemas::SchemaRegistries;
pub use webhook::{Judge, callbacks};

/// All filters of this crate, by name.
pub fn registry() -> Vec<Arc<dyn FilterSpec>> {
    vec![Arc::new(http::HttpSpec), Arc::new(sql::SqlSpec)]
}
