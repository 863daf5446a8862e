//! `millstream dlq purge`: letters thrown away.

use std::ops::ControlFlow;

use clap::Args;
use millstream_host::letters::{HOLDS, LetterHolds, Pace, Reading, Verdict, free, read, work};

use super::outcome::{Document, stop};
use super::which::Which;
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Throw letters away
///
/// They count as done. One that holds its key stays: `drop` or `release` lets the key go on. Where everything from the
/// beginning of a partition is done, its records are deleted.
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
                if choice.takes(place, &letter) {
                    if letter.holds {
                        document.leave(HOLDS, 1);
                    } else {
                        document.letters += 1;
                    }
                }
                ControlFlow::Continue(())
            })
            .map_err(|e| Failure::log(&e))?;
        } else {
            let mut holds: Option<LetterHolds> = None;
            let report = work(&*log, place, Pace::default(), &stop, &mut |letter| {
                if !choice.takes(place, letter) {
                    return Ok(Verdict::Pass);
                }
                let holds = place.holds_once(&*log, &mut holds)?;
                // Without it nobody could ever let its key go on.
                Ok(if holds.of(letter) { Verdict::Leave(HOLDS) } else { Verdict::Finish(None) })
            });
            stopped |= document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
            free(&*log, place).map_err(|e| Failure::log(&e))?;
        }
        choice.say_undecided();
    }
    document.say("purged", stopped, args.output)
}
