//! Why an expression gave no value for one record.

use std::fmt;

use millstream_filter_api::{Failure, Outcome};
use vrl::compiler::ExpressionError;
use vrl::compiler::runtime::Terminate;

/// An expression that failed on a record: always the record's fault, so a dead letter of class `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprFailure {
    /// `expression_failed`, `expression_aborted` (by `abort`), `expression_timed_out`, or `number_out_of_range` (it reads
    /// a number that no float can hold).
    pub code: &'static str,
    /// What failed, with the part of the expression where it is known; lower case, no full stop.
    pub message: String,
}

impl ExprFailure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: "expression_failed", message: message.into() }
    }

    pub(crate) fn out_of_range(path: &str) -> Self {
        let message = format!("`{path}` is or holds a number beyond 1.8e308, and an expression cannot compute with it");
        Self { code: "number_out_of_range", message }
    }

    pub(crate) fn from_vrl(end: Terminate, source: &str) -> Self {
        match end {
            Terminate::Interrupted => Self {
                code: "expression_timed_out",
                message: "the expression ran longer than it may for one record".to_owned(),
            },
            Terminate::Abort(ExpressionError::Abort { message, .. }) => Self {
                code: "expression_aborted",
                message: message.unwrap_or_else(|| "the expression ended with `abort`".to_owned()),
            },
            Terminate::Abort(error) | Terminate::Error(error) => Self::failed(innermost(&error, source)),
        }
    }
}

/// VRL wraps an error once per function around it; the first label is the innermost, with the plain message.
fn innermost(error: &ExpressionError, source: &str) -> String {
    if let ExpressionError::Error { message, labels, .. } = error {
        return match labels.first() {
            Some(label) => match source.get(label.span.range()) {
                Some(part) if !part.is_empty() => {
                    let line = part.lines().next().unwrap_or(part);
                    format!("{} in `{}`", label.message, line.trim())
                }
                _ => label.message.clone(),
            },
            None => message.clone(),
        };
    }
    error.to_string()
}

impl From<ExprFailure> for Failure {
    fn from(failure: ExprFailure) -> Self {
        Self::data(failure.code, failure.message)
    }
}

impl From<ExprFailure> for Outcome {
    fn from(failure: ExprFailure) -> Self {
        Self::Fail(Box::new(failure.into()))
    }
}

impl fmt::Display for ExprFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExprFailure {}
