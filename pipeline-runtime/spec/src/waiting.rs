//! `wait_for:`, lowered to three stages of ours before the stage: `<stage>-records` and `<stage>-events` key records and events by
//! what is equal in both, and `<stage>-wait` reads both and makes them meet. The stage itself reads what has met.
//!
//! The first and the last are put before the stage in the tree; the events come from a topic of others, which no `from` can
//! name, so their stage is made like that of a compensation.

use millstream_filter_api::{Issue, Kind, Node, NodeKind};

use crate::compensate::Made;
use crate::defaults::Options;
use crate::link::{self, Linked};
use crate::lowering::{self, map, text};
use crate::model::{Delivery, Format, Input, Meets, Order};
use crate::registry::Registry;
use crate::stage::{Draft, DraftFilter, FlowContext, Schemas};
use crate::{outputs, read};

/// The filter that says what a record has in common with its event.
const CORRELATE: &str = "correlate";
/// The filter that puts the event into the record.
const TAKE_EVENT: &str = "take_event";

/// The file with two stages before each stage that waits; `None` where there is none.
pub(crate) fn expand(root: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<Node> {
    lowering::expand(root, "wait_for", |stage| three(stage, registry, issues).map(Vec::from))
}

fn three(stage: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<[Node; 3]> {
    let (name, waits) = (stage.get("name")?, stage.get("wait_for")?);
    let by = waits.get("by").filter(|by| by.as_text().is_some())?;
    for filter in [CORRELATE, TAKE_EVENT] {
        if registry.get(filter).is_none() {
            let message = format!("`wait_for` needs the filter `{filter}`, which this program does not have");
            issues.push(Issue::error(waits.span, "unknown_filter", message));
            return None;
        }
    }
    let NodeKind::Map(pairs) = &stage.kind else { return None };
    let said = |words: &[&str]| {
        let is = |key: &Node| key.as_text().is_some_and(|key| words.contains(&key));
        pairs.iter().filter(|(key, _)| is(key)).cloned().collect::<Vec<_>>()
    };
    let at = waits.span;
    let mut records = vec![
        (text("name", name.span), text(&format!("{}-records", name.as_text()?), name.span)),
        (text("filter", at), text(CORRELATE, at)),
        (text("with", at), map(vec![(text("by", by.span), by.clone())], at)),
        (text("key", at), by.clone()),
    ];
    records.extend(said(&["from", "dedup", "on_failure", "dead_letter"]));
    let mut meeting = vec![
        (text("name", name.span), text(&format!("{}-wait", name.as_text()?), name.span)),
        (text("filter", at), text(TAKE_EVENT, at)),
        (text("dedup", at), Node { kind: NodeKind::Bool(false), span: at }),
    ];
    meeting.extend(said(&["on_failure", "dead_letter"]));
    let own = pairs.iter().filter(|(key, _)| key.as_text() != Some("from")).cloned().collect();
    Some([map(records, stage.span), map(meeting, stage.span), map(own, stage.span)])
}

/// Adds the stages that key events, and says of the stages where they meet records what they are.
pub(crate) fn add(
    drafts: &[Draft<'_>],
    delivery: Delivery,
    cx: &Made<'_>,
    linked: &mut Linked,
    issues: &mut Vec<Issue>,
) {
    for draft in drafts {
        let Some(waits) = draft.node.get("wait_for") else { continue };
        if delivery == Delivery::AtLeastOnce {
            let message = "records and events meet in the transactions of `exactly_once`; `wait_for` with `at_least_once` is \
                           not supported yet";
            let issue = Issue::error(waits.span, "not_supported_yet", message);
            issues.push(issue.help("leave out `delivery: at_least_once`"));
            continue;
        }
        let place = |ending: &str| {
            let name = format!("{}-{ending}", draft.name);
            linked.stages.iter().position(|stage| stage.name == name)
        };
        let (Some(records), Some(meeting)) = (place("records"), place("wait")) else { continue };
        let Some(meets) = one(draft, waits, cx, linked, issues) else { continue };
        // What waits is read again where it lies.
        linked.stages[records].outputs.iter_mut().for_each(|output| output.settings.retention = None);
        let events = linked.stages.len() - 1;
        let inputs = linked.stages[events].outputs.iter().map(|output| Input {
            topic: output.topic.clone(),
            format: output.format.clone(),
            types: output.types.clone(),
            from_stage: Some(events),
            source: None,
        });
        let inputs: Vec<Input> = inputs.collect();
        let stage = &mut linked.stages[meeting];
        stage.inputs.extend(inputs);
        (stage.hold_key, stage.meets) = (false, Some(meets));
    }
}

/// Adds the stage that keys the events of one that waits.
fn one(draft: &Draft<'_>, waits: &Node, cx: &Made<'_>, linked: &mut Linked, issues: &mut Vec<Issue>) -> Option<Meets> {
    let (topic, by) = (waits.get("topic")?, waits.get("by")?);
    let (place, topic) = (topic.span, topic.as_text()?);
    let timeout = read::duration(waits, "timeout")?;
    let name = format!("{}-events", draft.name);
    let group = format!("{}.{name}", cx.pipeline);
    if linked.topics.iter().any(|(own, _)| own == topic) {
        let message = "waiting for records that the pipeline itself writes is not supported yet";
        let issue = Issue::error(place, "not_supported_yet", message);
        issues.push(issue.help("events come from others; join what the pipeline makes in its stages"));
        return None;
    }
    if linked.topics.iter().any(|(taken, _)| *taken == group) {
        let message = format!("`{group}` is a topic of the stage `{}`, which waits for events", draft.name);
        issues.push(Issue::error(waits.span, "duplicate_topic", message).help("write to another topic"));
        return None;
    }
    if linked.stages.iter().any(|stage| stage.name == name) {
        let message = format!("`{name}` is a stage that `wait_for` makes, and there is another one of that name");
        issues
            .push(Issue::error(waits.span, "duplicate_name", message).help("give one of the two stages another name"));
        return None;
    }
    let options = Options {
        replicas: 1,
        singleton: false,
        order: Order::Key,
        hold_key: false,
        ends_job: false,
        dedup: None,
        ..draft.options.clone()
    };
    let with = map(vec![(text("by", by.span), by.clone())], waits.span);
    let node = map(vec![(text("key", waits.span), by.clone())], waits.span);
    let filters = vec![DraftFilter { name: CORRELATE, span: waits.span, with }];
    let own = Draft { node: &node, name: &name, span: waits.span, from: Vec::new(), filters, options };
    let input =
        Input { topic: topic.to_owned(), format: Format::Json, types: Kind::any(), from_stage: None, source: None };
    let context = FlowContext { registry: cx.registry, files: cx.files, schemas: Schemas::One(None) };
    let mut flow = own.flow(&input.types, None, &context, issues);
    let given = flow.outputs.take()?;
    let inputs = vec![input];
    let around = outputs::Around { group: &group, topics: cx.topics, files: cx.files, registry: cx.registry };
    let outputs = outputs::settle(&own, given, flow.taint.as_ref(), &inputs, &around, issues);
    let mut outputs: Vec<_> = outputs.into_iter().map(|placed| placed.output).collect();
    for output in &mut outputs {
        output.settings.retention = None;
        linked.topics.push((output.topic.clone(), waits.span));
    }
    let mut stage = link::stage(cx.pipeline, &name, waits.span, &own.options, inputs, flow, outputs);
    stage.of_events = true;
    linked.stages.push(stage);
    Some(Meets { timeout, topic: topic.to_owned(), group })
}
