//! `source:` and each of `sources:`, what feeds the first stages.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use millstream_filter_api::{Files, Found, Issue, Kind, Node, NodeKind, Span};

use crate::language::MAX_PORTS;
use crate::model::{
    FileLines, FileSource, Format, GenerateSource, IdRule, KeyRule, PostgresRows, Source, SourceKind, Start,
    TopicSettings,
};
use crate::registry::Registry;
use crate::shape::as_whole;
use crate::{format, http, objects, postgres, read, rules, schedule, types, units};

/// What reading a source may use.
pub(crate) struct Reading<'a> {
    pub registry: &'a Registry,
    pub files: &'a dyn Files,
    pub path: &'a Path,
    pub pipeline: &'a str,
    pub topics: &'a TopicSettings,
}

/// A source as it stands in the file.
pub(crate) struct Said<'n> {
    pub name: String,
    /// Under `sources`.
    pub named: bool,
    /// Of its key.
    pub span: Span,
    pub node: &'n Node,
}

/// The sources of a file, in its order.
pub(crate) fn all<'n>(file: &'n Node, issues: &mut Vec<Issue>) -> Vec<Said<'n>> {
    let pairs = file.as_map().unwrap_or(&[]);
    if let Some((key, node)) = pairs.iter().find(|(k, _)| k.as_text() == Some("source")) {
        let said = Said { name: "source".to_owned(), named: false, span: key.span, node };
        return if node.as_map().is_some() { vec![said] } else { Vec::new() };
    }
    let sources = file.get("sources").and_then(Node::as_map).unwrap_or(&[]);
    if let Some((key, _)) = sources.get(MAX_PORTS) {
        let message = format!("a pipeline has at most {MAX_PORTS} sources, and here are {}", sources.len());
        issues.push(Issue::error(key.span, "wrong_count", message));
    }
    let maps = sources.iter().take(MAX_PORTS).filter(|(_, node)| node.as_map().is_some());
    let said = |(key, node): &'n (Node, Node)| {
        Some(Said { name: key.as_text()?.to_owned(), named: true, span: key.span, node })
    };
    maps.filter_map(said).collect()
}

/// Two sources that would give the same ids by default put their names before them.
pub(crate) fn keep_ids_apart(sources: &mut [Source]) {
    let given = |source: &Source| match &source.kind {
        // What comes in with a request has an id that nobody else gives.
        SourceKind::Topic { .. } | SourceKind::Schedule(_) | SourceKind::Http(_) => None,
        SourceKind::File(file) => Some(file.path.file_name().map(OsStr::to_owned)),
        SourceKind::Generate(_) => Some(None),
        SourceKind::Objects(_) => None,
        SourceKind::Postgres(postgres) => Some(Some(OsStr::new(postgres.table()).to_owned())),
    };
    let all: Vec<_> = sources.iter().map(given).collect();
    for (source, mine) in sources.iter_mut().zip(&all).filter(|(_, mine)| mine.is_some()) {
        if all.iter().filter(|other| *other == mine).count() > 1 {
            source.id_prefix = Some(source.name.clone());
        }
    }
    // Names of objects may be any, those of files and of other sources' objects too.
    let named_by_files = |s: &&Source| matches!(s.kind, SourceKind::Objects(_) | SourceKind::File(_));
    if sources.iter().filter(named_by_files).count() > 1 {
        for source in sources.iter_mut().filter(|s| s.objects().is_some()) {
            source.id_prefix = Some(source.name.clone());
        }
    }
}

/// Reads a source.
pub(crate) fn read(said: &Said<'_>, cx: &Reading<'_>, issues: &mut Vec<Issue>) -> Source {
    let (node, span) = (said.node, said.span);
    let schema = node.get("schema").and_then(|n| format::schema_file(n, node.get("format"), cx.files, issues));
    let declared = match (&schema, node.get("fields")) {
        (Some(schema), _) => Some(schema.kind()),
        (None, Some(fields)) => Some(types::fields(fields)),
        (None, None) => None,
    };
    let beside = format::Beside {
        fields: node.get("fields"),
        schema: schema.as_ref(),
        said_schema: node.get("schema").is_some(),
        input: None,
        files: cx.files,
        topic: None,
        registry: cx.registry.in_force.as_ref(),
    };
    let (kind, format, made) = if node.get("topic").is_some() {
        let format = node.get("format").map_or(Some(Format::Json), |f| format::of_topic(f, &beside, issues));
        (SourceKind::Topic { start: start(node) }, format.unwrap_or(Format::Json), None)
    } else if let Some(file) = node.get("file") {
        let file = self::file(file, node.get("format"), cx.files, cx.path, issues);
        let (format, made) = match file.lines {
            FileLines::Csv { .. } => (Format::Json, types::untyped_row()),
            FileLines::Jsonl => (Format::Json, Kind::any()),
            FileLines::Text => (Format::Text, Kind::bytes()),
        };
        (SourceKind::File(file), format, Some(made))
    } else if let Some(schedule) = node.get("schedule") {
        let (schedule, made) = schedule::read(schedule, cx.registry, issues);
        (SourceKind::Schedule(schedule), format::made(node, &beside, issues), made)
    } else if let Some(objects) = node.get("objects") {
        let objects = objects::read(objects, cx.path, issues);
        for key in ["format", "fields", "schema"] {
            if let Some(at) = key_of(node, &[key]) {
                let message = format!("`{key}`: the records of `objects` are JSON of known fields");
                let issue = Issue::error(at.span, "conflicting_keys", message);
                issues.push(issue.help("leave it out, and take the content apart in a stage"));
            }
        }
        let made = objects.types();
        (SourceKind::Objects(objects), Format::Json, Some(made))
    } else if let Some(postgres) = node.get("postgres") {
        let (postgres, made) = postgres::read(postgres, issues);
        let format = postgres::format(node.get("format"), &postgres.rows, issues);
        (SourceKind::Postgres(postgres), format, Some(made))
    } else if let Some(http) = node.get("http") {
        let format = http::format(node.get("format"), issues);
        (SourceKind::Http(http::read(http, issues)), format, None)
    } else {
        let generate = node.get("generate");
        let made = generate.and_then(|g| g.get("value")).and_then(|v| generator(v, cx.registry, issues));
        (SourceKind::Generate(self::generate(generate)), format::made(node, &beside, issues), made)
    };
    issues.extend(format::schema_of_another(node, schema.as_ref(), &format));
    let made = if matches!(format, Format::Raw | Format::Text) { Some(Kind::bytes()) } else { made };
    if let (Format::Raw | Format::Text, Some(fields)) = (&format, key_of(node, &["fields", "schema"])) {
        let word = fields.as_text().unwrap_or("fields");
        let issue =
            Issue::error(fields.span, "conflicting_keys", format!("`{word}` has no meaning for text or raw bytes"));
        issues.push(issue.help("use the format `json` or `csv`, or parse the text in a stage"));
    }
    let declared = declared.filter(|_| !matches!(kind, SourceKind::Objects(_)));
    // A schema inside of `format`.
    let declared = declared.or_else(|| match (&kind, &format) {
        (SourceKind::Topic { .. }, Format::Avro(schema)) => Some(schema.kind()),
        (SourceKind::Topic { .. }, Format::Protobuf(schema)) => Some(schema.kind()),
        (SourceKind::Topic { .. }, Format::Registered(registered)) => registered.kind(),
        _ => None,
    });
    let typed = declared.is_some() && !matches!(format, Format::Raw | Format::Text);
    let types = if typed { declared } else { made }.unwrap_or_else(Kind::any);
    let own = !matches!(kind, SourceKind::Topic { .. });
    let is_http = matches!(kind, SourceKind::Http(_));
    let has_headers = is_http || is_outbox(&kind);
    if let (true, Some(id)) = (is_http, key_of(node, &["id"])) {
        let issue = Issue::error(id.span, "conflicting_keys", "the id of a request stands inside `http`");
        issues.push(issue.help("write `http: { …, id: { header: idempotency-key } }`"));
    }
    let id = node.get("id").filter(|_| !is_http).and_then(read::id_rule).unwrap_or(IdRule::Default);
    let key = node.get("key").and_then(read::key_rule);
    for key in ["id", "key"] {
        let Some(rule) = node.get(key) else { continue };
        read::check_fields(rule, &types, issues);
        if let (true, Some(header)) = (own && !has_headers, rule.get("header")) {
            let message = format!("`{key}`: the records of this source have no headers");
            issues.push(Issue::error(header.span, "no_headers", message).help("take a field, as in `.order_id`"));
        }
    }
    if own && id == IdRule::Key && key.is_none() && !matches!(kind, SourceKind::Postgres(_)) {
        let at = node.get("id").map_or(span, |n| n.span);
        let issue = Issue::error(at, "no_key", "`id: key`: the records of this source have no key");
        issues.push(issue.help("give them one with `key:`"));
    }
    let inlet = if said.named { format!("{}.in.{}", cx.pipeline, said.name) } else { format!("{}.in", cx.pipeline) };
    let topic = match kind {
        SourceKind::Topic { .. } => read::text(node, "topic").unwrap_or("").to_owned(),
        _ => inlet.clone(),
    };
    let schema = schema.and_then(format::SchemaFile::json);
    let mut topic_settings = cx.topics.clone();
    if let SourceKind::Http(http) = &kind {
        // What is taken in must fit.
        topic_settings.max_record_bytes.get_or_insert(http::max_record(http));
    }
    if let SourceKind::Objects(objects) = &kind
        && let Some(size) = objects::max_record(objects)
    {
        topic_settings.max_record_bytes.get_or_insert(size);
    }
    Source {
        name: said.name.clone(),
        named: said.named,
        kind,
        format,
        id,
        key,
        types,
        typed,
        schema,
        topic,
        inlet,
        id_prefix: None,
        topic_settings,
    }
}

/// Whether other columns of its rows become headers.
fn is_outbox(kind: &SourceKind) -> bool {
    matches!(kind, SourceKind::Postgres(postgres) if matches!(postgres.rows, PostgresRows::Outbox { .. }))
}

/// What a source says of where equal ids may lie, as a warning.
pub(crate) fn ids_may_not_meet(source: &Source, node: &Node) -> Option<Issue> {
    let covered = match (&source.id, &source.key) {
        (IdRule::Default, _) | (_, None) | (IdRule::Hash, Some(_)) => true,
        (IdRule::Fields(ids), Some(KeyRule::Fields(keys))) => {
            keys.iter().all(|k| ids.iter().any(|i| k.segments.starts_with(&i.segments)))
        }
        (IdRule::Header(id), Some(KeyRule::Header(key))) => id == key,
        // Outside a topic the key of the record is this very key.
        (IdRule::Key, Some(_)) => !matches!(source.kind, SourceKind::Topic { .. }),
        _ => false,
    };
    let rule = node.get("id").filter(|_| !covered)?;
    let message = "records with equal ids may have different keys, lie in different partitions and not meet";
    let issue = Issue::warning(rule.span, "ids_may_not_meet", message);
    Some(
        issue.help(
            "dedup sees repeats within a partition: it is certain where the fields of `key` are among those of `id`",
        ),
    )
}

/// The path that a source serves, and where it is said.
pub(crate) fn served(said: &Said<'_>) -> Option<(String, Span)> {
    let path = said.node.get("http")?.get("path")?;
    Some((path.as_text().filter(|p| !p.is_empty())?.to_owned(), path.span))
}

/// Paths that two sources of one file serve.
pub(crate) fn served_twice(paths: &[(String, Span)]) -> Vec<Issue> {
    let twice = |n: usize| paths[..n].iter().find(|(path, _)| *path == paths[n].0);
    let issue = |n: usize| {
        let (_, first) = twice(n)?;
        let issue = Issue::error(paths[n].1, "shared_path", format!("two sources serve the path `{}`", paths[n].0));
        Some(issue.help(format!("the first is at {}:{}", first.line, first.col)))
    };
    (0..paths.len()).filter_map(issue).collect()
}

/// A crash between the id of a request and its record is mended by writing the record again: the stage that reads it
/// must know a repeat.
pub(crate) fn needs_dedup(source: &Source, node: &Node, stage: &str) -> Option<Issue> {
    source.http()?.id.as_ref()?;
    let at = key_of(node.get("http")?, &["id"])?;
    let message = format!("`id` promises one job for each id, and stage `{stage}` has its dedup off");
    Some(Issue::error(at.span, "id_needs_dedup", message).help("leave out `dedup: off` there, or `id` here"))
}

fn key_of<'n>(node: &'n Node, names: &[&str]) -> Option<&'n Node> {
    node.as_map()?.iter().map(|(k, _)| k).find(|k| names.contains(&k.as_text().unwrap_or("")))
}

fn start(node: &Node) -> Start {
    match read::text(node, "start") {
        Some("latest") => Start::Latest,
        Some(text) => rules::time(text).map_or(Start::Earliest, Start::At),
        None => Start::Earliest,
    }
}

fn file(node: &Node, beside: Option<&Node>, files: &dyn Files, pipeline: &Path, issues: &mut Vec<Issue>) -> FileSource {
    let (path_node, inside) = if node.as_map().is_some() { (node.get("path"), Some(node)) } else { (Some(node), None) };
    let written = path_node.and_then(Node::as_text).unwrap_or("").to_owned();
    if let (Some(_), Some(beside)) = (inside.and_then(|n| n.get("format")), beside) {
        issues.push(Issue::error(beside.span, "conflicting_keys", "the format of the file is said twice"));
    }
    let said = inside.and_then(|n| n.get("format")).or(beside);
    let extension = Path::new(&written).extension().and_then(OsStr::to_str).unwrap_or("").to_ascii_lowercase();
    let word = match (said.and_then(Node::as_text), said) {
        (Some(word), _) => word,
        (None, Some(said)) => {
            let issue = Issue::error(said.span, "wrong_type", "the format of a file is `csv`, `jsonl` or `text`");
            issues.push(
                issue.help("the columns of a file stand in its header line; `separator` goes into `file: { … }`"),
            );
            "text"
        }
        _ => extension.as_str(),
    };
    let separator = inside.and_then(|n| n.get("separator"));
    let lines = match word {
        "csv" | "tsv" => FileLines::Csv {
            separator: separator.and_then(Node::as_text).and_then(rules::separator).unwrap_or(match word {
                "tsv" => b'\t',
                _ => b',',
            }),
        },
        "jsonl" | "json" | "ndjson" => FileLines::Jsonl,
        "text" | "txt" | "log" => FileLines::Text,
        "avro" => {
            let span = said.or(path_node).map_or(node.span, |n| n.span);
            let issue = Issue::error(span, "not_supported_yet", "files of Avro are not supported yet");
            issues.push(issue.help("write their records to a topic, or take lines of JSON"));
            FileLines::Text
        }
        "raw" | "msgpack" | "cbor" => {
            let span = said.map_or(node.span, |n| n.span);
            let issue = Issue::error(span, "unknown_word", format!("a file is cut into lines; `{word}` is for topics"));
            issues.push(issue.help("use `csv`, `jsonl` or `text`"));
            FileLines::Text
        }
        _ => {
            if said.is_none() && !written.is_empty() {
                let message = format!("`{written}`: its name does not say what is in it");
                let issue = Issue::error(path_node.map_or(node.span, |n| n.span), "missing_key", message);
                issues.push(issue.help("add `format: csv`, `jsonl` or `text`"));
            }
            FileLines::Text
        }
    };
    if let (Some(separator), false) = (separator, matches!(lines, FileLines::Csv { .. })) {
        issues.push(Issue::error(separator.span, "conflicting_keys", "`separator` is for CSV alone"));
    }
    if let Some(path_node) = path_node.filter(|_| !written.is_empty()) {
        // A warning: the file may be made after the check, and on another machine.
        let wrong = match files.look(Path::new(&written)) {
            Found::Nothing => Some("does not exist"),
            Found::Folder => Some("is a folder"),
            Found::File | Found::Unknown => None,
        };
        issues.extend(wrong.map(|what| {
            let issue = Issue::warning(path_node.span, "file_missing", format!("`{written}` {what}"));
            issue.help("a run needs it; paths start at the pipeline's folder")
        }));
    }
    let follow = inside.and_then(|n| n.get("follow")).is_some_and(|n| n.kind == NodeKind::Bool(true));
    let folder = pipeline.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    FileSource { path: folder.join(&written), written, lines, follow }
}

fn generator(value: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<Kind> {
    value.as_text().filter(|t| !t.is_empty())?;
    let Some(check) = registry.generator() else {
        issues.push(Issue::error(value.span, "not_supported_yet", "`generate` is not supported by this binary"));
        return None;
    };
    check(value).map_err(|found| issues.extend(found)).ok()
}

fn generate(node: Option<&Node>) -> GenerateSource {
    let null = Node { kind: NodeKind::Null, span: Span::default() };
    let Some(node) = node else { return GenerateSource { value: null, count: None, rate: None, seed: 0 } };
    let rate = node.get("rate").and_then(|r| match r.as_text() {
        Some(text) => units::rate(text),
        None => as_whole(r).map(|n| n as f64),
    });
    GenerateSource {
        value: node.get("value").cloned().unwrap_or(null),
        count: read::whole(node, "count"),
        rate,
        seed: read::whole(node, "seed").unwrap_or(0),
    }
}
