//! The order to replay, as it stands in the control topic: `replay/<stage>/<id>`.

use millstream_log::LogResult;
use serde::{Deserialize, Serialize};

use crate::control::{Change, Entries, decode, encode};

/// Keys of replays begin with it.
const FAMILY: &str = "replay/";

/// One replay of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Names it for ever: in the header of what comes through it, and in the name of its group.
    pub id: String,
    /// The stage.
    pub stage: String,
    /// When it was ordered, ms since 1970.
    pub at: i64,
    /// As it was asked for, for people.
    pub from: String,
    /// As it was asked for, for people.
    pub to: String,
    /// What is read, in the order of the stage's inputs.
    pub inputs: Vec<ReplayInput>,
    /// Whether the stage reads nothing live meanwhile.
    pub pause_live: bool,
    /// How it stands.
    pub state: ReplayState,
    /// Offsets that were done when it ended; while it runs, its group's positions say it.
    pub done: i64,
    /// When it ended, ms since 1970.
    pub ended: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Whether its group and its topic are gone.
    pub cleared: bool,
}

/// The range of one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayInput {
    /// Its topic.
    pub topic: String,
    /// By partition: the first offset, and the one after the last.
    pub ranges: Vec<(i64, i64)>,
}

impl ReplayInput {
    /// From where on a replay that stands at `at` still has to read a partition; beyond everything if it has not.
    pub(crate) fn still_to_read(&self, partition: usize, at: Option<i64>) -> i64 {
        let (from, to) = self.ranges.get(partition).copied().unwrap_or((0, 0));
        let at = at.unwrap_or(from);
        if at < to { at } else { i64::MAX }
    }
}

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// It goes on, or waits for a process that runs the stage.
    Running,
    /// All of the range has passed.
    Done,
    /// Somebody ended it. What had passed stays.
    Cancelled,
    /// It met what only a person can mend. What had passed stays.
    Failed,
}

impl Replay {
    /// The consumer group of its replicas; `group` is the stage's own.
    pub fn group(&self, group: &str) -> String {
        format!("{group}.replay.{}", self.id)
    }

    /// Its dedup changelog; `group` is the stage's own.
    pub fn state_topic(&self, group: &str) -> String {
        format!("{}.state", self.group(group))
    }

    /// Offsets of its range.
    pub fn total(&self) -> i64 {
        self.inputs.iter().flat_map(|i| &i.ranges).map(|(from, to)| (to - from).max(0)).sum()
    }

    /// The same, ended.
    #[must_use]
    pub fn end(&self, state: ReplayState, done: i64, reason: Option<String>, now: i64) -> Self {
        Self { state, done, reason, ended: Some(now), ..self.clone() }
    }

    /// As an entry of the control topic.
    pub fn change(&self) -> LogResult<Change> {
        Ok((self.key(), Some(encode(self)?)))
    }

    /// Takes it out of the control topic.
    pub fn forget(&self) -> Change {
        (self.key(), None)
    }

    fn key(&self) -> String {
        format!("{FAMILY}{}/{}", self.stage, self.id)
    }
}

/// Every replay that is known, in the order in which they were ordered. Their place in the topic counts, and not their
/// time: clocks differ, and of two that were ordered at once all processes must see the same one as the first.
pub fn all(entries: &Entries) -> LogResult<Vec<Replay>> {
    let of_family = entries.iter().filter(|(key, _)| key.starts_with(FAMILY));
    let mut all = of_family
        .map(|(key, entry)| Ok((entry.offset, decode::<Replay>(key, &entry.value)?)))
        .collect::<LogResult<Vec<_>>>()?;
    all.sort_by_key(|(offset, _)| *offset);
    Ok(all.into_iter().map(|(_, replay)| replay).collect())
}

/// The replay of a stage that runs: the first one ordered. A second one, ordered in the same moment, is taken back by
/// the command that ordered it, and obeyed by nobody. An order is written once and not again before its end, so its place
/// stays.
pub fn running<'r>(all: &'r [Replay], stage: &str) -> Option<&'r Replay> {
    all.iter().find(|r| r.stage == stage && r.state == ReplayState::Running)
}

/// The groups of the replays of a pipeline that run.
pub fn readers<'r>(pipeline: &str, all: &'r [Replay]) -> Vec<(String, &'r Replay)> {
    let running = all.iter().filter(|r| r.state == ReplayState::Running);
    running.map(|r| (r.group(&format!("{pipeline}.{}", r.stage)), r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Entry;

    fn replay(id: &str, at: i64, state: ReplayState) -> Replay {
        Replay {
            id: id.into(),
            stage: "clean".into(),
            at,
            from: "-2h".into(),
            to: "end".into(),
            inputs: vec![ReplayInput { topic: "orders.raw".into(), ranges: vec![(3, 10), (5, 5)] }],
            pause_live: true,
            state,
            done: 0,
            ended: None,
            reason: None,
            cleared: false,
        }
    }

    /// The bytes are a durable format: other versions read them.
    #[test]
    fn golden() {
        let one = replay("6913aa00-1f2e", 17, ReplayState::Running);
        let (key, value) = one.change().unwrap();
        assert_eq!(key, "replay/clean/6913aa00-1f2e");
        let golden = concat!(
            r#"{"v":1,"id":"6913aa00-1f2e","stage":"clean","at":17,"from":"-2h","to":"end","#,
            r#""inputs":[{"topic":"orders.raw","ranges":[[3,10],[5,5]]}],"pause_live":true,"state":"running","#,
            r#""done":0,"ended":null,"reason":null,"cleared":false}"#
        );
        assert_eq!(std::str::from_utf8(&value.unwrap()).unwrap(), golden);
        assert_eq!(decode::<Replay>(&key, golden.as_bytes()).unwrap(), one);
        assert_eq!((one.total(), one.group("orders.clean").as_str()), (7, "orders.clean.replay.6913aa00-1f2e"));
        assert_eq!([one.inputs[0].still_to_read(0, None), one.inputs[0].still_to_read(0, Some(7))], [3, 7]);
        assert_eq!([one.inputs[0].still_to_read(0, Some(10)), one.inputs[0].still_to_read(1, None)], [i64::MAX; 2]);
        assert_eq!(one.state_topic("orders.clean"), "orders.clean.replay.6913aa00-1f2e.state");
    }

    #[test]
    fn of_two_that_run_the_first_one_written_counts() {
        let entry = |r: &Replay, offset: i64| {
            let (key, value) = r.change().unwrap();
            (key, Entry { value: value.unwrap(), at: r.at, offset })
        };
        // The second has the earlier clock and the earlier name.
        let (first, second) = (replay("b", 9, ReplayState::Running), replay("a", 5, ReplayState::Running));
        let over = replay("0", 1, ReplayState::Done);
        let entries = [entry(&over, 30), entry(&first, 10), entry(&second, 20)].into();
        let found = all(&entries).unwrap();
        assert_eq!(found.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["b", "a", "0"]);
        assert_eq!(running(&found, "clean"), Some(&first));
        assert_eq!(running(&found, "split"), None);
    }
}
