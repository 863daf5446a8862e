//! `millstream completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::print;
use crate::args::Cli;
use crate::failure::{Failure, Outcome};

/// Print the completions of a shell
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "millstream", &mut text);
    let text = String::from_utf8(text).map_err(|e| Failure::failed(format!("completions are no text: {e}")))?;
    print(&text)
}
