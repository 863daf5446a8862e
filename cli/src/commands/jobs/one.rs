//! `millstream jobs show` and `wait`: one job.

use std::time::Duration;

use clap::Args;
use millstream_host::jobs::{JobDocument, JobState, JobStatus, find, wait as wait_for};

use super::shown;
use crate::args::Output;
use crate::commands::dlq;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Target;
use crate::units;

/// Show a job: state, stages, error, result
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The pipeline: a file or a name
    pipeline: String,
    /// The job's id
    job: String,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Wait until a job is done or has failed
///
/// Prints how it stands then. Exit status 0: it is done; 1: it has failed, or the time is over.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// The pipeline: a file or a name
    pipeline: String,
    /// The job's id
    job: String,
    /// Not longer than this
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::duration)]
    timeout: Duration,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs `show`.
pub fn show(args: ShowArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    let found = find(&*log, &target.pipeline, args.job.as_bytes()).map_err(|e| Failure::log(&e))?;
    say(&args.job, found.ok_or_else(|| unknown(&target, &args.job))?, args.output, cx)
}

/// Runs `wait`.
pub fn wait(args: WaitArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    let stop = dlq::stop()?;
    let found = wait_for(&*log, &target.pipeline, args.job.as_bytes(), args.timeout, &stop);
    let status = found.map_err(|e| Failure::log(&e))?.ok_or_else(|| unknown(&target, &args.job))?;
    let state = status.state;
    say(&args.job, status, args.output, cx)?;
    match state {
        JobState::Done => Ok(()),
        JobState::Failed => Err(Failure::failed(format!("job `{}` has failed", args.job))
            .help(format!("`millstream jobs retry {} {}` sends its dead letters back", args.pipeline, args.job))),
        JobState::Cancelled => Err(Failure::failed(format!("job `{}` was cancelled", args.job))),
        _ => Err(Failure::failed(format!("job `{}` is still {}", args.job, state.word()))
            .help("`--timeout` waits longer, and `jobs wait` can be called again")),
    }
}

/// Nothing is known of a job.
pub fn unknown(target: &Target, job: &str) -> Failure {
    let what = format!("pipeline `{}` knows no job `{job}`", target.pipeline.name);
    Failure::failed(what)
        .help("it never began, or ended longer ago than `jobs: retention`; `millstream jobs ls` lists those there are")
}

fn say(job: &str, status: JobStatus, output: Output, cx: &Context) -> Outcome {
    let document = JobDocument::new(job.as_bytes(), &status);
    match output {
        Output::Json => print_json(&document),
        Output::Text => print(&shown::one(&document, cx.paint())),
    }
}
