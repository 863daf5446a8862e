//! `millstream dlq VERB PIPELINE[.STAGE]`: dead letters looked at, mended, sent again.
//!
//! The letters themselves, and each promise about them, are the host's (`millstream_host::letters`). Here are the words
//! of the command line (`which.rs` has those that all verbs share) and what people and machines read.

mod decide;
mod edit;
mod editor;
mod line;
mod ls;
mod outcome;
mod purge;
mod redrive;
mod show;
mod which;

pub use outcome::{Document, stop};

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Work with dead letters
///
/// PIPELINE is a file or the name of a pipeline in this folder; without a STAGE it is all of its stages. With --topic it
/// is any topic: letters of Kafka Connect, Kafka Streams, Spring and share groups are read too. The pipeline may run
/// meanwhile.
#[derive(Args, Debug)]
pub struct DlqArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Count letters by what went wrong where
    Ls(ls::LsArgs),
    /// Show letters: record, error, what the code means
    Show(show::ShowArgs),
    /// Change letters: many by an expression, or one in $EDITOR
    Edit(edit::EditArgs),
    /// Send letters again, each once
    Redrive(redrive::RedriveArgs),
    /// Let keys go on without the letters that hold them
    Drop(decide::DecideArgs),
    /// Let keys go on, and keep the letters that held them
    Release(decide::DecideArgs),
    /// Throw letters away
    Purge(purge::PurgeArgs),
    /// Print letters as JSON lines
    Export(show::ExportArgs),
    /// Any other word: a verb of a later version, or a slip.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Runs the command.
pub fn run(args: DlqArgs, cx: &Context) -> Outcome {
    match args.verb {
        Verb::Ls(args) => ls::run(args, cx),
        Verb::Show(args) => show::run(args, cx),
        Verb::Edit(args) => edit::run(args, cx),
        Verb::Redrive(args) => redrive::run(args, cx),
        Verb::Drop(args) => decide::run(args, true, cx),
        Verb::Release(args) => decide::run(args, false, cx),
        Verb::Purge(args) => purge::run(args, cx),
        Verb::Export(args) => show::export(args, cx),
        Verb::Other(words) => Err(refuse(&words.first().map(|w| w.to_string_lossy()).unwrap_or_default())),
    }
}

fn refuse(word: &str) -> Failure {
    let unknown = Failure::wrong(format!("there is no `millstream dlq {word}`"));
    match millstream_spec::nearest(word, ["ls", "show", "edit", "redrive", "drop", "release", "purge", "export"]) {
        Some(near) => unknown.help(format!("did you mean `millstream dlq {near}`?")),
        None => unknown.help("`millstream dlq --help` lists what there is"),
    }
}
