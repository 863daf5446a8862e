//! What commands do: order a replay, look how it goes, end it.

use millstream_log::{Class, End, Log, LogError, LogResult};
use millstream_spec::model::{Pipeline, Stage};

use super::order::{Replay, ReplayInput, ReplayState, all, running};
use super::progress::{Progress, clear, progress};
use crate::clock::wall_ms;
use crate::control::{Control, STALE_MS, reports};
use crate::plan::calls_out;
use crate::topics;

/// A replay to be ordered.
#[derive(Clone, Debug)]
pub struct Begin {
    /// [`Begin::new_id`], once for all tries.
    pub id: String,
    /// As it was asked for, for people.
    pub from: String,
    /// As it was asked for, for people.
    pub to: String,
    /// What is read, in the order of the stage's inputs, with a range for each partition.
    pub inputs: Vec<ReplayInput>,
    /// Whether the stage reads nothing live meanwhile.
    pub pause_live: bool,
}

impl Begin {
    /// A name that no other replay has: the time in seconds and a random number, so that they sort as they were ordered.
    pub fn new_id() -> String {
        format!("{:08x}-{:04x}", wall_ms() / 1000, fastrand::u16(..))
    }
}

/// How a replay goes.
#[derive(Clone, Debug)]
pub struct Look {
    /// As it was ordered, or has ended.
    pub replay: Replay,
    /// How far it is.
    pub progress: Progress,
    /// Processes that run the stage now.
    pub processes: usize,
}

/// Orders a replay: from now on every process that runs the stage obeys. To be called again when the log did not answer.
///
/// # Errors
/// One runs already (`replay_runs`), or the log failed.
pub fn begin(log: &dyn Log, pipeline: &Pipeline, stage: &Stage, begin: &Begin) -> LogResult<Replay> {
    let control = Control::open(log, &pipeline.name)?;
    let known = all(&control.entries()?)?;
    match running(&known, &stage.name) {
        Some(own) if own.id == begin.id => return Ok(own.clone()),
        Some(other) => return Err(runs(pipeline, other)),
        None => {}
    }
    let replay = Replay {
        id: begin.id.clone(),
        stage: stage.name.clone(),
        at: wall_ms(),
        from: begin.from.clone(),
        to: begin.to.clone(),
        inputs: begin.inputs.clone(),
        pause_live: begin.pause_live,
        state: ReplayState::Running,
        done: 0,
        ended: None,
        reason: None,
        cleared: false,
    };
    // Before the order: a replica that finds none has nowhere to note which ids have passed.
    if stage.dedup.is_some() {
        let partitions = begin.inputs.first().map_or(1, |i| i.ranges.len() as i32);
        log.create(&[topics::plain(&replay.state_topic(&stage.group), partitions)])?;
    }
    let old = known.iter().filter(|r| r.stage == stage.name && r.cleared).map(Replay::forget);
    control.put(old.chain([replay.change()?]).collect())?;
    // Everything that was ordered before stands before it by now.
    let mut follower = control.follow()?;
    control.catch_up(&mut follower, End::High)?;
    match running(&all(follower.entries())?, &stage.name) {
        Some(other) if other.id != replay.id => {
            let taken_back = replay.end(ReplayState::Cancelled, 0, None, wall_ms());
            control.put(vec![taken_back.change()?])?;
            clear(log, &pipeline.name, &taken_back)?;
            Err(runs(pipeline, other))
        }
        _ => Ok(replay),
    }
}

fn runs(pipeline: &Pipeline, other: &Replay) -> LogError {
    let (name, stage) = (&pipeline.name, &other.stage);
    LogError::new(
        Class::Config,
        "replay_runs",
        format!(
            "replay {} of `{name}.{stage}` is not over, and a stage has one at a time; `millstream status {name}` shows \
             it, `millstream replay {name}.{stage} --cancel` ends it",
            other.id
        ),
    )
}

/// Ends the replays of a pipeline that run, or the one of a stage, and gives them. What has passed by then stays.
pub fn cancel(log: &dyn Log, pipeline: &str, stage: Option<&str>) -> LogResult<Vec<Replay>> {
    let control = Control::of(log, pipeline);
    let entries = control.entries()?;
    let of_stage = |r: &Replay| r.state == ReplayState::Running && stage.is_none_or(|stage| r.stage == stage);
    let mut cancelled = Vec::new();
    for replay in all(&entries)?.into_iter().filter(of_stage) {
        let done = progress(log, &format!("{pipeline}.{}", replay.stage), &replay)?.done;
        let ended = replay.end(ReplayState::Cancelled, done, None, wall_ms());
        control.put(vec![ended.change()?])?;
        // Processes that run the stage do it, or the next one that does.
        if serving(&entries, &replay.stage, wall_ms()) == 0 {
            clear(log, pipeline, &ended)?;
        }
        cancelled.push(ended);
    }
    Ok(cancelled)
}

/// How a replay goes now; `None` when it is forgotten, because others came after its end.
pub fn look(log: &dyn Log, pipeline: &str, stage: &str, id: &str) -> LogResult<Option<Look>> {
    let entries = Control::of(log, pipeline).entries()?;
    let Some(replay) = all(&entries)?.into_iter().find(|r| r.stage == stage && r.id == id) else { return Ok(None) };
    let progress = match replay.state {
        ReplayState::Running => progress(log, &format!("{pipeline}.{stage}"), &replay)?,
        _ => Progress { done: replay.done, total: replay.total() },
    };
    Ok(Some(Look { progress, processes: serving(&entries, stage, wall_ms()), replay }))
}

/// How many processes run a stage.
fn serving(entries: &crate::control::Entries, stage: &str, now: i64) -> usize {
    let all = reports(entries).into_iter().filter_map(|(_, report)| report.ok());
    all.filter(|r| now - r.at <= STALE_MS && r.stages.contains_key(stage)).count()
}

/// The stages with filters that call out among those which a replay of a stage reaches. `stage` is its index.
pub fn calling(pipeline: &Pipeline, stage: usize) -> Vec<&str> {
    reached(pipeline, stage).filter(|s| calls_out(s)).map(|s| s.name.as_str()).collect()
}

/// A stage whose records wait for events among those which a replay of a stage reaches: what they waited for was used up.
pub fn waiting(pipeline: &Pipeline, stage: usize) -> Option<&str> {
    reached(pipeline, stage).find(|s| s.meets.is_some() || s.of_events).map(|s| s.name.as_str())
}

/// The stage, and all that read what it writes.
fn reached(pipeline: &Pipeline, stage: usize) -> impl Iterator<Item = &Stage> {
    let mut reached = vec![stage];
    let mut at = 0;
    while let Some(from) = reached.get(at).copied() {
        for (i, reader) in pipeline.stages.iter().enumerate() {
            if !reached.contains(&i)
                && reader.compensates.is_none()
                && reader.inputs.iter().any(|input| input.from_stage == Some(from))
            {
                reached.push(i);
            }
        }
        at += 1;
    }
    reached.sort_unstable();
    reached.into_iter().filter_map(|i| pipeline.stages.get(i))
}
