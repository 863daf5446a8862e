//! A run: its pipelines, its end, its summary. How one pipeline runs is in `running.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::Log;
use millstream_spec::model::Pipeline;

use crate::apart::apart;
use crate::aside;
use crate::intake::Served;
use crate::running::{Process, Running};
use crate::shared::Stop;
use crate::source::Makers;
use crate::summary::{PipelineSummary, StageSummary, Summary};

/// Is shown how a run goes.
pub type Progress = Box<dyn Fn(&Summary) + Send + Sync>;

/// How to run.
pub struct RunOptions {
    /// End when all input is worked off.
    pub until_idle: bool,
    /// Make a source topic that does not exist instead of waiting for it.
    pub create_source: bool,
    /// Pass over records that retention took before they were read.
    pub accept_gap: bool,
    /// A person agrees to what of a changed pipeline is not safe.
    pub apply: bool,
    /// Run the sources that make records; without, what they have made is all there is.
    pub feed: bool,
    /// Run these alone, each as `pipeline.stage`; `None` is all.
    pub stages: Option<BTreeSet<String>>,
    /// Static membership: a name for this process that is equal after a restart.
    pub instance: Option<String>,
    /// Where sources that others push to are found, and how the process stands; `None` where nothing is served.
    pub served: Option<Served>,
    /// Opens sources that need a client of their own.
    pub makers: Arc<dyn Makers>,
    /// Ends the run.
    pub stop: Stop,
    /// Shown how it goes, about ten times a second.
    pub progress: Option<Progress>,
}

/// A run that could not go on, with what it had done.
#[derive(Debug)]
pub struct RunError {
    /// What was done.
    pub summary: Summary,
    /// One line each: which stage, why, what to do.
    pub reasons: Vec<String>,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("\n"))
    }
}

impl std::error::Error for RunError {}

/// Runs pipelines until told to stop, or until all input is worked off, or until nothing can go on.
pub fn run(log: Arc<dyn Log>, pipelines: &[Pipeline], options: &RunOptions) -> Result<Summary, RunError> {
    let began = Instant::now();
    if let Err(wrong) = apart(pipelines, options.stages.as_ref()) {
        let reasons = vec![format!("{}; {}", wrong.what, wrong.help)];
        return Err(RunError { summary: Summary { pipelines: Vec::new() }, reasons });
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let reasons = vec![format!("cannot start the threads for filters that call out: {e}")];
            return Err(RunError { summary: Summary { pipelines: Vec::new() }, reasons });
        }
    };
    let running: Vec<Running> = pipelines.iter().map(|pipeline| Running::new(pipeline, options)).collect();
    let id = format!("{:016x}", fastrand::u64(..));
    let process = Process { log: Arc::clone(&log), id, runtime: runtime.handle().clone() };
    let idle = std::thread::scope(|scope| {
        for one in &running {
            let process = process.clone();
            scope.spawn(move || one.run(scope, &process, options));
        }
        if let Some(served) = &options.served {
            pulse(scope, Arc::clone(&log), pipelines, served, &options.stop);
        }
        watch(&*log, &running, options, began)
    });
    // Calls that ignore their abort must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    let summary = summary(&running, began);
    let mut reasons: Vec<String> = running.iter().flat_map(Running::reasons).collect();
    for pipeline in summary.pipelines.iter().filter(|p| !p.balanced) {
        reasons.push(format!("pipeline `{}`: records read and records ended differ (rule R4)", pipeline.name));
    }
    if idle {
        running.iter().for_each(Running::say_waiting);
    }
    if idle && reasons.is_empty() {
        reasons.extend(running.iter().flat_map(|one| one.holds(&*log)));
    }
    if reasons.is_empty() { Ok(summary) } else { Err(RunError { summary, reasons }) }
}

/// Between two questions to the log whether it answers.
const PULSE: Duration = Duration::from_secs(1);

/// Asks the log again and again, on a thread of its own.
fn pulse<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    log: Arc<dyn Log>,
    pipelines: &[Pipeline],
    served: &Served,
    stop: &Stop,
) {
    let taken_in = pipelines.iter().flat_map(|p| &p.sources).filter(|s| s.http().is_some());
    let mut topics: Vec<String> = taken_in.map(|s| s.topic.clone()).collect();
    if topics.is_empty() {
        topics.extend(pipelines.iter().take(1).map(|p| p.sources[0].topic.clone()));
    }
    let (served, stop) = (served.clone(), stop.clone());
    scope.spawn(move || {
        while !stop.draining() {
            let (log, asked) = (Arc::clone(&log), topics.clone());
            let described =
                aside::ask(&stop, move || log.describe(&asked.iter().map(String::as_str).collect::<Vec<_>>()));
            if let Ok(Some(infos)) = described {
                let there =
                    topics.iter().zip(infos).filter_map(|(topic, info)| Some((topic.clone(), info?.partitions)));
                served.standing().answered(there);
            }
            stop.wait(PULSE);
        }
    });
}

/// Waits for the end of the run. Whether it is that all input is worked off.
fn watch(log: &dyn Log, running: &[Running<'_>], options: &RunOptions, began: Instant) -> bool {
    let tick = if options.until_idle { Duration::from_millis(50) } else { Duration::from_millis(100) };
    let (mut said, mut said_held) = (false, false);
    while !options.stop.wait(tick) {
        // The first question to a log that is away takes its client many seconds to give up.
        if !said && began.elapsed() > Duration::from_secs(1) {
            said = true;
            if running.iter().any(|r| !r.asked()) {
                tracing::warn!("{} has not answered yet; trying again until it does", log.name());
            }
        }
        if let Some(progress) = &options.progress {
            progress(&summary(running, began));
        }
        if let Some(served) = &options.served {
            served.standing().waits_for(running.iter().find_map(|one| one.waits_for(served)));
        }
        let failed = running.iter().any(|r| !r.reasons().is_empty());
        let none_alive = running.iter().all(Running::over);
        // A stage that has given up never works its input off.
        if none_alive || (failed && options.until_idle) {
            options.stop.drain();
            return false;
        }
        if options.until_idle
            && !said_held
            && let Some(held) = running.iter().find_map(Running::held_by_order)
        {
            said_held = true;
            tracing::warn!("{held}; `--until-idle` does not end while it has records to read");
        }
        // Twice, because one pipeline may feed another that was asked before it.
        let done = || running.iter().all(|r| r.quiet() && r.worked_off(log));
        if options.until_idle && done() && (running.len() == 1 || done()) {
            options.stop.drain();
            return true;
        }
    }
    false
}

fn summary(running: &[Running<'_>], began: Instant) -> Summary {
    let seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let pipelines = running
        .iter()
        .map(|one| {
            let mut balanced = one.balanced();
            let stages = one.crews.iter().map(|crew| {
                let totals = crew.totals();
                balanced &= totals.balanced();
                StageSummary::new(&crew.stage.name, &totals, seconds)
            });
            let stages = stages.collect();
            PipelineSummary { name: one.pipeline.name.clone(), stages, balanced }
        })
        .collect();
    Summary { pipelines }
}
