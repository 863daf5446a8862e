//! A broken promise, said so that a person finds the records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is wrong. Places are (partition, offset).
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are named by what they hold")]
pub enum Violation {
    /// A record that must be there is not.
    Lost { topic: String, root: String },
    /// A record is there more often than it must.
    Doubled { topic: String, root: String, places: Vec<(i32, i64)> },
    /// A record is there that no input gives.
    Unexpected { topic: String, place: (i32, i64), root: String },
    /// A record is there and differs.
    Wrong { topic: String, place: (i32, i64), what: &'static str, expected: String, found: String },
    /// An id is missing, malformed, or there twice.
    BadId { topic: String, place: (i32, i64), why: String },
    /// A later record of a key stands before an earlier one.
    OutOfOrder { topic: String, reader: String, key: String, before: (i32, i64), after: (i32, i64) },
    /// Records of one key lie in several partitions.
    KeyMoved { topic: String, key: String, partitions: Vec<i32> },
    /// A reader of committed records saw what later was not there, or missed what is.
    Watched { topic: String, reader: String, partition: i32, why: String },
    /// A group's position is not at the end of what it must have read.
    Position { group: String, topic: String, partition: i32, why: String },
}

/// All in short: how many of each kind, and the first ones in full.
pub fn report(violations: &[Violation]) -> String {
    let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
    for violation in violations {
        *kinds.entry(violation.kind()).or_default() += 1;
    }
    let counts: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let first: Vec<String> = violations.iter().take(20).map(|v| format!("  {v}")).collect();
    format!("{}\n{}", counts.join(", "), first.join("\n"))
}

/// Which kinds there are.
pub fn kinds(violations: &[Violation]) -> BTreeSet<&'static str> {
    violations.iter().map(Violation::kind).collect()
}

impl Violation {
    /// One word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Doubled { .. } => "doubled",
            Self::Unexpected { .. } => "unexpected",
            Self::Wrong { .. } => "wrong",
            Self::BadId { .. } => "bad id",
            Self::OutOfOrder { .. } => "out of order",
            Self::KeyMoved { .. } => "key moved",
            Self::Watched { .. } => "readers differ",
            Self::Position { .. } => "position",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { topic, root } => write!(f, "lost: {root} is not in {topic}"),
            Self::Doubled { topic, root, places } => write!(f, "doubled: {root} is in {topic} at {places:?}"),
            Self::Unexpected { topic, place, root } => write!(f, "unexpected: {root} in {topic} at {place:?}"),
            Self::Wrong { topic, place, what, expected, found } => {
                write!(f, "wrong {what} in {topic} at {place:?}: expected {expected}, found {found}")
            }
            Self::BadId { topic, place, why } => write!(f, "bad id in {topic} at {place:?}: {why}"),
            Self::OutOfOrder { topic, reader, key, before, after } => write!(
                f,
                "out of order in {topic}, as {reader} saw it: key {key} at {before:?} stands before {after:?}, which is earlier or equal"
            ),
            Self::KeyMoved { topic, key, partitions } => {
                write!(f, "key {key} of {topic} is in several partitions: {partitions:?}")
            }
            Self::Watched { topic, reader, partition, why } => {
                write!(f, "{reader} saw something else in {topic}/{partition}: {why}")
            }
            Self::Position { group, topic, partition, why } => {
                write!(f, "position of group {group} in {topic}/{partition}: {why}")
            }
        }
    }
}
