//! What was ordered, read from the entries of the control topic.

use std::collections::{BTreeMap, BTreeSet};

use millstream_log::LogResult;

use super::records::{PauseOrder, RetryMade, ScaleOrder, StopJob, decode, encode};
use super::{Change, Entries};
use crate::jobs::Stopped;
use crate::replay::in_place::{self, Replay};

/// Keys of paused stages begin with it.
const PAUSE: &str = "pause/";
/// Keys of scaled stages begin with it.
const SCALE: &str = "scale/";

/// Keys of stages that got a topic for retries begin with it.
const RETRY: &str = "retry/";

/// Keys of jobs of which the rest is dropped begin with it.
const JOB: &str = "job/";

/// The orders that hold, by stage. Those for stages that the pipeline no longer has are kept: the stage may come back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Stages that read nothing.
    pub paused: BTreeSet<String>,
    /// Replicas per process, instead of what the file says.
    pub scale: BTreeMap<String, u32>,
    /// Stages that got a topic `.retry` after they were started, because a dead letter was sent back to them.
    pub retry: BTreeSet<String>,
    /// Jobs of which the rest is dropped, by their ids, and why.
    pub stopped: BTreeMap<String, Stopped>,
    /// Every replay in place that is known, in the order in which they were ordered.
    pub replays: Vec<Replay>,
}

impl Orders {
    /// From the entries of a control topic. An order of a newer version is an error: not to obey it would be a guess.
    pub fn read(entries: &Entries) -> LogResult<Self> {
        let mut orders = Self { replays: in_place::all(entries)?, ..Self::default() };
        for (key, entry) in entries {
            if let Some(stage) = key.strip_prefix(PAUSE) {
                decode::<PauseOrder>(key, &entry.value)?;
                orders.paused.insert(stage.to_owned());
            } else if let Some(stage) = key.strip_prefix(SCALE) {
                let order: ScaleOrder = decode(key, &entry.value)?;
                orders.scale.insert(stage.to_owned(), order.replicas);
            } else if let Some(stage) = key.strip_prefix(RETRY) {
                decode::<RetryMade>(key, &entry.value)?;
                orders.retry.insert(stage.to_owned());
            } else if let Some(job) = key.strip_prefix(JOB) {
                let order: StopJob = decode(key, &entry.value)?;
                orders.stopped.insert(job.to_owned(), order.why);
            }
        }
        Ok(orders)
    }

    /// The order to pause a stage.
    pub fn pause(stage: &str, now: i64) -> LogResult<Change> {
        Ok((format!("{PAUSE}{stage}"), Some(encode(&PauseOrder { at: now })?)))
    }

    /// Takes it back.
    pub fn resume(stage: &str) -> Change {
        (format!("{PAUSE}{stage}"), None)
    }

    /// The order to run a stage with so many replicas in each process.
    pub fn scale(stage: &str, replicas: u32, now: i64) -> LogResult<Change> {
        Ok((format!("{SCALE}{stage}"), Some(encode(&ScaleOrder { replicas, at: now })?)))
    }

    /// Takes it back.
    pub fn reset(stage: &str) -> Change {
        (format!("{SCALE}{stage}"), None)
    }

    /// Says that a stage has a topic `.retry` now: running replicas join again to read it.
    pub fn retry_made(stage: &str, now: i64) -> LogResult<Change> {
        Ok((format!("{RETRY}{stage}"), Some(encode(&RetryMade { at: now })?)))
    }

    /// The order to drop what is left of a job.
    pub fn stop_job(job: &str, why: Stopped) -> LogResult<Change> {
        Ok((format!("{JOB}{job}"), Some(encode(&StopJob { why })?)))
    }

    /// Nothing is left of it.
    pub fn forget_job(job: &str) -> Change {
        (format!("{JOB}{job}"), None)
    }

    /// Whether a stage reads nothing live until a replay of it is over.
    pub fn held_by_replay(&self, stage: &str) -> bool {
        in_place::running(&self.replays, stage).is_some_and(|replay| replay.pause_live)
    }

    /// Replicas a stage shall have in each process.
    pub fn wanted(&self, stage: &str, replicas: u32) -> u32 {
        self.scale.get(stage).copied().unwrap_or(replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Entry;
    use bytes::Bytes;

    fn entries(all: Vec<Change>) -> Entries {
        all.into_iter().filter_map(|(key, value)| Some((key, Entry { value: value?, at: 0, offset: 0 }))).collect()
    }

    #[test]
    fn orders_are_read_as_they_are_written() {
        let all = entries(vec![
            Orders::pause("clean", 1).unwrap(),
            Orders::scale("split", 0, 2).unwrap(),
            Orders::scale("bill", 8, 3).unwrap(),
            Orders::reset("other"),
            Orders::retry_made("bill", 10).unwrap(),
            Orders::stop_job("a/b", Stopped::Deadline).unwrap(),
            Orders::forget_job("c"),
            ("retention/orders.clean".into(), Some(Bytes::from_static(b"{\"v\":9}"))),
            ("letters/clean/0".into(), Some(Bytes::from_static(&[1, 2, 3]))),
        ]);
        let orders = Orders::read(&all).unwrap();
        assert!(orders.paused.contains("clean") && orders.paused.len() == 1);
        assert!(orders.retry.contains("bill") && orders.retry.len() == 1);
        assert_eq!(orders.stopped, BTreeMap::from([("a/b".to_owned(), Stopped::Deadline)]));
        assert_eq!((orders.wanted("split", 4), orders.wanted("bill", 4), orders.wanted("clean", 4)), (0, 8, 4));
        assert_eq!(Orders::resume("clean"), ("pause/clean".to_owned(), None));
    }

    #[test]
    fn an_order_of_a_newer_version_is_an_error() {
        let newer = entries(vec![("scale/split".into(), Some(Bytes::from_static(b"{\"v\":2,\"share\":0.5}")))]);
        assert_eq!(Orders::read(&newer).unwrap_err().code, "newer_version");
    }
}
