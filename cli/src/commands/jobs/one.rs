//! `millstream jobs show` and `wait`: one job.

use std::time::Duration;

use clap::Args;
use millstream_host::jobs::{JobDocument, JobState, JobStatus, find, wait as wait_for};
use millstream_log::Log;
use millstream_spec::model::Pipeline;

use super::shown;
use crate::args::Output;
use crate::commands::dlq;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
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
    let patience = Patience::start(&*log, Some(LIMIT));
    let found = patience.ask(|| false, || find(&*log, &target.pipeline, args.job.as_bytes()))?;
    say(&args.job, found.ok_or_else(|| unknown(&target.pipeline, &args.job))?, args.output, cx)
}

/// Runs `wait`.
pub fn wait(args: WaitArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    end_of(&*log, &target.pipeline, &args.job, args.timeout, args.output, cx)
}

/// Waits for the end of a job and prints how it stands then; a failure where that is not done.
pub fn end_of(
    log: &dyn Log,
    pipeline: &Pipeline,
    job: &str,
    timeout: Duration,
    output: Output,
    cx: &Context,
) -> Outcome {
    let stop = dlq::stop()?;
    let found = wait_for(log, pipeline, job.as_bytes(), timeout, &stop).map_err(|e| Failure::log(&e))?;
    let status = found.ok_or_else(|| unknown(pipeline, job))?;
    let state = status.state;
    say(job, status, output, cx)?;
    let name = &pipeline.name;
    match state {
        JobState::Done => Ok(()),
        JobState::Failed => Err(Failure::failed(format!("job `{job}` has failed"))
            .help(format!("`millstream jobs retry {name} {job}` sends its dead letters back"))),
        JobState::Compensated => {
            let failure =
                Failure::failed(format!("job `{job}` did not get to its end, and what it had done is undone"));
            Err(failure.help(format!("`millstream jobs show {name} {job}` says why")))
        }
        JobState::Cancelled => Err(Failure::failed(format!("job `{job}` was cancelled"))),
        _ => Err(Failure::failed(format!("job `{job}` is still {}", state.word()))
            .help(format!("`millstream jobs wait {name} {job}` waits on"))),
    }
}

/// Nothing is known of a job.
pub fn unknown(pipeline: &Pipeline, job: &str) -> Failure {
    let what = format!("pipeline `{}` knows no job `{job}`", pipeline.name);
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
