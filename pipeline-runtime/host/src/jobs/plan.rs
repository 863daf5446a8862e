//! What stages need to know to write notes.

use std::sync::Arc;

use millstream_log::{Log, LogResult};
use millstream_spec::model::{JobReply, Pipeline, Stage};

use crate::topics::Partitions;

/// How a stage, or a source, says what became of its records.
#[derive(Clone, Debug)]
pub(crate) struct JobsPlan {
    /// `<pipeline>.jobs.notes`.
    pub notes: Arc<str>,
    /// Partitions it has.
    pub partitions: i32,
    /// The output that is the result of the job; nothing where another stage gives it.
    pub gives_result: bool,
    /// How a job's first record asks for replies, if it can.
    pub reply: Option<Arc<JobReply>>,
}

impl JobsPlan {
    /// Of a stage; nothing where the pipeline tracks no jobs.
    pub fn of(pipeline: &Pipeline, stage: &Stage, topics: &Partitions) -> Option<Self> {
        let jobs = pipeline.jobs.as_ref()?;
        let gives_result = jobs.result == stage.name;
        Some(Self { gives_result, ..Self::of_source(pipeline, topics)? })
    }

    /// Of a source.
    pub fn of_source(pipeline: &Pipeline, topics: &Partitions) -> Option<Self> {
        let jobs = pipeline.jobs.as_ref()?;
        let notes = Arc::from(jobs.notes.as_str());
        Some(Self {
            notes,
            partitions: topics.of(&jobs.notes),
            gives_result: false,
            reply: jobs.reply.clone().map(Arc::new),
        })
    }

    /// Of a command that sends dead letters back, told where notes are written; nothing where no process has run the
    /// pipeline since jobs are tracked.
    pub fn of_letters(log: &dyn Log, notes: Option<&str>) -> LogResult<Option<Self>> {
        let Some(notes) = notes else { return Ok(None) };
        let info = log.describe(&[notes])?.swap_remove(0);
        Ok(info.map(|info| Self {
            notes: Arc::from(notes),
            partitions: info.partitions,
            gives_result: false,
            reply: None,
        }))
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self { notes: Arc::from("orders.jobs.notes"), partitions: 1, gives_result: false, reply: None }
    }
}
