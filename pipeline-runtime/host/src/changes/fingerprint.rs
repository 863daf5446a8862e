//! What of a pipeline decides which records are read, where they go and how they are named: `fingerprint` in the control
//! topic, written by the run that began last.

use std::fmt::Write as _;

use millstream_filter_api::{Node, NodeKind};
use millstream_log::{End, Log, LogResult};
use millstream_spec::model::{self, IdRule, KeyRule, Order, Pipeline, SourceKind, Stage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::control::{Change, Control, Entries, decode, encode};
use crate::ids::hash128;
use crate::topics::counts;

/// Its key in the control topic.
pub const KEY: &str = "fingerprint";

/// A pipeline, as far as a change of it matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Fingerprint {
    /// `exactly_once` or `at_least_once`.
    pub delivery: String,
    /// What feeds it, in the order of the file.
    pub sources: Vec<SourceMark>,
    /// In the order of the file.
    pub stages: Vec<StageMark>,
}

/// As it is written: the one without a name stands where the only one stood before there could be several.
#[derive(Serialize, Deserialize)]
struct Written {
    delivery: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<SourceMark>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceMark>,
    stages: Vec<StageMark>,
}

impl From<Written> for Fingerprint {
    fn from(written: Written) -> Self {
        let sources = written.source.into_iter().chain(written.sources).collect();
        Self { delivery: written.delivery, sources, stages: written.stages }
    }
}

impl From<Fingerprint> for Written {
    fn from(all: Fingerprint) -> Self {
        let (unnamed, sources): (Vec<_>, Vec<_>) = all.sources.into_iter().partition(|s| s.name.is_empty());
        Self { delivery: all.delivery, source: unnamed.into_iter().next(), sources, stages: all.stages }
    }
}

/// What feeds a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMark {
    /// Its name under `sources`; empty for `source`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `topic`, `file`, `generate`, `schedule`, `http` or `objects`.
    pub kind: String,
    /// The topic where its records are.
    pub topic: String,
    /// The file or the URL of objects, as written; empty for others.
    pub file: String,
    /// How records are named.
    pub id: String,
    /// How a source that is no topic keys its records; a topic is keyed anew by a stage.
    pub key: String,
    /// How payloads are encoded.
    pub format: String,
    /// Partitions that the topic which it writes is made with; 0 for a topic of others.
    pub partitions: i32,
    /// Of everything else.
    pub options: String,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMark {
    /// Its name.
    pub name: String,
    /// Its consumer group.
    pub group: String,
    /// Where it sets records aside.
    pub retry: String,
    /// What it reads; the first leads.
    pub inputs: Vec<InputMark>,
    /// What it runs, in order.
    pub filters: Vec<FilterMark>,
    /// What it writes.
    pub outputs: Vec<OutputMark>,
    /// `key`, `partition` or `none`.
    pub order: String,
    /// Its dedup window in ms; `None` is off.
    pub dedup: Option<u64>,
    /// Members per process.
    pub replicas: u32,
    /// Of everything else.
    pub options: String,
}

/// An input of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputMark {
    /// The topic.
    pub topic: String,
    /// Partitions it had.
    pub partitions: i32,
}

/// A filter of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterMark {
    /// Its name in the registry.
    pub name: String,
    /// Of what it was given.
    pub options: String,
}

/// An output of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputMark {
    /// Empty for the only one.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// Partitions it is made with.
    pub partitions: i32,
    /// How records are keyed; empty keeps the input's key.
    pub key: String,
    /// How payloads are encoded.
    pub format: String,
}

impl Fingerprint {
    /// Of a pipeline as its file says. `partitions` knows the topics that are there.
    pub fn of(pipeline: &Pipeline, partitions: &dyn Fn(&str) -> Option<i32>) -> Self {
        let counts = counts(pipeline, partitions);
        let count = |topic: &str| counts.get(topic).copied().unwrap_or_default();
        Self {
            delivery: match pipeline.delivery {
                model::Delivery::ExactlyOnce => "exactly_once".to_owned(),
                model::Delivery::AtLeastOnce => "at_least_once".to_owned(),
            },
            sources: pipeline.sources.iter().map(source_mark).collect(),
            stages: pipeline.stages.iter().map(|stage| stage_mark(stage, &count)).collect(),
        }
    }

    /// What ran last; `None` where nothing did, or a version that kept no fingerprints.
    pub fn read(log: &dyn Log, pipeline: &str) -> LogResult<Option<Self>> {
        let control = Control::of(log, pipeline);
        if !control.exists()? {
            return Ok(None);
        }
        let mut follower = control.follow()?;
        // What an open transaction hides may be newer.
        control.catch_up(&mut follower, End::High)?;
        Self::in_entries(follower.entries())
    }

    /// The same from entries that were read.
    pub fn in_entries(entries: &Entries) -> LogResult<Option<Self>> {
        entries.get(KEY).map(|entry| decode(KEY, &entry.value)).transpose()
    }

    /// What notes that this runs now.
    pub fn change(&self) -> LogResult<Change> {
        Ok((KEY.to_owned(), Some(encode(self)?)))
    }

    /// A stage by its name.
    pub fn stage(&self, name: &str) -> Option<&StageMark> {
        self.stages.iter().find(|s| s.name == name)
    }

    /// Whether a stage or a source of it writes a topic.
    pub fn writes(&self, topic: &str) -> bool {
        self.stages.iter().any(|s| s.outputs.iter().any(|o| o.topic == topic))
            || self.sources.iter().any(|s| s.writes() && s.topic == topic)
    }
}

impl SourceMark {
    /// Whether it makes records and writes them to its topic, and keeps its position there.
    pub fn writes(&self) -> bool {
        self.kind != "topic"
    }

    /// What it is called in sentences.
    pub fn called(&self) -> String {
        if self.name.is_empty() { "the source".to_owned() } else { format!("source `{}`", self.name) }
    }
}

impl StageMark {
    /// Whether it reads a topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.inputs.iter().any(|i| i.topic == topic)
    }
}

/// All of a pipeline that decides what it makes of its input, as a text that is equal for what means the same.
pub fn content(pipeline: &Pipeline) -> String {
    let mut mark = Fingerprint::of(pipeline, &|_| None);
    mark.stages.iter_mut().for_each(|stage| stage.replicas = 0);
    let types: Vec<_> = pipeline.sources.iter().map(|s| (&s.types, &s.schema)).collect();
    format!("{mark:?} {types:?}")
}

fn source_mark(source: &model::Source) -> SourceMark {
    let (kind, file, options) = match &source.kind {
        SourceKind::Topic { start } => ("topic", "", format!("{start:?}")),
        SourceKind::File(file) => ("file", file.written.as_str(), format!("{:?} {}", file.lines, file.follow)),
        SourceKind::Generate(made) => {
            let mut text = format!("{:?} {:?} {} ", made.count, made.rate, made.seed);
            canonical(&made.value, &mut text);
            ("generate", "", text)
        }
        SourceKind::Schedule(made) => {
            let mut text = format!("{} {:?} {:?} {:?} ", made.timing.mark(), made.missed, made.overlap, made.jitter);
            made.value.iter().for_each(|value| canonical(value, &mut text));
            ("schedule", "", text)
        }
        SourceKind::Objects(objects) => ("objects", objects.url.as_str(), objects.mark()),
        SourceKind::Postgres(postgres) => ("postgres", postgres.table(), postgres.mark()),
        // Not the secret, of which not even a hash is kept.
        SourceKind::Http(http) => {
            ("http", "", format!("{} {} {} {:?}", http.path, http.auth.name(), http.max_body, http.rate))
        }
    };
    let id = match source.http().and_then(|http| http.id.as_ref()) {
        Some(header) => format!("header {header}"),
        None => id_text(&source.id),
    };
    SourceMark {
        name: if source.named { source.name.clone() } else { String::new() },
        kind: kind.to_owned(),
        topic: source.topic.clone(),
        file: file.to_owned(),
        id: match (&source.id, &source.id_prefix) {
            (IdRule::Default, Some(prefix)) => format!("{id} after `{prefix}/`"),
            _ => id,
        },
        key: if kind == "topic" { String::new() } else { key_text(source.key.as_ref()) },
        format: format_text(&source.format),
        partitions: if kind == "topic" { 0 } else { source.topic_settings.partitions },
        options: hash(&options),
    }
}

fn stage_mark(stage: &Stage, count: &dyn Fn(&str) -> i32) -> StageMark {
    let filter = |f: &model::StageFilter| {
        let mut text = String::new();
        canonical(&f.options, &mut text);
        FilterMark { name: f.name.clone(), options: hash(&text) }
    };
    let output = |o: &model::Output| OutputMark {
        name: o.name.clone().unwrap_or_default(),
        topic: o.topic.clone(),
        partitions: o.settings.partitions,
        key: key_text(o.key.as_ref()),
        format: format_text(&o.format),
    };
    let retention: Vec<_> = stage.outputs.iter().map(|o| o.settings.retention.map(|r| r.as_millis())).collect();
    let rest = json!([
        stage.concurrency,
        stage.timeout.as_millis(),
        stage.retry.attempts,
        stage.retry.backoff_min.as_millis(),
        stage.retry.backoff_max.as_millis(),
        stage.retry.park_after.map(|p| (p.attempts, p.time.as_millis())),
        stage.retry.until.map(|u| u.as_millis()),
        stage.dedup.as_ref().map(|d| d.max_ids),
        stage.dead_letter_retention.map(|r| r.as_millis()),
        retention,
    ]);
    let mut rest = rest;
    // Only where it is so: the marks of others stay what they were.
    if stage.singleton
        && let Some(all) = rest.as_array_mut()
    {
        all.push("singleton".into());
    }
    if let (Some(priority), Some(all)) = (&stage.priority, rest.as_array_mut()) {
        all.push(json!([priority.levels, priority.weights]));
    }
    if let (Some(isolate), Some(all)) = (&stage.isolate, rest.as_array_mut()) {
        all.push(json!([isolate.apart, isolate.allow_fields.as_deref().map(fields_text)]));
    }
    if let (Some(meets), Some(all)) = (&stage.meets, rest.as_array_mut()) {
        all.push(json!([meets.timeout.as_millis()]));
    }
    StageMark {
        name: stage.name.clone(),
        group: stage.group.clone(),
        retry: stage.retry_topic.clone(),
        inputs: stage
            .inputs
            .iter()
            .map(|i| InputMark { topic: i.topic.clone(), partitions: count(&i.topic) })
            .collect(),
        filters: stage.filters.iter().map(filter).collect(),
        outputs: stage.outputs.iter().map(output).collect(),
        order: match stage.order {
            Order::Key => "key",
            Order::Partition => "partition",
            Order::None => "none",
        }
        .to_owned(),
        dedup: stage.dedup.as_ref().map(|d| u64::try_from(d.window.as_millis()).unwrap_or(u64::MAX)),
        replicas: stage.replicas,
        options: hash(&rest.to_string()),
    }
}

fn id_text(rule: &IdRule) -> String {
    match rule {
        IdRule::Default => "default".to_owned(),
        IdRule::Key => "key".to_owned(),
        IdRule::Hash => "hash".to_owned(),
        IdRule::Header(name) => format!("header {name}"),
        IdRule::Fields(paths) => fields_text(paths),
    }
}

fn key_text(rule: Option<&KeyRule>) -> String {
    match rule {
        None => String::new(),
        Some(KeyRule::Hash) => "hash".to_owned(),
        Some(KeyRule::Header(name)) => format!("header {name}"),
        Some(KeyRule::Fields(paths)) => fields_text(paths),
    }
}

fn fields_text(paths: &[millstream_filter_api::OwnedValuePath]) -> String {
    // One blank apart: a path with a blank in it is quoted by its own text.
    paths.iter().map(|path| format!(".{path}")).collect::<Vec<_>>().join(" ")
}

fn format_text(format: &model::Format) -> String {
    match format {
        model::Format::Raw => "raw".to_owned(),
        model::Format::Text => "text".to_owned(),
        model::Format::Json => "json".to_owned(),
        model::Format::Csv { columns, separator } => {
            format!("csv {} {}", char::from(*separator), columns.join(&char::from(*separator).to_string()))
        }
        model::Format::Packed(packed) => packed.word().to_owned(),
        model::Format::Avro(schema) => format!("avro {:032x}", hash128(&[b"avro", schema.text().as_bytes()])),
        model::Format::Protobuf(schema) => {
            format!("protobuf {:032x}", hash128(&[b"protobuf", schema.described().as_bytes()]))
        }
        model::Format::Registered(avro) => {
            let text = avro.schema().map_or("", |schema| schema.text());
            match avro.message() {
                _ if !avro.is_protobuf() => format!("avro registered {:032x}", hash128(&[b"avro", text.as_bytes()])),
                message => {
                    let text = message.map_or("", |message| message.described());
                    format!("protobuf registered {:032x}", hash128(&[b"protobuf", text.as_bytes()]))
                }
            }
        }
    }
}

/// Equal for what means the same, however it was laid out.
fn canonical(node: &Node, out: &mut String) {
    // Writing to a string does not fail.
    match &node.kind {
        NodeKind::Null => out.push('~'),
        NodeKind::Bool(b) => drop(write!(out, "{b}")),
        NodeKind::Integer(n) => drop(write!(out, "{n}")),
        NodeKind::Float(n) => drop(write!(out, "{n:?}")),
        NodeKind::Text(text, _) => drop(write!(out, "{:?}", text.trim_end())),
        NodeKind::List(items) => {
            out.push('[');
            items.iter().for_each(|item| {
                canonical(item, out);
                out.push(',');
            });
            out.push(']');
        }
        NodeKind::Map(pairs) => {
            out.push('{');
            pairs.iter().for_each(|(key, value)| {
                canonical(key, out);
                out.push(':');
                canonical(value, out);
                out.push(',');
            });
            out.push('}');
        }
    }
}

fn hash(text: &str) -> String {
    format!("{:016x}", (hash128(&[b"options", text.as_bytes()]) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_filter_api::{ScalarStyle, Span};

    fn source(name: &str, topic: &str) -> SourceMark {
        SourceMark {
            name: name.into(),
            kind: "topic".into(),
            topic: topic.into(),
            file: String::new(),
            id: ".id".into(),
            key: String::new(),
            format: "json".into(),
            partitions: 0,
            options: "00".into(),
        }
    }

    #[test]
    fn several_sources_stand_beside_the_one_without_a_name() {
        let sources = vec![source("web", "a"), source("shop", "b")];
        let fingerprint = Fingerprint { delivery: "exactly_once".into(), sources, stages: vec![] };
        let golden = concat!(
            r#"{"v":1,"delivery":"exactly_once","sources":[{"name":"web","kind":"topic","topic":"a","file":"","id":".id","#,
            r#""key":"","format":"json","partitions":0,"options":"00"},{"name":"shop","kind":"topic","topic":"b","file":"","#,
            r#""id":".id","key":"","format":"json","partitions":0,"options":"00"}],"stages":[]}"#
        );
        let (_, value) = fingerprint.change().unwrap();
        assert_eq!(std::str::from_utf8(&value.unwrap()).unwrap(), golden);
        assert_eq!(decode::<Fingerprint>(KEY, golden.as_bytes()).unwrap(), fingerprint);
    }

    /// The text of version 1. It is in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let fingerprint = Fingerprint {
            delivery: "exactly_once".into(),
            sources: vec![source("", "orders.raw")],
            stages: vec![StageMark {
                name: "clean".into(),
                group: "orders.clean".into(),
                retry: "orders.clean.retry".into(),
                inputs: vec![InputMark { topic: "orders.raw".into(), partitions: 4 }],
                filters: vec![FilterMark { name: "map".into(), options: "01".into() }],
                outputs: vec![OutputMark {
                    name: String::new(),
                    topic: "orders.clean".into(),
                    partitions: 12,
                    key: ".sku".into(),
                    format: "json".into(),
                }],
                order: "key".into(),
                dedup: Some(86_400_000),
                replicas: 2,
                options: "02".into(),
            }],
        };
        let golden = concat!(
            r#"{"v":1,"delivery":"exactly_once","source":{"kind":"topic","topic":"orders.raw","file":"","id":".id","#,
            r#""key":"","format":"json","partitions":0,"options":"00"},"stages":[{"name":"clean","#,
            r#""group":"orders.clean","retry":"orders.clean.retry","inputs":[{"topic":"orders.raw","partitions":4}],"#,
            r#""filters":[{"name":"map","options":"01"}],"outputs":[{"name":"","topic":"orders.clean","#,
            r#""partitions":12,"key":".sku","format":"json"}],"order":"key","dedup":86400000,"replicas":2,"options":"02"}]}"#
        );
        let (key, value) = fingerprint.change().unwrap();
        assert_eq!((key.as_str(), std::str::from_utf8(&value.unwrap()).unwrap()), ("fingerprint", golden));
        assert_eq!(decode::<Fingerprint>(KEY, golden.as_bytes()).unwrap(), fingerprint);
        let newer = golden.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(decode::<Fingerprint>(KEY, newer.as_bytes()).unwrap_err().code, "newer_version");
    }

    /// Hashes are kept: a run of a later version must not take everything for changed.
    #[test]
    fn options_are_hashed_as_ever_and_not_by_their_layout() {
        let text = |t: &str, style| Node { kind: NodeKind::Text(t.into(), style), span: Span::default() };
        let of = |value: Node| {
            let map = vec![(text("into", ScalarStyle::Plain), value)];
            let mut out = String::new();
            canonical(&Node { kind: NodeKind::Map(map), span: Span { line: 7, col: 1, len: 3 } }, &mut out);
            (hash(&out), out)
        };
        let (hash, shown) = of(text(".price", ScalarStyle::Plain));
        assert_eq!(shown, r#"{"into":".price",}"#);
        assert_eq!(hash, "6d4cb4166bf36acd");
        assert_eq!(of(text(".price\n", ScalarStyle::Literal { indent: 4 })).0, hash);
        assert_ne!(of(text(".prize", ScalarStyle::Plain)).0, hash);
    }
}
