//! What is not known of a payload behind a filter that did not pass its check. Filters further down are still checked,
//! so that every problem is reported at once, unless they touch a field that the failed one may have made: a complaint
//! about that would be noise.

use std::collections::BTreeSet;

use millstream_filter_api::{Kind, Node, NodeKind};
use vrl::value::kind::Field;

/// Fields that may be there or not.
#[derive(Clone, Default)]
pub(crate) struct Taint {
    fields: BTreeSet<String>,
    everything: bool,
}

impl Taint {
    /// Nothing is known.
    pub(crate) fn everything() -> Self {
        Self { fields: BTreeSet::new(), everything: true }
    }

    /// A failed configuration: what it names beyond the known fields, it may have made.
    pub(crate) fn add(&mut self, with: &Node, known: &Kind) {
        let is_known = |name: &str| known.as_object().is_some_and(|o| o.known().contains_key(&Field::from(name)));
        texts(with, &mut |text| {
            self.everything |= assigns_root(text);
            self.fields.extend(names(text).filter(|n| !is_known(n)).map(str::to_owned));
        });
    }

    /// What is unknown in either is unknown in both together.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.everything |= other.everything;
        self.fields.extend(other.fields.iter().cloned());
    }

    /// Whether a configuration depends on what is not known.
    pub(crate) fn touches(&self, with: &Node) -> bool {
        let mut found = self.everything;
        texts(with, &mut |text| found |= names(text).any(|n| self.fields.contains(n)));
        found
    }
}

/// Every text of a configuration; it is at most as deep as the file.
fn texts(node: &Node, see: &mut dyn FnMut(&str)) {
    match &node.kind {
        NodeKind::Text(text, _) => see(text),
        NodeKind::List(items) => items.iter().for_each(|n| texts(n, see)),
        NodeKind::Map(pairs) => pairs.iter().for_each(|(_, n)| texts(n, see)),
        _ => {}
    }
}

/// The names that follow a dot.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches('"');
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@')).unwrap_or(rest.len());
        rest.get(..end).filter(|n| !n.is_empty())
    })
}

/// Whether the whole payload is assigned, as in `. = parse_json!(.)`.
fn assigns_root(text: &str) -> bool {
    text.split('.').skip(1).any(|rest| {
        let rest = rest.trim_start();
        (rest.starts_with('=') && !rest.starts_with("==")) || rest.starts_with("|=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    fn node(yaml: &str) -> Node {
        tree::parse(yaml.as_bytes()).0.unwrap()
    }

    #[test]
    fn only_what_may_be_new_is_unknown() {
        let known = crate::types::fields(&node("{ a: integer, b: integer }"));
        let mut taint = Taint::default();
        taint.add(&node("'.total = .a * oops'"), &known);
        assert!(taint.touches(&node("'.total > 1'")));
        assert!(taint.touches(&node("{ x: [ '.b > .total' ] }")));
        assert!(!taint.touches(&node("'.a > .b'")));
        assert!(!taint.touches(&node("'.tot == 1'")));
        taint.add(&node("'. = parse_json!(.)'"), &known);
        assert!(taint.touches(&node("'.a > .b'")));
    }
}
