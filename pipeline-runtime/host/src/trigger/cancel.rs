//! A job that waits is taken back. The one that moves due jobs decides, so that a job is either started or taken back.

use std::time::{Duration, Instant};

use millstream_log::{Class, End, Log, LogError, LogResult};
use millstream_spec::model::Pipeline;
use serde::{Deserialize, Serialize};

use super::later::JOB;
use super::{mover, topic};
use crate::clock::wall_ms;
use crate::control::{Control, decode, encode};
use crate::shared::Stop;

pub(super) const CANCEL: &str = "cancel/";
/// For the session of a dead owner to end, and then some.
const PATIENCE: Duration = Duration::from_secs(90);

/// `cancel/<id>`: what is wanted, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// When it was asked, ms since 1970.
    pub at: i64,
    /// Who asked: an answer to another one's question is none.
    pub by: String,
    /// Whether the job still waited; nothing before it is decided.
    #[serde(default)]
    pub taken_back: Option<bool>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not start.
    TakenBack,
    /// No job of that id waits: there never was one, or it has started.
    NotWaiting,
}

/// Takes a job back that waits. Where no process runs the pipeline, this one does what it would do, until there is an
/// answer.
///
/// # Errors
/// `later_unanswered`, or the log failed.
pub fn cancel(log: &dyn Log, pipeline: &Pipeline, job: &str) -> LogResult<Cancelled> {
    let control = Control::of_topic(log, topic(&pipeline.name));
    if !control.entries()?.contains_key(&format!("{JOB}{job}")) {
        return Ok(Cancelled::NotWaiting);
    }
    let by = format!("{:032x}", fastrand::u128(..));
    let key = format!("{CANCEL}{job}");
    let request = Request { at: wall_ms(), by: by.clone(), taken_back: None };
    control.put(vec![(key.clone(), Some(encode(&request)?))])?;
    let stop = Stop::new(Duration::from_secs(5));
    let answer = std::thread::scope(|scope| {
        let helper = scope.spawn(|| help(log, pipeline, &by, &stop));
        let answer = answered(&control, &key, &by);
        stop.drain();
        // What it could not do, whoever answered did.
        drop(helper.join());
        answer
    })?;
    control.put(vec![(key, None)])?;
    Ok(if answer { Cancelled::TakenBack } else { Cancelled::NotWaiting })
}

/// Stands by to move due jobs, in case that nobody else does.
fn help(log: &dyn Log, pipeline: &Pipeline, name: &str, stop: &Stop) {
    while let Err(e) = mover::run(log, pipeline, name, stop) {
        tracing::debug!(error = %e, "trying again");
        if stop.draining() || e.class == Class::Fatal {
            return;
        }
        stop.wait(Duration::from_millis(200));
    }
}

fn answered(control: &Control<'_>, key: &str, by: &str) -> LogResult<bool> {
    let mut follower = control.follow()?;
    control.catch_up(&mut follower, End::Stable)?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(entry) = follower.entries().get(key) {
            let request = decode::<Request>(key, &entry.value)?;
            if let Some(answer) = request.taken_back.filter(|_| request.by == by) {
                return Ok(answer);
            }
        }
        follower.poll(Duration::from_millis(200))?;
    }
    let message = "nobody has answered whether the job could be taken back; ask again";
    Err(LogError::new(Class::Retry, "later_unanswered", message))
}
