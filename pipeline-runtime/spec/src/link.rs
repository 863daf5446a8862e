//! Stages put together: who reads whom, in which order types flow, which topics there are.

use std::collections::{BTreeSet, HashMap};

use millstream_filter_api::{Files, Issue, Node, Span};

use crate::defaults::Options;
use crate::inlets::{self, Begins, Inlets};
use crate::model::{Format, Input, Output, Source, Stage, TopicSettings};
use crate::outputs::{self, Around, Placed};
use crate::registry::Registry;
use crate::source::Said;
use crate::spelling;
use crate::stage::{Draft, Flow, FlowContext, Schemas};
use crate::taint::Taint;
use crate::{shape, topics, types};

/// What linking needs to know.
pub(crate) struct Linking<'a> {
    pub pipeline: &'a str,
    /// All that the file has.
    pub sources: &'a [Source],
    /// Where each of them stands.
    pub said: &'a [Said<'a>],
    pub registry: &'a Registry,
    pub files: &'a dyn Files,
    pub topics: &'a TopicSettings,
    pub defaults: &'a Options,
    /// Whether jobs are.
    pub tracked: bool,
}

/// What a stage reads, by index.
#[derive(Clone, Copy)]
enum Upstream {
    Source(usize),
    Stage(usize),
}

/// Stages as the runtime sees them, and where the topic of each output is said.
pub(crate) struct Linked {
    pub stages: Vec<Stage>,
    /// By source of the file: whether a stage reads it.
    pub read: Vec<bool>,
    pub topics: Vec<(String, Span)>,
}

struct Linker<'a, 'n> {
    cx: &'a Linking<'a>,
    drafts: &'a [Draft<'n>],
    upstream: Vec<Vec<(Upstream, Option<&'n Node>)>>,
    inlets: Inlets,
    /// Per stage, once it is settled: the sources whose records reach it.
    reached: Vec<BTreeSet<usize>>,
    /// Per stage, in file order, once it is settled; `None` inside where a filter did not pass.
    done: Vec<Option<Settled>>,
    read: Vec<Vec<usize>>,
    issues: &'a mut Vec<Issue>,
}

struct Settled {
    flow: Flow,
    inputs: Vec<Input>,
    outputs: Option<Vec<Placed>>,
}

/// Links the stages of a pipeline; stages come back only where nothing is in the way.
pub(crate) fn link(drafts: &[Draft<'_>], cx: &Linking<'_>, issues: &mut Vec<Issue>) -> Linked {
    check_names(drafts, cx, issues);
    let mut linker = Linker {
        cx,
        drafts,
        upstream: Vec::new(),
        inlets: Inlets::new(&[], &[], Vec::new()),
        reached: vec![BTreeSet::new(); drafts.len()],
        done: drafts.iter().map(|_| None).collect(),
        read: vec![Vec::new(); drafts.len()],
        issues,
    };
    linker.upstream = (0..drafts.len()).map(|n| linker.upstream_of(n)).collect();
    let reads = |n: usize| linker.upstream.iter().flatten().any(|(u, _)| matches!(u, Upstream::Source(s) if *s == n));
    let read: Vec<bool> = (0..cx.sources.len()).map(reads).collect();
    let begins = (0..cx.sources.len()).map(|n| linker.begins(n)).collect();
    linker.inlets = Inlets::new(cx.sources, &read, begins);
    // With a name that is nobody's, who reads what is not known.
    if linker.upstream.iter().all(|all| !all.is_empty()) {
        linker.issues.extend(inlets::unread(cx.said, &read));
    }
    let order = linker.order();
    for n in &order {
        let settled = linker.settle(*n);
        linker.done[*n] = Some(settled);
    }
    linker.unread(order.last().copied());
    linker.finish(read)
}

fn check_names(drafts: &[Draft<'_>], cx: &Linking<'_>, issues: &mut Vec<Issue>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for draft in drafts {
        if let Some(first) = seen.get(draft.name) {
            let issue = Issue::error(draft.span, "duplicate_name", format!("there are two stages `{}`", draft.name));
            issues.push(issue.help(format!("the first is at {}:{}", first.line, first.col)));
        } else {
            issues.extend(inlets::taken_name(draft, cx.sources, cx.tracked));
        }
        seen.entry(draft.name).or_insert(draft.span);
    }
}

impl<'n> Linker<'_, 'n> {
    /// Whether the jobs of a source begin in a stage of ours, as several stages read it.
    fn begins(&self, source: usize) -> Option<Begins> {
        let is = |(u, _): &(Upstream, Option<&Node>)| matches!(u, Upstream::Source(s) if *s == source);
        let readers = self.drafts.iter().zip(&self.upstream).filter(|(_, upstream)| upstream.iter().any(is));
        let readers: Vec<&Draft<'_>> = readers.map(|(draft, _)| draft).collect();
        // Who has none, or a short one, is to be given what comes again.
        let windows: Option<Vec<_>> = readers.iter().map(|draft| draft.options.dedup.clone()).collect();
        let dedup = windows.and_then(|all| all.into_iter().min_by_key(|dedup| dedup.window));
        (self.cx.tracked && readers.len() > 1).then_some(Begins { dedup })
    }

    /// What a stage reads, by the names of stages alone; outputs are looked up once they are known.
    fn upstream_of(&mut self, n: usize) -> Vec<(Upstream, Option<&'n Node>)> {
        let draft = &self.drafts[n];
        if draft.from.is_empty() {
            return match (n, self.cx.sources) {
                (0, [_]) => vec![(Upstream::Source(0), None)],
                (0, several) => {
                    let names: Vec<&str> = several.iter().map(|s| s.name.as_str()).collect();
                    let message = format!("the pipeline has several sources: say which of them `{}` reads", draft.name);
                    let one = names.iter().map(|name| format!("`from: {name}`")).collect::<Vec<_>>().join(", ");
                    let issue = Issue::error(draft.span, "ambiguous_from", message);
                    self.issues.push(issue.help(format!("{one}, or several: `from: [{}]`", names.join(", "))));
                    Vec::new()
                }
                _ => vec![(Upstream::Stage(n - 1), None)],
            };
        }
        let mut all: Vec<(Upstream, Option<&'n Node>)> = Vec::new();
        for (m, &node) in draft.from.iter().enumerate() {
            let Some(word) = node.as_text() else { continue };
            if draft.from[..m].iter().any(|o| o.as_text() == Some(word)) {
                self.issues.push(Issue::error(node.span, "duplicate_name", format!("`{word}` is read twice")));
                continue;
            }
            let stage = word.split('.').next().unwrap_or("");
            if let Some(source) = self.cx.sources.iter().position(|s| s.name == word) {
                all.push((Upstream::Source(source), Some(node)));
            } else if let Some(found) = self.drafts.iter().position(|d| d.name == stage) {
                all.push((Upstream::Stage(found), Some(node)));
            } else if (crate::rules::FROM.fits)(word) {
                let issue = Issue::error(node.span, "unknown_from", format!("there is no stage or source `{word}`"));
                let names = self.drafts.iter().map(|d| d.name).filter(|d| *d != draft.name);
                let names: Vec<&str> = names.chain(self.cx.sources.iter().map(|s| s.name.as_str())).collect();
                let help = spelling::nearest(stage, names.iter().copied()).map(|near| {
                    let rest = word.strip_prefix(stage).unwrap_or("");
                    format!("did you mean `{near}{rest}`?")
                });
                self.issues.push(shape::with_help(issue, help.or_else(|| spelling::help(word, &names))));
            }
        }
        all
    }

    /// Stages such that each comes after what it reads. A cycle is reported once and cut.
    fn order(&mut self) -> Vec<usize> {
        let count = self.drafts.len();
        let mut order = Vec::with_capacity(count);
        let mut placed = vec![false; count];
        loop {
            let ready = |n: &usize, placed: &[bool]| {
                let mut upstream = self.upstream[*n].iter();
                !placed[*n]
                    && upstream
                        .all(|(u, _)| matches!(u, Upstream::Stage(s) if placed[*s]) || matches!(u, Upstream::Source(_)))
            };
            if let Some(next) = (0..count).find(|n| ready(n, &placed)) {
                placed[next] = true;
                order.push(next);
            } else if let Some(stuck) = (0..count).find(|n| !placed[*n]) {
                self.report_cycle(stuck, &placed);
                // Every stage that waits for a cycle would be stuck as well: let all of them through.
                order.extend((0..count).filter(|n| !placed[*n]));
                return order;
            } else {
                return order;
            }
        }
    }

    fn report_cycle(&mut self, stuck: usize, placed: &[bool]) {
        // Going upstream from a stuck stage ends in a cycle: every stuck stage reads a stuck one.
        let mut path: Vec<usize> = Vec::new();
        let mut at = stuck;
        while !path.contains(&at) {
            path.push(at);
            let next = self.upstream[at].iter().find_map(|(u, _)| match u {
                Upstream::Stage(s) if !placed[*s] => Some(*s),
                _ => None,
            });
            match next {
                Some(next) => at = next,
                None => return,
            }
        }
        let start = path.iter().position(|p| *p == at).unwrap_or(0);
        let cycle = &path[start..];
        // Shown at the first stage of the file that is in it.
        let first = cycle.iter().copied().min().unwrap_or(at);
        let turn = cycle.iter().position(|c| *c == first).unwrap_or(0);
        let names: Vec<&str> = (0..=cycle.len()).map(|k| self.drafts[cycle[(turn + k) % cycle.len()]].name).collect();
        let span = self.upstream[first].iter().find_map(|(_, n)| n.map(|n| n.span)).unwrap_or(self.drafts[first].span);
        let message = format!("the stages read each other in a circle: {}", names.join(" <- "));
        self.issues
            .push(Issue::error(span, "cycle", message).help("records flow one way: from the source to the last stage"));
    }

    fn settle(&mut self, n: usize) -> Settled {
        let draft = &self.drafts[n];
        let mut inputs = Vec::new();
        let mut taint: Option<Taint> = None;
        let mut counts: Vec<(i32, String)> = Vec::new();
        for (upstream, node) in self.upstream[n].clone() {
            match upstream {
                Upstream::Source(s) => {
                    let source = &self.cx.sources[s];
                    let input = self.inlets.input(s, source, self.cx.pipeline);
                    if source.writes() || input.from_stage.is_some() {
                        counts.push((self.cx.topics.partitions, source.name.clone()));
                    }
                    self.reached[n].insert(s);
                    inputs.push(input);
                }
                Upstream::Stage(s) => match self.stage_input(n, s, node, &mut counts) {
                    Some(input) => inputs.push(input),
                    None => taint = Some(Taint::everything()),
                },
            }
        }
        if let [(first, name), rest @ ..] = counts.as_slice()
            && let Some((other, other_name)) = rest.iter().find(|(c, _)| c != first)
        {
            let span = draft.from.first().map_or(draft.span, |f| f.span);
            let message = format!(
                "inputs of a stage have equal partition counts, and `{name}` has {first}, `{other_name}` has {other}"
            );
            self.issues.push(Issue::error(span, "partitions_differ", message));
        }
        if inputs.is_empty() {
            taint = Some(Taint::everything());
        }
        self.issues.extend(inlets::read_twice(draft, &inputs));
        for (upstream, _) in &self.upstream[n] {
            let Upstream::Stage(s) = upstream else { continue };
            let reached = self.reached[*s].clone();
            self.reached[n].extend(reached);
            if let Some(more) = self.done[*s].as_ref().and_then(|d| d.flow.taint.as_ref()) {
                taint.get_or_insert_default().merge(more);
            }
        }
        let input = types::together(inputs.iter_mut().map(|i| &mut i.types).collect());
        let cx = FlowContext {
            registry: self.cx.registry,
            files: self.cx.files,
            schemas: schemas(self.cx, &self.reached[n]),
        };
        let mut flow = draft.flow(&input, taint, &cx, self.issues);
        let group = format!("{}.{}", self.cx.pipeline, draft.name);
        let given = flow.outputs.take();
        let taint = flow.taint.as_ref();
        let around = Around { group: &group, topics: self.cx.topics, files: self.cx.files, registry: self.cx.registry };
        let outputs = given.map(|g| outputs::settle(draft, g, taint, &inputs, &around, self.issues));
        Settled { flow, inputs, outputs }
    }

    /// An input from another stage; `None` where its outputs are not known.
    fn stage_input(
        &mut self,
        reader: usize,
        stage: usize,
        node: Option<&Node>,
        counts: &mut Vec<(i32, String)>,
    ) -> Option<Input> {
        let shift = self.inlets.ingests();
        let upstream = &self.drafts[stage];
        let settled = self.done[stage].as_ref()?;
        let Some(outputs) = settled.outputs.as_ref() else {
            // Its outputs are not known; the payload is, but for what taints it.
            let topic = format!("{}.{}", self.cx.pipeline, upstream.name);
            let types = settled.flow.kind.clone();
            return Some(Input { topic, format: Format::Json, types, from_stage: Some(stage + shift), source: None });
        };
        let names: Vec<&str> = outputs.iter().filter_map(|o| o.output.name.as_deref()).collect();
        let word = node.and_then(Node::as_text).unwrap_or(upstream.name);
        let wanted = word.split_once('.').map(|(_, o)| o);
        let span = node.map_or(self.drafts[reader].span, |n| n.span);
        let full: Vec<String> = names.iter().map(|o| format!("{}.{o}", upstream.name)).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        let index = match (wanted, names.is_empty()) {
            (None, true) => 0,
            (None, false) => {
                let message = format!(
                    "`{}` has several outputs: say which one `{}` reads",
                    upstream.name, self.drafts[reader].name
                );
                let list = full.iter().map(|f| format!("`from: {f}`")).collect::<Vec<_>>().join(", ");
                self.issues.push(Issue::error(span, "ambiguous_from", message).help(list));
                return None;
            }
            (Some(output), false) if names.contains(&output) => names.iter().position(|o| *o == output)?,
            (Some(output), false) => {
                let message = format!("`{}` has no output `{output}`", upstream.name);
                let issue = Issue::error(span, "unknown_from", message);
                self.issues.push(shape::with_help(issue, spelling::help(word, &full)));
                return None;
            }
            (Some(_), true) => {
                let message = format!("`{}` has one output without a name", upstream.name);
                let issue = Issue::error(span, "unknown_from", message);
                self.issues.push(issue.help(format!("write `from: {}`", upstream.name)));
                return None;
            }
        };
        let placed = &outputs[index];
        if placed.counted {
            counts.push((placed.output.settings.partitions, word.to_owned()));
        }
        self.read[stage].push(index);
        Some(Input {
            topic: placed.output.topic.clone(),
            format: placed.output.format.clone(),
            types: placed.output.types.clone(),
            from_stage: Some(stage + shift),
            source: None,
        })
    }

    /// Warns of outputs that nobody reads and nobody wrote a word about. What the last stage in the order of reading
    /// writes is the result.
    fn unread(&mut self, last: Option<usize>) {
        // With errors about it, who reads what is not known.
        if self.done.iter().any(|d| d.as_ref().is_none_or(|d| d.outputs.is_none())) {
            return;
        }
        for (n, draft) in self.drafts.iter().enumerate().filter(|(n, _)| Some(*n) != last) {
            let Some(outputs) = self.done[n].as_ref().and_then(|d| d.outputs.as_ref()) else { continue };
            for (index, placed) in outputs.iter().enumerate() {
                if placed.meant || self.read[n].contains(&index) {
                    continue;
                }
                let (what, say) = match &placed.output.name {
                    Some(name) => (format!("{}.{name}", draft.name), format!("outputs: {{ {name}: {{}} }}")),
                    None => (draft.name.to_owned(), format!("to: {}", placed.output.topic)),
                };
                let message = format!("no stage reads the output `{what}`");
                let issue = Issue::warning(placed.span, "unread_output", message);
                self.issues.push(issue.help(format!("if it is meant for others, say so: `{say}`")));
            }
        }
    }

    fn finish(self, read: Vec<bool>) -> Linked {
        let (mut stages, mut places) = (Vec::new(), Vec::new());
        for (stage, span) in self.inlets.stages(self.cx) {
            places.push((stage.outputs[0].topic.clone(), span));
            stages.push(stage);
        }
        let ingests = stages.len();
        for (draft, settled) in self.drafts.iter().zip(self.done) {
            let Some(settled) = settled else { continue };
            let outputs = settled.outputs.unwrap_or_default();
            places.extend(outputs.iter().map(|p| (p.output.topic.clone(), p.span)));
            let outputs = outputs.into_iter().map(|p| p.output).collect();
            stages.push(stage(
                self.cx.pipeline,
                draft.name,
                draft.span,
                &draft.options,
                settled.inputs,
                settled.flow,
                outputs,
            ));
        }
        topics::check(self.cx.pipeline, self.cx.sources, ingests, &stages, &places, self.issues);
        Linked { stages, read, topics: places }
    }
}

/// The schemas of the sources whose records reach a stage.
fn schemas<'a>(cx: &Linking<'a>, reached: &BTreeSet<usize>) -> Schemas<'a> {
    let sources = cx.sources;
    let schema = |s: &usize| sources[*s].schema.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    let mut all = reached.iter().map(schema);
    let Some(first) = all.next() else { return Schemas::One(None) };
    let same = |s: Option<(&str, &str)>| s.map(|(_, text)| text) == first.map(|(_, text)| text);
    if all.all(same) { Schemas::One(first) } else { Schemas::Several }
}

/// A stage with everything that follows from its name.
pub(crate) fn stage(
    pipeline: &str,
    name: &str,
    span: Span,
    options: &Options,
    inputs: Vec<Input>,
    flow: Flow,
    outputs: Vec<Output>,
) -> Stage {
    let group = format!("{pipeline}.{name}");
    Stage {
        name: name.to_owned(),
        span,
        inputs,
        filters: flow.filters,
        outputs,
        replicas: options.replicas,
        singleton: options.singleton,
        isolate: None,
        priority: None,
        concurrency: options.concurrency,
        order: options.order,
        timeout: options.timeout,
        retry: options.settled_retry(),
        hold_key: options.settled_hold(),
        ends_job: options.ends_job,
        deadline: None,
        compensates: None,
        calls_back: false,
        meets: None,
        of_events: false,
        dedup: options.dedup.clone(),
        dead_letter_retention: options.dead_letter_retention,
        dlq: format!("{group}.dlq"),
        state: format!("{group}.state"),
        retry_topic: format!("{group}.retry"),
        checkpoints: format!("{group}.checkpoints"),
        group,
    }
}
