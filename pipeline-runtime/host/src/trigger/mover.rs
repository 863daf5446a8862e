//! Starts the jobs that waited and are due: the record, the note that it is done and, where jobs are tracked, that it is
//! accepted, in one transaction.
//!
//! Every process that runs the pipeline is a member of the group `<pipeline>.control.later`; the owner of its only partition works,
//! and each transaction commits that partition's unchanged position, so that the group fences an owner that was overtaken.
//! Whoever becomes the owner ends the open transaction of the one before, then reads what waits.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use millstream_log::{Budget, Delivery, End, Event, Log, LogResult, Member, MemberConfig, Outgoing, Position, Sent};
use millstream_spec::model::Pipeline;

use super::cancel::{CANCEL, Request};
use super::later::{JOB, Kept};
use super::{topic, unwritten};
use crate::clock::wall_ms;
use crate::control::{Control, Follower, decode, encode};
use crate::jobs::{JobsPlan, Note, What};
use crate::shared::Stop;

/// Between two looks at the clock and at what is new.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries to start a job whose topic is not there.
const AGAIN: Duration = Duration::from_secs(5);
/// Jobs of one transaction, at most.
const TRANSACTION: usize = 200;
/// An answer that nobody took back is cleared away after this long, ms.
const FORGOTTEN_MS: i64 = 3_600_000;

/// Moves due jobs until told to stop. `name` is unique in the cluster.
pub(crate) fn run(log: &dyn Log, pipeline: &Pipeline, name: &str, stop: &Stop) -> LogResult<()> {
    let control = Control::of_topic(log, topic(&pipeline.name));
    control.ensure()?;
    let lead = control.partition();
    let mut member = log.join(MemberConfig {
        group: topic(&pipeline.name),
        lead: topic(&pipeline.name),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: name.to_owned(),
        instance: None,
        session_timeout: Duration::from_secs(10),
        prefetch_bytes: 64 << 10,
    })?;
    stop.on_stop(member.waker());
    let mut owned: Option<Owner<'_>> = None;
    while !stop.draining() {
        for event in member.poll(Budget { records: 0, bytes: 0 }, LOOK, &mut Vec::new())? {
            match event {
                Event::Assigned(assignments) => {
                    for a in assignments.into_iter().filter(|a| a.partition == lead) {
                        let anchor = Position { partition: lead.clone(), offset: a.high, metadata: String::new() };
                        member.start(std::slice::from_ref(&anchor))?;
                        let mut follower = control.follow()?;
                        control.catch_up(&mut follower, End::Stable)?;
                        owned = Some(Owner::new(log, pipeline, &control, follower, anchor));
                    }
                }
                Event::Revoking(partitions) => {
                    owned = owned.filter(|_| !partitions.contains(&lead));
                    member.release(&partitions)?;
                }
                Event::Lost(partitions) => {
                    if partitions.contains(&lead) {
                        owned = None;
                        member.abort()?;
                    }
                }
                Event::BrokerAway(..) => {}
            }
        }
        if let Some(owner) = &mut owned {
            owner.work(&mut *member)?;
        }
    }
    member.leave(stop.drain_timeout());
    Ok(())
}

/// What waits, while this process owns it.
struct Owner<'a> {
    log: &'a dyn Log,
    pipeline: &'a Pipeline,
    control: &'a Control<'a>,
    follower: Follower,
    anchor: Position,
    /// When each job is due, and where its entry stands.
    known: HashMap<String, (i64, i64)>,
    /// By when they are due.
    queue: BTreeSet<(i64, String)>,
    /// Entries that are dealt with, as far as they were read: what this owner wrote itself comes back later.
    dealt: HashMap<String, i64>,
    /// Due, and the log does not take them.
    refused: HashSet<String>,
    /// Nobody has said that they wait.
    untold: Vec<String>,
    fresh: bool,
    not_before: Option<Instant>,
}

impl<'a> Owner<'a> {
    fn new(
        log: &'a dyn Log,
        pipeline: &'a Pipeline,
        control: &'a Control<'a>,
        follower: Follower,
        anchor: Position,
    ) -> Self {
        let (known, queue, dealt) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        let refused = HashSet::new();
        let (untold, fresh, not_before) = (Vec::new(), true, None);
        Self { log, pipeline, control, follower, anchor, known, queue, dealt, refused, untold, fresh, not_before }
    }

    /// One look, and one transaction if there is something to do.
    fn work(&mut self, member: &mut dyn Member) -> LogResult<()> {
        while self.follower.poll(Duration::ZERO)? {
            self.fresh = true;
        }
        if std::mem::take(&mut self.fresh) {
            self.learn()?;
        }
        let mut out = Vec::new();
        let mut dealt = self.answer(&mut out)?;
        self.tell(&mut out)?;
        if self.not_before.is_none_or(|at| Instant::now() >= at) {
            self.not_before = None;
            self.start_due(&mut out, &mut dealt)?;
        }
        if out.is_empty() {
            return Ok(());
        }
        match member.send(&mut out).and_then(|()| member.commit(std::slice::from_ref(&self.anchor))) {
            Ok(()) => {}
            Err(Sent::Refused(records)) if records.iter().all(|(tag, _)| *tag > 0) => {
                return self.leave_out(&records, &dealt, member);
            }
            Err(sent) => return Err(unwritten(sent)),
        }
        for key in dealt {
            let offset = self.follower.entries().get(&key).map_or(0, |entry| entry.offset);
            if let Some((due, _)) = self.known.remove(&key) {
                self.queue.remove(&(due, key.clone()));
            }
            self.refused.remove(&key);
            self.dealt.insert(key, offset);
        }
        Ok(())
    }

    /// Jobs that the source's topic does not take wait on, where people see them, and do not hold up the others.
    fn leave_out(&mut self, refused: &[(u64, String)], dealt: &[String], member: &mut dyn Member) -> LogResult<()> {
        member.abort()?;
        member.start(std::slice::from_ref(&self.anchor))?;
        for (tag, why) in refused {
            let Some(key) = usize::try_from(*tag).ok().and_then(|tag| dealt.get(tag - 1)) else { continue };
            tracing::error!(
                pipeline = %self.pipeline.name, job = %key.trim_start_matches(JOB), %why,
                "a job that is due cannot be started: the log refuses its record; `trigger --cancel` takes it back"
            );
            self.refused.insert(key.clone());
        }
        // What was said of others went with the transaction.
        self.untold = self.known.keys().cloned().collect();
        Ok(())
    }

    /// Takes in what the topic has.
    fn learn(&mut self) -> LogResult<()> {
        let entries = self.follower.entries();
        self.dealt.retain(|key, offset| entries.get(key).is_some_and(|entry| entry.offset <= *offset));
        let gone: Vec<String> = self.known.keys().filter(|key| !entries.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some((due, _)) = self.known.remove(&key) {
                self.queue.remove(&(due, key));
            }
        }
        for (key, entry) in entries.iter().filter(|(key, _)| key.starts_with(JOB)) {
            let before = self.known.get(key).copied();
            if self.dealt.contains_key(key) || before.is_some_and(|(_, offset)| offset == entry.offset) {
                continue;
            }
            if let Some((due, _)) = before {
                self.queue.remove(&(due, key.clone()));
            }
            let due = decode::<Kept>(key, &entry.value)?.due;
            self.known.insert(key.clone(), (due, entry.offset));
            self.untold.push(key.clone());
            self.queue.insert((due, key.clone()));
        }
        Ok(())
    }

    /// Says of jobs that were not seen before that they wait, where the pipeline tracks its jobs. Whoever is the owner says so once
    /// more: it is true for as long as they wait.
    fn tell(&mut self, out: &mut Vec<Outgoing>) -> LogResult<()> {
        let fresh = std::mem::take(&mut self.untold);
        let Some(plan) = self.notes()?.filter(|_| !fresh.is_empty()) else { return Ok(()) };
        for key in fresh {
            let (Some((due, _)), Some(id)) = (self.known.get(&key), key.strip_prefix(JOB)) else { continue };
            out.push(Note::new("", What::Scheduled { due: *due }, *due).write(&plan, id.as_bytes()));
        }
        Ok(())
    }

    fn notes(&self) -> LogResult<Option<JobsPlan>> {
        JobsPlan::of_letters(self.log, self.pipeline.jobs.as_ref().map(|jobs| jobs.notes.as_str()))
    }

    /// Takes back what somebody wants no more; the keys that are dealt with then.
    fn answer(&self, out: &mut Vec<Outgoing>) -> LogResult<Vec<String>> {
        let mut dealt = Vec::new();
        for (key, entry) in self.follower.entries() {
            let Some(id) = key.strip_prefix(CANCEL).filter(|_| !self.dealt.contains_key(key)) else { continue };
            let request = decode::<Request>(key, &entry.value)?;
            if request.taken_back.is_some() {
                if wall_ms() - request.at > FORGOTTEN_MS {
                    out.push(self.control.record((key.clone(), None)));
                    dealt.push(key.clone());
                }
                continue;
            }
            let job = format!("{JOB}{id}");
            let waits = self.known.contains_key(&job);
            if waits {
                out.push(self.control.record((job.clone(), None)));
                if let Some(plan) = self.notes()? {
                    out.push(Note::new("", What::TakenBack, wall_ms()).write(&plan, id.as_bytes()));
                }
                dealt.push(job);
            }
            let answer = Request { taken_back: Some(waits), ..request };
            out.push(self.control.record((key.clone(), Some(encode(&answer)?))));
            dealt.push(key.clone());
        }
        Ok(dealt)
    }

    fn start_due(&mut self, out: &mut Vec<Outgoing>, dealt: &mut Vec<String>) -> LogResult<()> {
        let now = wall_ms();
        let due = self.queue.iter().take_while(|(due, _)| *due <= now);
        let due = due.filter(|(_, key)| !dealt.contains(key) && !self.refused.contains(key));
        let due: Vec<(i64, String)> = due.take(TRANSACTION).cloned().collect();
        for (due, key) in due {
            let (Some(entry), Some(id)) = (self.follower.entries().get(&key), key.strip_prefix(JOB)) else { continue };
            let job = decode::<Kept>(&key, &entry.value)?.job(id)?;
            match job.record(self.log, due) {
                // Which of those that are dealt with it is, from 1.
                Ok(record) => out.push(Outgoing { tag: dealt.len() as u64 + 1, ..record }),
                Err(e) if e.code == "unknown_topic" => {
                    tracing::warn!(pipeline = %self.pipeline.name, job = %id, error = %e, "a job that is due waits on");
                    self.not_before = Some(Instant::now() + AGAIN);
                    continue;
                }
                Err(e) => return Err(e),
            }
            out.extend(job.note(self.log, self.pipeline, due)?);
            out.push(self.control.record((key.clone(), None)));
            dealt.push(key);
        }
        Ok(())
    }
}
