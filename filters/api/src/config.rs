//! A configuration as it stands in the file: a tree that remembers where each word was, so that every problem is
//! reported at its place.

use std::fmt;

/// A node of the YAML tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What stands there.
    pub kind: NodeKind,
    /// Where it stands.
    pub span: Span,
}

/// What a node is. Scalars are typed by YAML 1.2's core schema where they are plain; quoted and block scalars are text.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text, or a plain scalar that is no other type.
    Text(String, ScalarStyle),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file; keys are text nodes with their own places. Repeated keys were refused before.
    Map(Vec<(Node, Node)>),
}

/// How a scalar was written; decides where byte N of its text stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarStyle {
    /// `.quantity < 0`
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|` with the number of columns its lines are indented by.
    Literal {
        /// Columns of indentation removed from each line.
        indent: u32,
    },
    /// The text is not what stands in the file, character by character (escapes, folded lines, resolved references), so
    /// that places inside it are unknown.
    Altered,
}

/// A place in a file. Lines and columns start at 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub col: u32,
    /// Characters on that line that are meant; 0 when unknown.
    pub len: u32,
}

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The pipeline does not run.
    Error,
    /// It runs, but look.
    Warning,
}

/// One problem of a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Error or warning.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// Stable, lower case with underscores, such as `unknown_key`.
    pub code: &'static str,
    /// What is wrong, with the offending word in backticks; lower case, no full stop.
    pub message: String,
    /// What to do, such as "did you mean `source`?".
    pub help: Option<String>,
}

impl Issue {
    /// An error at a place.
    pub fn error(span: Span, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, code, message: message.into(), help: None }
    }

    /// A warning at a place.
    pub fn warning(span: Span, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, code, message) }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Node {
    /// The text of a text node.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Text(text, _) => Some(text),
            _ => None,
        }
    }

    /// The pairs of a map.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            NodeKind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
    }

    /// The place of bytes `start..end` of this scalar's text. Exact for plain one-line, quoted without escapes and
    /// literal scalars; the scalar's own place otherwise.
    pub fn span_of(&self, start: usize, end: usize) -> Span {
        let NodeKind::Text(text, style) = &self.kind else { return self.span };
        let Some(before) = text.get(..start) else { return self.span };
        let newlines = before.matches('\n').count() as u32;
        let col = before.rsplit('\n').next().unwrap_or(before).chars().count() as u32;
        let len = text.get(start..end).map_or(0, |t| t.lines().next().unwrap_or("").chars().count() as u32);
        match style {
            ScalarStyle::Literal { indent } => Span { line: self.span.line + 1 + newlines, col: indent + 1 + col, len },
            ScalarStyle::Altered => self.span,
            _ if newlines > 0 => self.span,
            ScalarStyle::Plain => Span { line: self.span.line, col: self.span.col + col, len },
            _ => Span { line: self.span.line, col: self.span.col + 1 + col, len },
        }
    }

    /// The word for messages: "a list", "text", ….
    pub fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Integer(_) | NodeKind::Float(_) => "a number",
            NodeKind::Text(..) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a map",
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {word}: {} [{}]", self.span.line, self.span.col, self.message, self.code)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}
