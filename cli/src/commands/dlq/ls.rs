//! `millstream dlq ls`: letters counted by what went wrong where.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clap::Args;
use millstream_host::letters::{Group, Groups, Reading, read};
use serde::Serialize;

use super::outcome::stop;
use super::which::Which;
use crate::args::Output;
use crate::codes;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::{Paint, table};
use crate::units;

/// Count letters by what went wrong where
#[derive(Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    which: Which,
    /// Count letters too that were sent again, edited or purged
    #[arg(long)]
    all: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document {
    groups: Vec<Group>,
    /// Letters whose keys wait for them, among those that are meant.
    #[serde(skip_serializing_if = "is_none")]
    holding: u64,
}

fn is_none(letters: &u64) -> bool {
    *letters == 0
}

/// Runs the command.
pub fn run(args: LsArgs, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let places = args.which.places(&*log, cx)?;
    let stop = stop()?;
    let mut groups = Groups::default();
    let mut holding = 0;
    for place in &places {
        let mut choice = args.which.choice(place)?;
        read(&*log, place, &Reading { all: args.all }, &stop, &mut |letter| {
            if choice.takes(place, &letter) {
                groups.add(&letter, &place.stage);
                holding += u64::from(letter.holds);
            }
            ControlFlow::Continue(())
        })
        .map_err(|e| Failure::log(&e))?;
        choice.say_undecided();
    }
    let groups = groups.into_list();
    match args.output {
        Output::Json => print_json(&Document { groups, holding }),
        Output::Text if groups.is_empty() => print(&format!("no dead letters in {}\n", args.which.named())),
        Output::Text => print(&format!("{}{}", people(&groups, cx.paint()), held(holding))),
    }
}

/// What is to be done about letters that hold their keys.
fn held(letters: u64) -> String {
    match letters {
        0 => String::new(),
        1 => "\n1 letter holds its key: `dlq redrive`, `dlq drop` or `dlq release` lets it go on\n".to_owned(),
        n => format!("\n{n} letters hold their keys: `dlq redrive`, `dlq drop` or `dlq release` lets them go on\n"),
    }
}

/// A table, and what the codes in it mean.
pub fn people(groups: &[Group], paint: Paint) -> String {
    let head = ["stage", "code", "class", "filter", "letters", "first", "last"].map(str::to_owned).to_vec();
    let row = |g: &Group| {
        let word = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let (first, last) = (units::show_moment(g.first), units::show_moment(g.last));
        vec![word(&g.stage), word(&g.code), word(&g.class), word(&g.filter), g.count.to_string(), first, last]
    };
    let rows: Vec<_> = std::iter::once(head).chain(groups.iter().map(row)).collect();
    let mut text = table(&rows, 4..5);
    let known: BTreeSet<&str> = groups.iter().map(|g| g.code.as_str()).collect();
    let known: Vec<_> = known.into_iter().filter_map(codes::find).collect();
    if !known.is_empty() {
        text.push('\n');
    }
    for code in known {
        text.push_str(&format!("{}: {}\n", paint.bold(&code.name), code.text));
    }
    text
}
