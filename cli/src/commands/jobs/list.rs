//! `millstream jobs ls`.

use clap::Args;
use millstream_host::jobs::{Filter, JobDocument, JobState, list};
use serde::Serialize;

use super::shown::people;
use crate::args::Output;
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::target::{Target, index};
use crate::units;

/// List jobs, the last changed first
#[derive(Args, Debug)]
pub struct LsArgs {
    /// The pipeline: a file or a name
    pipeline: String,
    /// Only jobs in this state: accepted, scheduled, running, waiting, done, failed, cancelled, compensating,
    /// compensated; repeats
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    state: Vec<JobState>,
    /// Only jobs that have met this stage
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Only jobs that have changed at this time or later: 2026-01-31T08:00:00Z, or -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::ALL.into_iter().find(|state| state.word() == text).ok_or_else(|| {
        let words = JobState::ALL.map(JobState::word);
        match millstream_spec::nearest(text, words) {
            Some(near) => format!("`{text}` is no state; did you mean `{near}`?"),
            None => format!("`{text}` is no state; there are {}", words.join(", ")),
        }
    })
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document {
    jobs: Vec<JobDocument>,
    /// As many are meant, printed or not.
    count: usize,
}

/// Runs the command.
pub fn run(args: LsArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    if let Some(stage) = &args.stage {
        index(&target.pipeline, stage)?;
    }
    let since = args.since.as_deref().map(|t| units::moment(t, units::now())).transpose().map_err(Failure::wrong)?;
    let filter = Filter { states: args.state, stage: args.stage, since };
    let log = cx.open_log_to_read()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let (found, count) = patience.ask(|| false, || list(&*log, &target.pipeline, &filter, args.limit))?;
    let jobs: Vec<JobDocument> = found.into_iter().map(|(job, status)| JobDocument::new(&job, &status)).collect();
    if let Output::Json = args.output {
        return print_json(&Document { jobs, count });
    }
    let left = count - jobs.len();
    let more = if left > 0 { format!("and {left} more; `--limit` shows them\n") } else { String::new() };
    print(&format!("{}{more}", people(&jobs)))
}
