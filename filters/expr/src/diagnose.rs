//! VRL's diagnostics as issues at their place in the pipeline's file.

use std::collections::BTreeSet;

use millstream_filter_api::{Issue, Node, Severity};
use vrl::diagnostic::{Diagnostic, DiagnosticList, Note, Span};

use crate::fields::Unknown;

/// The code of every compile error; VRL's own number stands in the message.
pub(crate) const CODE: &str = "expression_invalid";

/// Errors or warnings as issues. An error that covers an unknown field is left out: the field is why.
pub(crate) fn issues(list: &DiagnosticList, node: &Node, unknown: &[Unknown], severity: Severity) -> Vec<Issue> {
    let wanted = |d: &&Diagnostic| (d.is_problem()) == (severity == Severity::Error);
    let covers = |d: &Diagnostic| {
        let span = place(d);
        unknown.iter().any(|u| d.labels.iter().map(|l| l.span).chain([span]).any(|s| overlap(s, u.span)))
    };
    let mut seen = BTreeSet::new();
    let mut issues = Vec::new();
    for diagnostic in list.iter().filter(wanted).filter(|d| !covers(d)) {
        let span = place(diagnostic);
        let issue = Issue {
            severity,
            span: node.span_of(span.start(), span.end()),
            code: CODE,
            message: message(diagnostic),
            help: help(diagnostic),
        };
        if seen.insert((issue.span, issue.message.clone())) {
            issues.push(issue);
        }
    }
    issues
}

fn overlap(a: Span, b: Span) -> bool {
    a.start() < b.end() && b.start() < a.end()
}

fn place(diagnostic: &Diagnostic) -> Span {
    let primary = diagnostic.labels.iter().find(|l| l.primary);
    primary.or(diagnostic.labels.first()).map_or_else(Span::default, |l| l.span)
}

fn message(diagnostic: &Diagnostic) -> String {
    let label = diagnostic.labels.iter().find(|l| l.primary).map(|l| l.message.trim()).filter(|m| !m.is_empty());
    let subject = diagnostic.message.trim();
    let mut text = match label {
        Some(label) if label != subject => format!("{subject}: {label}"),
        _ => subject.to_owned(),
    };
    if diagnostic.code != 0 {
        text.push_str(&format!(" (VRL E{:03})", diagnostic.code));
    }
    text
}

fn help(diagnostic: &Diagnostic) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for label in diagnostic.labels.iter().filter(|l| !l.primary) {
        let text = label.message.trim();
        // The list of every token that could stand here helps nobody.
        if !text.is_empty() && text.len() <= 160 {
            parts.push(text.to_owned());
        }
    }
    for note in &diagnostic.notes {
        match note {
            Note::Hint(hint) => parts.push(hint.clone()),
            Note::CoerceValue => parts.push("coerce the value, as by `to_int` or `string!`".to_owned()),
            Note::Basic(text) if !text.trim().is_empty() => parts.push(text.trim().to_owned()),
            _ => {}
        }
    }
    if matches!(diagnostic.code, 100 | 103 | 110) {
        parts.push(
            "types come from the source's `fields` or `schema`: declare the field there, or say what an error gives: \
             `… ?? 0`"
                .to_owned(),
        );
    }
    if diagnostic.code == 315 {
        parts.push("only `.…`, `%key` and `%headers.NAME` can be assigned, and only in `map`".to_owned());
    }
    parts.dedup();
    // A label may end in a colon, because the next part is what it leads up to.
    (!parts.is_empty()).then(|| parts.join("; ").replace(":; ", ": "))
}
