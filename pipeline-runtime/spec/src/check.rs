//! From a file to a checked pipeline, or to everything that is wrong with it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use millstream_filter_api::{Files, Issue, Node, Severity, Span};

use crate::compensate::Made;
use crate::defaults::{self, Options, TOPIC_SETTINGS};
use crate::inlets::has_ingest;
use crate::isolate::{self, Given, Owners};
use crate::jobs::{self, Tracking};
use crate::link::{self, Linking};
use crate::model::{Delivery, Pipeline, Stage};
use crate::reference::Resolver;
use crate::registry::Registry;
use crate::source::{self, Reading, Said};
use crate::stage::Draft;
use crate::{callback, compensate, language, priority, read, schedule, schemas, shape, tests_section, tree, waiting};

/// A pipeline file as it was read.
pub struct SourceFile {
    /// Where from; relative paths in it start at its folder.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A pipeline and the warnings about it, or what is wrong with it (warnings included).
pub type Verdict = Result<(Pipeline, Vec<Issue>), Vec<Issue>>;

/// Checks one file. `files` reads what the pipeline names, relative to the pipeline's folder; `env` is the environment
/// for `${env:NAME}`. Issues come sorted by place.
pub fn check(
    file: &SourceFile,
    registry: &Registry,
    files: &dyn Files,
    env: &dyn Fn(&str) -> Option<String>,
) -> Verdict {
    check_one(file, registry, files, env, &|_, _| true).verdict()
}

/// Checks several files, each for itself and then with each other: names and topics that two of them claim.
/// `files_of` gives what reads the files beside one of them. Verdicts come in the order of `files`.
pub fn check_all<'f>(
    files: &[SourceFile],
    registry: &Registry,
    files_of: &dyn Fn(&SourceFile) -> Box<dyn Files + 'f>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<Verdict> {
    check_all_to_run(files, registry, files_of, env, &|_, _| true)
}

/// The same for a process that runs only some stages: `runs` is asked for (pipeline, stage). What isolated stages that it
/// does not run keep secret is not looked up; `secret` stands in its place.
pub fn check_all_to_run<'f>(
    files: &[SourceFile],
    registry: &Registry,
    files_of: &dyn Fn(&SourceFile) -> Box<dyn Files + 'f>,
    env: &dyn Fn(&str) -> Option<String>,
    runs: &dyn Fn(&str, &str) -> bool,
) -> Vec<Verdict> {
    let mut all: Vec<Found> = files.iter().map(|f| check_one(f, registry, files_of(f).as_ref(), env, runs)).collect();
    between(files, &mut all);
    all.into_iter().map(Found::verdict).collect()
}

/// What a check of one file found.
#[derive(Default)]
struct Found {
    pipeline: Option<Pipeline>,
    issues: Vec<Issue>,
    /// The pipeline's name and its place.
    name: Option<(String, Span)>,
    /// Topics that its stages write, and where each is said.
    topics: Vec<(String, Span)>,
    /// Paths that its sources serve, and where each is said.
    paths: Vec<(String, Span)>,
}

impl Found {
    fn sort(&mut self) {
        self.issues.sort_by(|a, b| (a.span, a.severity, a.code).cmp(&(b.span, b.severity, b.code)));
        self.issues.dedup();
        // Warnings never push an error out.
        if self.issues.len() > shape::MAX_ISSUES && self.issues.iter().any(|i| i.severity == Severity::Error) {
            self.issues.retain(|i| i.severity == Severity::Error);
        }
        self.issues.truncate(shape::MAX_ISSUES);
    }

    fn verdict(mut self) -> Verdict {
        self.sort();
        let failed = self.issues.iter().any(|i| i.severity == Severity::Error);
        match self.pipeline {
            Some(pipeline) if !failed => Ok((pipeline, self.issues)),
            _ => Err(self.issues),
        }
    }
}

fn check_one(
    file: &SourceFile,
    registry: &Registry,
    files: &dyn Files,
    env: &dyn Fn(&str) -> Option<String>,
    runs: &dyn Fn(&str, &str) -> bool,
) -> Found {
    let (node, mut issues) = tree::parse(&file.bytes);
    let Some(mut node) = node else { return Found { issues, ..Found::default() } };
    issues.extend(isolate::not_named(&node));
    let plain = |node: &Node| {
        let mut node = node.clone();
        Resolver::new(files, env, Vec::new()).resolve(&mut node);
        node.as_text().unwrap_or("").to_owned()
    };
    let owners = Owners::read(&node, file.path.parent().unwrap_or(Path::new("")), &plain, runs);
    let masked = (!owners.is_empty()).then(|| {
        let mut masked = node.clone();
        let resolver = Resolver::new(files, env, Vec::new());
        Resolver { owners: owners.clone(), masked: true, ..resolver }.resolve_pipeline(&mut masked);
        masked
    });
    let mut resolver = Resolver { owners, ..Resolver::new(files, env, issues) };
    resolver.resolve_pipeline(&mut node);
    let Resolver { secrets, issues: early, refused, given, .. } = resolver;
    let isolation = Isolation { masked, given };
    let mut found = Found::default();
    shape::check(&node, &language::PIPELINE, registry, &mut found.issues);
    if node.as_map().is_some() {
        meaning(&node, file, registry, files, &isolation, &mut found);
    }
    // A value that was refused stands in the tree as nothing, or as it was: what is said about it once is enough.
    let place = |span: &Span| (span.line, span.col);
    let said: HashSet<(u32, u32)> = early.iter().map(|i| place(&i.span)).chain(refused.iter().map(place)).collect();
    found.issues.retain(|i| !said.contains(&place(&i.span)));
    found.issues.extend(early);
    found.sort();
    found.issues.iter_mut().for_each(|i| secrets.mask(i));
    found
}

/// What is known of the secrets of isolated stages.
struct Isolation {
    /// The file without them; `None` where there are none.
    masked: Option<Node>,
    given: Vec<Given>,
}

impl Isolation {
    /// Says of the stages which of them are isolated.
    fn apply(&self, root: &Node, stages: &mut [Stage], issues: &mut Vec<Issue>) {
        let list = |root: &Node| root.get("stages").and_then(Node::as_list).map(<[Node]>::to_vec).unwrap_or_default();
        let masked = self.masked.as_ref().map(list).unwrap_or_default();
        for (place, node) in list(root).iter().enumerate() {
            let name = node.get("name").and_then(Node::as_text);
            let Some(stage) = stages.iter_mut().find(|s| Some(s.name.as_str()) == name) else { continue };
            isolate::read(node, place, stage, &self.given, issues);
            priority::read(node, stage);
            let shown = masked.get(place).and_then(|node| Draft::read(node, &Options::default(), &mut Vec::new()));
            for (filter, shown) in stage.filters.iter_mut().zip(shown.into_iter().flat_map(|draft| draft.filters)) {
                filter.options = shown.with;
            }
        }
    }
}

/// Everything beyond the shape.
fn meaning(
    node: &Node,
    file: &SourceFile,
    registry: &Registry,
    files: &dyn Files,
    isolation: &Isolation,
    found: &mut Found,
) {
    let issues = &mut found.issues;
    let root = node;
    let registry = &schemas::in_force(root, registry, files, issues);
    let waiting = waiting::expand(root, registry, issues);
    let node = waiting.as_ref().unwrap_or(root);
    let leveled = priority::expand(node, registry, issues);
    let node = leveled.as_ref().unwrap_or(node);
    let name = node.get("pipeline");
    let pipeline = name.and_then(Node::as_text).unwrap_or("").to_owned();
    let base = Options { ends_job: compensate::is_wanted(node), ..Options::default() };
    let defaults = node.get("defaults").map_or(base.clone(), |d| base.with(d, issues));
    issues.extend(compensate::nothing_to_compensate(node));
    let topics = defaults::topics(&TOPIC_SETTINGS, node.get("defaults").and_then(|d| d.get("topics")));
    found.name = name.map(|n| (pipeline.clone(), n.span));

    let drafts: Vec<Draft<'_>> = node
        .get("stages")
        .and_then(Node::as_list)
        .unwrap_or(&[])
        .iter()
        .take(language::MAX_STAGES)
        .filter_map(|stage| Draft::read(stage, &defaults, issues))
        .collect();
    let said = source::all(node, issues);
    if said.is_empty() {
        return;
    }
    let reading = Reading { registry, files, path: &file.path, pipeline: &pipeline, topics: &topics };
    let mut typeless = false;
    let mut sources = Vec::new();
    for said in &said {
        let before = issues.len();
        let source = source::read(said, &reading, issues);
        // Expressions over a payload of unknown type would fail for that reason alone.
        typeless |= issues[before..].iter().any(|i| i.severity == Severity::Error)
            && (said.node.get("schema").is_some() || said.node.get("generate").is_some())
            && !source.typed;
        sources.push(source);
    }
    if typeless {
        return;
    }
    source::keep_ids_apart(&mut sources);
    found.paths = said.iter().filter_map(source::served).collect();
    issues.extend(source::served_twice(&found.paths));
    let all: Vec<&Said<'_>> = said.iter().collect();
    let linking = Linking {
        tracked: jobs::are_tracked(node.get("jobs"), &sources, &all, &drafts),
        pipeline: &pipeline,
        sources: &sources,
        said: &said,
        registry,
        files,
        topics: &topics,
        defaults: &defaults,
    };
    let mut linked = link::link(&drafts, &linking, issues);
    isolation.apply(root, &mut linked.stages, issues);
    let mut keep = linked.read.iter();
    let said: Vec<&Said<'_>> = said.iter().zip(&linked.read).filter(|(_, read)| **read).map(|(said, _)| said).collect();
    sources.retain(|_| keep.next().is_some_and(|read| *read));
    if drafts.iter().any(|d| d.options.dedup.is_some()) {
        for (n, (source, said)) in sources.iter().zip(&said).enumerate() {
            let dedups = |s: &Stage| s.dedup.is_some() && s.inputs.iter().any(|i| i.source == Some(n));
            if has_ingest(source) || linked.stages.iter().any(dedups) {
                issues.extend(source::ids_may_not_meet(source, said.node));
            }
        }
    }
    for (n, (source, said)) in sources.iter().zip(&said).enumerate() {
        let reads = |s: &&Stage| s.inputs.iter().any(|i| i.source == Some(n));
        let careless = linked.stages.iter().filter(reads).find(|s| s.dedup.is_none());
        issues.extend(careless.and_then(|stage| source::needs_dedup(source, said.node, &stage.name)));
    }
    let failed = issues.iter().any(|i| i.severity == Severity::Error);
    let stages: &[Stage] = if failed { &[] } else { &linked.stages };
    let tests = tests_section::read(node.get("tests"), stages, &sources, issues);
    let delivery = match read::text(node, "delivery") {
        Some("at_least_once") => Delivery::AtLeastOnce,
        _ => Delivery::ExactlyOnce,
    };
    let tracking = Tracking {
        pipeline: &pipeline,
        delivery,
        sources: &sources,
        stages,
        drafts: &drafts,
        partitions: topics.partitions,
        registry,
    };
    let mut jobs = jobs::read(node.get("jobs"), &said, &tracking, issues);
    for (source, said) in sources.iter().zip(&said) {
        issues.extend(schedule::overlap_issue(source, said.node));
    }
    compensate::limits(&drafts, &sources, &mut linked.stages, issues);
    // Behind all others, and after all that goes by the stages of the file.
    let made = Made { pipeline: &pipeline, registry, files, topics: &topics };
    waiting::add(&drafts, delivery, &made, &mut linked, issues);
    compensate::add(&drafts, &made, &mut linked, issues);
    callback::add(node, jobs.as_mut(), &made, &mut linked, issues);
    found.topics = linked.topics;
    found.pipeline = Some(Pipeline {
        name: pipeline,
        description: read::text(node, "description").unwrap_or("").to_owned(),
        path: file.path.clone(),
        delivery,
        sources,
        jobs,
        stages: linked.stages,
        tests,
    });
}

/// What two files claim.
fn between(files: &[SourceFile], all: &mut [Found]) {
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut topics: HashMap<String, usize> = HashMap::new();
    let mut paths: HashMap<String, (usize, Span)> = HashMap::new();
    for n in 0..all.len() {
        let mut issues = Vec::new();
        let place = |other: usize, span: Span| format!("{}:{}:{}", files[other].path.display(), span.line, span.col);
        if let Some((name, span)) = all[n].name.clone().filter(|(name, _)| !name.is_empty()) {
            if let Some(other) = names.get(&name).copied() {
                let first = all[other].name.as_ref().map_or(Span::default(), |(_, s)| *s);
                let issue = Issue::error(span, "duplicate_pipeline", format!("there are two pipelines `{name}`"));
                issues.push(issue.help(format!("the first is at {}", place(other, first))));
                // Their topics are equal as well: once is enough.
                all[n].issues.extend(issues);
                continue;
            }
            names.insert(name, n);
        }
        for (topic, span) in all[n].topics.clone() {
            match topics.get(&topic).copied() {
                Some(other) if other != n => {
                    let first =
                        all[other].topics.iter().find(|(t, _)| *t == topic).map_or(Span::default(), |(_, s)| *s);
                    let issue = Issue::error(span, "shared_topic", format!("two pipelines write the topic `{topic}`"));
                    issues.push(issue.help(format!("the first is at {}", place(other, first))));
                }
                _ => drop(topics.insert(topic, n)),
            }
        }
        for (path, span) in all[n].paths.clone() {
            match paths.get(&path).copied() {
                Some((other, first)) if other != n => {
                    let issue = Issue::error(span, "shared_path", format!("two pipelines serve the path `{path}`"));
                    issues.push(issue.help(format!("the first is at {}", place(other, first))));
                }
                _ => drop(paths.insert(path, (n, span))),
            }
        }
        all[n].issues.extend(issues);
    }
}
