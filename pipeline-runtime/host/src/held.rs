//! Keys that are held by dead letters: what of that is written to `.retry`, and what `.retry` says of it.
//!
//! Who only looks reads `.retry` beside the stage, from the position of its group on. So it sees what every process has
//! set aside, also while none runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millstream_engine::{CopyKind, ranges_of_metadata};
use millstream_filter_api::Headers;
use millstream_log::{Class, End, Log, LogError, LogResult, Outgoing, TopicPartition};
use millstream_spec::model::Stage;

use crate::changes::moved_to;
use crate::dead_letter::{Reason, redrives};
use crate::input::Input;
use crate::plan::StagePlan;
use crate::restore;
use crate::retry_topic::{self, Note};

/// Said where keys are held and nothing else is left to do.
pub const KEYS_HELD: &str = "keys_held";

/// Where a dead letter was first read: topic, partition, offset.
pub type Origin = (String, i32, i64);

/// The mark that a dead letter holds its key, for the transaction of the letter.
pub fn mark(plan: &StagePlan, input: &Input, partition: i32, reason: &Reason<'_>) -> Outgoing {
    let note = Note {
        reason: retry_topic::Reason::Hold,
        input: input.input,
        topic: input.topic(plan).to_string(),
        partition: input.partition,
        offset: input.record.offset,
        attempts: redrives(&input.record.headers),
        first: input.first,
        due: 0,
        code: reason.code.to_owned(),
        message: String::new(),
        filter: reason.filter.to_owned(),
    };
    without_record(&plan.retry, partition, input.record.key.clone(), &note)
}

/// The word that a hold is over.
pub fn free(retry: &Arc<str>, held: &Held, origin: &Origin, input: u16) -> Outgoing {
    let (topic, from, offset) = origin;
    let note = Note {
        reason: retry_topic::Reason::Free,
        input,
        topic: topic.clone(),
        partition: *from,
        offset: *offset,
        attempts: held.sent,
        first: 0,
        due: 0,
        code: String::new(),
        message: String::new(),
        filter: String::new(),
    };
    without_record(retry, held.partition, held.key.clone(), &note)
}

fn without_record(retry: &Arc<str>, partition: i32, key: Option<Bytes>, note: &Note) -> Outgoing {
    Outgoing {
        to: TopicPartition::new(Arc::clone(retry), partition),
        key,
        value: None,
        headers: note.headers(&Headers::new()),
        timestamp: crate::clock::wall_ms(),
        tag: 0,
    }
}

/// What a dead letter holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition of `.retry`.
    pub partition: i32,
    /// The key.
    pub key: Option<Bytes>,
    /// How often the letter was sent back before. One that is sent back and fails is a letter of the same record again, and
    /// what was decided about the one before says nothing of it.
    pub sent: u32,
}

/// What of a stage is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Dead letters that hold their keys and nobody has decided about.
    pub letters: BTreeMap<Origin, Held>,
    /// Records that wait behind them.
    pub records: u64,
    /// Something else is left in `.retry`: what is set aside for a while, what was sent back, what was decided.
    pub busy: bool,
}

impl Holds {
    /// Keys that are held.
    pub fn keys(&self) -> u64 {
        let keys = self.letters.iter().map(|((topic, _, _), held)| (topic, held.partition, &held.key));
        keys.collect::<BTreeSet<_>>().len() as u64
    }

    /// In words, or nothing.
    pub fn say(&self) -> Option<String> {
        let count = |n: u64, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        let keys = self.keys();
        let behind = if self.records == 1 { "waits" } else { "wait" };
        (keys > 0).then(|| format!("{} held, {} {behind} behind", count(keys, "key"), count(self.records, "record")))
    }
}

/// What of a stage is held and what is to be done about it, in one line; or nothing.
pub fn say(log: &dyn Log, pipeline: &str, stage: &Stage) -> Option<String> {
    let held = look(log, &stage.group, &stage.retry_topic).ok()?.say()?;
    let name = &stage.name;
    Some(format!(
        "pipeline `{pipeline}`: stage `{name}`: {held}; `millstream dlq ls {pipeline}.{name}` shows the dead letters, \
         and `dlq redrive`, `dlq drop` or `dlq release` lets the keys go on [{KEYS_HELD}]"
    ))
}

/// Looks through what a group has not worked off of its `.retry`. Nothing where the topic does not exist.
pub fn look(log: &dyn Log, group: &str, retry: &str) -> LogResult<Holds> {
    let mut all = Holds::default();
    let Some(info) = &log.describe(&[retry])?[0] else { return Ok(all) };
    let places: Vec<TopicPartition> = (0..info.partitions).map(|p| TopicPartition::new(retry, p)).collect();
    let committed = log.committed(group, &places)?;
    let lows = log.ends(&places, End::Low)?;
    let ends = log.ends(&places, End::Stable)?;
    for ((place, committed), (low, end)) in places.iter().zip(committed).zip(lows.into_iter().zip(ends)) {
        let (offset, metadata) = committed.map_or((low, String::new()), |c| (c.offset.max(low), c.metadata));
        let ranges = if moved_to(&metadata).is_some() { String::new() } else { metadata };
        let done = ranges_of_metadata(offset, &ranges).map_err(|e| {
            LogError::new(Class::Config, e.code(), format!("the position of `{group}` in {place}: {e}"))
        })?;
        let mut partition = Partition::default();
        restore::read(log, place, offset..end, |record| {
            let after = done.partition_point(|(start, _)| *start <= record.offset);
            if after == 0 || record.offset >= done[after - 1].1 {
                partition.add(record.key.clone(), &record.headers);
            }
            Ok(())
        })?;
        partition.settle(place.partition, &mut all);
    }
    Ok(all)
}

/// What is not done of one partition.
#[derive(Default)]
struct Partition {
    holds: BTreeMap<Origin, (u32, Option<Bytes>)>,
    /// `None`: whichever letter of the record it is.
    decided: BTreeSet<(Origin, Option<u32>)>,
    copies: Vec<(Origin, Option<Bytes>)>,
    busy: bool,
}

impl Partition {
    fn add(&mut self, key: Option<Bytes>, headers: &Headers) {
        // One that cannot be read becomes a letter, or stops the stage.
        let Ok((note, _)) = Note::read(headers) else {
            self.busy = true;
            return;
        };
        let origin = (note.topic, note.partition, note.offset);
        match note.reason.kind() {
            CopyKind::Hold => {
                let held = self.holds.entry(origin).or_insert((note.attempts, key));
                held.0 = held.0.max(note.attempts);
            }
            CopyKind::Free => drop(self.decided.insert((origin, Some(note.attempts)))),
            // It was there before any mark of the next letter.
            CopyKind::First => drop(self.decided.insert((origin, None))),
            CopyKind::Parked => self.copies.push((origin, key)),
            CopyKind::SentBack => self.busy = true,
        }
    }

    fn settle(mut self, partition: i32, all: &mut Holds) {
        self.busy |= !self.decided.is_empty();
        let decided = |origin: &Origin, sent| self.decided.contains(&(origin.clone(), sent));
        self.holds.retain(|origin, (sent, _)| !decided(origin, None) && !decided(origin, Some(*sent)));
        let mut keys: BTreeMap<(&str, &Option<Bytes>), i64> = BTreeMap::new();
        for ((topic, _, offset), (_, key)) in &self.holds {
            let first = keys.entry((topic, key)).or_insert(*offset);
            *first = (*first).min(*offset);
        }
        for ((topic, _, offset), key) in &self.copies {
            if keys.get(&(topic.as_str(), key)).is_some_and(|hold| hold <= offset) {
                all.records += 1;
            } else {
                self.busy = true;
            }
        }
        all.busy |= self.busy;
        all.letters.extend(self.holds.into_iter().map(|(origin, (sent, key))| (origin, Held { partition, key, sent })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(partition: &mut Partition, reason: retry_topic::Reason, key: &'static str, offset: i64) {
        sent(partition, reason, key, offset, 0);
    }

    fn sent(partition: &mut Partition, reason: retry_topic::Reason, key: &'static str, offset: i64, sent: u32) {
        let note = Note {
            reason,
            input: 0,
            topic: "in".into(),
            partition: 0,
            offset,
            attempts: sent,
            first: 0,
            due: 0,
            code: String::new(),
            message: String::new(),
            filter: String::new(),
        };
        partition.add(Some(Bytes::from_static(key.as_bytes())), &note.headers(&Headers::new()));
    }

    #[test]
    fn what_waits_behind_a_hold_is_told_from_the_rest() {
        use retry_topic::Reason::{Behind, First, Free, Hold, Parked};
        let look = |list: &[(retry_topic::Reason, &'static str, i64)]| {
            let (mut partition, mut all) = (Partition::default(), Holds::default());
            list.iter().for_each(|(reason, key, offset)| copy(&mut partition, *reason, key, *offset));
            partition.settle(3, &mut all);
            (all.keys(), all.records, all.busy)
        };
        assert_eq!(look(&[(Hold, "a", 1), (Behind, "a", 2), (Behind, "a", 3), (Hold, "b", 9)]), (2, 2, false));
        assert_eq!(look(&[(Hold, "a", 1), (Behind, "a", 2), (Parked, "c", 3)]), (1, 1, true));
        assert_eq!(look(&[(Hold, "a", 1), (Behind, "a", 2), (Free, "a", 1)]), (0, 0, true));
        assert_eq!(look(&[(Hold, "a", 1), (First, "a", 1)]), (0, 0, true));
        assert_eq!(look(&[]), (0, 0, false));
    }

    #[test]
    fn a_late_word_ends_no_newer_hold() {
        use retry_topic::Reason::{Free, Hold};
        let look = |freed| {
            let (mut partition, mut all) = (Partition::default(), Holds::default());
            sent(&mut partition, Free, "a", 1, freed);
            sent(&mut partition, Hold, "a", 1, 2);
            partition.settle(3, &mut all);
            all.letters.into_values().map(|held| held.sent).collect::<Vec<_>>()
        };
        assert_eq!((look(1), look(2)), (vec![2], vec![]));
    }

    #[test]
    fn in_words() {
        let key = |k: &'static str| Some(Bytes::from_static(k.as_bytes()));
        let mut holds = Holds::default();
        assert_eq!(holds.say(), None);
        holds.letters.insert(("in".into(), 0, 4), Held { partition: 0, key: key("a"), sent: 0 });
        holds.records = 1;
        assert_eq!(holds.say().as_deref(), Some("1 key held, 1 record waits behind"));
        holds.letters.insert(("in".into(), 1, 4), Held { partition: 1, key: key("b"), sent: 0 });
        holds.records = 5;
        assert_eq!(holds.say().as_deref(), Some("2 keys held, 5 records wait behind"));
    }
}
