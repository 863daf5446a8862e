//! `millstream plan PATH…`: what would change, told and not done.

use clap::Args;
use millstream_host::{ChangePlan, plan_changes};
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::Outcome;
use crate::patience::{LIMIT, Patience};
use crate::pipelines;
use crate::terminal::Paint;

/// Show what would change: topics, groups, positions
///
/// Compares the file with what ran last and with the log as it is. Nothing is touched.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Pipeline files, or names of pipelines in this folder
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Serialize)]
struct Document<'a> {
    pipelines: &'a [ChangePlan],
}

/// Runs the command.
pub fn run(args: PlanArgs, cx: &Context) -> Outcome {
    let pipelines = pipelines::load(&args.paths, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let plans = pipelines.iter().map(|p| patience.ask(|| false, || plan_changes(&*log, p)));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    match args.output {
        Output::Text => print(&plans.iter().map(|plan| show(plan, cx.paint())).collect::<Vec<_>>().join("\n")),
        Output::Json => print_json(&Document { pipelines: &plans }),
    }
}

/// A plan for people.
pub fn show(plan: &ChangePlan, paint: Paint) -> String {
    let unsafe_ = plan.changes.iter().filter(|d| !d.safe).count();
    let state = match (plan.ran, plan.changes.len(), unsafe_) {
        (false, ..) => "has not run here".to_owned(),
        (true, 0, _) => "is what ran last".to_owned(),
        (true, all, 0) => format!("{}, safe", counted(all, "change")),
        (true, all, some) => format!("{}, {some} not safe", counted(all, "change")),
    };
    let mut out = format!("{}\n", paint.bold(&format!("{}: {state}", plan.pipeline)));
    for change in &plan.changes {
        let word = if change.safe { paint.cyan("safe  ") } else { paint.yellow("unsafe") };
        out.push_str(&format!("  {word}  {}\n", change.what));
        if !change.safe {
            out.push_str(&format!("          without `apply`: {}\n", change.why));
        }
    }
    for topic in &plan.topics {
        out.push_str(&format!("  make    {} ({})\n", topic.name, counted(topic.partitions as usize, "partition")));
    }
    for topic in &plan.grow {
        out.push_str(&format!("  grow    {} ({} to {} partitions)\n", topic.name, topic.from, topic.to));
    }
    for group in &plan.groups {
        let unread = if group.unread == 0 { String::new() } else { format!(", {} offsets to read", group.unread) };
        out.push_str(&format!("  begin   {} in {}: {}{unread}\n", group.group, group.topic, group.begins));
    }
    for first in &plan.first {
        out.push_str(&format!("  {}   {first}\n", paint.red("first")));
    }
    out
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
