//! The log as a whole, for the process that owns the folder.

use std::sync::Arc;

use millstream_log::{
    Class, Committed, End, Isolation, Log, LogError, LogResult, Member, MemberConfig, NewTopic, Reader, TopicInfo,
    TopicPartition, Writer,
};

use crate::core::{Core, Durably};
use crate::draft::{Draft, DraftRun};
use crate::errors;
use crate::fetch::load;
use crate::frame::Op;
use crate::index::Entry;
use crate::member::EmbeddedMember;
use crate::reader::EmbeddedReader;
use crate::record;
use crate::signal::guard;
use crate::writer::EmbeddedWriter;

/// Most partitions of a topic.
const MAX_PARTITIONS: i32 = 10_000;

/// The port on a [`Core`]; the server gives the same to other processes.
pub(crate) struct CoreLog {
    pub core: Arc<Core>,
}

impl Log for CoreLog {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.core.is_open()?;
        let state = guard(&self.core.state);
        let info = |name: &&str| state.topic(name).map(|t| TopicInfo { partitions: t.partitions.len() as i32 });
        Ok(topics.iter().map(info).collect())
    }

    fn topics(&self) -> LogResult<Vec<String>> {
        self.core.is_open()?;
        Ok(guard(&self.core.state).topics.keys().map(ToString::to_string).collect())
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        for new in topics {
            check_topic(new)?;
            // One frame each: the next one's id depends on it.
            self.change(|state| {
                let known = state.topic(&new.name).is_some();
                Ok(if known { Vec::new() } else { vec![state.make_topic(new, self.core.options.max_record_bytes)] })
            })?;
        }
        Ok(())
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.change(|state| {
            let mut ops = Vec::new();
            for (name, partitions) in topics {
                let topic = state.topic(name).ok_or_else(|| errors::unknown_topic(name))?;
                check_partitions(name, *partitions)?;
                if topic.partitions.len() < *partitions as usize {
                    ops.push(Op::Partitions { topic: topic.id, partitions: *partitions as u32 });
                }
            }
            Ok(ops)
        })
    }

    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.change(|state| {
            let ids = topics.iter().filter_map(|name| state.topic(name).map(|t| t.id));
            Ok(ids.map(|id| Op::TopicDeleted { id }).collect())
        })?;
        self.core.free();
        Ok(())
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.core.is_open()?;
        let one = |at: &TopicPartition| {
            if let End::AtTime(time) = end {
                return at_time(&self.core, at, time);
            }
            let state = guard(&self.core.state);
            let (_, partition) = state.partition(at)?;
            Ok(if end == End::Low { partition.low } else { partition.next })
        };
        partitions.iter().map(one).collect()
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        self.core.is_open()?;
        let state = guard(&self.core.state);
        let one = |at: &TopicPartition| {
            let topic = state.topic(&at.topic)?;
            state.committed(group, topic.id, u32::try_from(at.partition).ok()?).cloned()
        };
        Ok(partitions.iter().map(one).collect())
    }

    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.change(|state| {
            let mut ops = Vec::new();
            for (at, offset) in offsets {
                let (topic, partition) = state.partition(at)?;
                let offset = (*offset).min(partition.next);
                if offset > partition.low {
                    ops.push(Op::Low { topic, partition: at.partition as u32, offset });
                }
            }
            Ok(ops)
        })?;
        self.core.free();
        Ok(())
    }

    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.change(|state| {
            if let Some(group) = groups.iter().find(|g| state.groups.get(**g).is_some_and(|g| !g.is_empty())) {
                return Err(errors::group_in_use(group));
            }
            let known = groups.iter().filter(|g| state.positions.contains_key(**g));
            Ok(known.map(|g| Op::GroupDeleted { group: (*g).to_owned() }).collect())
        })
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        Ok(Box::new(EmbeddedMember::join(self.core.clone(), config)?))
    }

    fn reader(&self, _isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        self.core.is_open()?;
        Ok(Box::new(EmbeddedReader::new(self.core.clone())))
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        self.core.is_open()?;
        Ok(Box::new(EmbeddedWriter::new(self.core.clone())))
    }

    fn name(&self) -> String {
        format!("the embedded log in {}", self.core.dir.display())
    }
}

impl CoreLog {
    fn change(&self, ops: impl FnOnce(&crate::state::State) -> LogResult<Vec<Op>>) -> LogResult<()> {
        let changed = self.core.append(Draft::default(), Durably::AsSet, |state, draft| {
            draft.ops = ops(state)?;
            Ok(())
        });
        changed.map_err(|(error, _): (LogError, Vec<DraftRun>)| error)
    }
}

/// The same names as Kafka takes, so that a pipeline can move to a cluster.
fn check_topic(new: &NewTopic) -> LogResult<()> {
    let name = &new.name;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        let message =
            format!("{name:?} is no name for a topic: 1 to 249 letters, digits, dots, underscores and hyphens");
        return Err(LogError::new(Class::Config, "topic_name", message));
    }
    check_partitions(name, new.partitions)
}

fn check_partitions(name: &str, partitions: i32) -> LogResult<()> {
    if !(1..=MAX_PARTITIONS).contains(&partitions) {
        let message = format!("topic {name} cannot have {partitions} partitions: 1 to {MAX_PARTITIONS}");
        return Err(LogError::new(Class::Config, "topic_partitions", message));
    }
    Ok(())
}

/// The first offset whose record has this time stamp or a later one.
fn at_time(core: &Core, at: &TopicPartition, time: i64) -> LogResult<i64> {
    let mut from = 0;
    loop {
        let (topic, entry, next, stamps) = {
            let state = guard(&core.state);
            let (topic, partition) = state.partition(at)?;
            let stamps =
                state.by_id.get(&topic).is_some_and(|t| matches!(t.retention, millstream_log::Retention::Written(_)));
            let late = |e: &&Entry| e.end > from && (if stamps { e.written } else { e.max_timestamp }) >= time;
            (topic, partition.index.iter().find(late).copied(), partition.next, stamps)
        };
        let Some(entry) = entry else { return Ok(next) };
        let Some(runs) = load(core, topic, at.partition as u32, &entry)? else { continue };
        for run in runs {
            let mut place = 0;
            while let Some((record, after)) = record::decode(&run.records, run.base, place) {
                let timestamp = if stamps { run.written } else { record.timestamp };
                if timestamp >= time && record.offset >= entry.base && record.offset < entry.end {
                    return Ok(record.offset);
                }
                place = after;
            }
        }
        from = entry.end;
    }
}
