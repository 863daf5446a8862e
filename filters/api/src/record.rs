//! The record a filter works on.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Headers, Payload};

/// One record. Key, payload and headers may be changed; where it came from may not.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The key's bytes; order is kept among records of equal keys.
    pub key: Option<Bytes>,
    /// The payload: bytes and decoded value.
    pub payload: Payload,
    /// All headers, in order.
    pub headers: Headers,
    /// Milliseconds since 1970 (the record's time stamp in the log). Outputs inherit it.
    pub timestamp: i64,
    /// Where it came from and what it is called.
    pub meta: Meta,
}

/// What is known of a record besides its content; `%topic`, `%partition` … in expressions.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The message id (UTF-8 text in all but malformed cases; ids are compared as bytes).
    pub id: Bytes,
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Default for Meta {
    fn default() -> Self {
        Self { id: Bytes::new(), topic: Arc::from(""), partition: 0, offset: 0, attempt: 1 }
    }
}
