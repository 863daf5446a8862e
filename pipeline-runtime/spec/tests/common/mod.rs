//! Filters that only pretend, so that the language is tested without the real ones.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Files, FilterSpec, Found, Issue, Kind, Node, NodeKind, Outcome, Outputs,
    Page, Reads, Record,
};
use millstream_spec::model::{Judge, Pipeline};
use millstream_spec::{Registry, SourceFile, Verdict, check, path};

/// Files that a test makes up.
#[derive(Default, Clone)]
pub struct Made(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files for Made {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }
    fn look(&self, path: &Path) -> Found {
        match path.to_str() {
            Some("folder.csv") => Found::Folder,
            Some("none.csv") => Found::Nothing,
            _ => Found::File,
        }
    }
}

pub fn files() -> Made {
    let schema = r#"{"type":"object","required":["order_id"],"properties":{"order_id":{"type":"string"},"line":{"type":"integer"}}}"#;
    let avro = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"note","type":["null","string"],"default":null}]}"#;
    let all = [
        ("order.avsc", avro),
        ("broken.avsc", r#"{"type":"recor"}"#),
        ("order.json", schema),
        (
            "protos/order.proto",
            "syntax = \"proto3\"; package shop; import \"parts/line.proto\"; message Order { string id = 1; int32 n = 2; optional string note = 3; repeated Line lines = 4; }",
        ),
        (
            "protos/parts/line.proto",
            "syntax = \"proto3\"; package shop; message Line { string sku = 1; } message Other { uint64 big = 1; }",
        ),
        ("broken.proto", "syntax = \"proto3\";\nmessage A { int32 = 1; }"),
        ("broken.desc", "no set"),
        ("broken.json", "{"),
        ("prices.csv", "sku,price\nA,1\n"),
        ("token", "s3cr3t-token\n"),
    ];
    Made(all.into_iter().map(|(p, t)| (PathBuf::from(p), t.as_bytes().to_vec())).collect())
}

pub fn env(name: &str) -> Option<String> {
    match name {
        "REPLICAS" => Some("3".into()),
        "SECRET" => Some("hunter2hunter2".into()),
        _ => None,
    }
}

type Check = fn(&Node, &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>>;

struct Pretend {
    name: &'static str,
    schema: &'static str,
    check: Check,
}

struct Nothing;
impl Compute for Nothing {
    fn apply(&mut self, _: &mut Record) -> Outcome {
        Outcome::Forward
    }
}

impl FilterSpec for Pretend {
    fn name(&self) -> &'static str {
        self.name
    }
    fn page(&self) -> Page {
        Page { summary: "pretends", description: "", examples: &[] }
    }
    fn config_schema(&self) -> &'static str {
        self.schema
    }
    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let (outputs, types) = (self.check)(with, cx)?;
        let build = Arc::new(|| Built::Compute(Box::new(Nothing)));
        Ok(Checked {
            outputs,
            types,
            effects: false,
            reads: Reads::Everything,
            build,
            warnings: Vec::new(),
            long: None,
        })
    }
}

/// Stands for a compiler: a word that begins with a dot is a field, which must be there; `oops` is an error.
fn expression(node: &Node, input: &Kind) -> Result<(), Vec<Issue>> {
    let Some(text) = node.as_text() else {
        let message = format!("expected an expression, found {}", node.describe());
        return Err(vec![Issue::error(node.span, "bad_expression", message)]);
    };
    let mut issues = Vec::new();
    for (at, _) in text.match_indices("oops") {
        issues.push(Issue::error(node.span_of(at, at + 4), "bad_expression", "`oops` does not compile"));
    }
    for word in text.split_whitespace().filter(|w| w.starts_with('.')) {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let Some(path) = path::field(word) else { continue };
        if input.at_path(&path).is_undefined() && !text[at..].contains(" = ") {
            issues.push(Issue::error(
                node.span_of(at, at + word.len()),
                "bad_expression",
                format!("no field `{word}`"),
            ));
        }
    }
    if issues.is_empty() { Ok(()) } else { Err(issues) }
}

fn map(with: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    expression(with, cx.input)?;
    let mut kind = cx.input.clone();
    if let Some((target, _)) = with.as_text().and_then(|t| t.split_once(" = "))
        && let Some(path) = path::field(target.trim())
    {
        kind.insert(&path, Kind::float());
    }
    Ok((Outputs::Single, vec![kind]))
}

fn where_(with: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    expression(with, cx.input)?;
    Ok((Outputs::Single, vec![cx.input.clone()]))
}

fn route(with: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    let Some(pairs) = with.as_map() else {
        return Err(vec![Issue::error(with.span, "wrong_type", "expected a map of outputs")]);
    };
    let mut issues = Vec::new();
    for (_, condition) in pairs.iter().filter(|(_, c)| !matches!(c.kind, NodeKind::Bool(_))) {
        issues.extend(expression(condition, cx.input).err().unwrap_or_default());
    }
    if !issues.is_empty() {
        return Err(issues);
    }
    let names: Vec<String> = pairs.iter().filter_map(|(k, _)| k.as_text().map(str::to_owned)).collect();
    let types = vec![cx.input.clone(); names.len()];
    Ok((Outputs::Named(names), types))
}

fn levels(with: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    let names = with.get("levels").and_then(Node::as_list).unwrap_or(&[]);
    let names: Vec<String> = names.iter().filter_map(|n| n.as_text().map(str::to_owned)).collect();
    let types = vec![cx.input.clone(); names.len()];
    Ok((Outputs::Named(names), types))
}

fn take_event(_: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    let mut kind = cx.input.clone();
    kind.insert(&path::field(".event").expect("a field"), Kind::any());
    Ok((Outputs::Single, vec![kind]))
}

fn lookup(with: &Node, cx: &CheckContext<'_>) -> Result<(Outputs, Vec<Kind>), Vec<Issue>> {
    let Some(table) = with.get("table") else {
        return Err(vec![Issue::error(with.span, "missing_key", "`lookup` needs `table`")]);
    };
    let path = table.as_text().unwrap_or("");
    cx.files
        .read(Path::new(path))
        .map_err(|e| vec![Issue::error(table.span, "file_unreadable", format!("cannot read `{path}`: {e}"))])?;
    let mut kind = cx.input.clone();
    if let Some(into) = with.get("into").and_then(Node::as_text).and_then(path::field) {
        kind.insert(&into, Kind::bytes().or_null());
    }
    Ok((Outputs::Single, vec![kind]))
}

pub fn registry() -> Registry {
    let text = r#"{"type":"string"}"#;
    let all: [(&'static str, &'static str, Check); 8] = [
        ("correlate", r#"{"type":"object"}"#, |_, cx| Ok((Outputs::Single, vec![cx.input.clone()]))),
        ("take_event", r#"{"type":"object"}"#, take_event),
        ("levels", r#"{"type":"object"}"#, levels),
        ("map", text, map),
        ("where", text, where_),
        (
            "route",
            r##"{"type":"object","additionalProperties":{"$ref":"#/$defs/c"},"$defs":{"c":{"type":["string","boolean"]}}}"##,
            route,
        ),
        ("lookup", r#"{"type":"object"}"#, lookup),
        ("validate", r#"{"type":"object"}"#, |_, cx| Ok((Outputs::Single, vec![cx.input.clone()]))),
    ];
    let all = all.map(|(name, schema, check)| Arc::new(Pretend { name, schema, check }) as Arc<dyn FilterSpec>);
    let made = |node: &Node| expression(node, &Kind::any()).map(|()| Kind::any_object());
    Registry::new(all)
        .with_generator(made)
        .with_schedule(made)
        .with_progress(move |node| made(node).map(drop))
        .with_callback(|_| {
            let build = || Built::Compute(Box::new(Nothing));
            let checked = Checked {
                outputs: Outputs::Single,
                types: vec![Kind::any()],
                effects: true,
                reads: Reads::Everything,
                build: Arc::new(build),
                warnings: Vec::new(),
                long: None,
            };
            Ok((checked, Judge::new(Arc::new(|_| Ok(())))))
        })
}

pub fn run(yaml: &str) -> Verdict {
    let file = SourceFile { path: "some/orders.yaml".into(), bytes: yaml.as_bytes().to_vec() };
    check(&file, &registry(), &files(), &env)
}

/// The pipeline and its warnings; fails with the issues as people read them.
pub fn good(yaml: &str) -> (Pipeline, Vec<Issue>) {
    match run(yaml) {
        Ok(found) => found,
        Err(issues) => panic!("{}", millstream_spec::render(Path::new("p.yaml"), yaml.as_bytes(), &issues)),
    }
}

pub fn bad(yaml: &str) -> Vec<Issue> {
    match run(yaml) {
        Ok((_, warnings)) => panic!("passed, with {warnings:?}:\n{yaml}"),
        Err(issues) => issues,
    }
}
