//! The topics of a pipeline: checked, made where they are missing, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_log::{Class, Log, LogError, LogResult, NewTopic, Retention};
use millstream_spec::model::{Output, Pipeline, SourceKind, Stage, TopicSettings};

use crate::changes::Fingerprint;
use crate::growth;
use crate::plan::sets_aside;
use crate::retention;

/// Partition counts by topic.
#[derive(Clone, Debug, Default)]
pub struct Partitions {
    counts: BTreeMap<String, i32>,
    /// Of the inputs of a stage, as far as they were taken up.
    known: BTreeMap<String, i32>,
}

impl Partitions {
    /// Of a topic that [`prepare`] saw; 1 for another, which no caller asks.
    pub fn of(&self, topic: &str) -> i32 {
        self.counts.get(topic).copied().unwrap_or(1)
    }

    /// Partitions of the inputs of a stage without those that were added and that nobody has taken up yet.
    pub fn known(&self, stage: &str) -> i32 {
        self.known.get(stage).copied().unwrap_or(1)
    }
}

/// What stands in the way of a run.
pub enum Prepared {
    /// Every topic is there.
    Ready(Partitions),
    /// The source's topic does not exist. A run waits for it.
    Missing(String),
}

/// What a run, or `apply`, may do with topics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Make a source topic that is missing.
    pub create_source: bool,
    /// What ran last.
    pub before: Option<&'a Fingerprint>,
    /// A person agrees to other numbers of partitions: all that were added are taken up, and side topics get as many.
    pub repartition: bool,
}

/// Checks the source's topic, makes what the pipeline owns, and counts partitions.
pub fn prepare(log: &dyn Log, pipeline: &Pipeline, wishes: Wishes<'_>) -> LogResult<Prepared> {
    let Wishes { create_source, before, repartition } = wishes;
    let mut topics = Partitions::default();
    let source = &pipeline.source;
    if matches!(source.kind, SourceKind::Topic { .. }) {
        match &log.describe(&[&source.topic])?[0] {
            Some(info) => {
                topics.counts.insert(source.topic.clone(), info.partitions);
            }
            None if create_source => {
                ensure(log, &mut topics, vec![owned(&source.topic, &source.topic_settings)])?;
            }
            None => return Ok(Prepared::Missing(source.topic.clone())),
        }
    } else {
        ensure(log, &mut topics, vec![owned(&source.topic, &source.topic_settings)])?;
    }
    // A stage may read what a later line of the file writes: first all outputs, then what hangs on their counts.
    let outputs: Vec<&Output> = pipeline.stages.iter().flat_map(|s| &s.outputs).collect();
    let given: Vec<&str> = outputs.iter().filter(|o| o.given).map(|o| o.topic.as_str()).collect();
    let known = log.describe(&given)?;
    let missing: Vec<&str> = given.into_iter().zip(&known).filter(|(_, info)| info.is_none()).map(|(t, _)| t).collect();
    retention::note_made(log, &pipeline.name, &missing)?;
    ensure(log, &mut topics, outputs.iter().map(|o| owned(&o.topic, &o.settings)).collect())?;
    // What the stages before one of a pipeline beside write is not this pipeline's to make.
    let inputs = pipeline.stages.iter().flat_map(|s| &s.inputs).map(|i| i.topic.as_str());
    let fed: Vec<&str> = inputs.filter(|topic| !topics.counts.contains_key(*topic)).collect();
    for (topic, info) in fed.iter().zip(log.describe(&fed)?) {
        let Some(info) = info else { return Ok(Prepared::Missing((*topic).to_owned())) };
        topics.counts.insert((*topic).to_owned(), info.partitions);
    }
    let mut side = Vec::new();
    for stage in &pipeline.stages {
        let counts: Vec<i32> = stage.inputs.iter().map(|i| topics.of(&i.topic)).collect();
        if counts.iter().any(|c| *c != counts[0]) {
            let list: Vec<String> =
                stage.inputs.iter().map(|i| format!("{} {}", i.topic, topics.of(&i.topic))).collect();
            return Err(LogError::new(
                Class::Config,
                "partitions_differ",
                format!(
                    "stage `{}` reads topics with different partition counts ({}); give them equal counts",
                    stage.name,
                    list.join(", ")
                ),
            ));
        }
        let now = counts.first().copied().unwrap_or(1);
        let known = if repartition { now } else { known_before(before, stage).map_or(now, |known| known.min(now)) };
        topics.known.insert(stage.name.clone(), known);
        if repartition {
            growth::grow_sides(log, stage, now)?;
        }
        // Letters get the time they are written at in either case, and carry the record's own in a header: one over an
        // hour ahead of the broker would be refused otherwise.
        let retention = Retention::Written(stage.dead_letter_retention.unwrap_or(Duration::MAX));
        side.push((NewTopic { retention, ..plain(&stage.dlq, now) }, known..=now));
        if stage.dedup.is_some() {
            side.push((plain(&stage.state, now), known..=now));
        }
        if sets_aside(stage) {
            side.push((plain(&stage.retry_topic, now), known..=now));
        }
    }
    ensure(log, &mut topics, side.iter().map(|(topic, _)| topic.clone()).collect())?;
    for (topic, wanted) in &side {
        // While partitions that were added wait to be taken up, what lies beside them may have fewer.
        if !wanted.contains(&topics.of(&topic.name)) {
            return Err(LogError::new(
                Class::Config,
                "partitions_differ",
                format!(
                    "topic `{}` has {} partitions and the stage's input has {}; `apply --repartition` adds what is missing",
                    topic.name,
                    topics.of(&topic.name),
                    wanted.end()
                ),
            ));
        }
    }
    Ok(Prepared::Ready(topics))
}

/// Partitions of a stage's input by which it ran last, if it read the same.
fn known_before(before: Option<&Fingerprint>, stage: &Stage) -> Option<i32> {
    let (mark, lead) = (before?.stage(&stage.name)?.inputs.first()?, stage.inputs.first()?);
    (mark.topic == lead.topic).then_some(mark.partitions)
}

fn ensure(log: &dyn Log, topics: &mut Partitions, wanted: Vec<NewTopic>) -> LogResult<()> {
    let names: Vec<&str> = wanted.iter().map(|t| t.name.as_str()).collect();
    let known = log.describe(&names)?;
    let missing: Vec<NewTopic> =
        wanted.iter().zip(&known).filter(|(_, info)| info.is_none()).map(|(t, _)| t.clone()).collect();
    if !missing.is_empty() {
        log.create(&missing)?;
    }
    // Asked again, because another process may have been first, with other counts.
    let known = if missing.is_empty() { known } else { log.describe(&names)? };
    for (topic, info) in wanted.iter().zip(known) {
        let Some(info) = info else {
            return Err(LogError::new(
                Class::Retry,
                "topic_not_there",
                format!("topic `{}` was made and is not there yet", topic.name),
            ));
        };
        topics.counts.insert(topic.name.clone(), info.partitions);
    }
    Ok(())
}

/// A topic of ours keeps its records until every reader is past them: the broker's own retention looks at record time
/// stamps and would delete back-filled records at once.
fn owned(name: &str, settings: &TopicSettings) -> NewTopic {
    NewTopic {
        replication: settings.replication,
        max_record_bytes: settings.max_record_bytes,
        ..plain(name, settings.partitions)
    }
}

/// One that keeps everything until it is deleted, with the log's defaults.
pub fn plain(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        retention: Retention::Kept,
        replication: None,
        max_record_bytes: None,
        settings: Vec::new(),
    }
}
