//! What stands in the control topic of partitions that wait.

use std::collections::BTreeMap;

use millstream_log::LogResult;
use serde::{Deserialize, Serialize};

use crate::control::{Change, Entries, decode, encode};

/// Keys begin with it; the stage's name follows.
pub const KEY: &str = "partitions/";

/// `partitions/<stage>`: partitions that a stage's input was given after the stage began to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// An input.
    pub topic: String,
    /// Partitions it had at first: those from here on are read from their beginning, whatever `start` says.
    pub first: i32,
    /// The same of the other inputs. Of one that is not named this says nothing: the stage reads it since later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, i32>,
    /// Partitions that are known to wait or to be read; more than these nobody has taken up yet.
    pub taken: i32,
    /// What waits, oldest first.
    pub steps: Vec<Step>,
}

/// Partitions that were added together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The first of them: as many partitions there were.
    pub from: i32,
    /// As many there are.
    pub to: i32,
    /// When it was noticed, ms since 1970.
    pub at: i64,
    /// Where the old partitions of each input ended, once nobody writes by the old number any more.
    pub ends: Option<BTreeMap<String, Vec<i64>>>,
}

impl Added {
    /// Of a stage, if it is about one of the topics that the stage reads: all of them have equal counts.
    pub fn read<'t>(
        entries: &Entries,
        stage: &str,
        mut inputs: impl Iterator<Item = &'t str>,
    ) -> LogResult<Option<Self>> {
        let key = format!("{KEY}{stage}");
        let Some(entry) = entries.get(&key) else { return Ok(None) };
        let added: Self = decode(&key, &entry.value)?;
        Ok(inputs.any(|topic| added.first_of(topic).is_some()).then_some(added))
    }

    /// Partitions that an input had at first, if this is about it.
    pub fn first_of(&self, topic: &str) -> Option<i32> {
        if self.topic == topic { Some(self.first) } else { self.with.get(topic).copied() }
    }

    /// What writes it.
    pub fn change(&self, stage: &str) -> LogResult<Change> {
        Ok((format!("{KEY}{stage}"), Some(encode(self)?)))
    }

    /// `before` with one more step, unless one leads as far; `topic` leads the inputs, and `others` are the rest of them.
    /// The ends of a step that nobody waits for yet are later ones.
    #[must_use]
    pub fn with<'t>(
        before: Option<Self>,
        topic: &'t str,
        others: impl IntoIterator<Item = &'t str>,
        step: Step,
    ) -> Self {
        let new = || Self {
            topic: topic.to_owned(),
            first: step.from,
            with: BTreeMap::new(),
            taken: step.to,
            steps: Vec::new(),
        };
        let mut added = before.unwrap_or_else(new);
        for input in std::iter::once(topic).chain(others) {
            if added.first_of(input).is_none() {
                added.with.insert(input.to_owned(), step.from);
            }
        }
        added.taken = added.taken.max(step.to);
        match added.steps.last_mut() {
            Some(last) if last.from == step.from => *last = Step { to: step.to.max(last.to), ..step },
            Some(last) if last.to >= step.to => {}
            _ => added.steps.push(step),
        }
        added
    }

    /// Partitions below this one may be begun.
    pub fn open(&self) -> i32 {
        self.steps.first().map_or(self.taken, |step| step.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Entry;

    fn step(from: i32, to: i32, end: Option<i64>) -> Step {
        Step { from, to, at: 7, ends: end.map(|end| [("raw".to_owned(), vec![end; from as usize])].into()) }
    }

    /// The bytes are a durable format: other versions read them.
    #[test]
    fn golden() {
        let added = Added {
            topic: "raw".into(),
            first: 2,
            with: BTreeMap::new(),
            taken: 4,
            steps: vec![step(2, 3, Some(9)), step(3, 4, None)],
        };
        let (key, value) = added.change("clean").unwrap();
        let value = value.unwrap();
        let golden = concat!(
            r#"{"v":1,"topic":"raw","first":2,"taken":4,"steps":[{"from":2,"to":3,"at":7,"ends":{"raw":[9,9]}},"#,
            r#"{"from":3,"to":4,"at":7,"ends":null}]}"#
        );
        assert_eq!((key.as_str(), std::str::from_utf8(&value).unwrap()), ("partitions/clean", golden));
        let entries: Entries = [(key, Entry { value, at: 0, offset: 0 })].into();
        assert_eq!(Added::read(&entries, "clean", ["more", "raw"].into_iter()).unwrap(), Some(added));
        assert_eq!(Added::read(&entries, "clean", ["other"].into_iter()).unwrap(), None);
        assert_eq!(Added::read(&entries, "split", ["raw"].into_iter()).unwrap(), None);
    }

    #[test]
    fn growth_upon_growth_waits_for_all_before_it() {
        let one = Added::with(None, "raw", [], step(2, 3, Some(9)));
        assert_eq!((one.first, one.open()), (2, 2));
        let two = Added::with(Some(one.clone()), "raw", [], step(3, 5, Some(4)));
        assert_eq!((two.first, two.open(), two.steps.len()), (2, 2, 2));
        // Noticed twice, as by two processes: one step, and the later ends.
        let again = Added::with(Some(two.clone()), "raw", [], step(3, 5, Some(6)));
        assert_eq!(again.steps, [step(2, 3, Some(9)), step(3, 5, Some(6))]);
        // By one that knows little.
        assert_eq!(Added::with(Some(two.clone()), "raw", [], step(2, 5, None)).steps, two.steps);
        let done = Added { steps: Vec::new(), ..two };
        assert_eq!(done.open(), 5);
        assert_eq!(Added::with(Some(done), "raw", [], step(5, 6, None)).first, 2);
    }
    /// A source that came later is begun by its own `start` in what was there when it came.
    #[test]
    fn each_input_knows_what_it_had_at_first() {
        let one = Added::with(None, "raw", ["web"], step(2, 4, None));
        assert_eq!((one.first_of("raw"), one.first_of("web"), one.first_of("late")), (Some(2), Some(2), None));
        let two = Added::with(Some(one), "late", ["web"], step(4, 8, None));
        assert_eq!((two.first_of("raw"), two.first_of("web"), two.first_of("late")), (Some(2), Some(2), Some(4)));
        let (key, value) = two.change("clean").unwrap();
        let value = value.unwrap();
        assert!(std::str::from_utf8(&value).unwrap().contains(r#""first":2,"with":{"late":4,"web":2},"taken":8"#));
        let entries: Entries = [(key, Entry { value, at: 0, offset: 0 })].into();
        // Also when the one that led is gone.
        assert_eq!(Added::read(&entries, "clean", ["late"].into_iter()).unwrap(), Some(two));
    }
}
