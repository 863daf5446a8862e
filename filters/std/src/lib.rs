//! The filters that only compute: one file each, with its page, its configuration, its code. What the page's examples
//! say is what a test holds.
//!
//! It must never know: a log, a broker, a runtime. A filter here does no I/O; files named in a configuration are read
//! when the pipeline is checked.
//!
//! Start reading at [`registry`], then `where_.rs`, the shortest whole filter.

mod correlate;
mod levels;
mod lookup;
mod map;
mod options;
mod paths;
mod route;
mod split;
mod table;
mod take_event;
mod types;
mod validate;
mod where_;

use std::sync::Arc;

use millstream_filter_api::FilterSpec;

pub use validate::{Fits, fits};

/// All filters of this crate, by name.
pub fn registry() -> Vec<Arc<dyn FilterSpec>> {
    vec![
        Arc::new(correlate::CorrelateSpec),
        Arc::new(levels::LevelsSpec),
        Arc::new(lookup::LookupSpec),
        Arc::new(map::MapSpec),
        Arc::new(route::RouteSpec),
        Arc::new(split::SplitSpec),
        Arc::new(take_event::TakeEventSpec),
        Arc::new(validate::ValidateSpec),
        Arc::new(where_::WhereSpec),
    ]
}
