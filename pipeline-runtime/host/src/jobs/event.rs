//! What is to be told of a job: one record of `<pipeline>.jobs.events`, written with the status it tells of.

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{Class, LogError, LogResult, Outgoing, TopicPartition};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::asked::Asked;
use super::document::JobDocument;
use super::job::JobStatus;
use super::note::versioned;
use crate::outputs::partition_for;

/// The form this version writes.
const VERSION: u32 = 1;

/// How a job has ended, and who wants to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobEvent {
    /// Version of this form.
    pub v: u32,
    /// When, ms since 1970.
    pub at: i64,
    /// The state.
    pub state: String,
    /// Who is told.
    pub asked: Asked,
    /// What they are told: the job as machines read it.
    pub document: Box<RawValue>,
}

impl JobEvent {
    /// Of a job that somebody asked about.
    pub fn of(job: &[u8], status: &JobStatus) -> Option<Self> {
        let document = serde_json::to_string(&JobDocument::new(job, status)).ok()?;
        Some(Self {
            v: VERSION,
            at: status.changed,
            state: status.state.word().to_owned(),
            asked: *status.asked.clone()?,
            document: RawValue::from_string(document).ok()?,
        })
    }

    /// What is written of it.
    pub fn write(&self, topic: &str, partitions: i32, job: &Bytes) -> Outgoing {
        Outgoing {
            to: TopicPartition::new(topic, partition_for(Some(job), job, partitions)),
            key: Some(job.clone()),
            value: Some(serde_json::to_vec(self).unwrap_or_default().into()),
            headers: Headers::new(),
            timestamp: self.at,
            tag: 0,
        }
    }

    /// Reads what [`JobEvent::write`] wrote.
    pub fn read(value: &[u8]) -> LogResult<Self> {
        versioned(
            value,
            VERSION,
            |event: &Self| event.v,
            |e| {
                let message = format!("an event of a job cannot be read: {e}");
                LogError::new(Class::Fatal, "job_event_unreadable", message)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::{Note, What};
    use super::super::payload::Payload;
    use super::*;

    /// A durable form: change it with its version.
    #[test]
    fn its_form_is_stable() {
        let mut note = Note {
            root: true,
            at: 7,
            ..Note::new("bill", What::Forwarded { births: 0, result: None, into: Vec::new() }, 5)
        };
        let correlation = Some(Payload::Text("c-1".into()));
        note.asked = Some(Box::new(Asked { reply: "replies.web".into(), correlation, refused: None, judged: true }));
        let mut status = JobStatus::begin(&note);
        status.add(&note, 0);
        let event = JobEvent::of(b"a", &status).unwrap();
        let written = event.write("p.jobs.events", 1, &Bytes::from_static(b"a"));
        let value = written.value.unwrap();
        let golden = concat!(
            r#"{"v":1,"at":7,"state":"done","asked":{"reply":"replies.web","correlation":{"text":"c-1"},"judged":true},"#,
            r#""document":{"job":"a","state":"done""#
        );
        assert!(value.starts_with(golden.as_bytes()), "{}", String::from_utf8_lossy(&value));
        let read = JobEvent::read(&value).unwrap();
        assert_eq!((read.asked, read.document.get()), (event.asked, event.document.get()));
        assert_eq!(JobEvent::read(br#"{"v":2}"#).unwrap_err().code, "newer_version");
        assert_eq!(JobEvent::read(b"{}").unwrap_err().code, "job_event_unreadable");
    }
}
