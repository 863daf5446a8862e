//! Added partitions are taken up: the side topics get as many, and it is noted what waits.

use millstream_log::{Log, LogResult};
use millstream_spec::model::Stage;

use super::record::{Added, Step};
use crate::changes::Fingerprint;
use crate::control::Control;

/// Gives the topics that lie beside a stage's input as many partitions. Those that are not there are made later.
pub fn grow_sides(log: &dyn Log, stage: &Stage, partitions: i32) -> LogResult<()> {
    // Dead letters last: a letter sent back makes `.retry` as wide as they are.
    let sides = [&stage.state, &stage.checkpoints, &stage.retry_topic, &stage.dlq].map(String::as_str);
    let found = log.describe(&sides)?;
    let there: Vec<(&str, i32)> =
        sides.iter().zip(found).filter(|(_, info)| info.is_some()).map(|(topic, _)| (*topic, partitions)).collect();
    log.add_partitions(&there)
}

/// Notes what of a stage waits, and in the fingerprint that its input has so many partitions now; in this order, so that
/// between the two it is only noted again.
pub fn note(log: &dyn Log, pipeline: &str, stage: &Stage, step: Step) -> LogResult<()> {
    let Some(lead) = stage.inputs.first() else { return Ok(()) };
    let control = Control::of(log, pipeline);
    // As they are now: another process, or another stage, may just have noted something.
    let entries = &control.entries()?;
    let to = step.to;
    let inputs = || stage.inputs.iter().map(|i| i.topic.as_str());
    let before = Added::read(entries, &stage.name, inputs())?;
    let added = Added::with(before, &lead.topic, inputs().skip(1), step);
    let mut changes = vec![added.change(&stage.name)?];
    if let Some(mut fingerprint) = Fingerprint::in_entries(entries)? {
        for mark in fingerprint.stages.iter_mut().filter(|s| s.name == stage.name) {
            mark.inputs.iter_mut().for_each(|input| input.partitions = input.partitions.max(to));
        }
        changes.push(fingerprint.change()?);
    }
    control.put(changes)
}
