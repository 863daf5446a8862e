//! Paths such as `.items` in a filter's configuration.

use millstream_expr::{Expression, Purpose};
use millstream_filter_api::{CheckContext, Issue, Node, OwnedValuePath, field_path};

use crate::options;

/// A field that is read: by the types it must be there.
pub(crate) fn known_field(node: &Node, text: &str, cx: &CheckContext<'_>) -> Result<OwnedValuePath, Vec<Issue>> {
    let path = field_path(node, text).map_err(|issue| vec![issue])?;
    Expression::compile_with(node, cx.input, options::expression(Purpose::Value, cx))?;
    Ok(path)
}
