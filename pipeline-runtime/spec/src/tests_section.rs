//! `tests:`, records that come in and what must come out. Checked here, run by the runtime.

use std::collections::HashMap;

use millstream_filter_api::{Issue, Node, Span};

use crate::model::{Source, Stage, TestCase};
use crate::shape::with_help;
use crate::spelling;

/// Reads the tests; `stages` is empty where they could not be linked, and names are then not checked.
pub(crate) fn read(
    node: Option<&Node>,
    stages: &[Stage],
    sources: &[Source],
    issues: &mut Vec<Issue>,
) -> Vec<TestCase> {
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
        if !stages.is_empty() {
            let records = test.get("input").and_then(Node::as_list).unwrap_or(&[]);
            issues.extend(records.iter().filter_map(|record| source_issue(record, sources)));
        }
        all.push(TestCase { name: name.to_owned(), span, body: test.clone() });
    }
    all
}

/// Which source a record comes from must be known.
fn source_issue(record: &Node, sources: &[Source]) -> Option<Issue> {
    let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
    match record.get("source") {
        None if names.len() > 1 => {
            let message = "the pipeline has several sources: say which of them gives the record";
            Some(with_help(Issue::error(record.span, "missing_key", message), spelling::help("", &names)))
        }
        Some(said) if !names.contains(&said.as_text()?) => {
            let word = said.as_text()?;
            let issue = Issue::error(said.span, "unknown_source", format!("no source `{word}` is read by a stage"));
            Some(with_help(issue, spelling::help(word, &names)))
        }
        _ => None,
    }
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
