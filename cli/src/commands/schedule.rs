//! `millstream schedule PIPELINE`: what the clocks of a pipeline will give. Looks at the file alone.

use clap::Args;
use millstream_host::{rfc3339, tick_id, tick_stem};
use millstream_spec::model::{Pipeline, ScheduleSource, Source, SourceKind};
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::table;
use crate::{pipelines, units};

/// Show when a pipeline's schedules tick next
#[derive(Args, Debug)]
pub struct ScheduleArgs {
    /// A pipeline file, or the name of a pipeline in this folder
    #[arg(value_name = "PIPELINE")]
    pipeline: String,
    /// How many ticks, of all its schedules together
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    next: u32,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    ticks: Vec<Tick<'a>>,
}

#[derive(Serialize)]
struct Tick<'a> {
    source: &'a str,
    /// In UTC.
    at: String,
    /// As the source's zone shows it.
    local: String,
    timezone: &'a str,
    /// Of its record, where the source has no `id` of its own.
    id: String,
}

/// Runs the command.
pub fn run(args: ScheduleArgs, cx: &Context) -> Outcome {
    let all = pipelines::load(std::slice::from_ref(&args.pipeline), &cx.registry, cx.paint_errors())?;
    let Some(pipeline) = all.first() else { return Ok(()) };
    let schedules = schedules(pipeline, args.source.as_deref())?;
    let ticks = coming(pipeline, &schedules, units::now(), args.next as usize);
    match args.output {
        Output::Json => print_json(&Document { pipeline: &pipeline.name, ticks }),
        Output::Text if ticks.is_empty() => print("nothing more comes: all times of `at` have passed\n"),
        Output::Text => print(&as_table(&schedules, ticks)),
    }
}

/// The sources that are clocks, or the one of this name.
fn schedules<'p>(pipeline: &'p Pipeline, name: Option<&str>) -> Result<Vec<(&'p Source, &'p ScheduleSource)>, Failure> {
    let of = |source: &'p Source| match &source.kind {
        SourceKind::Schedule(schedule) => Some((source, schedule)),
        _ => None,
    };
    let all: Vec<_> = pipeline.sources.iter().filter_map(of).collect();
    if all.is_empty() {
        let what = format!("pipeline `{}` has no schedule", pipeline.name);
        return Err(Failure::wrong(what).help("a source with `schedule: { cron: \"0 2 * * *\" }` is one"));
    }
    let Some(name) = name else { return Ok(all) };
    let chosen: Vec<_> = all.iter().filter(|(source, _)| source.name == name).copied().collect();
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(|(source, _)| source.name.as_str()).collect();
        let unknown = Failure::wrong(format!("`--source`: there is no schedule `{name}`"));
        return Err(match millstream_spec::nearest(name, names.iter().copied()) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help(format!("there are {}", names.join(", "))),
        });
    }
    Ok(chosen)
}

/// The next ticks after `now`, in their order.
fn coming<'p>(
    pipeline: &Pipeline,
    schedules: &[(&'p Source, &'p ScheduleSource)],
    now: i64,
    count: usize,
) -> Vec<Tick<'p>> {
    let mut last: Vec<i64> = vec![now; schedules.len()];
    let mut ticks = Vec::new();
    while ticks.len() < count {
        let next =
            |(n, (_, schedule)): (usize, &(&Source, &ScheduleSource))| Some((schedule.timing.after(last[n])?, n));
        let Some((at, n)) = schedules.iter().enumerate().filter_map(next).min() else { break };
        last[n] = at;
        let (source, schedule) = schedules[n];
        ticks.push(Tick {
            source: &source.name,
            at: rfc3339(at),
            local: schedule.timing.local(at).unwrap_or_else(|| rfc3339(at)),
            timezone: schedule.timing.zone_name(),
            id: tick_id(&tick_stem(&pipeline.name, &source.name), at),
        });
    }
    ticks
}

fn as_table(schedules: &[(&Source, &ScheduleSource)], ticks: Vec<Tick<'_>>) -> String {
    let which = schedules.iter().any(|(source, _)| source.named);
    let zones = schedules.iter().any(|(_, schedule)| schedule.timing.zone_name() != "UTC");
    let row = |source: &str, utc: &str, local: &str, zone: &str| {
        let cells = [(which, source), (true, utc), (zones, local), (zones, zone)];
        cells.into_iter().filter(|(shown, _)| *shown).map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>()
    };
    let mut rows = vec![row("source", "utc", "local", "timezone")];
    rows.extend(ticks.iter().map(|tick| row(tick.source, &tick.at, &tick.local, tick.timezone)));
    table(&rows, 0..0)
}
