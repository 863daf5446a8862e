//! `millstream status [PIPELINE]` and `millstream top`: how pipelines stand, once and again and again.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use millstream_host::{PipelineStatus, Watcher};
use millstream_spec::model::Pipeline;
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::consume::wait::Wait;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::status_table::status_table;
use crate::target::Target;
use crate::{pipelines, units};

/// Show how pipelines stand, over all processes that run them
///
/// Lag is told by the log alone. Rates, replicas and what is in flight are told by the processes themselves, every few
/// seconds; one that has said nothing for 30 seconds is left out.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Pipeline files, or names of pipelines in this folder [default: all in this folder]
    #[arg(value_name = "PIPELINE")]
    pipelines: Vec<String>,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Show how pipelines stand, live
///
/// On a terminal the table is drawn anew until Ctrl-C; into a pipe or a file one follows the other.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Pipeline files, or names of pipelines in this folder [default: all in this folder]
    #[arg(value_name = "PIPELINE")]
    pipelines: Vec<String>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    interval: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How it is printed; JSON is one document a line
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Serialize)]
struct Document<'a> {
    pipelines: &'a [PipelineStatus],
}

/// Runs `status`.
pub fn status(args: StatusArgs, cx: &Context) -> Outcome {
    let pipelines = wanted(&args.pipelines, cx)?;
    let log = cx.open_log_to_read()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let mut watchers: Vec<Watcher> = pipelines.iter().map(|p| Watcher::new(&*log, p)).collect();
    let all = watchers.iter_mut().map(|w| patience.ask(|| false, || w.look())).collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Output::Text => print(&status_table(&all, units::now(), cx.paint())),
        Output::Json => print_json(&Document { pipelines: &all }),
    }
}

/// Runs `top`.
pub fn top(args: TopArgs, cx: &Context) -> Outcome {
    let pipelines = wanted(&args.pipelines, cx)?;
    let log = cx.open_log_to_read()?;
    let wait = Wait::start(Patience::start(&*log, args.count.map(|_| LIMIT)))?;
    let mut watchers: Vec<Watcher> = pipelines.iter().map(|p| Watcher::new(&*log, p)).collect();
    let live = io::stdout().is_terminal() && args.output == Output::Text;
    let mut left = args.count;
    let mut first = true;
    while left != Some(0) && !wait.stopped() {
        let all = watchers.iter_mut().map(|w| wait.patiently(|| w.look())).collect::<Result<Vec<_>, _>>()?;
        wait.writing(true);
        match args.output {
            Output::Text if live => redraw(&status_table(&all, units::now(), cx.paint()))?,
            Output::Text => {
                let gap = if first { "" } else { "\n" };
                print(&format!("{gap}{}", status_table(&all, units::now(), cx.paint())))?;
            }
            Output::Json => print_json(&Document { pipelines: &all })?,
        }
        wait.writing(false);
        first = false;
        left = left.map(|n| n - 1);
        if left != Some(0) {
            wait.pause(args.interval);
        }
    }
    Ok(())
}

/// Each line over the one before it, so that nothing flickers.
fn redraw(text: &str) -> Outcome {
    let mut screen = String::from("\x1b[H");
    for line in text.lines() {
        screen.push_str(&format!("\x1b[?7l{line}\x1b[?7h\x1b[K\n"));
    }
    screen.push_str("\x1b[J");
    let mut stdout = io::stdout().lock();
    stdout.write_all(screen.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::output)
}

/// The pipelines that were named, or all of this folder.
fn wanted(names: &[String], cx: &Context) -> Result<Vec<Pipeline>, Failure> {
    let here;
    let names = if names.is_empty() {
        here = pipelines::here();
        &here
    } else {
        names
    };
    if names.is_empty() {
        return Err(Failure::wrong("there is no pipeline in this folder").help("name the file of one"));
    }
    let target = |name: &String| Target::load(name, &cx.registry, cx.paint_errors());
    let targets = names.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    if let Some(one) = targets.iter().find(|t| t.stage.is_some()) {
        let name = &one.pipeline.name;
        return Err(Failure::wrong("a pipeline is shown with all its stages").help(format!("name it as `{name}`")));
    }
    Ok(targets.into_iter().map(|t| t.pipeline).collect())
}
