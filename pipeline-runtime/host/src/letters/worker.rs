//! Does something with letters, each once: what becomes of a letter and the note that it is done go out in one
//! transaction.
//!
//! Who works is a member of the group `<pipeline>.<stage>.letters` over the dead-letter topic. The owner of partition 0
//! works on all partitions, everybody else waits for it; each transaction commits partition 0's unchanged position, so
//! that the group fences an owner that was overtaken. Whoever becomes the owner ends the open transaction of the one
//! before, then reads what is done. A crash at any moment therefore leaves a letter either open, or done with its copy.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use millstream_log::{
    Budget, Class, Delivery, End, Event, Isolation, Log, LogError, LogRecord, LogResult, Member, MemberConfig,
    Outgoing, Position, Reader, Sent, TopicPartition, settled,
};

use super::done::Done;
use super::letter::Letter;
use super::marks;
use super::place::Place;
use super::reading::{PATIENCE, patiently};
use crate::ids::root;
use crate::jobs::{JobsPlan, Note, What};
use crate::retry_topic::{self, Reason};
use crate::shared::Stop;

/// What to do with a letter.
pub enum Verdict {
    /// It is not meant.
    Pass,
    /// It is meant and stays, for this reason.
    Leave(&'static str),
    /// It is done, and this is written for it.
    Finish(Option<Outgoing>),
    /// It stays as it is, and this is written for it.
    Send(Outgoing),
}

/// How fast.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Letters a second at most; `None` for as fast as possible.
    pub rate: Option<f64>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Letters that are done now, and for sure.
    pub finished: u64,
    /// Letters that stay, by reason.
    pub left: BTreeMap<&'static str, u64>,
    /// Letters that stay because the log refuses what becomes of them.
    pub refused: Vec<Refused>,
    /// Whether it was told to stop before the end.
    pub stopped: bool,
}

/// A letter whose copy the log refuses.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Where it lies.
    pub partition: i32,
    /// Where it lies.
    pub offset: i64,
    /// What the log says.
    pub why: String,
}

/// Letters of one transaction, at most.
const TRANSACTION: usize = 500;
const TRANSACTION_BYTES: usize = 1 << 20;
/// Between two tries after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// After this long without a turn, people are told why.
const PATIENT: Duration = Duration::from_secs(2);

/// Gives every letter that is there now and open to `decide`, those of a partition in the order of their offsets, and does
/// what it says. After a fault `decide` may be asked again about a letter whose transaction did not come to pass.
///
/// # Errors
/// The log failed in a way that trying again does not mend; what was done before stays done.
pub fn work(
    log: &dyn Log,
    place: &Place,
    pace: Pace,
    stop: &Stop,
    decide: &mut dyn FnMut(&Letter) -> LogResult<Verdict>,
) -> LogResult<Report> {
    let partitions = patiently(stop, || place.partitions(log))?;
    if partitions.is_empty() {
        return Ok(Report::default());
    }
    // Fixed now: letters that come meanwhile, edited ones too, are for the next time.
    let next = patiently(stop, || log.ends(&partitions, End::Low))?;
    let ends = patiently(stop, || settled(log, &partitions))?;
    if next.iter().zip(&ends).all(|(next, end)| next >= end) {
        return Ok(Report::default());
    }
    patiently(stop, || place.make_control(log))?;
    let jobs = patiently(stop, || JobsPlan::of_letters(log, place.notes.as_deref()))?;
    let mut worker = Worker {
        log,
        place,
        stop,
        decide,
        clear: vec![0; partitions.len()],
        partitions,
        jobs,
        next,
        ends,
        marks: BTreeMap::new(),
        source: None,
        pacer: Pacer { rate: pace.rate, began: Instant::now(), sent: 0 },
        unsure: HashSet::new(),
        refused: HashSet::new(),
        progress: Instant::now(),
        report: Report::default(),
    };
    while !worker.finished() {
        match worker.join() {
            Ok(()) => {}
            Err(e) if matches!(e.class, Class::Retry | Class::Abort | Class::Fenced) && worker.may_try_again() => {
                tracing::debug!(error = %e, "joining again");
                stop.wait(PAUSE);
            }
            Err(e) => return Err(e),
        }
    }
    worker.report.stopped = !worker.at_the_end();
    Ok(worker.report)
}

struct Worker<'a> {
    log: &'a dyn Log,
    place: &'a Place,
    stop: &'a Stop,
    decide: &'a mut dyn FnMut(&Letter) -> LogResult<Verdict>,
    partitions: Vec<TopicPartition>,
    /// Where it is noted that a job goes on.
    jobs: Option<JobsPlan>,
    /// By partition: the first offset that is not settled.
    next: Vec<i64>,
    ends: Vec<i64>,
    /// By partition: after the last letter that was looked at. From there to the next one lie only the ends of
    /// transactions and records that went away; they are done with it, so that letters that follow each other make one
    /// range.
    clear: Vec<i64>,
    marks: BTreeMap<i32, Done>,
    source: Option<Source>,
    pacer: Pacer,
    /// Letters of a transaction of which nobody knows whether it was committed.
    unsure: HashSet<(usize, i64)>,
    refused: HashSet<(usize, i64)>,
    /// When something last went well.
    progress: Instant,
    report: Report,
}

/// What one transaction will do.
#[derive(Default)]
struct Draft {
    copies: Vec<Outgoing>,
    /// What it says of jobs; with the tags of the copies.
    notes: Vec<Outgoing>,
    /// Partition and offset of the letters, in the order of the tags of their copies.
    letters: Vec<(usize, i64)>,
    /// What changes, by partition.
    parts: BTreeMap<usize, Part>,
    left: BTreeMap<&'static str, u64>,
    /// Letters that turn out to have been done by a transaction with an unknown end.
    known: Vec<(usize, i64)>,
}

/// What a transaction changes of one partition.
struct Part {
    next: i64,
    clear: i64,
    done: Done,
}

impl Worker<'_> {
    fn at_the_end(&self) -> bool {
        self.next.iter().zip(&self.ends).all(|(next, end)| next >= end)
    }

    fn finished(&self) -> bool {
        self.stop.draining() || self.at_the_end()
    }

    fn may_try_again(&self) -> bool {
        self.progress.elapsed() < PATIENCE
    }

    /// One life as a member of the group.
    fn join(&mut self) -> LogResult<()> {
        let lead = self.partitions[0].clone();
        let mut member = self.log.join(MemberConfig {
            group: self.place.group.clone(),
            lead: self.place.topic.to_string(),
            side: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            name: format!("{:032x}", fastrand::u128(..)),
            instance: None,
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 64 << 10,
        })?;
        self.stop.on_stop(member.waker());
        self.source = None;
        let ended = self.turns(&mut *member, &lead);
        // Fenced: there is nothing to hand over, and nobody to ask.
        if !matches!(&ended, Err(e) if e.class == Class::Fenced) {
            member.leave(Duration::from_secs(5));
        }
        ended
    }

    fn turns(&mut self, member: &mut dyn Member, lead: &TopicPartition) -> LogResult<()> {
        let (mut turn, waiting, mut said) = (None, Instant::now(), false);
        while !self.finished() {
            let wait = if turn.is_some() { self.pacer.wait().min(PAUSE) } else { PAUSE };
            for event in member.poll(Budget { records: 0, bytes: 0 }, wait, &mut Vec::new())? {
                match event {
                    Event::Assigned(all) => {
                        for a in all.into_iter().filter(|a| a.partition == *lead) {
                            let at = Position { partition: a.partition, offset: a.high, metadata: String::new() };
                            member.start(std::slice::from_ref(&at))?;
                            // Only now is the owner before at its end for sure.
                            self.begin_again()?;
                            turn = Some(at);
                        }
                    }
                    Event::Revoking(all) => {
                        if all.contains(lead) {
                            turn = None;
                        }
                        member.release(&all)?;
                    }
                    Event::Lost(all) => {
                        if all.contains(lead) {
                            turn = None;
                            member.abort()?;
                        }
                    }
                    Event::BrokerAway(_, why) => tracing::warn!("{why}"),
                }
            }
            if turn.is_none() {
                self.progress = Instant::now();
            }
            match &turn {
                Some(at) => self.transaction(member, at)?,
                None if !said && waiting.elapsed() > PATIENT => {
                    said = true;
                    let topic = &self.place.topic;
                    tracing::warn!("waiting until no other command, or none that was killed, holds `{topic}`");
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Reads what is done, and goes back to the first letter that is not settled.
    fn begin_again(&mut self) -> LogResult<()> {
        self.source = None;
        self.marks = marks::read(self.log, self.place, marks::Reader::Owner)?;
        Ok(())
    }

    /// One transaction of some letters.
    fn transaction(&mut self, member: &mut dyn Member, at: &Position) -> LogResult<()> {
        let allowed = self.pacer.allowed();
        if allowed == 0 {
            return Ok(());
        }
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(Source::open(self.log, &self.partitions, &self.next, &self.ends)?),
        };
        source.fill(&self.ends)?;
        let draft = self.draft(allowed)?;
        let mut records = draft.copies.clone();
        records.extend(draft.notes.iter().cloned());
        let mut marks = Vec::new();
        for (p, part) in draft.parts.iter().filter(|(_, part)| !part.done.ranges().is_empty()) {
            let mut mark = self.marks.get(&(*p as i32)).cloned().unwrap_or_default();
            for (from, to) in part.done.ranges() {
                mark.add(*from, *to);
            }
            records.push(marks::write(self.place, *p as i32, &mark)?);
            marks.push((*p as i32, mark));
        }
        if records.is_empty() {
            self.settle(draft, marks);
            return Ok(());
        }
        match member.send(&mut records).and_then(|()| member.commit(std::slice::from_ref(at))) {
            Ok(()) => {
                self.settle(draft, marks);
                Ok(())
            }
            Err(Sent::Refused(tags)) => {
                member.abort()?;
                self.refuse(&draft, tags)?;
                member.start(std::slice::from_ref(at))?;
                self.begin_again()
            }
            Err(Sent::Failed(e)) if matches!(e.class, Class::Abort | Class::Retry) && self.may_try_again() => {
                tracing::debug!(error = %e, "transaction aborted; trying again");
                member.abort()?;
                self.stop.wait(PAUSE);
                member.start(std::slice::from_ref(at))?;
                self.begin_again()
            }
            Err(Sent::Failed(e)) => {
                self.unsure.extend(draft.letters);
                Err(e)
            }
        }
    }

    /// Takes letters until the transaction is full.
    fn draft(&mut self, allowed: usize) -> LogResult<Draft> {
        let mut draft = Draft::default();
        let mut bytes = 0;
        let Some(source) = &mut self.source else { return Ok(draft) };
        for p in 0..self.partitions.len() {
            let mut part = Part { next: self.next[p], clear: self.clear[p], done: Done::default() };
            while draft.letters.len() < allowed && bytes < TRANSACTION_BYTES && !self.stop.draining() {
                let Some((record, until)) = source.records[p].pop_front() else {
                    part.next = part.next.max(source.read_to[p]);
                    break;
                };
                let (offset, size) = (record.offset, record.size());
                part.next = until;
                let from = std::mem::replace(&mut part.clear, offset + 1);
                if self.marks.get(&(p as i32)).is_some_and(|d| d.contains(offset)) {
                    if self.unsure.contains(&(p, offset)) {
                        draft.known.push((p, offset));
                    }
                    continue;
                }
                if self.refused.contains(&(p, offset)) {
                    continue;
                }
                let letter = Letter::new(self.place.topic.clone(), p as i32, record);
                match (self.decide)(&letter)? {
                    Verdict::Pass => {}
                    Verdict::Leave(why) => *draft.left.entry(why).or_default() += 1,
                    Verdict::Send(copy) => {
                        draft.copies.push(Outgoing { tag: draft.letters.len() as u64, ..copy });
                        draft.letters.push((p, offset));
                        bytes += size;
                    }
                    Verdict::Finish(copy) => {
                        if let Some(copy) = copy {
                            let tag = draft.letters.len() as u64;
                            let note = self.jobs.as_ref().and_then(|jobs| sent_back(jobs, self.place, &letter, &copy));
                            draft.notes.extend(note.map(|note| Outgoing { tag, ..note }));
                            draft.copies.push(Outgoing { tag, ..copy });
                            bytes += size;
                        }
                        draft.letters.push((p, offset));
                        part.done.add(from, until);
                    }
                }
            }
            draft.parts.insert(p, part);
        }
        Ok(draft)
    }

    /// The transaction came to pass, or there was nothing to write.
    fn settle(&mut self, draft: Draft, marks: Vec<(i32, Done)>) {
        for (p, part) in draft.parts {
            if part.next > self.next[p] {
                self.progress = Instant::now();
            }
            (self.next[p], self.clear[p]) = (part.next, part.clear);
        }
        for (why, count) in draft.left {
            *self.report.left.entry(why).or_default() += count;
        }
        for place in draft.known {
            self.unsure.remove(&place);
            self.report.finished += 1;
        }
        for place in &draft.letters {
            self.unsure.remove(place);
        }
        self.report.finished += draft.letters.len() as u64;
        self.pacer.sent += draft.letters.len() as u64;
        self.marks.extend(marks);
    }

    fn refuse(&mut self, draft: &Draft, tags: Vec<(u64, String)>) -> LogResult<()> {
        for (tag, why) in tags {
            let Some((p, offset)) = usize::try_from(tag).ok().and_then(|t| draft.letters.get(t)).copied() else {
                let message = format!("`{}` refuses the note of what is done: {why}", self.place.control);
                return Err(LogError::new(Class::Config, "control_refused", message));
            };
            if self.refused.insert((p, offset)) {
                self.report.refused.push(Refused { partition: p as i32, offset, why });
            }
        }
        Ok(())
    }
}

/// That the job of a letter goes on, where the letter goes back to its stage.
fn sent_back(jobs: &JobsPlan, place: &Place, letter: &Letter, copy: &Outgoing) -> Option<Outgoing> {
    let back = place.retry.as_ref().is_some_and(|retry| *retry == copy.to.topic);
    let (note, _) = retry_topic::Note::read(&copy.headers).ok().filter(|_| back)?;
    let is_record = matches!(note.reason, Reason::Redriven | Reason::Forced | Reason::First | Reason::ForcedFirst);
    let job = root(letter.id.as_deref().filter(|_| is_record)?);
    Some(Note::new(&place.stage, What::Redriven, letter.timestamp()).write(jobs, job))
}

/// Letters read ahead, by partition. Each with where the next one begins, as far as that is known.
struct Source {
    reader: Box<dyn Reader>,
    records: Vec<VecDeque<(LogRecord, i64)>>,
    read_to: Vec<i64>,
}

impl Source {
    fn open(log: &dyn Log, partitions: &[TopicPartition], next: &[i64], ends: &[i64]) -> LogResult<Self> {
        let mut reader = log.reader(Isolation::Committed)?;
        let open = partitions.iter().zip(next.iter().zip(ends)).filter(|(_, (next, end))| next < end);
        reader.assign(&open.map(|(at, (next, _))| (at.clone(), *next)).collect::<Vec<_>>())?;
        Ok(Self { reader, records: vec![VecDeque::new(); partitions.len()], read_to: next.to_vec() })
    }

    /// Reads on, if nothing is left of what was read before.
    fn fill(&mut self, ends: &[i64]) -> LogResult<()> {
        if self.records.iter().any(|r| !r.is_empty()) {
            return Ok(());
        }
        for batch in self.reader.poll(Budget { records: TRANSACTION, bytes: 4 << 20 }, PAUSE)? {
            let p = batch.partition.partition as usize;
            let mut records = batch.records.into_iter().peekable();
            while let Some(record) = records.next() {
                let until = records.peek().map_or(batch.next, |following| following.offset);
                // After an interruption a reader may give again what it gave before.
                if record.offset >= self.read_to[p] && record.offset < ends[p] {
                    self.records[p].push_back((record, until.min(ends[p])));
                }
            }
            self.read_to[p] = self.read_to[p].max(batch.next);
        }
        Ok(())
    }
}

struct Pacer {
    rate: Option<f64>,
    began: Instant,
    sent: u64,
}

impl Pacer {
    /// How many letters may be done now.
    fn allowed(&self) -> usize {
        let Some(rate) = self.rate else { return TRANSACTION };
        // The first at once, then one after the other.
        let due = (self.began.elapsed().as_secs_f64() * rate) as u64 + 1;
        usize::try_from(due.saturating_sub(self.sent)).unwrap_or(TRANSACTION).min(TRANSACTION)
    }

    /// How long until one more may.
    fn wait(&self) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let due = Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX);
        due.saturating_sub(self.began.elapsed())
    }
}
