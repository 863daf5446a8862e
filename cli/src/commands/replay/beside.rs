//! `replay --beside NAME`: the pipeline as its file says, over a range, into topics of its own.

use std::io;
use std::sync::Arc;

use millstream_host::replay::Range;
use millstream_host::replay::beside::{Asked, Beside, begin, clean, is_name, own_name};
use millstream_host::replay::diff::{DiffOptions, diff};
use millstream_host::{NoMakers, RunOptions, Stop};
use millstream_log::Log;

use super::report::Report;
use super::{ReplayArgs, times};
use crate::args::Output;
use crate::commands::run::{LEAVE, progress, stop_on_signals};
use crate::commands::{print, print_json};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::summary_table;
use crate::target::Target;
use crate::units;

/// Runs it, or removes it.
pub fn run(args: &ReplayArgs, name: &str, target: Target, cx: &Context) -> Outcome {
    if args.clean {
        return remove(&target.pipeline.name, name, cx);
    }
    if let Some(stage) = target.pipeline.stages.iter().find(|s| s.isolate.is_some()) {
        let what =
            format!("a replay of `{}` beside, which has the isolated stage `{}`,", target.pipeline.name, stage.name);
        return Err(Failure::later(what));
    }
    if let Some(stage) = target.pipeline.stages.iter().find(|s| s.meets.is_some()) {
        let name = &target.pipeline.name;
        return Err(Failure::later(format!(
            "a replay of `{name}` beside, whose records wait for events in `{}`,",
            stage.name
        )));
    }
    let now = units::now();
    let bound = |option, given: &[String]| times::bound(option, given, now).map_err(Failure::wrong);
    let asked = Asked {
        from: bound("--from", &args.from)?,
        to: bound("--to", &args.to)?,
        written: (args.from.join(","), args.to.join(",")),
        accept_gap: args.accept_gap,
        files: target.files,
        allow_effects: args.allow_effects,
    };
    let stage = target.stage.and_then(|at| target.pipeline.stages.get(at)).map(|s| s.name.clone());
    let beside = Beside::new(target.pipeline, name, stage.as_deref()).map_err(|e| Failure::log(&e))?;
    let log = cx.open_log_to_read()?;
    let (range, bounded) = begin(&log, &beside, &asked).map_err(|e| Failure::log(&e))?;
    let stop = stop(cx)?;
    let options = RunOptions {
        until_idle: true,
        feed: false,
        create_source: false,
        accept_gap: args.accept_gap,
        apply: false,
        stages: None,
        instance: None,
        served: None,
        makers: Arc::new(NoMakers),
        // Its own: the run tells itself to stop when all is done, and the comparison must not hear that.
        stop: stop.child(),
        progress: progress(cx),
    };
    let ended = millstream_host::run(bounded, std::slice::from_ref(&beside.pipeline), &options);
    cx.screen.progress("");
    let (summary, reasons) = match ended {
        Ok(summary) => (summary, Vec::new()),
        Err(error) => (error.summary, error.reasons),
    };
    match args.output {
        Output::Text => print(&format!("{}{}", headline(&beside, &range), summary_table(&summary, cx.paint())))?,
        Output::Json if args.diff => {}
        Output::Json => print_json(&summary)?,
    }
    if !reasons.is_empty() {
        return Err(Failure::failed(reasons.join("\n")));
    }
    if stop.draining() {
        return Err(Failure::failed("stopped before its end").help("the same command again goes on where it stands"));
    }
    if args.diff { compare(args, &beside, &range, &*log, &stop, cx) } else { Ok(()) }
}

fn stop(cx: &Context) -> Result<Stop, Failure> {
    let drain_timeout = cx.settings.drain_timeout;
    let stop = Stop::new(drain_timeout.saturating_sub(LEAVE.min(drain_timeout / 4)));
    stop_on_signals(&stop, drain_timeout)?;
    Ok(stop)
}

fn headline(beside: &Beside, range: &Range) -> String {
    let topics = beside.reads.join(", ");
    format!("{} offsets of {topics}\n", crate::terminal::grouped(range.offsets().unsigned_abs()))
}

fn compare(args: &ReplayArgs, beside: &Beside, range: &Range, log: &dyn Log, stop: &Stop, cx: &Context) -> Outcome {
    let json = matches!(args.output, Output::Json);
    let mut report = Report::new(io::BufWriter::new(io::stdout().lock()), json, cx.paint());
    let say = |what: &str| tracing::warn!("{what}");
    let options = DiffOptions { patience: args.diff_timeout, stop, say: &say };
    let counts = diff(log, beside, range, &options, &mut report).map_err(|e| Failure::log(&e))?;
    let different = counts.iter().any(|c| c.added + c.removed + c.changed > 0);
    report.finish(&counts).map_err(Failure::output)?;
    // What differs has been said.
    if different { Err(Failure::Said(1)) } else { Ok(()) }
}

/// `--clean`: removes what is there under the name.
fn remove(live: &str, name: &str, cx: &Context) -> Outcome {
    if !is_name(name) {
        return Err(Failure::wrong(format!(
            "`--beside {name}`: a name has lower-case letters, digits and single dashes"
        )));
    }
    let log = cx.open_log_to_read()?;
    let own = own_name(live, name);
    let topics = clean(&*log, &own, &stop(cx)?).map_err(|e| Failure::log(&e))?;
    match topics.len() {
        0 => print(&format!("there is nothing of {own}\n")),
        n => print(&format!("removed {own}: {n} topics and their groups\n")),
    }
}
