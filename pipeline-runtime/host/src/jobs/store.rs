//! What became of jobs, for those who ask: the topic `<pipeline>.jobs` read as committed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogResult, Reader, TopicPartition, settled};
use millstream_spec::model::{Jobs, Pipeline};

use super::job::JobStatus;
use super::ledger::{add, read};
use super::state::JobState;
use crate::outputs::partition_for;
use crate::restore;
use crate::shared::Stop;

/// Which jobs are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In one of these states; none means any.
    pub states: Vec<JobState>,
    /// That have met this stage.
    pub stage: Option<String>,
    /// That have changed then or later, ms since 1970.
    pub since: Option<i64>,
}

impl Filter {
    fn matches(&self, status: &JobStatus) -> bool {
        (self.states.is_empty() || self.states.contains(&status.state))
            && self.stage.as_ref().is_none_or(|stage| status.stages.iter().any(|s| s.stage == *stage))
            && self.since.is_none_or(|since| status.changed >= since)
    }
}

/// The jobs that are meant, the last changed first, at most `limit`; and how many are meant.
///
/// # Errors
/// `jobs_not_tracked`, or the log failed.
pub fn list(
    log: &dyn Log,
    pipeline: &Pipeline,
    filter: &Filter,
    limit: usize,
) -> LogResult<(Vec<(Bytes, JobStatus)>, usize)> {
    let jobs = tracked(pipeline)?;
    let mut found: Vec<(Bytes, JobStatus)> = Vec::new();
    for partition in 0..partitions(log, jobs)? {
        let all = Snapshot::take(log, jobs, partition, None)?.jobs;
        found.extend(all.into_iter().filter(|(_, status)| filter.matches(status)));
    }
    let count = found.len();
    found.sort_by(|(a, x), (b, y)| y.changed.cmp(&x.changed).then_with(|| a.cmp(b)));
    found.truncate(limit);
    Ok((found, count))
}

/// Jobs of which what they have passed is undone, or will be.
pub(crate) fn given_up(log: &dyn Log, jobs: &Jobs) -> LogResult<HashSet<Bytes>> {
    let mut all = HashSet::new();
    for partition in 0..partitions(log, jobs)? {
        let found = Snapshot::take(log, jobs, partition, None)?.jobs;
        all.extend(found.into_iter().filter(|(_, status)| status.is_given_up()).map(|(job, _)| job));
    }
    Ok(all)
}

/// How a job stands; `None` for one that is not known, or not any more.
///
/// # Errors
/// `jobs_not_tracked`, or the log failed.
pub fn find(log: &dyn Log, pipeline: &Pipeline, job: &[u8]) -> LogResult<Option<JobStatus>> {
    let jobs = tracked(pipeline)?;
    match partitions(log, jobs)? {
        0 => Ok(None),
        count => Ok(Snapshot::take(log, jobs, partition_for(None, job, count), Some(job))?.of(job)),
    }
}

/// Waits until a job is done or failed, up to `timeout`, and gives how it stands then; `None` for one that nothing is known
/// of by then.
///
/// # Errors
/// `jobs_not_tracked`, or the log failed.
pub fn wait(
    log: &dyn Log,
    pipeline: &Pipeline,
    job: &[u8],
    timeout: Duration,
    stop: &Stop,
) -> LogResult<Option<JobStatus>> {
    let jobs = tracked(pipeline)?;
    let until = Instant::now() + timeout;
    let over = || stop.draining() || Instant::now() >= until;
    loop {
        match wait_once(log, jobs, job, until, stop) {
            // It may answer in time.
            Err(e) if e.class == Class::Retry && !over() => drop(stop.wait(BETWEEN)),
            ended => return ended,
        }
    }
}

/// The same, up to the first fault.
fn wait_once(log: &dyn Log, jobs: &Jobs, job: &[u8], until: Instant, stop: &Stop) -> LogResult<Option<JobStatus>> {
    let over = || stop.draining() || Instant::now() >= until;
    let mut count = partitions(log, jobs)?;
    while count == 0 && !over() {
        // Nobody has run it yet.
        stop.wait(BETWEEN);
        count = partitions(log, jobs)?;
    }
    if count == 0 {
        return Ok(None);
    }
    let partition = partition_for(None, job, count);
    let mut reader: Option<Box<dyn Reader>> = None;
    loop {
        let snapshot = Snapshot::take(log, jobs, partition, Some(job))?;
        let end = snapshot.end;
        let found = snapshot.of(job);
        if over() || found.as_ref().is_some_and(|status| status.state.is_final()) {
            return Ok(found);
        }
        // Another look is worth it when something is written of this job.
        let reader = match &mut reader {
            Some(reader) => reader,
            none => {
                let reader = none.insert(log.reader(Isolation::Committed)?);
                reader.assign(&[(TopicPartition::new(jobs.topic.as_str(), partition), end)])?;
                reader
            }
        };
        let mut news = false;
        while !news && !over() {
            let left = until.saturating_duration_since(Instant::now());
            let batches = reader.poll(BUDGET, left.min(BETWEEN))?;
            news = batches.iter().flat_map(|b| &b.records).any(|record| record.key.as_deref() == Some(job));
        }
    }
}

const BETWEEN: Duration = Duration::from_millis(200);
const BUDGET: Budget = Budget { records: 10_000, bytes: 8 << 20 };

/// The jobs of a partition at one moment: their statuses, and the notes that nobody has added to them yet.
struct Snapshot {
    jobs: HashMap<Bytes, JobStatus>,
    /// Up to where statuses were read.
    end: i64,
}

impl Snapshot {
    /// Of all jobs, or of one.
    fn take(log: &dyn Log, jobs: &Jobs, partition: i32, only: Option<&[u8]>) -> LogResult<Self> {
        let statuses = TopicPartition::new(jobs.topic.as_str(), partition);
        let notes = TopicPartition::new(jobs.notes.as_str(), partition);
        // First the position: whatever was added up to there is in the statuses that are read then. Notes that are in
        // them too are told by their offsets.
        let position = log.committed(&jobs.group, std::slice::from_ref(&notes))?.swap_remove(0);
        let mut snapshot = Self { jobs: HashMap::new(), end: settled(log, std::slice::from_ref(&statuses))?[0] };
        let from = log.ends(std::slice::from_ref(&statuses), End::Low)?[0];
        restore::read(log, &statuses, from..snapshot.end, |record| {
            if let Some((job, status)) = read(&record)?.filter(|(job, _)| only.is_none_or(|only| job == only)) {
                snapshot.note(job, status);
            }
            Ok(())
        })?;
        snapshot.add_notes(log, &notes, position.map_or(0, |at| at.offset), only)?;
        Ok(snapshot)
    }

    fn note(&mut self, job: Bytes, status: Option<JobStatus>) {
        match status {
            Some(status) => drop(self.jobs.insert(job, status)),
            None => drop(self.jobs.remove(&job)),
        }
    }

    /// So that what a command has just done is seen, also while no process runs that would add it up.
    fn add_notes(&mut self, log: &dyn Log, place: &TopicPartition, from: i64, only: Option<&[u8]>) -> LogResult<()> {
        let one = std::slice::from_ref(place);
        let from = from.max(log.ends(one, End::Low)?[0]);
        restore::read(log, place, from..settled(log, one)?[0], |record| {
            if only.is_none_or(|only| record.key.as_deref() == Some(only)) {
                add(&mut self.jobs, &record)?;
            }
            Ok(())
        })
    }

    fn of(mut self, job: &[u8]) -> Option<JobStatus> {
        self.jobs.remove(job)
    }
}

fn tracked(pipeline: &Pipeline) -> LogResult<&Jobs> {
    pipeline.jobs.as_ref().ok_or_else(|| {
        let message =
            format!("pipeline `{}` does not track its jobs; `jobs: {{ track: true }}` in its file does", pipeline.name);
        LogError::new(Class::Config, "jobs_not_tracked", message)
    })
}

fn partitions(log: &dyn Log, jobs: &Jobs) -> LogResult<i32> {
    let infos = log.describe(&[&jobs.topic, &jobs.notes])?;
    // Both, or nobody has run it yet.
    Ok(infos.iter().map(|info| info.as_ref().map_or(0, |info| info.partitions)).min().unwrap_or(0))
}
