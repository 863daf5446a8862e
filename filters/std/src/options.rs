//! How this crate's filters compile expressions.

use std::time::Duration;

use millstream_expr::{Options, Purpose};
use millstream_filter_api::CheckContext;

/// How a filter's expressions are compiled: a record's `timeout` bounds them too, and a second in any case, because
/// they run on the thread that keeps the replica alive.
pub(crate) fn expression(purpose: Purpose, cx: &CheckContext<'_>) -> Options {
    Options { limit: cx.timeout.min(Duration::from_secs(1)), ..Options::new(purpose) }
}
