//! `millstream dlq edit`: letters changed, many by an expression or one by hand.

use std::ops::ControlFlow;

use clap::Args;
use millstream_host::letters::{Edit, EditError, Letter, OMITTED, Pace, Place, Reading, Verdict, read, replaced, work};
use millstream_log::Log;

use super::editor;
use super::outcome::{Document, Refusal, stop};
use super::which::{self, Which};
use crate::args::Output;
use crate::commands::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Change letters: many by an expression, or one in $EDITOR
///
/// The changed letter is a new one, at the end; the old one is done. What told of the error stays, and
/// millstream.dlq.edited counts. Nothing is sent: that is `redrive`.
#[derive(Args, Debug)]
pub struct EditArgs {
    #[command(flatten)]
    which: Which,
    /// VRL statements, run on each letter that is meant: `.` is the payload, %key and %headers.x can be assigned too
    #[arg(long, value_name = "EXPR")]
    with: Option<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: EditArgs, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let places = args.which.places(&*log, cx)?;
    match &args.with {
        Some(text) => by_expression(&args, text, &places, &*log),
        None => by_hand(&args, &places, &*log),
    }
}

/// Why a letter stays.
const UNCHANGED: &str = "the expression changes nothing";

fn by_expression(args: &EditArgs, text: &str, places: &[Place], log: &dyn Log) -> Outcome {
    let compile = |p: &Place| Edit::compile(text, p).map_err(|issues| which::wrong("--with", text, p, &issues));
    let edits = places.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
    let stop = stop()?;
    let (mut document, mut stopped) = (Document::default(), false);
    for (place, mut edit) in places.iter().zip(edits) {
        let mut choice = args.which.choice(place)?;
        // By place: after a fault the same letter may be tried again.
        let mut failed = std::collections::BTreeMap::new();
        let report = work(log, place, Pace::default(), &stop, &mut |letter| {
            if !choice.takes(place, letter) {
                return Ok(Verdict::Pass);
            }
            Ok(match edit.apply(place, letter) {
                Ok(Some(mended)) => Verdict::Finish(Some(mended)),
                Ok(None) => Verdict::Leave(UNCHANGED),
                Err(EditError::Omitted) => Verdict::Leave(OMITTED),
                Err(EditError::Failed(why)) => {
                    failed.insert((letter.partition, letter.record.offset), why);
                    Verdict::Pass
                }
            })
        });
        choice.say_undecided();
        stopped |= document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
        let topic = place.topic.to_string();
        let refusal = |((partition, offset), why)| Refusal { topic: topic.clone(), partition, offset, why };
        document.refused.extend(failed.into_iter().map(refusal));
    }
    document.say("edited", stopped, args.output)
}

fn by_hand(args: &EditArgs, places: &[Place], log: &dyn Log) -> Outcome {
    let (place, letter) = only(args, places, log)?;
    let text = editor::document(&letter);
    let new = editor::edit(&text)?;
    if new == text {
        return print("nothing was changed\n");
    }
    let mended = editor::parse(&new, &letter).map_err(|why| Failure::failed(why).help("nothing was written"))?;
    let (at, offset) = (letter.partition, letter.record.offset);
    let stop = stop()?;
    let report = work(log, place, Pace::default(), &stop, &mut |found| {
        let same = (found.partition, found.record.offset) == (at, offset);
        if !same {
            return Ok(Verdict::Pass);
        }
        let editor::Mended { key, value, headers } = mended.clone();
        Ok(Verdict::Finish(Some(replaced(found, key, value, &headers))))
    });
    let mut document = Document::default();
    let stopped = document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
    if document.letters == 0 && document.refused.is_empty() && !stopped {
        let message = format!("the letter at {} {at}:{offset} was done by somebody else meanwhile", place.topic);
        return Err(Failure::failed(message).help("nothing was written"));
    }
    document.say("edited", stopped, args.output)
}

/// The one letter that is meant.
fn only<'a>(args: &EditArgs, places: &'a [Place], log: &dyn Log) -> Result<(&'a Place, Letter), Failure> {
    let stop = stop()?;
    let (mut found, mut more) = (None, false);
    for place in places {
        let mut choice = args.which.choice(place)?;
        read(log, place, &Reading::default(), &stop, &mut |letter| {
            if choice.takes(place, &letter) {
                more = found.is_some();
                found.get_or_insert((place, letter));
            }
            if more { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|e| Failure::log(&e))?;
        choice.say_undecided();
    }
    match found {
        _ if more => Err(Failure::wrong(format!("there are several such letters in {}", args.which.named()))
            .help("name one by `--offset PARTITION:OFFSET`, or change all by `--with EXPR`")),
        Some(one) => Ok(one),
        None => Err(Failure::failed(format!("there is no such letter in {}", args.which.named()))),
    }
}
