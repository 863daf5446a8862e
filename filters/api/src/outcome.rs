//! What a filter answers for one record.

use crate::{Failure, Record};

/// The fate of one record in one filter.
#[derive(Debug)]
pub enum Outcome {
    /// The record, as the filter left it, goes on to the only output.
    Forward,
    /// The record, as the filter left it, goes on to the output of this index in [`crate::Outputs::Named`].
    ForwardTo(u16),
    /// These go on instead of the record, in this order; none is fine.
    Emit(Vec<Emission>),
    /// The record ends here on purpose; the reason is counted (the filter's name, or a finer word).
    Drop(&'static str),
    /// The record could not be processed.
    Fail(Box<Failure>),
}

impl Outcome {
    /// A failure of the record itself.
    pub fn data(code: &'static str, message: impl Into<String>) -> Self {
        Self::Fail(Box::new(Failure::data(code, message)))
    }
}

/// One of several records that go on.
#[derive(Debug)]
pub struct Emission {
    /// Index of the output, 0 for the only one.
    pub output: u16,
    /// What goes on. Its `meta` stays that of the record read.
    pub record: Record,
}
