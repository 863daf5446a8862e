//! Somebody wants no more of a job.

use std::time::Duration;

use millstream_log::{Class, Log, LogError, LogResult, Sent};
use millstream_spec::model::{Jobs, Pipeline};

use super::job::JobStatus;
use super::note::{Note, What};
use super::plan::JobsPlan;
use super::store::find;

/// A write is durable within this time, or failed.
const WRITTEN: Duration = Duration::from_secs(10);

/// Has what is left of a job dropped, and gives how it stood before: one that is done or has ended otherwise is left as it is.
/// `None` where the job is not known.
///
/// The word is a note like others, so that it has its place among the ends of the job's records.
///
/// # Errors
/// `jobs_not_tracked`, `job_not_text` (stages are told in the control topic, whose keys are text), or the log failed.
pub fn cancel(log: &dyn Log, pipeline: &Pipeline, job: &[u8]) -> LogResult<Option<JobStatus>> {
    let (Some(jobs), Some(status)) = (&pipeline.jobs, find(log, pipeline, job)?) else { return Ok(None) };
    if !status.is_stopped() {
        say(log, jobs, job)?;
    }
    Ok(Some(status))
}

/// Writes the word.
pub(super) fn say(log: &dyn Log, jobs: &Jobs, job: &[u8]) -> LogResult<()> {
    if std::str::from_utf8(job).is_err() {
        return Err(LogError::new(Class::Config, "job_not_text", "a job whose id is no text cannot be cancelled"));
    }
    let Some(plan) = JobsPlan::of_letters(log, Some(&jobs.notes))? else { return Ok(()) };
    let mut writer = log.writer()?;
    let mut note = vec![Note::new("", What::Cancel, 0).write(&plan, job)];
    writer.send(&mut note).and_then(|()| writer.flush(WRITTEN)).map_err(|sent| match sent {
        // Said twice it is the same as once.
        Sent::Failed(e) if e.class == Class::Fenced => LogError { class: Class::Retry, ..e },
        Sent::Failed(e) => e,
        Sent::Refused(why) => {
            let why = why.first().map_or("no reason given", |(_, why)| why.as_str());
            LogError::new(Class::Config, "job_status_refused", format!("the log refuses a note of a job: {why}"))
        }
    })
}
