//! `priority:`, lowered to two stages: one of ours, named `<stage>-levels`, which sorts the records into a topic per level, and
//! the stage itself, which reads them all.

use millstream_filter_api::{Issue, Node, NodeKind, ScalarStyle, Span};

use crate::model::{Priority, Stage};
use crate::read;
use crate::registry::Registry;
use crate::shape::as_whole;

/// The filter that sorts.
const FILTER: &str = "levels";

/// The file with a sorting stage before each stage with levels; `None` where there is none.
pub(crate) fn expand(root: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<Node> {
    let stages = root.get("stages").and_then(Node::as_list)?;
    if !stages.iter().any(|stage| stage.get("priority").is_some()) {
        return None;
    }
    let mut all = Vec::with_capacity(stages.len() + 1);
    for stage in stages {
        match pair(stage, registry, issues) {
            Some((sorting, stage)) => all.extend([sorting, stage]),
            None => all.push(stage.clone()),
        }
    }
    let mut root = root.clone();
    if let NodeKind::Map(pairs) = &mut root.kind {
        for (_, value) in pairs.iter_mut().filter(|(key, _)| key.as_text() == Some("stages")) {
            value.kind = NodeKind::List(std::mem::take(&mut all));
        }
    }
    Some(root)
}

fn pair(stage: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<(Node, Node)> {
    let (name, priority) = (stage.get("name")?, stage.get("priority")?);
    let (by, list) = (priority.get("by")?, priority.get("levels")?);
    let levels: Vec<&Node> = list.as_list()?.iter().filter(|level| level.as_text().is_some()).collect();
    if !check(priority, &levels, issues) {
        return None;
    }
    if registry.get(FILTER).is_none() {
        let message = format!("`priority` needs the filter `{FILTER}`, which this program does not have");
        issues.push(Issue::error(priority.span, "unknown_filter", message));
        return None;
    }
    let sorting = format!("{}-levels", name.as_text()?);
    let mut before = vec![
        (key("name", name.span), text(&sorting, name.span)),
        (key("filter", priority.span), text(FILTER, priority.span)),
        (
            key("with", priority.span),
            node(
                NodeKind::Map(vec![(key("by", by.span), by.clone()), (key("levels", list.span), list.clone())]),
                priority.span,
            ),
        ),
    ];
    let NodeKind::Map(pairs) = &stage.kind else { return None };
    let of_both = |word: &str| pairs.iter().find(|(key, _)| key.as_text() == Some(word)).cloned();
    before.extend(["from", "dedup"].into_iter().filter_map(of_both));
    let inputs = levels.iter().map(|level| text(&format!("{sorting}.{}", level.as_text().unwrap_or("")), level.span));
    let mut own: Vec<(Node, Node)> = pairs.iter().filter(|(key, _)| key.as_text() != Some("from")).cloned().collect();
    own.push((key("from", list.span), node(NodeKind::List(inputs.collect()), list.span)));
    Some((node(NodeKind::Map(before), stage.span), node(NodeKind::Map(own), stage.span)))
}

/// Whether there can be a topic for each level.
fn check(priority: &Node, levels: &[&Node], issues: &mut Vec<Issue>) -> bool {
    let before = issues.len();
    for (n, level) in levels.iter().enumerate() {
        if levels[..n].iter().any(|other| other.as_text() == level.as_text()) {
            let message = format!("`{}` is a level twice", level.as_text().unwrap_or(""));
            issues.push(Issue::error(level.span, "duplicate_name", message));
        }
    }
    let apart = issues.len() == before;
    if let Some(weights) = priority.get("weights").and_then(Node::as_list)
        && weights.len() != levels.len()
    {
        let message = format!("there are {} levels, and {} weights", levels.len(), weights.len());
        let issue = Issue::error(priority.span, "wrong_count", message);
        issues.push(issue.help("one weight for each level, in the same order"));
    }
    if let Some(strict) = priority.get("strict").filter(|n| n.kind == NodeKind::Bool(false)) {
        let issue = Issue::error(strict.span, "missing_key", "what is not `strict` needs `weights`");
        issues.push(issue.help("such as `weights: [16, 4, 1]`, one for each level"));
    }
    apart
}

/// What the section says, for a stage that reads its levels.
pub(crate) fn read(node: &Node, stage: &mut Stage) {
    let Some(priority) = node.get("priority") else { return };
    let levels = priority.get("levels").and_then(Node::as_list).unwrap_or(&[]);
    let levels: Vec<String> = levels.iter().filter_map(Node::as_text).map(str::to_owned).collect();
    let weights = priority.get("weights").and_then(Node::as_list);
    let weights = weights.map(|all| all.iter().filter_map(as_whole).filter_map(|n| u32::try_from(n).ok()).collect());
    debug_assert!(read::text(node, "name") == Some(stage.name.as_str()));
    stage.priority = Some(Priority { levels, weights });
}

fn node(kind: NodeKind, span: Span) -> Node {
    Node { kind, span }
}

fn text(text: &str, span: Span) -> Node {
    node(NodeKind::Text(text.to_owned(), ScalarStyle::Altered), span)
}

fn key(word: &str, span: Span) -> Node {
    text(word, span)
}
