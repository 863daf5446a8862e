//! How a pipeline stands, over all processes: positions and ends from the log, the rest from the processes' reports.

use std::collections::BTreeMap;

use millstream_log::{End, Log, LogResult, TopicPartition};
use millstream_spec::model::{Pipeline, Source, Stage};
use serde::Serialize;

use super::letters::LetterCounts;
use super::report::{STALE_MS, reports};
use super::{Control, Counts, Entries, Follower, Orders, ProcessReport, Rates, StageReport, Trouble};
use crate::clock::wall_ms;
use crate::growth::Added;
use crate::held;
use crate::replay::in_place::{self, ReplayStatus};
use crate::source;

/// One pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// Processes that have reported in the last 30 seconds.
    pub processes: Vec<ProcessStatus>,
    /// What feeds it, in the order of the file.
    pub sources: Vec<SourceStatus>,
    /// In the order of the file.
    pub stages: Vec<StageStatus>,
    /// What of the control topic could not be read.
    pub problems: Vec<String>,
}

/// One process that runs stages of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessStatus {
    /// Names it in the cluster.
    pub id: String,
    /// Its machine.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// When it began, ms since 1970.
    pub began: i64,
    /// When it reported, ms since 1970.
    pub at: i64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Its name; `None` of the one under `source`.
    pub name: Option<String>,
    /// The topic where its records are.
    pub topic: String,
    /// How many it has given; `None` for a topic of others, and before its first run.
    pub records: Option<u64>,
    /// Whether it has given all it has; `None` like `records`.
    pub ended: Option<bool>,
}

/// One stage, over all processes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ordered to read nothing.
    pub paused: bool,
    /// Offsets of its input that are not committed; `None` before its first run.
    pub lag: Option<i64>,
    /// Of each level of importance, where it has some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelStatus>,
    /// What the processes that run now report of it, summed.
    #[serde(flatten)]
    pub counts: Counts,
    /// The counts per second, in the last seconds.
    pub rates: Rates,
    /// Open letters in its dead-letter topic.
    pub dead_letters: u64,
    /// Whether there are more than were counted.
    pub more_dead_letters: bool,
    /// The last replay of it.
    pub replay: Option<ReplayStatus>,
    /// Keys that dead letters hold. How many records wait behind them is in `counts`.
    pub held_keys: u64,
    /// How many replicas there shall be and are.
    pub replicas: ReplicasStatus,
    /// Partitions of its input that were added and wait for the old ones.
    pub waiting: Option<WaitingStatus>,
    /// What went wrong last.
    pub trouble: Option<Trouble>,
}

/// What waits in one level of importance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelStatus {
    /// Its name.
    pub name: String,
    /// Offsets that are not committed.
    pub lag: i64,
}

/// Partitions that wait until others are worked off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingStatus {
    /// The first of them.
    pub from: i32,
    /// As many partitions there are.
    pub to: i32,
    /// Whether it is known where the others ended; before that, writers may still go by the old number.
    pub settled: bool,
}

/// Replicas of one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplicasStatus {
    /// What the file says, per process.
    pub file: u32,
    /// What `scale` says instead.
    #[serde(rename = "override")]
    pub ordered: Option<u32>,
    /// Running in all processes.
    pub running: u32,
    /// By process id.
    pub processes: BTreeMap<String, u32>,
    /// Processes whose replica of a singleton stands by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub standby: Vec<String>,
}

/// Looks at one pipeline again and again.
pub struct Watcher<'a> {
    log: &'a dyn Log,
    pipeline: &'a Pipeline,
    control: Control<'a>,
    follower: Option<Follower>,
    letters: LetterCounts,
}

impl<'a> Watcher<'a> {
    /// Of a pipeline. Looks at nothing yet, and never writes.
    pub fn new(log: &'a dyn Log, pipeline: &'a Pipeline) -> Self {
        let control = Control::of(log, &pipeline.name);
        Self { log, pipeline, control, follower: None, letters: LetterCounts::default() }
    }

    /// How it stands now.
    pub fn look(&mut self) -> LogResult<PipelineStatus> {
        let entries = self.entries()?;
        let mut lags = Vec::new();
        let mut letters = Vec::new();
        for stage in &self.pipeline.stages {
            lags.push(lag(self.log, stage)?);
            letters.push(self.letters.count(self.log, &stage.dlq, &stage.name, &entries)?);
        }
        let holds = self.pipeline.stages.iter().map(|s| held::look(self.log, &s.group, &s.retry_topic));
        let holds = holds.collect::<LogResult<Vec<_>>>()?;
        let mut status = summarize(self.pipeline, &entries, wall_ms());
        status.sources = self.pipeline.sources.iter().map(|s| source_status(self.log, s)).collect::<LogResult<_>>()?;
        // What cannot be read is among the problems already.
        let replays = in_place::all(&entries).unwrap_or_default();
        for (known, stage) in status.stages.iter_mut().zip(&self.pipeline.stages) {
            known.replay = ReplayStatus::last(self.log, &stage.group, &stage.name, &replays)?;
        }
        for (stage, holds) in status.stages.iter_mut().zip(holds) {
            // As `.retry` says it: also while no process runs.
            (stage.held_keys, stage.counts.held) = (holds.keys(), holds.records);
        }
        for ((status, stage), lag) in status.stages.iter_mut().zip(&self.pipeline.stages).zip(&lags) {
            let levels = stage.priority.as_ref().map_or(&[][..], |priority| &priority.levels);
            let lags = lag.as_deref().unwrap_or(&[]).iter();
            status.levels =
                levels.iter().zip(lags).map(|(name, lag)| LevelStatus { name: name.clone(), lag: *lag }).collect();
        }
        for ((stage, lag), (count, more)) in status.stages.iter_mut().zip(lags).zip(letters) {
            let lag = lag.map(|inputs| inputs.iter().sum());
            (stage.lag, stage.dead_letters, stage.more_dead_letters) = (lag, count, more);
        }
        Ok(status)
    }

    fn entries(&mut self) -> LogResult<Entries> {
        if self.follower.is_none() && self.control.exists()? {
            self.follower = Some(self.control.follow()?);
        }
        let Some(follower) = &mut self.follower else { return Ok(Entries::new()) };
        let read = self.control.catch_up(follower, End::Stable);
        if let Err(e) = read {
            // Made anew next time: it may be the reader that is done for.
            self.follower = None;
            return Err(e);
        }
        Ok(follower.entries().clone())
    }
}

/// What the entries say, without what only the log knows.
fn summarize(pipeline: &Pipeline, entries: &Entries, now: i64) -> PipelineStatus {
    let stages: Vec<(&str, u32)> = pipeline.stages.iter().map(|s| (s.name.as_str(), s.replicas)).collect();
    let mut all = summarize_stages(&pipeline.name, &stages, entries, now);
    for (status, stage) in all.stages.iter_mut().zip(&pipeline.stages) {
        match Added::read(entries, &stage.name, stage.inputs.iter().map(|i| i.topic.as_str())) {
            Ok(added) => status.waiting = added.and_then(|added| waiting(&added)),
            Err(e) => all.problems.push(e.to_string()),
        }
    }
    all
}

fn waiting(added: &Added) -> Option<WaitingStatus> {
    let (first, last) = (added.steps.first()?, added.steps.last()?);
    Some(WaitingStatus { from: first.from, to: last.to, settled: first.ends.is_some() })
}

/// The same for stages by name, with the replicas the file gives them.
fn summarize_stages(pipeline: &str, stages: &[(&str, u32)], entries: &Entries, now: i64) -> PipelineStatus {
    let mut problems = Vec::new();
    let orders = Orders::read(entries).unwrap_or_else(|e| {
        problems.push(e.to_string());
        Orders::default()
    });
    let mut alive: BTreeMap<String, ProcessReport> = BTreeMap::new();
    for (id, report) in reports(entries) {
        match report {
            Ok(report) if now - report.at <= STALE_MS => drop(alive.insert(id, report)),
            Ok(_) => {}
            Err(e) => problems.push(e.to_string()),
        }
    }
    let processes = alive
        .iter()
        .map(|(id, r)| ProcessStatus { id: id.clone(), host: r.host.clone(), pid: r.pid, began: r.began, at: r.at })
        .collect();
    let stages = stages.iter().map(|(stage, replicas)| {
        let here = alive.iter().filter_map(|(id, r)| Some((id.as_str(), r.stages.get(*stage)?)));
        stage_status(stage, *replicas, &orders, here.collect())
    });
    let stages = stages.collect();
    PipelineStatus { name: pipeline.to_owned(), processes, sources: Vec::new(), stages, problems }
}

fn stage_status(stage: &str, replicas: u32, orders: &Orders, reports: Vec<(&str, &StageReport)>) -> StageStatus {
    let troubles = reports.iter().filter_map(|(_, r)| r.trouble.clone());
    StageStatus {
        name: stage.to_owned(),
        paused: orders.paused.contains(stage),
        lag: None,
        levels: Vec::new(),
        counts: reports.iter().fold(Counts::default(), |sum, (_, r)| sum.plus(r.counts)),
        rates: reports.iter().fold(Rates::default(), |sum, (_, r)| sum.plus(r.rates)),
        dead_letters: 0,
        more_dead_letters: false,
        replay: None,
        held_keys: 0,
        replicas: ReplicasStatus {
            file: replicas,
            ordered: orders.scale.get(stage).copied(),
            running: reports.iter().map(|(_, r)| r.running).sum(),
            processes: reports.iter().map(|(id, r)| ((*id).to_owned(), r.running)).collect(),
            standby: reports.iter().filter(|(_, r)| r.standby > 0).map(|(id, _)| (*id).to_owned()).collect(),
        },
        waiting: None,
        trouble: troubles.max_by_key(|t| t.at),
    }
}

/// Told by the log alone.
fn source_status(log: &dyn Log, source: &Source) -> LogResult<SourceStatus> {
    let stands = if source.writes() && log.describe(&[&source.topic])?[0].is_some() {
        source::stands(log, &source.topic)?
    } else {
        None
    };
    Ok(SourceStatus {
        name: source.named.then(|| source.name.clone()),
        topic: source.topic.clone(),
        records: stands.as_ref().map(|at| at.records),
        ended: stands.as_ref().map(|at| at.ended),
    })
}

/// How many offsets of each of its inputs a group has not committed. `None` where an input does not exist.
fn lag(log: &dyn Log, stage: &Stage) -> LogResult<Option<Vec<i64>>> {
    let mut lags = Vec::new();
    for input in &stage.inputs {
        let mut lag = 0;
        let Some(info) = &log.describe(&[&input.topic])?[0] else { return Ok(None) };
        let partitions: Vec<TopicPartition> =
            (0..info.partitions).map(|p| TopicPartition::new(input.topic.as_str(), p)).collect();
        // Asked in this order, so that a position is never beyond the end that was seen.
        let committed = log.committed(&stage.group, &partitions)?;
        let low = log.ends(&partitions, End::Low)?;
        let high = log.ends(&partitions, End::High)?;
        for ((committed, low), high) in committed.iter().zip(low).zip(high) {
            let at = committed.as_ref().map_or(low, |c| c.offset.max(low));
            lag += (high - at).max(0);
        }
        lags.push(lag);
    }
    Ok(Some(lags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Change, Entry, encode};
    use bytes::Bytes;

    fn report(at: i64, read: u64, rate: f64) -> Bytes {
        let rates = Rates { read: rate, ..Rates::default() };
        let counts = Counts { read, in_flight: 3, parked: 2, ..Counts::default() };
        let stage = StageReport { wanted: 2, running: 2, counts, rates, ..StageReport::default() };
        let report = ProcessReport { at, stages: [("clean".to_owned(), stage)].into(), ..ProcessReport::default() };
        encode(&report).unwrap()
    }

    fn status(changes: Vec<Change>) -> PipelineStatus {
        let entry = |(key, value): Change| Some((key, Entry { value: value?, at: 0, offset: 0 }));
        let entries: Entries = changes.into_iter().filter_map(entry).collect();
        summarize_stages("orders", &[("clean", 2), ("split", 1)], &entries, 100_000)
    }

    #[test]
    fn who_is_alive_is_summed_and_who_is_silent_is_not() {
        let all = status(vec![
            ("process/a".to_owned(), Some(report(100_000, 10, 1.1))),
            ("process/b".to_owned(), Some(report(70_000, 20, 2.2))),
            ("process/dead".to_owned(), Some(report(69_999, 400, 9.0))),
            Orders::pause("split", 1).unwrap(),
            Orders::scale("clean", 3, 1).unwrap(),
        ]);
        let ids: Vec<&str> = all.processes.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        let (clean, split) = (&all.stages[0], &all.stages[1]);
        assert_eq!((clean.counts.read, clean.counts.in_flight, clean.counts.parked, clean.rates.read), (30, 6, 4, 3.3));
        assert_eq!((clean.replicas.file, clean.replicas.ordered, clean.replicas.running), (2, Some(3), 4));
        assert!(split.paused && !clean.paused && split.replicas.processes.is_empty());
        assert_eq!(all.problems, [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let newer = Some(Bytes::from_static(b"{\"v\":2}"));
        let all = status(vec![("pause/clean".to_owned(), newer.clone()), ("process/a".to_owned(), newer)]);
        assert_eq!(all.problems.len(), 2);
        assert!(all.problems.iter().all(|p| p.contains("newer_version")), "{:?}", all.problems);
    }
}
