//! A command that did not do its work: what people read, and the exit status.

use std::fmt;
use std::io;
use std::process::ExitCode;

use millstream_log::{Class, LogError};

/// Result of a command.
pub type Outcome = Result<(), Failure>;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// The command line, a settings file or a pipeline is wrong: exit 2.
    Wrong(Message),
    /// It failed while running: exit 1.
    Failed(Message),
    /// All has been said already; this is the exit status.
    Said(u8),
    /// Nobody reads the output any more (`| head`): no error, nothing to say.
    OutputClosed,
}

/// One line of what, and one of what to do.
#[derive(Debug)]
pub struct Message {
    /// What is wrong; lower case, no full stop.
    pub what: String,
    /// What to do.
    pub help: Option<String>,
}

impl Failure {
    /// The command line, a settings file or a pipeline is wrong.
    pub fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(Message { what: what.into(), help: None })
    }

    /// It failed while running.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(Message { what: what.into(), help: None })
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Self::Wrong(message) | Self::Failed(message) = &mut self {
            message.help = Some(help.into());
        }
        self
    }

    /// Several wrong things as one, each on a line of its own; nothing of none.
    pub fn all(failures: Vec<Self>) -> Option<Self> {
        let mut failures = failures;
        if failures.len() < 2 {
            return failures.pop();
        }
        let line = |message: &Message| match &message.help {
            Some(help) => format!("{}; {help}", message.what),
            None => message.what.clone(),
        };
        let lines: Vec<String> = failures.iter().filter_map(|f| f.message().map(line)).collect();
        Some(Self::wrong(lines.join("\n")))
    }

    /// Something that a later version does.
    pub fn later(what: impl fmt::Display) -> Self {
        Self::wrong(format!("{what} is not supported yet")).help("`millstream --help` lists what is")
    }

    /// Writing to stdout failed.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::failed(format!("cannot write to stdout: {error}"))
    }

    /// The log said no. What a person must mend in the configuration is told apart from what failed.
    pub fn log(error: &LogError) -> Self {
        match error.class {
            Class::Config => Self::wrong(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }

    /// The exit status.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
            Self::Said(code) => ExitCode::from(*code),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// What there is to say.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Wrong(message) | Self::Failed(message) => Some(message),
            Self::Said(_) | Self::OutputClosed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = Failure::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(closed.message().is_none());
        let full = Failure::output(io::Error::other("no space left"));
        assert_eq!(full.message().map(|m| m.what.as_str()), Some("cannot write to stdout: no space left"));
    }

    #[test]
    fn a_fault_of_the_configuration_is_told_apart() {
        assert!(matches!(Failure::log(&LogError::new(Class::Config, "x", "y")), Failure::Wrong(_)));
        assert!(matches!(Failure::log(&LogError::new(Class::Retry, "x", "y")), Failure::Failed(_)));
    }
}
