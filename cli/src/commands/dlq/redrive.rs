//! `millstream dlq redrive`: letters sent again, each once.

use std::ops::ControlFlow;
use std::sync::Arc;

use clap::Args;
use millstream_host::letters::{
    Destination, Groups, HOLDS, LetterHolds, Pace, Place, Reading, Redrive, Verdict, read, work,
};
use millstream_log::Log;
use millstream_spec::units as spec_units;

use super::ls;
use super::outcome::{Document, stop};
use super::which::Which;
use crate::args::Output;
use crate::commands::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::topic;

/// Send letters again, each once
///
/// They go back to the stage they are of, and to nobody else: it reads them beside its input, at once if the pipeline
/// runs, else when it is started. What fails again is a letter again. However often it is called, and whatever ends it
/// in the middle, each letter is sent once. A second one that runs at the same time waits for the first.
#[derive(Args, Debug)]
pub struct RedriveArgs {
    #[command(flatten)]
    which: Which,
    /// Send them to this topic instead of back to their stage
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// At most so many a second, such as 100/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Leave letters that were sent so often already
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    max_redrives: Option<i64>,
    /// Past dedup, too, where a record of the same id has passed meanwhile; and where the job was compensated
    #[arg(long, conflicts_with = "to")]
    force: bool,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = spec_units::rate(text).filter(|rate| *rate > 0.0);
    number.ok_or_else(|| format!("`{text}` is no rate; write it as 100/s or 30/m"))
}

/// Runs the command.
pub fn run(args: RedriveArgs, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let places = args.which.places(&*log, cx)?;
    let redrives = redrives(&args, &places, &*log)?;
    let did = did(&args, &places);
    if args.dry_run {
        return dry_run(&args, &places, &redrives, &did, &*log, cx);
    }
    let stop = stop()?;
    let mut document = Document { to: args.to.clone(), ..Document::default() };
    let mut stopped = false;
    for (place, redrive) in places.iter().zip(&redrives) {
        let mut choice = args.which.choice(place)?;
        // A stage that nothing is sent to needs no way back.
        let mut open = args.to.is_some();
        let mut holds: Option<LetterHolds> = None;
        let report = work(&*log, place, Pace { rate: args.rate }, &stop, &mut |letter| {
            let copy = choice.takes(place, letter).then(|| redrive.copy(letter));
            if args.to.is_some() && matches!(copy, Some(Ok(_))) {
                let holds = place.holds_once(&*log, &mut holds)?;
                if holds.of(letter) {
                    return Ok(Verdict::Leave(HOLDS));
                }
            }
            Ok(match copy {
                None => Verdict::Pass,
                Some(Ok(copy)) => {
                    if !open {
                        place.open_way_back(&*log, &stop)?;
                        open = true;
                    }
                    Verdict::Finish(Some(copy))
                }
                Some(Err(why)) => Verdict::Leave(why),
            })
        });
        choice.say_undecided();
        stopped |= document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
    }
    document.say(&did, stopped, args.output)
}

/// What is done with the letters of each place.
fn redrives(args: &RedriveArgs, places: &[Place], log: &dyn Log) -> Result<Vec<Redrive>, Failure> {
    let redrive = |to, given_up| Redrive { to, max_redrives: args.max_redrives, given_up };
    let Some(to) = &args.to else {
        let back = |place: &Place| {
            let to = place.way_back(args.force).ok_or_else(|| {
                Failure::wrong("letters in a topic have no stage to go back to")
                    .help("`--to TOPIC` sends them to a topic")
            })?;
            let given_up =
                if args.force { Arc::default() } else { place.given_up(log).map_err(|e| Failure::log(&e))? };
            Ok(redrive(to, given_up))
        };
        return places.iter().map(back).collect();
    };
    if let Some(place) = places.iter().find(|p| *p.topic == **to) {
        return Err(Failure::wrong(format!("`{}` is where these letters are", place.topic)).help("send them elsewhere"));
    }
    let partitions = topic::existing(log, to)?.partitions;
    let destination = Destination::Topic { topic: Arc::from(to.as_str()), partitions };
    Ok(places.iter().map(|_| redrive(destination.clone(), Arc::default())).collect())
}

/// What people read behind the count.
fn did(args: &RedriveArgs, places: &[Place]) -> String {
    match (&args.to, places) {
        (Some(to), _) => format!("sent to `{to}`"),
        (None, [place]) => format!("sent back to `{}`", place.stage),
        (None, _) => "sent back to their stages".to_owned(),
    }
}

fn dry_run(
    args: &RedriveArgs,
    places: &[Place],
    redrives: &[Redrive],
    did: &str,
    log: &dyn Log,
    cx: &Context,
) -> Outcome {
    let stop = stop()?;
    let mut document = Document { to: args.to.clone(), dry_run: true, ..Document::default() };
    let mut groups = Groups::default();
    for (place, redrive) in places.iter().zip(redrives) {
        let mut choice = args.which.choice(place)?;
        read(log, place, &Reading::default(), &stop, &mut |letter| {
            match choice.takes(place, &letter).then(|| redrive.copy(&letter)) {
                None => {}
                Some(Ok(_)) if args.to.is_some() && letter.holds => {
                    document.leave(HOLDS, 1);
                }
                Some(Ok(_)) => {
                    document.letters += 1;
                    groups.add(&letter, &place.stage);
                }
                Some(Err(why)) => document.leave(why, 1),
            }
            ControlFlow::Continue(())
        })
        .map_err(|e| Failure::log(&e))?;
        choice.say_undecided();
    }
    let groups = groups.into_list();
    if matches!(args.output, Output::Text) && !groups.is_empty() {
        print(&ls::people(&groups, cx.paint()))?;
        print("\n")?;
    }
    document.say(did, false, args.output)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rates() {
        assert_eq!(super::rate("100/s"), Ok(100.0));
        for bad in ["0/s", "-1/s", "many", "100"] {
            assert!(super::rate(bad).is_err_and(|e| e.contains("100/s")), "{bad}");
        }
    }
}
