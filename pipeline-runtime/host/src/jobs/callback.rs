//! Who is called when something happens to a job, and what is to be told them: records of `<pipeline>.jobs.callbacks`, which the
//! stage `callback` reads. Pure.
//!
//! They are written with the status that they tell of, in one transaction, so what is told is there exactly when it has
//! happened. A record has the body as its payload, the address in a header, and an id that stays the same however often it is
//! sent.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_log::{Outgoing, TopicPartition};
use millstream_spec::model::{JobCallback, Pipeline};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::document::JobDocument;
use super::job::{JobStatus, StageCounts};
use super::note::Note;
use super::state::JobState;
use crate::ids::{ID_HEADER, hash128};
use crate::outputs::partition_for;
use crate::topics::Partitions;

/// The address that a job's first record names, and what was told there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// As it was written, cut to a bound.
    pub url: String,
    /// Why nobody is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether it was looked at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub judged: bool,
    /// Stages of which it was told that the job has come past them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// How it was told last that the job has ended; nothing while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<JobState>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Bytes of an address at most: it is kept with the job.
const MAX_URL: usize = 2_048;
/// Headers of a record that is to be told. The filter knows them by these names.
const URL_HEADER: &str = "millstream.callback.url";
const REFUSED_HEADER: &str = "millstream.callback.refused";

impl Callback {
    /// What a record's headers ask for; nothing where none does.
    pub(crate) fn of(header: &str, headers: &Headers) -> Option<Self> {
        let url = headers.get(header).flatten().filter(|url| !url.is_empty())?;
        let printable = url.iter().all(u8::is_ascii_graphic);
        let refused = if url.len() > MAX_URL {
            Some(format!("the address has {} bytes, and {MAX_URL} may be", url.len()))
        } else {
            (!printable).then(|| "this is no address".to_owned())
        };
        let url = String::from_utf8_lossy(url);
        let url = url[..url.floor_char_boundary(MAX_URL)].to_owned();
        Some(Self { url, refused, judged: false, stages: Vec::new(), ended: None })
    }

    /// The address without what stands behind a `?`.
    pub fn place(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }
}

impl JobStatus {
    /// Takes the address of a record that begins the job. The first one counts: who sends the same job again is not told of
    /// the other's.
    pub(super) fn ask_to_call(&mut self, note: &Note<'_>) {
        if self.callback.is_none() {
            self.callback.clone_from(&note.callback);
        }
    }
}

/// What is told, in its order.
enum Told<'a> {
    /// That the first record of the job has come past a stage.
    Stage(&'a str),
    /// That it has ended.
    End(JobState),
    /// Nothing: the address is refused, which is counted by the stage that would have called.
    Refused(&'a str),
}

/// Who tells.
#[derive(Clone, Debug)]
pub(crate) struct Callbacks {
    pipeline: String,
    rule: JobCallback,
    partitions: i32,
}

/// As it is sent. The form is that of Standard Webhooks.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    timestamp: String,
    data: &'a RawValue,
}

impl Callbacks {
    /// For a pipeline that calls back.
    pub fn of(pipeline: &Pipeline, topics: &Partitions) -> Option<Self> {
        let rule = pipeline.jobs.as_ref()?.callback.clone()?;
        let partitions = topics.of(&rule.topic);
        Some(Self { pipeline: pipeline.name.clone(), rule, partitions })
    }

    /// What is to be told now of a job that has changed; the job remembers it.
    pub fn tell(&self, job: &Bytes, status: &mut JobStatus) -> Vec<Outgoing> {
        let Some(mut callback) = status.callback.clone() else { return Vec::new() };
        let judged = std::mem::replace(&mut callback.judged, true);
        if !judged && callback.refused.is_none() {
            callback.refused = self.rule.judge.judge(&callback.url).err().map(|why| format!("the address {why}"));
        }
        let mut told = Vec::new();
        let past = |s: &&StageCounts| s.forwarded + s.dropped > 0;
        let stages: Vec<String> = status.stages.iter().filter(past).map(|s| s.stage.clone()).collect();
        if let Some(why) = &callback.refused {
            if !judged {
                let job = String::from_utf8_lossy(job);
                tracing::warn!(pipeline = %self.pipeline, %job, to = %callback.place(), %why, "nobody is called about this job");
                told.push(Told::Refused(why));
            }
        } else {
            let new = |stage: &&String| self.rule.stages && !callback.stages.contains(*stage);
            told.extend(stages.iter().filter(new).map(|stage| Told::Stage(stage)));
            let ended = Some(status.state).filter(|state| state.is_final());
            let wanted = |state: &JobState| self.rule.states.iter().any(|word| word == state.word());
            told.extend(ended.filter(|_| ended != callback.ended).filter(wanted).map(Told::End));
            callback.ended = ended;
        }
        let written = if told.is_empty() {
            Vec::new()
        } else {
            status.callback = Some(callback.clone());
            let document = serde_json::value::to_raw_value(&JobDocument::new(job, status)).ok();
            let write = |told: &Told<'_>| Some(self.write(job, status, &callback.url, told, document.as_deref()?));
            told.iter().filter_map(write).collect()
        };
        drop(told);
        if self.rule.stages {
            callback.stages = stages;
        }
        status.callback = Some(callback);
        written
    }

    fn write(&self, job: &Bytes, status: &JobStatus, url: &str, told: &Told<'_>, data: &RawValue) -> Outgoing {
        let (kind, stage) = match told {
            Told::Stage(stage) => ("job.stage".to_owned(), Some(*stage)),
            Told::End(state) => (format!("job.{}", state.word()), None),
            Told::Refused(_) => ("job.callback.refused".to_owned(), None),
        };
        let body = Body { r#type: &kind, stage, timestamp: moment(status.changed), data };
        // Notes lie in one order, and nothing is told twice of one: so no two of a job's have one id, also if the job comes again.
        let hash = hash128(&[
            b"callback",
            self.pipeline.as_bytes(),
            job,
            kind.as_bytes(),
            stage.unwrap_or_default().as_bytes(),
            &status.notes.to_be_bytes(),
            &status.begun.to_be_bytes(),
        ]);
        let id = format!("msg_{hash:032x}");
        let mut headers = HeadersBuilder::default();
        headers.push(ID_HEADER, Some(id.as_bytes()));
        headers.push(URL_HEADER, Some(url.as_bytes()));
        if let Told::Refused(why) = told {
            headers.push(REFUSED_HEADER, Some(why.as_bytes()));
        }
        headers.push("content-type", Some(b"application/json"));
        Outgoing {
            to: TopicPartition::new(self.rule.topic.as_str(), partition_for(Some(job), job, self.partitions)),
            key: Some(job.clone()),
            // Strings and numbers alone: nothing in it can fail to be written.
            value: Some(serde_json::to_vec(&body).unwrap_or_default().into()),
            headers: headers.finish(),
            timestamp: status.changed,
            tag: 0,
        }
    }
}

fn moment(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(String::new, |t| t.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests;
