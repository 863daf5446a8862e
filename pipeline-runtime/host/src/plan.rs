//! What the replicas of one stage share: the checked stage, resolved against the topics as they are.

use std::sync::Arc;
use std::time::Duration;

use millstream_codec::{Codec, Coercion};
use millstream_engine::{DedupConfig, EngineConfig, Order, Park};
use millstream_filter_api::{Built, Reads};
use millstream_log::Delivery;
use millstream_spec::model::{self, IdRule, KeyRule, Pipeline, SourceKind, Stage, Start};

use crate::growth::is_read_here;
use crate::guard::Guard;
use crate::ids::{InputIds, OutputIds, hash128};
use crate::jobs::JobsPlan;
use crate::replay::in_place::Replay;
use crate::retry_topic::Note;
use crate::topics::Partitions;

/// One stage, ready to run.
#[derive(Clone)]
pub struct StagePlan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage's name.
    pub stage: String,
    /// Its consumer group.
    pub group: String,
    /// What it reads; the first leads the assignment.
    pub inputs: Vec<InputPlan>,
    /// Partitions of each input, when the run began.
    pub partitions: i32,
    /// What it writes.
    pub outputs: Vec<OutputPlan>,
    /// Names and builders of its filters, in order.
    pub filters: Vec<FilterPlan>,
    /// Its dead letters; partition p holds those of input partition p.
    pub dlq: Arc<str>,
    /// Its dedup changelog, where it dedups; partition p belongs to input partition p.
    pub state: Option<Arc<str>>,
    /// Records that are set aside; partition p holds those of input partition p. It is there where `calls` or `hold` is set,
    /// or once a dead letter was sent back.
    pub retry: Arc<str>,
    /// What calls keep while they run, where a filter keeps something; partition p belongs to input partition p.
    pub checkpoints: Option<Arc<str>>,
    /// Whether a filter calls out, so that a key can fail for a while and is worth setting aside.
    pub calls: bool,
    /// Whether a dead letter holds its key.
    pub hold: bool,
    /// Whether one replica works in the whole cluster.
    pub singleton: bool,
    /// Levels of importance, one to each of its inputs.
    pub priority: Option<model::Priority>,
    /// What looks at everything that leaves it, where it is isolated.
    pub guard: Option<Arc<Guard>>,
    /// Transactions or not.
    pub delivery: Delivery,
    /// Per record and attempt: what the stage says, and what its filters may take beyond.
    pub timeout: Duration,
    /// No attempt later than this after the first.
    pub until_ms: Option<i64>,
    /// The replay whose replicas these are; `None` for those that read live.
    pub replay: Option<Arc<Replay>>,
    /// How it says what became of its records, where jobs are tracked.
    pub(crate) jobs: Option<JobsPlan>,
    /// What its records wait for; it is then no stage with an engine.
    pub meets: Option<Arc<MeetPlan>>,
    /// Whether it undoes what another stage did, so that it runs for jobs that were stopped.
    pub compensates: bool,
    /// What the engine is told; `max_metadata` is set by each member's log.
    pub engine: EngineConfig,
}

/// What the records of a stage wait for.
#[derive(Clone, Debug)]
pub struct MeetPlan {
    /// As the pipeline says it.
    pub of: model::Meets,
    /// What waits: a compacted topic with a partition for each of its inputs.
    pub state: Arc<str>,
}

/// One input of a stage.
#[derive(Clone)]
pub struct InputPlan {
    /// The topic.
    pub topic: Arc<str>,
    /// How its payloads are decoded.
    pub codec: Codec,
    /// Numbers brought to the types the expressions were compiled for.
    pub coercion: Coercion,
    /// Where its records' ids are.
    pub ids: InputIds,
    /// Whether a source of this pipeline wrote it, and says in a header what cannot be decoded.
    pub own_source: bool,
    /// Whether its records begin jobs: no stage of this pipeline wrote them.
    pub begins_jobs: bool,
    /// What the stage looks at of its payloads.
    pub reads: Reads,
    /// Where a new group begins.
    pub start: Start,
}

/// One output of a stage.
#[derive(Clone)]
pub struct OutputPlan {
    /// The topic.
    pub topic: Arc<str>,
    /// How payloads are encoded.
    pub codec: Codec,
    /// How records are keyed.
    pub key: Option<KeyRule>,
    /// How records are named.
    pub ids: OutputIds,
    /// Partitions the topic has.
    pub partitions: i32,
    /// Whether a stage of the pipeline reads it, so that all must write by the same number.
    pub is_read_here: bool,
    /// Stages of the pipeline that read it.
    pub readers: u32,
    /// Those of them that have a deadline.
    pub timed: Vec<Arc<str>>,
}

/// One filter of a stage.
#[derive(Clone)]
pub struct FilterPlan {
    /// Its name.
    pub name: String,
    /// Makes an instance.
    pub build: Arc<dyn Fn() -> Built + Send + Sync>,
}

/// Records and bytes a replica holds at most, read and not yet finished.
pub(crate) const BUDGET_RECORDS: usize = 10_000;
const BUDGET_BYTES: usize = 16 << 20;
/// A transaction is committed when this many records are finished, however soon.
const COMMIT_RECORDS: usize = 20_000;
/// Under load a transaction is committed at least this often.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// The same where there are levels of importance.
const COMMIT_SOON: Duration = Duration::from_millis(20);

impl StagePlan {
    /// Resolves a stage. `topics` has the partition count of every topic of the pipeline.
    pub fn new(pipeline: &Pipeline, stage: &Stage, topics: &Partitions) -> Self {
        let input = |i| InputPlan { reads: reads(pipeline, stage, i), ..input_plan(pipeline, i) };
        let inputs = stage.inputs.iter().map(input).collect();
        let outputs = stage.outputs.iter().map(|output| output_plan(pipeline, stage, output, topics)).collect();
        let filters: Vec<FilterPlan> = stage
            .filters
            .iter()
            .map(|f| FilterPlan { name: f.name.clone(), build: Arc::clone(&f.checked.build) })
            .collect();
        let calls = calls_out(stage);
        Self {
            pipeline: pipeline.name.clone(),
            stage: stage.name.clone(),
            group: stage.group.clone(),
            inputs,
            partitions: stage.inputs.first().map_or(0, |i| topics.of(&i.topic)),
            outputs,
            filters,
            dlq: Arc::from(stage.dlq.as_str()),
            state: stage.dedup.as_ref().map(|_| Arc::from(stage.state.as_str())),
            retry: Arc::from(stage.retry_topic.as_str()),
            checkpoints: stage.keeps_checkpoints().then(|| Arc::from(stage.checkpoints.as_str())),
            calls,
            hold: stage.hold_key,
            singleton: stage.singleton,
            priority: stage.priority.clone(),
            guard: stage.isolate.as_ref().map(|isolate| Arc::new(Guard::new(isolate))),
            delivery: match pipeline.delivery {
                model::Delivery::ExactlyOnce => Delivery::ExactlyOnce,
                model::Delivery::AtLeastOnce => Delivery::AtLeastOnce,
            },
            timeout: stage.filters.iter().filter_map(|f| f.checked.long).fold(stage.timeout, Duration::saturating_add),
            until_ms: stage.retry.until.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            replay: None,
            jobs: JobsPlan::of(pipeline, stage, topics),
            meets: stage
                .meets
                .as_ref()
                .map(|of| Arc::new(MeetPlan { of: of.clone(), state: Arc::from(stage.state.as_str()) })),
            compensates: stage.compensates.is_some(),
            engine: engine_config(pipeline, stage, !calls),
        }
    }
}

impl StagePlan {
    /// The same stage for the replicas of a replay: a group and a dedup state of their own, and nothing is set aside.
    pub fn of_replay(&self, replay: &Replay) -> Self {
        Self {
            group: replay.group(&self.group),
            state: self.state.as_ref().map(|_| Arc::from(replay.state_topic(&self.group))),
            // Those of live records are kept for live records: the two have the same ids.
            checkpoints: None,
            replay: Some(Arc::new(replay.clone())),
            engine: EngineConfig { park: None, ..self.engine.clone() },
            ..self.clone()
        }
    }

    /// Whether a topic takes what filters make, and not what the stage says of it.
    pub fn is_output(&self, topic: &str) -> bool {
        *self.dlq != *topic
            && *self.retry != *topic
            && self.checkpoints.as_ref().is_none_or(|checkpoints| **checkpoints != *topic)
            && self.jobs.as_ref().is_none_or(|jobs| *jobs.notes != *topic)
    }

    /// Which input a copy was first read from. The name of the topic decides: inputs may have changed places since.
    pub fn input_of_copy(&self, note: &Note) -> Option<u16> {
        let is = |input: &&InputPlan| *input.topic == note.topic;
        if self.inputs.get(usize::from(note.input)).as_ref().is_some_and(is) {
            return Some(note.input);
        }
        self.inputs.iter().position(|i| is(&i)).map(|i| i as u16)
    }
}

/// Whether the stage sets records aside, so that it has its `.retry` from the beginning.
pub fn sets_aside(stage: &Stage) -> bool {
    stage.hold_key || calls_out(stage) || stage.meets.is_some()
}

/// Whether a filter of the stage calls out.
pub fn calls_out(stage: &Stage) -> bool {
    stage.filters.iter().any(|f| matches!((f.checked.build)(), Built::Call(_)))
}

/// How one of a stage's inputs is read, by somebody who looks at everything.
pub fn input_plan(pipeline: &Pipeline, input: &model::Input) -> InputPlan {
    let source = pipeline.source_of(input);
    let foreign = source.filter(|s| !s.writes());
    InputPlan {
        topic: Arc::from(input.topic.as_str()),
        codec: codec_of(&input.format),
        coercion: Coercion::new(&input.types),
        ids: foreign.map_or(InputIds::Own, |source| InputIds::Source(source.id.clone())),
        own_source: source.is_some_and(model::Source::writes),
        begins_jobs: source.is_some(),
        reads: Reads::Everything,
        start: match foreign.map(|source| &source.kind) {
            Some(SourceKind::Topic { start }) => *start,
            _ => Start::Earliest,
        },
    }
}

/// What of an input's payloads anybody in the stage looks at: filters, rules for names and keys, and who writes them in
/// another form or looks at all that goes out.
fn reads(pipeline: &Pipeline, stage: &Stage, input: &model::Input) -> Reads {
    let same_form = stage.outputs.iter().all(|o| codec_of(&o.format) == codec_of(&input.format));
    // How far a job has come is asked of the payload too.
    let progress = pipeline.jobs.as_ref().is_some_and(|jobs| jobs.progress.is_some());
    if !same_form || progress || stage.isolate.is_some() {
        return Reads::Everything;
    }
    let id = match pipeline.source_of(input).map(|source| &source.id) {
        Some(IdRule::Fields(paths)) => Reads::of_paths(paths),
        _ => Reads::nothing(),
    };
    let keys = stage.outputs.iter().filter_map(|output| match &output.key {
        Some(KeyRule::Fields(paths)) => Some(Reads::of_paths(paths)),
        _ => None,
    });
    let filters = stage.filters.iter().map(|f| f.checked.reads.clone());
    filters.chain(keys).fold(id, Reads::and)
}

fn output_plan(pipeline: &Pipeline, stage: &Stage, output: &model::Output, topics: &Partitions) -> OutputPlan {
    let readers: Vec<&Stage> =
        pipeline.stages.iter().filter(|s| s.inputs.iter().any(|i| i.topic == output.topic)).collect();
    OutputPlan {
        topic: Arc::from(output.topic.as_str()),
        codec: codec_of(&output.format),
        key: output.key.clone(),
        ids: OutputIds::new(&pipeline.name, &stage.name, output.name.as_deref().unwrap_or("")),
        partitions: topics.of(&output.topic),
        is_read_here: is_read_here(pipeline, &output.topic),
        readers: readers.len() as u32,
        timed: readers.iter().filter(|s| s.deadline.is_some()).map(|s| Arc::from(s.name.as_str())).collect(),
    }
}

/// The codec of a format.
pub fn codec_of(format: &model::Format) -> Codec {
    match format {
        model::Format::Raw => Codec::Raw,
        model::Format::Text => Codec::Text,
        model::Format::Json => Codec::Json,
        model::Format::Csv { columns, separator } => Codec::Csv { columns: columns.clone(), separator: *separator },
        model::Format::Avro(schema) => Codec::Avro(schema.clone()),
        model::Format::Registered(avro) => Codec::Registered(avro.clone()),
        model::Format::Packed(packed) => Codec::Packed(*packed),
        model::Format::Protobuf(schema) => Codec::Protobuf(schema.clone()),
    }
}

/// What matters must not wait for the commit of what does not: neither where levels are, nor where records are sorted into
/// them.
fn commit_every(pipeline: &Pipeline, stage: &Stage) -> Duration {
    let reads = |other: &Stage| other.inputs.iter().any(|i| stage.outputs.iter().any(|o| o.topic == i.topic));
    let sorts = pipeline.stages.iter().any(|other| other.priority.is_some() && reads(other));
    if sorts || stage.priority.is_some() { COMMIT_SOON } else { COMMIT_EVERY }
}

fn engine_config(pipeline: &Pipeline, stage: &Stage, inline: bool) -> EngineConfig {
    // The key need not be secret, but must be equal on every run, as the marks in `.state` are made with it.
    let hash = hash128(&[b"dedup", pipeline.name.as_bytes(), stage.name.as_bytes()]);
    EngineConfig {
        order: match stage.order {
            model::Order::Key => Order::Key,
            model::Order::Partition => Order::Partition,
            model::Order::None => Order::None,
        },
        concurrency: stage.concurrency as usize,
        attempts: stage.retry.attempts,
        backoff_min_ms: stage.retry.backoff_min.as_millis() as u64,
        backoff_max_ms: stage.retry.backoff_max.as_millis() as u64,
        dedup: stage.dedup.as_ref().map(|d| DedupConfig {
            window_ms: d.window.as_millis() as i64,
            max_ids: usize::try_from(d.max_ids).unwrap_or(usize::MAX),
        }),
        commit_every_ms: commit_every(pipeline, stage).as_millis() as u64,
        commit_records: COMMIT_RECORDS,
        budget_records: BUDGET_RECORDS,
        budget_bytes: BUDGET_BYTES,
        max_metadata: 0,
        inputs: stage.inputs.len() as u16,
        retry_input: None,
        park: stage.retry.park_after.filter(|_| !inline).map(|park| Park {
            attempts: park.attempts,
            time_ms: u64::try_from(park.time.as_millis()).unwrap_or(u64::MAX),
        }),
        hold: stage.hold_key,
        hash_key: ((hash >> 64) as u64, hash as u64),
        inline,
    }
}
