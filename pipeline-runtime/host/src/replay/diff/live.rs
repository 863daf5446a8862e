//! The live pipeline: which of its stages the range goes through, and whether they are through with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millstream_log::{Class, End, Log, LogError, LogResult, TopicPartition};

use super::DiffOptions;
use crate::changes::{Fingerprint, StageMark};
use crate::replay::beside::Beside;
use crate::replay::range::Range;

/// Between two looks at positions.
const LOOK: Duration = Duration::from_millis(100);
/// After this long people are told what is waited for.
const QUIET: Duration = Duration::from_secs(1);

/// The live stages that records of the range go through, each after those it reads from.
pub fn concerned(live: &Fingerprint, beside: &Beside) -> Vec<StageMark> {
    let first = |stage: &StageMark| match &beside.stage {
        Some(name) => stage.name == *name,
        None => beside.reads.iter().any(|topic| stage.reads(topic)),
    };
    let mut reached: BTreeSet<&str> = live.stages.iter().filter(|s| first(s)).map(|s| s.name.as_str()).collect();
    loop {
        let before = reached.len();
        for stage in &live.stages {
            let fed = live.stages.iter().filter(|s| reached.contains(s.name.as_str()));
            if fed.flat_map(|s| &s.outputs).any(|o| stage.reads(&o.topic)) {
                reached.insert(&stage.name);
            }
        }
        if reached.len() == before {
            break;
        }
    }
    let mut rest: Vec<&StageMark> = live.stages.iter().filter(|s| reached.contains(s.name.as_str())).collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let waits =
            |s: &&StageMark| rest.iter().any(|o| o.name != s.name && o.outputs.iter().any(|o| s.reads(&o.topic)));
        // A pipeline that ran has no cycle.
        let next = rest.iter().position(|s| !waits(s)).unwrap_or(0);
        order.push(rest.remove(next).clone());
    }
    order
}

/// Waits until each of these stages has worked off what came of the range: first the range itself, then what the stages
/// before it had written by then.
pub fn wait(log: &dyn Log, stages: &[StageMark], range: &Range, options: &DiffOptions<'_>) -> LogResult<()> {
    let mut wanted: BTreeMap<String, Vec<(TopicPartition, i64)>> = BTreeMap::new();
    for slice in range.slices.iter().filter(|s| s.from < s.to) {
        wanted.entry(slice.partition.topic.to_string()).or_default().push((slice.partition.clone(), slice.to));
    }
    for stage in stages {
        for input in &stage.inputs {
            if let Some(ends) = wanted.get(&input.topic) {
                reach(log, stage, ends, "", options)?;
            }
        }
        // After its inputs: what it has set aside is there by now.
        let set_aside = ends(log, &stage.retry)?;
        reach(log, stage, &set_aside, " that it has set aside", options)?;
        for output in &stage.outputs {
            wanted.insert(output.topic.clone(), ends(log, &output.topic)?);
        }
    }
    Ok(())
}

/// The ends of a topic as they are now; none where it does not exist.
fn ends(log: &dyn Log, topic: &str) -> LogResult<Vec<(TopicPartition, i64)>> {
    let Some(info) = &log.describe(&[topic])?[0] else { return Ok(Vec::new()) };
    let all: Vec<TopicPartition> = (0..info.partitions).map(|p| TopicPartition::new(topic, p)).collect();
    let (high, low) = (log.ends(&all, End::High)?, log.ends(&all, End::Low)?);
    // Where nothing is, nobody has to have been.
    Ok(all.into_iter().zip(high.into_iter().zip(low)).filter(|(_, (h, l))| h > l).map(|(at, (h, _))| (at, h)).collect())
}

fn reach(
    log: &dyn Log,
    stage: &StageMark,
    ends: &[(TopicPartition, i64)],
    what: &str,
    options: &DiffOptions<'_>,
) -> LogResult<()> {
    let partitions: Vec<TopicPartition> = ends.iter().map(|(at, _)| at.clone()).collect();
    if partitions.is_empty() {
        return Ok(());
    }
    let (began, mut moved, mut said, mut before) = (Instant::now(), Instant::now(), false, -1);
    loop {
        let left = match log.committed(&stage.group, &partitions) {
            Ok(positions) => {
                let left = |(at, end): (i64, i64)| (end - at).max(0);
                let at = positions.iter().map(|p| p.as_ref().map_or(0, |c| c.offset));
                at.zip(ends.iter().map(|(_, end)| *end)).map(left).sum::<i64>()
            }
            Err(e) if e.class == Class::Retry => before,
            Err(e) => return Err(e),
        };
        if left == 0 {
            return Ok(());
        }
        if left != before {
            (before, moved) = (left, Instant::now());
        }
        let topic = &partitions[0].topic;
        if !said && began.elapsed() > QUIET {
            said = true;
            (options.say)(&format!(
                "waiting until the live stage `{}` has worked off {left} offsets of {topic}{what}",
                stage.group
            ));
        }
        if moved.elapsed() > options.patience {
            return Err(LogError::new(
                Class::Config,
                "replay_live_behind",
                format!(
                    "the live stage `{}` is {left} offsets of {topic}{what} before the end of the range, and has not moved \
                     for {} s: run the live pipeline, then call this again; what is there beside is kept",
                    stage.group,
                    options.patience.as_secs()
                ),
            ));
        }
        if options.stop.wait(LOOK) {
            return Err(LogError::new(Class::Config, "replay_stopped", "told to stop; nothing was compared"));
        }
    }
}
