//! Adds up the notes of jobs and writes what they come to.
//!
//! A member of the group `<pipeline>.jobs` owns partitions of the notes. It reads the statuses of those jobs that are not
//! done, adds notes, and commits the new statuses with its position in one transaction. What goes wrong in between throws
//! the sums away with the transaction: a new member reads both again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{
    Assignment, Budget, Class, Delivery, End, Event, Log, LogError, LogRecord, LogResult, Member, MemberConfig,
    Outgoing, Position, Sent, TopicPartition,
};
use millstream_spec::model::{Jobs, Pipeline};

use super::asked::Allowed;
use super::callback::Callbacks;
use super::event::JobEvent;
use super::job::JobStatus;
use super::limits::Limits;
use super::note::{Note, versioned};
use super::state::Stopped;
use super::undo_record::{self, UndoPlan, fetch};
use crate::clock::wall_ms;
use crate::control::{Change, Control, Orders};
use crate::restore;
use crate::shared::Stop;

/// What a ledger is told by the process.
pub(crate) struct Ledger<'a> {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Ends it.
    pub stop: Stop,
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// What the pipeline says of jobs.
    pub jobs: &'a Jobs,
    /// Stages that have a compensation, in the order in which records pass them.
    pub undo: Vec<UndoPlan>,
    /// How long jobs, and their records in stages, may take.
    pub limits: Limits,
    /// Unique in the cluster.
    pub name: String,
    /// Static membership.
    pub instance: Option<String>,
    /// Who may be told of jobs.
    pub allowed: Allowed,
    /// Partitions of the topic of events.
    pub events: i32,
    /// Who is called about jobs.
    pub callbacks: Option<Callbacks>,
}

/// Under load statuses are written this often: what happens to a job in between is one record.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// Or after this many notes.
const COMMIT_NOTES: usize = 20_000;
/// Records to be undone in one transaction, and those of the job that goes beyond it.
const UNDONE_AT_ONCE: usize = 1_000;
/// In the metadata of a position: more is to be undone.
const MORE: &str = "more";
const BUDGET: Budget = Budget { records: 5_000, bytes: 4 << 20 };
const IDLE_POLL: Duration = Duration::from_millis(200);
/// Between two looks for jobs whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at which notes can go.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Old statuses go when they are older than `retention` by a part of it, which is between these bounds: to find them all
/// statuses are read.
const FORGET_PART: u32 = 24;
const FORGET_EVERY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// The sums of one partition.
#[derive(Default)]
struct Sums {
    /// Jobs that are not done. What is done is read again by nobody but people.
    open: HashMap<Bytes, JobStatus>,
    /// Those that have changed since the last commit.
    changed: HashSet<Bytes>,
    /// The next note.
    next: i64,
}

impl Sums {
    /// Notes below are of no use any more.
    fn needed(&self) -> i64 {
        self.open.values().filter_map(JobStatus::needs).min().map_or(self.next, |needed| needed.min(self.next))
    }
}

impl Ledger<'_> {
    /// Keeps the sums until told to stop. An error says that a new member begins again, or that a person must act.
    pub fn run(&self) -> LogResult<()> {
        let mut member = self.log.join(MemberConfig {
            group: self.jobs.group.clone(),
            lead: self.jobs.notes.clone(),
            side: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            name: self.name.clone(),
            instance: self.instance.clone(),
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 4 << 20,
        })?;
        self.stop.on_stop(member.waker());
        let ended = self.keep(&mut *member);
        // Fenced: there is nothing to hand over, and nobody to ask.
        if !matches!(&ended, Err(e) if e.class == Class::Fenced) {
            member.leave(self.stop.drain_timeout());
        }
        ended
    }

    fn keep(&self, member: &mut dyn Member) -> LogResult<()> {
        let mut all: BTreeMap<i32, Sums> = BTreeMap::new();
        let (mut batches, mut notes, mut first) = (Vec::new(), 0, None::<Instant>);
        let mut trim_at = Instant::now() + TRIM_EVERY;
        let forget_every = (self.jobs.retention / FORGET_PART).clamp(*FORGET_EVERY.start(), *FORGET_EVERY.end());
        let mut forget_at = Instant::now() + forget_every;
        let mut expire_at = Instant::now() + EXPIRE_EVERY;
        while !self.stop.draining() {
            let wait = first.map_or(IDLE_POLL, |at| COMMIT_EVERY.saturating_sub(at.elapsed()).min(IDLE_POLL));
            let events = match member.poll(BUDGET, wait, &mut batches) {
                Err(e) if e.class == Class::Retry => {
                    tracing::debug!(pipeline = %self.pipeline, error = %e, "the log did not answer; trying again");
                    self.stop.wait(IDLE_POLL);
                    continue;
                }
                polled => polled?,
            };
            for event in events {
                match event {
                    Event::Assigned(assignments) => {
                        self.take(member, assignments, &mut all)?;
                        // The owner before may have died with something left to be undone.
                        if all.values().any(|sums| !sums.changed.is_empty()) {
                            first.get_or_insert_with(Instant::now);
                        }
                    }
                    Event::Revoking(partitions) => {
                        self.commit(member, &mut all)?;
                        (notes, first) = (0, None);
                        all.retain(|p, _| !partitions.iter().any(|gone| gone.partition == *p));
                        member.release(&partitions)?;
                    }
                    Event::Lost(_) => {
                        member.abort()?;
                        let message = "partitions of the job topic went to another process";
                        return Err(LogError::new(Class::Fenced, "jobs_lost", message));
                    }
                    Event::BrokerAway(away, why) => {
                        tracing::debug!(pipeline = %self.pipeline, away, %why, "the broker of the job topic");
                    }
                }
            }
            for batch in batches.drain(..) {
                let Some(sums) = all.get_mut(&batch.partition.partition) else { continue };
                for record in &batch.records {
                    sums.changed.extend(add(&mut sums.open, record)?);
                    notes += 1;
                }
                sums.next = batch.next;
                first.get_or_insert_with(Instant::now);
            }
            if Instant::now() >= expire_at {
                expire_at = Instant::now() + EXPIRE_EVERY;
                if self.expire(&mut all) {
                    first.get_or_insert_with(Instant::now);
                }
            }
            if first.is_some_and(|at| at.elapsed() >= COMMIT_EVERY) || notes >= COMMIT_NOTES {
                self.commit(member, &mut all)?;
                (notes, first) = (0, None);
            }
            if Instant::now() >= trim_at {
                self.trim(member, &mut all)?;
                (notes, first) = (0, None);
                trim_at = Instant::now() + TRIM_EVERY;
            }
            if Instant::now() >= forget_at {
                self.commit(member, &mut all)?;
                self.forget(member, &mut all)?;
                (notes, first) = (0, None);
                forget_at = Instant::now() + forget_every;
            }
        }
        self.commit(member, &mut all)
    }

    /// Begins with partitions: reads what jobs of them are not done, as committed by the owner before.
    fn take(
        &self,
        member: &mut dyn Member,
        assignments: Vec<Assignment>,
        all: &mut BTreeMap<i32, Sums>,
    ) -> LogResult<()> {
        let mut positions = Vec::new();
        for a in assignments {
            let committed = a.committed.as_ref().map_or(a.low, |c| c.offset);
            if committed < a.low {
                tracing::warn!(place = %a.partition, lost = a.low - committed, "notes of jobs are gone; some jobs will not end");
            }
            let offset = committed.max(a.low);
            let partition = a.partition.partition;
            let mut sums = Sums { next: offset, ..Sums::default() };
            self.each_status(partition, |job, status| {
                // The last one counts, as in any compacted topic.
                match status {
                    Some(status) if status.is_open() => drop(sums.open.insert(job, status)),
                    _ => drop(sums.open.remove(&job)),
                }
            })?;
            sums.changed.extend(sums.open.iter().filter(|(_, status)| status.is_due()).map(|(job, _)| job.clone()));
            all.insert(partition, sums);
            positions.push(Position { partition: a.partition, offset, metadata: String::new() });
        }
        member.start(&positions)
    }

    fn each_status(&self, partition: i32, mut take: impl FnMut(Bytes, Option<JobStatus>)) -> LogResult<()> {
        let place = TopicPartition::new(self.jobs.topic.as_str(), partition);
        let one = std::slice::from_ref(&place);
        // The high watermark: everything the owner before committed lies below it, and it is fenced.
        let bounds = self.log.ends(one, End::Low)?[0]..self.log.ends(one, End::High)?[0];
        restore::read(&*self.log, &place, bounds, |record| {
            if let Some((job, status)) = read(&record)? {
                take(job, status);
            }
            Ok(())
        })
    }

    /// Makes the sums durable, and begins to undo what is due.
    fn commit(&self, member: &mut dyn Member, all: &mut BTreeMap<i32, Sums>) -> LogResult<()> {
        while self.commit_some(member, all)? {}
        Ok(())
    }

    /// The same with a bounded part of what is due; whether there is more.
    fn commit_some(&self, member: &mut dyn Member, all: &mut BTreeMap<i32, Sums>) -> LogResult<bool> {
        let mut records = Vec::new();
        let control = Control::of(&*self.log, self.pipeline);
        let mut room = UNDONE_AT_ONCE;
        for (partition, sums) in &mut *all {
            let mut later = self.undo(*partition, sums, &mut room, &mut records)?;
            for job in sums.changed.drain() {
                let Some(status) = sums.open.get_mut(&job) else { continue };
                if let Some(news) = status.news() {
                    records.extend(order(&job, news)?.map(|change| control.record(change)));
                }
                records.extend(self.event(&job, status));
                records.extend(self.callbacks.iter().flat_map(|callbacks| callbacks.tell(&job, status)));
                let value = serde_json::to_vec(status).unwrap_or_default();
                let done = !status.is_open();
                records.push(self.status(*partition, job.clone(), Some(value.into())));
                if done && !status.is_due() {
                    sums.open.remove(&job);
                    later.remove(&job);
                }
            }
            sums.changed = later;
        }
        self.write(member, records, all)?;
        Ok(all.values().any(|sums| !sums.changed.is_empty()))
    }

    /// Writes what is to be undone now to the stages that do it. Gives the jobs of which more is due.
    fn undo(
        &self,
        partition: i32,
        sums: &mut Sums,
        room: &mut usize,
        records: &mut Vec<Outgoing>,
    ) -> LogResult<HashSet<Bytes>> {
        let mut later = HashSet::new();
        if self.undo.is_empty() && !sums.changed.iter().any(|job| sums.open.get(job).is_some_and(JobStatus::is_due)) {
            return Ok(later);
        }
        let names: Vec<String> = self.undo.iter().map(|plan| plan.stage.clone()).collect();
        let (mut steps, mut wanted) = (Vec::new(), HashMap::new());
        for job in &sums.changed {
            let Some(status) = sums.open.get_mut(job).filter(|status| status.is_due()) else { continue };
            if *room == 0 {
                later.insert(job.clone());
                continue;
            }
            let Some(step) = status.compensate(&names) else { continue };
            *room = room.saturating_sub(step.at.len());
            match step.stage.and_then(|stage| self.undo.get(stage)) {
                Some(plan) => {
                    wanted.extend(step.at.iter().map(|at| (*at, plan)));
                    steps.push((job.clone(), step.at));
                }
                None => {
                    tracing::warn!(pipeline = %self.pipeline, job = %String::from_utf8_lossy(job), records = step.at.len(),
                        "what a job has passed cannot be undone: the stage has no compensation any more");
                    later.insert(job.clone());
                }
            }
        }
        let notes = TopicPartition::new(self.jobs.notes.as_str(), partition);
        let mut found = fetch(&*self.log, &notes, &wanted)?;
        for (job, at) in steps {
            let before = records.len();
            records.extend(at.iter().filter_map(|at| found.remove(at)));
            let missing = at.len() - (records.len() - before);
            if let Some(status) = sums.open.get_mut(&job).filter(|_| missing > 0) {
                tracing::warn!(pipeline = %self.pipeline, job = %String::from_utf8_lossy(&job), missing,
                    "records that a job has passed are gone from the job topic, and cannot be undone");
                status.lose(missing);
                later.insert(job);
            }
        }
        Ok(later)
    }

    /// How a job has ended, for who asked to be told.
    fn event(&self, job: &Bytes, status: &mut JobStatus) -> Option<Outgoing> {
        let topic = self.jobs.events.as_ref()?;
        self.allowed.judge(self.pipeline, job, status.asked.as_mut()?);
        let event = status.answer().then(|| JobEvent::of(job, status)).flatten()?;
        Some(event.write(topic, self.events, job))
    }

    /// Jobs whose time is over.
    fn expire(&self, all: &mut BTreeMap<i32, Sums>) -> bool {
        if self.limits.job.is_none() && self.limits.stages.is_empty() {
            return false;
        }
        let now = wall_ms();
        let mut any = false;
        for sums in all.values_mut() {
            let late =
                sums.open.iter_mut().filter_map(|(job, status)| status.expire(&self.limits, now).then(|| job.clone()));
            sums.changed.extend(late);
            any |= !sums.changed.is_empty();
        }
        any
    }

    fn write(&self, member: &mut dyn Member, mut records: Vec<Outgoing>, all: &BTreeMap<i32, Sums>) -> LogResult<()> {
        let position = |(partition, sums): (&i32, &Sums)| Position {
            partition: TopicPartition::new(self.jobs.notes.as_str(), *partition),
            offset: sums.next,
            metadata: if sums.changed.is_empty() { String::new() } else { MORE.to_owned() },
        };
        if all.is_empty() {
            return Ok(());
        }
        let positions: Vec<Position> = all.iter().map(position).collect();
        member.send(&mut records).and_then(|()| member.commit(&positions)).map_err(|sent| match sent {
            Sent::Failed(e) => e,
            Sent::Refused(why) => LogError::new(
                Class::Config,
                "job_status_refused",
                format!("the log refuses a job's status: {}", why.first().map_or("no reason given", |(_, why)| why)),
            ),
        })
    }

    fn status(&self, partition: i32, job: Bytes, value: Option<Bytes>) -> Outgoing {
        Outgoing {
            to: TopicPartition::new(self.jobs.topic.as_str(), partition),
            key: Some(job),
            value,
            headers: Headers::new(),
            timestamp: wall_ms(),
            tag: 0,
        }
    }

    /// Deletes notes that are added up.
    fn trim(&self, member: &mut dyn Member, all: &mut BTreeMap<i32, Sums>) -> LogResult<()> {
        self.commit(member, all)?;
        let notes = |(p, sums): (&i32, &Sums)| (TopicPartition::new(self.jobs.notes.as_str(), *p), sums.needed());
        let done: Vec<_> = all.iter().map(notes).collect();
        match self.log.delete_before(&done) {
            Err(e) if e.class != Class::Retry => Err(e),
            _ => Ok(()),
        }
    }

    /// Deletes statuses that are older than the pipeline keeps them.
    fn forget(&self, member: &mut dyn Member, all: &mut BTreeMap<i32, Sums>) -> LogResult<()> {
        if self.jobs.retention == Duration::MAX {
            return Ok(());
        }
        let limit = wall_ms().saturating_sub(i64::try_from(self.jobs.retention.as_millis()).unwrap_or(i64::MAX));
        let mut records = Vec::new();
        for (partition, sums) in &mut *all {
            let mut old: HashSet<Bytes> = HashSet::new();
            self.each_status(*partition, |job, status| match status {
                Some(status) if status.changed < limit && status.state.is_final() => drop(old.insert(job)),
                _ => drop(old.remove(&job)),
            })?;
            for job in old {
                sums.open.remove(&job);
                records.push(self.status(*partition, job, None));
            }
        }
        if records.is_empty() { Ok(()) } else { self.write(member, records, all) }
    }
}

/// The word to the stages that what is left of a job is dropped, or that nothing is left. Nothing for a job whose id is no
/// text, as keys of the control topic are: what is left of it runs on when it is late.
fn order(job: &Bytes, news: Option<Stopped>) -> LogResult<Option<Change>> {
    let Ok(job) = std::str::from_utf8(job) else { return Ok(None) };
    Ok(Some(match news {
        Some(why) => Orders::stop_job(job, why)?,
        None => Orders::forget_job(job),
    }))
}

/// Adds a note to the sum of its job, if it is not in it; the job, if it has changed by that.
pub(super) fn add(open: &mut HashMap<Bytes, JobStatus>, record: &LogRecord) -> LogResult<Option<Bytes>> {
    let (Some(job), Some(note)) = (&record.key, undo_record::note(record)) else { return Ok(None) };
    let note = Note::read(note)?;
    if !open.contains_key(job) && note.says_nothing_new() {
        return Ok(None);
    }
    let status = open.entry(job.clone()).or_insert_with(|| JobStatus::begin(&note));
    if record.offset < status.notes {
        return Ok(None);
    }
    status.add(&note, record.offset);
    status.notes = record.offset + 1;
    Ok(Some(job.clone()))
}

/// A job and its status; no status where it was deleted.
pub(super) fn read(record: &LogRecord) -> LogResult<Option<(Bytes, Option<JobStatus>)>> {
    let Some(job) = &record.key else { return Ok(None) };
    let Some(value) = &record.value else { return Ok(Some((job.clone(), None))) };
    let status = versioned(
        value,
        super::job::VERSION,
        |status: &JobStatus| status.v,
        |e| {
            let message = format!("the status of a job, offset {}, cannot be read: {e}", record.offset);
            LogError::new(Class::Fatal, "job_status_unreadable", message)
        },
    )?;
    Ok(Some((job.clone(), Some(status))))
}

/// Whether every note that is there is added up, whoever does it, and whatever is to be undone was begun.
pub(crate) fn worked_off(log: &dyn Log, pipeline: &Pipeline) -> LogResult<bool> {
    let Some(jobs) = &pipeline.jobs else { return Ok(true) };
    let Some(partitions) = notes(log, jobs)? else { return Ok(false) };
    if !crate::idle::at_end(log, &jobs.group, &partitions)? {
        return Ok(false);
    }
    let positions = log.committed(&jobs.group, &partitions)?;
    // After the notes: what they come to is told in one transaction with their position.
    Ok(positions.iter().flatten().all(|position| position.metadata != MORE) && super::replies::worked_off(log, jobs)?)
}

/// Where the notes end, in each partition.
pub(crate) fn ends(log: &dyn Log, jobs: &Jobs) -> LogResult<Option<Vec<i64>>> {
    notes(log, jobs)?.map(|partitions| log.ends(&partitions, End::High)).transpose()
}

fn notes(log: &dyn Log, jobs: &Jobs) -> LogResult<Option<Vec<TopicPartition>>> {
    let Some(info) = &log.describe(&[&jobs.notes])?[0] else { return Ok(None) };
    Ok(Some((0..info.partitions).map(|p| TopicPartition::new(jobs.notes.as_str(), p)).collect()))
}
