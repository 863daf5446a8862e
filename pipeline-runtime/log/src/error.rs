//! What can go wrong with a log, by what the caller must do next.

use std::fmt;

/// Result of a call to the log.
pub type LogResult<T> = Result<T, LogError>;

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing happened; the same call again may succeed (a broker is away, a time-out).
    Retry,
    /// The open transaction is lost: abort, go back to the last commit, go on.
    Abort,
    /// This member is no longer the owner, or nobody knows what became of its transaction: drop it and join again.
    Fenced,
    /// The log does not allow it: credentials, ACLs.
    Denied,
    /// The configuration or the topic is at fault; a person must act.
    Config,
    /// A promise was broken: data on disk that does not check, an answer nobody understands. Never ignored.
    Fatal,
}

/// A failed call.
#[derive(Debug)]
pub struct LogError {
    /// What to do.
    pub class: Class,
    /// Stable, lower case with underscores, such as `broker_away`; it has a page in the docs.
    pub code: &'static str,
    /// What happened, where; lower case, no full stop.
    pub message: String,
}

impl LogError {
    /// An error of a class.
    pub fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        Self { class, code, message: message.into() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl std::error::Error for LogError {}
