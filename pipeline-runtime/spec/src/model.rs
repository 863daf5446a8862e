//! A pipeline that passed its check: everything the runtime needs, nothing of how it was written.

mod naming;

use std::path::PathBuf;
use std::time::Duration;

pub use crate::objects::{Access, Bucket, Emit, Matching, ObjectsSource, On, Place, Service};
pub use crate::schedule::{Missed, Overlap, ScheduleSource, Timing};
pub use millstream_codec::{AvroSchema, Packed, ProtobufSchema, Registered};
use millstream_filter_api::{Checked, Kind, Node, OwnedValuePath, Span};

pub use crate::callback::{JobCallback, Judge};
pub use crate::http::{Encoding, HttpAuth, HttpSource, Secret};
pub use crate::postgres::{PostgresRows, PostgresSource};
pub use naming::{IdRule, KeyRule};
pub use vrl::path::OwnedSegment;

/// A checked pipeline.
pub struct Pipeline {
    /// Its name; prefix of every topic and group it owns.
    pub name: String,
    /// For people.
    pub description: String,
    /// The file it came from.
    pub path: PathBuf,
    /// Transactions or not.
    pub delivery: Delivery,
    /// What feeds it, in the order of the file; those that some stage reads.
    pub sources: Vec<Source>,
    /// What is known of its jobs; `None` where they are not tracked.
    pub jobs: Option<Jobs>,
    /// In the order of the file. A topic source with a `key` of its own is lowered to a stage before all others, named
    /// `ingest`, or `ingest-<source>` where the source has a name.
    pub stages: Vec<Stage>,
    /// The file's own tests; parsed and checked, run by a later version.
    pub tests: Vec<TestCase>,
}

/// How jobs are tracked.
#[derive(Clone, Debug)]
pub struct Jobs {
    /// How long after its end a job is known.
    pub retention: Duration,
    /// A job that is not done so long after its beginning has failed.
    pub deadline: Option<Duration>,
    /// The stage whose output is the result.
    pub result: String,
    /// `<pipeline>.jobs`: the status of each job, compacted.
    pub topic: String,
    /// `<pipeline>.jobs.notes`: what stages say of the records of jobs.
    pub notes: String,
    /// The group that adds the notes up.
    pub group: String,
    /// Of all these topics, where they are made.
    pub partitions: i32,
    /// Who asks for it is told in a topic what became of a job.
    pub reply: Option<JobReply>,
    /// Tells of what a stage lets go on how far its job has come; an expression.
    pub progress: Option<Node>,
    /// `<pipeline>.jobs.events`: what is to be told of jobs, where something is.
    pub events: Option<String>,
    /// Who asks for it is called at an address.
    pub callback: Option<JobCallback>,
}

/// Where replies go. Headers are those of the record that begins a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReply {
    /// The header that names the topic.
    pub to: String,
    /// The header whose value comes back.
    pub correlation: Option<String>,
    /// Topics that may be named; `*` stands for any characters.
    pub allow: Vec<String>,
}

/// What feeds the first topic of a way through the pipeline.
pub struct Source {
    /// `source`, or its name under `sources`.
    pub name: String,
    /// Whether it has a name of its own, under `sources`.
    pub named: bool,
    /// Where records come from.
    pub kind: SourceKind,
    /// How payloads are encoded there.
    pub format: Format,
    /// How records are named.
    pub id: IdRule,
    /// How records are keyed; `None` keeps the key they have. Applied by the `ingest` stage for a topic source, by the
    /// source itself for the others.
    pub key: Option<KeyRule>,
    /// Type of the decoded payload, from `schema` or `fields`.
    pub types: Kind,
    /// Whether `types` came from the file (else nothing is known).
    pub typed: bool,
    /// The JSON Schema file, where given: (path as written, text).
    pub schema: Option<(String, String)>,
    /// The topic where its records are: the source's own, or `inlet`.
    pub topic: String,
    /// `<pipeline>.in`, or `<pipeline>.in.<source>` of one with a name: what a source that is no topic writes, and the
    /// stage that keys the records of one that is. Also the group in which the writing source keeps its position.
    pub inlet: String,
    /// What the ids that it gives by default begin with, where another source would give the same ones.
    pub id_prefix: Option<String>,
    /// Partitions and retention of `inlet` where this pipeline makes it.
    pub topic_settings: TopicSettings,
}

impl Source {
    /// Whether it makes records and writes them to `inlet`, and is no topic of others.
    pub fn writes(&self) -> bool {
        !matches!(self.kind, SourceKind::Topic { .. })
    }

    /// What it is, where it takes in requests.
    pub fn http(&self) -> Option<&HttpSource> {
        match &self.kind {
            SourceKind::Http(http) => Some(http),
            _ => None,
        }
    }

    /// What it is, where it watches a folder or a bucket.
    pub fn objects(&self) -> Option<&ObjectsSource> {
        match &self.kind {
            SourceKind::Objects(objects) => Some(objects),
            _ => None,
        }
    }

    /// The topic of the objects that it has seen, where it watches any: one partition, compacted.
    pub fn seen_topic(&self) -> Option<String> {
        self.objects().map(|_| format!("{}.seen", self.inlet))
    }

    /// The topic of the ids that it has taken in, where it keeps any.
    pub fn ids_topic(&self) -> Option<String> {
        self.http()?.id.as_ref().map(|_| format!("{}.ids", self.inlet))
    }
}

/// Where records come from.
pub enum SourceKind {
    /// An existing topic.
    Topic {
        /// Where a new group begins.
        start: Start,
    },
    /// A file, read by one process at a time.
    File(FileSource),
    /// Made up.
    Generate(GenerateSource),
    /// A clock: one record a tick.
    Schedule(ScheduleSource),
    /// Requests, taken in by every process.
    Http(HttpSource),
    /// A folder or a bucket that is watched.
    Objects(ObjectsSource),
    /// Rows of a database, read by one process at a time.
    Postgres(PostgresSource),
}

/// A file as a source.
pub struct FileSource {
    /// Resolved against the pipeline's folder.
    pub path: PathBuf,
    /// As written; the ids' first part is its file name (`orders.csv#1834`).
    pub written: String,
    /// Csv (records are rows as JSON objects, values typed by `types`), jsonl (a line is a payload) or text.
    pub lines: FileLines,
    /// Goes on reading as the file grows.
    pub follow: bool,
}

/// How a file is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileLines {
    /// With a header line. The separator is one byte.
    Csv {
        /// `,` unless said.
        separator: u8,
    },
    /// One JSON value a line.
    Jsonl,
    /// One text a line.
    Text,
}

/// A generator as a source: an expression evaluated per record, with `%n` (from 0) and seeded randomness.
pub struct GenerateSource {
    /// The VRL expression as it stands in the file; compiled by the check, compiled again per run.
    pub value: Node,
    /// How many; `None` goes on for ever.
    pub count: Option<u64>,
    /// Records a second; `None` as fast as possible.
    pub rate: Option<f64>,
    /// Makes runs equal.
    pub seed: u64,
}

/// Where a new group begins to read a source topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first record still there.
    Earliest,
    /// Records written from now on.
    Latest,
    /// The first record of that time (ms since 1970) or later.
    At(i64),
}

/// Bytes <-> values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bytes, whatever they are.
    Raw,
    /// UTF-8.
    Text,
    /// JSON.
    Json,
    /// One row a record, columns named in the pipeline.
    Csv {
        /// Column names in order.
        columns: Vec<String>,
        /// `,` unless said.
        separator: u8,
    },
    /// One datum of a schema, without a header.
    Avro(AvroSchema),
    /// The same behind the number of its schema in a registry.
    Registered(Registered),
    /// MessagePack or CBOR.
    Packed(Packed),
    /// One message of a type.
    Protobuf(ProtobufSchema),
}

/// Transactions or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Outputs, positions and marks in one transaction.
    ExactlyOnce,
    /// Outputs acknowledged, then positions.
    AtLeastOnce,
}

/// One stage: a consumer group.
pub struct Stage {
    /// `clean`.
    pub name: String,
    /// `orders.clean`.
    pub group: String,
    /// Where its name stands.
    pub span: Span,
    /// What it reads; several have equal partition counts.
    pub inputs: Vec<Input>,
    /// What it runs, in order; empty only for `ingest`.
    pub filters: Vec<StageFilter>,
    /// What it writes; one without a name, or the named outputs of its last filter in their order.
    pub outputs: Vec<Output>,
    /// Members per process; 1 for a singleton.
    pub replicas: u32,
    /// One replica works in the whole cluster.
    pub singleton: bool,
    /// Levels of importance; its inputs are these, in their order.
    pub priority: Option<Priority>,
    /// How it is kept apart; `None` where it is not.
    pub isolate: Option<Isolate>,
    /// Records in flight per replica.
    pub concurrency: u32,
    /// What is kept in order.
    pub order: Order,
    /// Per record and attempt.
    pub timeout: Duration,
    /// What a transient failure gets.
    pub retry: Retry,
    /// After a dead letter, later records of its key wait until somebody decides.
    pub hold_key: bool,
    /// A dead letter ends its job: what is left of it is dropped, and what it has passed is compensated.
    pub ends_job: bool,
    /// A job that has records here of which none ends for so long has failed.
    pub deadline: Option<Duration>,
    /// Index of the stage whose effects this one undoes. Such a stage is not in the file: it is made of the `compensate`
    /// of the other, is named `<stage>.compensate`, and stands behind all that are.
    pub compensates: Option<usize>,
    /// It tells others of jobs. Such a stage is not in the file either: it is made of `jobs: { callback }`, is named
    /// `callback`, stands behind all others, and belongs to no job.
    pub calls_back: bool,
    /// Its records wait for events: it reads the records first and the events second, both keyed by what is equal in them. Such
    /// a stage is not in the file: it is made of the `wait_for` of another, and named `<stage>-wait`.
    pub meets: Option<Meets>,
    /// Its records are events that others wait for, and belong to no job. It is made of a `wait_for` as well.
    pub of_events: bool,
    /// `None` is off.
    pub dedup: Option<Dedup>,
    /// Retention of `<pipeline>.<stage>.dlq`; `None` keeps for ever.
    pub dead_letter_retention: Option<Duration>,
    /// Topics of this stage beside the outputs.
    pub dlq: String,
    /// The dedup changelog.
    pub state: String,
    /// Records that are set aside.
    pub retry_topic: String,
    /// What calls keep while they run; there where a filter [keeps something](Self::keeps_checkpoints).
    pub checkpoints: String,
}

/// What the records of a stage wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meets {
    /// How long a record waits, and an event that comes first is kept.
    pub timeout: Duration,
    /// Where the events come from.
    pub topic: String,
    /// The group that reads them there.
    pub group: String,
}

/// Levels of importance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// Their names, the most important first.
    pub levels: Vec<String>,
    /// Their shares; `None` is strict.
    pub weights: Option<Vec<u32>>,
}

/// A stage that keeps secrets.
#[derive(Clone, Debug)]
pub struct Isolate {
    /// Names and texts of those that were resolved; none where the stage is not to run in this process.
    pub secrets: Vec<(String, Secret)>,
    /// It runs in a process of its own.
    pub apart: bool,
    /// What may leave it; `None` is everything but the secrets.
    pub allow_fields: Option<Vec<OwnedValuePath>>,
}

/// One input of a stage.
pub struct Input {
    /// The topic.
    pub topic: String,
    /// How payloads are encoded there.
    pub format: Format,
    /// Type of the payload.
    pub types: Kind,
    /// Index of the stage that writes it; `None` for a source.
    pub from_stage: Option<usize>,
    /// Index of the source whose records these are as it gives them; `None` for a stage.
    pub source: Option<usize>,
}

/// One filter of a stage.
pub struct StageFilter {
    /// Its name in the registry.
    pub name: String,
    /// What it was given, references resolved but for secrets of an isolated stage; to tell whether that has changed.
    pub options: Node,
    /// What its check gave.
    pub checked: Checked,
}

/// One output of a stage.
pub struct Output {
    /// `None` for the only one.
    pub name: Option<String>,
    /// The topic.
    pub topic: String,
    /// How payloads are encoded there.
    pub format: Format,
    /// `None` keeps the input's key.
    pub key: Option<KeyRule>,
    /// Type of the payload.
    pub types: Kind,
    /// What the topic is made with.
    pub settings: TopicSettings,
    /// Whether the topic's name was given (`to:`): it may exist already and belong to others.
    pub given: bool,
    /// It is no output of a filter: what is compensated is put there by the count of jobs.
    pub undo: bool,
}

/// What a missing topic is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// 12 unless said.
    pub partitions: i32,
    /// Whether the file says so. Else the topic gets as many as those that are there and read by the same stage.
    pub partitions_said: bool,
    /// Written longer ago than this may go once every reader is past it; `None` keeps for ever.
    pub retention: Option<Duration>,
    /// Copies on a cluster; `None` for its default.
    pub replication: Option<i16>,
    /// Largest record; `None` for the log's default.
    pub max_record_bytes: Option<usize>,
}

/// What a stage keeps in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Records of equal keys.
    Key,
    /// Records of a partition.
    Partition,
    /// Nothing.
    None,
}

/// What a transient failure gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, 1 is no retry.
    pub attempts: u32,
    /// Wait after the first.
    pub backoff_min: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// When its key is set aside; `None` where the whole partition keeps its order, so that nothing can be.
    pub park_after: Option<ParkAfter>,
    /// Since its first attempt; past it there is no further one.
    pub until: Option<Duration>,
}

/// When a record that fails is set aside with its key: at whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkAfter {
    /// Attempts made.
    pub attempts: u32,
    /// Since its first attempt.
    pub time: Duration,
}

/// Dedup by message id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// How long an id is remembered, in the records' time.
    pub window: Duration,
    /// Ids per partition held at most; at the bound the stage stops with a code.
    pub max_ids: u64,
}

/// A test of a pipeline file.
pub struct TestCase {
    /// For people.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// As written, checked for shape and for the names of outputs.
    pub body: Node,
}

impl Pipeline {
    /// The source whose records an input has as the source gives them; `None` where a stage writes them.
    pub fn source_of(&self, input: &Input) -> Option<&Source> {
        self.sources.get(input.source?)
    }
}

impl Stage {
    /// Where records are put that this stage has let pass and that are to be compensated; nothing without `compensate`.
    pub fn undo(&self) -> Option<&Output> {
        self.outputs.iter().find(|output| output.undo)
    }

    /// Whether calls of it keep checkpoints.
    pub fn keeps_checkpoints(&self) -> bool {
        self.filters.iter().any(|f| f.checked.long.is_some())
    }

    /// Whether any filter calls out.
    pub fn has_effects(&self) -> bool {
        self.filters.iter().any(|f| f.checked.effects)
    }
}
