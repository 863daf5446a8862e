//! Registries of schemas: which one is in force, and how a format names what is in it.

use std::path::Path;
use std::sync::Arc;

use millstream_codec::{AvroSchema, Registered, RegistryAddress, RegistryAuth, SchemaRegistry, Subject};
use millstream_filter_api::{Files, Issue, Node, NodeKind};

use crate::language::REGISTRY;
use crate::model::Format;
use crate::read;
use crate::registry::Registry;
use crate::shape::{self, Shape};

/// Reads a `registry:`, of a pipeline or of the settings; nothing where it is wrong.
pub fn schema_registry(node: &Node, files: &dyn Files, issues: &mut Vec<Issue>) -> Option<RegistryAddress> {
    let before = issues.len();
    static SHAPE: Shape = Shape::Map(&REGISTRY);
    shape::check(node, &SHAPE, &Registry::default(), issues);
    if issues.len() > before {
        return None;
    }
    address(node, files, issues)
}

/// The same of a node whose shape is right.
fn address(node: &Node, files: &dyn Files, issues: &mut Vec<Issue>) -> Option<RegistryAddress> {
    let at = node.get("url")?;
    let url = at.as_text()?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains([' ', '?', '#'])) else {
        let issue = Issue::error(at.span, "wrong_text", "`url` is the address of a registry");
        issues.push(issue.help("such as `https://registry.example.com:8081`"));
        return None;
    };
    if rest.split('/').next().is_some_and(|host| host.contains('@')) {
        let issue = Issue::error(at.span, "wrong_text", "a user and a password do not stand in the address");
        issues.push(issue.help("write `auth: { basic: { user, password } }` beside it"));
        return None;
    }
    let auth = node.get("auth");
    let auth = match (auth.and_then(|a| a.get("basic")), auth.and_then(|a| read::text(a, "bearer"))) {
        (Some(basic), _) => RegistryAuth::Basic {
            user: read::text(basic, "user")?.to_owned(),
            password: read::text(basic, "password")?.to_owned(),
        },
        (None, Some(token)) => RegistryAuth::Bearer(token.trim().to_owned()),
        (None, None) => RegistryAuth::None,
    };
    let ca = match node.get("ca").and_then(|ca| Some((ca, ca.as_text()?))) {
        None => None,
        Some((ca, path)) => match files.read(Path::new(path)) {
            Ok(pem) => Some(pem.into()),
            Err(e) => {
                issues.push(Issue::error(ca.span, "file_unreadable", format!("cannot read `{path}`: {e}")));
                return None;
            }
        },
    };
    Some(RegistryAddress { url: url.to_owned(), auth, ca })
}

/// The filters' registry for one pipeline: with the registry of schemas that is in force there.
pub(crate) fn in_force(root: &Node, registry: &Registry, files: &dyn Files, issues: &mut Vec<Issue>) -> Registry {
    let named = root.get("registry").filter(|node| node.get("url").is_some());
    let address = match named {
        Some(node) => address(node, files, issues),
        // What is wrong with it has been said.
        None if root.get("registry").is_some() => None,
        None => registry.schemas.as_ref().and_then(|schemas| schemas.settings.clone()),
    };
    let made = address.zip(registry.schemas.as_ref()).map(|(address, schemas)| (schemas.make)(&address));
    let in_force = match made {
        Some(Ok(client)) => Some(client),
        Some(Err(why)) => {
            let span = named.map_or(root.span, |node| node.span);
            issues.push(Issue::error(span, "registry_invalid", format!("the schema registry: {why}")));
            None
        }
        None => None,
    };
    let mut registry = registry.clone();
    registry.in_force = in_force;
    registry
}

/// `avro` of a topic, where its schema is known or need not be: behind numbers of a registry where one is in force.
pub(crate) fn framed(
    node: &Node,
    said: Option<&Node>,
    schema: Option<AvroSchema>,
    topic: Option<&str>,
    registry: Option<&Arc<dyn SchemaRegistry>>,
    issues: &mut Vec<Issue>,
) -> Option<Format> {
    let wanted = said.and_then(|said| said.get("registry"));
    let bare = wanted.and_then(flag) == Some(false);
    let keys = ["subject", "register"].map(|key| said.and_then(|said| said.get(key)));
    let Some(registry) = registry.filter(|_| !bare) else {
        if let Some(at) = wanted.filter(|_| !bare).or(keys[0]).or(keys[1]) {
            let issue = Issue::error(at.span, "missing_key", "no schema registry is named");
            issues.push(issue.help("write `registry: { url: … }` into the pipeline or into `millstream.yaml`"));
            return None;
        }
        return schema.map(Format::Avro).or_else(|| {
            let issue = Issue::error(node.span, "missing_key", "`avro` needs a schema");
            issues.push(issue.help(match topic {
                Some(_) => "write `to: { format: { avro: { schema: FILE.avsc } } }`",
                None => "write `schema: FILE.avsc` beside it, or name a schema registry with `registry: { url: … }`",
            }));
            None
        });
    };
    let [strategy, register] = keys;
    let (Some(schema), Some(topic)) = (&schema, topic) else {
        if let Some(at) = strategy.or(register) {
            let what = "`subject` and `register` are of an output that has a schema";
            issues.push(Issue::error(at.span, "conflicting_keys", what));
        }
        return Some(Format::Registered(Registered::new(Arc::clone(registry), schema, None)));
    };
    let name = match (strategy.and_then(Node::as_text), schema.name()) {
        (Some("record"), Some(name)) => name.to_owned(),
        (Some("topic-record"), Some(name)) => format!("{topic}-{name}"),
        (Some(word @ ("record" | "topic-record")), None) => {
            let at = strategy.map_or(node.span, |at| at.span);
            issues.push(Issue::error(at, "conflicting_keys", format!("`{word}`: the schema is no record with a name")));
            return None;
        }
        _ => format!("{topic}-value"),
    };
    let register = register.and_then(flag).unwrap_or(false);
    let subject = Subject { name, schema: schema.text().to_owned(), protobuf: false, register };
    Some(Format::Registered(Registered::new(Arc::clone(registry), Some(schema.clone()), Some(subject))))
}

pub(crate) fn flag(node: &Node) -> Option<bool> {
    if let NodeKind::Bool(yes) = node.kind { Some(yes) } else { None }
}
