//! `format: protobuf`: where its message type comes from, and whether types fit it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use millstream_codec::{ProtobufFiles, ProtobufSchema, Registered, Subject};
use millstream_filter_api::{Files, Issue, Kind, Node};

use crate::format::{Beside, MAX_SCHEMA, SchemaFile};
use crate::model::Format;
use crate::read;
use crate::schemas::flag;

/// Bytes of a set of descriptors at most.
const MAX_SET: usize = 16 << 20;

/// Whether `format:` is of this.
pub(crate) fn is_meant(format: &Node) -> bool {
    format.as_text() == Some("protobuf") || format.get("protobuf").is_some()
}

fn is_set(path: &str) -> bool {
    let ending = Path::new(path).extension().and_then(OsStr::to_str);
    matches!(ending, Some("desc" | "binpb" | "pb"))
}

/// The message type of a format: said here, or by `schema` beside it, or that of the input. Behind numbers of a registry where one is
/// in force.
pub(crate) fn read(node: &Node, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Option<Format> {
    let said = node.get("protobuf");
    let schema = match (said.and_then(|said| said.get("schema")), beside.schema, beside.input) {
        (Some(at), ..) => {
            let path = at.as_text().filter(|path| !path.is_empty())?;
            if !ProtobufFile::is_named(path) {
                let message = format!("`{path}` is no Protobuf by its name");
                let issue = Issue::error(at.span, "schema_invalid", message);
                issues.push(issue.help("name a file that ends with `.proto`, `.desc`, `.binpb` or `.pb`"));
                return None;
            }
            Some(file(at, path, said, beside.files, issues)?)
        }
        (None, Some(SchemaFile::Protobuf(schema)), _) => Some(schema.clone()),
        (None, None, _) if beside.said_schema => return None,
        (None, Some(_), _) => {
            let message = "`protobuf` needs a `.proto` file, and the schema of the source is none by its name";
            let issue = Issue::error(node.span, "schema_invalid", message);
            issues.push(issue.help("name a file that ends with `.proto`, `.desc`, `.binpb` or `.pb`"));
            return None;
        }
        (None, None, Some(Format::Protobuf(schema))) => Some(of_input(schema, said, issues)?),
        (None, None, Some(Format::Registered(input))) if input.is_protobuf() => match input.message() {
            Some(schema) => Some(of_input(schema, said, issues)?),
            None => None,
        },
        // There is no schema to write by.
        (None, None, Some(_)) => return missing(node, beside, issues),
        (None, None, None) => None,
    };
    framed(node, said, schema, beside, issues)
}

fn missing(node: &Node, beside: &Beside<'_>, issues: &mut Vec<Issue>) -> Option<Format> {
    let issue = Issue::error(node.span, "missing_key", "`protobuf` needs a schema");
    issues.push(issue.help(match beside.input {
        Some(_) => "write `to: { format: { protobuf: { schema: FILE.proto } } }`",
        None => "write `schema: FILE.proto` beside it, or name a schema registry with `registry: { url: … }`",
    }));
    None
}

fn framed(
    node: &Node,
    said: Option<&Node>,
    schema: Option<ProtobufSchema>,
    beside: &Beside<'_>,
    issues: &mut Vec<Issue>,
) -> Option<Format> {
    let wanted = said.and_then(|said| said.get("registry"));
    let bare = wanted.and_then(flag) == Some(false);
    let [strategy, register] = ["subject", "register"].map(|key| said.and_then(|said| said.get(key)));
    let Some(registry) = beside.registry.filter(|_| !bare) else {
        if let Some(at) = wanted.filter(|_| !bare).or(strategy).or(register) {
            let issue = Issue::error(at.span, "missing_key", "no schema registry is named");
            issues.push(issue.help("write `registry: { url: … }` into the pipeline or into `millstream.yaml`"));
            return None;
        }
        return schema.map(Format::Protobuf).or_else(|| missing(node, beside, issues));
    };
    let registry = Arc::clone(registry);
    let wide = said.and_then(|said| read::text(said, "uint64")) == Some("text");
    let (Some(schema), Some(topic)) = (&schema, beside.topic) else {
        let named = said.and_then(|said| said.get("message")).filter(|_| schema.is_none());
        if let Some(at) = named {
            let issue = Issue::error(at.span, "conflicting_keys", "`message` is of a schema, and none is named");
            issues.push(issue.help("without a schema each payload is the message that it says it is"));
        }
        if let Some(at) = strategy.or(register) {
            let what = "`subject` and `register` are of an output that has a schema";
            issues.push(Issue::error(at.span, "conflicting_keys", what));
        }
        return Some(Format::Registered(Registered::protobuf(registry, schema, wide, None)));
    };
    let text = match (schema.files().text(), schema.files().imports().as_slice()) {
        (Some(text), []) => text.to_owned(),
        (None, _) => {
            let message = "a set of descriptors as the schema of an output with a registry is not supported yet";
            issues.push(Issue::error(node.span, "not_supported_yet", message).help("name a `.proto` file"));
            return None;
        }
        (Some(_), imports) => {
            let message = format!(
                "an output with a registry whose schema imports other files (`{}`) is not supported yet",
                imports.join("`, `")
            );
            let issue = Issue::error(node.span, "not_supported_yet", message);
            issues.push(issue.help("put all in one `.proto` file, or write messages alone with `registry: false`"));
            return None;
        }
    };
    let name = match strategy.and_then(Node::as_text) {
        Some("record") => schema.name().to_owned(),
        Some("topic-record") => format!("{topic}-{}", schema.name()),
        _ => format!("{topic}-value"),
    };
    let subject = Subject { name, schema: text, protobuf: true, register: register.and_then(flag).unwrap_or(false) };
    Some(Format::Registered(Registered::protobuf(registry, Some(schema.clone()), wide, Some(subject))))
}

/// The input's message, or another one of its file.
fn of_input(schema: &ProtobufSchema, said: Option<&Node>, issues: &mut Vec<Issue>) -> Option<ProtobufSchema> {
    let (message, uint64) = (said.and_then(|said| said.get("message")), said.and_then(|said| said.get("uint64")));
    if message.is_none() && uint64.is_none() {
        return Some(schema.clone());
    }
    let name = message.and_then(Node::as_text).unwrap_or_else(|| schema.name());
    let wide = uint64.and_then(Node::as_text) == Some("text");
    schema.files().message(Some(name), wide).map_err(|why| issues.push(misnamed(message, why))).ok()
}

fn misnamed(at: Option<&Node>, why: String) -> Issue {
    Issue::error(at.map_or_else(Default::default, |at| at.span), "schema_invalid", format!("the schema is {why}"))
}

/// Reads a file and what it imports, and takes the message that `said` names.
pub(crate) fn file(
    node: &Node,
    path: &str,
    said: Option<&Node>,
    files: &dyn Files,
    issues: &mut Vec<Issue>,
) -> Option<ProtobufSchema> {
    let all = said.and_then(|said| said.get("include")).and_then(Node::as_list).unwrap_or(&[]);
    let wanted = ProtobufFile {
        path,
        include: all.iter().filter_map(Node::as_text).collect(),
        message: said.and_then(|said| read::text(said, "message")),
        wide: said.and_then(|said| read::text(said, "uint64")) == Some("text"),
    };
    match wanted.load(files) {
        Ok(schema) => Some(schema),
        Err((code, why)) => {
            let issue = Issue::error(node.span, code, why);
            let help = match &issue.message {
                why if why.contains("imports") => {
                    "folders where imports are looked for are named by `include: [FOLDER]` beside `message`"
                }
                why if why.contains("message") => "write `format: { protobuf: { message: NAME } }`",
                _ => "",
            };
            issues.push(if help.is_empty() { issue } else { issue.help(help) });
            None
        }
    }
}

/// A file of Protobuf, and which of its messages is meant.
pub struct ProtobufFile<'a> {
    /// Its path; a `.proto` file, or a set of descriptors by its ending.
    pub path: &'a str,
    /// Folders where imports are looked for, before its own.
    pub include: Vec<&'a str>,
    /// The message; the only one if it is not said.
    pub message: Option<&'a str>,
    /// Fields of 64 bits without sign are text.
    pub wide: bool,
}

impl ProtobufFile<'_> {
    /// Whether a file is one of Protobuf, by its ending.
    pub fn is_named(path: &str) -> bool {
        path.ends_with(".proto") || is_set(path)
    }

    /// Reads it and what it imports.
    ///
    /// # Errors
    /// A code and what is wrong, lower case, no full stop.
    pub fn load(&self, files: &dyn Files) -> Result<ProtobufSchema, (&'static str, String)> {
        let path = self.path;
        let limit = if is_set(path) { MAX_SET } else { MAX_SCHEMA };
        let bytes = match files.read(Path::new(path)) {
            Ok(bytes) if bytes.len() <= limit => bytes,
            Ok(_) => return Err(("file_too_large", format!("the schema `{path}` is larger than {limit} bytes"))),
            Err(error) => return Err(("file_unreadable", format!("cannot read the schema `{path}`: {error}"))),
        };
        let compiled = if is_set(path) {
            ProtobufFiles::descriptor_set(&bytes)
        } else {
            let not_text = |_| ("schema_invalid", format!("the schema `{path}` is not UTF-8"));
            let text = String::from_utf8(bytes).map_err(not_text)?;
            let folders = self.folders();
            let named = folders.iter().find_map(|folder| Path::new(path).strip_prefix(folder).ok());
            let name = named.unwrap_or(Path::new(path)).to_string_lossy().replace('\\', "/");
            ProtobufFiles::compile(&name, &text, &mut |import| imported(import, &folders, files))
        };
        let schema = compiled.and_then(|files| files.message(self.message, self.wide));
        schema.map_err(|why| ("schema_invalid", format!("the schema `{path}` is {why}")))
    }

    /// Where imports are looked for.
    fn folders(&self) -> Vec<PathBuf> {
        let own = Path::new(self.path).parent().map(Path::to_path_buf);
        self.include.iter().map(PathBuf::from).chain(own).collect()
    }
}

fn imported(import: &str, folders: &[PathBuf], files: &dyn Files) -> Option<Result<String, String>> {
    // Nothing outside of the folders is read.
    if !Path::new(import).components().all(|part| matches!(part, Component::Normal(_))) {
        return Some(Err("no path of a file below".to_owned()));
    }
    for folder in folders {
        match files.read(&folder.join(import)) {
            Ok(bytes) if bytes.len() > MAX_SCHEMA => return Some(Err(format!("it is larger than {MAX_SCHEMA} bytes"))),
            Ok(bytes) => return Some(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Some(Err(format!("cannot read it: {error}"))),
        }
    }
    None
}

/// A `.proto` file beside another format says nothing of its payloads.
pub(crate) fn of_another(node: &Node, format: &Format) -> Option<Issue> {
    let meant = node.get("format").is_some_and(is_meant);
    if matches!(format, Format::Protobuf(_) | Format::Registered(_)) || meant {
        return None;
    }
    let at = node.get("schema").map_or(node.span, |schema| schema.span);
    let issue = Issue::error(at, "conflicting_keys", "a schema of Protobuf goes with `format: protobuf`");
    Some(issue.help("add `format: protobuf`, or name a JSON Schema"))
}

/// By the types no record of this output could be written so.
pub(crate) fn unfit(said: &Node, schema: &ProtobufSchema, types: &Kind) -> Vec<Issue> {
    let issue = |misfit: String| Issue::error(said.span, "format_unfit", format!("the Protobuf message: {misfit}"));
    schema.misfits(types).into_iter().map(issue).collect()
}
