//! Whether a process runs a stage: told by the reports of all processes in the control topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogError, LogResult};

use super::apply::stopped;
use crate::clock::wall_ms;
use crate::control::{Control, STALE_MS, reports};
use crate::shared::Stop;

/// Looks for processes that run some stages.
pub struct Alive<'a> {
    control: Control<'a>,
    stages: BTreeSet<String>,
    began: i64,
    /// When each process had reported at the first look at it.
    seen: BTreeMap<String, i64>,
}

impl<'a> Alive<'a> {
    /// Of these stages.
    pub fn new(log: &'a dyn Log, pipeline: &str, stages: BTreeSet<String>) -> Self {
        Self { control: Control::of(log, pipeline), stages, began: wall_ms(), seen: BTreeMap::new() }
    }

    /// A process that runs one of them or did until it was killed. One that has reported since the first look, and so
    /// lives for sure, is an error.
    pub fn look(&mut self) -> LogResult<Option<String>> {
        let now = wall_ms();
        let entries = self.control.entries()?;
        let mut perhaps = None;
        for (id, report) in reports(&entries) {
            let Some(report) = report.ok().filter(|r| now - r.at <= STALE_MS) else { continue };
            let runs =
                |(name, s): &(&String, &crate::control::StageReport)| self.stages.contains(*name) && s.running > 0;
            let Some((stage, _)) = report.stages.iter().find(runs) else { continue };
            let who = format!("process {} on {} runs the stage `{stage}`", report.pid, report.host);
            if *self.seen.entry(id).or_insert(report.at) != report.at || report.began > self.began {
                let message = format!("{who}, which the change concerns: end it, then apply again");
                return Err(LogError::new(Class::Config, "stage_runs", message));
            }
            perhaps = Some(who);
        }
        Ok(perhaps)
    }

    /// Waits until there is none. One that was killed says nothing more, and counts as gone after a while.
    pub fn wait(&mut self, stop: &Stop) -> LogResult<()> {
        let deadline = Instant::now() + Duration::from_millis(STALE_MS as u64 + 5_000);
        let mut said = false;
        while let Some(who) = self.look()? {
            if Instant::now() > deadline {
                let message = format!("{who}, as far as its clock can be trusted: end it, then apply again");
                return Err(LogError::new(Class::Config, "stage_runs", message));
            }
            if !said {
                said = true;
                tracing::warn!("{who}, or did until it was killed; waiting for a sign of it");
            }
            if stop.wait(Duration::from_millis(200)) {
                return Err(stopped());
            }
        }
        Ok(())
    }
}
