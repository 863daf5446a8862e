//! `millstream jobs cancel`.

use clap::Args;
use millstream_host::jobs::{JobState, cancel};

use super::one::unknown;
use crate::commands::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::target::Target;

/// Have what is left of a job dropped
///
/// Calls that run for it are cancelled, and its other records are dropped when a stage comes to them. What it has done
/// already stays done, or is compensated where its stages say how.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// The pipeline: a file or a name
    pipeline: String,
    /// The job's id
    job: String,
}

/// Runs the command.
pub fn run(args: CancelArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    // Said twice it is the same as once.
    let patience = Patience::start(&*log, Some(LIMIT));
    let before = patience.ask(|| false, || cancel(&*log, &target.pipeline, args.job.as_bytes()))?;
    let before = before.ok_or_else(|| unknown(&target.pipeline, &args.job))?;
    let job = &args.job;
    match before.state {
        JobState::Cancelled => print(&format!("{job} was cancelled before\n")),
        state if before.is_stopped() => {
            Err(Failure::failed(format!("job `{job}` is {}: nothing is left to be cancelled", state.word())))
        }
        _ => print(&format!("{job} cancelled\n")),
    }
}
