//! How far a replay is, told by the log alone, and what is cleared away at its end.

use millstream_log::{Class, End, Log, LogResult, TopicPartition};
use serde::Serialize;

use super::order::{Replay, all, running};
use crate::control::Control;

/// Offsets of a range that have passed. Marks of transactions count as offsets, as they do in a lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Have passed.
    pub done: i64,
    /// There are.
    pub total: i64,
}

impl Progress {
    /// Whether nothing is left.
    pub fn complete(self) -> bool {
        self.done >= self.total
    }
}

/// How far a replay is that runs; `group` is the stage's own.
pub fn progress(log: &dyn Log, group: &str, replay: &Replay) -> LogResult<Progress> {
    let mut progress = Progress { done: 0, total: replay.total() };
    let group = replay.group(group);
    for input in &replay.inputs {
        let partitions: Vec<TopicPartition> =
            (0..input.ranges.len()).map(|p| TopicPartition::new(input.topic.as_str(), p as i32)).collect();
        let committed = log.committed(&group, &partitions)?;
        let at: Vec<Option<i64>> = committed.into_iter().map(|c| c.map(|c| c.offset)).collect();
        progress.done += passed(&input.ranges, &at);
    }
    Ok(progress)
}

fn passed(ranges: &[(i64, i64)], at: &[Option<i64>]) -> i64 {
    let one = |((from, to), at): (&(i64, i64), &Option<i64>)| at.map_or(0, |at| (at.min(*to) - from).max(0));
    ranges.iter().zip(at).map(one).sum()
}

/// Whether the control topic, read to its very end, says that this replay runs. Asked by a replica after it has been
/// given positions: the group is deleted only after the end of the replay was written, so positions that are missing are
/// those of a beginning if this holds, and those of an end if not.
pub fn still_running(log: &dyn Log, pipeline: &str, replay: &Replay) -> LogResult<bool> {
    let control = Control::of(log, pipeline);
    let mut follower = control.follow()?;
    control.catch_up(&mut follower, End::High)?;
    Ok(running(&all(follower.entries())?, &replay.stage).is_some_and(|r| r.id == replay.id))
}

/// Deletes the group and the topic of a replay that has ended, and notes that. `false`: a replica that has not heard of
/// the end is still a member. What may not be deleted stays, and is said.
pub(super) fn clear(log: &dyn Log, pipeline: &str, replay: &Replay) -> LogResult<bool> {
    let group = format!("{pipeline}.{}", replay.stage);
    let (own, state) = (replay.group(&group), replay.state_topic(&group));
    match log.delete_groups(&[&own]).and_then(|()| log.delete(&[&state])) {
        Ok(()) => {}
        Err(e) if matches!(e.class, Class::Denied) => {
            tracing::warn!(error = %e, "the group `{own}` and the topic `{state}` of a replay that has ended cannot be \
                deleted; nobody uses them any more");
        }
        Err(e) if e.class == Class::Retry => {
            tracing::debug!(error = %e, group = %own, "not cleared away yet");
            return Ok(false);
        }
        Err(e) => return Err(e),
    }
    Control::of(log, pipeline).put(vec![Replay { cleared: true, ..replay.clone() }.change()?])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_range_counts() {
        let ranges = [(10, 20), (5, 5), (0, 8), (3, 9)];
        assert_eq!(passed(&ranges, &[Some(15), None, Some(90), None]), 5 + 8);
        assert_eq!(passed(&ranges, &[Some(2), Some(7), Some(8), Some(9)]), 8 + 6);
        assert!(Progress { done: 0, total: 0 }.complete() && !Progress { done: 4, total: 5 }.complete());
    }
}
