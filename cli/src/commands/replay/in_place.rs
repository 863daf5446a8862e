//! `replay --in-place`: into the live pipeline, by an order that every process obeys. And `replay --cancel`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use clap::Args;
use millstream_host::replay::Range;
use millstream_host::replay::in_place::{
    Begin, Look, Progress as ReplayProgress, Replay, ReplayInput, ReplayState, ReplayStatus, begin, calling,
    cancel as end, look, waiting,
};
use millstream_log::{Log, TopicPartition};
use serde::Serialize;

use crate::args::Output;
use crate::commands::{print, print_json};
use crate::consume::wait::Wait;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::target::Target;
use crate::terminal::grouped;

/// Between two looks how it goes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What goes with `--in-place`.
#[derive(Args, Debug)]
pub struct InPlaceArgs {
    /// With --in-place: the stage reads nothing live until the replay is over
    #[arg(long, requires = "in_place")]
    pause_live: bool,
    /// With --in-place: come back at once instead of following it; it goes on either way
    #[arg(long, requires = "in_place")]
    detach: bool,
}

/// What machines read.
#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    stage: &'a str,
    #[serde(flatten)]
    status: &'a ReplayStatus,
}

/// What was asked for.
pub struct Order<'a> {
    /// The pipeline, and the stage if one was named.
    pub target: &'a Target,
    /// What of its inputs is read.
    pub range: &'a Range,
    /// As they were typed.
    pub from: String,
    /// As they were typed.
    pub to: String,
    /// How the result is printed.
    pub output: Output,
}

/// Refuses a replay that would call out where nobody has agreed to that: the stage and those behind it.
pub fn effects(target: &Target, allowed: bool) -> Outcome {
    let calling = calling(&target.pipeline, target.stage.unwrap_or_default());
    if allowed || calling.is_empty() {
        return Ok(());
    }
    let (name, list) = (&target.pipeline.name, calling.join(", "));
    Err(Failure::wrong(format!("a replay would call out once more, in these stages of `{name}`: {list}"))
        .help("`--allow-effects` says that it may"))
}

/// Refuses a replay that would come to a stage whose records wait for events.
pub fn waits(target: &Target) -> Outcome {
    let Some(stage) = waiting(&target.pipeline, target.stage.unwrap_or_default()) else { return Ok(()) };
    let name = &target.pipeline.name;
    Err(Failure::later(format!("a replay in place that comes to `{name}.{stage}`, where records wait for events,")))
}

/// Orders the replay, and follows it unless told otherwise.
pub fn run(args: &InPlaceArgs, order: &Order<'_>, log: &dyn Log, cx: &Context) -> Outcome {
    let pipeline = &order.target.pipeline;
    let Some(stage) = order.target.stages().first() else {
        return Err(Failure::wrong(format!("pipeline `{}` has no stage", pipeline.name)));
    };
    if stage.singleton {
        let what = format!("a replay in place of the singleton `{}.{}`", pipeline.name, stage.name);
        return Err(Failure::later(what));
    }
    let inputs = stage.inputs.iter().map(|input| ReplayInput {
        topic: input.topic.clone(),
        ranges: (0..)
            .map_while(|p| order.range.of(&TopicPartition::new(input.topic.as_str(), p)))
            .map(|slice| (slice.from, slice.to))
            .collect(),
    });
    let wanted = Begin {
        id: Begin::new_id(),
        from: order.from.clone(),
        to: order.to.clone(),
        inputs: inputs.collect(),
        pause_live: args.pause_live,
    };
    let patience = Patience::start(log, Some(LIMIT));
    let replay = patience.ask(|| false, || begin(log, pipeline, stage, &wanted))?;
    let name = format!("{}.{}", pipeline.name, stage.name);
    if order.output == Output::Text {
        print(&format!("replay {} of {name}: {} offsets\n", replay.id, number(replay.total())))?;
    }
    let found = if args.detach {
        let found = patience.ask(|| false, || look(log, &pipeline.name, &stage.name, &replay.id))?;
        if let Some(found) = &found {
            say_waiting(&name, found);
        }
        found
    } else {
        follow(&name, &replay, &pipeline.name, log, cx)?
    };
    let Some(found) = found else {
        tracing::warn!("it is over, and others were ordered since: how it ended is not known any more");
        return Ok(());
    };
    let status = ReplayStatus::of(&found.replay, found.progress);
    if order.output == Output::Json {
        print_json(&Document { pipeline: &pipeline.name, stage: &stage.name, status: &status })?;
    }
    match status.state {
        ReplayState::Running => Ok(()),
        ReplayState::Done if order.output == Output::Json => Ok(()),
        ReplayState::Done => print(&format!("done in {:.1} s\n", seconds(&status))),
        ReplayState::Cancelled => Err(Failure::failed(format!(
            "replay {} of `{name}` was cancelled: {} of {} offsets have passed",
            status.id,
            number(status.done),
            number(status.total)
        ))),
        ReplayState::Failed => Err(Failure::failed(format!(
            "replay {} of `{name}` failed: {}",
            status.id,
            status.reason.as_deref().unwrap_or("nobody has said why")
        ))),
    }
}

/// Looks until it is over, or a signal comes. How it stood last.
fn follow(name: &str, replay: &Replay, pipeline: &str, log: &dyn Log, cx: &Context) -> Result<Option<Look>, Failure> {
    let wait = Wait::start(Patience::start(log, None))?;
    let mut waits = None;
    let began = Instant::now();
    loop {
        let found = wait.patiently(|| look(log, pipeline, &replay.stage, &replay.id))?;
        let Some(now) = &found else { return Ok(None) };
        if now.replay.state != ReplayState::Running {
            progress(cx, "");
            return Ok(found);
        }
        let nobody = now.processes == 0;
        if nobody && waits != Some(true) {
            say_waiting(name, now);
        }
        waits = Some(nobody);
        progress(
            cx,
            &format!(
                "replay {} of {name}  {} of {} offsets  {} s",
                replay.id,
                number(now.progress.done),
                number(now.progress.total),
                began.elapsed().as_secs()
            ),
        );
        wait.pause(LOOK_EVERY);
        if wait.stopped() {
            progress(cx, "");
            tracing::info!(
                "the replay goes on; `millstream status {pipeline}` shows it, `millstream replay {name} --cancel` ends it"
            );
            return Ok(found);
        }
    }
}

fn say_waiting(name: &str, look: &Look) {
    if look.processes == 0 && look.replay.state == ReplayState::Running {
        tracing::warn!("no process runs {name}: the replay waits until one does");
    }
}

/// Ends the replays of a pipeline, or of one stage of it.
pub fn cancel(target: &str, output: Output, cx: &Context) -> Outcome {
    let target = Target::load(target, &cx.registry, cx.paint_errors())?;
    let log = cx.open_log_to_read()?;
    let pipeline = &target.pipeline.name;
    let stage = target.stage.map(|_| target.stages()[0].name.as_str());
    let ended = Patience::start(&*log, Some(LIMIT)).ask(|| false, || end(&*log, pipeline, stage))?;
    if ended.is_empty() {
        let what = stage.map_or(format!("`{pipeline}`"), |stage| format!("`{pipeline}.{stage}`"));
        return Err(Failure::failed(format!("no replay of {what} runs"))
            .help(format!("`millstream status {pipeline}` shows the last one of each stage")));
    }
    for replay in &ended {
        let status = ReplayStatus::of(replay, ReplayProgress { done: replay.done, total: replay.total() });
        match output {
            Output::Json => print_json(&Document { pipeline, stage: &replay.stage, status: &status })?,
            Output::Text => print(&format!(
                "cancelled replay {} of {pipeline}.{}: {} of {} offsets have passed\n",
                replay.id,
                replay.stage,
                number(status.done),
                number(status.total)
            ))?,
        }
    }
    Ok(())
}

/// A line of progress, where somebody sees it.
fn progress(cx: &Context, line: &str) {
    if io::stderr().is_terminal() {
        cx.screen.progress(line);
    }
}

fn number(n: i64) -> String {
    grouped(n.max(0).unsigned_abs())
}

fn seconds(status: &ReplayStatus) -> f64 {
    status.ended.map_or(0, |ended| (ended - status.at).max(0)) as f64 / 1000.0
}
