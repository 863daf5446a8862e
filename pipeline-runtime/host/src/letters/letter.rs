//! One dead letter: the record as it lies in its topic, and what its headers say of the error.

use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::LogRecord;
use serde::Serialize;

use super::families;
use crate::held::Origin;

/// The form of our own headers that this version knows.
const VERSION: u32 = 1;

/// A letter.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The topic it lies in.
    pub topic: Arc<str>,
    /// Its partition there.
    pub partition: i32,
    /// As it lies there, with all headers.
    pub record: LogRecord,
    /// The record's own headers, without those that tell of the error.
    pub headers: Headers,
    /// Why it is there.
    pub error: ErrorFields,
    /// The message id, as far as the letter knows it.
    pub id: Option<Bytes>,
    /// Whether somebody has sent it again, edited it away or purged it.
    pub done: bool,
    /// Whether its key waits for somebody to decide about it.
    pub holds: bool,
}

/// What the headers say of the error. Texts that are not there are empty; in JSON they are null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErrorFields {
    /// Who wrote the letter: `millstream`, `connect`, `streams`, `spring`, `share-group`; empty for nobody known.
    #[serde(serialize_with = "or_null")]
    pub system: String,
    /// Pipeline, connector or consumer group.
    #[serde(serialize_with = "or_null")]
    pub pipeline: String,
    /// The stage.
    #[serde(serialize_with = "or_null")]
    pub stage: String,
    /// The filter, or the class that was running.
    #[serde(serialize_with = "or_null")]
    pub filter: String,
    /// The topic of the record that was read.
    #[serde(serialize_with = "or_null")]
    pub topic: String,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its offset.
    pub offset: Option<i64>,
    /// Its own time, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Its message id, where it is text.
    #[serde(serialize_with = "or_null")]
    pub id: String,
    /// Attempts made.
    pub attempts: i64,
    /// Stable code; of another system, the name of the exception without its package.
    #[serde(serialize_with = "or_null")]
    pub code: String,
    /// data, permanent, exhausted or bug.
    #[serde(serialize_with = "or_null")]
    pub class: String,
    /// For people.
    #[serde(serialize_with = "or_null")]
    pub message: String,
    /// When it became a letter, in milliseconds since 1970.
    pub at: i64,
    /// How often it was sent back before.
    pub redrives: i64,
    /// How often it was edited.
    pub edited: i64,
    /// Whether it held its key when it was written.
    #[serde(skip)]
    pub hold: bool,
    /// What is left out of the letter because it was too large.
    #[serde(serialize_with = "or_null")]
    pub omitted: String,
}

fn or_null<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.is_empty() { serializer.serialize_none() } else { serializer.serialize_str(text) }
}

impl Letter {
    /// Reads the headers of a record in a dead-letter topic.
    pub fn new(topic: Arc<str>, partition: i32, record: LogRecord) -> Self {
        let families::Read { error, own, id } = families::read(&record);
        Self { topic, partition, record, headers: own, error, id, done: false, holds: false }
    }

    /// Whether a later version of Millstream wrote it: its headers may mean something else.
    pub fn newer(&self) -> bool {
        let version = self.record.headers.get_str("millstream.dlq.version");
        version.is_some_and(|v| v.parse::<u32>().map_or(true, |v| v > VERSION))
    }

    /// Where it lies, as people write it: `partition:offset`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.partition, self.record.offset)
    }

    /// Where its record was first read, if it says so.
    pub fn origin(&self) -> Option<Origin> {
        Some((self.error.topic.clone(), self.error.partition?, self.error.offset?))
    }

    /// How often it was sent back before, as the mark of its hold says it.
    pub fn sent(&self) -> u32 {
        u32::try_from(self.error.redrives).unwrap_or(0)
    }

    /// The time of the record that failed, or of the letter where that is not known.
    pub fn timestamp(&self) -> i64 {
        self.error.timestamp.unwrap_or(self.record.timestamp)
    }
}
