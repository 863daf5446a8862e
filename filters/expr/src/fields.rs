//! Finds fields that the types do not know. VRL reads them as null, so a misspelling would pass its check.

use millstream_filter_api::Kind;
use vrl::diagnostic::Span;
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};

use crate::rewrite::Facts;

/// A read of a field that cannot be there.
pub(crate) struct Unknown {
    pub(crate) span: Span,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Every such read of a program. What the program assigns itself is known, wherever it does so; `exists` and `del` may
/// name anything.
pub(crate) fn unknown(facts: &Facts, payload: &Kind, metadata: &Kind) -> Vec<Unknown> {
    let written: Vec<&OwnedTargetPath> = facts.writes.iter().map(|(path, _)| path).collect();
    let root = |prefix| if prefix == PathPrefix::Event { payload } else { metadata };
    facts.reads.iter().filter_map(|(path, span)| check(path, *span, root(path.prefix), &written)).collect()
}

fn check(path: &OwnedTargetPath, span: Span, root: &Kind, written: &[&OwnedTargetPath]) -> Option<Unknown> {
    let segments = &path.path.segments;
    let mut kind = root.clone();
    for (i, segment) in segments.iter().enumerate() {
        let OwnedSegment::Field(name) = segment else { return None };
        let object = kind.as_object();
        if let Some(found) = object.and_then(|o| o.known().get(&name.clone().into())) {
            kind = found.clone();
            continue;
        }
        // `any` is an object too, of unknown fields.
        let open = object.is_some_and(|o| o.unknown_kind().contains_any_defined());
        if open || written.iter().any(|w| w.prefix == path.prefix && meet(&w.path.segments, &segments[..=i])) {
            return None;
        }
        let before = show(path.prefix, &segments[..i]);
        let full = show(path.prefix, &segments[..=i]);
        let names: Vec<&str> = object.into_iter().flat_map(|o| o.known().keys()).map(|f| f.as_str()).collect();
        let (code, message) = match path.prefix {
            PathPrefix::Metadata => ("unknown_metadata", format!("there is no metadata `{full}`")),
            PathPrefix::Event if object.is_none() => {
                ("unknown_field", format!("there is no field `{full}`: `{before}` is of type {kind}"))
            }
            PathPrefix::Event => ("unknown_field", format!("there is no field `{full}` by the types declared")),
        };
        return Some(Unknown { span, code, message, help: help(path.prefix, &segments[..i], name, &names) });
    }
    None
}

/// Whether one path is the other or leads to it.
fn meet(a: &[OwnedSegment], b: &[OwnedSegment]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

fn help(prefix: PathPrefix, before: &[OwnedSegment], name: &str, names: &[&str]) -> String {
    let in_place = |name: &str| {
        let mut segments = before.to_vec();
        segments.push(OwnedSegment::field(name));
        show(prefix, &segments)
    };
    let nearest = names.iter().map(|n| (strsim::damerau_levenshtein(n, name), n)).min();
    match nearest {
        Some((distance, nearest)) if distance <= (name.len() / 3).max(2) => {
            format!("did you mean `{}`?", in_place(nearest))
        }
        Some(_) => {
            let mut list: Vec<String> = names.iter().take(12).map(|n| format!("`{}`", in_place(n))).collect();
            if names.len() > 12 {
                list.push("…".to_owned());
            }
            format!("known here: {}", list.join(", "))
        }
        None => "declare it under the source's `fields` or in its `schema`".to_owned(),
    }
}

fn show(prefix: PathPrefix, segments: &[OwnedSegment]) -> String {
    OwnedTargetPath { prefix, path: segments.to_vec().into() }.to_string()
}
