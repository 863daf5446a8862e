//! How payloads are encoded, as a source or an output says it, and whether types fit it.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use millstream_codec::{AvroSchema, Packed, ProtobufSchema, SchemaRegistry};
use millstream_filter_api::{Files, Issue, Kind, Node};

use crate::model::Format;
use crate::{protobuf, read, rules, schemas};

/// Bytes of a schema file at most.
pub(crate) const MAX_SCHEMA: usize = 1 << 20;

/// What stands beside a format, and says what it leaves out.
pub(crate) struct Beside<'a> {
    /// `fields:`, whose names are columns.
    pub fields: Option<&'a Node>,
    /// The file that `schema:` names.
    pub schema: Option<&'a SchemaFile>,
    /// `schema:` names a file; if there is none above, it has been said why.
    pub said_schema: bool,
    /// The format of what a stage reads.
    pub input: Option<&'a Format>,
    pub files: &'a dyn Files,
    /// The topic, of an output.
    pub topic: Option<&'a str>,
    /// The schema registry that is in force.
    pub registry: Option<&'a Arc<dyn SchemaRegistry>>,
}

/// `format:` of a topic.
pub(crate) fn of_topic(node: &Node, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Option<Format> {
    if node.as_text() == Some("jsonl") {
        let issue = Issue::error(
            node.span,
            "unknown_word",
            "`jsonl` is a format of files; a record of a topic is one JSON value",
        );
        issues.push(issue.help("did you mean `json`?"));
        return None;
    }
    read(node, beside, issues)
}

/// `format:` of a source that makes its payloads.
pub(crate) fn made(node: &Node, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Format {
    match node.get("format") {
        Some(format) => match format.as_text() {
            Some("text") => Format::Text,
            Some("raw") => Format::Raw,
            Some("avro") => avro(format, None, &own(beside), issues).unwrap_or(Format::Json),
            _ if protobuf::is_meant(format) => protobuf::read(format, &own(beside), issues).unwrap_or(Format::Json),
            Some(word) => Packed::named(word).map_or(Format::Json, Format::Packed),
            None if format.get("avro").is_some() => {
                avro(format, format.get("avro"), &own(beside), issues).unwrap_or(Format::Json)
            }
            None => Format::Json,
        },
        None => Format::Json,
    }
}

/// Records of a topic of ours have no number of a schema before them.
fn own<'a>(beside: &Beside<'a>) -> Beside<'a> {
    Beside { registry: None, topic: None, ..*beside }
}

/// A format. The columns of CSV are said, or those of `fields`, or those of the input; a schema of Avro is said here, or by
/// `schema`, or is that of the input.
pub(crate) fn read(node: &Node, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Option<Format> {
    let csv = match node.as_text() {
        Some("raw") => return Some(Format::Raw),
        Some("text") => return Some(Format::Text),
        Some("json") => return Some(Format::Json),
        Some("avro") => return avro(node, None, beside, issues),
        _ if protobuf::is_meant(node) => return protobuf::read(node, beside, issues),
        Some("csv") => None,
        Some(word) => return Packed::named(word).map(Format::Packed),
        None if node.get("avro").is_some() => return avro(node, node.get("avro"), beside, issues),
        None => Some(node.get("csv")?),
    };
    let said = csv.and_then(|c| c.get("columns")).and_then(Node::as_list);
    let columns: Vec<String> = match (said, beside.fields.and_then(Node::as_map), beside.input) {
        (Some(items), ..) => items.iter().filter_map(Node::as_text).map(str::to_owned).collect(),
        (None, Some(pairs), _) => pairs.iter().filter_map(|(k, _)| k.as_text()).map(str::to_owned).collect(),
        (None, None, Some(Format::Csv { columns, .. })) => columns.clone(),
        _ => {
            let issue = Issue::error(node.span, "missing_key", "`csv` needs the names of the columns");
            issues.push(issue.help(match beside.input {
                Some(_) => "write `to: { format: { csv: { columns: [a, b] } } }`",
                None => "write `format: { csv: { columns: [a, b] } }`, or `fields`, whose names are the columns",
            }));
            return None;
        }
    };
    let separator = csv.and_then(|c| read::text(c, "separator")).and_then(rules::separator);
    Some(Format::Csv { columns, separator: separator.unwrap_or(b',') })
}

fn avro(node: &Node, said: Option<&Node>, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Option<Format> {
    let schema = match said.and_then(|said| said.get("schema")) {
        Some(file) => match schema_file(file, None, beside.files, issues)? {
            SchemaFile::Avro(schema) => Some(schema),
            _ => {
                let message = format!("`{}` is no Avro schema by its name", file.as_text().unwrap_or_default());
                issues.push(
                    Issue::error(file.span, "schema_invalid", message).help("name a file that ends with `.avsc`"),
                );
                return None;
            }
        },
        None => match (beside.schema, beside.input) {
            (Some(SchemaFile::Avro(schema)), _) | (None, Some(Format::Avro(schema))) => Some(schema.clone()),
            (None, Some(Format::Registered(avro))) if !avro.is_protobuf() => avro.schema().cloned(),
            (None, _) if beside.said_schema => return None,
            (Some(_), _) => {
                let message = "`avro` needs an Avro schema, and that of the source is none by its name";
                let issue = Issue::error(node.span, "schema_invalid", message);
                issues.push(issue.help("name a file that ends with `.avsc`"));
                return None;
            }
            (None, None) => None,
            // There is no schema to write by.
            (None, Some(_)) => return schemas::framed(node, said, None, beside.topic, None, issues),
        },
    };
    schemas::framed(node, said, schema, beside.topic, beside.registry, issues)
}

/// A schema, as a file says it.
pub(crate) enum SchemaFile {
    Json { path: String, text: String, kind: Kind },
    Avro(AvroSchema),
    Protobuf(ProtobufSchema),
}

impl SchemaFile {
    /// Type of what it describes.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Json { kind, .. } => kind.clone(),
            Self::Avro(schema) => schema.kind(),
            Self::Protobuf(schema) => schema.kind(),
        }
    }

    /// Path and text of a JSON Schema.
    pub(crate) fn json(self) -> Option<(String, String)> {
        match self {
            Self::Json { path, text, .. } => Some((path, text)),
            Self::Avro(_) | Self::Protobuf(_) => None,
        }
    }
}

/// Reads the file that a `schema:` names; what it is is known by its ending. `format` stands beside it.
pub(crate) fn schema_file(
    node: &Node,
    format: Option<&Node>,
    files: &dyn Files,
    issues: &mut Vec<Issue>,
) -> Option<SchemaFile> {
    let path = node.as_text().filter(|p| !p.is_empty())?;
    if protobuf::ProtobufFile::is_named(path) {
        let said = format.and_then(|format| format.get("protobuf"));
        return protobuf::file(node, path, said, files, issues).map(SchemaFile::Protobuf);
    }
    let mut fail = |code, message: String| {
        issues.push(Issue::error(node.span, code, message));
        None
    };
    let bytes = match files.read(Path::new(path)) {
        Ok(bytes) if bytes.len() <= MAX_SCHEMA => bytes,
        Ok(_) => return fail("file_too_large", format!("the schema `{path}` is larger than {MAX_SCHEMA} bytes")),
        Err(error) => return fail("file_unreadable", format!("cannot read the schema `{path}`: {error}")),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return fail("schema_invalid", format!("the schema `{path}` is not UTF-8"));
    };
    if Path::new(path).extension() == Some(OsStr::new("avsc")) {
        return match AvroSchema::parse(&text) {
            Ok(schema) => Some(SchemaFile::Avro(schema)),
            Err(error) => fail("schema_invalid", format!("the schema `{path}` is {error}")),
        };
    }
    match millstream_filter_api::kind_of_json_schema(&text) {
        Ok(kind) => Some(SchemaFile::Json { path: path.to_owned(), text, kind }),
        Err(error) => fail("schema_invalid", format!("the schema `{path}` is {error}")),
    }
}

/// A schema of one format beside another says nothing of its payloads.
pub(crate) fn schema_of_another(node: &Node, schema: Option<&SchemaFile>, format: &Format) -> Option<Issue> {
    match (schema, format) {
        (Some(SchemaFile::Protobuf(_)), _) => protobuf::of_another(node, format),
        (Some(SchemaFile::Avro(_)), Format::Avro(_) | Format::Registered(_))
        | (None | Some(SchemaFile::Json { .. }), _) => None,
        // Why it is not Avro has been said.
        (Some(SchemaFile::Avro(_)), _) if node.get("format").and_then(Node::as_text) == Some("avro") => None,
        (Some(SchemaFile::Avro(_)), _) => {
            let at = node.get("schema").map_or(node.span, |schema| schema.span);
            let issue = Issue::error(at, "conflicting_keys", "an Avro schema goes with `format: avro`");
            Some(issue.help("add `format: avro`, or name a JSON Schema"))
        }
    }
}

/// By the types no record of this output could be written so.
pub(crate) fn unfit(said: &Node, format: &Format, types: &Kind) -> Vec<Issue> {
    // Of an output that nothing reaches the types say nothing.
    if types.is_never() {
        return Vec::new();
    }
    let (word, carries, help) = match format {
        Format::Raw if !types.contains_bytes() => ("raw", "strings", "`json`, or `map: . = encode_json(.)` before it"),
        Format::Text if !types.contains_bytes() => {
            ("text", "strings", "`json`, or `map: . = encode_json(.)` before it")
        }
        Format::Csv { .. } if !types.contains_object() => ("csv", "objects", "`map: . = { … }` before it"),
        Format::Avro(schema) => return unfit_avro(said, schema, types),
        Format::Protobuf(schema) => return protobuf::unfit(said, schema, types),
        Format::Registered(avro) => {
            return match (avro.schema(), avro.message()) {
                (Some(schema), _) => unfit_avro(said, schema, types),
                (None, Some(schema)) => protobuf::unfit(said, schema, types),
                (None, None) => Vec::new(),
            };
        }
        _ => return Vec::new(),
    };
    let message = format!("`{word}` carries {carries}, and this output is of type {types}");
    vec![Issue::error(said.span, "format_unfit", message).help(format!("use {help}"))]
}

fn unfit_avro(said: &Node, schema: &AvroSchema, types: &Kind) -> Vec<Issue> {
    let issue = |misfit: String| Issue::error(said.span, "format_unfit", format!("the Avro schema: {misfit}"));
    schema.misfits(types).into_iter().map(issue).collect()
}
