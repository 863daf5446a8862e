//! The topics of a pipeline: checked, made where they are missing, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_log::{Class, Log, LogError, LogResult, NewTopic, Retention};
use millstream_spec::model::{Output, Pipeline, Source, Stage, TopicSettings};

use crate::changes::Fingerprint;
use crate::growth;
use crate::intake::window;
use crate::plan::sets_aside;
use crate::retention;

/// Events of jobs are kept so long for those who tell of them: longer than any outage that people would bear.
const TOLD: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// Topics of sources that do not exist. A run waits for them.
    Missing(Vec<String>),
}

/// What a run, or `apply`, may do with topics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Make source topics that are missing.
    pub create_source: bool,
    /// What ran last.
    pub before: Option<&'a Fingerprint>,
    /// A person agrees to other numbers of partitions: all that were added are taken up, and side topics get as many.
    pub repartition: bool,
}

/// Partitions of every topic that a stage reads or writes: as it is `there`, else as it is made. The inputs of a stage
/// must have equal counts; so where the file does not say how many, a topic is made with as many as the others that one
/// stage reads with it.
pub fn counts(pipeline: &Pipeline, there: &dyn Fn(&str) -> Option<i32>) -> BTreeMap<String, i32> {
    let sources = pipeline.sources.iter().map(|s| (&s.topic, &s.topic_settings));
    let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs).map(|o| (&o.topic, &o.settings));
    let (mut fixed, mut open) = (BTreeMap::new(), BTreeMap::new());
    for (topic, settings) in sources.chain(outputs).chain(told(pipeline)) {
        match there(topic) {
            Some(is) => fixed.insert(topic.clone(), is),
            None if settings.partitions_said => fixed.insert(topic.clone(), settings.partitions),
            None => open.insert(topic.clone(), settings.partitions),
        };
    }
    let follows = |fixed: &BTreeMap<String, i32>, topic: &String| {
        let with = pipeline.stages.iter().filter(|s| s.inputs.iter().any(|i| i.topic == *topic));
        with.flat_map(|s| &s.inputs).find_map(|i| fixed.get(&i.topic).copied())
    };
    while let Some((topic, count)) = open.keys().find_map(|t| Some((t.clone(), follows(&fixed, t)?))) {
        open.remove(&topic);
        fixed.insert(topic, count);
    }
    fixed.extend(open);
    fixed
}

/// What is to be told of jobs: no output of a stage, and read by one.
pub fn told(pipeline: &Pipeline) -> Option<(&String, &TopicSettings)> {
    let callback = pipeline.jobs.as_ref()?.callback.as_ref()?;
    Some((&callback.topic, &callback.settings))
}

/// Stages whose inputs have different partition counts, one sentence each.
pub fn differing(pipeline: &Pipeline, counts: &BTreeMap<String, i32>) -> Vec<String> {
    let differs = |stage: &Stage| {
        let each: Vec<(&str, i32)> =
            stage.inputs.iter().filter_map(|i| Some((i.topic.as_str(), *counts.get(&i.topic)?))).collect();
        let unequal = each.iter().any(|(_, count)| *count != each[0].1);
        let list = || each.iter().map(|(topic, count)| format!("{topic} {count}")).collect::<Vec<_>>().join(", ");
        unequal.then(|| format!("stage `{}` reads topics with different partition counts ({})", stage.name, list()))
    };
    pipeline.stages.iter().filter_map(differs).collect()
}

/// An error where the inputs of a stage have different partition counts.
pub fn equal(pipeline: &Pipeline, counts: &BTreeMap<String, i32>) -> LogResult<()> {
    match differing(pipeline, counts).first() {
        None => Ok(()),
        Some(differs) => {
            Err(LogError::new(Class::Config, "partitions_differ", format!("{differs}; give them equal counts")))
        }
    }
}

/// That source topics do not exist, in words.
pub fn missing(log: &dyn Log, topics: &[String]) -> String {
    let list = topics.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ");
    match topics {
        [_] => format!("source topic {list} does not exist on {}", log.name()),
        _ => format!("source topics {list} do not exist on {}", log.name()),
    }
}

/// Checks the topics of sources, makes what the pipeline owns, and counts partitions.
pub fn prepare(log: &dyn Log, pipeline: &Pipeline, wishes: Wishes<'_>) -> LogResult<Prepared> {
    let Wishes { create_source, before, repartition } = wishes;
    let mut topics = Partitions::default();
    let outputs: Vec<&Output> = pipeline.stages.iter().flat_map(|s| &s.outputs).collect();
    let names = pipeline.sources.iter().map(|s| s.topic.as_str()).chain(outputs.iter().map(|o| o.topic.as_str()));
    let names = names.chain(told(pipeline).map(|(topic, _)| topic.as_str()));
    let names: Vec<&str> = names.collect();
    let infos = log.describe(&names)?;
    let there: BTreeMap<&str, i32> =
        names.iter().zip(&infos).filter_map(|(name, info)| Some((*name, info.as_ref()?.partitions))).collect();
    let mut gone: BTreeMap<&str, &Source> = BTreeMap::new();
    for source in pipeline.sources.iter().filter(|s| !s.writes()) {
        match there.get(source.topic.as_str()) {
            Some(count) => drop(topics.counts.insert(source.topic.clone(), *count)),
            None => drop(gone.insert(&source.topic, source)),
        }
    }
    if !gone.is_empty() && !create_source {
        return Ok(Prepared::Missing(gone.into_keys().map(str::to_owned).collect()));
    }
    // Before anything is made: a topic with the wrong count would have to be deleted again.
    let counts = counts(pipeline, &|topic| there.get(topic).copied());
    equal(pipeline, &counts)?;
    let owned = |name: &str, settings: &TopicSettings| {
        let partitions = counts.get(name).copied().unwrap_or(settings.partitions);
        owned(name, &TopicSettings { partitions, ..settings.clone() })
    };
    let make = gone.into_values().chain(pipeline.sources.iter().filter(|s| s.writes()));
    ensure(log, &mut topics, make.map(|s| owned(&s.topic, &s.topic_settings)).collect())?;
    // A stage may read what a later line of the file writes: first all outputs, then what hangs on their counts.
    let given = outputs.iter().filter(|o| o.given).map(|o| o.topic.as_str());
    let missing: Vec<&str> = given.filter(|topic| !there.contains_key(topic)).collect();
    retention::note_made(log, &pipeline.name, &missing)?;
    let made = outputs.iter().map(|o| (&o.topic, &o.settings)).chain(told(pipeline));
    ensure(log, &mut topics, made.map(|(topic, settings)| owned(topic, settings)).collect())?;
    if create_source {
        let events = pipeline.stages.iter().filter(|s| s.of_events);
        let events = events.flat_map(|s| s.inputs.iter().zip(&s.outputs));
        ensure(log, &mut topics, events.map(|(i, o)| owned(&i.topic, &o.settings)).collect())?;
    }
    // What the stages before one of a pipeline beside write is not this pipeline's to make.
    let inputs = pipeline.stages.iter().flat_map(|s| &s.inputs).map(|i| i.topic.as_str());
    let fed: Vec<&str> = inputs.filter(|topic| !topics.counts.contains_key(*topic)).collect();
    for (topic, info) in fed.iter().zip(log.describe(&fed)?) {
        let Some(info) = info else { return Ok(Prepared::Missing(vec![(*topic).to_owned()])) };
        topics.counts.insert((*topic).to_owned(), info.partitions);
    }
    // Another process may have been first, with other counts.
    equal(pipeline, &topics.counts)?;
    let mut side = Vec::new();
    let ids = pipeline.sources.iter().filter_map(|source| {
        // Ids are no records of the pipeline: they are kept for as long as repeats are known, and go by themselves.
        let retention = Retention::Written(window(pipeline, source));
        Some(NewTopic { retention, ..plain(&source.ids_topic()?, topics.of(&source.topic)) })
    });
    let seen = pipeline.sources.iter().filter_map(Source::seen_topic);
    let seen = seen.map(|topic| NewTopic { retention: Retention::Compacted, ..plain(&topic, 1) });
    let beside: Vec<NewTopic> = ids.chain(seen).collect();
    ensure(log, &mut topics, beside)?;
    for stage in &pipeline.stages {
        let now = stage.inputs.first().map_or(1, |i| topics.of(&i.topic));
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
        if stage.meets.is_some() {
            // Correlations lie in other partitions then than what waits for them.
            if known != now || known_before(before, stage).is_some_and(|known| known != now) {
                return Err(other_partitions(stage));
            }
            side.push((NewTopic { retention: Retention::Compacted, ..plain(&stage.state, now) }, now..=now));
        }
        if sets_aside(stage) {
            side.push((plain(&stage.retry_topic, now), known..=now));
        }
        if stage.keeps_checkpoints() {
            let topic = NewTopic { retention: Retention::Compacted, ..plain(&stage.checkpoints, now) };
            side.push((topic, known..=now));
        }
    }
    let jobs = pipeline.jobs.iter().flat_map(|jobs| {
        // Not by the settings of the stages' topics: what is in them is small, and goes by itself.
        let plain = |name: &str| plain(name, jobs.partitions);
        // But for records that may have to be undone, which lie there as they are.
        let undone = pipeline.stages.iter().filter_map(Stage::undo);
        let max_record_bytes = undone.filter_map(|o| o.settings.max_record_bytes).max();
        // What was told goes by itself.
        let events =
            jobs.events.iter().map(move |name| NewTopic { retention: Retention::Written(TOLD), ..plain(name) });
        let statuses = NewTopic { retention: Retention::Compacted, ..plain(&jobs.topic) };
        events.chain([NewTopic { max_record_bytes, ..plain(&jobs.notes) }, statuses])
    });
    ensure(log, &mut topics, side.iter().map(|(topic, _)| topic.clone()).chain(jobs).collect())?;
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

/// What waits for events lies by the number of partitions there was.
pub fn other_partitions(stage: &Stage) -> LogError {
    let topics = stage.inputs.iter().map(|i| format!("`{}`", i.topic)).collect::<Vec<_>>().join(" and ");
    LogError::new(
        Class::Config,
        "not_supported_yet",
        format!(
            "another number of partitions of {topics} is not supported yet: records wait there for events; leave it as it was"
        ),
    )
}

/// Partitions of a stage's input by which it ran last, if it read one of the same topics.
pub fn known_before(before: Option<&Fingerprint>, stage: &Stage) -> Option<i32> {
    let marks = &before?.stage(&stage.name)?.inputs;
    marks.iter().find(|mark| stage.inputs.iter().any(|i| i.topic == mark.topic)).map(|mark| mark.partitions)
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
