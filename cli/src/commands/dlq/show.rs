//! `millstream dlq show` and `export`: letters one by one.

use std::io::{self, Write};
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use millstream_host::letters::{Letter, Reading, read};

use super::line;
use super::outcome::stop;
use super::which::Which;
use crate::args::Output;
use crate::commands::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Show letters: record, error, what the code means
#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Show letters too that were sent again, edited or purged
    #[arg(long)]
    all: bool,
    /// Stop after this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print: for people, or one JSON object a line
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Print letters as JSON lines
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// Print letters too that were sent again, edited or purged
    #[arg(long)]
    all: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    output: Lines,
}

/// The one form there is; `-o json` is taken as everywhere else.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lines {
    /// One JSON object a line
    Json,
}

/// Runs `show`.
pub fn run(args: ShowArgs, cx: &Context) -> Outcome {
    let paint = cx.paint();
    let mut first = true;
    let shown = each(&args.which, args.all, args.limit, cx, &mut |letter, out| match args.output {
        Output::Json => line::json(letter, out),
        Output::Text => {
            if !std::mem::take(&mut first) {
                out.push(b'\n');
            }
            out.extend_from_slice(line::text(letter, paint).as_bytes());
        }
    })?;
    if shown == 0 && matches!(args.output, Output::Text) {
        print(&format!("no dead letters in {}\n", args.which.named()))?;
    }
    Ok(())
}

/// Runs `export`.
pub fn export(args: ExportArgs, cx: &Context) -> Outcome {
    let Lines::Json = args.output;
    each(&args.which, args.all, None, cx, &mut |letter, out| line::json(letter, out)).map(drop)
}

/// Lines are written when this many bytes are together, and at the end.
const WRITE_BYTES: usize = 256 << 10;

/// Writes each letter that is meant; how many.
fn each(
    which: &Which,
    all: bool,
    limit: Option<u64>,
    cx: &Context,
    write: &mut dyn FnMut(&Letter, &mut Vec<u8>),
) -> Result<u64, Failure> {
    let log = cx.open_log_to_read()?;
    let places = which.places(&*log, cx)?;
    let stop = stop()?;
    let (mut out, mut shown, mut failed) = (Vec::new(), 0, None);
    let mut stdout = io::stdout().lock();
    for place in &places {
        let mut choice = which.choice(place)?;
        read(&*log, place, &Reading { all }, &stop, &mut |letter| {
            if limit.is_some_and(|limit| shown >= limit) {
                return ControlFlow::Break(());
            }
            if choice.takes(place, &letter) {
                shown += 1;
                write(&letter, &mut out);
            }
            if out.len() >= WRITE_BYTES {
                failed = stdout.write_all(&out).err();
                out.clear();
            }
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(|e| Failure::log(&e))?;
        choice.say_undecided();
        if let Some(error) = failed {
            return Err(Failure::output(error));
        }
    }
    stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Failure::output)?;
    Ok(shown)
}
