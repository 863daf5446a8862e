//! A run begins: held against what ran last.

use millstream_log::{Class, Log, LogError, LogResult};
use millstream_spec::model::Pipeline;

use super::apply::{ApplyOptions, apply};
use super::fingerprint::Fingerprint;
use super::survey::Survey;
use crate::control::Control;
use crate::shared::Stop;
use crate::topics::Partitions;

/// Says what differs from what ran last, and gives that. An error where that is not safe, unless `agreed`: then it is
/// applied first.
pub fn begin(log: &dyn Log, pipeline: &Pipeline, agreed: bool, stop: &Stop) -> LogResult<Option<Fingerprint>> {
    let survey = Survey::read(log, pipeline)?;
    for difference in &survey.comparison.differences {
        tracing::info!(pipeline = %pipeline.name, safe = difference.safe, "changed: {}", difference.what);
    }
    if survey.comparison.is_safe() {
        return Ok(survey.old);
    }
    if agreed {
        apply(log, pipeline, &ApplyOptions::default(), stop)?;
        return Fingerprint::read(log, &pipeline.name);
    }
    let unsafe_ = survey.comparison.differences.iter().filter(|d| !d.safe);
    let repartition = unsafe_.clone().any(|d| d.kind == "partitions");
    let reasons: Vec<String> = unsafe_.map(|d| format!("{}: {}", d.what, d.why)).collect();
    let path = pipeline.path.display();
    Err(LogError::new(
        Class::Config,
        "pipeline_changed",
        format!(
            "it is not what ran last, and nothing was started. {}. `millstream plan {path}` shows it all, {how} does it",
            reasons.join(". "),
            how = match repartition {
                true => format!("`millstream apply --repartition {path}`"),
                false => format!("`millstream apply {path}` or `run --apply`"),
            },
        ),
    ))
}

/// Notes that this runs now.
pub fn note(log: &dyn Log, pipeline: &Pipeline, topics: &Partitions) -> LogResult<()> {
    let mut now = Fingerprint::of(pipeline, &|topic| Some(topics.of(topic)));
    // What was added is noted by who takes it up.
    for stage in &mut now.stages {
        let known = topics.known(&stage.name);
        stage.inputs.iter_mut().for_each(|input| input.partitions = known);
    }
    if Fingerprint::read(log, &pipeline.name)?.as_ref() == Some(&now) {
        return Ok(());
    }
    Control::of(log, &pipeline.name).put(vec![now.change()?])
}
