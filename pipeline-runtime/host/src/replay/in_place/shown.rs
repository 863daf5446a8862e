//! A replay as `status` shows it.

use millstream_log::{Log, LogResult};
use serde::Serialize;

use super::order::{Replay, ReplayState};
use super::progress::{Progress, progress};

/// The last replay of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayStatus {
    /// Names it, also in the header of what comes through it.
    pub id: String,
    /// How it stands.
    pub state: ReplayState,
    /// As it was asked for.
    pub from: String,
    /// As it was asked for.
    pub to: String,
    /// What of which partition is read; those of which nothing is are left out.
    pub range: Vec<Slice>,
    /// Offsets of the range that have passed.
    pub done: i64,
    /// Offsets of the range.
    pub total: i64,
    /// Whether live records wait until it is over.
    pub pause_live: bool,
    /// When it was ordered, ms since 1970.
    pub at: i64,
    /// When it ended, ms since 1970.
    pub ended: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// A part of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slice {
    /// Its topic.
    pub topic: String,
    /// The partition.
    pub partition: usize,
    /// The first offset.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
}

impl ReplayStatus {
    /// The last of a stage: the one that runs, or the one that was ordered last. `group` is the stage's own.
    pub fn last(log: &dyn Log, group: &str, stage: &str, all: &[Replay]) -> LogResult<Option<Self>> {
        let Some(replay) = last(stage, all) else { return Ok(None) };
        let progress = match replay.state {
            ReplayState::Running => progress(log, group, replay)?,
            _ => Progress { done: replay.done, total: replay.total() },
        };
        Ok(Some(Self::of(replay, progress)))
    }

    /// A replay that is so far.
    pub fn of(replay: &Replay, progress: Progress) -> Self {
        let slices = replay.inputs.iter().flat_map(|input| {
            let read = input.ranges.iter().enumerate().filter(|(_, (from, to))| from < to);
            read.map(|(partition, (from, to))| Slice { topic: input.topic.clone(), partition, from: *from, to: *to })
        });
        Self {
            id: replay.id.clone(),
            state: replay.state,
            from: replay.from.clone(),
            to: replay.to.clone(),
            range: slices.collect(),
            done: progress.done,
            total: progress.total,
            pause_live: replay.pause_live,
            at: replay.at,
            ended: replay.ended,
            reason: replay.reason.clone(),
        }
    }
}

fn last<'r>(stage: &str, all: &'r [Replay]) -> Option<&'r Replay> {
    super::running(all, stage).or_else(|| all.iter().filter(|r| r.stage == stage).max_by_key(|r| r.at))
}
