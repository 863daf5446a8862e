//! `apply --repartition`: topics of the pipeline get the partitions that the file says, and what was added to a topic is
//! read when the old partitions are worked off.

use std::collections::{BTreeMap, BTreeSet};

use millstream_log::{Class, Log, LogError, LogResult};
use millstream_spec::model::{Pipeline, Stage};

use super::compare::takes_up;
use super::fingerprint::Fingerprint;
use super::survey::{Survey, left};
use crate::clock::wall_ms;
use crate::growth::{self, Step};
use crate::topics::{self, Partitions};

/// A topic with other partitions than the pipeline ran with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grows {
    /// Its name.
    pub topic: String,
    /// Partitions by which the pipeline ran.
    pub from: i32,
    /// Partitions it has, or shall have.
    pub to: i32,
    /// Whether they are to be added here.
    pub add: bool,
}

/// What of a pipeline's topics has, or shall have, other partitions than it ran with.
///
/// # Errors
/// A topic would have to get smaller.
pub fn grows(pipeline: &Pipeline, survey: &Survey) -> LogResult<Vec<Grows>> {
    let Some(old) = &survey.old else { return Ok(Vec::new()) };
    let mut all: BTreeMap<String, Grows> = BTreeMap::new();
    let mut wanted: Vec<(&str, i32, i32)> = Vec::new();
    for output in survey.new.stages.iter().flat_map(|s| &s.outputs) {
        let before = old.stages.iter().flat_map(|s| &s.outputs).find(|o| o.topic == output.topic);
        wanted.extend(before.map(|b| (output.topic.as_str(), b.partitions, output.partitions)));
    }
    for source in survey.new.sources.iter().filter(|s| s.writes()) {
        let before = old.sources.iter().find(|s| s.writes() && s.topic == source.topic);
        wanted.extend(before.map(|b| (source.topic.as_str(), b.partitions, source.partitions)));
    }
    for (topic, _, wanted) in wanted.into_iter().filter(|(_, before, wanted)| before != wanted) {
        let Some(is) = survey.partitions.get(topic).copied().filter(|is| *is != wanted) else { continue };
        if is > wanted {
            return Err(LogError::new(
                Class::Config,
                "partitions_fixed",
                format!(
                    "`{topic}` has {is} partitions and the file wants {wanted}: there is no way to fewer; leave them as \
                     they are, give the output another topic with `to:`, or delete the topic when all of it is worked off"
                ),
            ));
        }
        all.insert(topic.to_owned(), Grows { topic: topic.to_owned(), from: is, to: wanted, add: true });
    }
    // What somebody else has added.
    for (before, now) in old.stages.iter().filter_map(|s| Some((s, survey.new.stage(&s.name)?))) {
        for input in before.inputs.iter().filter(|i| now.reads(&i.topic)) {
            let Some(is) = survey.partitions.get(&input.topic).copied() else { continue };
            // What a run takes up by itself wants no word.
            if is != input.partitions && !takes_up(&survey.new, before, now, input, is) {
                let new = || Grows { topic: input.topic.clone(), from: input.partitions, to: is, add: false };
                all.entry(input.topic.clone()).or_insert_with(new);
            }
        }
    }
    while let Some(next) = follows(pipeline, survey, &all) {
        all.insert(next.topic.clone(), next);
    }
    let grows = |stage: &&Stage| stage.meets.is_some() && stage.inputs.iter().any(|i| all.contains_key(&i.topic));
    if let Some(stage) = pipeline.stages.iter().find(grows) {
        return Err(topics::other_partitions(stage));
    }
    Ok(all.into_values().collect())
}

/// A topic of ours that a stage reads beside one which has more partitions, or gets them: it gets as many, unless the
/// file says another number.
fn follows(pipeline: &Pipeline, survey: &Survey, grows: &BTreeMap<String, Grows>) -> Option<Grows> {
    let count = |topic: &String| grows.get(topic).map(|g| g.to).or_else(|| survey.partitions.get(topic).copied());
    let sources = pipeline.sources.iter().filter(|s| s.writes()).map(|s| (&s.topic, &s.topic_settings));
    let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs).map(|o| (&o.topic, &o.settings));
    sources.chain(outputs).find_map(|(topic, settings)| {
        let from = survey.partitions.get(topic).copied()?;
        let with = pipeline.stages.iter().filter(|s| s.inputs.iter().any(|i| i.topic == *topic));
        let to = with.flat_map(|s| &s.inputs).filter_map(|i| count(&i.topic)).max()?;
        let may = !settings.partitions_said || settings.partitions == to;
        (may && count(topic)? < to).then(|| Grows { topic: topic.clone(), from, to, add: true })
    })
}

/// Why nothing is done without the word.
pub fn wants_a_word(grows: &Grows) -> LogError {
    let Grows { topic, from, to, add } = grows;
    let what = if *add { format!("shall have {to}") } else { format!("has {to} now") };
    LogError::new(
        Class::Config,
        "repartition",
        format!(
            "`{topic}` had {from} partitions and {what}: keys go to other partitions, and repeats are not noticed across \
             that moment; `apply --repartition` agrees to that, and keeps their order"
        ),
    )
}

/// Stages that read or write one of these.
pub fn concerned(pipeline: &Pipeline, grows: &[Grows]) -> BTreeSet<String> {
    let is = |topic: &str| grows.iter().any(|g| g.topic == topic);
    let stages = pipeline.stages.iter();
    let concerned = stages.filter(|s| s.inputs.iter().any(|i| is(&i.topic)) || s.outputs.iter().any(|o| is(&o.topic)));
    concerned.map(|s| s.name.clone()).collect()
}

/// Where keys would go from one old partition to another, all must be worked off before. Nobody writes any more.
pub fn worked_off(log: &dyn Log, pipeline: &Pipeline, survey: &Survey, grows: &[Grows]) -> LogResult<()> {
    for one in grows.iter().filter(|g| g.add && !growth::keeps_order(g.from, g.to)) {
        for stage in pipeline.stages.iter().filter(|s| s.inputs.iter().any(|i| i.topic == one.topic)) {
            let left = left(log, &stage.group, &survey.partitions_of(&one.topic))?
                + left(log, &stage.group, &survey.partitions_of(&stage.retry_topic))?;
            if left > 0 {
                return Err(LogError::new(
                    Class::Config,
                    "records_left",
                    format!(
                        "{} partitions instead of {} are no multiple: keys of `{}` go from one old partition to another \
                         too, and stage `{}` has {left} offsets before it. Let the pipeline as it was work that off (`run \
                         --until-idle` with the file of before), or take a multiple. Nothing was changed",
                        one.to, one.from, one.topic, stage.name
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Adds what the file wants.
///
/// # Errors
/// A stage would read topics with different counts (`partitions_differ`): nothing was added, as it cannot be taken back.
pub fn grow_own(log: &dyn Log, pipeline: &Pipeline, survey: &Survey, grows: &[Grows]) -> LogResult<()> {
    let grown = |topic: &str| grows.iter().find(|g| g.topic == topic).map(|g| g.to);
    let counts = topics::counts(pipeline, &|topic| grown(topic).or_else(|| survey.partitions.get(topic).copied()));
    topics::equal(pipeline, &counts)?;
    let own: Vec<(&str, i32)> = grows.iter().filter(|g| g.add).map(|g| (g.topic.as_str(), g.to)).collect();
    if own.is_empty() { Ok(()) } else { log.add_partitions(&own) }
}

/// Notes what waits. Where all that is read is ours, nobody writes it now, and its ends are the last ones by the old
/// number; others' writers need a while to know of theirs.
pub fn note_all(log: &dyn Log, pipeline: &Pipeline, old: Option<&Fingerprint>, counts: &Partitions) -> LogResult<()> {
    for stage in &pipeline.stages {
        let to = counts.known(&stage.name);
        let Some(from) = topics::known_before(old, stage).filter(|from| *from < to) else { continue };
        let sources = stage.inputs.iter().filter_map(|i| pipeline.source_of(i));
        let foreign = stage.of_events || sources.into_iter().any(|s| !s.writes());
        let ends = if foreign { None } else { Some(growth::ends(log, stage, from)?) };
        growth::note(log, &pipeline.name, stage, Step { from, to, at: wall_ms(), ends })?;
    }
    Ok(())
}
