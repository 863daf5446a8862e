//! What stands in the control topic, byte for byte. Each value begins with its version; a reader that meets a newer one
//! says so instead of guessing.

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_log::{Class, LogError, LogResult};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::jobs::Stopped;

/// The version of every value.
pub const VERSION: u32 = 1;

/// `pause/<stage>`: its replicas read nothing, in every process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseOrder {
    /// When it was ordered, ms since 1970.
    pub at: i64,
}

/// `scale/<stage>`: replicas in each process that runs the stage, instead of what the pipeline's file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleOrder {
    /// How many; 0 runs the stage nowhere.
    pub replicas: u32,
    /// When it was ordered, ms since 1970.
    pub at: i64,
}

/// `retry/<stage>`: the stage has a topic `.retry`: it sets records aside, or a dead letter was sent back to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryMade {
    /// When, ms since 1970.
    pub at: i64,
}

/// `job/<id>`: what is left of the job is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopJob {
    /// Why.
    pub why: Stopped,
}

/// `process/<id>`: how one process stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// When it was written, ms since 1970.
    pub at: i64,
    /// When the process began, ms since 1970.
    pub began: i64,
    /// Name of its machine, where it knows it.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// The stages it runs.
    pub stages: BTreeMap<String, StageReport>,
}

/// One stage in one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Replicas there shall be.
    pub wanted: u32,
    /// Replicas there are.
    pub running: u32,
    /// Replicas of a singleton that stand by.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub standby: u32,
    /// Whether they read nothing, as ordered.
    pub paused: bool,
    /// What they did and have in hand.
    #[serde(flatten)]
    pub counts: Counts,
    /// The counts per second, in the last seconds.
    pub rates: Rates,
    /// What went wrong last.
    pub trouble: Option<Trouble>,
}

// The shape is serde's.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What the replicas of a stage have done since their processes began, and have in hand now. The one list of counts: a
/// process reports it, and `status` shows the sum of the reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records that ended, each once.
    pub read: u64,
    /// Of them, with 0..n outputs.
    pub forwarded: u64,
    /// Of them, on purpose.
    pub dropped: u64,
    /// Of them, as their id was seen.
    pub duplicates: u64,
    /// Of them, in the dead letters.
    pub dead_lettered: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// What the forwarded became.
    pub outputs: u64,
    /// Now: records that are read and have not ended.
    pub in_flight: u64,
    /// Now: of them, waiting for another attempt.
    pub retrying: u64,
    /// Now: set aside in `.retry` and not ended, whoever set them aside.
    #[serde(default)]
    pub parked: u64,
    /// Now: waiting behind a dead letter of their key.
    #[serde(default)]
    pub held: u64,
}

impl Counts {
    /// Adds another process's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            forwarded: self.forwarded + other.forwarded,
            dropped: self.dropped + other.dropped,
            duplicates: self.duplicates + other.duplicates,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            retried: self.retried + other.retried,
            outputs: self.outputs + other.outputs,
            in_flight: self.in_flight + other.in_flight,
            retrying: self.retrying + other.retrying,
            parked: self.parked + other.parked,
            held: self.held + other.held,
        }
    }

    /// What of it came since `before`, per second.
    #[must_use]
    pub fn rates(&self, before: &Self, seconds: f64) -> Rates {
        let rate = |of: fn(&Self) -> u64| (of(self).saturating_sub(of(before)) as f64 / seconds * 10.0).round() / 10.0;
        Rates {
            read: rate(|c| c.read),
            forwarded: rate(|c| c.forwarded),
            dropped: rate(|c| c.dropped),
            duplicates: rate(|c| c.duplicates),
            dead_lettered: rate(|c| c.dead_lettered),
            outputs: rate(|c| c.outputs),
        }
    }
}

/// Counts per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Records that ended.
    pub read: f64,
    /// Of them, with 0..n outputs.
    pub forwarded: f64,
    /// Of them, on purpose.
    pub dropped: f64,
    /// Of them, as their id was seen.
    pub duplicates: f64,
    /// Of them, in the dead letters.
    pub dead_lettered: f64,
    /// What the forwarded became.
    pub outputs: f64,
}

impl Rates {
    /// Adds another's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // Tenths, as they were: adding must not bring back what rounding took away.
        let add = |a: f64, b: f64| ((a + b) * 10.0).round() / 10.0;
        Self {
            read: add(self.read, other.read),
            forwarded: add(self.forwarded, other.forwarded),
            dropped: add(self.dropped, other.dropped),
            duplicates: add(self.duplicates, other.duplicates),
            dead_lettered: add(self.dead_lettered, other.dead_lettered),
            outputs: add(self.outputs, other.outputs),
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When, ms since 1970.
    pub at: i64,
    /// What.
    pub message: String,
    /// Whether a person must act before it goes on.
    pub gave_up: bool,
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// A value as it is written: JSON, its version first.
pub fn encode<T: Serialize>(body: &T) -> LogResult<Bytes> {
    json(&Written { v: VERSION, body })
}

/// A value that carries its version itself.
pub fn json<T: Serialize>(value: &T) -> LogResult<Bytes> {
    let json = serde_json::to_vec(value).map_err(|e| {
        LogError::new(Class::Fatal, "control_unwritable", format!("a control record cannot be written as JSON: {e}"))
    })?;
    Ok(Bytes::from(json))
}

/// A value as it was written. `key` is for people.
pub fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> LogResult<T> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let unreadable = |e: serde_json::Error| {
        LogError::new(
            Class::Config,
            "control_unreadable",
            format!("the control record `{key}` cannot be read: {e}; was it written by another program?"),
        )
    };
    let Version { v } = serde_json::from_slice(value).map_err(unreadable)?;
    if v > VERSION {
        return Err(LogError::new(
            Class::Config,
            "newer_version",
            format!(
                "the control record `{key}` has version {v} and this program reads up to {VERSION}; use a newer one"
            ),
        ));
    }
    serde_json::from_slice(value).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Bytes) -> &str {
        std::str::from_utf8(value).unwrap()
    }

    /// The bytes are a durable format: other versions read them.
    #[test]
    fn golden() {
        let pause = PauseOrder { at: 17 };
        assert_eq!(text(&encode(&pause).unwrap()), r#"{"v":1,"at":17}"#);
        assert_eq!(text(&encode(&RetryMade { at: 17 }).unwrap()), r#"{"v":1,"at":17}"#);
        let scale = ScaleOrder { replicas: 3, at: 17 };
        assert_eq!(text(&encode(&scale).unwrap()), r#"{"v":1,"replicas":3,"at":17}"#);
        let trouble = Trouble { at: 9, message: "no broker".into(), gave_up: false };
        let stage = StageReport {
            wanted: 2,
            running: 1,
            counts: Counts { read: 10, parked: 3, ..Counts::default() },
            rates: Rates { read: 2.5, ..Rates::default() },
            trouble: Some(trouble),
            ..Default::default()
        };
        let report =
            ProcessReport { at: 5, began: 1, host: "a".into(), pid: 7, stages: [("s".to_owned(), stage)].into() };
        let golden = concat!(
            r#"{"v":1,"at":5,"began":1,"host":"a","pid":7,"stages":{"s":{"wanted":2,"running":1,"paused":false,"read":10,"#,
            r#""forwarded":0,"dropped":0,"duplicates":0,"dead_lettered":0,"retried":0,"outputs":0,"in_flight":0,"#,
            r#""retrying":0,"parked":3,"held":0,"rates":{"read":2.5,"forwarded":0.0,"dropped":0.0,"duplicates":0.0,"#,
            r#""dead_lettered":0.0,"outputs":0.0},"trouble":{"at":9,"message":"no broker","gave_up":false}}}}"#
        );
        assert_eq!(text(&encode(&report).unwrap()), golden);
        assert_eq!(decode::<ProcessReport>("process/x", golden.as_bytes()).unwrap(), report);
        // Programs from before these were counted still report.
        let before = golden.replace(r#""parked":3,"held":0,"#, "");
        let read = decode::<ProcessReport>("process/x", before.as_bytes()).unwrap();
        assert_eq!((read.stages["s"].counts.parked, read.stages["s"].counts.read), (0, 10));
        assert_eq!(decode::<ScaleOrder>("scale/s", br#"{"v":1,"replicas":3,"at":17}"#).unwrap(), scale);
        assert_eq!(decode::<PauseOrder>("pause/s", br#"{"v":1,"at":17,"more":0}"#).unwrap(), pause);
    }

    #[test]
    fn a_newer_version_is_said_and_not_guessed() {
        let newer = decode::<PauseOrder>("pause/s", br#"{"v":2,"until":5}"#).unwrap_err();
        assert_eq!(newer.code, "newer_version");
        assert!(newer.message.contains("`pause/s` has version 2"), "{newer}");
        for bad in [&b"{}"[..], b"", b"\xff", b"{\"v\":-1}", b"{\"v\":1}"] {
            assert_eq!(decode::<PauseOrder>("pause/s", bad).unwrap_err().code, "control_unreadable");
        }
    }
}
