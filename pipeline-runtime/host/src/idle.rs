//! Whether all input of a pipeline is worked off, over all processes: told by the log alone.

use millstream_log::{End, Log, LogResult, TopicPartition};
use millstream_spec::model::{Pipeline, Source, Stage};

use crate::held;
use crate::jobs;
use crate::source;

/// Stage by stage from the source: does every group of the stages `here` stand at the end of what it reads, with no open
/// transaction? Have the `sources` that run with them given all they have?
///
/// The order matters: a stage commits its outputs together with its position, so when it stands at the end of its
/// input, all it will ever write is there before the next stage's end is asked.
pub fn worked_off(
    log: &dyn Log,
    pipeline: &Pipeline,
    here: &dyn Fn(&str) -> bool,
    sources: &[&Source],
) -> LogResult<bool> {
    for source in sources {
        if !source::finished(log, source)? {
            return Ok(false);
        }
    }
    for stage in in_order(pipeline) {
        let stage = &pipeline.stages[stage];
        if !here(&stage.name) {
            continue;
        }
        if !stage_worked_off(log, stage)? {
            return Ok(false);
        }
    }
    // The notes of all those ends are there by now.
    let Some(jobs) = &pipeline.jobs else { return Ok(true) };
    let before = jobs::ends(log, jobs)?;
    if !jobs::worked_off(log, pipeline)? {
        return Ok(false);
    }
    // What undoes jobs, or tells of them, gets its records from the count of them; the former says so to it when they have
    // ended. When nothing was said meanwhile, nothing is on its way there.
    let fed = |stage: &&Stage| stage.compensates.is_some() || stage.calls_back;
    for stage in pipeline.stages.iter().filter(|stage| fed(stage) && here(&stage.name)) {
        if !stage_worked_off(log, stage)? {
            return Ok(false);
        }
    }
    Ok(jobs::ends(log, jobs)? == before)
}

fn stage_worked_off(log: &dyn Log, stage: &Stage) -> LogResult<bool> {
    for input in &stage.inputs {
        // Asked each time: others may add partitions to a topic of theirs.
        let Some(info) = &log.describe(&[&input.topic])?[0] else { return Ok(false) };
        let partitions: Vec<TopicPartition> =
            (0..info.partitions).map(|p| TopicPartition::new(input.topic.as_str(), p)).collect();
        if !at_end(log, &stage.group, &partitions)? {
            return Ok(false);
        }
    }
    // After its inputs: what it sets aside is there when its position says that it has read the record.
    retried(log, stage)
}

/// Whether nothing is set aside but what waits for somebody to decide about a dead letter. The topic is asked for each time: sending the first dead letter back makes it.
fn retried(log: &dyn Log, stage: &Stage) -> LogResult<bool> {
    let Some(info) = &log.describe(&[&stage.retry_topic])?[0] else { return Ok(true) };
    let partitions: Vec<TopicPartition> =
        (0..info.partitions).map(|p| TopicPartition::new(stage.retry_topic.as_str(), p)).collect();
    if at_end(log, &stage.group, &partitions)? {
        return Ok(true);
    }
    if log.ends(&partitions, End::High)? != log.ends(&partitions, End::Stable)? {
        return Ok(false);
    }
    let held = held::look(log, &stage.group, &stage.retry_topic)?;
    Ok(!held.busy && held.keys() > 0)
}

/// Whether a group stands at the end of partitions, and no transaction is open there.
pub(crate) fn at_end(log: &dyn Log, group: &str, partitions: &[TopicPartition]) -> LogResult<bool> {
    let high = log.ends(partitions, End::High)?;
    let stable = log.ends(partitions, End::Stable)?;
    if high != stable {
        return Ok(false);
    }
    let committed = log.committed(group, partitions)?;
    let low = log.ends(partitions, End::Low)?;
    Ok(high.iter().zip(&low).zip(&committed).all(|((high, low), committed)| match committed {
        Some(committed) => committed.offset >= *high,
        None => low == high,
    }))
}

/// Stages so that each comes after those it reads from. The check has refused cycles.
pub(crate) fn in_order(pipeline: &Pipeline) -> Vec<usize> {
    let mut order = Vec::new();
    let mut rest: Vec<usize> = (0..pipeline.stages.len()).collect();
    while !rest.is_empty() {
        let before = rest.len();
        rest.retain(|stage| {
            let ready =
                pipeline.stages[*stage].inputs.iter().all(|i| i.from_stage.is_none_or(|from| order.contains(&from)));
            if ready {
                order.push(*stage);
            }
            !ready
        });
        if rest.len() == before {
            // A cycle cannot be here; asking in file order still only errs on the side of waiting.
            order.append(&mut rest);
        }
    }
    order
}
