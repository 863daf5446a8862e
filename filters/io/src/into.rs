//! The field that takes what came back.

use std::sync::Arc;

use millstream_expr::room_for;
use millstream_filter_api::{
    Failure, Issue, Kind, Node, NodeKind, OwnedValuePath, Payload, ScalarStyle, Value, field_path,
};
use vrl::path::OwnedSegment;

/// The field that takes an answer.
pub(crate) struct Into {
    pub path: OwnedValuePath,
    /// The part of the path that is sure to be one place.
    pub touched: Arc<[OwnedValuePath]>,
}

impl Into {
    /// The field that the text of a node names.
    pub(crate) fn at(node: &Node, text: &str) -> Result<Self, Issue> {
        let path = field_path(node, text)?;
        // An index from the end may mean any element.
        let from_end = |s: &&OwnedSegment| !matches!(s, OwnedSegment::Index(i) if *i < 0);
        let settled: OwnedValuePath = path.segments.iter().take_while(from_end).cloned().collect::<Vec<_>>().into();
        Ok(Self { touched: Arc::from([settled]), path })
    }

    /// Type of a payload in which it is set.
    pub(crate) fn kind(&self, input: &Kind) -> Kind {
        let mut kind = if input.is_any() { Kind::any_object() } else { input.clone() };
        kind.insert(&self.path, Kind::any());
        kind
    }

    /// Whether the payload has a place for it, to be asked before a call whose effect would be for nothing.
    pub(crate) fn room(&self, payload: &Payload) -> Result<(), Failure> {
        let Some(value) = payload.value() else { return Ok(()) };
        if !value.is_object() {
            let message = format!("the payload is of type {}, and must be an object", value.kind_str());
            return Err(Failure::data("not_an_object", message));
        }
        room_for(value, &self.path.segments).map_err(|message| Failure::data("not_an_object", message))
    }

    /// Sets it; the rest of the payload keeps its text.
    pub(crate) fn set(&self, payload: &mut Payload, value: Value) {
        if let Some(payload) = payload.value_mut(&self.touched) {
            payload.insert(&self.path, value);
        }
    }
}

/// Whether a text is more than what stands in the file: a reference brought something in.
pub(crate) fn is_resolved(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Text(_, ScalarStyle::Altered))
}
