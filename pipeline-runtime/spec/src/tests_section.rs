//! `tests:`, records that come in and what must come out. Checked here, run by the runtime.

use std::collections::HashMap;

use millstream_filter_api::{Issue, Node, Span};

use crate::model::{Stage, TestCase};
use crate::shape::with_help;
use crate::spelling;

/// Reads the tests; `stages` is empty where they could not be linked, and names are then not checked.
pub(crate) fn read(node: Option<&Node>, stages: &[Stage], issues: &mut Vec<Issue>) -> Vec<TestCase> {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    let mut all = Vec::new();
    for test in node.and_then(Node::as_list).unwrap_or(&[]) {
        let Some((name, span)) = test.get("name").and_then(|n| Some((n.as_text()?, n.span))) else { continue };
        if let Some(first) = seen.insert(name, span) {
            let issue = Issue::error(span, "duplicate_name", format!("there are two tests `{name}`"));
            issues.push(issue.help(format!("the first is at {}:{}", first.line, first.col)));
        }
        for (output, _) in test.get("expect").and_then(Node::as_map).unwrap_or(&[]) {
            if !stages.is_empty() {
                issues.extend(output_issue(output, stages));
            }
        }
        all.push(TestCase { name: name.to_owned(), span, body: test.clone() });
    }
    all
}

fn output_issue(node: &Node, stages: &[Stage]) -> Option<Issue> {
    let word = node.as_text()?;
    let known: Vec<String> = stages.iter().flat_map(names).collect();
    if known.iter().any(|k| k == word) || !(crate::rules::FROM.fits)(word) {
        return None;
    }
    let several = stages.iter().find(|s| s.name == word);
    let issue = match several {
        Some(stage) => {
            let issue = Issue::error(node.span, "ambiguous_output", format!("`{word}` has several outputs"));
            return Some(with_help(
                issue,
                spelling::help("", &names(stage).iter().map(String::as_str).collect::<Vec<_>>()),
            ));
        }
        None => Issue::error(node.span, "unknown_output", format!("there is no output `{word}`")),
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Some(with_help(issue, spelling::help(word, &known)))
}

/// What a test may expect of a stage.
fn names(stage: &Stage) -> Vec<String> {
    let outputs = stage.outputs.iter().map(|o| match &o.name {
        Some(name) => format!("{}.{name}", stage.name),
        None => stage.name.clone(),
    });
    outputs.chain([format!("{}.dlq", stage.name)]).collect()
}
