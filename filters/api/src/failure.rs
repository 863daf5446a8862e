//! Why a record could not be processed, and what that means for it.

use std::borrow::Cow;
use std::time::Duration;

/// The class of a failure decides what happens to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The record is at fault: dead letter at once.
    Data,
    /// Another attempt may succeed: retried per the stage's policy, then a dead letter of class `exhausted`.
    Transient,
    /// No attempt will succeed: dead letter at once.
    Permanent,
    /// The filter is at fault (a panic, a broken promise): dead letter at once.
    Bug,
}

/// A failed record: class, stable code (it has a page in the docs) and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happens next.
    pub class: Class,
    /// Stable, lower case with underscores, such as `expression_failed`.
    pub code: Cow<'static, str>,
    /// What was wrong with this record, lower case, no full stop.
    pub message: String,
    /// The earliest next attempt, where the callee said so.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a hint for the next attempt.
    pub fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self { class, code: Cow::Borrowed(code), message: message.into(), retry_after: None }
    }

    /// The record is at fault.
    pub fn data(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Data, code, message)
    }

    /// Worth another attempt.
    pub fn transient(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Transient, code, message)
    }

    /// Hopeless, and not the record's fault alone.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Permanent, code, message)
    }

    /// The same with the earliest next attempt.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
}
