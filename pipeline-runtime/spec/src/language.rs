//! The tables of the language: every key, what may stand there, and one line on what it means.

use crate::rules;
use crate::shape::{Key, MapRule, Shape};
use callback::CALLBACK;
use objects::OBJECTS;
use postgres::POSTGRES;
pub(crate) use schemas::REGISTRY;
use schemas::{AVRO, PROTOBUF};
use waiting::WAIT_FOR;

// Macros, because what a `const fn` returns cannot be borrowed for ever.
macro_rules! key {
    ($name:expr, $shape:expr, $doc:expr $(,)?) => {
        Key { name: $name, shape: $shape, required: false, doc: $doc }
    };
}

macro_rules! required {
    ($name:expr, $shape:expr, $doc:expr $(,)?) => {
        Key { name: $name, shape: $shape, required: true, doc: $doc }
    };
}

macro_rules! later {
    ($name:expr) => {
        Key { name: $name, shape: Shape::Later, required: false, doc: "not supported yet" }
    };
}

macro_rules! map {
    ($what:expr, [$($keys:expr),* $(,)?] $(, $field:ident: $value:expr)* $(,)?) => {
        map!(@ $what, &[$($keys),*], { $($field: $value),* })
    };
    (@ $what:expr, $keys:expr, {}) => {
        MapRule { what: $what, keys: $keys, one_of: &[], one_at_most: &[], needs: &[] }
    };
    (@ $what:expr, $keys:expr, { one_of: $a:expr }) => {
        MapRule { what: $what, keys: $keys, one_of: $a, one_at_most: &[], needs: &[] }
    };
    (@ $what:expr, $keys:expr, { one_of: $a:expr, needs: $c:expr }) => {
        MapRule { what: $what, keys: $keys, one_of: $a, one_at_most: &[], needs: $c }
    };
    (@ $what:expr, $keys:expr, { one_of: $a:expr, one_at_most: $b:expr, needs: $c:expr }) => {
        MapRule { what: $what, keys: $keys, one_of: $a, one_at_most: $b, needs: $c }
    };
}

mod callback;
mod objects;
mod postgres;
mod schemas;
mod waiting;

/// Stages of a pipeline at most.
pub(crate) const MAX_STAGES: usize = 1000;
/// Outputs of a stage, and inputs of one, at most.
pub(crate) const MAX_PORTS: usize = 100;

/// A pipeline file.
pub(crate) static PIPELINE: Shape = Shape::Map(&map!("a pipeline", [
            key!("apiVersion", Shape::Text(&rules::API_VERSION), "version of the language"),
            required!("pipeline", Shape::Text(&rules::NAME), "its name: the prefix of every topic and group it owns"),
            key!("description", Shape::Text(&rules::FREE), "for people"),
            key!("delivery", Shape::Text(&rules::DELIVERY), "default `exactly_once`"),
            key!("defaults", Shape::Map(&DEFAULTS), "what holds for all stages that say nothing else"),
            key!("source", SOURCE, "what feeds the first stage"),
            key!("sources", Shape::Names(&rules::SOURCE_NAME, &SOURCE, 1), "several sources, by name; `from` says who reads which"),
            required!("stages", Shape::List(&STAGE, 1, MAX_STAGES), "the filters, in the order records take"),
            key!("tests", Shape::List(&TEST, 0, 10_000), "records that come in, and what must come out"),
            key!("jobs", Shape::Map(&JOBS), "what is known of the jobs that records begin"),
            key!("registry", Shape::Map(&REGISTRY), "the schema registry that `avro` and `protobuf` go by; default that of `millstream.yaml`"),
], one_of: &[&["source", "sources"]]));

const SOURCE: Shape = Shape::Named(
    "source",
    &Shape::Map(&map!("a source", [
                key!("topic", Shape::Text(&rules::TOPIC), "an existing topic, read as it is"),
                key!("file", Shape::Either(&[Shape::Text(&rules::SOME), Shape::Map(&FILE)]), "a file of lines"),
                key!("generate", Shape::Map(&GENERATE), "made-up records"),
                key!("schedule", Shape::Map(&SCHEDULE), "a clock: one record a tick"),
                key!("start", Shape::Text(&rules::START), "where a new group begins; default `earliest`"),
                key!("format", FORMAT, "how payloads are encoded; default `json`, for a file by its extension"),
                key!("schema", Shape::Text(&rules::SOME), "a JSON Schema file, or for `avro` an `.avsc` file, for `protobuf` a `.proto` file: types the expressions, and `validate` uses it"),
                key!("fields", Shape::Names(&rules::SOME, &TYPE, 1), "types of the fields, in short"),
                key!("id", ID, "the message id; default headers ce_source + ce_id, else the coordinates"),
                key!("key", KEY, "the key, where records have none or another one"),
                key!("http", Shape::Map(&HTTP), "a path that takes requests in; every process of the pipeline serves it"),
                key!("objects", Shape::Map(&OBJECTS), "a folder or a bucket that is watched: a record for each object that is created, changed or deleted"),
                key!("postgres", Shape::Map(&POSTGRES), "rows of a PostgreSQL table: an outbox, or a table with a cursor"),
                later!("registry"),
], one_of: &[&["topic", "file", "generate", "http", "schedule", "objects", "postgres"]],         one_at_most: &[&["schema", "fields"]],         needs: &[("start", "topic")])),
);

static JOBS: MapRule = map!(
    "`jobs`",
    [
        key!("track", Shape::Flag, "keep the status of each job; default true where `jobs` stands"),
        key!("retention", Shape::Text(&rules::RETENTION), "how long after its end a job is known; default `7d`"),
        key!("result", Shape::Text(&rules::SOME), "the stage whose output is the job's result; default the last"),
        key!(
            "deadline",
            Shape::Text(&rules::TIMEOUT),
            "a job that is not done by then has failed, and its rest is dropped"
        ),
        key!("reply", Shape::Map(&REPLY), "tells who asks for it by a header what became of the job, in a topic"),
        key!(
            "progress",
            Shape::Text(&rules::EXPRESSION),
            "how far a job has come, 0 to 100: an expression over what a stage lets go on; what is no number says nothing"
        ),
        key!("callback", Shape::Map(&CALLBACK), "calls who asks for it by a header, with a signed webhook"),
    ],
);

static REPLY: MapRule = map!(
    "`reply`",
    [
        required!("to", Shape::Map(&HEADER), "the header that names the topic, of the record that begins the job"),
        key!("correlation", Shape::Map(&HEADER), "the header whose value the reply has as well, and as its key"),
        required!(
            "allow",
            Shape::List(&Shape::Text(&rules::SOME), 1, 100),
            "topics that may be named; `*` stands for any characters"
        ),
    ],
);

static FILE: MapRule = map!(
    "`file`",
    [
        required!("path", Shape::Text(&rules::SOME), "relative to the pipeline's file"),
        key!("format", Shape::Text(&rules::LINES), "`csv`, `jsonl` or `text`; default by the extension"),
        key!("separator", Shape::Text(&rules::SEPARATOR), "of CSV; default `,`"),
        key!("follow", Shape::Flag, "go on reading as the file grows; default false"),
    ],
);

static GENERATE: MapRule = map!(
    "`generate`",
    [
        required!("value", Shape::Text(&rules::EXPRESSION), "an expression for the payload; `%n` counts from 0"),
        key!("count", Shape::Whole(0, i64::MAX), "how many; default without end"),
        key!("rate", Shape::Either(&[Shape::Text(&rules::RATE), Shape::Whole(1, 1_000_000_000)]), "records a second"),
        key!("seed", Shape::Whole(0, i64::MAX), "makes runs equal; default 0"),
    ],
);

static SCHEDULE: MapRule = map!(
    "`schedule`",
    [
        key!("cron", Shape::Text(&rules::SOME), "`minute hour day-of-month month day-of-week`, with the second before them if wanted, or `@daily` and the like"),
        key!("every", Shape::Text(&rules::TIMEOUT), "a distance; ticks are its multiples, counted from 1970"),
        key!(
            "at",
            Shape::Either(&[Shape::Text(&rules::TIME), Shape::List(&Shape::Text(&rules::TIME), 1, 10_000)]),
            "a time such as `2026-12-01T09:00:00+01:00`, or a list of them"
        ),
        key!("timezone", Shape::Text(&rules::SOME), "whose local times `cron` means, such as `Europe/Berlin`; default `UTC`"),
        key!("value", Shape::Text(&rules::EXPRESSION), "an expression for the payload; `%tick` is the tick's time; default `{ \"tick\": … }`"),
        key!("missed", Shape::Text(&rules::MISSED), "ticks that came while no process ran: `once` (default) is one record for all of them"),
        key!("jitter", Shape::Text(&rules::TIMEOUT), "writes each record up to so long after its tick; default at once"),
        key!("overlap", Shape::Text(&rules::OVERLAP), "while the job of the tick before is unfinished: `allow` starts another (default), `skip` none, `queue` waits"),
    ],
    one_of: &[&["cron", "every", "at"]],
);

static RESULT: MapRule = map!(
    "`respond`",
    [required!("result", Shape::Text(&rules::TIMEOUT), "how long the answer waits for the job's result")],
);

static HTTP: MapRule = map!(
    "`http`",
    [
        required!("path", Shape::Text(&rules::URL_PATH), "such as `/orders`; requests are POSTs to it"),
        required!(
            "auth",
            Shape::Either(&[Shape::Text(&rules::AUTH), Shape::Map(&AUTH)]),
            "who may send: `{ bearer: TOKEN }`, `{ basic: { user, password } }`, `{ hmac: { secret } }`, or `none`",
        ),
        key!("id", Shape::Map(&HEADER), "the header of the idempotency key: the same key again, the same answer"),
        key!("max_body", Shape::Text(&rules::SIZE), "largest body; default 1MiB"),
        key!(
            "rate",
            Shape::Either(&[Shape::Text(&rules::RATE), Shape::Whole(1, 1_000_000_000)]),
            "requests per process; default without bound"
        ),
        key!(
            "respond",
            Shape::Either(&[Shape::Text(&rules::RESPOND), Shape::Map(&RESULT)]),
            "`accepted` (default): as soon as the record is durable; `{ result: 10s }`: with the job's result, if it comes in time",
        ),
    ],
);

static AUTH: MapRule = map!(
    "`auth`",
    [
        key!("bearer", Shape::Text(&rules::SOME), "the token; better `${env:NAME}` than in the file"),
        key!("basic", Shape::Map(&BASIC), "a user and a password"),
        key!("hmac", Shape::Map(&HMAC), "a signature of the body, as webhooks have"),
    ],
    one_of: &[&["bearer", "basic", "hmac"]],
);

static BASIC: MapRule = map!(
    "`basic`",
    [
        required!("user", Shape::Text(&rules::SOME), "the name"),
        required!("password", Shape::Text(&rules::SOME), "better `${env:NAME}` than in the file"),
    ],
);

static HMAC: MapRule = map!(
    "`hmac`",
    [
        required!("secret", Shape::Text(&rules::SOME), "shared with the sender; `whsec_…` is base64"),
        key!("header", Shape::Text(&rules::SOME), "where the signature of the body is; default Standard Webhooks"),
        key!("algorithm", Shape::Text(&rules::HMAC_ALGORITHM), "default `sha256`"),
        key!("encoding", Shape::Text(&rules::HMAC_ENCODING), "`hex` (default) or `base64`"),
        key!("prefix", Shape::Text(&rules::SOME), "what stands before the signature, as in `sha256=`"),
    ],
    one_of: &[],
    needs: &[("algorithm", "header"), ("encoding", "header"), ("prefix", "header")],
);

const FORMAT: Shape = Shape::Named("format", &Shape::Either(&[Shape::Text(&rules::FORMAT), Shape::Map(&FORMAT_MAP)]));

const TO_FORMAT: Shape =
    Shape::Named("topic_format", &Shape::Either(&[Shape::Text(&rules::TO_FORMAT), Shape::Map(&FORMAT_MAP)]));

static FORMAT_MAP: MapRule = map!(
    "a format",
    [
        key!("csv", Shape::Map(&CSV), "rows without a header line"),
        key!("avro", Shape::Map(&AVRO), "data of a schema: each alone, or behind the number of its schema in a registry"),
        key!("protobuf", Shape::Map(&PROTOBUF), "messages of a type: each alone, or behind the number of its schema in a registry"),
    ],
    one_of: &[&["csv", "avro", "protobuf"]]
);

static CSV: MapRule = map!(
    "`csv`",
    [
        key!(
            "columns",
            Shape::List(&Shape::Text(&rules::SOME), 1, 10_000),
            "names in order; default those of `fields`"
        ),
        key!("separator", Shape::Text(&rules::SEPARATOR), "default `,`"),
    ],
);

static TYPE: Shape = Shape::Named(
    "type",
    &Shape::Either(&[Shape::Text(&rules::TYPE), Shape::List(&TYPE, 1, 1), Shape::Names(&rules::SOME, &TYPE, 1)]),
);

const ID: Shape = Shape::Named(
    "id",
    &Shape::Either(&[Shape::Text(&rules::ID), Shape::List(&Shape::Text(&rules::FIELD), 1, 100), Shape::Map(&HEADER)]),
);

const KEY: Shape = Shape::Named(
    "key",
    &Shape::Either(&[Shape::Text(&rules::KEY), Shape::List(&Shape::Text(&rules::FIELD), 1, 100), Shape::Map(&HEADER)]),
);

static HEADER: MapRule =
    map!("`{ header: NAME }`", [required!("header", Shape::Text(&rules::SOME), "the header's name")]);

static DEFAULTS: MapRule = map!(
    "`defaults`",
    [
        REPLICAS,
        CONCURRENCY,
        ORDER,
        TIMEOUT,
        RETRY,
        DEDUP,
        ON_FAILURE,
        DEAD_LETTER,
        key!("topics", Shape::Map(&TOPICS), "what missing topics are made with"),
    ],
);

const REPLICAS: Key = key!(
    "replicas",
    Shape::Either(&[Shape::Whole(1, 1024), Shape::LaterMap("replicas: { min, max }")]),
    "members per process that runs the stage; default 1",
);
const CONCURRENCY: Key =
    key!("concurrency", Shape::Whole(1, 65_536), "records in flight per replica, always one per key; default 64");
const ORDER: Key = key!("order", Shape::Text(&rules::ORDER), "what is kept in order; default `key`");
const TIMEOUT: Key = key!("timeout", Shape::Text(&rules::TIMEOUT), "per record and attempt; default 30s");
const RETRY: Key = key!(
    "retry",
    Shape::Map(&map!(
        "`retry`",
        [
            key!("attempts", Shape::Whole(1, 1000), "in all, 1 is no retry; default 6"),
            key!("backoff", Shape::Text(&rules::BACKOFF), "first and longest wait; default 200ms..30s"),
            key!("park_after", Shape::Map(&PARK_AFTER), "when a key that fails is set aside, so that others go on"),
            key!("until", Shape::Text(&rules::TIMEOUT), "no attempt later than this after the first; default no bound"),
        ],
    )),
    "what a transient failure gets",
);
static PARK_AFTER: MapRule = map!(
    "`park_after`",
    [
        key!("attempts", Shape::Whole(1, 1000), "that failed; default 3"),
        key!("time", Shape::Text(&rules::TIMEOUT), "since the first attempt; default 5s"),
    ],
);
const DEDUP: Key = key!(
    "dedup",
    Shape::Either(&[
        Shape::Flag,
        Shape::Text(&rules::ON_OFF),
        Shape::Map(&map!(
            "`dedup`",
            [
                key!("window", Shape::Text(&rules::TIMEOUT), "how long an id is remembered; default 24h"),
                key!("max_ids", Shape::Whole(1, 10_000_000_000), "ids per partition at most; default 5000000"),
            ],
        )),
    ]),
    "drops what has an id seen before; on unless `off`",
);
const ON_FAILURE: Key = key!(
    "on_failure",
    Shape::Text(&rules::ON_FAILURE),
    "after dead-lettering: `continue` with the key's next record, `hold_key` until somebody decides, or `compensate` the job; default `compensate` where a stage has a compensation, else `continue`"
);
const DEAD_LETTER: Key = key!(
    "dead_letter",
    Shape::Map(&map!(
        "`dead_letter`",
        [key!("retention", Shape::Text(&rules::RETENTION), "how long dead letters are kept; default `forever`")],
    )),
    "settings of the dead letters",
);

const PARTITIONS: Key = key!("partitions", Shape::Whole(1, 10_000), "of a topic that is made; default 12");
const RETENTION: Key = key!(
    "retention",
    Shape::Text(&rules::RETENTION),
    "written longer ago than this may go, once every reader is past it; default `forever`",
);
const REPLICATION: Key = key!("replication", Shape::Whole(1, 100), "copies on a cluster; default the cluster's");
const MAX_RECORD: Key = key!("max_record", Shape::Text(&rules::SIZE), "largest record; default the log's");

static TOPICS: MapRule = map!("`topics`", [PARTITIONS, RETENTION, REPLICATION, MAX_RECORD]);

static PRIORITY: MapRule = map!(
    "`priority`",
    [
        required!(
            "by",
            Shape::Either(&[Shape::Text(&rules::FIELD), Shape::Map(&HEADER)]),
            "the field or header that names the level; another value, or none, is of the last one"
        ),
        required!("levels", Shape::List(&Shape::Text(&rules::OWN_NAME), 2, 16), "names, the most important first"),
        key!("weights", Shape::List(&Shape::Whole(1, 1000), 2, 16), "shares of the levels while they have records to do"),
        key!("strict", Shape::Flag, "a level is served only while none above it has records to do"),
    ],
    one_of: &[&["weights", "strict"]],
);

static ISOLATE: MapRule = map!(
    "`isolate`",
    [
        key!(
            "secrets",
            Shape::List(&Shape::Text(&rules::SECRET), 1, 100),
            "variables and files that this stage alone may name in `${env:NAME}` and `${file:PATH}`"
        ),
        key!("run", Shape::Text(&rules::APART), "`apart`: refuses to start in a process that runs other stages"),
        key!(
            "allow_fields",
            Shape::List(&Shape::Text(&rules::FIELD), 1, 1000),
            "what may leave the stage; a record with another field is a dead letter"
        ),
    ],
);

static STAGE: Shape = Shape::Named(
    "stage",
    &Shape::Map(&map!("a stage", [
                required!("name", Shape::Text(&rules::OWN_NAME), "group and output topic are `<pipeline>.<name>`"),
                key!("description", Shape::Text(&rules::FREE), "for people"),
                key!(
                    "from",
                    Shape::Either(&[
                        Shape::Text(&rules::FROM),
                        Shape::List(&Shape::Text(&rules::FROM), 1, MAX_PORTS),
                    ]),
                    "what it reads: a stage, stage.output, a source, or a list; default the stage before",
                ),
                key!("filter", Shape::FilterName, "the filter it runs"),
                key!("with", Shape::Anything, "the filter's configuration"),
                key!("filters", Shape::List(&Shape::FilterItem, 1, 100), "several filters in one hop"),
                key!("key", KEY, "key of the output; default the input's"),
                key!("to", TO, "the output topic; default `<pipeline>.<stage>`"),
                key!("outputs", Shape::Names(&rules::OWN_NAME, &OUTPUT, 0), "settings per named output"),
                REPLICAS, CONCURRENCY, ORDER, TIMEOUT, RETRY, DEDUP, ON_FAILURE, DEAD_LETTER,
                key!("priority", Shape::Map(&PRIORITY), "levels of importance: a topic each, and shares or strict order between them"),
                key!("singleton", Shape::Flag, "one replica works in the whole cluster, the others stand by; default false"),
                key!("isolate", Shape::Map(&ISOLATE), "keeps secrets: who may name them, and what may leave the stage"),
                key!("compensate", Shape::FilterItem, "the filter that undoes what this one did, when the job fails later: `NAME: configuration`"),
                key!("deadline", Shape::Text(&rules::TIMEOUT), "a job of which nothing ends here for so long, though it has something here, has failed"),
                key!("wait_for", Shape::Map(&WAIT_FOR), "holds each record until an event of a topic lets it go; the event lands in `.event`"),
                later!("join"),
], one_of: &[&["filter", "filters"]],         needs: &[("with", "filter")])),
);

const OUTPUT: Shape = Shape::Map(&map!("an output", [key!("to", TO, "its topic"), key!("key", KEY, "its key")]));

const TO: Shape = Shape::Named(
    "to",
    &Shape::Either(&[
        Shape::Text(&rules::TOPIC),
        Shape::Map(&map!(
            "`to`",
            [
                key!("topic", Shape::Text(&rules::TOPIC), "its name"),
                key!("format", TO_FORMAT, "default `json`; what comes in as raw or text and stays text goes out so"),
                PARTITIONS,
                RETENTION,
                REPLICATION,
                MAX_RECORD,
            ],
        )),
    ]),
);

static TEST: Shape = Shape::Named(
    "test",
    &Shape::Map(&map!(
        "a test",
        [
            required!("name", Shape::Text(&rules::SOME), "for people"),
            required!("input", Shape::List(&Shape::Map(&RECORD), 0, 100_000), "records at the source"),
            required!(
                "expect",
                Shape::Names(&EXPECT_NAME, &Shape::List(&Shape::Map(&EXPECTED), 0, 100_000), 1),
                "records per output",
            ),
        ],
    )),
);

/// A stage, `stage.output`, or the dead letters of a stage.
static EXPECT_NAME: crate::shape::TextRule = crate::shape::TextRule {
    what: "a stage, `stage.output` or `stage.dlq`",
    code: "bad_name",
    words: &[],
    later: &[],
    reserved: &[],
    fits: |t| (rules::FROM.fits)(t),
    pattern: "[a-z0-9]+(?:-[a-z0-9]+)*(?:\\.[a-z0-9]+(?:-[a-z0-9]+)*)?",
    max: 249,
};

static RECORD: MapRule = map!(
    "a record",
    [
        key!("source", Shape::Text(&rules::OWN_NAME), "the source that gives it; needed where there are several"),
        key!("key", Shape::Either(&[Shape::Text(&rules::FREE), Shape::Null]), "its key"),
        key!("value", Shape::Anything, "its payload; null is a tombstone"),
        key!("headers", HEADERS, "its headers"),
        key!("id", Shape::Text(&rules::SOME), "its message id, as a header would give it"),
        key!("timestamp", Shape::Text(&rules::TIME), "its time"),
    ],
);

static EXPECTED: MapRule = map!(
    "an expected record",
    [
        key!("key", Shape::Either(&[Shape::Text(&rules::FREE), Shape::Null]), "its key"),
        key!("value", Shape::Anything, "its payload; fields that are not named may be anything"),
        key!("headers", HEADERS, "headers it must have"),
    ],
);

const HEADERS: Shape = Shape::Names(&rules::SOME, &Shape::Either(&[Shape::Text(&rules::FREE), Shape::Null]), 0);
