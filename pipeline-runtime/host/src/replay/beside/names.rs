//! The pipeline beside: the live one's file with other names, from the stage on that was asked for.

use std::collections::{BTreeMap, BTreeSet};

use millstream_log::{Class, LogError, LogResult};
use millstream_spec::model::{IdRule, Input, Pipeline, Source, SourceKind, Start, TopicSettings};

use crate::ids::ID_HEADER;

/// A pipeline that runs beside its live one.
pub struct Beside {
    /// As it runs.
    pub pipeline: Pipeline,
    /// Name of the live pipeline.
    pub live: String,
    /// The name it was given.
    pub name: String,
    /// The stage it begins at; `None` for all of it.
    pub stage: Option<String>,
    /// The live topics it reads.
    pub reads: Vec<String>,
}

/// Whether a replay can have this name: it becomes part of names of topics.
pub fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 64
        && name.chars().all(legal)
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `orders--new`.
pub fn own_name(live: &str, name: &str) -> String {
    format!("{live}--{name}")
}

impl Beside {
    /// The pipeline of a file under the name `name`, all of it or from a stage on.
    ///
    /// # Errors
    /// `replay_name`, `replay_inputs` (a stage reads what is not replayed).
    pub fn new(mut pipeline: Pipeline, name: &str, stage: Option<&str>) -> LogResult<Self> {
        if !is_name(name) {
            let message =
                format!("`--beside {name}`: a name has lower-case letters, digits and single dashes, 64 at most");
            return Err(LogError::new(Class::Config, "replay_name", message));
        }
        let live = pipeline.name.clone();
        without_jobs(&mut pipeline);
        if let Some(first) = stage {
            from_stage_on(&mut pipeline, first)?;
        }
        for source in &mut pipeline.sources {
            if let SourceKind::Topic { start } = &mut source.kind {
                *start = Start::Earliest;
            }
        }
        rename(&mut pipeline, &own_name(&live, name))?;
        // Its records are those of jobs that have ended.
        pipeline.jobs = None;
        let inputs = pipeline.stages.iter().flat_map(|s| &s.inputs);
        let reads: BTreeSet<String> = inputs.filter(|i| i.from_stage.is_none()).map(|i| i.topic.clone()).collect();
        let (name, stage) = (name.to_owned(), stage.map(str::to_owned));
        Ok(Self { pipeline, live, name, stage, reads: reads.into_iter().collect() })
    }

    /// Every group that may work for it.
    pub fn groups(&self) -> Vec<String> {
        self.pipeline.stages.iter().flat_map(|s| [s.group.clone(), format!("{}.letters", s.group)]).collect()
    }
}

/// Its jobs have ended: nothing of them is undone, and nobody is told of them.
fn without_jobs(pipeline: &mut Pipeline) {
    // What does that stands behind all others, so places stay.
    pipeline.stages.retain(|stage| stage.compensates.is_none() && !stage.calls_back);
    for stage in &mut pipeline.stages {
        stage.outputs.retain(|output| !output.undo);
        (stage.ends_job, stage.deadline) = (false, None);
    }
}

/// Leaves the stage and those that it feeds; what the stage reads becomes its sources.
fn from_stage_on(pipeline: &mut Pipeline, first: &str) -> LogResult<()> {
    let Some(at) = pipeline.stages.iter().position(|s| s.name == first) else {
        let message = format!("pipeline `{}` has no stage `{first}`", pipeline.name);
        return Err(LogError::new(Class::Config, "replay_inputs", message));
    };
    let mut kept = BTreeSet::from([at]);
    loop {
        let before = kept.len();
        for (i, stage) in pipeline.stages.iter().enumerate() {
            if stage.inputs.iter().any(|input| input.from_stage.is_some_and(|from| kept.contains(&from))) {
                kept.insert(i);
            }
        }
        if kept.len() == before {
            break;
        }
    }
    for i in kept.iter().filter(|i| **i != at) {
        let stage = &pipeline.stages[*i];
        let other = stage.inputs.iter().find(|input| input.from_stage.is_none_or(|from| !kept.contains(&from)));
        if let Some(other) = other {
            return Err(LogError::new(
                Class::Config,
                "replay_inputs",
                format!(
                    "stage `{}` reads `{}` too, which does not come from `{first}`: begin at a stage that both come from, \
                     or replay the whole pipeline",
                    stage.name, other.topic
                ),
            ));
        }
    }
    // All others read what the stage feeds: it alone has sources.
    let settings = pipeline.sources[0].topic_settings.clone();
    let mut live: Vec<Option<Source>> = std::mem::take(&mut pipeline.sources).into_iter().map(Some).collect();
    for (n, input) in pipeline.stages[at].inputs.iter_mut().enumerate() {
        let source = input.source.replace(n).and_then(|source| live.get_mut(source)?.take());
        pipeline.sources.push(source.unwrap_or_else(|| as_source(input, &settings)));
    }
    let places: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let stages = std::mem::take(&mut pipeline.stages);
    for (i, mut stage) in stages.into_iter().enumerate().filter(|(i, _)| kept.contains(i)) {
        for input in &mut stage.inputs {
            input.from_stage = input.from_stage.filter(|_| i != at).and_then(|from| places.get(&from).copied());
        }
        pipeline.stages.push(stage);
    }
    Ok(())
}

/// What a stage of the live pipeline wrote, as a source. Outputs of stages carry their id in one header, whoever reads
/// them.
fn as_source(input: &Input, settings: &TopicSettings) -> Source {
    Source {
        name: input.topic.clone(),
        named: true,
        kind: SourceKind::Topic { start: Start::Earliest },
        format: input.format.clone(),
        id: IdRule::Header(ID_HEADER.to_owned()),
        key: None,
        types: input.types.clone(),
        typed: false,
        schema: None,
        topic: input.topic.clone(),
        inlet: input.topic.clone(),
        id_prefix: None,
        topic_settings: settings.clone(),
    }
}

/// Everything that the pipeline makes gets names of its own.
fn rename(pipeline: &mut Pipeline, own: &str) -> LogResult<()> {
    let live = std::mem::replace(&mut pipeline.name, own.to_owned());
    let moved = |name: &str| match name.strip_prefix(&format!("{live}.")) {
        Some(rest) => format!("{own}.{rest}"),
        None => format!("{own}.{name}"),
    };
    let mut topics: BTreeMap<String, String> = BTreeMap::new();
    for stage in &mut pipeline.stages {
        // Nobody is there to decide about its letters: what it would hold, it would never show.
        stage.hold_key = false;
        for name in [&mut stage.group, &mut stage.dlq, &mut stage.state, &mut stage.retry_topic, &mut stage.checkpoints]
        {
            *name = moved(name);
        }
        for output in &mut stage.outputs {
            let new = if output.given { format!("{own}.{}", output.topic) } else { moved(&output.topic) };
            topics.insert(std::mem::replace(&mut output.topic, new.clone()), new);
        }
    }
    let names: BTreeSet<&String> = topics.values().collect();
    let side = pipeline.stages.iter().flat_map(|s| [&s.dlq, &s.state, &s.retry_topic, &s.checkpoints]);
    if names.len() < topics.len() || side.into_iter().any(|s| names.contains(s)) {
        let message =
            format!("two topics of `{live}` would have one name under `{own}`: give one of them another `to`");
        return Err(LogError::new(Class::Config, "replay_name", message));
    }
    for input in pipeline.stages.iter_mut().flat_map(|s| &mut s.inputs) {
        if let (Some(_), Some(new)) = (input.from_stage, topics.get(&input.topic)) {
            input.topic.clone_from(new);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["new", "a", "0", "try-2", "2026-11-21"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a--b", "A", "a.b", "a_b", "ä", long.as_str()] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
