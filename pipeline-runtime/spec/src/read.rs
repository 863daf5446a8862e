//! Values out of a tree whose shape was checked. What does not fit was reported there and reads as absent here.

use std::time::Duration;

use millstream_filter_api::{Issue, Kind, Node, OwnedValuePath};

use crate::model::{IdRule, KeyRule};
use crate::{path, types, units};

pub(crate) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key)?.as_text()
}

pub(crate) fn whole<T: TryFrom<i64>>(node: &Node, key: &str) -> Option<T> {
    crate::shape::as_whole(node.get(key)?).and_then(|n| T::try_from(n).ok())
}

pub(crate) fn duration(node: &Node, key: &str) -> Option<Duration> {
    units::duration(text(node, key)?)
}

/// `id:` of a source.
pub(crate) fn id_rule(node: &Node) -> Option<IdRule> {
    match node.as_text() {
        Some("key") => return Some(IdRule::Key),
        Some("hash") => return Some(IdRule::Hash),
        _ => {}
    }
    match text(node, "header") {
        Some(name) => Some(IdRule::Header(name.to_owned())),
        None => Some(IdRule::Fields(paths(node)?)),
    }
}

/// `key:` of a source, a stage or an output.
pub(crate) fn key_rule(node: &Node) -> Option<KeyRule> {
    if node.as_text() == Some("hash") {
        return Some(KeyRule::Hash);
    }
    match text(node, "header") {
        Some(name) => Some(KeyRule::Header(name.to_owned())),
        None => Some(KeyRule::Fields(paths(node)?)),
    }
}

fn paths(node: &Node) -> Option<Vec<OwnedValuePath>> {
    match node.as_list() {
        Some(items) => items.iter().map(|n| path::field(n.as_text()?)).collect(),
        None => Some(vec![path::field(node.as_text()?)?]),
    }
}

/// Reports fields of an `id` or `key` that the payload does not have.
pub(crate) fn check_fields(node: &Node, kind: &Kind, issues: &mut Vec<Issue>) {
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    for item in items {
        if let Some(path) = item.as_text().and_then(path::field) {
            issues.extend(types::check_path(kind, &path, item));
        }
    }
}
