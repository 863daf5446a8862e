//! A record as some reader saw it.

use serde::Deserialize;
use serde_json::Value;

/// One line of `millstream consume -o json`, or what another reader saw in the same shape.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Seen {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// As the reader prints it; two readers' records are compared by offset and id, not by this.
    pub timestamp: Value,
    /// As text; `None` is null.
    pub key: Option<String>,
    /// In order, with repeats and nulls.
    pub headers: Vec<(String, Option<String>)>,
    /// JSON, or text where the payload is none.
    pub value: Value,
}

impl Seen {
    /// Reads a line that `consume` printed.
    pub fn from_line(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|e| format!("`consume` printed what is no record: {e}: {line}"))
    }

    /// Reads all lines that `consume` printed. A last line without an end is left out: its writer was killed in it.
    pub fn from_lines(text: &str) -> Result<Vec<Self>, String> {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter(|l| !l.is_empty()).map(Self::from_line).collect()
    }

    /// Milliseconds since 1970, from a number or an RFC 3339 text.
    pub fn millis(&self) -> Option<i64> {
        match &self.timestamp {
            Value::Number(n) => n.as_i64(),
            Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond),
            _ => None,
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref())
    }

    /// Its message id, where a stage of ours wrote it.
    pub fn id(&self) -> Option<&str> {
        self.header("ce_id")
    }

    /// Where it lies.
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }

    /// Headers that are neither an id nor of a dead letter: those that must pass unchanged.
    pub fn passed_headers(&self) -> Vec<(String, Option<String>)> {
        let ours = |n: &str| n == "ce_id" || n.starts_with("millstream.dlq.");
        self.headers.iter().filter(|(n, _)| !ours(n)).cloned().collect()
    }
}

/// The part of an id before `~` and the 32 hexadecimal digits that a stage appends; `None` where a stage wrote no such id.
pub fn root(id: &str) -> Option<&str> {
    let (root, hash) = id.rsplit_once('~')?;
    let hex = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (hex && !root.is_empty()).then_some(root)
}
