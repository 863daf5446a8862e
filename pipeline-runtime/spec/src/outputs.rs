//! The outputs of a stage: `to`, `outputs`, `key` over what its last filter gives.

use millstream_filter_api::{Files, Issue, Kind, Node, Span};

use crate::defaults;
use crate::format;
use crate::model::{Format, Input, Output, TopicSettings};
use crate::registry::Registry;
use crate::spelling;
use crate::stage::{Draft, output_name_issue};
use crate::taint::Taint;
use crate::{read, shape};

/// An output, and where its topic is said.
pub(crate) struct Placed {
    pub output: Output,
    pub span: Span,
    /// Somebody wrote about this output: it is meant to be there even if no stage reads it.
    pub meant: bool,
    /// Partitions are known: said here or by `defaults`, or the topic is ours.
    pub counted: bool,
}

/// What outputs are settled by, beside their stage.
pub(crate) struct Around<'a> {
    pub group: &'a str,
    pub topics: &'a TopicSettings,
    pub files: &'a dyn Files,
    pub registry: &'a Registry,
}

/// Settles the outputs of a stage.
pub(crate) fn settle(
    draft: &Draft<'_>,
    given: Vec<(Option<String>, Kind)>,
    taint: Option<&Taint>,
    inputs: &[Input],
    around: &Around<'_>,
    issues: &mut Vec<Issue>,
) -> Vec<Placed> {
    let (group, topics) = (around.group, around.topics);
    let named: Vec<&str> = given.iter().filter_map(|(n, _)| n.as_deref()).collect();
    check_keys(draft, &named, issues);
    let mut all = Vec::new();
    for (name, types) in &given {
        let own = name.as_deref().and_then(|n| draft.node.get("outputs")?.get(n));
        let to = own.and_then(|o| o.get("to")).or_else(|| draft.node.get("to").filter(|_| name.is_none()));
        let key = own.and_then(|o| o.get("key")).or_else(|| draft.node.get("key"));
        if let Some(key) = key.filter(|k| !taint.is_some_and(|t| t.touches(k))) {
            read::check_fields(key, types, issues);
        }
        if let Some(name) = name {
            issues.extend(output_name_issue(name, draft.output_span(name)));
        }
        let topic = to.and_then(|t| t.as_text().or_else(|| read::text(t, "topic")));
        let default = name.as_ref().map_or_else(|| group.to_owned(), |n| format!("{group}.{n}"));
        let said = to.and_then(|t| t.get("format"));
        let input = inputs.first().map(|i| &i.format);
        let beside = format::Beside {
            fields: None,
            schema: None,
            said_schema: false,
            input,
            files: around.files,
            topic: Some(topic.unwrap_or(&default)),
            registry: around.registry.in_force.as_ref(),
        };
        let format =
            said.and_then(|f| format::read(f, &beside, issues)).unwrap_or_else(|| default_format(types, inputs));
        issues.extend(said.into_iter().flat_map(|said| format::unfit(said, &format, types)));
        let span = to.map_or_else(|| name.as_deref().map_or(draft.span, |n| draft.output_span(n)), |t| t.span);
        all.push(Placed {
            span,
            meant: to.is_some() || own.is_some(),
            counted: topic.is_none() || to.is_some_and(|t| t.get("partitions").is_some()),
            output: Output {
                name: name.clone(),
                topic: topic.unwrap_or(&default).to_owned(),
                format,
                key: key.and_then(read::key_rule),
                types: types.clone(),
                settings: defaults::topics(topics, to.filter(|t| t.as_map().is_some())),
                given: topic.is_some(),
                undo: false,
            },
        });
    }
    // The same issue about one `key:` would come once per output.
    issues.dedup();
    all
}

/// `outputs:` names what is there, and `to:` is for a single output.
fn check_keys(draft: &Draft<'_>, named: &[&str], issues: &mut Vec<Issue>) {
    let filter = draft.filters.last().map_or("", |f| f.name);
    for (key, _) in draft.node.get("outputs").and_then(Node::as_map).unwrap_or(&[]) {
        let word = key.as_text().unwrap_or("");
        if named.is_empty() {
            let message = format!("`{filter}` has one output without a name");
            let issue = Issue::error(key.span, "unknown_output", message);
            issues.push(issue.help("set `to` and `key` in the stage itself"));
            break;
        } else if !named.contains(&word) {
            let issue = Issue::error(key.span, "unknown_output", format!("`{filter}` has no output `{word}`"));
            issues.push(shape::with_help(issue, spelling::help(word, named)));
        }
    }
    if let (Some(to), false) = (draft.node.get("to"), named.is_empty()) {
        let message = format!("`to` is for one output, and `{filter}` has {}", named.len());
        let issue = Issue::error(to.span, "conflicting_keys", message);
        issues.push(issue.help(format!("write `outputs: {{ {}: {{ to: … }} }}`", named[0])));
    }
}

/// Raw and text stay what they are while the payload is text; everything else becomes JSON.
fn default_format(types: &Kind, inputs: &[Input]) -> Format {
    match inputs {
        [first, rest @ ..] if types.is_bytes() && rest.iter().all(|i| i.format == first.format) => match first.format {
            Format::Raw | Format::Text => first.format.clone(),
            _ => Format::Json,
        },
        _ => Format::Json,
    }
}
