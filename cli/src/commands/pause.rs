//! `millstream pause` and `millstream resume`: stages stop reading, and go on.

use clap::Args;
use millstream_host::{Change, Control, Orders};

use super::print;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::target::Target;
use crate::units;

/// Let stages read nothing until `resume`
///
/// What is begun is finished and committed. The order reaches every process that runs the pipeline, and holds for those
/// that start later.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// A pipeline (all its stages), or one stage of it
    #[arg(value_name = "PIPELINE[.STAGE]")]
    target: String,
}

/// Let paused stages go on
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// A pipeline (all its stages), or one stage of it
    #[arg(value_name = "PIPELINE[.STAGE]")]
    target: String,
}

/// Runs `pause`.
pub fn pause(args: PauseArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.target, &cx.registry, cx.paint_errors())?;
    let now = units::now();
    let orders = target.stages().iter().map(|s| Orders::pause(&s.name, now)).collect::<Result<_, _>>();
    give(cx, &target, orders.map_err(|e| Failure::log(&e))?)?;
    say(&target, "paused")
}

/// Runs `resume`.
pub fn resume(args: ResumeArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.target, &cx.registry, cx.paint_errors())?;
    give(cx, &target, target.stages().iter().map(|s| Orders::resume(&s.name)).collect())?;
    say(&target, "resumed")
}

/// Writes orders to the pipeline's control topic.
pub fn give(cx: &Context, target: &Target, orders: Vec<Change>) -> Outcome {
    // To order something of a log that is not there is a slip in its name.
    let log = cx.open_log_to_read()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let control = Control::of(&*log, &target.pipeline.name);
    patience.ask(|| false, || control.put(orders.clone()))
}

fn say(target: &Target, what: &str) -> Outcome {
    let lines = target.stages().iter().map(|s| format!("{what} {}.{}\n", target.pipeline.name, s.name));
    print(&lines.collect::<String>())
}
