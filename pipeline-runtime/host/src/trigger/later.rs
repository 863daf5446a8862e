//! Jobs that are not due yet: `job/<id>` in the compacted topic `<pipeline>.control.later`. It is made with the first of them, and
//! `later` in the control topic says so to the processes that run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_log::{Log, LogResult};
use millstream_spec::model::Pipeline;
use serde::{Deserialize, Serialize};

use super::{Job, refused};
use crate::clock::wall_ms;
use crate::control::{Control, Entries, decode, encode};

/// Bytes of all jobs that wait, at most: the process that moves them holds them.
const MAX_WAITING: usize = 64 << 20;
/// Of one.
const MAX_JOB: usize = 512 << 10;

pub(super) const JOB: &str = "job/";
/// In the control topic: there is a topic of jobs that wait.
const ANNOUNCED: &str = "later";

/// `<pipeline>.control.later`: no stage can be named so that it has this topic or group.
pub(crate) fn topic(pipeline: &str) -> String {
    format!("{pipeline}.control.later")
}

/// Whether any job was ever kept for later.
pub(crate) fn announced(entries: &Entries) -> bool {
    entries.contains_key(ANNOUNCED)
}

/// The entry `later`.
#[derive(Serialize, Deserialize)]
struct Announced {
    at: i64,
}

/// A job as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// When it is to be started, ms since 1970.
    pub due: i64,
    /// When it was ordered.
    pub made: i64,
    pub source: String,
    pub topic: String,
    record_id: String,
    key: Option<String>,
    value: String,
    headers: Vec<(String, String)>,
}

impl Kept {
    fn new(job: &Job, due: i64) -> Self {
        let text = |bytes: &Bytes| STANDARD.encode(bytes);
        Self {
            due,
            made: wall_ms(),
            source: job.source.clone(),
            topic: job.topic.clone(),
            record_id: text(&job.record_id),
            key: job.key.as_ref().map(text),
            value: text(&job.value),
            headers: job.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        }
    }

    /// What [`Kept::new`] was given.
    pub fn job(&self, id: &str) -> LogResult<Job> {
        let bytes = |text: &String| {
            STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|e| refused("control_unreadable", format!("the job `{id}` that waits cannot be read: {e}")))
        };
        Ok(Job {
            id: id.to_owned(),
            source: self.source.clone(),
            topic: self.topic.clone(),
            record_id: bytes(&self.record_id)?,
            key: self.key.as_ref().map(bytes).transpose()?,
            value: bytes(&self.value)?,
            headers: self.headers.iter().map(|(n, v)| Ok((n.clone(), bytes(v)?))).collect::<LogResult<_>>()?,
        })
    }

    /// Whether it is the same job, ordered again.
    fn same(&self, other: &Self) -> bool {
        Self { made: other.made, ..self.clone() } == *other
    }
}

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its id.
    pub job: String,
    /// When it starts, ms since 1970.
    pub due: i64,
    /// When it was ordered, ms since 1970.
    pub made: i64,
    /// The source it starts at.
    pub source: String,
}

/// Keeps a job until `due`, by whatever process runs the pipeline then. Ordered again it is the same job.
///
/// # Errors
/// `unknown_topic` as for a job that starts now; `job_waits` where another job of that id waits; `later_full`,
/// `later_too_large`; or the log failed.
pub fn keep(log: &dyn Log, pipeline: &Pipeline, job: &Job, due: i64) -> LogResult<()> {
    // What could not be started now is said now, and not at night.
    job.record(log, due)?;
    let kept = Kept::new(job, due);
    let value = encode(&kept)?;
    if value.len() > MAX_JOB {
        let message =
            format!("a job that waits may have {} KiB, and this one has {}", MAX_JOB >> 10, value.len() >> 10);
        return Err(refused("later_too_large", message));
    }
    let later = Control::of_topic(log, topic(&pipeline.name));
    later.ensure()?;
    let entries = later.entries()?;
    let name = format!("{JOB}{}", job.id);
    if let Some(there) = entries.get(&name) {
        if decode::<Kept>(&name, &there.value)?.same(&kept) {
            return Ok(());
        }
        let message = format!("another job `{}` waits already; `--cancel` takes it back", job.id);
        return Err(refused("job_waits", message));
    }
    if entries.values().map(|entry| entry.value.len()).sum::<usize>() + value.len() > MAX_WAITING {
        let message = format!("jobs of {} MiB wait already", MAX_WAITING >> 20);
        return Err(refused("later_full", message));
    }
    let control = Control::open(log, &pipeline.name)?;
    if !announced(&control.entries()?) {
        control.put(vec![(ANNOUNCED.to_owned(), Some(encode(&Announced { at: wall_ms() })?))])?;
    }
    later.put(vec![(name, Some(value))])
}

/// The jobs that wait, those due first before the others.
pub fn waiting(log: &dyn Log, pipeline: &Pipeline) -> LogResult<Vec<Waiting>> {
    let entries = Control::of_topic(log, topic(&pipeline.name)).entries()?;
    let of = |(key, entry): (&String, &crate::control::Entry)| {
        let job = key.strip_prefix(JOB)?.to_owned();
        let kept = decode::<Kept>(key, &entry.value);
        Some(kept.map(|kept| Waiting { job, due: kept.due, made: kept.made, source: kept.source }))
    };
    let mut all = entries.iter().filter_map(of).collect::<LogResult<Vec<_>>>()?;
    all.sort_by(|a, b| (a.due, &a.job).cmp(&(b.due, &b.job)));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            id: "a".into(),
            source: "source".into(),
            topic: "p.in".into(),
            record_id: Bytes::from_static(b"a"),
            key: Some(Bytes::from_static(b"\xff")),
            value: Bytes::from_static(b"{}"),
            headers: vec![("ce_id".into(), Bytes::from_static(b"a"))],
        }
    }

    /// The bytes are a durable format: other versions read them.
    #[test]
    fn golden() {
        let kept = Kept { made: 5, ..Kept::new(&job(), 17) };
        let golden = concat!(
            r#"{"v":1,"due":17,"made":5,"source":"source","topic":"p.in","record_id":"YQ==","key":"/w==","#,
            r#""value":"e30=","headers":[["ce_id","YQ=="]]}"#
        );
        assert_eq!(std::str::from_utf8(&encode(&kept).unwrap()).unwrap(), golden);
        let read = decode::<Kept>("job/a", golden.as_bytes()).unwrap();
        assert!(read == kept && read.same(&Kept::new(&job(), 17)) && !read.same(&Kept::new(&job(), 18)));
        let back = read.job("a").unwrap();
        assert_eq!((back.key, back.value, back.headers), (job().key, job().value, job().headers));
    }
}
