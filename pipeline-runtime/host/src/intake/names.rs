//! How what is taken in is called: ids that senders give become fixed bytes, and jobs are UUIDs.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::clock::wall_ms;

/// An id that a sender gave, as it is compared and kept: the sender's own text may be a secret, or long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdHash(pub [u8; 16]);

/// What a payload is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadHash(pub [u8; 16]);

/// How a record that is taken in is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By nobody: it gets a name of its own.
    Fresh,
    /// By an idempotency key.
    Key(Bytes),
    /// By an event's `source` and `id`.
    Event(Bytes, Bytes),
}

/// First bytes of SHA-256 over parts, each with its length. Nobody finds two lists of parts with one hash.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize()[..16]);
    first
}

impl Name {
    /// The id of a source whose records are in `topic`; `None` for a fresh name.
    pub fn id(&self, topic: &str) -> Option<IdHash> {
        match self {
            Self::Fresh => None,
            Self::Key(key) => Some(IdHash(digest(&[b"key", topic.as_bytes(), key]))),
            Self::Event(source, id) => Some(IdHash(digest(&[b"event", topic.as_bytes(), source, id]))),
        }
    }
}

impl PayloadHash {
    /// Of a payload.
    pub fn of(payload: &[u8]) -> Self {
        Self(digest(&[b"payload", payload]))
    }
}

/// The job of an id, where the id alone makes it: equal on every machine and for ever.
pub fn job_of_id(id: IdHash) -> String {
    uuid(digest(&[b"job", &id.0]), 8)
}

/// The job of an id that is claimed with a payload. Were it made of the id alone, another payload under an id that is
/// forgotten here and not yet in a stage's dedup would be dropped there.
pub fn job_of(id: IdHash, payload: PayloadHash) -> String {
    uuid(digest(&[b"job", &id.0, &payload.0]), 8)
}

/// A job that nobody named: UUIDv7, in the order of time.
pub fn fresh_job() -> String {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[..6].copy_from_slice(&(wall_ms() as u64).to_be_bytes()[2..]);
    uuid(bytes, 7)
}

/// These bytes as a UUID of a version (RFC 9562).
pub fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: the same key must be the same job in every version.
    #[test]
    fn jobs_of_ids_are_stable() {
        let id = Name::Key(Bytes::from_static(b"order-17")).id("orders.in").unwrap();
        let payload = PayloadHash::of(b"{}");
        let job = job_of(id, payload);
        assert_eq!(job, job_of(id, payload));
        assert_eq!((job.len(), job.as_bytes()[14]), (36, b'8'), "{job}");
        assert_ne!(job, job_of(id, PayloadHash::of(b"[]")));
        assert_ne!(job, job_of_id(id));
        assert_ne!(Name::Key(Bytes::from_static(b"order-17")).id("orders.in.web"), Some(id), "sources apart");
    }

    #[test]
    fn parts_are_told_apart() {
        let event = |a: &'static [u8], b: &'static [u8]| Name::Event(a.into(), b.into()).id("t");
        assert_ne!(event(b"a", b"bc"), event(b"ab", b"c"));
        assert_eq!(Name::Fresh.id("t"), None);
    }

    #[test]
    fn fresh_jobs_are_of_version_seven_and_rise() {
        let job = fresh_job();
        assert_eq!((job.len(), job.as_bytes()[14]), (36, b'7'), "{job}");
        assert!(b"89ab".contains(&job.as_bytes()[19]), "{job}");
        assert_ne!(job, fresh_job());
    }
}
