//! `millstream replay PIPELINE[.STAGE] --from T --to T`: records that were read once are read again.

mod beside;
mod fields;
mod in_place;
mod report;
mod times;

use std::time::Duration;

use clap::Args;
use millstream_host::replay::{Range, resolve};
use millstream_log::Log;
use millstream_spec::model::{Pipeline, Stage};

use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Target;
use crate::units;

/// Process records of a time or a place again
///
/// T is a time (2026-01-31T08:00:00Z), -2h, start, end, or PARTITION:OFFSET, which repeats and takes these partitions alone.
/// A range is from `--from` up to and without `--to`, by the timestamps of the records the stage reads.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The pipeline, all of it, or one stage (and in a pipeline beside, what comes after it)
    #[arg(value_name = "PIPELINE[.STAGE]")]
    target: String,
    /// Where the range begins
    #[arg(
        long,
        value_name = "T",
        value_delimiter = ',',
        allow_hyphen_values = true,
        required_unless_present_any = ["cancel", "clean"]
    )]
    from: Vec<String>,
    /// Where it ends; a record of this time or at this offset is not in it
    #[arg(
        long,
        value_name = "T",
        value_delimiter = ',',
        allow_hyphen_values = true,
        required_unless_present_any = ["cancel", "clean"]
    )]
    to: Vec<String>,
    /// Into the live pipeline: the stage reads these records once more, and outputs flow on
    #[arg(long, conflicts_with = "beside", required_unless_present_any = ["beside", "cancel"])]
    in_place: bool,
    #[command(flatten)]
    live: in_place::InPlaceArgs,
    /// End the replay in place that runs; what has passed stays
    #[arg(long, conflicts_with_all = ["from", "to", "in_place", "beside"])]
    cancel: bool,
    /// Filters may call out once more
    #[arg(long)]
    allow_effects: bool,
    /// Beside the live pipeline: into topics and groups of its own, named `<pipeline>--<NAME>.…`
    #[arg(long, value_name = "NAME")]
    beside: Option<String>,
    /// Then compare what came out with what the live pipeline made of the range; exit status 1 if it differs
    #[arg(long, requires = "beside")]
    diff: bool,
    /// How long the live pipeline may stand still before the end of the range
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s", requires = "diff")]
    diff_timeout: Duration,
    /// Remove all topics and groups that `--beside NAME` has made
    #[arg(long, requires = "beside", conflicts_with_all = ["from", "to", "diff", "accept_gap", "allow_effects"])]
    clean: bool,
    /// Take what is left of a range that retention has cut
    #[arg(long)]
    accept_gap: bool,
    /// How the result is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: ReplayArgs, cx: &Context) -> Outcome {
    if args.cancel {
        return in_place::cancel(&args.target, args.output, cx);
    }
    let target = Target::load(&args.target, &cx.registry, cx.paint_errors())?;
    if args.in_place {
        return args.in_place(target, cx);
    }
    match &args.beside {
        Some(name) => beside::run(&args, name, target, cx),
        None => Err(Failure::wrong("`replay` wants `--in-place` or `--beside NAME`")),
    }
}

impl ReplayArgs {
    fn in_place(&self, mut target: Target, cx: &Context) -> Outcome {
        if target.stage.is_none() {
            target.stage = Some(first(&target.pipeline)?);
        }
        in_place::waits(&target)?;
        in_place::effects(&target, self.allow_effects)?;
        let log = cx.open_log_to_read()?;
        let range = self.range(&*log, &target)?;
        let order = in_place::Order {
            target: &target,
            range: &range,
            from: self.from.join(","),
            to: self.to.join(","),
            output: self.output,
        };
        in_place::run(&self.live, &order, &*log, cx)
    }

    /// The range of what the stage reads, or else of what the pipeline's sources give.
    fn range(&self, log: &dyn Log, target: &Target) -> Result<Range, Failure> {
        let now = units::now();
        let from = times::bound("--from", &self.from, now).map_err(Failure::wrong)?;
        let to = times::bound("--to", &self.to, now).map_err(Failure::wrong)?;
        let mut topics: Vec<&str> = match target.stage {
            Some(_) => target.stages().iter().flat_map(|s| &s.inputs).map(|i| i.topic.as_str()).collect(),
            None => {
                let inputs = target.pipeline.stages.iter().flat_map(|s| &s.inputs);
                inputs.filter(|i| i.from_stage.is_none()).map(|i| i.topic.as_str()).collect()
            }
        };
        topics.sort_unstable();
        topics.dedup();
        resolve(log, &topics, &from, &to, self.accept_gap).map_err(|e| Failure::log(&e))
    }
}

/// A replay of the whole pipeline is one of its first stage: what it writes flows on. Where several sources feed several
/// stages, no stage is the first of all.
fn first(pipeline: &Pipeline) -> Result<usize, Failure> {
    let reads = |stage: &&Stage| stage.inputs.iter().any(|i| i.source.is_some());
    let readers: Vec<String> =
        pipeline.stages.iter().filter(reads).map(|s| format!("`{}.{}`", pipeline.name, s.name)).collect();
    match pipeline.sources.as_slice() {
        [_, _, ..] if readers.len() > 1 => {
            let name = &pipeline.name;
            let message = format!("the sources of `{name}` are read by several stages, and a replay is of one");
            Err(Failure::wrong(message).help(format!("say which: {}", readers.join(", "))))
        }
        // The stage that reads several sources need not be the first in the file.
        [_, _, ..] => Ok(pipeline.stages.iter().position(|s| reads(&s)).unwrap_or(0)),
        _ => Ok(0),
    }
}
