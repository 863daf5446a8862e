//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}`, resolved after parsing, so that what they bring in is a
//! value and never YAML. `$${env:` stands for the text itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use millstream_filter_api::{Files, Issue, Node, NodeKind, ScalarStyle, Span};

use crate::isolate::{self, Given, Owners, PLACEHOLDER, Whose};
use crate::scalar;
use crate::tree::shorten;

/// Bytes that all references of a file may bring in.
const MAX_RESOLVED: usize = 4 << 20;

/// Where references lead.
pub(crate) struct Resolver<'a> {
    pub files: &'a dyn Files,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub secrets: Secrets,
    pub issues: Vec<Issue>,
    /// Places of values that could not be resolved: what else is wrong with them is not known.
    pub refused: Vec<Span>,
    pub bytes: usize,
    /// Stages with secrets of their own, and in which one a reference is.
    pub owners: Owners,
    pub stage: Option<usize>,
    /// Secrets of these that are named.
    pub given: Vec<Given>,
    /// Shows none of them, also where it could.
    pub masked: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(files: &'a dyn Files, env: &'a dyn Fn(&str) -> Option<String>, issues: Vec<Issue>) -> Self {
        let (secrets, refused, owners) = (Secrets::default(), Vec::new(), Owners::default());
        Self { files, env, secrets, issues, refused, bytes: 0, owners, stage: None, given: Vec::new(), masked: false }
    }

    /// Resolves a whole pipeline file.
    pub(crate) fn resolve_pipeline(&mut self, root: &mut Node) {
        let NodeKind::Map(pairs) = &mut root.kind else { return self.resolve(root) };
        for (key, value) in pairs {
            match &mut value.kind {
                NodeKind::List(stages) if key.as_text() == Some("stages") => {
                    for (n, stage) in stages.iter_mut().enumerate() {
                        self.stage = Some(n);
                        self.resolve(stage);
                    }
                    self.stage = None;
                }
                _ => self.resolve(value),
            }
        }
    }
}

impl Resolver<'_> {
    /// Resolves every value below a node. Keys are left alone.
    pub(crate) fn resolve(&mut self, node: &mut Node) {
        match &mut node.kind {
            NodeKind::List(items) => items.iter_mut().for_each(|n| self.resolve(n)),
            NodeKind::Map(pairs) => pairs.iter_mut().for_each(|(_, n)| self.resolve(n)),
            NodeKind::Text(text, style) if text.contains("${") => {
                let plain = *style == ScalarStyle::Plain;
                let before = self.issues.len();
                let resolved = self.text(node);
                if self.issues.len() > before {
                    self.refused.push(node.span);
                }
                match resolved {
                    Some(text) if plain => node.kind = scalar::plain(&text, ScalarStyle::Altered),
                    Some(text) => node.kind = NodeKind::Text(text, ScalarStyle::Altered),
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// The text with its references resolved; `None` where there are none.
    fn text(&mut self, node: &Node) -> Option<String> {
        let text = node.as_text()?;
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|t| t.find("${")) {
            let start = at + found;
            at = start + 2;
            let Some(scheme) = scheme(&text[at..]) else { continue };
            if text[..start].ends_with('$') {
                out.push_str(&text[done..start - 1]);
                done = start;
                continue;
            }
            let body = at + scheme.len() + 1;
            let Some(length) = text[body..].find('}') else {
                let issue = Issue::error(node.span_of(start, text.len()), "bad_reference", "a reference without `}`");
                self.issues.push(issue.help("`${env:NAME}`, `${env:NAME:-default}` or `${file:PATH}`"));
                return None;
            };
            let end = body + length + 1;
            let before = self.issues.len();
            let value = self.lookup(scheme, &text[body..end - 1]);
            // An issue is at the reference itself, within a longer text too.
            self.issues.iter_mut().skip(before).for_each(|i| i.span = node.span_of(start, end));
            out.push_str(&text[done..start]);
            out.push_str(&value.text);
            if value.secret {
                self.secrets.keep(node, value.text);
            }
            (done, at) = (end, end);
        }
        (done > 0).then(|| out + &text[done..])
    }

    fn lookup(&mut self, scheme: &str, body: &str) -> Value {
        let name = if scheme == "env" { body.split_once(":-").map_or(body, |(name, _)| name) } else { body };
        let own = match self.owners.whose(scheme, name, self.stage) {
            Whose::Nobodys => None,
            Whose::Own(here) => self.stage.map(|stage| (stage, here && !self.masked)),
            Whose::Of(owner) => {
                let issue = isolate::elsewhere(&shorten(name), owner);
                self.issues.push(issue);
                return Value::default();
            }
        };
        if let Some((stage, false)) = own {
            self.given.push((stage, name.to_owned(), None));
            return Value { text: PLACEHOLDER.to_owned(), secret: false };
        }
        let mut fail = |code, message: String, help: &str| {
            self.issues.push(Issue::error(Default::default(), code, message).help(help));
            Value::default()
        };
        let text = match scheme {
            "env" => {
                let (name, default) = body.split_once(":-").map_or((body, None), |(n, d)| (n, Some(d)));
                let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(good) {
                    let message = format!("`{}` is not the name of a variable", shorten(name));
                    return fail("bad_reference", message, "`${env:NAME}` or `${env:NAME:-default}`");
                }
                match ((self.env)(name), default) {
                    (Some(value), None) => value,
                    (Some(value), Some(_)) if !value.is_empty() => value,
                    (_, Some(default)) => return Value { text: default.to_owned(), secret: false },
                    (None, None) => {
                        let message = format!("the environment variable `{name}` is not set");
                        return fail("unset_reference", message, "set it, or give a default: `${env:NAME:-default}`");
                    }
                }
            }
            "file" => match self.files.read(Path::new(body)).map(String::from_utf8) {
                Ok(Ok(text)) => text.trim_end_matches(['\n', '\r']).to_owned(),
                Ok(Err(_)) => {
                    let message = format!("the file `{}` is not UTF-8 text", shorten(body));
                    return fail("file_unreadable", message, "a reference takes text");
                }
                Err(error) => {
                    let message = format!("cannot read the file `{}`: {error}", shorten(body));
                    return fail("unset_reference", message, "relative paths start at the pipeline's file");
                }
            },
            _ => {
                let message = format!("there is no reference `${{{}:…}}`", shorten(scheme));
                return fail(
                    "bad_reference",
                    message,
                    "there are `${env:…}` and `${file:…}`; `$${` is the text itself",
                );
            }
        };
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_RESOLVED {
            let message = format!("references bring in more than {MAX_RESOLVED} bytes");
            let mut fail = |m| self.issues.push(Issue::error(Default::default(), "file_too_large", m));
            fail(message);
            return Value::default();
        }
        if let Some((stage, _)) = own {
            self.given.push((stage, name.to_owned(), Some(text.clone())));
        }
        Value { text, secret: true }
    }
}

/// Resolves every reference in a file that is no pipeline, such as settings. What could not be resolved is left as it
/// stands.
pub fn resolve(node: &mut Node, files: &dyn Files, env: &dyn Fn(&str) -> Option<String>) -> Vec<Issue> {
    let mut resolver = Resolver::new(files, env, Vec::new());
    resolver.resolve(node);
    resolver.issues
}

#[derive(Default)]
struct Value {
    text: String,
    secret: bool,
}

/// `env` of `env:NAME}`; `None` for what only looks like a reference, as `${1}` in a replacement.
fn scheme(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
    (end > 0 && text[end..].starts_with(':')).then(|| &text[..end])
}

/// Values that came from outside: they are not printed.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Each with the lines of the values it stands in.
    values: BTreeMap<String, Vec<RangeInclusive<u32>>>,
}

impl Secrets {
    fn keep(&mut self, node: &Node, text: String) {
        let lines = node.as_text().map_or(0, |t| t.matches('\n').count() as u32);
        let place = node.span.line..=node.span.line + lines + 1;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            self.values.entry(line.to_owned()).or_default().push(place.clone());
        }
    }

    /// Puts `***` in the place of a secret: everywhere if it is long enough not to be an ordinary word, else only in
    /// issues about the value it stands in.
    pub(crate) fn mask(&self, issue: &mut Issue) {
        for (secret, places) in &self.values {
            let near = places.iter().any(|p| p.contains(&issue.span.line));
            let mask = |text: &mut String| {
                let quoted = format!("`{secret}`");
                if near && text.contains(&quoted) {
                    *text = text.replace(&quoted, "`***`");
                }
                if secret.len() >= if near { 4 } else { 8 } && text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), "***");
                }
            };
            mask(&mut issue.message);
            issue.help.iter_mut().for_each(mask);
        }
        // A shortened secret is no longer equal to it: what is about such a value keeps only its start.
        for secret in self.values.keys().filter(|s| s.chars().count() > 60) {
            let start: String = secret.chars().take(57).collect();
            issue.message = issue.message.replace(&start, "***");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::tree;

    struct NoFiles;
    impl Files for NoFiles {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            match path.to_str() {
                Some("token") => Ok(b"s3cr3t\n".to_vec()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn resolve(yaml: &str) -> (Node, Vec<Issue>) {
        let (node, issues) = tree::parse(yaml.as_bytes());
        assert_eq!(issues, []);
        let mut node = node.unwrap();
        let env = |name: &str| match name {
            "N" => Some("4".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut resolver = Resolver::new(&NoFiles, &env, Vec::new());
        resolver.resolve(&mut node);
        (node, resolver.issues)
    }

    #[test]
    fn references_are_values() {
        let (node, issues) = resolve(
            "a: ${env:N}\nb: '${env:N}'\nc: x-${env:N}-${env:M:-d}\nd: ${env:EMPTY:-e}\ne: ${file:token}\nf: $${env:N}\ng: ${1}\nh: ${env:EMPTY}",
        );
        assert_eq!(issues, []);
        assert_eq!(node.get("a").map(|n| &n.kind), Some(&NodeKind::Integer(4)));
        let text = |key: &str| node.get(key).and_then(Node::as_text);
        assert_eq!(text("b"), Some("4"));
        assert_eq!(text("c"), Some("x-4-d"));
        assert_eq!(text("d"), Some("e"));
        assert_eq!(text("e"), Some("s3cr3t"));
        assert_eq!(text("f"), Some("${env:N}"));
        assert_eq!(text("g"), Some("${1}"));
        assert_eq!(node.get("h").map(|n| &n.kind), Some(&NodeKind::Null));
    }

    #[test]
    fn unset_ones_are_issues_at_their_place() {
        let (_, issues) = resolve("a: 1\nb: x ${env:NOPE} ${file:gone} ${envv:X} ${env:X-Y}\nc: ${env:N");
        let found: Vec<_> = issues.iter().map(|i| (i.span.line, i.span.col, i.span.len, i.code)).collect();
        assert_eq!(
            found,
            [
                (2, 6, 11, "unset_reference"),
                (2, 18, 12, "unset_reference"),
                (2, 31, 9, "bad_reference"),
                (2, 41, 10, "bad_reference"),
                (3, 4, 7, "bad_reference"),
            ]
        );
    }
}
