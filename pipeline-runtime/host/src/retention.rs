//! Frees topics that Millstream owns of records that are old and read by everyone.
//!
//! The broker's own retention looks at record time stamps, so records of last year would vanish the minute they are
//! written. Owned topics are therefore kept without end, and this keeper deletes: it notes how far each partition
//! reached at what time, and once such a note is older than the topic's `retention`, everything below it that all
//! groups of the pipeline have committed goes. Every process may keep: what it does is the same done twice.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_log::{Committed, End, Log, LogResult, TopicPartition};
use millstream_spec::model::Pipeline;
use serde::{Deserialize, Serialize};

use crate::clock::wall_ms;
use crate::control::{Control, VERSION};
use crate::replay::in_place::{self, Replay};
use crate::shared::Stop;
use crate::topics::{self, Partitions};

/// A topic to be kept in bounds.
pub struct Kept {
    topic: String,
    partitions: i32,
    retention: Duration,
    /// Groups of the pipeline that read it.
    readers: Vec<String>,
    /// Named by `to:`: ours only if we made it.
    given: bool,
}

/// Notes per partition at most: retention is exact to a share of this of itself.
const NOTES: u32 = 24;

/// The topics of a pipeline that have a retention and may belong to it.
pub fn kept(pipeline: &Pipeline, counts: &Partitions) -> Vec<Kept> {
    let readers = |topic: &str| {
        let reads = |s: &&millstream_spec::model::Stage| s.inputs.iter().any(|i| i.topic == topic);
        pipeline.stages.iter().filter(reads).map(|s| s.group.clone()).collect()
    };
    let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs);
    let outputs = outputs.map(|o| (&o.topic, o.settings.retention, o.given));
    // What keys the records of a topic anew is a stage, and its topic an output.
    let sources = pipeline.sources.iter().filter(|s| s.writes());
    let sources = sources.map(|s| (&s.topic, s.topic_settings.retention, false));
    let mut all: BTreeMap<&String, (Duration, bool)> = BTreeMap::new();
    let told = topics::told(pipeline).map(|(topic, settings)| (topic, settings.retention, false));
    for (topic, retention, given) in outputs.chain(sources).chain(told) {
        if let Some(retention) = retention {
            // Two outputs to one topic: what one of them still wants stays.
            let kept = all.entry(topic).or_insert((retention, given));
            kept.0 = kept.0.max(retention);
        }
    }
    all.into_iter()
        .map(|(topic, (retention, given))| Kept {
            topic: topic.clone(),
            partitions: counts.of(topic),
            retention,
            readers: readers(topic),
            given,
        })
        .collect()
}

/// Keeps until told to stop.
pub fn keep(log: &dyn Log, pipeline: &str, kept: &[Kept], stop: &Stop) -> LogResult<()> {
    let Some(shortest) = kept.iter().map(|k| k.retention).min() else { return Ok(()) };
    let every = (shortest / NOTES).clamp(Duration::from_secs(1), Duration::from_secs(3600));
    let control = Control::open(log, pipeline)?;
    let made: BTreeMap<String, Made> = control.read(MADE)?;
    let mut notes: BTreeMap<String, Notes> = control.read(NOTED)?;
    let ours: Vec<&Kept> = kept.iter().filter(|k| !k.given || made.contains_key(&k.topic)).collect();
    loop {
        // At once, because a run may be shorter than the first wait, every night anew.
        let mut changed = Vec::new();
        // What a newer version ordered cannot be read: then nothing goes, and `status` says why.
        let Ok(replays) = in_place::all(&control.entries()?) else {
            if stop.wait(every) {
                return Ok(());
            }
            continue;
        };
        let readers = in_place::readers(pipeline, &replays);
        for topic in &ours {
            let notes = notes.entry(topic.topic.clone()).or_default();
            let before = notes.clone();
            sweep(log, topic, &readers, notes, wall_ms())?;
            if *notes != before {
                changed.push(topic.topic.as_str());
            }
        }
        let changed: Vec<(&str, &Notes)> = changed.into_iter().map(|topic| (topic, &notes[topic])).collect();
        control.write(NOTED, &changed)?;
        if stop.wait(every) {
            return Ok(());
        }
    }
}

/// Remembers that topics named by `to:` are made by this pipeline, so that its retention holds for them. Written before
/// they are made: a topic of which that was forgotten would never be freed.
pub fn note_made(log: &dyn Log, pipeline: &str, topics: &[&str]) -> LogResult<()> {
    let made = Made { v: VERSION };
    let values: Vec<(&str, &Made)> = topics.iter().map(|topic| (*topic, &made)).collect();
    if values.is_empty() { Ok(()) } else { Control::open(log, pipeline)?.write(MADE, &values) }
}

/// What keys begin with in the control topic.
const NOTED: &str = "retention/";
const MADE: &str = "made/";

/// That a topic was made by this pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Version of this form.
    v: u32,
}

/// How far each partition of a topic had reached at what time; oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    /// Version of this form.
    v: u32,
    /// By partition: (ms since 1970, end offset then).
    partitions: Vec<Vec<(i64, i64)>>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { v: VERSION, partitions: Vec::new() }
    }
}

/// `replaying` are the groups of replays that run, each with where it began.
fn sweep(log: &dyn Log, topic: &Kept, replaying: &[(String, &Replay)], notes: &mut Notes, now: i64) -> LogResult<()> {
    let partitions: Vec<TopicPartition> =
        (0..topic.partitions).map(|p| TopicPartition::new(topic.topic.as_str(), p)).collect();
    let ends = log.ends(&partitions, End::High)?;
    let lows = log.ends(&partitions, End::Low)?;
    let mut readers: Vec<Vec<Option<i64>>> = topic
        .readers
        .iter()
        .map(|group| Ok(log.committed(group, &partitions)?.into_iter().map(|c| c.map(|c| c.offset)).collect()))
        .collect::<LogResult<_>>()?;
    for (group, replay) in replaying {
        let Some(input) = replay.inputs.iter().find(|i| i.topic == topic.topic) else { continue };
        let committed = log.committed(group, &partitions)?;
        let of = |(p, committed): (usize, Option<Committed>)| input.still_to_read(p, committed.map(|c| c.offset));
        readers.push(committed.into_iter().enumerate().map(of).map(Some).collect());
    }
    notes.partitions.resize(partitions.len(), Vec::new());
    let mut deletions = Vec::new();
    for (p, partition) in partitions.into_iter().enumerate() {
        let read_to = readers.iter().map(|r| r[p].unwrap_or(lows[p])).min();
        let bound = note(&mut notes.partitions[p], now, ends[p], topic.retention);
        let to = bound.min(read_to.unwrap_or(i64::MAX));
        if to > lows[p] {
            deletions.push((partition, to));
        }
    }
    if deletions.is_empty() {
        return Ok(());
    }
    tracing::debug!(topic = %topic.topic, partitions = deletions.len(), "deleting records past their retention");
    log.delete_before(&deletions)
}

/// Notes that the partition ends at `end` now, and gives the end it had `retention` ago or before (0 when unknown).
/// Notes closer together than a share of the retention are one, and so are notes of the same end.
fn note(notes: &mut Vec<(i64, i64)>, now: i64, end: i64, retention: Duration) -> i64 {
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    // Beyond the end: the topic was made anew. Far ahead: a clock was wrong. Neither says anything about what is there
    // now; without notes records are kept longer, and that is all.
    if notes.iter().any(|(at, noted)| *noted > end || at.saturating_sub(now) > retention) {
        notes.clear();
    }
    let old = notes.iter().take_while(|(at, _)| *at <= now.saturating_sub(retention)).count();
    let bound = if old > 0 { notes[old - 1].1 } else { 0 };
    notes.drain(..old.saturating_sub(1));
    let due = |(at, noted): &(i64, i64)| *noted != end && now.saturating_sub(*at) >= retention / i64::from(NOTES);
    if notes.last().is_none_or(due) {
        notes.push((now, end));
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_partition_is_freed_up_to_where_it_was_a_retention_ago() {
        let mut notes = Vec::new();
        assert_eq!(note(&mut notes, 0, 10, DAY), 0);
        assert_eq!(note(&mut notes, HOUR / 2, 15, DAY), 0, "too soon for a note of its own");
        assert_eq!(notes, [(0, 10)]);
        assert_eq!(note(&mut notes, 12 * HOUR, 20, DAY), 0);
        assert_eq!(note(&mut notes, 24 * HOUR, 30, DAY), 10);
        assert_eq!(note(&mut notes, 37 * HOUR, 40, DAY), 20);
        assert_eq!(notes, [(12 * HOUR, 20), (24 * HOUR, 30), (37 * HOUR, 40)], "notes that say nothing more are gone");
    }

    #[test]
    fn a_quiet_partition_is_noted_once_and_freed_all_the_same() {
        let mut notes = Vec::new();
        for hour in 0..24 {
            assert_eq!(note(&mut notes, hour * HOUR, 10, DAY), 0);
        }
        assert_eq!(notes, [(0, 10)]);
        assert_eq!(note(&mut notes, 24 * HOUR, 10, DAY), 10);
    }

    #[test]
    fn a_clock_that_goes_back_frees_nothing_early() {
        let mut notes = vec![(9_000, 10)];
        assert_eq!(note(&mut notes, 0, 50, Duration::from_secs(10)), 0);
        assert_eq!(notes, [(9_000, 10)]);
        // One that was wrong by years must not stop the notes for years.
        let mut notes = vec![(i64::MAX, 10)];
        assert_eq!(note(&mut notes, 0, 50, Duration::from_secs(10)), 0);
        assert_eq!(notes, [(0, 50)]);
    }

    #[test]
    fn notes_of_a_topic_that_was_made_anew_free_nothing() {
        let mut notes = vec![(0, 10), (HOUR, 900)];
        assert_eq!(note(&mut notes, 30 * HOUR, 500, DAY), 0, "offsets below 10 are written anew");
        assert_eq!(notes, [(30 * HOUR, 500)]);
    }

    /// The text of version 1. It is in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let notes = Notes { v: 1, partitions: vec![vec![(1_700_000_000_000, 10), (1_700_003_600_000, 25)], vec![]] };
        let text = r#"{"v":1,"partitions":[[[1700000000000,10],[1700003600000,25]],[]]}"#;
        assert_eq!(serde_json::to_string(&notes).ok().as_deref(), Some(text));
        assert_eq!(serde_json::from_str::<Notes>(text).ok(), Some(notes));
        assert_eq!(serde_json::to_string(&Made { v: 1 }).ok().as_deref(), Some(r#"{"v":1}"#));
        assert_eq!((NOTED, MADE, VERSION), ("retention/", "made/", 1));
    }
}
