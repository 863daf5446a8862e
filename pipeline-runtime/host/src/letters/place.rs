//! Where the letters of a stage are, and everything that hangs on that: how they are decoded, who works on them, where
//! it is noted what is done.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::Kind;
use millstream_log::{Log, LogResult, NewTopic, Retention, TopicPartition};
use millstream_spec::model::{Jobs, Pipeline, Stage};

use crate::jobs;
use crate::plan::codec_of;

fn can_be_undone(pipeline: &Pipeline) -> bool {
    pipeline.stages.iter().any(|stage| stage.compensates.is_some())
}

/// A topic of dead letters.
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The stage; of another system's topic, nothing.
    pub stage: String,
    /// Where the stage reads what is sent back to it; partition p is that of the letter.
    pub(super) retry: Option<Arc<str>>,
    /// The pipeline; of another system's topic, nothing.
    pub(super) pipeline: String,
    /// The group of the stage; of another system's topic, nothing.
    pub(super) reader: String,
    /// Who works on the letters is a member of this group, so that there is one at a time.
    pub(super) group: String,
    /// Where it is noted what is done.
    pub(super) control: Arc<str>,
    /// What the keys of these notes begin with; the partition follows.
    pub(super) key: String,
    /// Inputs of the stage.
    pub(super) origins: Vec<Origin>,
    /// Where it is noted what becomes of jobs, if they are tracked.
    pub(super) notes: Option<String>,
    /// Whose jobs may have been undone, so that letters of them are not sent back.
    pub(super) undone: Option<Jobs>,
}

/// How a letter's payload is decoded, by the topic it was read from.
pub(super) struct Origin {
    pub topic: String,
    pub codec: Codec,
    pub coercion: Coercion,
    pub types: Kind,
}

/// Where notes on the topics of other systems are. No pipeline can have a name like that.
const FOREIGN: &str = "_millstream";

impl Place {
    /// The letters of a stage.
    pub fn of_stage(pipeline: &Pipeline, stage: &Stage) -> Self {
        let origins = stage
            .inputs
            .iter()
            .map(|input| Origin {
                topic: input.topic.clone(),
                codec: codec_of(&input.format),
                coercion: Coercion::new(&input.types),
                types: input.types.clone(),
            })
            .collect();
        Self {
            topic: Arc::from(stage.dlq.as_str()),
            stage: stage.name.clone(),
            retry: Some(Arc::from(stage.retry_topic.as_str())),
            pipeline: pipeline.name.clone(),
            reader: stage.group.clone(),
            group: format!("{}.letters", stage.group),
            control: Arc::from(format!("{}.control", pipeline.name)),
            key: format!("letters/{}/", stage.name),
            origins,
            // What tells of jobs belongs to none.
            notes: pipeline.jobs.as_ref().filter(|_| !stage.calls_back).map(|jobs| jobs.notes.clone()),
            undone: pipeline
                .jobs
                .clone()
                .filter(|_| stage.compensates.is_none() && !stage.calls_back && can_be_undone(pipeline)),
        }
    }

    /// The same of a stage of which only the names are known, for who only looks.
    pub fn named(pipeline: &str, stage: &str) -> Self {
        Self {
            topic: Arc::from(format!("{pipeline}.{stage}.dlq")),
            stage: stage.to_owned(),
            retry: None,
            pipeline: pipeline.to_owned(),
            reader: format!("{pipeline}.{stage}"),
            group: format!("{pipeline}.{stage}.letters"),
            control: Arc::from(format!("{pipeline}.control")),
            key: format!("letters/{stage}/"),
            origins: Vec::new(),
            notes: None,
            undone: None,
        }
    }

    /// The letters of another system, in a topic of its own.
    pub fn of_topic(topic: &str) -> Self {
        Self {
            topic: Arc::from(topic),
            stage: String::new(),
            retry: None,
            pipeline: String::new(),
            reader: String::new(),
            group: format!("{FOREIGN}.{topic}.letters"),
            control: Arc::from(format!("{FOREIGN}.control")),
            key: format!("letters/{topic}/"),
            origins: Vec::new(),
            notes: None,
            undone: None,
        }
    }

    /// Jobs that were given up, so that their letters are not to be sent back: what they had done is undone, or will be.
    ///
    /// # Errors
    /// The log failed.
    pub fn given_up(&self, log: &dyn Log) -> LogResult<Arc<HashSet<Bytes>>> {
        let jobs = self.undone.as_ref().map(|jobs| jobs::given_up(log, jobs)).transpose()?;
        Ok(Arc::new(jobs.unwrap_or_default()))
    }

    /// The type of the payloads, for expressions.
    pub fn types(&self) -> Kind {
        let mut types = self.origins.iter().map(|o| o.types.clone());
        let first = types.next().unwrap_or_else(Kind::any);
        types.fold(first, |all, one| all.union(one))
    }

    /// The partitions of the topic; none where it does not exist.
    pub fn partitions(&self, log: &dyn Log) -> LogResult<Vec<TopicPartition>> {
        let count = log.describe(&[&self.topic])?[0].as_ref().map_or(0, |info| info.partitions);
        Ok((0..count).map(|p| TopicPartition::new(Arc::clone(&self.topic), p)).collect())
    }

    /// Makes the topic of the notes if it is not there.
    pub(super) fn make_control(&self, log: &dyn Log) -> LogResult<()> {
        log.create(&[NewTopic {
            name: self.control.to_string(),
            partitions: 1,
            retention: Retention::Compacted,
            replication: None,
            max_record_bytes: None,
            settings: Vec::new(),
        }])
    }
}
