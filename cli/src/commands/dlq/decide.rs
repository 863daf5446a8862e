//! `millstream dlq drop` and `release`: keys that wait for a dead letter go on.

use std::ops::ControlFlow;

use clap::Args;
use millstream_host::letters::{HOLDS_NONE, LetterHolds, Pace, Reading, Verdict, read, work};

use super::outcome::{Document, stop};
use super::which::Which;
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Let keys go on that dead letters hold (`on_failure: hold_key`)
///
/// The records that wait behind a letter follow, in their order. `drop` is done with the letter without sending it;
/// with `release` it stays, and can be redriven later. Letters that hold no key are left as they are. The pipeline may run
/// meanwhile; one that does not, goes on when it is started.
#[derive(Args, Debug)]
pub struct DecideArgs {
    #[command(flatten)]
    which: Which,
    /// Only say which would be
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command; `done`: the letters are done with.
pub fn run(args: DecideArgs, done: bool, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let places = args.which.places(&*log, cx)?;
    let stop = stop()?;
    let mut document = Document { dry_run: args.dry_run, ..Document::default() };
    let (mut stopped, mut orphans) = (false, 0);
    for place in &places {
        let mut choice = args.which.choice(place)?;
        if args.dry_run {
            read(&*log, place, &Reading::default(), &stop, &mut |letter| {
                if choice.takes(place, &letter) {
                    if letter.holds {
                        document.letters += 1;
                    } else {
                        document.leave(HOLDS_NONE, 1);
                    }
                }
                ControlFlow::Continue(())
            })
            .map_err(|e| Failure::log(&e))?;
        } else {
            let mut holds: Option<LetterHolds> = None;
            let report = work(&*log, place, Pace::default(), &stop, &mut |letter| {
                let holds = place.holds_once(&*log, &mut holds)?;
                let holding = holds.open(letter);
                if !choice.takes(place, letter) {
                    return Ok(Verdict::Pass);
                }
                let free = place.free(letter).filter(|_| holding);
                Ok(match (free, done) {
                    (Some(free), true) => Verdict::Finish(Some(free)),
                    (Some(free), false) => Verdict::Send(free),
                    (None, _) => Verdict::Leave(HOLDS_NONE),
                })
            });
            let report = report.map_err(|e| Failure::log(&e))?;
            let over = !report.stopped;
            stopped |= document.add(&place.topic, report);
            if over && args.which.is_of_keys() {
                // Looked at anew: without a letter nobody was asked.
                let holds = place.holds_once(&*log, &mut holds).map_err(|e| Failure::log(&e))?;
                let key = args.which.key.as_deref().map(str::as_bytes);
                orphans += place.free_orphans(&*log, holds, key).map_err(|e| Failure::log(&e))?;
            }
        }
        choice.say_undecided();
    }
    if orphans > 0 {
        tracing::warn!("{orphans} keys were held by dead letters that are gone; they go on too");
    }
    document.say(if done { "dropped" } else { "released" }, stopped, args.output)
}
