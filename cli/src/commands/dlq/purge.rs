//! `millstream dlq purge`: letters thrown away.

use std::ops::ControlFlow;

use clap::Args;
use millstream_host::letters::{Pace, Reading, Verdict, free, read, work};

use super::outcome::{Document, stop};
use super::which::Which;
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Throw letters away
///
/// They count as done. Where everything from the beginning of a partition is done, its records are deleted.
#[derive(Args, Debug)]
pub struct PurgeArgs {
    #[command(flatten)]
    which: Which,
    /// Only say what would be purged
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: PurgeArgs, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let places = args.which.places(&*log, cx)?;
    let stop = stop()?;
    let mut document = Document { dry_run: args.dry_run, ..Document::default() };
    let mut stopped = false;
    for place in &places {
        let mut choice = args.which.choice(place)?;
        if args.dry_run {
            read(&*log, place, &Reading::default(), &stop, &mut |letter| {
                document.letters += u64::from(choice.takes(place, &letter));
                ControlFlow::Continue(())
            })
            .map_err(|e| Failure::log(&e))?;
        } else {
            let report = work(&*log, place, Pace::default(), &stop, &mut |letter| {
                Ok(if choice.takes(place, letter) { Verdict::Finish(None) } else { Verdict::Pass })
            });
            stopped |= document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
            free(&*log, place).map_err(|e| Failure::log(&e))?;
        }
        choice.say_undecided();
    }
    document.say("purged", stopped, args.output)
}
