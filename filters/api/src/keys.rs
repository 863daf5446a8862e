//! Reading a filter's configuration.

use vrl::path::{PathPrefix, parse_target_path};

use crate::{Issue, Node, NodeKind, OwnedValuePath};

/// The keys of a configuration that is a map: every unknown one is an issue, with the nearest right spelling.
pub struct Keys<'n> {
    node: &'n Node,
    known: &'static [&'static str],
}

impl<'n> Keys<'n> {
    /// Nothing at all stands for an empty map.
    pub fn of(node: &'n Node, known: &'static [&'static str], issues: &mut Vec<Issue>) -> Self {
        let pairs = match &node.kind {
            NodeKind::Map(pairs) => pairs.as_slice(),
            NodeKind::Null => &[],
            _ => {
                let expected = known.join("`, `");
                let message = format!("expected a map with `{expected}`, found {}", node.describe());
                issues.push(Issue::error(node.span, "wrong_type", message));
                &[]
            }
        };
        for (key, _) in pairs {
            let name = key.as_text().unwrap_or("");
            if !known.contains(&name) {
                let issue = Issue::error(key.span, "unknown_key", format!("unknown key `{name}`"));
                issues.push(issue.help(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: `{}`", known.join("`, `")),
                }));
            }
        }
        Self { node, known }
    }

    /// The value of a key; a key without a value counts as absent.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        debug_assert!(self.known.contains(&key));
        self.node.get(key).filter(|n| n.kind != NodeKind::Null)
    }

    /// The text of a key that must be there.
    pub fn text(&self, key: &str, example: &str, issues: &mut Vec<Issue>) -> Option<(&'n Node, &'n str)> {
        let Some(node) = self.get(key) else {
            // Where there is no map, that was said before.
            if matches!(self.node.kind, NodeKind::Map(_) | NodeKind::Null) {
                let issue = Issue::error(self.node.span, "missing_key", format!("`{key}` is missing"));
                issues.push(issue.help(format!("such as `{key}: {example}`")));
            }
            return None;
        };
        match node.as_text() {
            Some(text) => Some((node, text)),
            None => {
                let message = format!("`{key}` is a text such as `{example}`, found {}", node.describe());
                issues.push(Issue::error(node.span, "wrong_type", message));
                None
            }
        }
    }
}

/// The nearest of `known`, if any is near.
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), *k)).min()?;
    (near.0 <= (name.len() / 3).max(2)).then_some(near.1)
}

/// A path such as `.items` of the payload; not the payload itself.
///
/// # Errors
/// `invalid_path`, at the node.
pub fn field_path(node: &Node, text: &str) -> Result<OwnedValuePath, Issue> {
    let parsed = parse_target_path(text).ok().filter(|p| text.starts_with('.') && p.prefix == PathPrefix::Event);
    match parsed {
        Some(path) if !path.path.is_root() => Ok(path.path),
        _ => Err(Issue::error(node.span, "invalid_path", format!("`{text}` is no field of the payload"))
            .help("a field is written `.name`, `.outer.inner` or `.list[0]`")),
    }
}
