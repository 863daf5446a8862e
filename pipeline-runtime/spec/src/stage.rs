//! One stage as it stands in the file, and what its filters make of the records that arrive.

use millstream_filter_api::{CheckContext, Checked, Files, Issue, Kind, Node, NodeKind, Outputs, Span};

use crate::defaults::Options;
use crate::language::MAX_PORTS;
use crate::model::StageFilter;
use crate::registry::Registry;
use crate::taint::Taint;
use crate::tree::shorten;

/// A stage before its inputs are known.
pub(crate) struct Draft<'n> {
    pub node: &'n Node,
    pub name: &'n str,
    pub span: Span,
    /// What `from` names; empty for the stage before.
    pub from: Vec<&'n Node>,
    pub filters: Vec<DraftFilter<'n>>,
    pub options: Options,
}

/// A filter as it stands in the file.
pub(crate) struct DraftFilter<'n> {
    pub name: &'n str,
    pub span: Span,
    pub with: Node,
}

/// What the filters of a stage give.
pub(crate) struct Flow {
    pub filters: Vec<StageFilter>,
    /// Name (`None` for the only one) and type of each output; nothing where the last filter did not pass its check.
    pub outputs: Option<Vec<(Option<String>, Kind)>>,
    /// The type at the end, as far as it is known.
    pub kind: Kind,
    /// What is not known of it, because of a filter that failed here or before.
    pub taint: Option<Taint>,
}

impl<'n> Draft<'n> {
    /// Reads an item of `stages:`. `None` where it has not even a name.
    pub(crate) fn read(node: &'n Node, defaults: &Options, issues: &mut Vec<Issue>) -> Option<Self> {
        let name = node.get("name")?;
        let from = match node.get("from") {
            Some(from) => from.as_list().map_or_else(|| vec![from], |items| items.iter().take(MAX_PORTS).collect()),
            None => Vec::new(),
        };
        let filters = match (node.get("filter"), node.get("filters").and_then(Node::as_list)) {
            (Some(filter), _) => {
                let with = node.get("with").cloned().unwrap_or_else(|| nothing(filter.span));
                DraftFilter::new(filter, with).into_iter().collect()
            }
            (None, Some(items)) => items.iter().filter_map(DraftFilter::read).collect(),
            (None, None) => Vec::new(),
        };
        let options = defaults.with(node, issues);
        Some(Self { node, name: name.as_text()?, span: name.span, from, filters, options })
    }

    /// Checks the filters one after the other, each with the type that the one before gives.
    pub(crate) fn flow(
        &self,
        input: &Kind,
        taint: Option<Taint>,
        cx: &FlowContext<'_>,
        issues: &mut Vec<Issue>,
    ) -> Flow {
        let mut kind = input.clone();
        let mut flow = Flow { filters: Vec::new(), outputs: None, kind: Kind::any(), taint };
        for (n, filter) in self.filters.iter().enumerate() {
            // An unknown filter has its issue already.
            let Some(spec) = cx.registry.get(filter.name) else {
                flow.taint.get_or_insert_default().add(&filter.with, &kind);
                continue;
            };
            if let Some(taint) = flow.taint.as_mut().filter(|t| t.touches(&filter.with)) {
                taint.add(&filter.with, &kind);
                continue;
            }
            let schema = match &cx.schemas {
                Schemas::One(schema) => *schema,
                Schemas::Several if filter.name == "validate" && filter.with.get("schema").is_none() => {
                    let message = format!("records of several sources reach `{}`, with different schemas", self.name);
                    let issue = Issue::error(filter.span, "nothing_to_validate", message);
                    issues.push(issue.help("say which: `validate: { schema: FILE }`, or validate before they meet"));
                    flow.taint.get_or_insert_default().add(&filter.with, &kind);
                    continue;
                }
                Schemas::Several => None,
            };
            let context =
                CheckContext { input: &kind, source_schema: schema, files: cx.files, timeout: self.options.timeout };
            let checked = match spec.check(&filter.with, &context) {
                Ok(checked) => checked,
                Err(found) => {
                    issues.extend(found.into_iter().map(|i| placed(i, filter)));
                    flow.taint.get_or_insert_default().add(&filter.with, &kind);
                    continue;
                }
            };
            issues.extend(checked.warnings.iter().cloned().map(|i| placed(i, filter)));
            if let (Outputs::Named(_), Some(next)) = (&checked.outputs, self.filters.get(n + 1)) {
                let message = format!("`{}` has several outputs and must be the last filter of its stage", filter.name);
                let issue = Issue::error(filter.span, "outputs_not_last", message);
                issues.push(issue.help(format!("move `{}` into a stage of its own", next.name)));
            }
            if let Outputs::Named(names) = &checked.outputs
                && (names.is_empty() || names.len() > MAX_PORTS)
            {
                let message = format!("a stage has 1 to {MAX_PORTS} outputs, and here are {}", names.len());
                issues.push(Issue::error(filter.span, "wrong_count", message));
                flow.taint = Some(Taint::everything());
                continue;
            }
            kind = checked.types.first().cloned().unwrap_or_else(Kind::any);
            if n + 1 == self.filters.len() {
                flow.outputs = Some(outputs_of(&checked));
            }
            flow.filters.push(StageFilter { name: filter.name.to_owned(), options: filter.with.clone(), checked });
        }
        flow.kind = kind;
        flow
    }

    /// Where an output is named inside the last filter's configuration, for issues about it.
    pub(crate) fn output_span(&self, name: &str) -> Span {
        let Some(filter) = self.filters.last() else { return self.span };
        let keys = filter.with.as_map().unwrap_or(&[]).iter().map(|(k, _)| k);
        keys.into_iter().find(|k| k.as_text() == Some(name)).map_or(filter.span, |k| k.span)
    }
}

/// What the check of filters may use.
pub(crate) struct FlowContext<'a> {
    pub registry: &'a Registry,
    pub files: &'a dyn Files,
    pub schemas: Schemas<'a>,
}

/// The schemas of the sources whose records reach a stage, as (path, text).
pub(crate) enum Schemas<'a> {
    /// The same for all of them, or none.
    One(Option<(&'a str, &'a str)>),
    /// Different ones, or some have none.
    Several,
}

impl<'n> DraftFilter<'n> {
    fn new(name: &'n Node, with: Node) -> Option<Self> {
        Some(Self { name: name.as_text()?, span: name.span, with })
    }

    /// An item of `filters:`.
    pub(crate) fn read(node: &'n Node) -> Option<Self> {
        match &node.kind {
            NodeKind::Map(pairs) => match pairs.as_slice() {
                [(name, with)] => Self::new(name, with.clone()),
                _ => None,
            },
            _ => Self::new(node, nothing(node.span)),
        }
    }
}

pub(crate) fn nothing(span: Span) -> Node {
    Node { kind: NodeKind::Null, span }
}

/// An issue without a place is at the filter's name.
fn placed(mut issue: Issue, filter: &DraftFilter<'_>) -> Issue {
    if issue.span.line == 0 {
        issue.span = filter.span;
    }
    issue
}

fn outputs_of(checked: &Checked) -> Vec<(Option<String>, Kind)> {
    let kind = |n: usize| checked.types.get(n).cloned().unwrap_or_else(Kind::any);
    match &checked.outputs {
        Outputs::Single => vec![(None, kind(0))],
        Outputs::Named(names) => names.iter().enumerate().map(|(n, name)| (Some(name.clone()), kind(n))).collect(),
    }
}

/// What is wrong with the name of an output that a filter's configuration gives.
pub(crate) fn output_name_issue(name: &str, span: Span) -> Option<Issue> {
    let rule = &crate::rules::OWN_NAME;
    if rule.reserved.contains(&name) {
        return Some(Issue::error(span, "reserved_name", format!("`{name}` is a reserved name")));
    }
    let bad = !(rule.fits)(name) || name.len() > rule.max;
    bad.then(|| Issue::error(span, rule.code, format!("expected {}, found `{}`", rule.what, shorten(name))))
}
