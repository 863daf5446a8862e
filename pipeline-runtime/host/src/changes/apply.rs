//! Applies a changed pipeline: topics are made, positions handed from stage to stage, and it is noted that this is what
//! runs from now on.
//!
//! In this order, so that a crash at any moment leaves something that can be applied again, and nothing that could run
//! and read records twice or pass them over:
//! 1. topics, and what waits of partitions that were added (`repartition.rs`);
//! 2. all groups concerned are held, what must be worked off first is looked at once more;
//! 3. the new readers get the positions, finished ranges included;
//! 4. the old readers' positions are marked: a process with the pipeline of before stops there;
//! 5. the fingerprint is written.

use std::collections::BTreeSet;

use millstream_log::{Class, Committed, Delivery, Log, LogError, LogResult, Position, TopicPartition};
use millstream_spec::model::{self, Pipeline};

use super::alive::Alive;
use super::begin::note;
use super::compare::{Comparison, Takeover};
use super::compare_sources::SourceTakeover;
use super::hold::Hold;
use super::moved::{moved, moved_to};
use super::repartition;
use super::survey::{ChangePlan, Survey, look};
use crate::shared::Stop;
use crate::topics::{self, Prepared, Wishes};

/// A person's further word.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions {
    /// Records that nobody would read later may stay behind.
    pub leave_unread: bool,
    /// Make a source topic that does not exist.
    pub create_source: bool,
    /// Topics get more partitions, and those that others have added are read.
    pub repartition: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What was to be done, as it stood at the beginning.
    pub plan: ChangePlan,
}

/// Does it.
///
/// # Errors
/// A stage that is concerned runs, or has something to work off first: nothing but topics was made. Others: it may be
/// done in part, and doing it again does the rest.
pub fn apply(log: &dyn Log, pipeline: &Pipeline, options: &ApplyOptions, stop: &Stop) -> LogResult<Applied> {
    let plan = look(log, pipeline)?;
    let survey = Survey::read(log, pipeline)?;
    let grows = repartition::grows(pipeline, &survey)?;
    if let Some(first) = grows.first().filter(|_| !options.repartition) {
        return Err(repartition::wants_a_word(first));
    }
    let mut concerned = concerned(&survey);
    concerned.extend(repartition::concerned(pipeline, &grows));
    let mut alive = Alive::new(log, &pipeline.name, concerned);
    alive.wait(stop)?;
    repartition::worked_off(log, pipeline, &survey, &grows)?;
    repartition::grow_own(log, pipeline, &survey, &grows)?;
    let (create_source, before) = (options.create_source, survey.old.as_ref());
    let wishes = Wishes { create_source, before, repartition: options.repartition };
    let prepared = match topics::prepare(log, pipeline, wishes)? {
        Prepared::Ready(topics) => topics,
        Prepared::Missing(topics) => {
            let it = if topics.len() == 1 { "it" } else { "them" };
            let message = format!("{}; make {it} first, or add `--create-source`", topics::missing(log, &topics));
            return Err(LogError::new(Class::Config, "unknown_topic", message));
        }
    };
    if options.repartition {
        repartition::note_all(log, pipeline, before, &prepared)?;
    }
    let Comparison { takeovers, orphans, sources, .. } = &survey.comparison;
    if !takeovers.is_empty() || !orphans.is_empty() || !sources.is_empty() {
        let mut hold = Hold::default();
        let handed = hand_over(log, pipeline, &survey, options, &mut hold, &mut || alive.look().map(drop), stop);
        // Held until it is noted what runs now: a process that starts meanwhile waits for its partitions.
        let noted = handed.and_then(|()| note(log, pipeline, &prepared));
        hold.leave();
        noted?;
    } else {
        note(log, pipeline, &prepared)?;
    }
    Ok(Applied { plan })
}

/// Stages that must not run meanwhile: those whose change is not safe, and those that give a topic up or take one over.
fn concerned(survey: &Survey) -> BTreeSet<String> {
    let comparison = &survey.comparison;
    let mut all: BTreeSet<String> =
        comparison.differences.iter().filter(|d| !d.safe).map(|d| d.stage.clone()).collect();
    if all.remove("") {
        let readers = survey.old.iter().flat_map(|o| &o.stages);
        let readers = readers.filter(|s| s.inputs.iter().any(|i| comparison.touched.contains(&i.topic)));
        all.extend(readers.map(|s| s.name.clone()));
    }
    all.extend(comparison.takeovers.iter().flat_map(|t| [t.from.clone(), t.to.clone()]));
    all.extend(comparison.orphans.iter().map(|o| o.stage.clone()));
    all
}

/// The person changed their mind.
pub fn stopped() -> LogError {
    LogError::new(Class::Config, "apply_stopped", "told to stop; nothing but topics was changed")
}

fn hand_over(
    log: &dyn Log,
    pipeline: &Pipeline,
    survey: &Survey,
    options: &ApplyOptions,
    hold: &mut Hold,
    look: &mut dyn FnMut() -> LogResult<()>,
    stop: &Stop,
) -> LogResult<()> {
    let delivery = match pipeline.delivery {
        model::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
        model::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
    };
    let Comparison { takeovers, sources, .. } = &survey.comparison;
    let there = |topic: &String| survey.partitions.contains_key(topic);
    for stage in survey.giving_up() {
        let topics: Vec<String> = stage.inputs.iter().map(|i| i.topic.clone()).filter(there).collect();
        let Some(partitions) = topics.first().and_then(|t| survey.partitions.get(t)) else { continue };
        hold.join(log, &stage.group, &topics, *partitions, delivery)?;
    }
    let to: BTreeSet<&str> = takeovers.iter().map(|t| t.to.as_str()).collect();
    for stage in to.into_iter().filter_map(|name| survey.new.stage(name)) {
        let topics: Vec<String> = stage.inputs.iter().map(|i| i.topic.clone()).collect();
        let Some(partitions) = stage.inputs.first().map(|i| i.partitions) else { continue };
        hold.join(log, &stage.group, &topics, partitions, delivery)?;
    }
    for SourceTakeover { from, to, .. } in sources.iter().filter(|s| there(&s.from)) {
        for topic in [from, to] {
            let count = survey.count(topic);
            hold.join(log, topic, std::slice::from_ref(topic), count, Delivery::ExactlyOnce)?;
        }
    }
    hold.wait(look, stop)?;
    // Now that nobody works on it, what is left is all there is.
    let first = survey.first(log, options.leave_unread)?;
    if !first.is_empty() {
        return Err(LogError::new(
            Class::Config,
            "records_left",
            format!(
                "{}. Let the pipeline as it was work that off (`run --until-idle` with the file of before); records that \
                 nobody would read later may stay behind with `apply --leave-unread`. Nothing but topics was changed",
                first.join(". ")
            ),
        ));
    }
    for takeover in takeovers {
        hold.poll()?;
        take_over(hold, takeover)?;
    }
    for takeover in takeovers {
        hold.poll()?;
        mark(hold, takeover)?;
    }
    for takeover in sources {
        hold.poll()?;
        move_source(hold, takeover)?;
    }
    Ok(())
}

/// The new reader stands where the old one stands.
fn take_over(hold: &mut Hold, takeover: &Takeover) -> LogResult<()> {
    let from = hold.committed(&takeover.from_group, &takeover.topic);
    let to = hold.committed(&takeover.to_group, &takeover.topic);
    let mut positions = Vec::new();
    for (partition, committed) in from {
        // Where the old reader never was, the new one begins by its own rule.
        let Some(Committed { offset, metadata }) = committed else { continue };
        if moved_to(&metadata).is_some() {
            // Done before a crash. The ranges are where it was taken to.
            if to.get(&partition).is_some_and(Option::is_some) {
                continue;
            }
            return Err(LogError::new(
                Class::Config,
                "position_moved",
                format!(
                    "the position of `{}` in {}:{partition} was taken over before, and `{}` has none there",
                    takeover.from_group, takeover.topic, takeover.to_group
                ),
            ));
        }
        positions.push(Position {
            partition: TopicPartition::new(takeover.topic.as_str(), partition),
            offset,
            metadata,
        });
    }
    tracing::info!(group = %takeover.to_group, after = %takeover.from_group, topic = %takeover.topic,
        partitions = positions.len(), "goes on where the other stands");
    hold.set(&takeover.to_group, &takeover.topic, positions)
}

/// A source stands under its new name where it stood, and its old position says so.
fn move_source(hold: &mut Hold, takeover: &SourceTakeover) -> LogResult<()> {
    let SourceTakeover { from, to, name } = takeover;
    let Some(Committed { offset, metadata }) = hold.committed(from, from).remove(&0).flatten() else { return Ok(()) };
    // Done before a crash.
    if moved_to(&metadata).is_some() {
        return Ok(());
    }
    tracing::info!(group = %to, after = %from, "the source goes on where it stands");
    let partition = TopicPartition::new(to.as_str(), 0);
    let anchor = hold.end(to, &partition).unwrap_or(0);
    hold.set(to, to, vec![Position { partition, offset: anchor, metadata }])?;
    hold.poll()?;
    let partition = TopicPartition::new(from.as_str(), 0);
    hold.set(from, from, vec![Position { partition, offset, metadata: moved(name) }])
}

/// Says in the old reader's position who went on from there.
fn mark(hold: &mut Hold, takeover: &Takeover) -> LogResult<()> {
    let from = hold.committed(&takeover.from_group, &takeover.topic);
    let position = |(partition, committed): (i32, Option<Committed>)| {
        let Committed { offset, metadata } = committed?;
        let partition = TopicPartition::new(takeover.topic.as_str(), partition);
        moved_to(&metadata).is_none().then(|| Position { partition, offset, metadata: moved(&takeover.to) })
    };
    let positions = from.into_iter().filter_map(position).collect();
    hold.set(&takeover.from_group, &takeover.topic, positions)
}
