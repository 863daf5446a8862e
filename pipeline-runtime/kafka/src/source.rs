//! A partition this client reads, with what it must remember of it.

use millstream_log::TopicPartition;

/// One row of a client's own ledger. The ledger decides what is owned, not librdkafka's flags.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) at: TopicPartition,
    /// Of the assignment; 0 for a reader.
    pub(crate) epoch: u64,
    /// Records below it have been handed out or are not wanted.
    pub(crate) next: i64,
    /// Whether records are wanted now.
    pub(crate) reading: bool,
    /// Whether librdkafka has it assigned.
    pub(crate) fetching: bool,
    /// What stands committed, by offset and the member's metadata.
    pub(crate) committed: Option<(i64, String)>,
    /// Whether what stands committed names this member as owner.
    pub(crate) claimed: bool,
    /// The owner wants nothing of it for now. What comes all the same is dropped, and read again from `next` later.
    pub(crate) paused: bool,
    /// Asked back by the group.
    pub(crate) revoking: bool,
    /// Something of it came since the last look, be it the mark of its end.
    pub(crate) heard: bool,
}

impl Source {
    pub(crate) fn new(at: TopicPartition, epoch: u64) -> Self {
        Self {
            at,
            epoch,
            next: 0,
            reading: false,
            fetching: false,
            committed: None,
            claimed: false,
            paused: false,
            revoking: false,
            heard: true,
        }
    }

    /// Whether records are taken now.
    pub(crate) fn wanted(&self) -> bool {
        self.reading && !self.paused
    }

    /// Where it stands, if it is read and nothing of it came since this was asked last.
    pub(crate) fn was_silent(&mut self) -> Option<(&TopicPartition, i64)> {
        let heard = std::mem::take(&mut self.heard);
        (!heard && self.fetching && self.wanted()).then_some((&self.at, self.next))
    }

    pub(crate) fn is(&self, topic: &str, partition: i32) -> bool {
        self.at.partition == partition && &*self.at.topic == topic
    }
}

/// The row of a partition.
pub(crate) fn find(sources: &[Source], at: &TopicPartition) -> Option<usize> {
    sources.iter().position(|s| s.is(&at.topic, at.partition))
}
