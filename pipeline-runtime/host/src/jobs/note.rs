//! What a replica or a command says about a job: one record of `<pipeline>.jobs.notes`, keyed by the job's id.

use std::borrow::Cow;

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{Class, LogError, LogResult, Outgoing, TopicPartition};
use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::callback::Callback;
use super::payload::Payload;
use super::percent::Percent;
use super::plan::JobsPlan;
use crate::outputs::partition_for;

/// The highest form known; a higher one stops who reads it.
const VERSION: u32 = 2;
/// That of most notes.
const COMMON: u32 = 1;
/// That of notes of progress, which those who know only the first must not take for something else.
const PROGRESS: u32 = 2;

/// One note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note<'a> {
    /// Version of this form.
    pub(super) v: u32,
    /// When it was written, ms since 1970.
    pub at: i64,
    /// Whose; of what no stage did, nothing.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub stage: Cow<'a, str>,
    /// What happened.
    #[serde(flatten, borrow)]
    pub what: What<'a>,
    /// The record came from a source: nobody has counted it before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub root: bool,
    /// It passes once more, in a replay.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replay: bool,
    /// It was set aside before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub aside: bool,
    /// Time of the record, ms since 1970: a job begins with that of its first.
    #[serde(default)]
    pub time: i64,
    /// The stage has a deadline.
    #[serde(default, skip_serializing_if = "is_false")]
    pub timed: bool,
    /// Attempts made.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempts: u32,
    /// What the record that begins the job asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// The address that it names to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Box<Callback>>,
    /// How far the job has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Percent>,
}

/// What happened to a record of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum What<'a> {
    /// A source has written it.
    Accepted,
    /// Its record will be written later.
    Scheduled {
        /// Then, ms since 1970.
        due: i64,
    },
    /// Its record was to be written later, and will not be.
    TakenBack,
    /// It went on.
    Forwarded {
        /// How often what it became will be read by stages of this pipeline.
        births: u32,
        /// What it became, where that is the job's result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Payload>,
        /// Those stages of them that have a deadline, and how many of the records each will read.
        #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
        into: Vec<(Cow<'a, str>, u32)>,
    },
    /// It passed a stage that can be undone, and is itself beside this note.
    Passed,
    /// A filter dropped it.
    Dropped,
    /// It had passed before.
    Duplicate,
    /// It became a dead letter.
    Dead {
        /// The error's code.
        #[serde(borrow)]
        code: Cow<'a, str>,
        /// The error's message, cut to a bound.
        #[serde(borrow)]
        message: Cow<'a, str>,
        /// Its job ends with it, and what the job has passed is undone.
        #[serde(default, skip_serializing_if = "is_false")]
        ends_job: bool,
    },
    /// It was set aside; its copy goes on.
    Parked,
    /// Its dead letter was sent back to the stage.
    Redriven,
    /// Of no record: somebody wants no more of the job.
    Cancel,
    /// Nothing has ended: a call says how far it has come.
    Progress,
}

/// Bytes of an error's message that are kept.
const MESSAGE_BYTES: usize = 2_000;

fn is_false(flag: &bool) -> bool {
    !flag
}

fn one() -> u32 {
    1
}

fn is_one(n: &u32) -> bool {
    *n == 1
}

impl<'a> Note<'a> {
    /// Of something that happens now to a record of that time.
    pub fn new(stage: &'a str, what: What<'a>, time: i64) -> Self {
        let at = crate::clock::wall_ms();
        let stage = Cow::Borrowed(stage);
        let (root, replay, aside, timed) = (false, false, false, false);
        let v = if what == What::Progress { PROGRESS } else { COMMON };
        let (attempts, asked, callback, progress) = (1, None, None, None);
        Self { v, at, stage, what, root, replay, aside, time, timed, attempts, asked, callback, progress }
    }

    /// The same with how far the job has come.
    pub fn with(self, progress: Option<Percent>) -> Self {
        Self { progress, ..self }
    }

    /// What is written of it for a job.
    pub fn write(&self, plan: &JobsPlan, job: &[u8]) -> Outgoing {
        // Strings and numbers alone: nothing in it can fail to be written.
        let value = serde_json::to_vec(self).unwrap_or_default();
        let key = Bytes::copy_from_slice(job);
        Outgoing {
            to: TopicPartition::new(plan.notes.clone(), partition_for(Some(&key), job, plan.partitions)),
            key: Some(key),
            value: Some(value.into()),
            headers: Headers::new(),
            timestamp: self.at,
            tag: 0,
        }
    }

    /// Whether it is of no interest where nothing is known of the job: a source's record that comes again after its job was
    /// done, or a word that comes too late.
    pub fn says_nothing_new(&self) -> bool {
        match self.what {
            What::Duplicate => self.root || self.replay,
            What::Cancel | What::TakenBack => true,
            What::Progress => !self.root,
            _ => false,
        }
    }

    /// Reads what [`Note::write`] wrote.
    pub fn read(value: &'a [u8]) -> LogResult<Self> {
        versioned(
            value,
            VERSION,
            |note: &Self| note.v,
            |e| {
                let message = format!("a note of the job topic cannot be read: {e}");
                LogError::new(Class::Fatal, "job_note_unreadable", message)
            },
        )
    }
}

/// Reads a JSON document that says its version in `v`, in one pass where it is of a known one: there is one note a record.
pub(super) fn versioned<'a, T: Deserialize<'a>>(
    value: &'a [u8],
    known: u32,
    version: impl Fn(&T) -> u32,
    unreadable: impl Fn(serde_json::Error) -> LogError,
) -> LogResult<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let read = serde_json::from_slice::<T>(value);
    let is = match &read {
        Ok(document) => version(document),
        // A form of a version to come need not be readable.
        Err(_) => serde_json::from_slice::<Version>(value).map_or(0, |version| version.v),
    };
    if is > known {
        let message = format!("the jobs of this pipeline are kept by a newer Millstream (form {is}, known is {known})");
        return Err(LogError::new(Class::Config, "newer_version", message));
    }
    read.map_err(unreadable)
}

/// As much of an error's message as is kept.
pub(crate) fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dead = What::Dead { code: "http_status".into(), message: "said \"no\"".into(), ends_job: true };
        let note = Note { root: true, aside: true, attempts: 6, ..Note::new("bill", dead, 7) };
        let plan = JobsPlan::for_tests();
        let written = note.write(&plan, b"536365/1");
        assert_eq!((written.key.as_deref(), &*written.to.topic), (Some(&b"536365/1"[..]), "orders.jobs.notes"));
        let value = written.value.unwrap_or_default();
        assert_eq!(Note::read(&value).ok().as_ref(), Some(&note));
        for what in [
            What::Accepted,
            What::Scheduled { due: -7 },
            What::TakenBack,
            What::Parked,
            What::Cancel,
            What::Progress,
            What::Redriven,
            What::Dropped,
            What::Duplicate,
            What::Passed,
            What::Forwarded { births: 3, result: Some(Payload::of(b"\xff")), into: vec![("bill".into(), 2)] },
        ] {
            let note = Note { progress: Percent::of(12.5), ..Note::new("", what, 0) };
            let value = note.write(&plan, b"x").value.unwrap_or_default();
            assert_eq!(Note::read(&value).ok().as_ref(), Some(&note), "{}", String::from_utf8_lossy(&value));
        }
    }

    /// A durable form: change it with its version.
    #[test]
    fn its_form_is_stable_and_a_newer_one_is_refused() {
        let note =
            Note { at: 5, ..Note::new("clean", What::Forwarded { births: 1, result: None, into: Vec::new() }, 7) };
        let value = note.write(&JobsPlan::for_tests(), b"x").value.unwrap_or_default();
        assert_eq!(value, br#"{"v":1,"at":5,"stage":"clean","what":"forwarded","births":1,"time":7}"#[..]);
        let note = Note { at: 5, progress: Percent::of(40.0), ..Note::new("clean", What::Progress, 7) };
        let value = note.write(&JobsPlan::for_tests(), b"x").value.unwrap_or_default();
        assert_eq!(value, br#"{"v":2,"at":5,"stage":"clean","what":"progress","time":7,"progress":40}"#[..]);
        assert_eq!(Note::read(br#"{"v":3,"what":"new"}"#).unwrap_err().code, "newer_version");
        assert_eq!(Note::read(b"{}").unwrap_err().code, "job_note_unreadable");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ä".repeat(3_000);
        assert_eq!(cut(&long).len(), MESSAGE_BYTES);
        assert_eq!(cut("short"), "short");
    }
}
