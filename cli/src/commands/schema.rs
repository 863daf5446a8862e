//! `millstream schema`: the JSON Schema of pipeline files.

use clap::Args;

use super::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Print the JSON Schema of pipeline files, for editors
#[derive(Args, Debug)]
pub struct SchemaArgs {}

/// Runs the command.
pub fn run(args: SchemaArgs, cx: &Context) -> Outcome {
    let SchemaArgs {} = args;
    let schema = millstream_spec::schema(&cx.registry);
    let text = serde_json::to_string_pretty(&schema).map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}
