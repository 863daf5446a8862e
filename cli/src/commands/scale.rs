//! `millstream scale PIPELINE.STAGE N`: replicas of one stage, in every process that runs it.

use clap::Args;
use millstream_host::Orders;

use super::{pause, print};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Target;
use crate::units;

/// As many as the language allows.
const MOST: i64 = 1024;

/// Set the replicas of a stage, per process that runs it
///
/// It holds instead of `replicas` of the file, also for processes that start later, until `--reset`. With fewer the last
/// ones finish what is begun, commit and leave. 0 runs the stage nowhere.
#[derive(Args, Debug)]
pub struct ScaleArgs {
    /// The stage
    #[arg(value_name = "PIPELINE.STAGE")]
    target: String,
    /// Replicas in each process
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..=MOST), required_unless_present = "reset")]
    replicas: Option<u32>,
    /// Go back to what the file says
    #[arg(long, conflicts_with = "replicas")]
    reset: bool,
}

/// Runs the command.
pub fn run(args: ScaleArgs, cx: &Context) -> Outcome {
    let target = Target::load(&args.target, &cx.registry, cx.paint_errors())?;
    let stage = target.stage("scale")?;
    let name = format!("{}.{}", target.pipeline.name, stage.name);
    if let Some(n) = args.replicas.filter(|n| stage.singleton && *n > 1) {
        let what = format!("`{name}` is a singleton: one replica works in the whole cluster, and {n} cannot be had");
        return Err(
            Failure::wrong(what).help("further processes that run it stand by; 0 stops it, `--reset` undoes that")
        );
    }
    let (order, said) = match args.replicas {
        Some(replicas) => (
            Orders::scale(&stage.name, replicas, units::now()).map_err(|e| Failure::log(&e))?,
            format!(
                "{name}: {replicas} per process; the file says {}, and `--reset` goes back to it\n",
                stage.replicas
            ),
        ),
        None => (Orders::reset(&stage.name), format!("{name}: {} per process, as the file says\n", stage.replicas)),
    };
    pause::give(cx, &target, vec![order])?;
    print(&said)
}
