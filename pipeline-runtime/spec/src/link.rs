//! Stages put together: who reads whom, in which order types flow, which topics there are.

use std::collections::HashMap;

use millstream_filter_api::{Issue, Kind, Node, Span};

use crate::defaults::Options;
use crate::model::{Format, Input, Output, Source, SourceKind, Stage, TopicSettings};
use crate::outputs::{self, Placed};
use crate::spelling;
use crate::stage::{Draft, Flow, FlowContext};
use crate::taint::Taint;
use crate::{shape, topics};

/// What linking needs to know.
pub(crate) struct Linking<'a> {
    pub pipeline: &'a str,
    pub source: &'a Source,
    pub source_node: &'a Node,
    pub flow: FlowContext<'a>,
    pub topics: &'a TopicSettings,
    pub defaults: &'a Options,
}

/// What a stage reads, by index.
#[derive(Clone, Copy)]
enum Upstream {
    Source,
    Stage(usize),
}

/// Stages as the runtime sees them, and where the topic of each output is said.
pub(crate) struct Linked {
    pub stages: Vec<Stage>,
    pub topics: Vec<(String, Span)>,
}

struct Linker<'a, 'n> {
    cx: &'a Linking<'a>,
    drafts: &'a [Draft<'n>],
    upstream: Vec<Vec<(Upstream, Option<&'n Node>)>>,
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
        done: drafts.iter().map(|_| None).collect(),
        read: vec![Vec::new(); drafts.len()],
        issues,
    };
    linker.upstream = (0..drafts.len()).map(|n| linker.upstream_of(n)).collect();
    let order = linker.order();
    for n in &order {
        let settled = linker.settle(*n);
        linker.done[*n] = Some(settled);
    }
    linker.unread(order.last().copied());
    linker.finish()
}

fn check_names(drafts: &[Draft<'_>], cx: &Linking<'_>, issues: &mut Vec<Issue>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for draft in drafts {
        if let Some(first) = seen.get(draft.name) {
            let issue = Issue::error(draft.span, "duplicate_name", format!("there are two stages `{}`", draft.name));
            issues.push(issue.help(format!("the first is at {}:{}", first.line, first.col)));
        } else if draft.name == cx.source.name {
            let message = format!("`{}` is the name of the source", draft.name);
            issues.push(Issue::error(draft.span, "duplicate_name", message));
        }
        seen.entry(draft.name).or_insert(draft.span);
    }
}

impl<'n> Linker<'_, 'n> {
    /// What a stage reads, by the names of stages alone; outputs are looked up once they are known.
    fn upstream_of(&mut self, n: usize) -> Vec<(Upstream, Option<&'n Node>)> {
        let draft = &self.drafts[n];
        if draft.from.is_empty() {
            return vec![(if n == 0 { Upstream::Source } else { Upstream::Stage(n - 1) }, None)];
        }
        let mut all: Vec<(Upstream, Option<&'n Node>)> = Vec::new();
        for (m, &node) in draft.from.iter().enumerate() {
            let Some(word) = node.as_text() else { continue };
            if draft.from[..m].iter().any(|o| o.as_text() == Some(word)) {
                self.issues.push(Issue::error(node.span, "duplicate_name", format!("`{word}` is read twice")));
                continue;
            }
            let stage = word.split('.').next().unwrap_or("");
            if word == self.cx.source.name {
                all.push((Upstream::Source, Some(node)));
            } else if let Some(found) = self.drafts.iter().position(|d| d.name == stage) {
                all.push((Upstream::Stage(found), Some(node)));
            } else if (crate::rules::FROM.fits)(word) {
                let issue = Issue::error(node.span, "unknown_from", format!("there is no stage or source `{word}`"));
                let names = self.drafts.iter().map(|d| d.name).filter(|d| *d != draft.name);
                let names: Vec<&str> = names.chain([self.cx.source.name.as_str()]).collect();
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
                        .all(|(u, _)| matches!(u, Upstream::Stage(s) if placed[*s]) || matches!(u, Upstream::Source))
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
                Upstream::Source => {
                    let input = self.source_input();
                    if input.from_stage.is_some() || !matches!(self.cx.source.kind, SourceKind::Topic { .. }) {
                        counts.push((self.cx.topics.partitions, self.cx.source.name.clone()));
                    }
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
        for (upstream, _) in &self.upstream[n] {
            let Upstream::Stage(s) = upstream else { continue };
            if let Some(more) = self.done[*s].as_ref().and_then(|d| d.flow.taint.as_ref()) {
                taint.get_or_insert_default().merge(more);
            }
        }
        let input = inputs.iter().map(|i| i.types.clone()).reduce(|a, b| a.union(b)).unwrap_or_else(Kind::any);
        let mut flow = draft.flow(&input, taint, &self.cx.flow, self.issues);
        let group = format!("{}.{}", self.cx.pipeline, draft.name);
        let given = flow.outputs.take();
        let taint = flow.taint.as_ref();
        let outputs = given.map(|g| outputs::settle(draft, g, taint, &inputs, &group, self.cx.topics, self.issues));
        Settled { flow, inputs, outputs }
    }

    fn source_input(&self) -> Input {
        let source = self.cx.source;
        let ingest = has_ingest(source);
        Input {
            topic: if ingest { format!("{}.in", self.cx.pipeline) } else { source.topic.clone() },
            format: source.format.clone(),
            types: source.types.clone(),
            from_stage: ingest.then_some(0),
        }
    }

    /// An input from another stage; `None` where its outputs are not known.
    fn stage_input(
        &mut self,
        reader: usize,
        stage: usize,
        node: Option<&Node>,
        counts: &mut Vec<(i32, String)>,
    ) -> Option<Input> {
        let shift = usize::from(has_ingest(self.cx.source));
        let upstream = &self.drafts[stage];
        let settled = self.done[stage].as_ref()?;
        let Some(outputs) = settled.outputs.as_ref() else {
            // Its outputs are not known; the payload is, but for what taints it.
            let topic = format!("{}.{}", self.cx.pipeline, upstream.name);
            let types = settled.flow.kind.clone();
            return Some(Input { topic, format: Format::Json, types, from_stage: Some(stage + shift) });
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

    fn finish(self) -> Linked {
        let mut stages = Vec::new();
        let mut places = Vec::new();
        if has_ingest(self.cx.source) {
            let span = self.cx.source_node.get("key").map_or(self.cx.source_node.span, |k| k.span);
            stages.push(ingest(self.cx, span));
            places.push((stages[0].outputs[0].topic.clone(), span));
        }
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
        topics::check(self.cx.pipeline, self.cx.source, &stages, &places, self.issues);
        Linked { stages, topics: places }
    }
}

/// Whether records are re-keyed by a stage of ours before the first one of the file.
pub(crate) fn has_ingest(source: &Source) -> bool {
    matches!(source.kind, SourceKind::Topic { .. }) && source.key.is_some()
}

/// The stage that gives the records of a topic their key. It passes the very bytes on, and leaves dedup to the stages
/// behind it, where records with equal keys have met; and it holds no key, as one that fails here has none yet.
fn ingest(cx: &Linking<'_>, span: Span) -> Stage {
    let source = cx.source;
    let input = Input {
        topic: source.topic.clone(),
        format: source.format.clone(),
        types: source.types.clone(),
        from_stage: None,
    };
    let output = Output {
        name: None,
        topic: format!("{}.in", cx.pipeline),
        format: source.format.clone(),
        key: source.key.clone(),
        types: source.types.clone(),
        settings: cx.topics.clone(),
        given: false,
    };
    let options = Options { dedup: None, hold_key: false, ..cx.defaults.clone() };
    let flow = Flow { filters: Vec::new(), outputs: None, kind: source.types.clone(), taint: None };
    stage(cx.pipeline, "ingest", span, &options, vec![input], flow, vec![output])
}

fn stage(
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
        concurrency: options.concurrency,
        order: options.order,
        timeout: options.timeout,
        retry: options.settled_retry(),
        hold_key: options.settled_hold(),
        dedup: options.dedup.clone(),
        dead_letter_retention: options.dead_letter_retention,
        dlq: format!("{group}.dlq"),
        state: format!("{group}.state"),
        retry_topic: format!("{group}.retry"),
        group,
    }
}
