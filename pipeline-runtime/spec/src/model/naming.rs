//! What names a record, and what keys it.

use millstream_filter_api::OwnedValuePath;

/// How a record at the source is named.
#[derive(Clone, Debug, PartialEq)]
pub enum IdRule {
    /// Headers `ce_source` + `ce_id`, else coordinates `topic/partition/offset` (or `file#line`, `generate#n`,
    /// `schedule/pipeline/source@time`, `object#n`, `table#id`).
    Default,
    /// The record's key.
    Key,
    /// A hash of the payload bytes.
    Hash,
    /// A header's value.
    Header(String),
    /// Fields of the payload, joined.
    Fields(Vec<OwnedValuePath>),
}

/// How an output is keyed.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyRule {
    /// One field as text, or several as a JSON array; all null or missing is no key.
    Fields(Vec<OwnedValuePath>),
    /// A header's value.
    Header(String),
    /// A hash of the payload bytes.
    Hash,
}
