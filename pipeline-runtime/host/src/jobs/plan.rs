//! What stages need to know to write notes.

use std::sync::Arc;

use millstream_expr::{Expression, Purpose};
use millstream_filter_api::{Issue, Kind, Node};
use millstream_log::{Log, LogResult};
use millstream_spec::model::{JobReply, Pipeline, Stage};

use crate::ids::OutputIds;
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
    /// The header by which it asks to be called, if it can.
    pub callback: Option<Arc<str>>,
    /// How records are named that undo what it let pass; nothing where nothing can undo it.
    pub undo: Option<OutputIds>,
    /// A dead letter ends its job.
    pub ends_job: bool,
    /// It has a deadline.
    pub timed: bool,
    /// Tells of what it lets go on how far the job has come.
    pub progress: Option<Arc<Expression>>,
}

/// Checks the expression that tells how far a job has come.
pub fn check_progress(node: &Node) -> Result<(), Vec<Issue>> {
    compile(node).map(drop)
}

/// Payloads differ from stage to stage: nothing is known of their types.
fn compile(node: &Node) -> Result<Expression, Vec<Issue>> {
    Expression::compile(node, &Kind::any(), Purpose::Value)
}

impl JobsPlan {
    /// Of a stage; nothing where the pipeline tracks no jobs.
    pub fn of(pipeline: &Pipeline, stage: &Stage, topics: &Partitions) -> Option<Self> {
        // What tells of jobs belongs to none, and events are of no job of this pipeline.
        let jobs = pipeline.jobs.as_ref().filter(|_| !stage.calls_back && !stage.of_events)?;
        let gives_result = jobs.result == stage.name;
        // By the name of the topic: the name of an output that a filter writes could be the same.
        let undo = stage.undo().map(|_| OutputIds::new(&pipeline.name, &format!("{}.undo", stage.name), ""));
        let (ends_job, timed) = (stage.ends_job, stage.deadline.is_some());
        // It was compiled when the pipeline was checked, and is again: an expression belongs to one run.
        let says = jobs.progress.as_ref().filter(|_| stage.compensates.is_none());
        let progress = says.and_then(|node| compile(node).ok()).map(Arc::new);
        Some(Self { gives_result, undo, ends_job, timed, progress, ..Self::of_source(pipeline, topics)? })
    }

    /// Of a source.
    pub fn of_source(pipeline: &Pipeline, topics: &Partitions) -> Option<Self> {
        let jobs = pipeline.jobs.as_ref()?;
        let notes = Arc::from(jobs.notes.as_str());
        let reply = jobs.reply.clone().map(Arc::new);
        let callback = jobs.callback.as_ref().map(|callback| Arc::from(callback.url.as_str()));
        Some(Self { reply, callback, ..Self::new(notes, topics.of(&jobs.notes)) })
    }

    /// Of a command that sends dead letters back, told where notes are written; nothing where no process has run the
    /// pipeline since jobs are tracked.
    pub fn of_letters(log: &dyn Log, notes: Option<&str>) -> LogResult<Option<Self>> {
        let Some(notes) = notes else { return Ok(None) };
        let info = log.describe(&[notes])?.swap_remove(0);
        Ok(info.map(|info| Self::new(Arc::from(notes), info.partitions)))
    }

    fn new(notes: Arc<str>, partitions: i32) -> Self {
        let (gives_result, ends_job, timed) = (false, false, false);
        let (reply, callback, undo, progress) = (None, None, None, None);
        Self { notes, partitions, gives_result, reply, callback, undo, ends_job, timed, progress }
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self::new(Arc::from("orders.jobs.notes"), 1)
    }
}
