//! A running process looks whether its stages' topics grow, and whether what waits may be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Class, Committed, End, Log, LogResult, TopicPartition};
use millstream_spec::model::{Pipeline, Source, Stage};

use super::record::{Added, Step};
use super::{Gate, grow_sides, keeps_order, note, stopped};
use crate::clock::wall_ms;
use crate::control::{Control, Entries};
use crate::shared::Stop;
use crate::topics::Partitions;

/// Between two looks at the number of partitions.
const LOOK: Duration = Duration::from_secs(5);

/// Looks after the stages of one pipeline that run here.
pub struct Watch<'a> {
    log: Arc<dyn Log>,
    pipeline: &'a Pipeline,
    stages: Vec<Watched<'a>>,
    looked: Option<Instant>,
}

struct Watched<'a> {
    stage: &'a Stage,
    gate: Arc<Gate>,
    /// Partitions of its inputs that were taken up.
    known: i32,
    /// Partitions by which it writes topics that stages of this pipeline read.
    writes: Vec<(&'a str, i32)>,
    /// Where `.retry` ended when the inputs were past their ends.
    aside: Option<Vec<i64>>,
    /// It was stopped.
    over: bool,
}

/// Whether a stage of the pipeline reads a topic: who writes it must go by the same number of partitions as all others.
pub fn is_read_here(pipeline: &Pipeline, topic: &str) -> bool {
    pipeline.stages.iter().any(|s| s.inputs.iter().any(|i| i.topic == topic))
}

impl<'a> Watch<'a> {
    /// Of these stages. Sets their gates, so that they are right before the first replica starts.
    pub fn new(
        log: Arc<dyn Log>,
        pipeline: &'a Pipeline,
        stages: Vec<(&'a Stage, Arc<Gate>)>,
        topics: &Partitions,
        entries: &Entries,
    ) -> LogResult<Self> {
        let watched = |(stage, gate): (&'a Stage, Arc<Gate>)| {
            let outputs = stage.outputs.iter().map(|o| o.topic.as_str()).filter(|t| is_read_here(pipeline, t));
            let writes = outputs.map(|t| (t, topics.of(t))).collect();
            Watched { stage, gate, known: topics.known(&stage.name), writes, aside: None, over: false }
        };
        let mut watch = Self { log, pipeline, stages: stages.into_iter().map(watched).collect(), looked: None };
        for watched in &mut watch.stages {
            watched.hear(entries)?;
        }
        Ok(watch)
    }

    /// Looks until told to stop; `entries` are those of the control topic.
    pub fn run(mut self, pipeline: &str, stop: &Stop, entries: impl Fn() -> Entries) {
        let mut wait = Duration::ZERO;
        while !stop.wait(wait) {
            wait = match self.look(&entries()) {
                Ok(true) => Duration::from_millis(500),
                Ok(false) => Duration::from_secs(1),
                Err(error) => {
                    // What the log does not answer now is asked again.
                    if error.class != Class::Retry {
                        tracing::warn!(%pipeline, %error, "cannot look for added partitions");
                    }
                    Duration::from_secs(5)
                }
            };
        }
    }

    /// One look. Whether something waits.
    fn look(&mut self, entries: &Entries) -> LogResult<bool> {
        let mut waits = false;
        let grown = self.looked.is_none_or(|at| at.elapsed() >= LOOK);
        for watched in self.stages.iter_mut().filter(|w| !w.over) {
            let added = watched.hear(entries)?;
            if grown {
                watched.count(&*self.log, self.pipeline)?;
            }
            if let Some(added) = added.filter(|added| !added.steps.is_empty()) {
                waits = true;
                watched.advance(&*self.log, &self.pipeline.name, added)?;
            }
        }
        if grown {
            self.looked = Some(Instant::now());
        }
        Ok(waits)
    }
}

impl Watched<'_> {
    /// What the control topic says now.
    fn hear(&mut self, entries: &Entries) -> LogResult<Option<Added>> {
        let inputs = || self.stage.inputs.iter().map(|i| i.topic.as_str());
        let added = Added::read(entries, &self.stage.name, inputs())?;
        match &added {
            Some(added) => {
                self.known = self.known.max(added.taken);
                let first = inputs().filter_map(|topic| Some((topic.to_owned(), added.first_of(topic)?)));
                self.gate.set(added.open(), self.known, first.collect());
            }
            None => self.gate.set(self.known, self.known, BTreeMap::new()),
        }
        Ok(added)
    }

    /// Looks at the topics. What grew is taken up, or stops the stage.
    fn count(&mut self, log: &dyn Log, pipeline: &Pipeline) -> LogResult<()> {
        let (stage, known) = (self.stage, self.known);
        let topics: Vec<&str> =
            stage.inputs.iter().map(|i| i.topic.as_str()).chain(self.writes.iter().map(|(t, _)| *t)).collect();
        let found = log.describe(&topics)?;
        let counts: Vec<i32> = found.iter().map(|info| info.as_ref().map_or(0, |info| info.partitions)).collect();
        let (read, written) = counts.split_at(stage.inputs.len());
        let written = self.writes.iter().zip(written).find(|((_, known), now)| **now > *known);
        if let Some(((topic, known), now)) = written {
            let why = "it writes by the old number, and others read by the new one";
            return self.stop(topic, *known, *now, why);
        }
        let Some((input, to)) = stage.inputs.iter().zip(read).find(|(_, now)| **now > known) else { return Ok(()) };
        let why = if stage.dedup.is_some() {
            "repeats are not noticed where a key goes to another partition, which somebody has to agree to"
        } else if pipeline.source_of(input).is_none_or(Source::writes) && !stage.of_events {
            "what writes it goes by the old number until it is started again"
        } else if read.iter().any(|count| count != to) {
            "its inputs must have equal numbers"
        } else if !keeps_order(known, *to) {
            "the number is no multiple of what it was, so keys go from one old partition to another too"
        } else {
            tracing::warn!(stage = %stage.group, topic = %input.topic, from = known, to,
                "partitions were added; they wait until the others are worked off up to where they end when all writers \
                 know of it ({} s)", log.settling().as_secs());
            grow_sides(log, stage, *to)?;
            note(log, &pipeline.name, stage, Step { from: known, to: *to, at: wall_ms(), ends: None })?;
            self.known = *to;
            return Ok(());
        };
        self.stop(&input.topic, known, *to, why)
    }

    fn stop(&mut self, topic: &str, known: i32, now: i32, why: &str) -> LogResult<()> {
        self.over = true;
        self.gate.stop(stopped(&self.stage.name, topic, known, now, why));
        Ok(())
    }

    /// The oldest step: notes the ends it waits for, or takes it back when they are passed.
    fn advance(&mut self, log: &dyn Log, pipeline: &str, mut added: Added) -> LogResult<()> {
        let step = &mut added.steps[0];
        match &step.ends {
            None => {
                let settling = i64::try_from(log.settling().as_millis()).unwrap_or(i64::MAX);
                if wall_ms() < step.at.saturating_add(settling) {
                    return Ok(());
                }
                step.ends = Some(ends(log, self.stage, step.from)?);
            }
            Some(ends) => {
                if !passed(log, self.stage, step.from, ends, &mut self.aside)? {
                    return Ok(());
                }
                tracing::info!(stage = %self.stage.group, from = step.from, to = step.to,
                    "the old partitions are worked off; the new ones are read now");
                added.steps.remove(0);
            }
        }
        self.aside = None;
        Control::of(log, pipeline).put(vec![added.change(&self.stage.name)?])
    }
}

/// Where the first partitions of a stage's inputs end now.
pub fn ends(log: &dyn Log, stage: &Stage, partitions: i32) -> LogResult<BTreeMap<String, Vec<i64>>> {
    let of = |topic: &String| Ok((topic.clone(), log.ends(&first_of(topic, partitions), End::High)?));
    stage.inputs.iter().map(|i| of(&i.topic)).collect()
}

/// Whether a stage's group has worked off the old partitions up to these ends, and then what of them it had set aside:
/// an earlier record of a key may be a copy.
fn passed(
    log: &dyn Log,
    stage: &Stage,
    from: i32,
    ends: &BTreeMap<String, Vec<i64>>,
    aside: &mut Option<Vec<i64>>,
) -> LogResult<bool> {
    for input in &stage.inputs {
        let Some(ends) = ends.get(&input.topic) else { continue };
        if !is_past(log, &stage.group, &first_of(&input.topic, from), ends)? {
            *aside = None;
            return Ok(false);
        }
    }
    let Some(retry) = &log.describe(&[&stage.retry_topic])?[0] else { return Ok(true) };
    let copies = first_of(&stage.retry_topic, from.min(retry.partitions));
    // Noted after the inputs were past their ends: whatever was set aside before that lies below.
    let ends = match aside {
        Some(ends) if ends.len() == copies.len() => ends,
        _ => aside.insert(log.ends(&copies, End::High)?),
    };
    is_past(log, &stage.group, &copies, ends)
}

fn is_past(log: &dyn Log, group: &str, partitions: &[TopicPartition], ends: &[i64]) -> LogResult<bool> {
    let committed = log.committed(group, partitions)?;
    let low = log.ends(partitions, End::Low)?;
    let past = |((committed, low), end): ((&Option<Committed>, &i64), &i64)| match committed {
        Some(committed) => committed.offset >= *end,
        None => low >= end,
    };
    Ok(committed.iter().zip(&low).zip(ends).all(past))
}

fn first_of(topic: &str, partitions: i32) -> Vec<TopicPartition> {
    (0..partitions).map(|p| TopicPartition::new(topic, p)).collect()
}
