//! `millstream.yaml`: read as a tree that knows its places, so that a wrong word is shown where it stands.

use std::path::PathBuf;

use config::Value;
use millstream_codec::RegistryAddress;
use millstream_filter_api::{Issue, Node, NodeKind, Span};
use millstream_spec::schema_registry;

use crate::failure::Failure;
use crate::pipelines::Beside;
use crate::settings::WORDS;

/// The key of the schema registry.
const REGISTRY: &str = "registry";
/// Keys that a later version reads.
const LATER: &[&str] = &["listen"];

/// The settings of the file, checked; every problem at once. References (`${env:NAME}`, `${file:PATH}`) are resolved, so
/// that a password need not stand in the file or on the command line.
pub fn read(name: &str, bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, Value)>, Failure> {
    let mut issues = Vec::new();
    let mut settings = Vec::new();
    let (mut root, found) = millstream_spec::tree::parse(bytes);
    // A file of comments alone sets nothing.
    issues.extend(found.into_iter().filter(|i| i.code != "empty_file"));
    if let Some(root) = &mut root {
        issues.extend(millstream_spec::resolve(root, &Beside::of(PathBuf::new()), env));
    }
    match root.as_ref().map(|root| (root, root.as_map())) {
        Some((_, Some(pairs))) => {
            for (key, value) in pairs {
                let word = key.as_text().unwrap_or("");
                // Read by itself: it is no single value.
                if word == REGISTRY {
                    continue;
                }
                match setting(word, key.span, value, &mut issues) {
                    Some(value) => settings.push((word.to_owned(), value)),
                    None => continue,
                }
            }
        }
        Some((root, None)) => {
            let message = format!("settings are a map of names and values, not {}", root.describe());
            issues.push(Issue::error(root.span, "wrong_type", message));
        }
        None => {}
    }
    if issues.is_empty() {
        return Ok(settings);
    }
    // A reference that stands for nothing leaves null behind: what was said of its place first is enough.
    let mut said = std::collections::HashSet::new();
    issues.retain(|i| said.insert((i.span.line, i.span.col)));
    let lines: Vec<String> = issues.iter().map(|i| shown(name, i)).collect();
    Err(Failure::wrong(lines.join("\n")))
}

/// The schema registry that the file names; every problem with it at once.
pub fn registry(
    name: &str,
    bytes: &[u8],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<RegistryAddress>, Failure> {
    let (root, _) = millstream_spec::tree::parse(bytes);
    let Some(mut node) = root.as_ref().and_then(|root| root.get(REGISTRY)).cloned() else { return Ok(None) };
    let files = Beside::of(PathBuf::new());
    let mut issues = millstream_spec::resolve(&mut node, &files, env);
    let address = if issues.is_empty() { schema_registry(&node, &files, &mut issues) } else { None };
    if issues.is_empty() {
        return Ok(address);
    }
    let lines: Vec<String> = issues.iter().map(|i| shown(name, i)).collect();
    Err(Failure::wrong(lines.join("\n")))
}

fn shown(name: &str, issue: &Issue) -> String {
    let help = issue.help.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
    format!("{name}:{}:{}: {}{help}", issue.span.line, issue.span.col, issue.message)
}

fn setting(key: &str, place: Span, value: &Node, issues: &mut Vec<Issue>) -> Option<Value> {
    if key == "kafka" {
        return kafka(value, issues);
    }
    let Some(word) = WORDS.iter().find(|w| w.key == key) else {
        issues.push(unknown(key, place));
        return None;
    };
    let text = match &value.kind {
        NodeKind::List(items) if key == "brokers" => {
            let all: Option<Vec<String>> = items.iter().map(|i| scalar(i, issues)).collect();
            all?.join(",")
        }
        _ => scalar(value, issues)?,
    };
    match (word.check)(&text) {
        Ok(()) => Some(Value::from(text)),
        Err(message) => {
            issues.push(Issue::error(value.span, "bad_value", format!("`{key}`: {message}")));
            None
        }
    }
}

fn kafka(value: &Node, issues: &mut Vec<Issue>) -> Option<Value> {
    let Some(pairs) = value.as_map() else {
        let message = format!("`kafka` is a map of client properties, not {}", value.describe());
        issues.push(Issue::error(value.span, "wrong_type", message));
        return None;
    };
    let mut properties = config::Map::new();
    for (key, value) in pairs {
        let (Some(name), Some(text)) = (key.as_text(), scalar(value, issues)) else { continue };
        let property = (name.to_owned(), text);
        match millstream_kafka::validate_properties(std::slice::from_ref(&property)) {
            Ok(()) => drop(properties.insert(property.0, property.1)),
            Err(refused) => issues.extend(refused.into_iter().map(|m| Issue::error(key.span, "client_property", m))),
        }
    }
    Some(Value::from(properties))
}

/// The text of a scalar.
fn scalar(node: &Node, issues: &mut Vec<Issue>) -> Option<String> {
    match &node.kind {
        NodeKind::Text(text, _) => Some(text.clone()),
        NodeKind::Bool(b) => Some(b.to_string()),
        NodeKind::Integer(n) => Some(n.to_string()),
        NodeKind::Float(n) => Some(n.to_string()),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
            let message = format!("one value is wanted here, not {}", node.describe());
            issues.push(Issue::error(node.span, "wrong_type", message));
            None
        }
    }
}

fn unknown(key: &str, place: Span) -> Issue {
    if LATER.contains(&key) {
        return Issue::error(place, "not_supported_yet", format!("`{key}` is not supported yet"));
    }
    let known: Vec<&str> = WORDS.iter().map(|w| w.key).chain(["kafka", REGISTRY]).collect();
    let issue = Issue::error(place, "unknown_key", format!("unknown key `{key}`"));
    match millstream_spec::nearest(key, known.iter().copied()) {
        Some(near) => issue.help(format!("did you mean `{near}`?")),
        None => issue.help(format!("there are `{}`", known.join("`, `"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(file: &str) -> String {
        match read("millstream.yaml", file.as_bytes(), &|name| (name == "WORD").then(|| "off".to_owned())) {
            Ok(settings) => format!("taken: {settings:?}"),
            Err(e) => e.message().map(|m| m.what.clone()).unwrap_or_default(),
        }
    }

    #[test]
    fn every_problem_is_shown_at_its_place() {
        let text = problems("broker: a:1\nfsync: sometimes\nkafka: 3\nlisten: 127.0.0.1:1\ndata_dir: [a]\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "millstream.yaml:1:1: unknown key `broker`; did you mean `brokers`?");
        assert!(lines[1].starts_with("millstream.yaml:2:8: `fsync`: `sometimes` is none of"), "{text}");
        assert!(lines[2].starts_with("millstream.yaml:3:8: `kafka` is a map"), "{text}");
        assert_eq!(lines[3], "millstream.yaml:4:1: `listen` is not supported yet");
        assert!(lines[4].starts_with("millstream.yaml:5:11: one value is wanted here, not a list"), "{text}");
    }

    #[test]
    fn references_are_resolved() {
        let taken = problems("fsync: ${env:WORD}\ndata_dir: ${env:NONE:-here}\n");
        assert!(taken.contains("off") && taken.contains("here"), "{taken}");
        let unset = problems("kafka:\n  sasl.password: ${env:NONE}\n");
        assert!(unset.starts_with("millstream.yaml:2:18: the environment variable `NONE` is not set"), "{unset}");
        assert_eq!(problems("data_dir: ${env:NONE}\nfsync: ${env:NONE}\n").lines().count(), 2);
        assert_eq!(unset.lines().count(), 1, "{unset}");
    }

    #[test]
    fn comments_alone_set_nothing() {
        assert_eq!(problems("# nothing yet\n"), "taken: []");
        assert!(problems("kafka:\n  group.id: x\n").starts_with("millstream.yaml:2:3: client property `group.id`"));
        assert!(problems("- a\n").contains("1:1: settings are a map"));
        assert!(problems("\tx: 1\n").starts_with("millstream.yaml:1:"));
    }
}
