//! What a change comes to on the log as it is: read, never written.

use std::collections::BTreeMap;

use millstream_log::{Committed, End, Log, LogResult, TopicPartition};
use millstream_spec::model::{Pipeline, Source, SourceKind, Start};
use serde::Serialize;

use super::compare::{Comparison, Difference, Facts, Takeover, compare};
use super::fingerprint::{Fingerprint, StageMark};
use super::moved::moved_to;
use super::repartition;
use crate::control::Control;
use crate::growth::Added;
use crate::plan::sets_aside;
use crate::source;
use crate::topics::counts;

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangePlan {
    /// The pipeline.
    pub pipeline: String,
    /// Whether it has run before.
    pub ran: bool,
    /// Whether `run` applies all of it by itself.
    pub safe: bool,
    /// Topics that are not there.
    pub topics: Vec<TopicPlan>,
    /// Topics that get more partitions.
    pub grow: Vec<GrowPlan>,
    /// Groups that begin somewhere.
    pub groups: Vec<GroupPlan>,
    /// What differs from what ran last.
    pub changes: Vec<Difference>,
    /// What has to be done before it can be applied.
    pub first: Vec<String>,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
}

/// A topic that gets more partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrowPlan {
    /// Its name.
    pub name: String,
    /// Partitions it has.
    pub from: i32,
    /// Partitions it gets.
    pub to: i32,
}

/// A group that has no position in one of its topics, or gets another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupPlan {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The group that stands there now, whose position it takes over; `None` begins by the rule.
    pub after: Option<String>,
    /// In words.
    pub begins: String,
    /// Offsets it has before it.
    pub unread: i64,
    /// By partition; only where a position is taken over.
    pub positions: Vec<PlacePlan>,
}

/// A position in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacePlan {
    /// The partition.
    pub partition: i32,
    /// The next offset to be read.
    pub offset: i64,
}

/// What is known before anything is decided.
pub struct Survey {
    /// The pipeline's name.
    pub pipeline: String,
    /// What ran last.
    pub old: Option<Fingerprint>,
    /// What shall run.
    pub new: Fingerprint,
    /// Partitions of all topics that are there.
    pub partitions: BTreeMap<String, i32>,
    /// What differs.
    pub comparison: Comparison,
}

/// What would change if the pipeline were applied now. Touches nothing.
pub fn look(log: &dyn Log, pipeline: &Pipeline) -> LogResult<ChangePlan> {
    let survey = Survey::read(log, pipeline)?;
    Ok(ChangePlan {
        pipeline: pipeline.name.clone(),
        ran: survey.old.is_some(),
        safe: survey.comparison.is_safe(),
        topics: missing(pipeline, &survey.partitions),
        grow: grow(pipeline, &survey),
        groups: groups(log, pipeline, &survey)?,
        first: survey.first(log, false)?,
        changes: survey.comparison.differences,
    })
}

impl Survey {
    /// Asks the log.
    pub fn read(log: &dyn Log, pipeline: &Pipeline) -> LogResult<Self> {
        let old = Fingerprint::read(log, &pipeline.name)?;
        let wanted = wanted(pipeline, &BTreeMap::new());
        let mut topics: Vec<&str> = wanted.iter().map(|t| t.name.as_str()).collect();
        topics.extend(pipeline.sources.iter().map(|s| s.topic.as_str()));
        topics.extend(old.iter().flat_map(|o| &o.sources).map(|s| s.topic.as_str()));
        let stages = old.iter().flat_map(|o| &o.stages);
        topics.extend(stages.flat_map(|s| s.inputs.iter().map(|i| i.topic.as_str()).chain([s.retry.as_str()])));
        topics.sort_unstable();
        topics.dedup();
        let infos = log.describe(&topics)?;
        let partitions: BTreeMap<String, i32> =
            topics.iter().zip(infos).filter_map(|(t, info)| Some(((*t).to_owned(), info?.partitions))).collect();
        let new = Fingerprint::of(pipeline, &|topic| partitions.get(topic).copied());
        let comparison = match &old {
            Some(old) if *old != new => {
                let facts = Facts {
                    unread: unread_of(log, old, &partitions)?,
                    partitions: partitions.clone(),
                    stands: stands(log, old, &new, &partitions)?,
                };
                compare(old, &new, &facts)
            }
            _ => Comparison::default(),
        };
        Ok(Self { pipeline: pipeline.name.clone(), old, new, partitions, comparison })
    }

    /// Partitions of a topic that is there.
    pub fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        partitions_of(&self.partitions, topic)
    }

    /// Partitions of a topic that some stage reads, as it is or will be made.
    pub fn count(&self, topic: &str) -> i32 {
        let mut read = self.new.stages.iter().flat_map(|s| &s.inputs);
        let made = || read.find(|i| i.topic == topic).map(|i| i.partitions);
        self.partitions.get(topic).copied().or_else(made).unwrap_or(1)
    }

    /// The stages that ran last and give a topic up, by name.
    pub fn giving_up(&self) -> Vec<&StageMark> {
        let Some(old) = &self.old else { return Vec::new() };
        let takeovers = self.comparison.takeovers.iter().map(|t| t.from.as_str());
        let mut names: Vec<&str> = takeovers.chain(self.comparison.orphans.iter().map(|o| o.stage.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| old.stage(name)).collect()
    }

    /// What the stages that ran last must do before another one may go on in their place. `leave_unread`: records that
    /// nobody reads later are no reason.
    pub fn first(&self, log: &dyn Log, leave_unread: bool) -> LogResult<Vec<String>> {
        let mut first = Vec::new();
        for orphan in self.comparison.orphans.iter().filter(|_| !leave_unread) {
            let left = left(log, &orphan.group, &self.partitions_of(&orphan.topic))?;
            if left > 0 {
                first.push(format!(
                    "stage `{}` has {left} offsets of `{}` not read, and nobody would read them later",
                    orphan.stage, orphan.topic
                ));
            }
        }
        for stage in self.giving_up() {
            let aside = left(log, &stage.group, &self.partitions_of(&stage.retry))?;
            if aside > 0 {
                first.push(format!(
                    "stage `{}` has set records aside ({aside} offsets of `{}`)",
                    stage.name, stage.retry
                ));
            }
        }
        let entries = Control::of(log, &self.pipeline).entries()?;
        for stage in self.giving_up() {
            let added = Added::read(&entries, &stage.name, stage.inputs.iter().map(|i| i.topic.as_str()))?;
            if let Some(added) = added.filter(|added| !added.steps.is_empty()) {
                first.push(format!(
                    "stage `{}` has not begun the partitions that `{}` was given",
                    stage.name, added.topic
                ));
            }
        }
        first.extend(self.apart(log)?);
        Ok(first)
    }

    /// Two stages that one shall replace, and that do not stand at the same place.
    fn apart(&self, log: &dyn Log) -> LogResult<Vec<String>> {
        let mut apart = Vec::new();
        type Standing<'a> = (&'a Takeover, Vec<Option<Committed>>);
        let mut known: BTreeMap<(&str, &str), Standing<'_>> = BTreeMap::new();
        for takeover in &self.comparison.takeovers {
            let at = log.committed(&takeover.from_group, &self.partitions_of(&takeover.topic))?;
            let key = (takeover.to.as_str(), takeover.topic.as_str());
            match known.get(&key) {
                Some((other, there)) if *there != at => apart.push(format!(
                    "stages `{}` and `{}` stand at different places of `{}`, and `{}` would go on from both",
                    other.from, takeover.from, takeover.topic, takeover.to
                )),
                Some(_) => {}
                None => drop(known.insert(key, (takeover, at))),
            }
        }
        Ok(apart)
    }
}

/// Offsets of some partitions that a group has not committed.
pub fn left(log: &dyn Log, group: &str, partitions: &[TopicPartition]) -> LogResult<i64> {
    if partitions.is_empty() {
        return Ok(0);
    }
    // Asked in this order, so that a position is never beyond the end that was seen.
    let committed = log.committed(group, partitions)?;
    let low = log.ends(partitions, End::Low)?;
    let high = log.ends(partitions, End::High)?;
    let of = |((committed, low), high): ((&Option<Committed>, &i64), &i64)| {
        (high - committed.as_ref().map_or(*low, |c| c.offset.max(*low))).max(0)
    };
    Ok(committed.iter().zip(&low).zip(&high).map(of).sum())
}

fn unread_of(
    log: &dyn Log,
    old: &Fingerprint,
    partitions: &BTreeMap<String, i32>,
) -> LogResult<BTreeMap<(String, String), i64>> {
    let mut unread = BTreeMap::new();
    for stage in &old.stages {
        for input in &stage.inputs {
            let left = left(log, &stage.group, &partitions_of(partitions, &input.topic))?;
            unread.insert((stage.group.clone(), input.topic.clone()), left);
        }
    }
    Ok(unread)
}

/// Where sources stand that the old pipeline does not have: one of that name may have been there before it.
fn stands(
    log: &dyn Log,
    old: &Fingerprint,
    new: &Fingerprint,
    partitions: &BTreeMap<String, i32>,
) -> LogResult<BTreeMap<String, u64>> {
    let mut stands = BTreeMap::new();
    let came = new.sources.iter().filter(|s| s.writes() && partitions.contains_key(&s.topic));
    for source in came.filter(|s| !old.sources.iter().any(|o| o.topic == s.topic)) {
        if let Some(position) = source::stands(log, &source.topic)? {
            stands.insert(source.topic.clone(), position.records);
        }
    }
    Ok(stands)
}

fn partitions_of(partitions: &BTreeMap<String, i32>, topic: &str) -> Vec<TopicPartition> {
    (0..partitions.get(topic).copied().unwrap_or(0)).map(|p| TopicPartition::new(topic, p)).collect()
}

/// The topics a pipeline owns, with the partitions they are made with.
fn wanted(pipeline: &Pipeline, there: &BTreeMap<String, i32>) -> Vec<TopicPlan> {
    let mut all: Vec<TopicPlan> = Vec::new();
    let mut add = |name: &str, partitions: i32| {
        if !all.iter().any(|t| t.name == name) {
            all.push(TopicPlan { name: name.to_owned(), partitions });
        }
    };
    let counts = counts(pipeline, &|topic| there.get(topic).copied());
    let count = |topic: &str| counts.get(topic).copied().unwrap_or(1);
    pipeline.sources.iter().filter(|s| s.writes()).for_each(|s| add(&s.topic, count(&s.topic)));
    let ids = pipeline.sources.iter().filter_map(|s| Some((s.ids_topic()?, count(&s.topic))));
    ids.for_each(|(topic, count)| add(&topic, count));
    pipeline.sources.iter().filter_map(Source::seen_topic).for_each(|topic| add(&topic, 1));
    pipeline.stages.iter().flat_map(|s| &s.outputs).for_each(|o| add(&o.topic, count(&o.topic)));
    for stage in &pipeline.stages {
        let count = stage.inputs.first().map_or(1, |i| count(&i.topic));
        add(&stage.dlq, count);
        if stage.dedup.is_some() || stage.meets.is_some() {
            add(&stage.state, count);
        }
        if sets_aside(stage) {
            add(&stage.retry_topic, count);
        }
        if stage.keeps_checkpoints() {
            add(&stage.checkpoints, count);
        }
    }
    if let Some(jobs) = &pipeline.jobs {
        add(&jobs.topic, jobs.partitions);
        add(&jobs.notes, jobs.partitions);
        jobs.events.iter().for_each(|events| add(events, jobs.partitions));
        jobs.callback.iter().for_each(|callback| add(&callback.topic, count(&callback.topic)));
    }
    add(&crate::control::topic(&pipeline.name), 1);
    all
}

fn missing(pipeline: &Pipeline, there: &BTreeMap<String, i32>) -> Vec<TopicPlan> {
    wanted(pipeline, there).into_iter().filter(|t| !there.contains_key(&t.name)).collect()
}

/// What grows: topics of ours as the file says, and what lies beside a topic that stages read. One that would have to get
/// smaller is left for `apply` to refuse.
fn grow(pipeline: &Pipeline, survey: &Survey) -> Vec<GrowPlan> {
    let grows = repartition::grows(pipeline, survey).unwrap_or_default();
    let mut all: Vec<GrowPlan> = Vec::new();
    for one in &grows {
        if one.add {
            all.push(GrowPlan { name: one.topic.clone(), from: one.from, to: one.to });
        }
        for stage in pipeline.stages.iter().filter(|s| s.inputs.iter().any(|i| i.topic == one.topic)) {
            for side in [&stage.dlq, &stage.state, &stage.retry_topic, &stage.checkpoints] {
                let from = survey.partitions.get(side).copied().filter(|from| *from < one.to);
                all.extend(from.map(|from| GrowPlan { name: side.clone(), from, to: one.to }));
            }
        }
    }
    all.dedup();
    all
}

fn groups(log: &dyn Log, pipeline: &Pipeline, survey: &Survey) -> LogResult<Vec<GroupPlan>> {
    let mut groups = Vec::new();
    for takeover in &survey.comparison.sources {
        groups.push(GroupPlan {
            group: takeover.to.clone(),
            topic: takeover.to.clone(),
            after: Some(takeover.from.clone()),
            begins: format!("where `{}` stands", takeover.from),
            unread: 0,
            positions: Vec::new(),
        });
    }
    for stage in &pipeline.stages {
        for input in &stage.inputs {
            let partitions = survey.partitions_of(&input.topic);
            let takes = |t: &&Takeover| t.to == stage.name && t.topic == input.topic;
            let (group, topic) = (stage.group.clone(), input.topic.clone());
            if let Some(takeover) = survey.comparison.takeovers.iter().find(takes) {
                let at = log.committed(&takeover.from_group, &partitions)?;
                let place = |(at, committed): (&TopicPartition, Option<Committed>)| {
                    Some(PlacePlan { partition: at.partition, offset: committed?.offset })
                };
                let begins = format!("where `{}` stands", takeover.from_group);
                let unread = left(log, &takeover.from_group, &partitions)?;
                let positions = partitions.iter().zip(at).filter_map(place).collect();
                groups.push(GroupPlan {
                    group,
                    topic,
                    after: Some(takeover.from_group.clone()),
                    begins,
                    unread,
                    positions,
                });
                continue;
            }
            let committed = if partitions.is_empty() { Vec::new() } else { log.committed(&group, &partitions)? };
            if committed.iter().any(|c| c.as_ref().is_some_and(|c| moved_to(&c.metadata).is_none())) {
                continue;
            }
            let rule = match pipeline.source_of(input).map(|s| &s.kind) {
                Some(SourceKind::Topic { start }) => *start,
                _ => Start::Earliest,
            };
            let begins = match rule {
                Start::Earliest => "at the first record",
                Start::Latest => "after the last record",
                Start::At(_) => "at the time that `start` says",
            };
            let unread = match rule {
                Start::Earliest => left(log, &group, &partitions)?,
                Start::Latest | Start::At(_) => 0,
            };
            let (after, positions) = (None, Vec::new());
            groups.push(GroupPlan { group, topic, after, begins: begins.to_owned(), unread, positions });
        }
    }
    Ok(groups)
}
