//! `millstream jobs retry`: the dead letters of a job go back to their stages.

use clap::Args;
use millstream_host::letters::{Pace, Place, Redrive, Verdict, work};
use millstream_host::root;

use crate::args::Output;
use crate::commands::dlq::{Document, stop};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Target;

/// Send the dead letters of a job back to their stages
///
/// As `dlq redrive` does, each once; the job is running again.
#[derive(Args, Debug)]
pub struct RetryArgs {
    /// The pipeline: a file or a name
    pipeline: String,
    /// The job's id
    job: String,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: RetryArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.pipeline, &cx.registry, cx.paint_errors())?;
    let pipeline = &target.pipeline;
    let log = cx.open_log_to_read()?;
    // Whether or not it is tracked now: letters say whose they are.
    let stop = stop()?;
    let mut document = Document::default();
    let mut stopped = false;
    for stage in &pipeline.stages {
        let place = Place::of_stage(pipeline, stage);
        let Some(to) = place.way_back(false) else { continue };
        let given_up = place.given_up(&*log).map_err(|e| Failure::log(&e))?;
        let redrive = Redrive { to, max_redrives: None, given_up };
        let mut open = false;
        let report = work(&*log, &place, Pace::default(), &stop, &mut |letter| {
            if letter.id.as_deref().is_none_or(|id| root(id) != args.job.as_bytes()) {
                return Ok(Verdict::Pass);
            }
            let copy = match redrive.copy(letter) {
                Ok(copy) => copy,
                Err(why) => return Ok(Verdict::Leave(why)),
            };
            // A stage that nothing is sent to needs no way back.
            if !std::mem::replace(&mut open, true) {
                place.open_way_back(&*log, &stop)?;
            }
            Ok(Verdict::Finish(Some(copy)))
        });
        stopped |= document.add(&place.topic, report.map_err(|e| Failure::log(&e))?);
    }
    document.say("sent back to their stages", stopped, args.output)
}
