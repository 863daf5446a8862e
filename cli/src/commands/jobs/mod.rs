//! `millstream jobs VERB PIPELINE`: what became of jobs, for pipelines that track them.
//!
//! How a job stands is the host's (`millstream_host::jobs`); here are the words of the command line and what people and
//! machines read.

mod cancel;
mod list;
mod one;
mod retry;
mod shown;

pub use one::end_of;

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Ask what became of jobs
///
/// A job is everything that follows from one record at the source; its id is that record's. It is known where the
/// pipeline says `jobs: { track: true }`, whether or not a process runs it now.
#[derive(Args, Debug)]
pub struct JobsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List jobs, the last changed first
    Ls(list::LsArgs),
    /// Show a job: state, stages, error, result
    Show(one::ShowArgs),
    /// Wait until a job is done or has failed
    Wait(one::WaitArgs),
    /// Have what is left of a job dropped
    Cancel(cancel::CancelArgs),
    /// Send the dead letters of a job back to their stages
    Retry(retry::RetryArgs),
    /// Any other word: a verb of a later version, or a slip.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Runs the command.
pub fn run(args: JobsArgs, cx: &Context) -> Outcome {
    match args.verb {
        Verb::Ls(args) => list::run(args, cx),
        Verb::Show(args) => one::show(args, cx),
        Verb::Wait(args) => one::wait(args, cx),
        Verb::Cancel(args) => cancel::run(args, cx),
        Verb::Retry(args) => retry::run(args, cx),
        Verb::Other(words) => Err(refuse(&words.first().map(|w| w.to_string_lossy()).unwrap_or_default())),
    }
}

fn refuse(word: &str) -> Failure {
    let unknown = Failure::wrong(format!("there is no `millstream jobs {word}`"));
    match millstream_spec::nearest(word, ["ls", "show", "wait", "cancel", "retry"]) {
        Some(near) => unknown.help(format!("did you mean `millstream jobs {near}`?")),
        None => unknown.help("`millstream jobs --help` lists what there is"),
    }
}
