//! What stands in `<pipeline>.in.seen`, byte for byte: the objects that records were made of, as they were then. The key
//! is the object's name; a tombstone forgets it.

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{Class, LogError, LogRecord, LogResult, Outgoing, TopicPartition};

use crate::decide::State;

/// Rises when the form changes.
const VERSION: u8 = 1;
/// A time that nobody knows.
const UNKNOWN: i64 = i64::MIN;

/// A state, in the form of the topic and of the index. `place` tells apart what was seen at another URL.
pub fn encode(state: &State, place: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + state.etag.len());
    value.push(VERSION);
    value.extend_from_slice(&place.to_be_bytes());
    value.extend_from_slice(&state.size.to_be_bytes());
    value.extend_from_slice(&state.modified.unwrap_or(UNKNOWN).to_be_bytes());
    value.extend_from_slice(state.etag.as_bytes());
    value
}

const HEAD: usize = 1 + 8 + 8 + 8;

/// The state and its place; `None` is none of this version.
pub fn decode(value: &[u8]) -> Option<(State, u64)> {
    let (head, etag) = value.split_at_checked(HEAD)?;
    let number = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let modified = number(17)? as i64;
    let state = State {
        size: number(9)?,
        modified: (modified != UNKNOWN).then_some(modified),
        etag: std::str::from_utf8(etag).ok()?.to_owned(),
    };
    (head[0] == VERSION).then_some((state, number(1)?))
}

/// What is in a record of the topic.
///
/// # Errors
/// `newer_version`, `seen_unreadable`: going on without it would take objects for new ones.
pub fn check(record: &LogRecord, place: &TopicPartition) -> LogResult<()> {
    let Some(value) = record.value.as_deref() else { return Ok(()) };
    if value.first().is_some_and(|version| *version > VERSION) {
        let message = format!("{place} holds objects in version {}, and this program knows {VERSION}", value[0]);
        return Err(LogError::new(Class::Config, "newer_version", message));
    }
    if decode(value).is_none() || record.key.is_none() {
        let message = format!("{place} offset {} is no object that was seen", record.offset);
        return Err(LogError::new(Class::Fatal, "seen_unreadable", message));
    }
    Ok(())
}

/// A record of the topic.
pub fn record(to: &TopicPartition, name: &[u8], value: Option<Vec<u8>>, now: i64) -> Outgoing {
    Outgoing {
        to: to.clone(),
        key: Some(Bytes::copy_from_slice(name)),
        value: value.map(Bytes::from),
        headers: Headers::new(),
        timestamp: now,
        tag: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of version 1. They are in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let state = State { size: 258, modified: Some(-2), etag: "ab".into() };
        let bytes = encode(&state, 3);
        assert_eq!(
            bytes,
            [
                &[1u8][..],
                &[0, 0, 0, 0, 0, 0, 0, 3],
                &[0, 0, 0, 0, 0, 0, 1, 2],
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
                b"ab"
            ]
            .concat()
        );
        assert_eq!(decode(&bytes), Some((state, 3)));
        let unknown = State { size: 0, modified: None, etag: String::new() };
        assert_eq!(decode(&encode(&unknown, 0)), Some((unknown, 0)));
        let place = TopicPartition::new("p.in.seen", 0);
        let wrong = |value: &[u8]| {
            let out = record(&place, b"a", Some(value.to_vec()), 0);
            let (key, value, headers) = (out.key, out.value, out.headers);
            check(&LogRecord { offset: 7, timestamp: 0, key, value, headers }, &place).err().map(|e| e.code)
        };
        assert_eq!(wrong(&bytes), None);
        assert_eq!(wrong(&[2, 0]), Some("newer_version"));
        assert_eq!(wrong(&bytes[..24]), Some("seen_unreadable"));
        assert_eq!(wrong(&[]), Some("seen_unreadable"));
        assert_eq!(wrong(&[&bytes[..], &[0xff]].concat()), Some("seen_unreadable"));
    }
}
