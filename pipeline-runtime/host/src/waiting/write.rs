//! What is written for a record that has waited: what goes on, its dead letter, the note of its job.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{Class, Failure};
use millstream_log::{Class as LogClass, LogError, LogRecord, LogResult, Outgoing, TopicPartition};

use super::entry::hash;
use super::meet::{At, EVENTS, Named, SENT_BACK, Waiter};
use crate::chain::{ComputeChain, Ended};
use crate::clock::wall_ms;
use crate::dead_letter::{self, Reason};
use crate::ids;
use crate::input::Input;
use crate::jobs::{Note, Payload, What as Noted, cut};
use crate::outputs::OutputWriter;
use crate::plan::StagePlan;
use crate::retry_topic;

/// The header in which an event goes through the stage's filter.
const EVENT_HEADER: &str = "millstream.wait.event";
/// The header that keeps a record's own key while it has that of its event.
const KEY_HEADER: &str = "millstream.wait.key";
/// The header of a dead letter that keeps by what it met its event, as its key is its own again.
const BY_HEADER: &str = "millstream.wait.by";

/// The code of a record for which nothing came in time.
const TIMED_OUT: &str = "wait_timed_out";

/// A record that was read, for whichever way it goes.
pub struct Arrived {
    /// What waits of it; nothing of a copy in which no record is.
    pub waiter: Option<Waiter>,
    /// It cannot be read as a copy.
    pub broken: bool,
}

/// Makes records of one owner.
pub struct Writing {
    plan: Arc<StagePlan>,
    chain: ComputeChain,
    writer: OutputWriter,
}

impl Writing {
    /// For a stage whose filters compute.
    pub fn new(plan: Arc<StagePlan>) -> LogResult<Self> {
        let chain = ComputeChain::build(&plan.filters).ok_or_else(|| {
            let message = "what waits for events cannot call out".to_owned();
            LogError::new(LogClass::Fatal, "filter_panicked", message)
        })?;
        Ok(Self { plan, chain, writer: OutputWriter::default() })
    }

    /// What a record says of itself.
    ///
    /// # Errors
    /// `newer_version`: a copy that a newer version wrote.
    pub fn arrived(&self, partition: i32, at: At, record: &LogRecord) -> LogResult<Arrived> {
        let since = wall_ms();
        if at.input == EVENTS {
            let by = hash(record.key.as_deref().unwrap_or_default());
            return Ok(Arrived { waiter: Some(Waiter { since, by, record: None }), broken: false });
        }
        let input = self.input(partition, at, record)?;
        if input.past.as_ref().is_some_and(|past| past.topic.is_some() || past.note.is_none()) {
            return Ok(Arrived { waiter: None, broken: true });
        }
        let reason = input.past.as_ref().and_then(|past| past.note.as_ref()).map(|note| note.reason);
        if matches!(reason, Some(retry_topic::Reason::Hold | retry_topic::Reason::Free)) {
            return Ok(Arrived { waiter: None, broken: false });
        }
        let by = input.record.headers.get(BY_HEADER).flatten().or(input.record.key.as_deref()).unwrap_or_default();
        let named = Named { id: hash(&input.dedup_id()), job: hash(ids::root(&input.id)) };
        Ok(Arrived { waiter: Some(Waiter { since, by: hash(by), record: Some(named) }), broken: false })
    }

    /// The record as a stage has it.
    fn input(&self, partition: i32, at: At, record: &LogRecord) -> LogResult<Input> {
        if at.input != SENT_BACK {
            return Ok(Input::new(&self.plan.inputs[0], 0, partition, record.clone()));
        }
        let read = Input::of_copy(&self.plan, &self.plan.retry, partition, record.clone());
        read.map(|(input, _)| input).map_err(|e| LogError::new(LogClass::Config, "newer_version", e.to_string()))
    }

    /// A record that has met its event, with the note of its job. `Err`: why it is a dead letter instead.
    fn released(&mut self, input: &mut Input, event: &LogRecord, waited: bool) -> Result<Vec<Outgoing>, Box<Failure>> {
        let plan = Arc::clone(&self.plan);
        let from = &plan.inputs[usize::from(input.input)];
        let mut record = input.attempt(from, 1, wall_ms())?;
        record.headers = record.headers.without(BY_HEADER).with(EVENT_HEADER, event.value.as_deref());
        let records = match self.chain.run(record) {
            Ended::Forwarded(records) => records,
            Ended::Failed(_, failure) => return Err(failure),
            // Its filter drops nothing.
            Ended::Dropped(reason) => return Err(Box::new(Failure::data("filter_panicked", reason))),
        };
        let written = self.writer.write(&plan, &from.codec, &input.id, input.replay.as_ref(), records)?;
        let mut all = written.into_vec();
        let plan_of = |o: &Outgoing| plan.outputs.iter().find(|p| p.topic == o.to.topic);
        let births = all.iter().filter_map(plan_of).map(|p| p.readers).sum();
        let into = all.iter().filter_map(plan_of).flat_map(|p| &p.timed).map(|stage| (Cow::Borrowed(&**stage), 1));
        let gives_result = plan.jobs.as_ref().is_some_and(|jobs| jobs.gives_result);
        let result = all.last().filter(|_| gives_result).and_then(|o| o.value.as_deref()).map(Payload::of);
        let note = note(&plan, input, Noted::Forwarded { births, result, into: into.collect() }, waited);
        all.extend(note);
        Ok(all)
    }

    /// What a record becomes that goes on with an event, and whether that is a dead letter.
    pub fn go_on(
        &mut self,
        place: &TopicPartition,
        at: At,
        record: &LogRecord,
        event: &LogRecord,
        waited: bool,
        refused: Option<&(u32, String)>,
    ) -> LogResult<(Vec<Outgoing>, bool)> {
        let mut input = self.input(place.partition, at, record)?;
        if let Some((times, why)) = refused {
            let failure = Failure::data("output_refused", why.clone());
            return Ok((self.letter(place.partition, input, &failure, waited, times - 1), true));
        }
        match self.released(&mut input, event, waited) {
            Ok(written) => Ok((written, false)),
            Err(failure) => Ok((self.letter(place.partition, input, &failure, waited, 0), true)),
        }
    }

    /// The letter of a record for which nothing came in time, with the note of its job.
    pub fn timed_out(
        &self,
        place: &TopicPartition,
        at: At,
        record: &LogRecord,
        since: i64,
        refused: u32,
    ) -> LogResult<Vec<Outgoing>> {
        let input = self.input(place.partition, at, record)?;
        let waited = (wall_ms() - since).max(0) / 1000;
        let topic = self.plan.meets.as_ref().map_or("", |meets| meets.of.topic.as_str());
        let message = format!("no event of `{topic}` came for it within {waited} s");
        let failure = Failure { class: Class::Permanent, code: TIMED_OUT.into(), message, retry_after: None };
        Ok(self.letter(place.partition, input, &failure, true, refused))
    }

    /// The letter of a copy that cannot be read.
    pub fn broken(&self, place: &TopicPartition, at: At, record: &LogRecord, refused: u32) -> LogResult<Vec<Outgoing>> {
        let input = self.input(place.partition, at, record)?;
        let failure = Failure::data("retry_copy_unreadable", format!("{place} offset {}", record.offset));
        Ok(self.letter(place.partition, input, &failure, false, refused))
    }

    /// The note of a record's end, or that it waits.
    pub fn noted(
        &self,
        place: &TopicPartition,
        at: At,
        record: &LogRecord,
        what: Noted<'_>,
        waited: bool,
    ) -> LogResult<Option<Outgoing>> {
        if self.plan.jobs.is_none() {
            return Ok(None);
        }
        Ok(note(&self.plan, &self.input(place.partition, at, record)?, what, waited))
    }

    fn letter(&self, partition: i32, mut input: Input, failure: &Failure, waited: bool, refused: u32) -> Vec<Outgoing> {
        // Its own key again, and beside it that of its event.
        let record = &mut input.record;
        if record.headers.get(BY_HEADER).is_none() {
            record.headers = record.headers.with(BY_HEADER, record.key.as_deref());
        }
        if let Some(key) = record.headers.get(KEY_HEADER) {
            record.key = key.map(Bytes::copy_from_slice);
        }
        let reason = Reason {
            filter: "wait_for",
            attempts: 1,
            code: &failure.code,
            class: if failure.class == Class::Data { "data" } else { "permanent" },
            message: &failure.message,
            at: wall_ms(),
            refused,
        };
        let letter = dead_letter::letter(&self.plan, &input, partition, &reason, false);
        let ends_job = self.plan.jobs.as_ref().is_some_and(|jobs| jobs.ends_job);
        let (code, message) = (Cow::Borrowed(reason.code), Cow::Borrowed(cut(reason.message)));
        let note = note(&self.plan, &input, Noted::Dead { code, message, ends_job }, waited);
        [letter].into_iter().chain(note).collect()
    }
}

/// Nothing where jobs are not tracked, or the record belongs to none.
fn note(plan: &StagePlan, input: &Input, what: Noted<'_>, waited: bool) -> Option<Outgoing> {
    let jobs = plan.jobs.as_ref()?;
    if input.past.as_ref().is_some_and(|past| past.topic.is_some()) {
        return None;
    }
    let mut note = Note::new(&plan.stage, what, input.record.timestamp);
    note.aside = waited;
    Some(note.write(jobs, ids::root(&input.id)))
}
