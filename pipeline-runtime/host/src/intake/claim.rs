//! What stands in `<pipeline>.in.ids`, byte for byte: who has taken in which id with which payload, and which of them
//! have their record. The key is the id's hash; the value begins with its version.

use bytes::Bytes;
use millstream_log::{Class, LogError, LogRecord, LogResult, Outgoing, TopicPartition, partition_of};

use super::names::{IdHash, PayloadHash};

/// Rises when the form changes.
const VERSION: u8 = 1;
/// Version, kind, hash of the payload, who.
const LENGTH: usize = 1 + 1 + 16 + 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An id is taken in, if nobody was before.
    Claimed,
    /// Its record is written.
    Done,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it says.
    pub kind: Kind,
    /// Of which id.
    pub id: IdHash,
    /// With which payload.
    pub payload: PayloadHash,
    /// By whom: a random number of the process.
    pub who: u64,
}

impl Entry {
    /// As a record of the topic, which has so many partitions.
    pub fn encode(&self, topic: &std::sync::Arc<str>, partitions: i32, now: i64, tag: u64) -> Outgoing {
        let mut value = Vec::with_capacity(LENGTH);
        value.push(VERSION);
        value.push(match self.kind {
            Kind::Claimed => 0,
            Kind::Done => 1,
        });
        value.extend_from_slice(&self.payload.0);
        value.extend_from_slice(&self.who.to_be_bytes());
        Outgoing {
            to: TopicPartition::new(std::sync::Arc::clone(topic), partition_of(&self.id.0, partitions)),
            key: Some(Bytes::copy_from_slice(&self.id.0)),
            value: Some(Bytes::from(value)),
            headers: millstream_filter_api::Headers::new(),
            timestamp: now,
            tag,
        }
    }

    /// From a record.
    ///
    /// # Errors
    /// `newer_version`, `ids_unreadable`: going on without it could make a second job of an id.
    pub fn decode(record: &LogRecord, place: &TopicPartition) -> LogResult<Self> {
        let broken = || {
            let at = format!("{place} offset {}", record.offset);
            LogError::new(Class::Fatal, "ids_unreadable", format!("{at} is no id that was taken in"))
        };
        let value = record.value.as_deref().unwrap_or(&[]);
        if value.first().is_some_and(|version| *version > VERSION) {
            let message = format!("{place} holds ids in version {}, and this program knows {VERSION}", value[0]);
            return Err(LogError::new(Class::Config, "newer_version", message));
        }
        let key: [u8; 16] = record.key.as_deref().unwrap_or(&[]).try_into().map_err(|_| broken())?;
        let value: &[u8; LENGTH] = value.try_into().map_err(|_| broken())?;
        let kind = match (value[0], value[1]) {
            (VERSION, 0) => Kind::Claimed,
            (VERSION, 1) => Kind::Done,
            _ => return Err(broken()),
        };
        let (mut payload, mut who) = ([0; 16], [0; 8]);
        payload.copy_from_slice(&value[2..18]);
        who.copy_from_slice(&value[18..]);
        Ok(Self { kind, id: IdHash(key), payload: PayloadHash(payload), who: u64::from_be_bytes(who) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &'static [u8], value: Vec<u8>) -> LogRecord {
        let (key, value) = (Some(Bytes::from_static(key)), Some(Bytes::from(value)));
        LogRecord { offset: 7, timestamp: 0, key, value, headers: millstream_filter_api::Headers::new() }
    }

    /// The bytes of version 1. They are in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let entry = Entry { kind: Kind::Done, id: IdHash([1; 16]), payload: PayloadHash([2; 16]), who: 3 };
        let out = entry.encode(&std::sync::Arc::from("p.in.ids"), 4, 5, 6);
        let mut bytes = vec![1, 1];
        bytes.extend_from_slice(&[2; 16]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(out.value.as_deref(), Some(bytes.as_slice()));
        assert_eq!(out.key.as_deref(), Some(&[1; 16][..]));
        let place = TopicPartition::new("p.in.ids", 0);
        assert_eq!(Entry::decode(&record(&[1; 16], bytes.clone()), &place).ok(), Some(entry));
        for (key, value, code) in [
            (&[1; 16][..], vec![2, 0], "newer_version"),
            (&[1; 16], vec![], "ids_unreadable"),
            (&[1; 15], bytes.clone(), "ids_unreadable"),
            (&[1; 16], bytes[..25].to_vec(), "ids_unreadable"),
            (&[1; 16], [&[1, 9], &bytes[2..]].concat(), "ids_unreadable"),
        ] {
            assert_eq!(Entry::decode(&record(key, value), &place).err().map(|e| e.code), Some(code));
        }
    }
}
