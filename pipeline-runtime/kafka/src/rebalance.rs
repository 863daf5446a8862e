//! The group's changes: from what librdkafka tells to events, and the answers it waits for.
//!
//! An assignment is answered at once with nothing (what it names is added when the member starts it), a revocation
//! when all of it has been released. In between librdkafka keeps the membership alive.

use std::time::{Duration, Instant};

use millstream_log::{Class, Event, LogResult, TopicPartition};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use crate::context::Change;
use crate::error::kafka_error;
use crate::member::KafkaMember;
use crate::source::{Source, find};
use crate::takeover::take_over;

/// After a failed take-over.
const PAUSE: Duration = Duration::from_millis(200);

impl KafkaMember {
    /// Turns what happened to the group into events.
    pub(crate) fn settle(&mut self) -> LogResult<()> {
        for change in self.reading().notes.take_changes() {
            match change {
                Change::Assign(leads) => {
                    self.coming.extend(leads.into_iter().filter(|lead| lead.partition < self.most));
                    self.answer(&[], true)?;
                }
                Change::Revoke { partitions, lost: true } => self.lose(&partitions)?,
                Change::Revoke { partitions, lost: false } => self.revoke(partitions)?,
            }
        }
        if !self.revoking.is_empty() && self.reading().client.assignment_lost() {
            let leads = std::mem::take(&mut self.revoking);
            self.lose(&leads)?;
        }
        self.welcome()
    }

    /// Lead partitions and the side partitions that go with each.
    fn with_sides(&self, leads: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut all = Vec::with_capacity(leads.len() * (1 + self.sides.len()));
        for lead in leads {
            all.push(lead.clone());
            all.extend(self.sides.iter().map(|topic| TopicPartition::new(topic.clone(), lead.partition)));
        }
        all
    }

    /// Takes over what has come, and says so.
    fn welcome(&mut self) -> LogResult<()> {
        if self.coming.is_empty() || self.pause_until.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.coming.sort();
        self.coming.dedup();
        let sources = &self.sources;
        self.coming.retain(|at| find(sources, at).is_none());
        let partitions = self.with_sides(&self.coming);
        let reading = self.reading().clone();
        let own = self.transactional.then_some((&mut self.producer, self.id.as_str()));
        match take_over(&self.shared, &reading, &self.config.group, &partitions, own, self.epoch + 1) {
            Ok(found) => {
                self.pause_until = None;
                self.epoch += 1;
                self.coming.clear();
                for (assignment, raw) in found.assignments.iter().zip(found.raw) {
                    let mut source = Source::new(assignment.partition.clone(), assignment.epoch);
                    source.claimed = raw.as_ref().is_some_and(|r| r.owner.as_deref() == Some(&self.id));
                    source.committed = raw.map(|r| (r.committed.offset, r.committed.metadata));
                    self.sources.push(source);
                }
                if !found.assignments.is_empty() {
                    self.outbox.push(Event::Assigned(found.assignments));
                }
                Ok(())
            }
            Err(error) if error.class == Class::Retry => {
                tracing::warn!(target: "millstream::kafka", group = %self.config.group, %error, "taking over waits");
                self.pause_until = Some(Instant::now() + PAUSE);
                Ok(())
            }
            Err(error) => {
                self.pause_until = Some(Instant::now() + PAUSE);
                Err(error)
            }
        }
    }

    fn revoke(&mut self, leads: Vec<TopicPartition>) -> LogResult<()> {
        self.coming.retain(|at| !leads.contains(at));
        let going: Vec<TopicPartition> =
            self.with_sides(&leads).into_iter().filter(|at| find(&self.sources, at).is_some()).collect();
        for source in self.sources.iter_mut().filter(|s| going.contains(&s.at)) {
            source.revoking = true;
            source.reading = false;
        }
        self.revoking.extend(leads);
        if !going.is_empty() {
            self.outbox.push(Event::Revoking(going));
        }
        self.answer_revocation()
    }

    fn lose(&mut self, leads: &[TopicPartition]) -> LogResult<()> {
        self.coming.retain(|at| !leads.contains(at));
        self.revoking.retain(|at| !leads.contains(at));
        let gone: Vec<TopicPartition> =
            self.with_sides(leads).into_iter().filter(|at| find(&self.sources, at).is_some()).collect();
        let mut fetching = self.remove(&gone);
        fetching.append(&mut self.unfetched);
        if !gone.is_empty() {
            tracing::warn!(target: "millstream::kafka", group = %self.config.group, count = gone.len(), "partitions were lost");
            self.outbox.push(Event::Lost(gone));
        }
        self.answer(&fetching, false)
    }

    /// Takes partitions out of the ledger; returns those that librdkafka still has.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        let mut fetching = Vec::new();
        for at in partitions {
            if let Some(index) = find(&self.sources, at) {
                let source = self.sources.remove(index);
                if source.fetching {
                    fetching.push(source.at);
                }
                self.feed_mut().forget(&at.topic, at.partition);
            }
        }
        fetching
    }

    /// Answers a revocation once everything of it is released: one answer, for all of it.
    pub(crate) fn answer_revocation(&mut self) -> LogResult<()> {
        if self.revoking.is_empty() || self.sources.iter().any(|s| s.revoking) {
            return Ok(());
        }
        self.revoking.clear();
        let fetching = std::mem::take(&mut self.unfetched);
        self.answer(&fetching, false)
    }

    /// The call librdkafka waits for after telling a change. Between the two it pauses what is fetched, and goes on
    /// where it thinks the application stands; in a batch it counts the mark of a partition's end as a record, which
    /// is one too many. So every partition is sought where the ledger stands while it is still paused: a fetch from
    /// beyond the end would be refused, and librdkafka would give the partition up without a word.
    fn answer(&mut self, partitions: &[TopicPartition], assign: bool) -> LogResult<()> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for at in partitions {
            list.add_partition(&at.topic, at.partition);
        }
        self.astray = true;
        self.steer()?;
        let client = &self.reading().client;
        let result = if assign { client.incremental_assign(&list) } else { client.incremental_unassign(&list) };
        result.map_err(|e| kafka_error("cannot answer a rebalance", &e))
    }
}
