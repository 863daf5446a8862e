//! `priority:`, lowered to two stages: one of ours, named `<stage>-levels`, which sorts the records into a topic per level, and
//! the stage itself, which reads them all.

use millstream_filter_api::{Issue, Node, NodeKind};

use crate::lowering::{self, map, text};
use crate::model::{Priority, Stage};
use crate::read;
use crate::registry::Registry;
use crate::shape::as_whole;

/// The filter that sorts.
const FILTER: &str = "levels";

/// The file with a sorting stage before each stage with levels; `None` where there is none.
pub(crate) fn expand(root: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<Node> {
    lowering::expand(root, "priority", |stage| pair(stage, registry, issues).map(Vec::from))
}

fn pair(stage: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> Option<[Node; 2]> {
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
        (text("name", name.span), text(&sorting, name.span)),
        (text("filter", priority.span), text(FILTER, priority.span)),
        (
            text("with", priority.span),
            map(vec![(text("by", by.span), by.clone()), (text("levels", list.span), list.clone())], priority.span),
        ),
    ];
    let NodeKind::Map(pairs) = &stage.kind else { return None };
    let of_both = |word: &str| pairs.iter().find(|(key, _)| key.as_text() == Some(word)).cloned();
    before.extend(["from", "dedup"].into_iter().filter_map(of_both));
    let inputs = levels.iter().map(|level| text(&format!("{sorting}.{}", level.as_text().unwrap_or("")), level.span));
    let mut own: Vec<(Node, Node)> = pairs.iter().filter(|(key, _)| key.as_text() != Some("from")).cloned().collect();
    own.push((text("from", list.span), Node { kind: NodeKind::List(inputs.collect()), span: list.span }));
    Some([map(before, stage.span), map(own, stage.span)])
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
