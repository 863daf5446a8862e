//! A letter sent again: what is written, and where.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::HeadersBuilder;
use millstream_log::{Outgoing, TopicPartition};

use super::families::REDRIVE_HEADER;
use super::letter::Letter;
use crate::ids;
use crate::outputs::partition_for;
use crate::retry_topic::{Note, Reason};

/// Where letters go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Back to the stage: to the same partition of the topic in which records lie that are set aside.
    Stage {
        /// `<pipeline>.<stage>.retry`.
        topic: Arc<str>,
        /// The stage's inputs, in their order.
        inputs: Vec<String>,
        /// They pass even where their ids have passed meanwhile.
        force: bool,
    },
    /// To any topic, as the record that it was before it failed.
    Topic {
        /// Its name.
        topic: Arc<str>,
        /// Partitions it has.
        partitions: i32,
    },
}

/// Sends letters again.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Where.
    pub to: Destination,
    /// Letters sent that often already stay.
    pub max_redrives: Option<i64>,
    /// Letters of these jobs stay.
    pub given_up: Arc<HashSet<Bytes>>,
}

/// Why letters stay.
pub const OMITTED: &str = "without its payload";
/// Why letters stay.
pub const NEWER: &str = "written by a newer version";
/// Why letters stay.
pub const ELSEWHERE: &str = "read from a topic that the stage does not read";
/// Why letters stay.
pub const HOLDS: &str = "their keys wait for them; `dlq redrive` without `--to`, `dlq drop` or `dlq release` first";
/// Why letters stay.
pub const HOLDS_NONE: &str = "no key waits for them";
/// Why letters stay.
pub const TOO_OFTEN: &str = "sent as often as allowed";

/// Why letters stay.
pub const GIVEN_UP: &str = "their jobs were compensated, or are; `dlq redrive --force` sends them all the same";

impl Redrive {
    /// The record to be written, or why the letter stays.
    pub fn copy(&self, letter: &Letter) -> Result<Outgoing, &'static str> {
        if !letter.error.omitted.is_empty() {
            // Written as it is, it would be a tombstone, which the record was not.
            return Err(OMITTED);
        }
        if letter.newer() {
            return Err(NEWER);
        }
        if letter.id.as_deref().is_some_and(|id| self.given_up.contains(ids::root(id))) {
            return Err(GIVEN_UP);
        }
        if self.max_redrives.is_some_and(|max| letter.error.redrives >= max) {
            return Err(TOO_OFTEN);
        }
        let times = (letter.error.redrives + 1).to_string();
        let mut out = HeadersBuilder::with_capacity(letter.headers.size() + 64);
        out.extend_except(&letter.headers, REDRIVE_HEADER);
        out.push(REDRIVE_HEADER, Some(times.as_bytes()));
        let own = out.finish();
        let (to, headers) = match &self.to {
            Destination::Stage { topic, inputs, force } => {
                let note = note(letter, inputs, *force).ok_or(ELSEWHERE)?;
                (TopicPartition::new(Arc::clone(topic), letter.partition), note.headers(&own))
            }
            Destination::Topic { topic, partitions } => {
                let id = letter.id.as_deref().unwrap_or_default();
                let partition = partition_for(letter.record.key.as_ref(), id, *partitions);
                (TopicPartition::new(Arc::clone(topic), partition), own)
            }
        };
        Ok(Outgoing {
            to,
            key: letter.record.key.clone(),
            value: letter.record.value.clone(),
            headers,
            timestamp: letter.timestamp(),
            tag: 0,
        })
    }
}

/// What a copy for the stage says of itself: a letter has its attempts before it again. Nothing for one of a topic that
/// the stage does not read.
fn note(letter: &Letter, inputs: &[String], force: bool) -> Option<Note> {
    let e = &letter.error;
    Some(Note {
        reason: match (e.hold, force) {
            (true, true) => Reason::ForcedFirst,
            (true, false) => Reason::First,
            (false, true) => Reason::Forced,
            (false, false) => Reason::Redriven,
        },
        input: u16::try_from(inputs.iter().position(|i| *i == e.topic)?).ok()?,
        topic: e.topic.clone(),
        partition: e.partition?,
        offset: e.offset?,
        attempts: 0,
        first: 0,
        due: 0,
        code: e.code.clone(),
        message: e.message.clone(),
        filter: e.filter.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_log::LogRecord;

    fn letter(extra: &[(&str, &[u8])]) -> Letter {
        let all: [(&str, &[u8]); 4] = [
            ("a", b"1"),
            ("millstream.redrive", b"2"),
            ("millstream.dlq.code", b"x"),
            ("millstream.dlq.timestamp", b"77"),
        ];
        let headers = all.iter().chain(extra).map(|(n, v)| (*n, Some(*v))).collect();
        let (key, value) = (Some(Bytes::from_static(b"k")), Some(Bytes::from_static(b"{ }")));
        Letter::new(Arc::from("t.dlq"), 3, LogRecord { offset: 9, timestamp: 5, key, value, headers })
    }

    fn list(out: &Outgoing) -> Vec<(&str, &[u8])> {
        out.headers.iter().map(|(n, v)| (n, v.unwrap_or(b"null"))).collect()
    }

    #[test]
    fn to_a_topic_goes_the_record_as_it_was() {
        let redrive = Redrive {
            to: Destination::Topic { topic: Arc::from("mended"), partitions: 4 },
            max_redrives: None,
            given_up: Arc::default(),
        };
        let out = redrive.copy(&letter(&[])).unwrap();
        assert_eq!(out.to, TopicPartition::new("mended", millstream_log::partition_of(b"k", 4)));
        assert_eq!((out.key.as_deref(), out.value.as_deref()), (Some(&b"k"[..]), Some(&b"{ }"[..])));
        assert_eq!(list(&out), [("a", &b"1"[..]), ("millstream.redrive", b"3")]);
        assert_eq!(out.timestamp, 77, "the record's own time, not that of the letter");
    }

    #[test]
    fn to_the_stage_goes_the_letter_to_its_own_partition() {
        let back = |force| {
            let to = Destination::Stage { topic: Arc::from("t.retry"), inputs: vec!["x".into(), "t.in".into()], force };
            Redrive { to, max_redrives: None, given_up: Arc::default() }
        };
        let read_from = |topic| {
            let place: [(&str, &[u8]); 3] =
                [("millstream.dlq.topic", topic), ("millstream.dlq.partition", b"3"), ("millstream.dlq.offset", b"41")];
            letter(&place)
        };
        let out = back(false).copy(&read_from(b"t.in")).unwrap();
        assert_eq!(out.to, TopicPartition::new("t.retry", 3));
        let (note, own) = Note::read(&out.headers).unwrap();
        assert_eq!((note.reason, note.input, note.topic.as_str(), note.offset), (Reason::Redriven, 1, "t.in", 41));
        assert_eq!((note.attempts, note.code.as_str()), (0, "x"));
        assert!(own.iter().eq([("a", Some(&b"1"[..])), ("millstream.redrive", Some(b"3"))]));
        let forced = back(true).copy(&read_from(b"t.in")).unwrap();
        assert_eq!(Note::read(&forced.headers).unwrap().0.reason, Reason::Forced);
        assert_eq!(back(false).copy(&read_from(b"former")).err(), Some(ELSEWHERE));
        assert_eq!(back(false).copy(&letter(&[])).err(), Some(ELSEWHERE), "it does not say where it is from");
    }

    #[test]
    fn some_stay() {
        let to = || Destination::Topic { topic: Arc::from("mended"), partitions: 4 };
        let redrive = Redrive { to: to(), max_redrives: Some(2), given_up: Arc::default() };
        assert_eq!(redrive.copy(&letter(&[])).err(), Some(TOO_OFTEN));
        assert!(Redrive { to: to(), max_redrives: Some(3), given_up: Arc::default() }.copy(&letter(&[])).is_ok());
        let omitted = letter(&[("millstream.dlq.omitted", b"payload")]);
        let newer = letter(&[("millstream.dlq.version", b"2")]);
        assert_eq!(Redrive { to: to(), max_redrives: None, given_up: Arc::default() }.copy(&newer).err(), Some(NEWER));
        assert_eq!(
            Redrive { to: to(), max_redrives: None, given_up: Arc::default() }.copy(&omitted).err(),
            Some(OMITTED)
        );
    }
}
