//! JSON Schema -> the type of a payload, as far as expressions can use it. What it cannot tell is any value; the schema
//! itself is enforced by the filter `validate`, not here.

use std::collections::BTreeMap;

use serde_json::Value;
use vrl::value::Kind;
use vrl::value::kind::{Collection, Field};

/// Levels and schemas looked at; beyond it everything is any value.
const MAX_DEPTH: usize = 32;
const MAX_SCHEMAS: usize = 10_000;

/// The type that a JSON Schema describes, or what is wrong with the text. Objects without `additionalProperties` are
/// closed, so that expressions can tell a misspelt field; whole numbers and floats together are floats.
pub fn kind_of_json_schema(text: &str) -> Result<Kind, String> {
    let root: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    match &root {
        Value::Object(_) | Value::Bool(_) => Ok(Reader { root: &root, left: MAX_SCHEMAS }.kind(&root, 0)),
        _ => Err("a JSON Schema is an object".into()),
    }
}

struct Reader<'a> {
    root: &'a Value,
    left: usize,
}

impl Reader<'_> {
    fn kind(&mut self, schema: &Value, depth: usize) -> Kind {
        let Value::Object(map) = schema else { return Kind::any() };
        if depth > MAX_DEPTH || self.left == 0 {
            return Kind::any();
        }
        self.left -= 1;
        if let Some(target) = map.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|p| self.root.pointer(p)).cloned();
            return found.map_or_else(Kind::any, |s| self.kind(&s, depth + 1));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(all)) = map.get(key) {
                let kinds = all.iter().map(|s| self.kind(s, depth + 1));
                return kinds.reduce(|a, b| mixed(a.union(b))).unwrap_or_else(Kind::any);
            }
        }
        let mut kind = match map.get("type") {
            Some(Value::String(name)) => self.typed(name, schema, depth),
            Some(Value::Array(names)) => {
                let kinds = names.iter().filter_map(Value::as_str).map(|n| self.typed(n, schema, depth));
                kinds.reduce(Kind::union_of).map_or_else(Kind::any, mixed)
            }
            _ => match (map.get("enum"), map.get("const")) {
                (Some(Value::Array(values)), _) => {
                    values.iter().map(of_value).reduce(Kind::union_of).map_or_else(Kind::any, mixed)
                }
                (_, Some(value)) => of_value(value),
                _ if map.contains_key("properties") => self.typed("object", schema, depth),
                _ => Kind::any(),
            },
        };
        if map.get("nullable") == Some(&Value::Bool(true)) {
            kind.add_null();
        }
        kind
    }

    fn typed(&mut self, name: &str, schema: &Value, depth: usize) -> Kind {
        match name {
            "string" => Kind::bytes(),
            "integer" => Kind::integer(),
            "number" => Kind::float(),
            "boolean" => Kind::boolean(),
            "null" => Kind::null(),
            "array" => {
                let item = schema.get("items").map_or_else(Kind::any, |s| self.kind(s, depth + 1));
                Kind::array(Collection::from_unknown(item))
            }
            "object" => self.object(schema, depth),
            _ => Kind::any(),
        }
    }

    /// Closed unless it says `additionalProperties`, as the short form is: a misspelt field is found.
    fn object(&mut self, schema: &Value, depth: usize) -> Kind {
        let Some(Value::Object(properties)) = schema.get("properties") else { return Kind::any_object() };
        let required = |name: &str| {
            schema.get("required").and_then(Value::as_array).is_some_and(|r| r.iter().any(|n| n.as_str() == Some(name)))
        };
        let mut known = BTreeMap::new();
        for (name, schema) in properties {
            let kind = self.kind(schema, depth + 1);
            let kind = if required(name) { kind } else { kind.or_undefined() };
            known.insert(Field::from(name.as_str()), kind);
        }
        let unknown = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Kind::any(),
            Some(other @ Value::Object(_)) => self.kind(other, depth + 1).or_undefined(),
            _ => Kind::undefined(),
        };
        Kind::object(Collection::from_parts(known, unknown))
    }
}

trait UnionOf {
    fn union_of(a: Kind, b: Kind) -> Kind;
}

impl UnionOf for Kind {
    fn union_of(a: Kind, b: Kind) -> Kind {
        a.union(b)
    }
}

/// Integer or float is float: no operator compiles on the mixture, and whole numbers are turned into floats on decode.
fn mixed(mut kind: Kind) -> Kind {
    if kind.contains_float() && !kind.is_any() {
        kind.remove_integer();
    }
    kind
}

fn of_value(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::null(),
        Value::Bool(_) => Kind::boolean(),
        Value::Number(n) if n.is_i64() => Kind::integer(),
        Value::Number(_) => Kind::float(),
        Value::String(_) => Kind::bytes(),
        Value::Array(_) => Kind::array(Collection::any()),
        Value::Object(_) => Kind::any_object(),
    }
}

#[cfg(test)]
mod tests {
    use super::{kind_of_json_schema as kind, *};
    use vrl::path::parse_target_path;

    #[test]
    fn a_schema_types_its_fields() {
        let kind = kind(
            r##"{"type":"object","required":["id","qty","at"],"properties":{
                "id":{"type":"string"},"qty":{"type":"integer"},"price":{"type":["number","null"]},
                "at":{"$ref":"#/$defs/at"},"tags":{"type":"array","items":{"type":"string"}},
                "open":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true},
                "kind":{"enum":["a","b"]},"either":{"anyOf":[{"type":"integer"},{"type":"number"}]}},
                "$defs":{"at":{"type":"boolean"}}}"##,
        )
        .unwrap();
        let at = |p: &str| kind.at_path(&parse_target_path(p).unwrap().path);
        assert_eq!(at(".id"), Kind::bytes());
        assert_eq!(at(".qty"), Kind::integer());
        assert_eq!(at(".price"), Kind::float().or_null().or_undefined());
        assert_eq!(at(".at"), Kind::boolean());
        assert_eq!(at(".kind"), Kind::bytes().or_undefined());
        assert_eq!(at(".either"), Kind::float().or_undefined());
        assert!(at(".nope").is_undefined());
        assert!(at(".open.anything").is_any());
    }

    #[test]
    fn loops_and_nonsense_end() {
        assert!(kind(r##"{"$ref":"#"}"##).unwrap().is_any());
        assert!(kind(r##"{"properties":{"a":{"$ref":"#"},"b":{"$ref":"#"},"c":{"$ref":"#"}}}"##).is_ok());
        assert!(kind("[]").is_err());
        assert!(kind("{").is_err());
    }
}
