//! Keys of a stage that stand for stages before it: the tree of the file is rewritten before it is read, so that what is made is
//! checked as if it had been written.

use millstream_filter_api::{Node, NodeKind, ScalarStyle, Span};

/// The file in which each stage with the key `word` is replaced by what `lower` makes of it, in order; one of which it makes
/// nothing stays. `None` where no stage has the key.
pub(crate) fn expand(root: &Node, word: &str, mut lower: impl FnMut(&Node) -> Option<Vec<Node>>) -> Option<Node> {
    let stages = root.get("stages").and_then(Node::as_list)?;
    if !stages.iter().any(|stage| stage.get(word).is_some()) {
        return None;
    }
    let mut all = Vec::with_capacity(stages.len() + 2);
    for stage in stages {
        match lower(stage) {
            Some(made) => all.extend(made),
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

/// A map, as if it had been written there.
pub(crate) fn map(pairs: Vec<(Node, Node)>, span: Span) -> Node {
    Node { kind: NodeKind::Map(pairs), span }
}

/// A word, as if it had been written there.
pub(crate) fn text(text: &str, span: Span) -> Node {
    Node { kind: NodeKind::Text(text.to_owned(), ScalarStyle::Altered), span }
}
