//! How long a job, and its records in a stage, may take. Pure.

use std::time::Duration;

use millstream_spec::model::{Pipeline, Stage};
use serde::{Deserialize, Serialize};

use super::job::{Failed, JobStatus};
use super::note::{Note, What};
use super::state::{JobState, Stopped};

/// Records of a job at a stage with a deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    pub stage: String,
    /// So many.
    pub open: i64,
    /// Since then none has ended there, ms since 1970.
    pub since: i64,
}

/// How long a job, and its records in a stage, may take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Milliseconds that a job may take.
    pub job: Option<i64>,
    /// Milliseconds that may pass without an end in a stage, by its name.
    pub stages: Vec<(String, i64)>,
    /// The stage whose records are counted from the moment in which they were accepted.
    pub first: Option<String>,
}

impl Limits {
    /// As a pipeline has them.
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        let ms = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let reads_source = |stage: &&Stage| stage.inputs.iter().any(|input| input.source.is_some());
        Self {
            job: pipeline.jobs.as_ref().and_then(|jobs| jobs.deadline).map(ms),
            stages: pipeline.stages.iter().filter_map(|s| Some((s.name.clone(), ms(s.deadline?)))).collect(),
            first: pipeline.stages.iter().find(reads_source).map(|stage| stage.name.clone()),
        }
    }
}

impl JobStatus {
    /// Keeps where its records are, of stages with a deadline.
    pub(super) fn time(&mut self, note: &Note<'_>) {
        if let What::Forwarded { into, .. } = &note.what {
            for (stage, births) in into {
                let births = i64::from(*births);
                match self.at.iter_mut().find(|at| at.stage == *stage) {
                    Some(at) => at.open += births,
                    None => self.at.push(At { stage: stage.to_string(), open: births, since: note.at }),
                }
            }
        }
        let set_aside = note.what == What::Parked;
        if note.timed && note.root && set_aside {
            self.at.push(At { stage: note.stage.to_string(), open: 1, since: self.begun });
        }
        let ends = !set_aside
            && !matches!(
                note.what,
                What::Accepted | What::Scheduled { .. } | What::TakenBack | What::Cancel | What::Redriven
            );
        if ends && let Some(n) = self.at.iter().position(|at| at.stage == *note.stage) {
            let at = &mut self.at[n];
            (at.open, at.since) = (at.open - 1, note.at);
            if at.open <= 0 {
                self.at.remove(n);
            }
        }
    }

    /// Whether its time is over at `now`, and nobody knew.
    pub(super) fn expire(&mut self, limits: &Limits, now: i64) -> bool {
        if self.stopped.is_some() || self.state.is_final() || self.state == JobState::Scheduled {
            return false;
        }
        let late = |since: i64, limit: i64| now.saturating_sub(since) >= limit;
        let in_stage = |(stage, limit): &(String, i64)| {
            let waits = self.stages.is_empty() && limits.first.as_ref() == Some(stage);
            waits && late(self.begun, *limit) || self.at.iter().any(|at| at.stage == *stage && late(at.since, *limit))
        };
        let (stage, message) = if let Some(limit) = limits.job.filter(|limit| late(self.begun, *limit)) {
            (String::new(), format!("not done within {}", show(limit)))
        } else if let Some((stage, limit)) = limits.stages.iter().find(|limit| in_stage(limit)) {
            (stage.clone(), format!("nothing of it has ended in `{stage}` within {}", show(*limit)))
        } else {
            return false;
        };
        self.stop(Stopped::Deadline);
        self.error = Some(Failed { stage, code: Stopped::Deadline.word().to_owned(), message, at: now });
        (self.changed, self.state) = (now, self.judge());
        true
    }
}

/// A duration as people write it.
fn show(ms: i64) -> String {
    match ms {
        _ if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        _ if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}
