//! Logs: structured events to stderr, as text for people or JSON for machines.

use clap::ValueEnum;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Outcome};
use crate::terminal::{Color, Screen};

/// The environment variable that chooses what is logged.
pub const FILTER: &str = "MILLSTREAM_LOG";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `default` is the level where MILLSTREAM_LOG says nothing.
pub fn start(format: LogFormat, color: Color, default: &str, screen: &Screen) -> Outcome {
    let directives = std::env::var(FILTER).ok().filter(|d| !d.is_empty());
    let filter = filter(directives.as_deref().unwrap_or(default))?;
    let screen = screen.clone();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || screen.clone());
    let started = match format {
        LogFormat::Text => lines.with_ansi(color.on_stderr()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    // A binary of a user's own that set a subscriber before keeps it.
    drop(started);
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::builder().parse(directives).map_err(|e| {
        Failure::wrong(format!("{FILTER}: `{directives}` is no log filter: {e}"))
            .help("write a level such as `debug`, or `info,millstream_kafka=debug`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_said() {
        assert!(filter("info,millstream_host=debug").is_ok());
        let Err(bad) = filter("millstream=loud") else { panic!("taken") };
        assert!(bad.message().is_some_and(|m| m.what.contains("millstream=loud")), "{bad:?}");
    }
}
