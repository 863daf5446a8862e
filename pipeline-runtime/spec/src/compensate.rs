//! `compensate` and `deadline` of a stage: what undoes it, and how long it may take.
//!
//! The compensation of stage `reserve` is a stage of its own, `reserve.compensate`, so that it has retries, dead letters,
//! a position and a place in `status` like any other. It reads `<pipeline>.reserve.undo`, an output of `reserve` that none of its
//! filters writes: the count of jobs does, when a job is to be undone.

use millstream_filter_api::{Files, Issue, Node, NodeKind, Outputs};

use crate::defaults::Options;
use crate::link::{self, Linked};
use crate::model::{Input, Order, Output, Source, SourceKind, Stage, TopicSettings};
use crate::registry::Registry;
use crate::stage::{Draft, DraftFilter, FlowContext, Schemas};
use crate::{outputs, read};

/// What a stage that compensates is made with.
pub(crate) struct Made<'a> {
    pub pipeline: &'a str,
    pub registry: &'a Registry,
    pub files: &'a dyn Files,
    pub topics: &'a TopicSettings,
}

/// Whether a stage of the file has a compensation.
pub(crate) fn is_wanted(pipeline: &Node) -> bool {
    stages(pipeline).iter().any(|stage| stage.get("compensate").is_some())
}

fn stages(pipeline: &Node) -> &[Node] {
    pipeline.get("stages").and_then(Node::as_list).unwrap_or(&[])
}

/// The word without the thing.
pub(crate) fn nothing_to_compensate(pipeline: &Node) -> Option<Issue> {
    if is_wanted(pipeline) {
        return None;
    }
    let all = pipeline.get("defaults").into_iter().chain(stages(pipeline));
    let word = all.filter_map(|node| node.get("on_failure")).find(|word| word.as_text() == Some("compensate"))?;
    let issue = Issue::error(word.span, "nothing_to_compensate", "no stage of the pipeline has a `compensate`");
    Some(issue.help("say in a stage what undoes it, such as `compensate: { http: { url: … } }`"))
}

/// Deadlines of stages. What a stage reads from a source is seen when the source says that it has accepted it.
pub(crate) fn limits(drafts: &[Draft<'_>], sources: &[Source], stages: &mut [Stage], issues: &mut Vec<Issue>) {
    for draft in drafts {
        let Some(said) = draft.node.get("deadline") else { continue };
        let Some(stage) = stages.iter_mut().find(|stage| stage.name == draft.name) else { continue };
        stage.deadline = read::duration(draft.node, "deadline");
        let tells = |source: &Source| matches!(source.kind, SourceKind::Http(_) | SourceKind::Schedule(_));
        let silent = stage.inputs.iter().filter_map(|input| sources.get(input.source?)).find(|source| !tells(source));
        let reads_several = sources.len() > 1 && stage.inputs.iter().any(|input| input.source.is_some());
        if let Some(source) = silent {
            let message = format!(
                "when a record of source `{}` reaches this stage is not known: its `deadline` is not supported yet",
                source.name
            );
            let issue = Issue::error(said.span, "not_supported_yet", message);
            issues.push(issue.help("write `jobs: { deadline: … }`, or give it to a later stage"));
        } else if reads_several {
            let message = "a `deadline` of a stage that reads one of several sources is not supported yet";
            let issue = Issue::error(said.span, "not_supported_yet", message);
            issues.push(issue.help("write `jobs: { deadline: … }`, or give it to a later stage"));
        }
    }
}

/// Adds the stages that compensate others.
pub(crate) fn add(drafts: &[Draft<'_>], cx: &Made<'_>, linked: &mut Linked, issues: &mut Vec<Issue>) {
    for draft in drafts {
        let Some(node) = draft.node.get("compensate") else { continue };
        let Some(at) = linked.stages.iter().position(|stage| stage.name == draft.name) else { continue };
        // A filter that is not known, or no filter, has its issue already.
        let Some(filter) = DraftFilter::read(node) else { continue };
        if let Some(stage) = compensation(draft, filter, node, cx, &mut linked.stages, at, issues) {
            for topic in [&stage.inputs[0].topic, &stage.outputs[0].topic] {
                if linked.topics.iter().any(|(taken, _)| taken == topic) {
                    let message = format!("`{topic}` is a topic of the compensation of stage `{}`", draft.name);
                    issues.push(Issue::error(node.span, "duplicate_topic", message).help("write to another topic"));
                }
                linked.topics.push((topic.clone(), node.span));
            }
            linked.stages.push(stage);
        }
    }
}

fn compensation(
    draft: &Draft<'_>,
    filter: DraftFilter<'_>,
    node: &Node,
    cx: &Made<'_>,
    stages: &mut [Stage],
    at: usize,
    issues: &mut Vec<Issue>,
) -> Option<Stage> {
    let stage = &mut stages[at];
    if stage.isolate.is_some() {
        // What it was given, and what it makes, would be known to another stage.
        let message = "compensating a stage with `isolate` is not supported yet";
        issues.push(Issue::error(node.span, "not_supported_yet", message));
        return None;
    }
    let passed = match stage.outputs.as_slice() {
        [passed @ Output { name: None, .. }] => passed,
        // Its filters did not pass their check.
        [] => return None,
        _ => {
            let message = "compensating a stage with named outputs is not supported yet";
            let issue = Issue::error(node.span, "not_supported_yet", message);
            issues.push(issue.help("give the effect a stage of its own, before the one that chooses"));
            return None;
        }
    };
    let undo = Output {
        name: Some("undo".to_owned()),
        topic: format!("{}.undo", stage.group),
        format: passed.format.clone(),
        key: None,
        types: passed.types.clone(),
        settings: TopicSettings { max_record_bytes: passed.settings.max_record_bytes, ..cx.topics.clone() },
        given: false,
        undo: true,
    };
    let input = Input {
        topic: undo.topic.clone(),
        format: undo.format.clone(),
        types: undo.types.clone(),
        from_stage: Some(at),
        source: None,
    };
    let name = format!("{}.compensate", draft.name);
    // What a record of it needs once is there once: a transaction writes it, and nobody else.
    let options = Options {
        replicas: 1,
        order: Order::Key,
        hold_key: false,
        ends_job: false,
        dedup: None,
        ..draft.options.clone()
    };
    let nothing = Node { kind: NodeKind::Map(Vec::new()), span: node.span };
    let own = Draft { node: &nothing, name: &name, span: node.span, from: Vec::new(), filters: vec![filter], options };
    let context = FlowContext { registry: cx.registry, files: cx.files, schemas: Schemas::One(None) };
    let mut flow = own.flow(&input.types, None, &context, issues);
    let given = flow.outputs.take()?;
    if flow.filters.iter().any(|f| matches!(f.checked.outputs, Outputs::Named(_))) {
        let message = "a filter that chooses between outputs compensates nothing";
        issues.push(Issue::error(node.span, "conflicting_keys", message).help("call what undoes the stage: `http`"));
        return None;
    }
    let inputs = vec![input];
    let group = format!("{}.{name}", cx.pipeline);
    let around = outputs::Around { group: &group, topics: cx.topics, files: cx.files, registry: cx.registry };
    let outputs = outputs::settle(&own, given, flow.taint.as_ref(), &inputs, &around, issues);
    let outputs = outputs.into_iter().map(|placed| placed.output).collect();
    let mut made = link::stage(cx.pipeline, &name, node.span, &own.options, inputs, flow, outputs);
    made.compensates = Some(at);
    stage.outputs.push(undo);
    Some(made)
}
