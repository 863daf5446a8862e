//! Tells in topics what became of jobs: each event becomes one record of the topic that the job's first record named, in one
//! transaction with the position of the events.
//!
//! The group `<pipeline>.jobs.replies` reads `<pipeline>.jobs.events`. It stands apart from the count of jobs, so that a topic
//! that is gone, or that nobody may write, holds up no job.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_filter_api::HeadersBuilder;
use millstream_log::{
    Budget, Class, Delivery, Event, Log, LogError, LogRecord, LogResult, Member, MemberConfig, Outgoing, Position,
    Sent, TopicPartition,
};
use millstream_spec::model::{JobReply, Jobs, Pipeline};

use super::event::JobEvent;
use super::payload::Payload;
use crate::clock::wall_ms;
use crate::ids::{ID_HEADER, hash128};
use crate::outputs::partition_for;
use crate::shared::Stop;

/// Sends replies.
pub(crate) struct Replies<'a> {
    log: Arc<dyn Log>,
    pipeline: &'a str,
    jobs: &'a Jobs,
    reply: &'a JobReply,
    /// Unique in the cluster.
    name: String,
    /// Topics whose replies the log refused as a whole, until then: nobody may write there, mostly.
    closed: RefCell<HashMap<Arc<str>, Instant>>,
    /// Whether one is sent at a time, to find out whose fault it is.
    careful: Cell<bool>,
    /// Events whose replies the log does not take, too large mostly, by partition and offset.
    refused: RefCell<HashSet<(i32, i64)>>,
}

/// One pass, at most: a transaction holds what it answers.
const BUDGET: Budget = Budget { records: 500, bytes: 2 << 20 };
const IDLE_POLL: Duration = Duration::from_millis(200);
/// A topic is looked for again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// One that nobody may write is tried again after this long.
const CLOSED: Duration = Duration::from_secs(60);

/// Where a topic stands, as it was seen then.
struct Seen {
    partitions: Option<i32>,
    at: Instant,
}

impl<'a> Replies<'a> {
    /// For a pipeline that has them. `name` is unique in the cluster.
    pub fn new(log: Arc<dyn Log>, pipeline: &'a Pipeline, name: String) -> Option<Self> {
        let jobs = pipeline.jobs.as_ref()?;
        let (closed, refused) = (RefCell::default(), RefCell::default());
        let (pipeline, reply) = (pipeline.name.as_str(), jobs.reply.as_ref()?);
        Some(Self { log, pipeline, jobs, reply, name, closed, careful: Cell::new(false), refused })
    }

    /// Sends replies until told to stop. An error says that a new member begins again, or that a person must act.
    pub fn run(&self, stop: &Stop) -> LogResult<()> {
        let Some(events) = &self.jobs.events else { return Ok(()) };
        let mut member = self.log.join(MemberConfig {
            group: group(self.jobs),
            lead: events.clone(),
            side: Vec::new(),
            delivery: Delivery::ExactlyOnce,
            name: self.name.clone(),
            instance: None,
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 1 << 20,
        })?;
        stop.on_stop(member.waker());
        let ended = self.tell(&mut *member, stop);
        if !matches!(&ended, Err(e) if e.class == Class::Fenced) {
            member.leave(stop.drain_timeout());
        }
        ended
    }

    fn tell(&self, member: &mut dyn Member, stop: &Stop) -> LogResult<()> {
        let mut topics = HashMap::new();
        let mut batches = Vec::new();
        while !stop.draining() {
            for event in member.poll(BUDGET, IDLE_POLL, &mut batches)? {
                match event {
                    Event::Assigned(assignments) => {
                        let from = |a: millstream_log::Assignment| {
                            let offset = a.committed.as_ref().map_or(a.low, |c| c.offset.max(a.low));
                            Position { partition: a.partition, offset, metadata: String::new() }
                        };
                        let positions: Vec<Position> = assignments.into_iter().map(from).collect();
                        member.start(&positions)?;
                    }
                    Event::Revoking(partitions) => member.release(&partitions)?,
                    Event::Lost(_) => {
                        member.abort()?;
                        let message = "partitions of the events of jobs went to another process";
                        return Err(LogError::new(Class::Fenced, "jobs_lost", message));
                    }
                    Event::BrokerAway(away, why) => {
                        tracing::debug!(pipeline = %self.pipeline, away, %why, "the broker of the events of jobs");
                    }
                }
            }
            for batch in batches.drain(..) {
                let at_once = if self.careful.get() { 1 } else { usize::MAX };
                for records in batch.records.chunks(at_once.min(batch.records.len().max(1))) {
                    self.answer(member, &batch.partition, records, &mut topics)?;
                }
                self.careful.set(false);
            }
        }
        Ok(())
    }

    /// Answers some events in one transaction. What the log refuses for itself is left out by the next member.
    fn answer(
        &self,
        member: &mut dyn Member,
        partition: &TopicPartition,
        records: &[LogRecord],
        topics: &mut HashMap<Arc<str>, Seen>,
    ) -> LogResult<()> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut replies = Vec::new();
        for (n, record) in (0..).zip(records) {
            if !self.refused.borrow().contains(&(partition.partition, record.offset)) {
                replies.extend(self.reply(record, topics)?.map(|reply| Outgoing { tag: n, ..reply }));
            }
        }
        let to: Vec<Arc<str>> = replies.iter().map(|reply| Arc::clone(&reply.to.topic)).collect();
        let position = Position { partition: partition.clone(), offset: last.offset + 1, metadata: String::new() };
        match member.send(&mut replies).and_then(|()| member.commit(std::slice::from_ref(&position))) {
            Ok(()) => {
                self.refused.borrow_mut().retain(|(p, offset)| *p != partition.partition || *offset > last.offset);
                Ok(())
            }
            Err(Sent::Refused(refused)) => {
                for (tag, why) in &refused {
                    let Some(record) = usize::try_from(*tag).ok().and_then(|n| records.get(n)) else { continue };
                    self.refuse(record, why);
                    self.refused.borrow_mut().insert((partition.partition, record.offset));
                }
                Err(LogError::new(
                    Class::Fenced,
                    "job_reply_refused",
                    "the log refuses a reply; the others are sent anew",
                ))
            }
            Err(Sent::Failed(e)) if matches!(e.class, Class::Denied | Class::Config) && !to.is_empty() => {
                // Whoever named that topic must not keep the others waiting.
                self.careful.set(true);
                if let ([topic], [record]) = (to.as_slice(), records) {
                    self.refuse(record, &e.to_string());
                    self.closed.borrow_mut().insert(Arc::clone(topic), Instant::now() + CLOSED);
                }
                Err(LogError { class: Class::Fenced, ..e })
            }
            Err(Sent::Failed(e)) => Err(e),
        }
    }

    fn refuse(&self, record: &LogRecord, why: &str) {
        let job = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        tracing::warn!(pipeline = %self.pipeline, %job, %why, "no reply to this job is sent");
    }

    /// The reply to one event; nothing where nobody can be told.
    fn reply(&self, record: &LogRecord, topics: &mut HashMap<Arc<str>, Seen>) -> LogResult<Option<Outgoing>> {
        let (Some(job), Some(value)) = (&record.key, &record.value) else { return Ok(None) };
        let event = JobEvent::read(value)?;
        if event.asked.reply.is_empty() || event.asked.refused.is_some() {
            return Ok(None);
        }
        let topic: Arc<str> = Arc::from(event.asked.reply.as_str());
        if self.closed.borrow().get(&topic).is_some_and(|until| Instant::now() < *until) {
            self.refuse(record, &format!("the log does not let topic `{topic}` be written"));
            return Ok(None);
        }
        let seen = match topics.get(&topic).filter(|seen| seen.at.elapsed() < LOOK_AGAIN) {
            Some(seen) => seen.partitions,
            None => {
                let partitions = self.log.describe(&[&topic])?[0].as_ref().map(|info| info.partitions);
                // As many as are named; none of them is worth much.
                topics.retain(|_, seen| seen.at.elapsed() < LOOK_AGAIN);
                topics.insert(Arc::clone(&topic), Seen { partitions, at: Instant::now() });
                partitions
            }
        };
        let Some(partitions) = seen else {
            self.refuse(record, &format!("there is no topic `{topic}`"));
            return Ok(None);
        };
        Ok(Some(written(self.reply, job, &event, topic, partitions)))
    }
}

/// The record of a reply.
fn written(rule: &JobReply, job: &Bytes, event: &JobEvent, topic: Arc<str>, partitions: i32) -> Outgoing {
    let correlation = event.asked.correlation.as_ref().and_then(|payload| match payload {
        Payload::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Payload::Base64(text) => STANDARD.decode(text).ok().map(Bytes::from),
        Payload::TooLarge(_) => None,
    });
    let hash = hash128(&[b"reply", topic.as_bytes(), event.state.as_bytes(), &event.at.to_be_bytes()]);
    let id = [job, b"~".as_slice(), format!("{hash:032x}").as_bytes()].concat();
    let mut headers = HeadersBuilder::default();
    headers.push(ID_HEADER, Some(&id));
    if let (Some(name), Some(correlation)) = (&rule.correlation, &correlation) {
        headers.push(name, Some(correlation));
    }
    headers.push("millstream.job", Some(job));
    headers.push("millstream.job.state", Some(event.state.as_bytes()));
    headers.push("content-type", Some(b"application/json"));
    let key = correlation.filter(|c| !c.is_empty()).unwrap_or_else(|| job.clone());
    Outgoing {
        to: TopicPartition::new(topic, partition_for(Some(&key), &id, partitions)),
        key: Some(key),
        value: Some(Bytes::copy_from_slice(event.document.get().as_bytes())),
        headers: headers.finish(),
        timestamp: wall_ms(),
        tag: 0,
    }
}

fn group(jobs: &Jobs) -> String {
    format!("{}.replies", jobs.topic)
}

/// Whether everybody who asked is told.
pub(super) fn worked_off(log: &dyn Log, jobs: &Jobs) -> LogResult<bool> {
    let (Some(events), Some(_)) = (&jobs.events, &jobs.reply) else { return Ok(true) };
    let Some(info) = &log.describe(&[events])?[0] else { return Ok(false) };
    let partitions: Vec<TopicPartition> =
        (0..info.partitions).map(|p| TopicPartition::new(events.as_str(), p)).collect();
    crate::idle::at_end(log, &group(jobs), &partitions)
}
