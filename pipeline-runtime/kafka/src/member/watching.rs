//! What a member looks for between two polls, because nobody tells it: brokers that went away, a group that gives it
//! nothing, a partition that librdkafka has ceased to read.

use std::time::{Duration, Instant};

use millstream_log::{Class, Event, LogError, LogResult, TopicPartition};
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaMember;
use crate::ffi;
use crate::joining;
use crate::source::Source;

/// Between questions whether brokers that were away are back.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at partitions of which nothing has come, not even the mark of their end.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// For the question where they end; the thread has other partitions to read.
const QUESTION: Duration = Duration::from_secs(1);
/// Looks at which a partition stood still before the end: the second has it sought again, this one gives the member up.
const LOOKS: u32 = 3;

/// Which partitions stand still though there is more to read.
pub(super) struct Quiet {
    every: Duration,
    next: Instant,
    /// Since the last look there were polls that wanted nothing, so silence means nothing.
    unasked: bool,
    /// Where each stood, and at how many looks.
    stalled: Vec<(TopicPartition, i64, u32)>,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { every: LOOK_EVERY, next: Instant::now() + LOOK_EVERY, unasked: false, stalled: Vec::new() }
    }
}

impl KafkaMember {
    /// Tells when brokers go away and come back. Asks them before saying so: connections come and go.
    pub(super) fn look_for_brokers(&mut self) {
        if !self.away && !self.reading().notes.is_unreachable() || self.probe_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.probe_at = Some(Instant::now() + PROBE_PAUSE);
        let answers = self.reading().client.fetch_metadata(Some(&self.config.lead), PROBE_PAUSE).is_ok();
        if answers {
            self.reading().notes.forget_trouble();
            self.probe_at = None;
        }
        if answers == self.away {
            self.away = !answers;
            let brokers = &self.shared.config.brokers;
            let text = match self.reading().notes.trouble() {
                _ if answers => format!("Kafka at {brokers} is back"),
                Some((_, trouble)) => format!("Kafka at {brokers} is away: {trouble}; trying again"),
                None => format!("Kafka at {brokers} does not answer; trying again"),
            };
            self.outbox.push(Event::BrokerAway(self.away, text));
        }
    }

    /// Says why no partition comes, where others have none either. Nobody else would: librdkafka tries again in silence.
    pub(super) fn look_for_partitions(&mut self) {
        if !self.sources.is_empty() || !self.coming.is_empty() {
            self.waiting.over();
        } else if !self.away
            && self.waiting.is_due()
            && let Some(why) = joining::why_none(self.reading(), &self.config.group, &self.config.lead)
        {
            tracing::warn!(target: "millstream::kafka", "{why}");
        }
    }

    /// Finds partitions that are not read any more. librdkafka has several ways to lose one without a word (pitfall:
    /// partitions that stall for hours), and records nobody reads are as good as lost. `asked`: this poll takes records.
    pub(super) fn look_for_stalled(&mut self, asked: bool) -> LogResult<()> {
        self.quiet.unasked |= !asked || self.away;
        if Instant::now() < self.quiet.next {
            return Ok(());
        }
        self.quiet.next = Instant::now() + self.quiet.every;
        let silent: Vec<(TopicPartition, i64)> =
            self.sources.iter_mut().filter_map(Source::was_silent).map(|(at, next)| (at.clone(), next)).collect();
        if std::mem::take(&mut self.quiet.unasked) || silent.is_empty() {
            self.quiet.stalled.clear();
            return Ok(());
        }
        let Some(ends) = self.ends_of(&silent) else { return Ok(()) };
        let before = std::mem::take(&mut self.quiet.stalled);
        for ((at, next), end) in silent.into_iter().zip(ends) {
            if end <= next {
                continue;
            }
            let looks =
                before.iter().find(|(known, stood, _)| *known == at && *stood == next).map_or(0, |known| known.2);
            self.quiet.stalled.push((at, next, looks + 1));
        }
        let Some((at, next, looks)) = self.quiet.stalled.iter().max_by_key(|(_, _, looks)| *looks) else {
            return Ok(());
        };
        let group = &self.config.group;
        if *looks >= LOOKS {
            let message = format!(
                "{at} is not read any more, though there is more after offset {next}: this member of group {group} must \
                 join again"
            );
            return Err(LogError::new(Class::Fenced, "partition_stuck", message));
        }
        if *looks > 1 {
            tracing::warn!(target: "millstream::kafka", %group, %at, next, "a partition is not read any more; reading it again");
            self.astray = true;
        }
        Ok(())
    }

    /// Where partitions end for who reads committed records; `None` when the brokers do not say so now.
    fn ends_of(&self, places: &[(TopicPartition, i64)]) -> Option<Vec<i64>> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (at, _) in places {
            list.add_partition_offset(&at.topic, at.partition, Offset::End).ok()?;
        }
        let found = self.reading().client.offsets_for_times(list, QUESTION).ok()?;
        let entries = ffi::entries(&found);
        entries.into_iter().map(|entry| entry.error.is_none().then_some(entry.offset)).collect()
    }
}

#[cfg(test)]
mod tests {
    use millstream_log::{Budget, Delivery, Log, Member, MemberConfig, NewTopic, Outgoing, Position, Retention};
    use millstream_test_kafka::{KafkaCluster, unique};

    use super::*;
    use crate::config::KafkaConfig;
    use crate::shared::Shared;

    const PATIENCE: Duration = Duration::from_secs(120);

    fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = attempt() {
                return found;
            }
            assert!(Instant::now() < deadline, "still waiting: {what}");
        }
    }

    /// librdkafka is told to rest behind the member's back. A partition at its end is no trouble; one with a record more
    /// has the member given up. Goes red without the look, and when the end of a partition counts as trouble.
    #[test]
    fn a_partition_that_is_not_read_any_more_is_noticed() {
        let Some(cluster) = KafkaCluster::shared() else { return };
        let config = KafkaConfig::new(cluster.bootstrap());
        let log = crate::KafkaLog::new(config.clone()).expect("the configuration is valid");
        let topic = unique("silent");
        let new = NewTopic {
            name: topic.clone(),
            partitions: 1,
            retention: Retention::Kept,
            replication: None,
            max_record_bytes: None,
            settings: Vec::new(),
        };
        until("the topic is made", || log.create(std::slice::from_ref(&new)).ok());
        let mut writer = log.writer().expect("a writer");
        let mut write = || {
            let mut records = vec![Outgoing {
                to: TopicPartition::new(topic.as_str(), 0),
                key: None,
                value: None,
                headers: Default::default(),
                timestamp: 1_767_225_600_000,
                tag: 0,
            }];
            writer.send(&mut records).expect("it is taken");
            writer.flush(PATIENCE).expect("it is durable");
        };
        write();
        let group = MemberConfig {
            group: unique("silent"),
            lead: topic.clone(),
            side: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            name: unique("a"),
            instance: None,
            session_timeout: Duration::from_secs(6),
            prefetch_bytes: 1 << 20,
        };
        let mut member = KafkaMember::join(Shared::new(config), group).expect("it joins");
        member.quiet.every = Duration::from_millis(100);
        let poll = |member: &mut KafkaMember| -> LogResult<bool> {
            let mut batches = Vec::new();
            let budget = Budget { records: 10, bytes: 1 << 20 };
            for event in member.poll(budget, Duration::from_millis(20), &mut batches)? {
                let Event::Assigned(found) = event else { panic!("{event:?}") };
                let start = |a: millstream_log::Assignment| Position {
                    partition: a.partition,
                    offset: a.low,
                    metadata: String::new(),
                };
                member.start(&found.into_iter().map(start).collect::<Vec<_>>())?;
                member.quiet.next = Instant::now();
            }
            Ok(batches.iter().any(|batch| batch.at_end && batch.next == 1))
        };
        until("all is read", || poll(&mut member).expect("it reads").then_some(()));
        for look in 0..2 * LOOKS {
            let before = member.quiet.next;
            until("it looks", || {
                poll(&mut member).expect("nothing is wrong");
                (member.quiet.next > before).then_some(())
            });
            assert!(member.quiet.stalled.is_empty(), "look {look}");
        }
        let mut all = TopicPartitionList::new();
        all.add_partition(&topic, 0);
        member.reading().client.pause(&all).expect("it rests");
        write();
        let error = until("it is noticed", || poll(&mut member).err());
        assert_eq!((error.class, error.code), (Class::Fenced, "partition_stuck"), "{error}");
    }
}
