//! The JSON Schema of the language, for editors: made of the same tables that check a file (`language.rs`), with the
//! configurations of the filters in their places.

use serde_json::{Map, Value, json};

use crate::language;
use crate::registry::Registry;
use crate::shape::{MapRule, Shape, TextRule};

/// The JSON Schema (draft 2020-12) of a pipeline file with these filters.
///
/// It is about shapes: what needs more than one place to judge (a `from` that names nothing, types of expressions) is
/// the business of [`check`](crate::check()). A time is judged by its form alone.
pub fn schema(registry: &Registry) -> Value {
    let mut writer = Writer { registry, defs: Map::new() };
    let root = writer.shape(&language::PIPELINE);
    for filter in registry.iter() {
        let text = filter.config_schema();
        let mut config: Value = serde_json::from_str(text).unwrap_or(Value::Bool(true));
        if let Value::Object(map) = &mut config {
            // With an id of its own, references inside it stay inside it.
            map.entry("$id").or_insert_with(|| json!(format!("urn:millstream:filter:{}", filter.name())));
        }
        writer.defs.insert(def_of(filter.name()), config);
    }
    writer.defs.insert(
        "reference".into(),
        json!({
            "description": "a value from the environment or a file",
            "type": "string",
            "pattern": "\\$\\{(?:env:[A-Za-z0-9_]+(?::-[^}]*)?|file:[^}]+)\\}",
        }),
    );
    let mut all = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Millstream pipeline",
    });
    if let (Value::Object(all), Value::Object(root)) = (&mut all, root) {
        all.extend(root);
        all.insert("$defs".into(), Value::Object(writer.defs));
    }
    all
}

fn def_of(filter: &str) -> String {
    format!("filter-{filter}")
}

struct Writer<'a> {
    registry: &'a Registry,
    defs: Map<String, Value>,
}

impl Writer<'_> {
    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Anything => json!({}),
            Shape::Null => json!({ "type": "null" }),
            Shape::Text(rule) => or_reference(text(rule)),
            Shape::Flag => or_reference(json!({ "type": "boolean" })),
            Shape::Whole(min, max) if *max == i64::MAX => or_reference(json!({ "type": "integer", "minimum": min })),
            Shape::Whole(min, max) => or_reference(json!({ "type": "integer", "minimum": min, "maximum": max })),
            Shape::List(item, min, max) => {
                json!({ "type": "array", "items": self.shape(item), "minItems": min, "maxItems": max })
            }
            Shape::Map(rule) => self.map(rule),
            Shape::Names(names, of, min) => json!({
                "type": "object",
                "propertyNames": text(names),
                "additionalProperties": self.shape(of),
                "minProperties": min,
            }),
            Shape::Either(all) => {
                let all: Vec<Value> =
                    all.iter().filter(|s| !matches!(s, Shape::LaterMap(_))).map(|s| self.shape(s)).collect();
                json!({ "anyOf": all })
            }
            Shape::Named(name, inner) => {
                if !self.defs.contains_key(*name) {
                    // First the place, then the content: it may refer to itself.
                    self.defs.insert((*name).to_owned(), Value::Null);
                    let inner = self.shape(inner);
                    self.defs.insert((*name).to_owned(), inner);
                }
                json!({ "$ref": format!("#/$defs/{name}") })
            }
            Shape::FilterName => self.filter_name(),
            Shape::FilterItem => {
                let filters = self.registry.names().into_iter();
                let properties: Map<String, Value> = filters.map(|n| (n.to_owned(), config_of(n))).collect();
                json!({ "anyOf": [
                    self.filter_name(),
                    {
                        "type": "object",
                        "properties": properties,
                        "additionalProperties": false,
                        "minProperties": 1,
                        "maxProperties": 1,
                    },
                ] })
            }
            Shape::Later | Shape::LaterMap(_) => json!({ "not": {} }),
        }
    }

    fn filter_name(&self) -> Value {
        let each: Vec<Value> =
            self.registry.iter().map(|f| json!({ "const": f.name(), "description": f.page().summary })).collect();
        if each.is_empty() { json!({ "not": {} }) } else { or_reference(json!({ "anyOf": each })) }
    }

    fn map(&mut self, rule: &'static MapRule) -> Value {
        let mut properties = Map::new();
        for key in rule.keys {
            let mut value = self.shape(&key.shape);
            if let Value::Object(map) = &mut value {
                map.insert("description".into(), json!(key.doc));
            }
            properties.insert(key.name.to_owned(), value);
        }
        let required: Vec<&str> = rule.keys.iter().filter(|k| k.required).map(|k| k.name).collect();
        let mut more: Vec<Value> = Vec::new();
        for group in rule.one_of {
            let each: Vec<Value> = group.iter().map(|k| json!({ "required": [k] })).collect();
            more.push(json!({ "oneOf": each }));
        }
        for group in rule.one_at_most {
            more.push(json!({ "not": { "required": group } }));
        }
        for (one, other) in rule.needs {
            more.push(json!({ "dependentRequired": { *one: [other] } }));
        }
        let takes_filter = rule.keys.iter().any(|k| matches!(k.shape, Shape::FilterName));
        for name in self.registry.names().into_iter().filter(|_| takes_filter) {
            more.push(json!({
                "if": { "properties": { "filter": { "const": name } }, "required": ["filter"] },
                "then": { "properties": { "with": config_of(name) } },
            }));
        }
        let mut all = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        if let (Value::Object(all), false) = (&mut all, more.is_empty()) {
            all.insert("allOf".into(), Value::Array(more));
        }
        all
    }
}

fn config_of(filter: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{}", def_of(filter)) })
}

/// `${env:…}` may stand for any scalar.
fn or_reference(value: Value) -> Value {
    json!({ "anyOf": [value, { "$ref": "#/$defs/reference" }] })
}

fn text(rule: &TextRule) -> Value {
    let mut all = json!({ "type": "string", "maxLength": rule.max });
    let Value::Object(map) = &mut all else { return all };
    let pattern = json!(format!("^(?:{})$", rule.pattern));
    match (rule.words, rule.pattern) {
        ([], _) => drop(map.insert("pattern".into(), pattern)),
        (words, "") => drop(map.insert("enum".into(), json!(words))),
        (words, _) => drop(map.insert("anyOf".into(), json!([{ "enum": words }, { "pattern": pattern }]))),
    }
    if !rule.reserved.is_empty() {
        map.insert("not".into(), json!({ "enum": rule.reserved }));
    }
    all
}

#[cfg(test)]
mod tests;
