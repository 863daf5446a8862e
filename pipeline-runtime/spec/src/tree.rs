//! YAML -> a tree of nodes that know their places. What would mislead in YAML is refused here: anchors, tags, merge
//! keys, folded blocks, repeated keys, comments that cut an expression off.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle as Style, Span as Place};
use millstream_filter_api::{Issue, Node, NodeKind, ScalarStyle, Span};

use crate::lines::Lines;
use crate::scalar;

/// Bytes of a pipeline file at most.
pub const MAX_BYTES: usize = 1 << 20;
/// Levels of nesting at most.
pub const MAX_DEPTH: usize = 64;
/// Scalars, lists and maps of a file at most.
pub const MAX_NODES: usize = 50_000;

/// Parses a file. The tree is there as far as it could be read, whatever the issues; a value that was refused stands in
/// it as nothing.
pub fn parse(bytes: &[u8]) -> (Option<Node>, Vec<Issue>) {
    match text(bytes) {
        Ok(text) => Builder::new(text).run(),
        Err(issue) => (None, vec![issue]),
    }
}

/// The text of a file: UTF-8, without a byte order mark, of a bearable size.
pub fn text(bytes: &[u8]) -> Result<&str, Issue> {
    let start = Span { line: 1, col: 1, len: 0 };
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; a pipeline file has at most {MAX_BYTES}", bytes.len());
        return Err(Issue::error(start, "file_too_large", message));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let good = bytes.get(..e.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("");
        let issue = Issue::error(Lines::new(good).place(good.len(), 1), "not_utf8", "this is not UTF-8");
        let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        issue.help(if wide { "it looks like UTF-16; save the file as UTF-8" } else { "save the file as UTF-8" })
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// A list or map that is still being read.
struct Open {
    span: Span,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { pairs: Vec<(Node, Node)>, key: Option<Node>, seen: HashMap<String, Span> },
}

struct Builder<'a> {
    source: &'a str,
    lines: Lines<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    issues: Vec<Issue>,
    nodes: usize,
    /// End of the event before, where the search for a block's header begins.
    last_end: usize,
}

/// Reading cannot go on.
struct Stop;

impl<'a> Builder<'a> {
    fn new(source: &'a str) -> Self {
        let lines = Lines::new(source);
        Self { source, lines, open: Vec::new(), root: None, issues: Vec::new(), nodes: 0, last_end: 0 }
    }

    fn run(mut self) -> (Option<Node>, Vec<Issue>) {
        let mut options = granit_parser::options! {
            emit_unresolved_aliases: true,
            emit_anchor_events: true,
            disallow_directives: true,
        };
        options.set_emit_comments(false);
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(self.source, options) {
            let (event, place) = match next {
                Ok(next) => next,
                Err(error) => {
                    let mark = error.marker();
                    self.syntax(mark.line(), mark.col(), &error.info());
                    return (None, self.issues);
                }
            };
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    let issue =
                        Issue::error(span_of(&place), "several_documents", "a second YAML document starts here");
                    self.issues.push(issue.help("one pipeline a file: move it to a file of its own"));
                    break;
                }
            }
            if self.take(event, &place).is_err() {
                return (None, self.issues);
            }
            if let Some(range) = place.byte_range() {
                self.last_end = self.last_end.max(range.end);
            }
        }
        if documents == 0 || self.root.as_ref().is_some_and(|r| r.kind == NodeKind::Null && self.issues.is_empty()) {
            let issue = Issue::error(Span { line: 1, col: 1, len: 0 }, "empty_file", "the file is empty");
            self.issues.push(issue.help("a pipeline has at least `pipeline`, `source` and `stages`"));
            return (None, self.issues);
        }
        (self.root, self.issues)
    }

    fn take(&mut self, event: Event<'_>, place: &Place) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, _, tag) => {
                let node = self.scalar(&text, style, place);
                let node = if tag.is_some() { self.refuse_tag(place) } else { node };
                self.put(node)
            }
            Event::SequenceStart(_, _, tag) => self.begin(place, tag.is_some(), Content::List(Vec::new())),
            Event::MappingStart(_, _, tag) => {
                let content = Content::Map { pairs: Vec::new(), key: None, seen: HashMap::new() };
                self.begin(place, tag.is_some(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let span = span_of(place);
                let issue = Issue::error(span, "yaml_alias", format!("`{}` is a YAML alias", self.slice(place)));
                self.issues
                    .push(issue.help("aliases are not part of the language; quote it if it is text or an expression"));
                self.put(Node { kind: NodeKind::Null, span })
            }
            Event::Anchor(..) => {
                let issue =
                    Issue::error(span_of(place), "yaml_anchor", format!("`{}` is a YAML anchor", self.slice(place)));
                self.issues.push(
                    issue.help("anchors are not part of the language; what all stages share goes under `defaults`"),
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn slice(&self, place: &Place) -> Cow<'a, str> {
        Cow::Borrowed(place.slice(self.source).unwrap_or(""))
    }

    fn scalar(&mut self, text: &str, style: Style, place: &Place) -> Node {
        let source = place.slice(self.source);
        let start = span_of(place);
        let span = source.map_or(start, |s| scalar::extent(start, s));
        match style {
            Style::SingleQuoted | Style::DoubleQuoted => {
                let style =
                    if style == Style::SingleQuoted { ScalarStyle::SingleQuoted } else { ScalarStyle::DoubleQuoted };
                let style = scalar::quoted(text, source, style);
                Node { kind: NodeKind::Text(text.to_owned(), style), span }
            }
            Style::Literal | Style::Folded => self.block(text, style == Style::Folded, span),
            Style::Plain => {
                let end = place.byte_range().map_or(0, |r| r.end);
                if scalar::cut_by_comment(text, self.source, end) {
                    let message = format!("a comment cuts `{}` off", shorten(text));
                    let issue = Issue::error(span, "comment_cuts_value", message);
                    self.issues.push(issue.help("` #` begins a comment in YAML; quote it"));
                    return Node { kind: NodeKind::Null, span };
                }
                let style = if source == Some(text) { ScalarStyle::Plain } else { ScalarStyle::Altered };
                // Nothing has no place of its own: that of its key is where people look.
                let span = if source == Some("") { self.key_span().unwrap_or(span) } else { span };
                // Keys are text whatever they look like: `404:` and `true:` are names.
                let kind = match self.awaits_key() {
                    true => NodeKind::Text(text.to_owned(), style),
                    false => scalar::plain(text, style),
                };
                Node { kind, span }
            }
        }
    }

    fn block(&mut self, text: &str, folded: bool, content: Span) -> Node {
        let header = scalar::block_header(self.source, self.last_end);
        let span = header.map_or(content, |at| self.lines.place(at, 1));
        if folded {
            let issue =
                Issue::error(span, "folded_block", "`>` folds lines, which changes an expression and hides its places");
            self.issues.push(issue.help("use `|`"));
            return Node { kind: NodeKind::Null, span };
        }
        let style = match header {
            Some(_) => scalar::literal(text, &self.lines, span.line as usize),
            None => ScalarStyle::Altered,
        };
        Node { kind: NodeKind::Text(text.to_owned(), style), span }
    }

    fn key_span(&self) -> Option<Span> {
        match &self.open.last()?.content {
            Content::Map { key: Some(key), .. } => Some(key.span),
            _ => None,
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn refuse_tag(&mut self, place: &Place) -> Node {
        let tag = place.tag_span();
        let word = tag.as_ref().and_then(|t| t.slice(self.source)).unwrap_or("!");
        let span = tag.as_ref().map_or_else(|| span_of(place), span_of);
        let span = Span { len: word.chars().count() as u32, ..span };
        self.issues.push(tag_issue(span, word));
        Node { kind: NodeKind::Null, span }
    }

    fn begin(&mut self, place: &Place, tagged: bool, content: Content) -> Result<(), Stop> {
        let span = span_of(place);
        if tagged {
            self.refuse_tag(place);
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.issues.push(Issue::error(span, "nested_too_deep", message));
            return Err(Stop);
        }
        self.count(span)?;
        self.open.push(Open { span, content });
        Ok(())
    }

    fn count(&mut self, span: Span) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one file");
            self.issues.push(Issue::error(span, "too_many_values", message));
            return Err(Stop);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::List(items) => NodeKind::List(items),
            Content::Map { pairs, .. } => NodeKind::Map(pairs),
        };
        self.place(Node { kind, span: open.span });
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Stop> {
        self.count(node.span)?;
        self.place(node);
        Ok(())
    }

    /// Puts a finished node where it belongs: as root, item, key or value.
    fn place(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { key: waiting @ None, .. } => *waiting = Some(as_key(node, &mut self.issues)),
            Content::Map { pairs, key, seen } => {
                let Some(key) = key.take() else { return };
                let word = key.as_text().unwrap_or("").to_owned();
                if word == "<<" {
                    let issue = Issue::error(key.span, "yaml_merge_key", "`<<` is a YAML merge key");
                    self.issues.push(
                        issue.help(
                            "merge keys are not part of the language; what all stages share goes under `defaults`",
                        ),
                    );
                } else if let Some(first) = seen.get(&word) {
                    let message = format!("`{}` stands here twice", shorten(&word));
                    let issue = Issue::error(key.span, "duplicate_key", message);
                    self.issues.push(issue.help(format!("the first is at {}:{}", first.line, first.col)));
                } else {
                    seen.insert(word, key.span);
                    pairs.push((key, node));
                }
            }
        }
    }

    fn syntax(&mut self, line: usize, col: usize, info: &str) {
        let span = Span { line: line as u32, col: col as u32 + 1, len: 0 };
        let text = self.lines.line(line);
        let here: String = text.chars().skip(col).collect();
        let word = here.split_whitespace().next().unwrap_or("");
        if word.starts_with('!') {
            self.issues.push(tag_issue(Span { len: word.chars().count() as u32, ..span }, word));
            return;
        }
        if info.contains("nesting") || info.contains("recursion") {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            self.issues.push(Issue::error(span, "nested_too_deep", message));
            return;
        }
        let issue = Issue::error(span, "yaml_syntax", format!("not YAML: {info}"));
        let value = text.split_once(": ").map_or(text, |(_, v)| v).trim_start();
        let quoting =
            value.starts_with(['%', '@', '`', '"', '\'', '&', '*', '{', '[', '|', '>']) || value.contains(": ");
        let control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        self.issues.push(if let Some(control) = here.chars().next().filter(control).or(text.chars().find(control)) {
            let help = format!("there is a control character here; write it as `\\u{:04x}` between double quotes", u32::from(control));
            issue.help(help)
        } else if text.contains('\t') && text.trim_start_matches(' ').starts_with('\t') {
            issue.help("indent with spaces, not tabs")
        } else if here.starts_with('%') && col == 0 {
            issue.help("YAML directives are not part of the language")
        } else if text.contains("${") {
            issue.help("between `{ }` and `[ ]` a reference must be quoted, as in `\"${env:NAME}\"`; a number from outside needs a line of its own")
        } else if quoting {
            issue.help("quote it, or write it into a block under `|`: a plain value has no `: ` and does not begin with % @ ` \" ' & * { [")
        } else {
            issue.help("look at the indentation, and at brackets and quotes that are not closed")
        });
    }
}

/// Lists and maps as keys, and what was refused there, become a name that is no key of anything.
fn as_key(node: Node, issues: &mut Vec<Issue>) -> Node {
    if matches!(node.kind, NodeKind::Text(..)) {
        return node;
    }
    if matches!(node.kind, NodeKind::List(_) | NodeKind::Map(_)) {
        issues.push(Issue::error(node.span, "key_not_text", "a key must be a name, not a list or a map"));
    }
    Node { kind: NodeKind::Text(String::new(), ScalarStyle::Altered), span: node.span }
}

fn tag_issue(span: Span, word: &str) -> Issue {
    let issue = Issue::error(span, "yaml_tag", format!("YAML reads `{}` as a tag, not as a value", shorten(word)));
    issue.help("quote it, or write it into a block under `|`")
}

fn span_of(place: &Place) -> Span {
    let (start, end) = (place.start, place.end);
    let len = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
    Span { line: start.line() as u32, col: start.col() as u32 + 1, len: len as u32 }
}

/// A word for a message: one line, not too long.
pub(crate) fn shorten(text: &str) -> String {
    let line = text.trim().split(['\n', '\r']).next().unwrap_or("");
    if line.chars().count() <= 60 { line.to_owned() } else { line.chars().take(57).chain("...".chars()).collect() }
}
