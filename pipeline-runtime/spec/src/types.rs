//! Types of payloads: from the short form `fields:`, and what a path finds in them.
//!
//! Objects are closed: a field that is not named is undefined, so that a misspelt one is found when the pipeline is
//! checked. Records may well have more fields; they pass untouched.

use millstream_filter_api::{Issue, Kind, Node, NodeKind, OwnedValuePath};
use vrl::path::OwnedSegment;
use vrl::value::kind::{Collection, Field};

use crate::shape::with_help;
use crate::spelling;

/// The type of `fields: { order_id: string, total: number? }`.
pub(crate) fn fields(node: &Node) -> Kind {
    let known = node.as_map().unwrap_or(&[]).iter().filter_map(|(name, ty)| {
        let name = name.as_text()?;
        Some((Field::from(name), of_node(ty)))
    });
    Kind::object(Collection::from_parts(known.collect(), Kind::undefined()))
}

fn of_node(node: &Node) -> Kind {
    match &node.kind {
        NodeKind::Text(word, _) => of_word(word),
        NodeKind::List(items) => {
            let item = items.first().map_or_else(Kind::any, of_node);
            Kind::array(Collection::from_unknown(item))
        }
        NodeKind::Map(_) => fields(node),
        _ => Kind::any(),
    }
}

fn of_word(word: &str) -> Kind {
    let (word, optional) = word.strip_suffix('?').map_or((word, false), |w| (w, true));
    let kind = match word {
        "string" => Kind::bytes(),
        "integer" => Kind::integer(),
        // Not integer or float: an operator on such a mixture does not compile. Codecs turn whole numbers into floats.
        "number" => Kind::float(),
        "boolean" => Kind::boolean(),
        "object" => Kind::any_object(),
        "array" => Kind::array(Collection::any()),
        _ => Kind::any(),
    };
    if optional { kind.or_null().or_undefined() } else { kind }
}

/// The type of a CSV row whose columns are not typed: text in every field.
pub(crate) fn untyped_row() -> Kind {
    Kind::object(Collection::from_unknown(Kind::bytes().or_undefined()))
}

/// The type of an object of one field, a text.
pub(crate) fn one_text(field: &str) -> Kind {
    Kind::object(Collection::from_parts([(Field::from(field), Kind::bytes())].into(), Kind::undefined()))
}

/// The type of records that come from several places, each of its own type. A field has what any of them says of it, and
/// may be missing where one of them does not have it. What is a whole number in one and any number in another is a number
/// in all: the types given are changed so, because codecs follow them.
pub(crate) fn together(mut all: Vec<&mut Kind>) -> Kind {
    let union = |all: &[&mut Kind]| all.iter().map(|k| (**k).clone()).reduce(|a, b| a.union(b));
    let Some(mixed) = union(&all) else { return Kind::any() };
    all.iter_mut().for_each(|kind| widen(kind, &mixed));
    union(&all).unwrap_or_else(Kind::any)
}

/// Makes numbers of the integers that are numbers elsewhere.
fn widen(kind: &mut Kind, mixed: &Kind) {
    let number = mixed.contains_float() && mixed.contains_integer();
    if number
        && !(mixed.contains_bytes() || mixed.contains_boolean() || mixed.contains_object() || mixed.contains_array())
    {
        if kind.contains_integer() {
            kind.add_float();
            kind.remove_integer();
        }
        return;
    }
    if let (Some(object), Some(mixed)) = (kind.as_object_mut(), mixed.as_object()) {
        for (field, kind) in object.known_mut() {
            mixed.known().get(field).into_iter().for_each(|mixed| widen(kind, mixed));
        }
    }
    // A list of "anything" has no type that could be walked into.
    if let (Some(array), Some(mixed)) = (kind.as_array_mut(), mixed.as_array())
        && array.is_unknown_exact()
        && mixed.is_unknown_exact()
    {
        let mut item = array.unknown_kind().without_undefined();
        widen(&mut item, &mixed.unknown_kind().without_undefined());
        array.set_unknown(item);
    }
}

/// What is wrong with a path into a payload of this type; `node` is where it stands.
pub(crate) fn check_path(kind: &Kind, path: &OwnedValuePath, node: &Node) -> Option<Issue> {
    let mut kind = kind.clone();
    let mut walked = String::new();
    for segment in &path.segments {
        let (step, next) = match segment {
            OwnedSegment::Field(name) => {
                let Some(object) = kind.as_object() else { return Some(no_part(&kind, &walked, "fields", node)) };
                let known = object.known().get(&Field::from(name.as_str())).cloned();
                let next = known.unwrap_or_else(|| object.unknown_kind());
                if next.is_undefined() || next.is_never() {
                    let message = format!("there is no field `{walked}.{name}`");
                    let names: Vec<&str> = object.known().keys().map(|k| k.as_str()).collect();
                    let help = match spelling::nearest(name.as_str(), names.iter().copied()) {
                        Some(near) => Some(format!("did you mean `{walked}.{near}`?")),
                        None => spelling::help(name.as_str(), &names),
                    };
                    return Some(with_help(Issue::error(node.span, "unknown_field", message), help));
                }
                (format!(".{name}"), next)
            }
            OwnedSegment::Index(index) => {
                let Some(array) = kind.as_array() else { return Some(no_part(&kind, &walked, "elements", node)) };
                (format!("[{index}]"), array.unknown_kind())
            }
        };
        walked.push_str(&step);
        kind = next;
    }
    None
}

fn no_part(kind: &Kind, walked: &str, parts: &str, node: &Node) -> Issue {
    let what = if walked.is_empty() { "the payload".to_owned() } else { format!("`{walked}`") };
    let kind = kind.clone().without_undefined();
    Issue::error(node.span, "unknown_field", format!("{what} is {kind} and has no {parts}"))
}

#[cfg(test)]
mod tests {
    use millstream_filter_api::Span;

    use super::*;
    use crate::{path, tree};

    fn kind(yaml: &str) -> Kind {
        let (node, issues) = tree::parse(yaml.as_bytes());
        assert_eq!(issues, []);
        fields(&node.unwrap())
    }

    #[test]
    fn the_short_form() {
        let kind = kind("{ id: string, n: integer?, tags: [string], to: { city: string }, x: number, any: any }");
        let at = |p: &str| kind.at_path(&path::field(p).unwrap());
        assert_eq!(at(".id"), Kind::bytes());
        assert_eq!(at(".n"), Kind::integer().or_null().or_undefined());
        assert_eq!(at(".to.city"), Kind::bytes());
        assert_eq!(at(".x"), Kind::float());
        assert!(at(".any").is_any());
        assert!(at(".idd").is_undefined());
        assert!(at(".tags[0]").contains_bytes());
    }

    #[test]
    fn types_of_several_places() {
        let (mut a, mut b) = (
            kind("{ id: string, n: integer, x: integer?, l: [integer], only: integer }"),
            kind("{ id: string, n: number, x: string, l: [number], o: { n: integer } }"),
        );
        let both = together(vec![&mut a, &mut b]);
        let at = |p: &str| both.at_path(&path::field(p).unwrap());
        assert_eq!(at(".id"), Kind::bytes());
        assert_eq!(at(".n"), Kind::float(), "whole here, any number there");
        assert_eq!(at(".x"), Kind::integer().or_bytes().or_null().or_undefined());
        assert_eq!(at(".only"), Kind::integer().or_undefined(), "not in both");
        assert_eq!(at(".o.n"), Kind::integer().or_undefined());
        assert_eq!(at(".l[0]"), Kind::float().or_undefined());
        assert!(at(".oops").is_undefined());
        assert_eq!(a.at_path(&path::field(".n").unwrap()), Kind::float(), "so that codecs read it as one");
        assert_eq!(together(vec![&mut kind("{ n: integer }")]), kind("{ n: integer }"));
        let any = together(vec![&mut kind("{ n: integer }"), &mut Kind::any()]);
        assert!(any.is_any());
    }

    #[test]
    fn paths_are_checked_against_types() {
        let kind = kind("{ order_id: string, to: { city: string }, tags: [string], x: any, o: object }");
        let node = Node { kind: NodeKind::Null, span: Span::default() };
        let check = |p: &str| check_path(&kind, &path::field(p).unwrap(), &node).map(|i| (i.message, i.help));
        for good in [".order_id", ".to.city", ".tags[0]", ".x.y.z[0]", ".o.p"] {
            assert_eq!(check(good), None, "{good}");
        }
        let (message, help) = check(".order_idd").unwrap();
        assert_eq!(message, "there is no field `.order_idd`");
        assert_eq!(help.as_deref(), Some("did you mean `.order_id`?"));
        assert_eq!(check(".to.cty").unwrap().1.as_deref(), Some("did you mean `.to.city`?"));
        assert!(check(".order_id.x").unwrap().0.contains("has no fields"));
        assert!(check(".to[0]").unwrap().0.contains("has no elements"));
    }
}
