//! A job as people and machines read it.

use millstream_host::jobs::{Failed, JobStatus, Payload, StageCounts};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::terminal::{Paint, table};
use crate::units;

/// A job: one line of `ls`, the document of `show`.
#[derive(Debug, Serialize)]
pub struct Shown {
    job: String,
    state: &'static str,
    /// RFC 3339, as all times here.
    accepted: String,
    changed: String,
    /// Records of it that have not ended; of them, those that are set aside.
    open: i64,
    waiting: i64,
    dead_letters: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    stages: Vec<Stage>,
    /// JSON if it is JSON, else text, else `{"base64":…}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Error {
    stage: String,
    code: String,
    message: String,
    at: String,
}

#[derive(Debug, Serialize)]
struct Stage {
    stage: String,
    forwarded: u64,
    dropped: u64,
    duplicates: u64,
    dead_lettered: u64,
    parked: u64,
    attempts: u32,
    first: String,
    last: String,
}

impl Shown {
    /// Of a job.
    pub fn new(job: &[u8], status: JobStatus) -> Self {
        Self {
            job: String::from_utf8_lossy(job).into_owned(),
            state: status.state.word(),
            accepted: units::show_moment(status.accepted),
            changed: units::show_moment(status.changed),
            open: status.open,
            waiting: status.waiting,
            dead_letters: status.letters,
            error: status.error.map(Error::from),
            stages: status.stages.into_iter().map(Stage::from).collect(),
            result: status.result.as_ref().and_then(raw),
        }
    }

    /// Everything, for people.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = format!("{}  {}\n", paint.bold(&self.job), self.state);
        text.push_str(&format!("accepted {}, changed {}\n", self.accepted, self.changed));
        if self.open > 0 {
            text.push_str(&format!("{} records on their way, {} of them set aside\n", self.open, self.waiting));
        }
        if let Some(error) = &self.error {
            text.push_str(&format!("{}: {}: {}\n", paint.red("error"), error.place(), error.message));
        }
        let head = ["stage", "forwarded", "dropped", "dead letters", "parked", "attempts", "first", "last"];
        let row = |s: &Stage| {
            let numbers =
                [s.forwarded, s.dropped, s.dead_lettered, s.parked, u64::from(s.attempts)].map(|n| n.to_string());
            [vec![s.stage.clone()], numbers.to_vec(), vec![s.first.clone(), s.last.clone()]].concat()
        };
        let rows: Vec<_> =
            std::iter::once(head.map(str::to_owned).to_vec()).chain(self.stages.iter().map(row)).collect();
        if rows.len() > 1 {
            text.push_str(&table(&rows, 1..6));
        }
        if let Some(result) = &self.result {
            text.push_str(&format!("result: {result}\n"));
        }
        text
    }
}

/// Several, a line each.
pub fn people(jobs: &[Shown]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let head = ["job", "state", "accepted", "changed", "error"].map(str::to_owned).to_vec();
    let row = |j: &Shown| {
        let error = j.error.as_ref().map_or(String::new(), Error::place);
        vec![j.job.clone(), j.state.to_owned(), j.accepted.clone(), j.changed.clone(), error]
    };
    let rows: Vec<_> = std::iter::once(head).chain(jobs.iter().map(row)).collect();
    table(&rows, 0..0)
}

impl Error {
    /// The code, and where.
    fn place(&self) -> String {
        if self.stage.is_empty() { self.code.clone() } else { format!("{} in `{}`", self.code, self.stage) }
    }
}

impl From<Failed> for Error {
    fn from(error: Failed) -> Self {
        let Failed { stage, code, message, at } = error;
        Self { stage, code, message, at: units::show_moment(at) }
    }
}

impl From<StageCounts> for Stage {
    fn from(counts: StageCounts) -> Self {
        let StageCounts { stage, forwarded, dropped, duplicates, dead_lettered, parked, attempts, first, last } =
            counts;
        let (first, last) = (units::show_moment(first), units::show_moment(last));
        Self { stage, forwarded, dropped, duplicates, dead_lettered, parked, attempts, first, last }
    }
}

fn raw(payload: &Payload) -> Option<Box<RawValue>> {
    let text = match payload {
        Payload::Text(text) => match RawValue::from_string(text.clone()) {
            Ok(json) => return Some(json),
            Err(_) => serde_json::to_string(text).ok()?,
        },
        Payload::Base64(bytes) => serde_json::json!({ "base64": bytes }).to_string(),
        Payload::TooLarge(bytes) => serde_json::json!({ "too_large": bytes }).to_string(),
    };
    RawValue::from_string(text).ok()
}
