//! Shapes: what may stand where. The tables of the language are made of them (`language.rs`); the check of a file and
//! the JSON Schema for editors both come from the same tables, so that neither knows more than the other.

use millstream_filter_api::{Issue, Node, NodeKind, Span};

use crate::registry::Registry;
use crate::spelling;
use crate::tree::shorten;

/// Filters that the documents name as coming, so that nobody looks for a misspelling.
const FILTERS_TO_COME: &[&str] = &["join"];

/// What may stand at one place.
pub(crate) enum Shape {
    /// Anything; somebody else looks at it.
    Anything,
    /// Nothing.
    Null,
    /// Text by a rule.
    Text(&'static TextRule),
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Whole(i64, i64),
    /// A list of at least and at most so many.
    List(&'static Shape, usize, usize),
    /// A map with these keys.
    Map(&'static MapRule),
    /// A map with free keys.
    Names(&'static TextRule, &'static Shape, usize),
    /// One of several, told apart by what stands there (text, a list, a map …).
    Either(&'static [Shape]),
    /// A shape with a name: printed once in the JSON Schema; may contain itself.
    Named(&'static str, &'static Shape),
    /// The name of a filter.
    FilterName,
    /// An item of `filters:`, a name or `NAME: …`.
    FilterItem,
    /// Will come; refused by name.
    Later,
    /// Its map form will come.
    LaterMap(&'static str),
}

/// A rule for text.
pub(crate) struct TextRule {
    /// What is wanted, for messages.
    pub what: &'static str,
    /// The code of an issue.
    pub code: &'static str,
    /// Words that are always right, and candidates for a misspelling.
    pub words: &'static [&'static str],
    /// Words that will come.
    pub later: &'static [&'static str],
    /// Words that are taken.
    pub reserved: &'static [&'static str],
    /// Anything else that is right.
    pub fits: fn(&str) -> bool,
    /// The same as a regular expression for editors; empty where only words are right.
    pub pattern: &'static str,
    /// Characters at most.
    pub max: usize,
}

/// A rule for a map with known keys.
pub(crate) struct MapRule {
    /// What it is, for messages: "a stage".
    pub what: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Of each of these groups exactly one key must be there.
    pub one_of: &'static [&'static [&'static str]],
    /// Of each of these groups one key may be there.
    pub one_at_most: &'static [&'static [&'static str]],
    /// The first makes sense only with the second.
    pub needs: &'static [(&'static str, &'static str)],
}

/// A key of a map.
pub(crate) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// One line for people, shown by editors.
    pub doc: &'static str,
}

/// Issues of a file at most: nobody reads on, and a hostile file must not make work.
pub(crate) const MAX_ISSUES: usize = 1000;

/// Reports everything that does not fit, up to [`MAX_ISSUES`].
pub(crate) fn check(node: &Node, shape: &'static Shape, registry: &Registry, issues: &mut Vec<Issue>) {
    Walk { registry, issues }.shape(node, shape, None);
}

struct Walk<'a> {
    registry: &'a Registry,
    issues: &'a mut Vec<Issue>,
}

impl Walk<'_> {
    /// `key` is the key the node is the value of.
    fn shape(&mut self, node: &Node, shape: &'static Shape, key: Option<&Node>) {
        if self.issues.len() >= MAX_ISSUES {
            return;
        }
        match (shape, &node.kind) {
            (Shape::Anything, _) | (Shape::Null, NodeKind::Null) | (Shape::Flag, NodeKind::Bool(_)) => {}
            (Shape::Later, _) => {
                let (span, word) = key.map_or((node.span, "this"), |k| (k.span, k.as_text().unwrap_or("this")));
                self.later(span, word);
            }
            (Shape::LaterMap(what), NodeKind::Map(_)) => self.later(node.span, what),
            (Shape::Named(_, inner), _) => self.shape(node, inner, key),
            (Shape::Either(shapes), _) => match shapes.iter().find(|s| admits(s, &node.kind)) {
                Some(shape) => self.shape(node, shape, key),
                None => self.wrong_type(node, shape, key),
            },
            (Shape::Text(rule), NodeKind::Text(text, _)) => self.text(text, node.span, rule),
            (Shape::Whole(min, max), NodeKind::Integer(_) | NodeKind::Float(_)) => {
                if !as_whole(node).is_some_and(|n| n >= *min && n <= *max) {
                    let wanted = whole_range(*min, *max);
                    let message = format!("{}expected {wanted}, found {}", of(key), shown(node));
                    self.issues.push(Issue::error(node.span, "out_of_range", message));
                }
            }
            (Shape::List(item, min, max), NodeKind::List(items)) => {
                if items.len() < *min || items.len() > *max {
                    let wanted = match items.len() {
                        _ if min == max => format!("exactly {min}"),
                        few if few < *min => format!("at least {min}"),
                        _ => format!("at most {max}"),
                    };
                    let message = format!("{}expected {wanted} in the list, found {}", of(key), items.len());
                    self.issues.push(Issue::error(place(node, key), "wrong_count", message));
                }
                for node in items {
                    self.shape(node, item, None);
                }
            }
            (Shape::Map(rule), NodeKind::Map(pairs)) => self.map(node, pairs, rule, key),
            (Shape::Names(names, of_all, min), NodeKind::Map(pairs)) => {
                if pairs.len() < *min {
                    let message = format!("{}expected at least {min} entry, found none", of(key));
                    self.issues.push(Issue::error(place(node, key), "wrong_count", message));
                }
                for (name, value) in pairs {
                    self.text(name.as_text().unwrap_or(""), name.span, names);
                    self.shape(value, of_all, Some(name));
                }
            }
            (Shape::FilterName, NodeKind::Text(name, _)) => self.filter(name, node.span),
            (Shape::FilterItem, NodeKind::Text(name, _)) => self.filter(name, node.span),
            (Shape::FilterItem, NodeKind::Map(pairs)) => match pairs.as_slice() {
                [(name, _)] => self.filter(name.as_text().unwrap_or(""), name.span),
                _ => {
                    let message = format!("an item of `filters` is one `NAME: …`, found {} keys", pairs.len());
                    let issue = Issue::error(node.span, "wrong_count", message);
                    self.issues.push(issue.help("begin each filter with `- `"));
                }
            },
            _ => self.wrong_type(node, shape, key),
        }
    }

    fn map(&mut self, node: &Node, pairs: &[(Node, Node)], rule: &'static MapRule, key: Option<&Node>) {
        for (name, value) in pairs {
            if self.issues.len() >= MAX_ISSUES {
                return;
            }
            let word = name.as_text().unwrap_or("");
            if let Some(known) = rule.keys.iter().find(|k| k.name == word) {
                self.shape(value, &known.shape, Some(name));
                continue;
            }
            let issue =
                Issue::error(name.span, "unknown_key", format!("`{}` is not a key of {}", shorten(word), rule.what));
            let there: Vec<&str> =
                rule.keys.iter().filter(|k| !matches!(k.shape, Shape::Later)).map(|k| k.name).collect();
            let all: Vec<&str> = rule.keys.iter().map(|k| k.name).collect();
            let help = spelling::nearest(word, all).map(|n| format!("did you mean `{n}`?"));
            self.issues.push(with_help(issue, help.or_else(|| spelling::help(word, &there))));
        }
        let has = |name: &str| pairs.iter().any(|(k, _)| k.as_text() == Some(name));
        let at = place(node, key);
        // Of a map with one key a wrong one is a misspelling, and has its issue.
        let misspelt = rule.keys.len() == 1 && !pairs.is_empty();
        for missing in rule.keys.iter().filter(|k| k.required && !has(k.name) && !misspelt) {
            let issue = Issue::error(at, "missing_key", format!("{} needs `{}`", rule.what, missing.name));
            self.issues.push(issue.help(missing.doc));
        }
        for group in rule.one_of.iter().chain(rule.one_at_most) {
            let there: Vec<_> = pairs.iter().filter(|(k, _)| group.contains(&k.as_text().unwrap_or(""))).collect();
            if let [(first, _), others @ ..] = there.as_slice() {
                for (other, _) in others {
                    let (a, b) = (first.as_text().unwrap_or(""), other.as_text().unwrap_or(""));
                    let message = format!("`{b}` and `{a}` exclude each other in {}", rule.what);
                    self.issues.push(Issue::error(other.span, "conflicting_keys", message));
                }
            } else if rule.one_of.contains(group) {
                let known = |n: &&&str| rule.keys.iter().any(|k| k.name == **n && !matches!(k.shape, Shape::Later));
                let names: Vec<_> = group.iter().filter(known).map(|n| format!("`{n}`")).collect();
                // A misspelt one has its issue already.
                let misspelt = pairs.iter().any(|(k, _)| {
                    let word = k.as_text().unwrap_or("");
                    !rule.keys.iter().any(|k| k.name == word)
                        && spelling::nearest(word, group.iter().copied()).is_some()
                });
                if !misspelt {
                    let message = format!("{} needs {}", rule.what, names.join(" or "));
                    self.issues.push(Issue::error(at, "missing_key", message));
                }
            }
        }
        for (one, other) in rule.needs {
            if let Some((name, _)) = pairs.iter().find(|(k, _)| k.as_text() == Some(one))
                && !has(other)
            {
                let message = format!("`{one}` makes sense only beside `{other}`");
                self.issues.push(Issue::error(name.span, "missing_key", message));
            }
        }
    }

    fn text(&mut self, text: &str, span: Span, rule: &'static TextRule) {
        if rule.later.contains(&text) {
            return self.later(span, text);
        }
        if rule.reserved.contains(&text) {
            let issue = Issue::error(span, "reserved_name", format!("`{text}` is a reserved name"));
            self.issues.push(issue.help(format!("reserved are {}", rule.reserved.join(", "))));
            return;
        }
        if rule.words.contains(&text) {
            return;
        }
        if text.chars().count() > rule.max {
            let message = format!("`{}` is too long: {} has at most {} characters", shorten(text), rule.what, rule.max);
            self.issues.push(Issue::error(span, rule.code, message));
        } else if !(rule.fits)(text) {
            let issue = Issue::error(span, rule.code, format!("expected {}, found `{}`", rule.what, shorten(text)));
            let near = spelling::nearest(text, rule.words.iter().chain(rule.later).copied()).map(str::to_owned);
            let near = near.or_else(|| spelling::unit(text, rule));
            self.issues.push(with_help(issue, near.map(|n| format!("did you mean `{n}`?"))));
        }
    }

    fn filter(&mut self, name: &str, span: Span) {
        if self.registry.get(name).is_none() {
            if FILTERS_TO_COME.contains(&name) {
                self.later(span, name);
                return;
            }
            let issue = Issue::error(span, "unknown_filter", format!("there is no filter `{}`", shorten(name)));
            self.issues.push(with_help(issue, spelling::help(name, &self.registry.names())));
        }
    }

    fn later(&mut self, span: Span, what: &str) {
        self.issues.push(Issue::error(span, "not_supported_yet", format!("`{what}` is not supported yet")));
    }

    fn wrong_type(&mut self, node: &Node, shape: &'static Shape, key: Option<&Node>) {
        let found = match &node.kind {
            NodeKind::Text(text, _) => format!("`{}`", shorten(text)),
            NodeKind::Bool(_) | NodeKind::Integer(_) | NodeKind::Float(_) => shown(node),
            _ => node.describe().to_owned(),
        };
        let message = format!("{}expected {}, found {found}", of(key), wanted(shape));
        let issue = Issue::error(node.span, "wrong_type", message);
        let scalar = matches!(node.kind, NodeKind::Bool(_) | NodeKind::Integer(_) | NodeKind::Float(_));
        let quote = scalar && takes_text(shape);
        let near = rules_of(shape).into_iter().find_map(|rule| spelling::unit(&number(node), rule));
        self.issues.push(match near {
            Some(near) => issue.help(format!("did you mean `{near}`?")),
            None if quote => issue.help("quote it if it is meant as text"),
            None => issue,
        });
    }
}

/// The number of a node, where it is whole.
pub(crate) fn as_whole(node: &Node) -> Option<i64> {
    match node.kind {
        NodeKind::Integer(n) => Some(n),
        NodeKind::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(f as i64),
        _ => None,
    }
}

/// Whether a shape is for this kind of node; tells alternatives apart.
fn admits(shape: &Shape, kind: &NodeKind) -> bool {
    match shape {
        Shape::Anything | Shape::Later => true,
        Shape::Null => matches!(kind, NodeKind::Null),
        Shape::Text(_) | Shape::FilterName => matches!(kind, NodeKind::Text(..)),
        Shape::Flag => matches!(kind, NodeKind::Bool(_)),
        Shape::Whole(..) => matches!(kind, NodeKind::Integer(_) | NodeKind::Float(_)),
        Shape::List(..) => matches!(kind, NodeKind::List(_)),
        Shape::Map(_) | Shape::Names(..) | Shape::LaterMap(_) => matches!(kind, NodeKind::Map(_)),
        Shape::FilterItem => matches!(kind, NodeKind::Text(..) | NodeKind::Map(_)),
        Shape::Either(all) => all.iter().any(|s| admits(s, kind)),
        Shape::Named(_, inner) => admits(inner, kind),
    }
}

/// The rules for text among the alternatives.
fn rules_of(shape: &Shape) -> Vec<&'static TextRule> {
    match shape {
        Shape::Text(rule) => vec![rule],
        Shape::Either(all) => all.iter().flat_map(rules_of).collect(),
        Shape::Named(_, inner) => rules_of(inner),
        _ => Vec::new(),
    }
}

fn takes_text(shape: &Shape) -> bool {
    match shape {
        Shape::Text(rule) => rule.code == "wrong_text" || rule.code == "bad_name",
        Shape::Either(all) => all.iter().any(takes_text),
        Shape::Named(_, inner) => takes_text(inner),
        _ => false,
    }
}

/// What a shape wants, for messages.
fn wanted(shape: &'static Shape) -> String {
    match shape {
        Shape::Anything | Shape::Later => "anything".into(),
        Shape::Null => "nothing".into(),
        Shape::Text(rule) => rule.what.into(),
        Shape::Flag => "true or false".into(),
        Shape::Whole(min, max) => whole_range(*min, *max),
        Shape::List(..) => "a list".into(),
        Shape::Map(rule) => format!("{} (a map)", rule.what),
        Shape::Names(..) => "a map".into(),
        Shape::FilterName => "the name of a filter".into(),
        Shape::FilterItem => "a filter, `NAME: …`".into(),
        Shape::LaterMap(_) => String::new(),
        Shape::Named(_, inner) => wanted(inner),
        Shape::Either(all) => {
            let mut words: Vec<String> = all.iter().map(wanted).filter(|w| !w.is_empty()).collect();
            let last = words.pop().unwrap_or_default();
            if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
        }
    }
}

fn whole_range(min: i64, max: i64) -> String {
    if max == i64::MAX { format!("a whole number from {min}") } else { format!("a whole number from {min} to {max}") }
}

fn number(node: &Node) -> String {
    match node.kind {
        NodeKind::Bool(b) => b.to_string(),
        NodeKind::Integer(n) => n.to_string(),
        NodeKind::Float(f) => f.to_string(),
        _ => String::new(),
    }
}

/// The number as it can be recognised: digits beyond 64 bits are not kept.
fn shown(node: &Node) -> String {
    match node.kind {
        NodeKind::Float(f) if f.fract() == 0.0 && f.abs() >= 9e15 => "a number beyond 64 bits".to_owned(),
        _ => format!("`{}`", number(node)),
    }
}

/// "`replicas`: ", the start of a message about a value.
fn of(key: Option<&Node>) -> String {
    key.and_then(Node::as_text).map_or_else(String::new, |k| format!("`{}`: ", shorten(k)))
}

/// An empty list or map is best shown by its key.
fn place(node: &Node, key: Option<&Node>) -> Span {
    let empty = node.as_map().is_some_and(<[_]>::is_empty) || node.as_list().is_some_and(<[_]>::is_empty);
    if empty { key.map_or(node.span, |k| k.span) } else { node.span }
}

pub(crate) fn with_help(issue: Issue, help: Option<String>) -> Issue {
    match help {
        Some(help) => issue.help(help),
        None => issue,
    }
}
