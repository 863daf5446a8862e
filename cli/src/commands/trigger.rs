//! `millstream trigger PIPELINE`: starts a job by hand, now or later; lists and takes back what waits.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use millstream_host::rfc3339;
use millstream_host::trigger::{self, Cancelled, Waiting, Wish};
use millstream_spec::model::{Pipeline, Source};
use serde::Serialize;

use super::jobs::end_of;
use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::terminal::table;
use crate::{pipelines, units};

/// Start a job by hand, now or later
///
/// Writes one record to the pipeline's source, and prints the id of the job.
#[derive(Args, Debug)]
pub struct TriggerArgs {
    /// A pipeline file, or the name of a pipeline in this folder
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// The payload, as the source's format has it [default: what a schedule would make now]
    #[arg(long, value_name = "VALUE")]
    value: Option<String>,
    /// The key [default: as the source says]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The id; the same one again is the same job [default: a fresh one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The source to start at, where there are several
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Start it then: an RFC 3339 time; one that has passed is now
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    at: Option<String>,
    /// Start it after so long
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    after: Option<Duration>,
    /// List the jobs that wait for their time
    #[arg(long, conflicts_with_all = ["value", "key", "id", "source", "at", "after", "cancel"])]
    list: bool,
    /// Take a job back that waits
    #[arg(long, value_name = "JOB", conflicts_with_all = ["value", "key", "id", "source", "at", "after"])]
    cancel: Option<String>,
    /// Wait until the job is done or has failed, so long at most [default: 30s], and print how it stands then
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "30s", value_parser = units::duration,
          conflicts_with_all = ["at", "after", "list", "cancel"])]
    wait: Option<Duration>,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// What `-o json` prints of a job that was ordered.
#[derive(Serialize)]
struct Started<'a> {
    job: &'a str,
    /// When it starts, where that is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

/// What `--list -o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    waiting: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    job: String,
    at: String,
    ordered: String,
    source: String,
}

/// Runs the command.
pub fn run(args: TriggerArgs, cx: &Context) -> Outcome {
    let all = pipelines::load(std::slice::from_ref(&args.pipeline), &cx.registry, cx.paint_errors())?;
    let Some(pipeline) = all.first() else { return Ok(()) };
    if args.list {
        return list(pipeline, args.output, cx);
    }
    if let Some(job) = &args.cancel {
        return cancel(pipeline, job, args.output, cx);
    }
    let now = units::now();
    let due = due(&args, now)?.filter(|due| *due > now);
    let source = source(pipeline, args.source.as_deref())?;
    let wish = Wish { value: args.value.map(Bytes::from), key: args.key.map(Bytes::from), id: args.id };
    if args.wait.is_some() && pipeline.jobs.is_none() {
        let message = format!("`--wait`: pipeline `{}` does not track its jobs", pipeline.name);
        return Err(Failure::wrong(message).help("`jobs: { track: true }` in its file does"));
    }
    // Of a schedule it is the tick that somebody wants, and its time is when it starts.
    let job = trigger::prepare(pipeline, source, wish, due.unwrap_or(now)).map_err(|e| Failure::log(&e))?;
    let log = cx.open_log_to_read()?;
    // Asked before anything is written, so that nothing is written twice.
    Patience::start(&*log, Some(LIMIT)).ask(|| false, || log.describe(&[&job.topic]))?;
    match due {
        None => trigger::start(&*log, pipeline, &job),
        Some(due) => trigger::keep(&*log, pipeline, &job, due),
    }
    .map_err(|e| Failure::log(&e))?;
    if let Some(timeout) = args.wait {
        return end_of(&*log, pipeline, &job.id, timeout, args.output, cx);
    }
    let at = due.map(rfc3339);
    match (args.output, at) {
        (Output::Json, at) => print_json(&Started { job: &job.id, at }),
        (Output::Text, None) => print(&format!("job {} started\n", job.id)),
        (Output::Text, Some(at)) => print(&format!("job {} starts {at}\n", job.id)),
    }
}

fn due(args: &TriggerArgs, now: i64) -> Result<Option<i64>, Failure> {
    if let Some(after) = args.after {
        return Ok(Some(now.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))));
    }
    let Some(text) = &args.at else { return Ok(None) };
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        Failure::wrong(format!("`--at`: `{text}` is no time"))
            .help("write it as 2026-12-01T09:00:00+01:00, or use `--after 30m`")
    })?;
    Ok(Some(time.as_millisecond()))
}

/// The source of this name, or the only one.
fn source<'p>(pipeline: &'p Pipeline, name: Option<&str>) -> Result<&'p Source, Failure> {
    let names: Vec<&str> = pipeline.sources.iter().map(|source| source.name.as_str()).collect();
    match (name, pipeline.sources.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::wrong(format!("pipeline `{}` has several sources", pipeline.name))
            .help(format!("say which with `--source`: {}", names.join(", ")))),
        (Some(name), all) => all.iter().find(|source| source.name == name).ok_or_else(|| {
            let unknown = Failure::wrong(format!("`--source`: there is no source `{name}`"));
            match millstream_spec::nearest(name, names.iter().copied()) {
                Some(near) => unknown.help(format!("did you mean `{near}`?")),
                None => unknown.help(format!("there are {}", names.join(", "))),
            }
        }),
    }
}

fn list(pipeline: &Pipeline, output: Output, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let waiting = patience.ask(|| false, || trigger::waiting(&*log, pipeline))?;
    let shown = |w: Waiting| Shown { job: w.job, at: rfc3339(w.due), ordered: rfc3339(w.made), source: w.source };
    let waiting: Vec<Shown> = waiting.into_iter().map(shown).collect();
    match output {
        Output::Json => print_json(&Document { pipeline: &pipeline.name, waiting }),
        Output::Text if waiting.is_empty() => print("no job waits for its time\n"),
        Output::Text => {
            let mut rows = vec![["job", "starts", "ordered", "source"].map(str::to_owned).to_vec()];
            rows.extend(waiting.into_iter().map(|w| vec![w.job, w.at, w.ordered, w.source]));
            print(&table(&rows, 0..0))
        }
    }
}

fn cancel(pipeline: &Pipeline, job: &str, output: Output, cx: &Context) -> Outcome {
    let log = cx.open_log_to_read()?;
    match trigger::cancel(&*log, pipeline, job).map_err(|e| Failure::log(&e))? {
        Cancelled::NotWaiting => Err(Failure::failed(format!("no job `{job}` waits for its time")).help(
            "it may have started: `--list` shows those that wait, `millstream jobs cancel` is for those that run",
        )),
        Cancelled::TakenBack => match output {
            Output::Json => print_json(&Started { job, at: None }),
            Output::Text => print(&format!("job {job} is taken back\n")),
        },
    }
}
