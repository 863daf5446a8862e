//! What waits, as it stands in `<pipeline>.<stage>-wait.state`: small entries, as the payloads stay where they are.

use bytes::Bytes;
use millstream_log::{Class, LogError, LogRecord, LogResult};
use serde::{Deserialize, Serialize};

use super::meet::{At, Named, Waiter};
use crate::ids::hash128;

/// The form this version writes; a higher one stops who reads it.
const VERSION: u32 = 1;

/// The value of an entry. Hashes as 32 hexadecimal digits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    v: u32,
    since: i64,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
}

/// What stands for a name in memory and in entries: equal on every machine and run.
pub fn hash(name: &[u8]) -> u128 {
    hash128(&[b"wait", name])
}

/// The key of an entry: `<input>/<offset>`.
pub fn key(at: At) -> Bytes {
    Bytes::from(format!("{}/{}", at.input, at.offset))
}

/// The value of an entry.
pub fn value(waiter: &Waiter) -> Bytes {
    let hex = |hash: u128| format!("{hash:032x}");
    let (id, job) = (waiter.record.map(|named| hex(named.id)), waiter.record.map(|named| hex(named.job)));
    let entry = Entry { v: VERSION, since: waiter.since, by: hex(waiter.by), id, job };
    // Texts and numbers alone: nothing in it can fail to be written.
    serde_json::to_vec(&entry).unwrap_or_default().into()
}

/// What an entry says; nothing in the place of what waits no more.
///
/// # Errors
/// `newer_version`, `state_unreadable`.
pub fn read(record: &LogRecord) -> LogResult<(At, Option<Waiter>)> {
    let broken = |why: &str| {
        let message = format!("what waits for an event, offset {}, cannot be read: {why}", record.offset);
        LogError::new(Class::Fatal, "state_unreadable", message)
    };
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    let at = key
        .split_once('/')
        .and_then(|(input, offset)| Some(At { input: input.parse().ok()?, offset: offset.parse().ok()? }));
    let at = at.ok_or_else(|| broken("its key is no place"))?;
    let Some(value) = &record.value else { return Ok((at, None)) };
    let version = serde_json::from_slice::<serde_json::Value>(value).map_err(|e| broken(&e.to_string()))?["v"].as_u64();
    if version.is_some_and(|v| v > u64::from(VERSION)) {
        let message = "what waits for events is kept by a newer Millstream; run that one".to_owned();
        return Err(LogError::new(Class::Config, "newer_version", message));
    }
    let entry: Entry = serde_json::from_slice(value).map_err(|e| broken(&e.to_string()))?;
    let hex = |text: &str| u128::from_str_radix(text, 16).map_err(|e| broken(&e.to_string()));
    let record = match (&entry.id, &entry.job) {
        (Some(id), Some(job)) => Some(Named { id: hex(id)?, job: hex(job)? }),
        _ => None,
    };
    Ok((at, Some(Waiter { since: entry.since, by: hex(&entry.by)?, record })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_filter_api::Headers;

    fn record(key: Bytes, value: Option<Bytes>) -> LogRecord {
        LogRecord { offset: 5, timestamp: 0, key: Some(key), value, headers: Headers::new() }
    }

    /// Version 1. It is in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let at = At { input: 2, offset: 41 };
        let named = Named { id: 1, job: hash(b"job") };
        let waiter = Waiter { since: 1_700_000_000_000, by: hash(b"u-1"), record: Some(named) };
        let text = format!(
            "{{\"v\":1,\"since\":1700000000000,\"by\":\"{:032x}\",\"id\":\"00000000000000000000000000000001\",\"job\":\"{:032x}\"}}",
            hash(b"u-1"),
            hash(b"job")
        );
        assert_eq!((key(at), value(&waiter)), (Bytes::from("2/41"), Bytes::from(text)));
        assert_eq!(format!("{:032x}", hash(b"u-1")), "4b30a09983ecc862435388f51358caa2");
        assert_eq!(read(&record(key(at), Some(value(&waiter)))).ok(), Some((at, Some(waiter))));
        assert_eq!(read(&record(key(at), None)).ok(), Some((at, None)));
        let event = Waiter { record: None, ..waiter };
        assert_eq!(read(&record(key(at), Some(value(&event)))).ok(), Some((at, Some(event))));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let code = |key: &'static str, value: &'static str| {
            read(&record(key.into(), Some(value.into()))).err().map_or("none", |e| e.code)
        };
        assert_eq!(code("0/1", "{\"v\":2}"), "newer_version");
        assert_eq!(code("0/1", "{\"v\":1}"), "state_unreadable");
        assert_eq!(code("0/1", "{\"v\":1,\"since\":1,\"by\":\"x\"}"), "state_unreadable");
        assert_eq!(code("0-1", "{}"), "state_unreadable");
        assert_eq!(code("0/1", "?"), "state_unreadable");
    }
}
