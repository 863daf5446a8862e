//! A job started by hand: one record at a source of a pipeline, now or later.
//!
//! Start reading at [`prepare`]: what the record is, checked before anything is written. `later.rs` keeps what is not due
//! yet, `mover.rs` writes it when it is, `cancel.rs` takes it back.

mod cancel;
mod desk;
mod later;
mod mover;

use std::time::Duration;

use bytes::Bytes;
use millstream_codec::Coercion;
use millstream_filter_api::Headers;
use millstream_log::{Class, Log, LogError, LogRecord, LogResult, Outgoing, Sent, TopicPartition};
use millstream_spec::model::{IdRule, Pipeline, Source, SourceKind};

use crate::clock::wall_ms;
use crate::ids::{self, ID_HEADER, InputIds, SOURCE_HEADER};
use crate::intake;
use crate::jobs::{self, JobState, JobsPlan, Note, What};
use crate::outputs::partition_for;
use crate::plan::codec_of;
use crate::source::made::of_json;
use crate::source::schedule::TickValue;

pub use cancel::{Cancelled, cancel};
pub use desk::{Desk, Order, OrderError, Ordered};
pub use later::{Waiting, keep, waiting};
pub(crate) use later::{announced, topic};
pub(crate) use mover::run as move_due;

/// A write is durable within this time, or failed.
const WRITTEN: Duration = Duration::from_secs(30);

/// What somebody wants to start.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The payload; `None` is what the source would make, if it makes any.
    pub value: Option<Bytes>,
    /// The key; `None` is what the source says.
    pub key: Option<Bytes>,
    /// The id; `None` is a fresh one.
    pub id: Option<String>,
}

/// A job that can be started.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, the root of the ids of all that follows.
    pub id: String,
    /// The source's name.
    pub source: String,
    /// The topic that the record goes to.
    pub topic: String,
    /// The record's own id: it decides on the partition where there is no key.
    record_id: Bytes,
    key: Option<Bytes>,
    value: Bytes,
    headers: Vec<(String, Bytes)>,
}

/// Checks a wish; nothing is written.
///
/// # Errors
/// Class `Config`: a payload that the source's format does not take (with that code), `trigger_no_value`, or
/// `trigger_id` where the source names its records by their contents and the wish by another id.
pub fn prepare(pipeline: &Pipeline, source: &Source, wish: Wish, now: i64) -> LogResult<Job> {
    let codec = codec_of(&source.format);
    let no_value =
        |why: String| refused("encode_failed", format!("the value is not what source `{}` gives: {why}", source.name));
    let value = match wish.value {
        Some(value) => of_json(value, &codec).map_err(no_value)?,
        None => made(pipeline, source, now)?,
    };
    let decoded = codec
        .decode(value.clone(), &Coercion::new(&source.types))
        .map_err(|e| refused(e.code, format!("the value is not what source `{}` gives: {}", source.name, e.message)))?;
    let own = source.writes();
    let key = match (wish.key, &source.key) {
        (None, Some(rule)) if own => ids::of_output_key(Some(rule), None, &decoded, Some(&value), &Headers::new()),
        (key, _) => key,
    };
    let id = wish.id.clone().unwrap_or_else(uuid);
    let mut headers = Vec::new();
    match &source.id {
        IdRule::Default if !own => {
            headers.push((SOURCE_HEADER.to_owned(), Bytes::from(source.topic.clone())));
            headers.push((ID_HEADER.to_owned(), Bytes::from(id.clone())));
        }
        IdRule::Header(name) => headers.push((name.clone(), Bytes::from(id.clone()))),
        _ => {}
    }
    let packed: Headers = headers.iter().map(|(name, value)| (name.as_str(), Some(&value[..]))).collect();
    let record = LogRecord { offset: 0, timestamp: now, key: key.clone(), value: Some(value.clone()), headers: packed };
    let record_id =
        ids::of_input(&InputIds::Source(source.id.clone()), &record, Some(&decoded), || Bytes::from(id.clone()));
    let by_header = matches!(source.id, IdRule::Default | IdRule::Header(_));
    if wish.id.is_some() && !by_header && record_id != id.as_bytes() {
        let is = String::from_utf8_lossy(&record_id).into_owned();
        let message = format!("source `{}` names this record `{is}`, by its `id`; leave `--id` out", source.name);
        return Err(refused("trigger_id", message));
    }
    if own {
        headers = vec![(ID_HEADER.to_owned(), record_id.clone())];
    }
    let root = std::str::from_utf8(ids::root(&record_id))
        .map_err(|_| refused("trigger_id", "the id of this record is no text; give it another".to_owned()))?;
    let id = root.to_owned();
    Ok(Job { id, source: source.name.clone(), topic: source.topic.clone(), record_id, key, value, headers })
}

/// What the source would make of this moment.
fn made(pipeline: &Pipeline, source: &Source, now: i64) -> LogResult<Bytes> {
    let SourceKind::Schedule(spec) = &source.kind else {
        let message =
            format!("source `{}` of `{}` makes no value by itself; say one with `--value`", source.name, pipeline.name);
        return Err(refused("trigger_no_value", message));
    };
    TickValue::new(spec, source)?
        .make(now)
        .map_err(|why| refused("schedule_expression", format!("the value cannot be made: {why}")))
}

/// Starts a job now.
///
/// # Errors
/// `unknown_topic` where the source's topic is not there yet, or the log failed; it may be there then.
pub fn start(log: &dyn Log, pipeline: &Pipeline, job: &Job) -> LogResult<()> {
    let record = job.record(log, wall_ms())?;
    let mut writer = log.writer()?;
    let mut write =
        |record: Outgoing| writer.send(&mut vec![record]).and_then(|()| writer.flush(WRITTEN)).map_err(unwritten);
    let note = job.note(log, pipeline, record.timestamp)?;
    write(record)?;
    // After the record: a job that is known is there. One that dies in between is known from its first stage on.
    note.map_or(Ok(()), write)
}

impl Job {
    /// The record, placed by the partitions there are.
    fn record(&self, log: &dyn Log, timestamp: i64) -> LogResult<Outgoing> {
        let Some(info) = log.describe(&[&self.topic])?.swap_remove(0) else {
            let message = format!("`{}` does not exist yet: run the pipeline once, so that it is made", self.topic);
            return Err(refused("unknown_topic", message));
        };
        let partition = partition_for(self.key.as_ref(), &self.record_id, info.partitions);
        Ok(Outgoing {
            to: TopicPartition::new(self.topic.as_str(), partition),
            key: self.key.clone(),
            value: Some(self.value.clone()),
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), Some(&value[..]))).collect(),
            timestamp,
            tag: 0,
        })
    }

    /// That it is accepted, where jobs are tracked and the source is the pipeline's own. Of one that is known already,
    /// by an id that comes again, it would be the beginning of another life.
    fn note(&self, log: &dyn Log, pipeline: &Pipeline, time: i64) -> LogResult<Option<Outgoing>> {
        let own = pipeline.sources.iter().any(|source| source.topic == self.topic && source.writes());
        if own && pipeline.jobs.is_some() {
            let known = jobs::find(log, pipeline, self.id.as_bytes())?;
            if known.is_some_and(|status| status.state != JobState::Scheduled) {
                return Ok(None);
            }
        }
        let notes = pipeline.jobs.as_ref().filter(|_| own).map(|jobs| jobs.notes.as_str());
        let plan = JobsPlan::of_letters(log, notes)?;
        Ok(plan.map(|plan| Note::new("", What::Accepted, time).write(&plan, self.id.as_bytes())))
    }
}

fn refused(code: &'static str, message: String) -> LogError {
    LogError::new(Class::Config, code, message)
}

fn unwritten(sent: Sent) -> LogError {
    match sent {
        Sent::Failed(e) => e,
        Sent::Refused(why) => {
            let why = why.first().map_or("no reason given", |(_, why)| why.as_str());
            refused("source_record_refused", format!("the log refuses the record: {why}"))
        }
    }
}

/// A fresh id, as RFC 9562 writes random ones.
fn uuid() -> String {
    intake::uuid(fastrand::u128(..).to_be_bytes(), 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_say_what_they_are() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        assert_eq!((a.len(), &a[14..15], a.matches('-').count()), (36, "4", 4), "{a}");
        assert!("89ab".contains(&a[19..20]), "{a}");
    }
}
