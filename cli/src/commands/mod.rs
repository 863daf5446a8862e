//! One file per command: its arguments, what of them is wrong, and its action.

pub mod apply;
pub mod check;
pub mod completions;
pub mod consume;
pub mod dlq;
pub mod explain;
pub mod filters;
pub mod graph;
pub mod jobs;
pub mod pause;
pub mod plan;
pub mod produce;
pub mod replay;
pub mod run;
pub mod scale;
pub mod schedule;
pub mod schema;
mod serving;
pub mod status;
pub mod tap;
pub mod trigger;

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// Prints text to stdout.
fn print(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::output)
}

/// Prints one JSON document to stdout, on one line.
fn print_json(document: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_string(document).map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))?;
    text.push('\n');
    print(&text)
}
