//! Where librdkafka reads from, kept equal to where the ledger stands.

use std::time::{Duration, Instant};

use millstream_log::{Class, LogError, LogResult, Position, TopicPartition};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{COMMIT_DEADLINE, KafkaMember};
use crate::error::{kafka_error, log_error};
use crate::ffi;
use crate::source::find;

/// A partition that cannot be sought for so long will not be read any more: the member joins again.
const STUCK: Duration = Duration::from_secs(5);

impl KafkaMember {
    /// Lets librdkafka read from these offsets: added where it is new, sought where it is known.
    pub(super) fn fetch(&mut self, positions: &[Position]) -> LogResult<()> {
        let (mut new, mut known) = (TopicPartitionList::new(), TopicPartitionList::new());
        for position in positions {
            let at = &position.partition;
            let Some(index) = find(&self.sources, at) else { continue };
            let list = if self.sources[index].fetching { &mut known } else { &mut new };
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(position.offset.max(0)))
                .map_err(|e| kafka_error(format!("cannot read {at} from {}", position.offset), &e))?;
            if !self.sources[index].fetching && !self.feed_mut().queue.take_partition(&at.topic, at.partition) {
                return Err(LogError::new(Class::Fatal, "kafka_error", format!("librdkafka has no queue for {at}")));
            }
        }
        let client = self.reading().client.clone();
        if new.count() > 0 {
            // It may be taken for the answer to a rebalance that nobody has told yet, and lets what is paused go on.
            self.astray = true;
            self.steer()?;
            client.incremental_assign(&new).map_err(|e| kafka_error("cannot start reading", &e))?;
            // librdkafka remembers a pause beyond the assignment it was made in.
            client.resume(&new).map_err(|e| kafka_error("cannot start reading", &e))?;
        }
        if !self.seek(known)? {
            // The ledger is set below; librdkafka is sent there before anything is taken.
            self.astray = true;
        }
        for position in positions {
            let at = &position.partition;
            let Some(index) = find(&self.sources, at) else { continue };
            let source = &mut self.sources[index];
            source.next = position.offset;
            source.fetching = true;
            source.heard = true;
            source.reading = !source.revoking;
            self.feed_mut().forget(&at.topic, at.partition);
        }
        Ok(())
    }

    /// Stops or continues fetching. The ledger drops what librdkafka had fetched before it heard of it, so after a pause
    /// it is sought where the ledger stands.
    pub(super) fn pause_fetching(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        let mut list = TopicPartitionList::new();
        for at in partitions {
            let Some(index) = find(&self.sources, at) else { continue };
            let source = &mut self.sources[index];
            if source.paused == paused {
                continue;
            }
            source.paused = paused;
            if source.fetching {
                list.add_partition(&at.topic, at.partition);
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let client = self.reading().client.clone();
        if paused {
            return client.pause(&list).map_err(|e| kafka_error("cannot pause partitions", &e));
        }
        self.astray = true;
        client.resume(&list).map_err(|e| kafka_error("cannot read paused partitions on", &e))
    }

    /// Sends librdkafka back to where the ledger stands, after a rebalance. Whether it is there: nothing may be taken
    /// before.
    pub(crate) fn steer(&mut self) -> LogResult<bool> {
        if !self.astray {
            return Ok(true);
        }
        let mut list = TopicPartitionList::new();
        for source in self.sources.iter().filter(|s| s.fetching) {
            let at = &source.at;
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(source.next.max(0)))
                .map_err(|e| kafka_error(format!("cannot read {at} from {}", source.next), &e))?;
        }
        if self.seek(list)? {
            self.astray = false;
            self.stuck_since = None;
            return Ok(true);
        }
        if self.stuck_since.get_or_insert_with(Instant::now).elapsed() > STUCK {
            let message =
                format!("a partition is not read any more: this member of group {} must join again", self.config.group);
            return Err(LogError::new(Class::Fenced, "partition_stuck", message));
        }
        Ok(false)
    }

    /// Drops what was fetched of these partitions and reads on from the offsets given. `false` when that has to be said
    /// again: in the middle of a rebalance librdkafka has partitions that it has not started yet, or is stopping.
    fn seek(&self, list: TopicPartitionList) -> LogResult<bool> {
        const WHAT: &str = "cannot read from another offset";
        if list.count() == 0 {
            return Ok(true);
        }
        let client = &self.reading().client;
        let sought = client.seek_partitions(list, COMMIT_DEADLINE).map_err(|e| kafka_error(WHAT, &e))?;
        for entry in ffi::entries(&sought) {
            tracing::debug!(target: "millstream::kafka", group = %self.config.group, offset = entry.offset, error = ?entry.error, "sought");
            match entry.error {
                None => {}
                Some(RDKafkaErrorCode::State | RDKafkaErrorCode::PreviousInProgress) => return Ok(false),
                Some(code) => return Err(log_error(WHAT, code)),
            }
        }
        Ok(true)
    }
}
