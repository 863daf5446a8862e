//! A record as the engine holds it while it waits: what was read, what it decodes to, what it is called.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use millstream_codec::SCHEMA_UNRESOLVED;
use millstream_filter_api::{Class, Failure, Meta, Payload, Record};
use millstream_log::LogRecord;

use crate::ids;
use crate::plan::{InputPlan, StagePlan};
use crate::replay::in_place::{dedup_id, mark_of};
use crate::retry_topic::{Note, Reason, Unreadable};
use crate::source::fault::{self, FAULT_HEADER};

/// A record between admission and its end.
pub struct Input {
    /// As read. Stays whole for retries and dead letters; cloning its parts is a reference count.
    pub record: LogRecord,
    /// Decoded once; taken by the first attempt, decoded again for a later one.
    decoded: Option<Result<Payload, Box<Failure>>>,
    /// The message id.
    pub id: Bytes,
    /// The replay it came through, here or in a stage before.
    pub replay: Option<Bytes>,
    /// Which of the stage's inputs it was first read from. Of a copy that cannot be read: the first.
    pub input: u16,
    /// The partition there.
    pub partition: i32,
    /// Which attempt is under way, counted from 1.
    pub attempts: u32,
    /// When the first attempt began, ms since 1970; 0 for none yet.
    pub first: i64,
    /// What happened to it before; nothing to most records.
    pub past: Option<Box<Past>>,
}

/// What happened to a record before its present attempt.
#[derive(Debug, Default)]
pub struct Past {
    /// The last failed attempt: code, message, name of the filter.
    pub failure: Option<(Cow<'static, str>, String, String)>,
    /// It was read from `.retry`.
    pub copy: bool,
    /// What the copy says, so that it can be written again as it is.
    pub note: Option<Note>,
    /// The topic it lies in, where that is none of the stage's inputs.
    pub topic: Option<Arc<str>>,
}

impl Input {
    /// Decodes a record and finds its id. A record that cannot be decoded is named by what is left: its rule if that
    /// needs no payload, else its coordinates.
    pub fn new(plan: &InputPlan, input: u16, partition: i32, record: LogRecord) -> Self {
        let decoded = decode(plan, &record);
        let id = ids::of_input(&plan.ids, &record, decoded.as_ref().ok(), || {
            ids::coordinates(&plan.topic, partition, record.offset)
        });
        let replay = mark_of(&record.headers);
        Self { record, decoded: Some(decoded), id, replay, input, partition, attempts: 0, first: 0, past: None }
    }

    /// A record that was set aside and is read again, with what its copy says. One that cannot be read as a copy ends as
    /// a dead letter; one that a newer version wrote stops the stage.
    pub fn of_copy(
        plan: &StagePlan,
        topic: &Arc<str>,
        partition: i32,
        record: LogRecord,
    ) -> Result<(Self, Option<Note>), Unreadable> {
        let (note, headers) = match Note::read(&record.headers) {
            Ok(read) => read,
            Err(newer @ Unreadable::Newer(_)) => return Err(newer),
            Err(Unreadable::Broken(why)) => {
                let failure = unreadable(format!("{topic}/{partition} offset {}: {why}", record.offset));
                let past = Past { copy: true, topic: Some(Arc::clone(topic)), ..Past::default() };
                let id = ids::coordinates(topic, partition, record.offset);
                return Ok((Self::failed(record, failure, id, partition, past), None));
            }
        };
        let record = LogRecord { offset: note.offset, headers, ..record };
        let past = Past {
            failure: (!note.code.is_empty())
                .then(|| (Cow::Owned(note.code.clone()), note.message.clone(), note.filter.clone())),
            copy: true,
            note: Some(note.clone()),
            topic: None,
        };
        if matches!(note.reason, Reason::Hold | Reason::Free) {
            // There is no record in it, and nothing to be read.
            let (input, partition) = (plan.input_of_copy(&note).unwrap_or(note.input), note.partition);
            let (id, past) = (Bytes::new(), Some(Box::new(past)));
            let read = Self { record, decoded: None, id, replay: None, input, partition, attempts: 0, first: 0, past };
            return Ok((read, Some(note)));
        }
        let Some(input) = plan.input_of_copy(&note) else {
            let failure = unreadable(format!("it was read from `{}`, which the stage does not read", note.topic));
            let past = Past { topic: Some(Arc::from(note.topic.as_str())), ..past };
            let id = ids::coordinates(&note.topic, note.partition, note.offset);
            return Ok((Self::failed(record, failure, id, note.partition, past), Some(note)));
        };
        let mut read = Self::new(&plan.inputs[usize::from(input)], input, note.partition, record);
        (read.first, read.past) = (note.first, Some(Box::new(past)));
        Ok((read, Some(note)))
    }

    fn failed(record: LogRecord, failure: Failure, id: Bytes, partition: i32, past: Past) -> Self {
        let decoded = Some(Err(Box::new(failure)));
        let replay = mark_of(&record.headers);
        Self { record, decoded, id, replay, input: 0, partition, attempts: 0, first: 0, past: Some(Box::new(past)) }
    }

    /// The record for one attempt.
    pub fn attempt(&mut self, plan: &InputPlan, attempt: u32, now_ms: i64) -> Result<Record, Box<Failure>> {
        self.attempts = attempt;
        if self.first == 0 {
            self.first = now_ms;
        }
        let payload = match self.decoded.take() {
            Some(decoded) => decoded?,
            None => decode(plan, &self.record)?,
        };
        Ok(Record {
            key: self.record.key.clone(),
            payload,
            // A note on a payload that was mended since goes no further.
            headers: if plan.own_source {
                self.record.headers.without(FAULT_HEADER)
            } else {
                self.record.headers.clone()
            },
            timestamp: self.record.timestamp,
            meta: Meta {
                id: self.id.clone(),
                topic: Arc::clone(&plan.topic),
                partition: self.partition,
                offset: self.record.offset,
                attempt,
            },
        })
    }

    /// What dedup knows it by.
    pub fn dedup_id(&self) -> Bytes {
        dedup_id(&self.id, self.replay.as_ref())
    }

    /// Notes why an attempt failed, for the copy that may have to say so.
    pub fn note_failure(&mut self, failure: &Failure, filter: String) {
        let past = self.past.get_or_insert_default();
        past.failure = Some((failure.code.clone(), failure.message.clone(), filter));
    }

    /// Attempts as a dead letter counts them: one for a record that was never set aside and failed for good.
    pub fn counted_attempts(&self) -> u32 {
        if self.past.as_ref().is_some_and(|p| p.copy) { self.attempts.max(1) } else { 1 }
    }

    /// The topic it was first read from.
    pub fn topic<'a>(&'a self, plan: &'a StagePlan) -> &'a Arc<str> {
        let elsewhere = self.past.as_ref().and_then(|p| p.topic.as_ref());
        elsewhere.unwrap_or(&plan.inputs[usize::from(self.input)].topic)
    }
}

/// Why a copy is a dead letter.
fn unreadable(why: String) -> Failure {
    Failure::data("retry_copy_unreadable", why)
}

fn decode(plan: &InputPlan, record: &LogRecord) -> Result<Payload, Box<Failure>> {
    if plan.own_source
        && let Some(fault) = fault::of(&record.headers, record.value.as_ref())
    {
        let code = Cow::Owned(fault.code);
        return Err(Box::new(Failure { class: Class::Data, code, message: fault.message, retry_after: None }));
    }
    match &record.value {
        None => Ok(Payload::null()),
        Some(bytes) => plan.codec.decode_part(bytes.clone(), &plan.coercion, &plan.reads).map_err(|e| {
            // Nobody's fault but that of a schema which was forgotten since it was known: it is fetched for the next attempt.
            if let Some((avro, id)) = plan.codec.lacks(bytes) {
                avro.registry().fetch(id, Arc::new(|| ()));
            }
            Box::new(match e.code {
                SCHEMA_UNRESOLVED => Failure::transient(SCHEMA_UNRESOLVED, e.message),
                code => Failure::data(code, e.message),
            })
        }),
    }
}
