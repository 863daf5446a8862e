//! A job as machines read it: what `jobs show -o json` prints and the API answers.

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::value::RawValue;

use super::job::{Failed, JobStatus, StageCounts};
use super::payload::Payload;
use super::percent::Percent;
use super::state::JobState;

/// A job. Times are RFC 3339.
#[derive(Debug, Serialize)]
pub struct JobDocument {
    /// Its id.
    pub job: String,
    /// How it stands.
    pub state: &'static str,
    /// Time of its first record.
    pub accepted: String,
    /// When it last changed.
    pub changed: String,
    /// When it starts, where that is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<String>,
    /// Records of it that have not ended.
    pub open: i64,
    /// Of them, those that are set aside.
    pub waiting: i64,
    /// Dead letters of it that were not sent back.
    pub dead_letters: i64,
    /// How far it has come, in percent, as it was said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Percent>,
    /// Its last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDocument>,
    /// What became of its records in each stage.
    pub stages: Vec<StageDocument>,
    /// JSON if it is JSON, else text, else `{"base64":…}`; of one that is not kept `{"too_large":BYTES}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Who asked to be told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyDocument>,
    /// Who is called when something happens to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackDocument>,
}

/// Who is called.
#[derive(Debug, Serialize)]
pub struct CallbackDocument {
    /// The address, without what stands behind a `?`: that may be a secret.
    pub to: String,
    /// Why nobody is called there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Where the reply of a job goes.
#[derive(Debug, Serialize)]
pub struct ReplyDocument {
    /// The topic.
    pub to: String,
    /// Why nothing goes there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Why a job has failed.
#[derive(Debug, Serialize)]
pub struct ErrorDocument {
    /// The stage; empty where the job as a whole has failed.
    pub stage: String,
    /// The code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at: String,
}

/// What became of a job's records in one stage.
#[derive(Debug, Serialize)]
pub struct StageDocument {
    /// The stage.
    pub stage: String,
    /// Records that went on.
    pub forwarded: u64,
    /// Records that were dropped.
    pub dropped: u64,
    /// Records that had passed before.
    pub duplicates: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
    /// Records that were set aside.
    pub parked: u64,
    /// Most attempts that one of them took.
    pub attempts: u32,
    /// First end there.
    pub first: String,
    /// Last end there.
    pub last: String,
}

impl JobDocument {
    /// Of a job.
    pub fn new(job: &[u8], status: &JobStatus) -> Self {
        Self {
            job: String::from_utf8_lossy(job).into_owned(),
            state: status.state.word(),
            accepted: moment(status.accepted),
            changed: moment(status.changed),
            starts: status.due.filter(|_| status.state == JobState::Scheduled).map(moment),
            open: status.open,
            waiting: status.waiting,
            dead_letters: status.letters,
            progress: status.progress,
            error: status.failure().map(ErrorDocument::from),
            stages: status.stages.iter().map(StageDocument::from).collect(),
            result: status.result.as_ref().and_then(raw),
            reply: status
                .asked
                .as_ref()
                .map(|asked| ReplyDocument { to: asked.reply.clone(), refused: asked.refused.clone() }),
            callback: status.callback.as_deref().map(|callback| CallbackDocument {
                to: callback.place().to_owned(),
                refused: callback.refused.clone(),
            }),
        }
    }
}

impl From<&Failed> for ErrorDocument {
    fn from(error: &Failed) -> Self {
        let Failed { stage, code, message, at } = error.clone();
        Self { stage, code, message, at: moment(at) }
    }
}

impl From<&StageCounts> for StageDocument {
    fn from(counts: &StageCounts) -> Self {
        let StageCounts { stage, forwarded, dropped, duplicates, dead_lettered, parked, attempts, first, last } =
            counts.clone();
        let (first, last) = (moment(first), moment(last));
        Self { stage, forwarded, dropped, duplicates, dead_lettered, parked, attempts, first, last }
    }
}

fn moment(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Secs, true),
        None => format!("{ms} ms"),
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
