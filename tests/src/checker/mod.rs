//! The judge of the crash tests: facts in, broken promises out. It knows nothing of how Millstream works; what must be
//! in each topic it is told by [`Expected`], which is computed from the input alone ([`model`]).
//!
//! Start reading at [`check`]. Its own tests feed it broken histories and want it to go red.

mod expected;
mod letters;
pub mod model;
mod order;
mod outputs;
mod positions;
mod seen;
#[cfg(test)]
mod tests;
mod violation;
pub mod workload;

use std::collections::BTreeMap;

pub use expected::{Expected, ExpectedLetter, ExpectedOutput};
pub use seen::{Seen, root};
pub use violation::{Violation, kinds, report};

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing lost, nothing doubled, in order per key.
    ExactlyOnce,
    /// Nothing lost. A record may come again, and then stand behind later ones of its key.
    AtLeastOnce,
}

/// What was found after all input was worked off.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Every record of every topic, read from the beginning, in order per partition.
    pub topics: BTreeMap<String, Vec<Seen>>,
    /// What readers saw while it went on: by reader and topic. Each saw a beginning of each partition.
    pub watched: Vec<Watched>,
    /// Committed positions of the stages' groups.
    pub positions: Vec<Committed>,
}

/// What one reader saw of a topic while processes were killed.
#[derive(Clone, Debug)]
pub struct Watched {
    /// For people.
    pub reader: String,
    /// Which topic.
    pub topic: String,
    /// In the order they came.
    pub records: Vec<Seen>,
    /// Whether it went on to the end, so that it must have seen everything.
    pub to_the_end: bool,
}

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Of which group.
    pub group: String,
    /// In which topic.
    pub topic: String,
    /// In which partition.
    pub partition: i32,
    /// Next offset to be read.
    pub offset: i64,
}

/// Every broken promise. Empty is green.
pub fn check(expected: &Expected, history: &History, promise: Promise) -> Vec<Violation> {
    let mut found = Vec::new();
    for (topic, wanted) in &expected.outputs {
        outputs::check(topic, wanted, history.of(topic), promise, &mut found);
        order::check(topic, "the last reader", history.of(topic), promise, &mut found);
    }
    for (topic, wanted) in &expected.letters {
        letters::check(topic, wanted, history, promise, &mut found);
    }
    for watched in &history.watched {
        order::check(&watched.topic, &watched.reader, &watched.records, promise, &mut found);
        order::check_watched(watched, history.of(&watched.topic), &mut found);
    }
    for (group, topic) in &expected.readers {
        positions::check(group, topic, history, &mut found);
    }
    found
}

impl History {
    /// The records of a topic; none for one that was not read.
    pub fn of(&self, topic: &str) -> &[Seen] {
        self.topics.get(topic).map_or(&[], Vec::as_slice)
    }
}
