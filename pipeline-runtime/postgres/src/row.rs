//! A row that was taken, as the host wants it.

use bytes::Bytes;
use millstream_host::Fault;

/// A row as a record.
#[derive(Clone, Debug)]
pub(crate) struct Taken<At> {
    /// Where it stands in its table.
    pub at: At,
    /// Names the record: equal on every run.
    pub name: String,
    pub key: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
    pub payload: Bytes,
    pub fault: Option<Fault>,
}

impl<At> Taken<At> {
    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.payload.len() + headers + 100
    }
}

/// Bytes of the rows of one look, about: what is beyond is read again.
pub(crate) const BYTES: usize = 8 << 20;

/// How many rows to ask for, when `rows` of the last look took `bytes`.
pub(crate) fn fitting(rows: usize, bytes: usize, batch: usize) -> usize {
    match bytes / rows.max(1) {
        0 => batch,
        each => (BYTES / each + 1).clamp(1, batch),
    }
}
