//! `millstream apply PATH…`: does what `plan` shows.

use std::time::Duration;

use clap::Args;
use millstream_host::{ApplyOptions, Stop};

use super::plan::show;
use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::{pipelines, signals};

/// Do what `plan` shows, also what is not safe by itself
///
/// Topics are made, an inserted stage begins where the old reader of its input stands, and the file is what runs from now
/// on. Processes that run a stage concerned have to be ended before. Killed in the middle, it can be done again.
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// Pipeline files, or names of pipelines in this folder
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Leave records behind that nobody would read later
    #[arg(long)]
    leave_unread: bool,
    /// Agree to other numbers of partitions: topics get as many as the file says, and partitions that were added to a topic
    /// are read when the old ones are worked off. Repeats are not noticed across that moment
    #[arg(long)]
    repartition: bool,
    /// Make a source topic that does not exist
    #[arg(long)]
    create_source: bool,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: ApplyArgs, cx: &Context) -> Outcome {
    let pipelines = pipelines::load(&args.paths, &cx.registry, cx.paint_errors())?;
    let stop = Stop::new(Duration::from_secs(10));
    let told = stop.clone();
    signals::listen(move |times| if times == 1 { told.drain() } else { std::process::exit(1) })
        .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))?;
    let log = cx.open_log()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let options = ApplyOptions {
        leave_unread: args.leave_unread,
        create_source: args.create_source,
        repartition: args.repartition,
    };
    let mut plans = Vec::new();
    for pipeline in &pipelines {
        // What the log says no to is no fault of the command line.
        let done = patience.ask(|| stop.draining(), || millstream_host::apply(&*log, pipeline, &options, &stop));
        let done = done.map_err(|failure| match failure {
            Failure::Wrong(message) => Failure::Failed(message),
            other => other,
        })?;
        plans.push(done.plan);
    }
    match args.output {
        Output::Text => {
            let all = plans.iter().map(|plan| format!("{}applied {}\n", show(plan, cx.paint()), plan.pipeline));
            print(&all.collect::<String>())
        }
        Output::Json => print_json(&serde_json::json!({ "applied": plans })),
    }
}
