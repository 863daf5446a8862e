//! The owner of partitions in the group of a stage where records wait: reads, lets [`Meeting`] decide, and commits all that comes
//! of it (`carry.rs`) in one transaction. What goes wrong throws the state away with the transaction: a new member reads it again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_engine::Counters;
use millstream_log::{
    Assignment, Batch, Budget, Class, Delivery, End, Event, LogError, LogResult, Member, MemberConfig, Outgoing,
    Position, Sent, TopicPartition,
};

use super::barrier::Barrier;
use super::entry;
use super::fetch::Fetcher;
use super::meet::{Act, At, EVENTS, Meeting, RECORDS, SENT_BACK, Waiter};
use super::write::Writing;
use crate::changes::moved_to;
use crate::clock::wall_ms;
use crate::jobs::Stopped;
use crate::plan::MeetPlan;
use crate::replica::ReplicaContext;
use crate::restore;
use crate::shared::InHand;

const BUDGET: Budget = Budget { records: 1_000, bytes: 4 << 20 };
/// Between two looks at the clock and at jobs that are stopped.
const LOOK: Duration = Duration::from_millis(100);
/// What is over, or stopped, in one transaction; and what is read again at once.
pub(super) const AT_ONCE: usize = 500;
/// Between two looks at what nothing waits for any more.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// The log refuses something: the next member leaves it out.
const REFUSED: &str = "wait_refused";

/// What the stage reads.
const INPUTS: [u16; 3] = [RECORDS, EVENTS, SENT_BACK];

/// What the log does not take, by partition and place: how often, and why.
type Refusals = HashMap<(i32, At), (u32, String)>;

/// Makes records and events meet until told to stop. An error says what the caller does next.
pub(crate) fn run(cx: &ReplicaContext) -> LogResult<()> {
    let Some(meets) = cx.plan.meets.clone() else { return Ok(()) };
    let mut refusals = Refusals::new();
    loop {
        // An order of its own for each member, so that what one leaves behind goes with it.
        let cx = ReplicaContext { stop: cx.stop.child(), ..cx.clone() };
        match Owner::join(&cx, &meets, &mut refusals)?.run() {
            Err(e) if e.code == REFUSED => cx.status.close(),
            ended => return ended,
        }
    }
}

/// One partition.
struct Part {
    meeting: Meeting,
    /// By input.
    next: [i64; 3],
    epochs: [u64; 3],
    /// Read and not committed.
    moved: bool,
}

pub(super) struct Owner<'a> {
    pub(super) cx: &'a ReplicaContext,
    pub(super) meets: &'a MeetPlan,
    pub(super) member: Box<dyn Member>,
    parts: BTreeMap<i32, Part>,
    pub(super) writing: Writing,
    pub(super) fetcher: Fetcher,
    pub(super) counters: Counters,
    pub(super) refusals: &'a mut Refusals,
    /// Of the open transaction.
    pub(super) outputs: u64,
    pub(super) tags: Vec<(i32, At)>,
    pub(super) unsent: Vec<Outgoing>,
    /// Jobs that go no further, by their hashes, and which change of them that is.
    stopped: (u64, HashMap<u128, Stopped>),
    /// Whether some of what waits may be of such a job.
    stops: bool,
    barrier: Option<Barrier>,
}

impl<'a> Owner<'a> {
    fn join(cx: &'a ReplicaContext, meets: &'a MeetPlan, refusals: &'a mut Refusals) -> LogResult<Self> {
        cx.gate.check()?;
        let plan = &cx.plan;
        let member = cx.log.join(MemberConfig {
            group: plan.group.clone(),
            lead: plan.inputs[0].topic.to_string(),
            side: vec![plan.inputs[1].topic.to_string(), plan.retry.to_string()],
            delivery: Delivery::ExactlyOnce,
            name: cx.name.clone(),
            instance: cx.instance.clone(),
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 8 << 20,
        })?;
        cx.stop.on_stop(member.waker());
        cx.status.set_joined();
        let writing = Writing::new(Arc::clone(plan))?;
        let (parts, counters, stopped) = (BTreeMap::new(), Counters::default(), (0, HashMap::new()));
        let (outputs, tags, stops, barrier, fetcher) = (0, Vec::new(), false, None, Fetcher::default());
        Ok(Self {
            cx,
            meets,
            member,
            parts,
            writing,
            fetcher,
            counters,
            refusals,
            outputs,
            tags,
            unsent: Vec::new(),
            stopped,
            stops,
            barrier,
        })
    }

    fn run(mut self) -> LogResult<()> {
        let ended = self.keep();
        // Fenced: there is nothing to hand over, and nobody to ask.
        if !matches!(&ended, Err(e) if e.class == Class::Fenced) {
            if ended.is_err() {
                let _ = self.member.abort();
            }
            self.member.leave(self.cx.stop.drain_timeout());
        }
        ended
    }

    fn keep(&mut self) -> LogResult<()> {
        let (mut batches, mut trim_at) = (Vec::new(), Instant::now() + TRIM_EVERY);
        let mut look_at = Instant::now();
        let mut more = false;
        while !self.cx.stop.draining() {
            self.cx.gate.check()?;
            let paused = self.cx.paused.load(Ordering::Relaxed);
            let budget = if paused { Budget { records: 0, bytes: 0 } } else { BUDGET };
            let wait = if more { Duration::ZERO } else { LOOK };
            let events = match self.member.poll(budget, wait, &mut batches) {
                Err(e) if e.class == Class::Retry => {
                    tracing::debug!(stage = %self.cx.plan.group, error = %e, "the log did not answer; trying again");
                    self.cx.stop.wait(LOOK);
                    continue;
                }
                polled => polled?,
            };
            events.into_iter().try_for_each(|event| self.on_event(event))?;
            let got = !batches.is_empty();
            self.take_in(std::mem::take(&mut batches))?;
            more = false;
            if !paused && (got || Instant::now() >= look_at) {
                look_at = Instant::now() + LOOK;
                more = self.look()?;
            }
            self.commit()?;
            if Instant::now() >= trim_at {
                trim_at = Instant::now() + TRIM_EVERY;
                self.trim()?;
            }
            let parked = self.parts.values().map(|part| part.meeting.records() as u64).sum();
            self.cx.status.set_now(InHand { parked, ..InHand::default() });
            self.cx.status.set_waiting(parked);
            self.cx.status.set_idle(!got && !more);
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> LogResult<()> {
        match event {
            Event::Assigned(assignments) => self.take(assignments),
            Event::Revoking(partitions) => {
                // All that was read is committed.
                self.parts.retain(|p, _| !partitions.iter().any(|gone| gone.partition == *p));
                self.member.release(&partitions)
            }
            Event::Lost(_) => {
                self.member.abort()?;
                let message = "partitions of records that wait went to another process";
                Err(LogError::new(Class::Fenced, "partitions_lost", message))
            }
            Event::BrokerAway(away, why) => {
                tracing::debug!(stage = %self.cx.plan.group, away, %why, "the broker");
                Ok(())
            }
        }
    }

    /// Begins with partitions: what waits there is as the owner before has committed it.
    fn take(&mut self, assignments: Vec<Assignment>) -> LogResult<()> {
        let mut positions = Vec::new();
        // What was to be over, or to stop, is looked for in these as well.
        (self.barrier, self.stops) = (None, true);
        for a in assignments {
            let Some(input) = self.input_of(&a.partition.topic) else { continue };
            let metadata = a.committed.as_ref().map_or("", |c| c.metadata.as_str());
            if let Some(stage) = moved_to(metadata) {
                let message = format!(
                    "stage `{stage}` has gone on in {} where this one stood: the pipeline was changed; run it as it was applied",
                    a.partition
                );
                return Err(LogError::new(Class::Config, "position_moved", message));
            }
            let offset = a.committed.as_ref().map_or(a.low, |c| c.offset.max(a.low));
            let partition = a.partition.partition;
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.parts.entry(partition) {
                let meeting = restored(self.cx, self.meets, partition)?;
                vacant.insert(Part { meeting, next: [0; 3], epochs: [0; 3], moved: false });
            }
            if let Some(part) = self.parts.get_mut(&partition) {
                part.next[usize::from(input)] = offset;
                part.epochs[usize::from(input)] = a.epoch;
            }
            positions.push(Position { partition: a.partition, offset, metadata: String::new() });
        }
        self.cx.status.set_assigned();
        self.member.start(&positions)
    }

    /// What was read, decided and written.
    fn take_in(&mut self, batches: Vec<Batch>) -> LogResult<()> {
        self.learn_stopped();
        for batch in batches {
            let Some(input) = self.input_of(&batch.partition.topic) else { continue };
            let partition = batch.partition.partition;
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            if part.epochs[usize::from(input)] != batch.epoch {
                continue;
            }
            let (mut acts, mut in_hand) = (Vec::new(), HashMap::new());
            let mut broken = Vec::new();
            for record in batch.records {
                let at = At { input, offset: record.offset };
                let arrived = self.writing.arrived(partition, at, &record)?;
                if input != SENT_BACK {
                    self.counters.read += 1;
                }
                if let Some(waiter) = arrived.waiter {
                    let why = waiter.record.and_then(|named| self.stopped.1.get(&named.job).copied());
                    let kept = waiter;
                    acts.extend(part.meeting.arrive(at, waiter, why).into_iter().map(|act| (act, kept)));
                    in_hand.insert(at, record);
                } else if arrived.broken {
                    broken.push((at, record));
                }
            }
            part.next[usize::from(input)] = batch.next;
            part.moved = true;
            for (at, record) in broken {
                let place = self.place(partition, at.input);
                let refused = self.refusals.get(&(partition, at)).map_or(0, |(times, _)| *times);
                let written = self.writing.broken(&place, at, &record, refused)?;
                self.counters.redriven += 1;
                self.send(partition, at, written)?;
            }
            self.carry_out(partition, acts, in_hand)?;
        }
        Ok(())
    }

    /// What is over, and what goes no further. Whether there is more.
    fn look(&mut self) -> LogResult<bool> {
        let mut more = false;
        self.learn_stopped();
        if std::mem::take(&mut self.stops) && !self.stopped.1.is_empty() {
            for partition in self.parts.keys().copied().collect::<Vec<_>>() {
                let Some(part) = self.parts.get_mut(&partition) else { continue };
                let acts = part.meeting.stop(&self.stopped.1);
                part.moved |= !acts.is_empty();
                let acts = acts.into_iter().map(|act| (act, Waiter::default())).collect();
                self.carry_out(partition, acts, HashMap::new())?;
            }
        }
        let timeout = i64::try_from(self.meets.of.timeout.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.parts.values().filter_map(|part| part.meeting.oldest()).min();
        let now = wall_ms();
        if oldest.is_none_or(|since| since.saturating_add(timeout) > now) {
            self.barrier = None;
            return Ok(more);
        }
        let Some(moment) = self.passed(now)? else { return Ok(more) };
        let limit = moment.saturating_sub(timeout);
        for partition in self.parts.keys().copied().collect::<Vec<_>>() {
            let Some(part) = self.parts.get_mut(&partition) else { continue };
            let since: Vec<(Act, Waiter)> = part.meeting.overdue(limit, AT_ONCE);
            more |= since.len() == AT_ONCE;
            part.moved |= !since.is_empty();
            self.carry_out(partition, since, HashMap::new())?;
        }
        if !more {
            self.barrier = None;
        }
        Ok(more)
    }

    /// The moment up to which all is read that was there, if it is. A log that does not answer is asked again.
    fn passed(&mut self, now: i64) -> LogResult<Option<i64>> {
        let of = |(p, part): (&i32, &Part)| INPUTS.map(|input| (self.place(*p, input), part.next[usize::from(input)]));
        let next: BTreeMap<TopicPartition, i64> = self.parts.iter().flat_map(of).collect();
        let (log, meets) = (&*self.cx.log, &self.meets.of);
        let mut ask = || -> LogResult<Option<i64>> {
            let barrier = match &mut self.barrier {
                Some(barrier) => barrier,
                none => none.insert(Barrier::new(log, meets, now)?),
            };
            Ok(barrier.is_passed(log, meets, &next)?.then_some(barrier.at))
        };
        match ask() {
            Err(e) if e.class == Class::Retry => {
                tracing::debug!(stage = %self.cx.plan.group, error = %e, "the log did not answer; trying again");
                Ok(None)
            }
            passed => passed,
        }
    }

    /// Takes in which jobs go no further.
    fn learn_stopped(&mut self) {
        let changes = self.cx.stopping.changes();
        if self.stopped.0 == changes {
            return;
        }
        let all = self.cx.stopping.all();
        self.stopped = (changes, all.into_iter().map(|(job, why)| (entry::hash(&job), why)).collect());
        self.stops = true;
    }

    fn commit(&mut self) -> LogResult<()> {
        let mut positions = Vec::new();
        for (partition, part) in self.parts.iter().filter(|(_, part)| part.moved) {
            for input in INPUTS {
                let offset = part.next[usize::from(input)];
                positions.push(Position { partition: self.place(*partition, input), offset, metadata: String::new() });
            }
        }
        if positions.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let committed = self.member.commit(&positions);
        self.settle(committed)?;
        self.parts.values_mut().for_each(|part| part.moved = false);
        for (partition, at) in self.tags.drain(..) {
            self.refusals.remove(&(partition, at));
        }
        self.cx.status.publish(&self.counters, std::mem::take(&mut self.outputs));
        Ok(())
    }

    /// What a send or a commit came to. What the log refuses is remembered for the next member.
    pub(super) fn settle(&mut self, sent: Result<(), Sent>) -> LogResult<()> {
        let refused = match sent {
            Ok(()) => return Ok(()),
            Err(Sent::Failed(e)) => return Err(e),
            Err(Sent::Refused(refused)) => refused,
        };
        for (tag, why) in refused {
            let Some(place) = usize::try_from(tag).ok().and_then(|tag| self.tags.get(tag)).copied() else {
                let message = format!("the log refused a record of the stage's own state: {why}");
                return Err(LogError::new(Class::Fatal, "state_refused", message));
            };
            tracing::warn!(stage = %self.cx.plan.group, partition = place.0, offset = place.1.offset, %why,
                "the log refuses what this record became; it goes to the dead letters");
            let entry = self.refusals.entry(place).or_insert((0, why.clone()));
            entry.0 += 1;
            if entry.0 > 3 {
                let message = format!("`{}` refuses even the smallest dead letter: {why}", self.cx.plan.dlq);
                return Err(LogError::new(Class::Config, "dead_letter_refused", message));
            }
        }
        Err(LogError::new(Class::Abort, REFUSED, "the log refuses a record; the others are written anew".to_owned()))
    }

    /// Deletes what was read and nothing waits for.
    fn trim(&mut self) -> LogResult<()> {
        let mut done = Vec::new();
        for (partition, part) in &self.parts {
            for input in INPUTS {
                let next = part.next[usize::from(input)];
                let needs = part.meeting.needs(input).map_or(next, |needs| needs.min(next));
                done.push((self.place(*partition, input), needs));
            }
        }
        match self.cx.log.delete_before(&done) {
            Err(e) if e.class != Class::Retry => Err(e),
            _ => Ok(()),
        }
    }

    fn input_of(&self, topic: &str) -> Option<u16> {
        INPUTS.into_iter().find(|input| **self.topic(*input) == *topic)
    }

    fn topic(&self, input: u16) -> &Arc<str> {
        let plan = &self.cx.plan;
        if input == SENT_BACK { &plan.retry } else { &plan.inputs[usize::from(input)].topic }
    }

    pub(super) fn place(&self, partition: i32, input: u16) -> TopicPartition {
        TopicPartition::new(Arc::clone(self.topic(input)), partition)
    }
}

/// What waits in a partition.
fn restored(cx: &ReplicaContext, meets: &MeetPlan, partition: i32) -> LogResult<Meeting> {
    let place = TopicPartition::new(Arc::clone(&meets.state), partition);
    let one = std::slice::from_ref(&place);
    // The high watermark: everything the owner before committed lies below it, and it is fenced.
    let bounds = cx.log.ends(one, End::Low)?[0]..cx.log.ends(one, End::High)?[0];
    let mut all: HashMap<At, Waiter> = HashMap::new();
    restore::read(&*cx.log, &place, bounds, |record| {
        match entry::read(&record)? {
            (at, Some(waiter)) => drop(all.insert(at, waiter)),
            (at, None) => drop(all.remove(&at)),
        }
        Ok(())
    })?;
    tracing::debug!(stage = %cx.plan.group, partition, waiting = all.len(), "what waits is restored");
    Ok(Meeting::restore(all))
}
