//! What the types of a source change about decoded values.

use std::collections::BTreeMap;

use millstream_filter_api::{Kind, Value};
use vrl::value::kind::Collection;

/// Types nested deeper than this are not looked at: a type may refer to itself.
const MAX_DEPTH: usize = 16;

/// Compiled from the type of a payload. Where the type says float and an integer arrives, the value becomes a float:
/// JSON writes `2` for `2.0`, and the expressions were checked with floats. Text of a CSV row becomes what its column's
/// type says where it fits. Nothing else changes; a value that does not fit its type stays as it is, for `validate` or
/// the expression to refuse.
#[derive(Clone, Debug, Default)]
pub struct Coercion {
    rule: Option<Rule>,
    /// Types of a row's columns, for CSV.
    columns: BTreeMap<String, Kind>,
}

#[derive(Clone, Debug)]
enum Rule {
    Float,
    Nested { fields: Vec<(String, Rule)>, other_fields: Option<Box<Rule>>, items: Option<Box<Rule>> },
}

impl Coercion {
    /// Changes nothing.
    pub const fn none() -> Self {
        Self { rule: None, columns: BTreeMap::new() }
    }

    /// What `kind` asks for.
    pub fn new(kind: &Kind) -> Self {
        let columns = kind.as_object().into_iter().flat_map(|o| o.known());
        let columns = columns.map(|(field, kind)| (field.as_str().to_owned(), kind.clone())).collect();
        Self { rule: rule(kind, 0), columns }
    }

    /// Changes `value` where its type asks for it.
    pub fn apply(&self, value: &mut Value) {
        if let Some(rule) = &self.rule {
            apply(rule, value);
        }
    }

    /// The type of a CSV column.
    pub(crate) fn column(&self, name: &str) -> Option<&Kind> {
        self.columns.get(name)
    }
}

fn rule(kind: &Kind, depth: usize) -> Option<Rule> {
    if kind.is_any() || kind.is_json() || depth > MAX_DEPTH {
        return None;
    }
    if kind.contains_float() && !kind.contains_integer() && !kind.contains_object() && !kind.contains_array() {
        return Some(Rule::Float);
    }
    let mut fields = Vec::new();
    let mut other_fields = None;
    if let Some(object) = kind.as_object() {
        fields.extend(object.known().iter().filter_map(|(f, k)| Some((f.as_str().to_owned(), rule(k, depth + 1)?))));
        other_fields = unknown(object, depth);
    }
    let items = kind.as_array().and_then(|array| unknown(array, depth));
    (!fields.is_empty() || other_fields.is_some() || items.is_some()).then_some(Rule::Nested {
        fields,
        other_fields,
        items,
    })
}

fn unknown<T: Ord + Clone + std::fmt::Debug>(collection: &Collection<T>, depth: usize) -> Option<Box<Rule>> {
    // An unknown of "anything" has no rule, and asking for its type would never end.
    if !collection.is_unknown_exact() {
        return None;
    }
    rule(&collection.unknown_kind(), depth + 1).map(Box::new)
}

fn apply(rule: &Rule, value: &mut Value) {
    match (rule, value) {
        (Rule::Float, value @ Value::Integer(_)) => {
            if let Value::Integer(i) = *value {
                *value = Value::from_f64_or_zero(i as f64);
            }
        }
        (Rule::Nested { fields, other_fields, .. }, Value::Object(object)) => {
            for (name, rule) in fields {
                if let Some(member) = object.get_mut(name.as_str()) {
                    apply(rule, member);
                }
            }
            if let Some(rule) = other_fields {
                for (key, member) in object.iter_mut() {
                    if !fields.iter().any(|(name, _)| name == key.as_str()) {
                        apply(rule, member);
                    }
                }
            }
        }
        (Rule::Nested { items: Some(rule), .. }, Value::Array(items)) => {
            for item in items {
                apply(rule, item);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrl::value::kind::Field;

    #[test]
    fn integers_become_floats_where_the_type_says_float_and_nowhere_else() {
        let inner = Kind::object(BTreeMap::from([(Field::from("p"), Kind::float().or_null())]));
        let kind = Kind::object(BTreeMap::from([
            (Field::from("price"), Kind::float()),
            (Field::from("count"), Kind::integer()),
            (Field::from("either"), Kind::integer().or_float()),
            (Field::from("lines"), Kind::array(Collection::from_unknown(inner))),
        ]));
        let decode = |text: &str| {
            let mut value = crate::json::parse(&text.to_owned().into()).unwrap();
            Coercion::new(&kind).apply(&mut value);
            String::from_utf8(crate::encode_value(&value).unwrap().to_vec()).unwrap()
        };
        assert_eq!(
            decode(r#"{"count":2,"either":2,"lines":[{"p":1},{"p":null},7],"other":3,"price":2}"#),
            r#"{"count":2,"either":2,"lines":[{"p":1.0},{"p":null},7],"other":3,"price":2.0}"#
        );
        assert_eq!(decode(r#"{"price":"2"}"#), r#"{"price":"2"}"#);
        assert_eq!(decode("[1]"), "[1]");
    }

    #[test]
    fn a_type_of_anything_ends_and_changes_nothing() {
        for kind in [Kind::any(), Kind::json(), Kind::any_object(), Kind::any().or_undefined()] {
            assert!(Coercion::new(&kind).rule.is_none(), "{kind}");
        }
    }
}
