//! Types of payloads as people write them: the short form of `fields`, and words for what it cannot say.

use std::collections::BTreeMap;

use millstream_filter_api::Kind;
use millstream_spec::model::Pipeline;
use serde::Serialize;

/// What the payloads of a topic look like.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TopicType {
    /// The topic.
    pub topic: String,
    /// The fields of an object by name, each with its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    /// The type of what is no such object.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}

/// Of each topic that a pipeline reads or writes payloads of its own in, in the order records take.
pub fn of_topics(pipeline: &Pipeline) -> Vec<TopicType> {
    let sources = pipeline.sources.iter().map(|source| (&source.topic, &source.types));
    let stages = pipeline.stages.iter().flat_map(|stage| {
        let read = stage.inputs.iter().map(|input| (&input.topic, &input.types));
        read.chain(stage.outputs.iter().map(|output| (&output.topic, &output.types)))
    });
    let mut all: Vec<TopicType> = Vec::new();
    for (topic, kind) in sources.chain(stages) {
        if !all.iter().any(|known| known.topic == *topic) {
            all.push(of_topic(topic, kind));
        }
    }
    all
}

fn of_topic(topic: &str, kind: &Kind) -> TopicType {
    let topic = topic.to_owned();
    match fields(kind).filter(|fields| !fields.is_empty() && is_only_object(kind)) {
        Some(fields) => TopicType { topic, fields: Some(fields.into_iter().collect()), other: None },
        None => TopicType { topic, fields: None, other: Some(text(kind)) },
    }
}

fn is_only_object(kind: &Kind) -> bool {
    let mut rest = kind.clone();
    rest.remove_object();
    rest.is_never()
}

/// Names and types of an object's fields; `*` stands for all that have no name. `None` for no object, and for one of which
/// nothing is known.
fn fields(kind: &Kind) -> Option<Vec<(String, String)>> {
    let object = kind.as_object().filter(|_| !is_all(kind))?;
    let known = object.known().iter().filter(|(_, kind)| !kind.is_undefined());
    let mut fields: Vec<_> = known.map(|(name, kind)| (name.as_str().to_owned(), text(kind))).collect();
    let rest = object.unknown_kind().without_undefined();
    let untold = is_all(&rest);
    if fields.is_empty() && untold {
        return None;
    }
    if !rest.is_never() {
        fields.push(("*".to_owned(), if untold { ANY.to_owned() } else { text(&rest) }));
    }
    Some(fields)
}

const ANY: &str = "any";

/// Whatever JSON has. Of a type without values everything is said to be in it.
fn is_all(kind: &Kind) -> bool {
    !kind.is_never()
        && kind.contains_bytes()
        && kind.contains_integer()
        && kind.contains_boolean()
        && kind.contains_object()
}

/// A type in words: `string`, `number?`, `[string]`, `{ sku: string, count: integer }`, `string or integer`.
pub fn text(kind: &Kind) -> String {
    if is_all(kind) {
        return ANY.to_owned();
    }
    if kind.is_never() {
        return "never".to_owned();
    }
    let plain = [
        (kind.contains_bytes(), "string"),
        (kind.contains_integer(), "integer"),
        (kind.contains_float(), "number"),
        (kind.contains_boolean(), "boolean"),
        (kind.contains_timestamp(), "timestamp"),
    ];
    let mut words: Vec<String> = plain.iter().filter(|(has, _)| *has).map(|(_, word)| (*word).to_owned()).collect();
    if kind.contains_object() {
        let flow = |fields: Vec<(String, String)>| {
            let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        };
        words.push(fields(kind).map_or_else(|| "object".to_owned(), flow));
    }
    if let Some(array) = kind.as_array() {
        let item = array.reduced_kind().without_undefined();
        let untold = item.is_never() || is_all(&item);
        words.push(if untold { "array".to_owned() } else { format!("[{}]", text(&item)) });
    }
    let optional = kind.contains_null() || kind.contains_undefined();
    match (words.len(), optional) {
        (0, _) => "null".to_owned(),
        (1, true) => format!("{}?", words[0]),
        (_, true) => format!("({})?", words.join(" or ")),
        (_, false) => words.join(" or "),
    }
}

impl TopicType {
    /// For people: the topic, and below it one field a line.
    pub fn lines(&self) -> String {
        match (&self.fields, &self.other) {
            (Some(fields), _) => {
                let line = |(name, kind): (&String, &String)| format!("    {name}: {kind}\n");
                format!("  {}\n{}", self.topic, fields.iter().map(line).collect::<String>())
            }
            (None, other) => format!("  {}: {}\n", self.topic, other.as_deref().unwrap_or(ANY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrl::value::kind::{Collection, Field};

    fn object(fields: &[(&str, Kind)]) -> Kind {
        let known = fields.iter().map(|(name, kind)| (Field::from(*name), kind.clone())).collect();
        Kind::object(Collection::from_parts(known, Kind::undefined()))
    }

    #[test]
    fn types_are_said_as_fields_say_them() {
        assert_eq!(text(&Kind::bytes()), "string");
        assert_eq!(text(&Kind::float().or_null().or_undefined()), "number?");
        assert_eq!(text(&Kind::bytes().or_integer()), "string or integer");
        assert_eq!(text(&Kind::bytes().or_boolean().or_null()), "(string or boolean)?");
        assert_eq!(text(&Kind::array(Collection::from_unknown(Kind::integer()))), "[integer]");
        assert_eq!(text(&Kind::array(Collection::any())), "array");
        assert_eq!(text(&Kind::any_object()), "object");
        assert_eq!(
            (text(&Kind::any()), text(&Kind::null()), text(&Kind::json())),
            ("any".into(), "null".into(), "any".into())
        );
        let line = object(&[("sku", Kind::bytes()), ("count", Kind::integer().or_undefined())]);
        assert_eq!(text(&Kind::array(Collection::from_unknown(line))), "[{ count: integer?, sku: string }]");
        assert_eq!(text(&Kind::object(Collection::from_unknown(Kind::bytes().or_undefined()))), "{ *: string }");
        assert_eq!(text(&object(&[])), "{}");
    }

    #[test]
    fn an_object_has_a_line_for_each_field() {
        let topic = of_topic("t", &object(&[("b", Kind::bytes()), ("a", Kind::timestamp())]));
        assert_eq!(topic.lines(), "  t\n    a: timestamp\n    b: string\n");
        assert_eq!(of_topic("t", &Kind::any()).lines(), "  t: any\n");
        assert_eq!(of_topic("t", &Kind::bytes()).lines(), "  t: string\n");
        assert_eq!(of_topic("t", &object(&[("a", Kind::bytes())]).or_null()).lines(), "  t: { a: string }?\n");
        // A field that is certainly not there is none.
        assert_eq!(
            of_topic("t", &object(&[("a", Kind::bytes()), ("gone", Kind::undefined())])).lines(),
            "  t\n    a: string\n"
        );
    }
}
