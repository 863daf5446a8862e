//! What the log knows in memory: topics, where their records are, positions, groups. Changed by frames only, the same
//! way when they are written and when they are read again on opening.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_log::{Committed, LogResult, NewTopic, Retention, TopicPartition};

use crate::errors;
use crate::frame::{Op, Row};
use crate::group::Group;
use crate::index::{Index, Place};
use crate::signal::Signal;
use crate::tail::Tail;

/// A topic with its partitions.
pub(crate) struct Topic {
    pub id: u32,
    pub name: Arc<str>,
    pub retention: Retention,
    pub max_record_bytes: usize,
    pub partitions: Vec<Partition>,
}

/// A partition: offsets `low..next`.
#[derive(Default)]
pub(crate) struct Partition {
    pub low: i64,
    pub next: i64,
    pub index: Index,
    /// Bytes written since it was compacted last, and bytes left then.
    pub dirty: u64,
    pub clean: u64,
    /// Who waits for its records.
    pub watchers: Vec<Arc<Signal>>,
}

/// Everything.
pub(crate) struct State {
    pub topics: BTreeMap<Arc<str>, u32>,
    pub by_id: BTreeMap<u32, Topic>,
    pub next_topic: u32,
    pub positions: HashMap<String, BTreeMap<(u32, u32), Committed>>,
    pub groups: HashMap<String, Group>,
    pub tail: Tail,
    /// Length of each segment file.
    pub segments: BTreeMap<u32, u64>,
}

impl State {
    pub fn new(cache_bytes: usize) -> Self {
        Self {
            topics: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_topic: 1,
            positions: HashMap::new(),
            groups: HashMap::new(),
            tail: Tail::new(cache_bytes),
            segments: BTreeMap::new(),
        }
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.by_id.get(self.topics.get(name)?)
    }

    /// A topic's id and a partition of it.
    pub fn partition(&self, at: &TopicPartition) -> LogResult<(u32, &Partition)> {
        let topic = self.topic(&at.topic).ok_or_else(|| errors::unknown_topic(&at.topic))?;
        let partition = usize::try_from(at.partition).ok().and_then(|p| topic.partitions.get(p));
        let partition =
            partition.ok_or_else(|| errors::unknown_partition(&at.topic, at.partition, topic.partitions.len()))?;
        Ok((topic.id, partition))
    }

    /// A partition by id, if the topic is still there.
    pub fn partition_mut(&mut self, topic: u32, partition: u32) -> Option<&mut Partition> {
        self.by_id.get_mut(&topic)?.partitions.get_mut(partition as usize)
    }

    /// What a group committed.
    pub fn committed(&self, group: &str, topic: u32, partition: u32) -> Option<&Committed> {
        self.positions.get(group)?.get(&(topic, partition))
    }

    /// The operation that makes a topic, with the next id.
    pub fn make_topic(&self, new: &NewTopic, default_max: usize) -> Op {
        Op::Topic {
            id: self.next_topic,
            name: new.name.clone(),
            partitions: new.partitions as u32,
            retention: new.retention,
            max_record_bytes: new.max_record_bytes.unwrap_or(default_max) as u64,
        }
    }

    /// A group's members, and how many partitions a topic has.
    pub fn group(&mut self, name: &str) -> (&mut Group, impl Fn(&str) -> usize + Copy + use<'_>) {
        let (topics, by_id) = (&self.topics, &self.by_id);
        let count = move |topic: &str| topics.get(topic).and_then(|id| by_id.get(id)).map_or(0, |t| t.partitions.len());
        // A group comes into being with its first member.
        (self.groups.entry(name.to_owned()).or_default(), count)
    }

    /// Topics came or went.
    fn rebalance(&mut self) {
        let (topics, by_id) = (&self.topics, &self.by_id);
        let count = |topic: &str| topics.get(topic).and_then(|id| by_id.get(id)).map_or(0, |t| t.partitions.len());
        for group in self.groups.values_mut() {
            group.rebalance(count);
        }
    }

    /// Applies one operation. Gives the signals of those whom it concerns.
    pub fn apply_op(&mut self, op: &Op) -> Vec<Arc<Signal>> {
        match op {
            Op::Reset { next_topic } => {
                // The frames before may be gone; those of them that are still there agree with what follows, so the
                // topics that stay keep their index.
                self.next_topic = (*next_topic).max(self.next_topic);
                self.positions.clear();
            }
            Op::Topic { id, name, partitions, retention, max_record_bytes } => {
                self.next_topic = self.next_topic.max(id + 1);
                if !self.by_id.contains_key(id) {
                    let name: Arc<str> = name.as_str().into();
                    self.topics.insert(name.clone(), *id);
                    let partitions = (0..*partitions).map(|_| Partition::default()).collect();
                    let max_record_bytes = usize::try_from(*max_record_bytes).unwrap_or(usize::MAX);
                    let topic = Topic { id: *id, name, retention: *retention, max_record_bytes, partitions };
                    self.by_id.insert(*id, topic);
                    self.rebalance();
                }
            }
            Op::TopicDeleted { id } => {
                let mut concerned = Vec::new();
                if let Some(topic) = self.by_id.remove(id) {
                    self.topics.remove(&topic.name);
                    concerned = topic.partitions.into_iter().flat_map(|p| p.watchers).collect();
                }
                for positions in self.positions.values_mut() {
                    positions.retain(|(topic, _), _| topic != id);
                }
                self.rebalance();
                return concerned;
            }
            Op::Low { topic, partition, offset } => {
                if let Some(p) = self.partition_mut(*topic, *partition) {
                    p.low = p.low.max((*offset).min(p.next));
                    p.index.trim(p.low);
                    return p.watchers.clone();
                }
            }
            Op::Next { topic, partition, offset } => {
                if let Some(p) = self.partition_mut(*topic, *partition) {
                    p.next = p.next.max(*offset);
                }
            }
            Op::Partitions { topic, partitions } => {
                if let Some(topic) = self.by_id.get_mut(topic)
                    && topic.partitions.len() < *partitions as usize
                {
                    topic.partitions.resize_with(*partitions as usize, Partition::default);
                    self.rebalance();
                }
            }
            Op::Position { group, topic, partition, offset, metadata } => {
                let committed = Committed { offset: *offset, metadata: metadata.clone() };
                self.positions.entry(group.clone()).or_default().insert((*topic, *partition), committed);
            }
            Op::GroupDeleted { group } => drop(self.positions.remove(group)),
        }
        Vec::new()
    }

    /// Applies one run. Gives the partition whose watchers are to be raised; `None` if the topic is gone.
    pub fn apply_run(&mut self, row: &Row, place: Place) -> Option<&mut Partition> {
        let partition = self.partition_mut(row.topic, row.partition)?;
        if !row.moved {
            partition.next = row.end;
            partition.dirty += u64::from(row.len);
        }
        partition.index.add(row, place);
        partition.index.trim(partition.low);
        Some(partition)
    }

    /// All of it as operations, for the beginning of a segment.
    pub fn snapshot(&self) -> Vec<Op> {
        let mut ops = vec![Op::Reset { next_topic: self.next_topic }];
        for topic in self.by_id.values() {
            ops.push(Op::Topic {
                id: topic.id,
                name: topic.name.to_string(),
                partitions: topic.partitions.len() as u32,
                retention: topic.retention,
                max_record_bytes: topic.max_record_bytes as u64,
            });
            for (number, partition) in topic.partitions.iter().enumerate() {
                let (topic, number) = (topic.id, number as u32);
                if partition.next > 0 {
                    ops.push(Op::Next { topic, partition: number, offset: partition.next });
                }
                if partition.low > 0 {
                    ops.push(Op::Low { topic, partition: number, offset: partition.low });
                }
            }
        }
        let mut groups: Vec<_> = self.positions.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        for (group, positions) in groups {
            for ((topic, partition), committed) in positions {
                ops.push(Op::Position {
                    group: group.clone(),
                    topic: *topic,
                    partition: *partition,
                    offset: committed.offset,
                    metadata: committed.metadata.clone(),
                });
            }
        }
        ops
    }
}
