//! One replica of one stage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{
    Assignment, Batch, Budget, Class, Event, LogError, LogResult, Member, MemberConfig, Outgoing, Position, Sent,
    TopicPartition, Waker,
};

use crate::core::{Core, Durably};
use crate::draft::{Draft, Outbox};
use crate::errors;
use crate::fetch::Cursor;
use crate::frame::Op;
use crate::group::News;
use crate::reader::{fetch_all, unwatch};
use crate::signal::{Signal, guard};
use crate::state::State;

/// Most bytes of metadata beside a position; a default Kafka broker takes as much.
const MAX_METADATA: usize = 4096;

/// A member. Both deliveries are the same here: a transaction costs nothing more.
pub(crate) struct EmbeddedMember {
    core: Arc<Core>,
    config: MemberConfig,
    id: u64,
    signal: Arc<Signal>,
    /// By partition of the lead topic: the lead, then its side partitions.
    owned: BTreeMap<i32, Owned>,
    epoch: u64,
    turn: usize,
    outbox: Outbox,
    /// Why the open transaction cannot be committed any more.
    lost: Option<LogError>,
}

/// One partition of the lead topic and what goes with it.
struct Owned {
    epoch: u64,
    revoking: bool,
    parts: Vec<Part>,
}

struct Part {
    at: TopicPartition,
    topic: u32,
    /// Once started.
    cursor: Option<Cursor>,
    /// Nothing of it is wanted for now.
    paused: bool,
}

impl EmbeddedMember {
    pub fn join(core: Arc<Core>, config: MemberConfig) -> LogResult<Self> {
        core.is_open()?;
        let signal = Arc::<Signal>::default();
        let id = {
            let mut state = guard(&core.state);
            let (group, partitions) = state.group(&config.group);
            let (lead, instance) = (config.lead.as_str().into(), config.instance.clone());
            group.join(lead, instance, config.session_timeout, signal.clone(), Instant::now(), partitions)
        };
        let (owned, outbox) = (BTreeMap::new(), Outbox::default());
        Ok(Self { core, config, id, signal, owned, epoch: 0, turn: 0, outbox, lost: None })
    }

    /// What changed for this member since it was asked last.
    fn events(&mut self) -> LogResult<Vec<Event>> {
        let news = {
            let mut state = guard(&self.core.state);
            let (group, partitions) = state.group(&self.config.group);
            let now = Instant::now();
            group.seen(self.id, now, false, partitions).map_err(|_| self.replaced())?;
            group.expire(now, partitions);
            group.news(self.id)
        };
        let News { lost, revoking, free } = news;
        let mut events = Vec::new();
        if !lost.is_empty() {
            let gone: Vec<Owned> = lost.iter().filter_map(|p| self.owned.remove(p)).collect();
            self.unwatch(&gone);
            if !self.outbox.is_empty() {
                self.lost = Some(errors::fenced(&self.config.group, "it lost its partitions, the transaction is void"));
            }
            events.push(Event::Lost(gone.into_iter().flat_map(|o| o.parts).map(|p| p.at).collect()));
        }
        if !revoking.is_empty() {
            let mut partitions = Vec::new();
            for partition in revoking {
                if let Some(owned) = self.owned.get_mut(&partition) {
                    owned.revoking = true;
                    partitions.extend(owned.parts.iter().map(|p| p.at.clone()));
                }
            }
            events.push(Event::Revoking(partitions));
        }
        if !free.is_empty() {
            let assigned = self.claim(&free)?;
            if !assigned.is_empty() {
                events.push(Event::Assigned(assigned));
            }
        }
        Ok(events)
    }

    /// Takes over what is free. Under the append lock: a commit of the owner before, if one is under way, is finished
    /// before its position is read here.
    fn claim(&mut self, free: &[i32]) -> LogResult<Vec<Assignment>> {
        let core = self.core.clone();
        let _append = guard(&core.append);
        let mut state = guard(&core.state);
        let mut assigned = Vec::new();
        self.epoch += 1;
        for partition in free {
            let Some(parts) = parts(&state, &self.config, *partition) else { continue };
            if !state.group(&self.config.group).0.claim(self.id, *partition) {
                continue;
            }
            for part in &parts {
                let (low, high) = state.partition(&part.at).map(|(_, p)| (p.low, p.next))?;
                assigned.push(Assignment {
                    partition: part.at.clone(),
                    epoch: self.epoch,
                    committed: state.committed(&self.config.group, part.topic, part.at.partition as u32).cloned(),
                    low,
                    high,
                });
            }
            self.owned.insert(*partition, Owned { epoch: self.epoch, revoking: false, parts });
        }
        Ok(assigned)
    }

    fn fetch(&mut self, budget: Budget) -> LogResult<Vec<Batch>> {
        self.turn = self.turn.wrapping_add(1);
        let open = self.owned.values_mut().filter(|o| !o.revoking);
        let cursors = open.flat_map(|o| {
            let epoch = o.epoch;
            o.parts.iter_mut().filter(|p| !p.paused).filter_map(|p| p.cursor.as_mut()).map(move |c| (c, epoch))
        });
        fetch_all(&self.core, cursors.collect(), self.turn, budget)
    }

    /// Notes that this member waits, and until when at most: another one may have to be taken for dead by then.
    fn wait(&self, deadline: Instant) {
        let next = {
            let mut state = guard(&self.core.state);
            let (group, partitions) = state.group(&self.config.group);
            let now = Instant::now();
            // An error shows at the next look.
            let _ = group.seen(self.id, now, true, partitions);
            group.expire(now, partitions)
        };
        self.signal.wait(next.map_or(deadline, |n| n.min(deadline)));
    }

    fn touch(&self) {
        guard(&self.core.state).group(&self.config.group).0.touch(self.id, Instant::now());
    }

    fn part_mut(&mut self, at: &TopicPartition) -> Option<&mut Part> {
        self.owned.get_mut(&at.partition)?.parts.iter_mut().find(|p| p.at == *at)
    }

    /// Positions as operations, without those that are committed already.
    fn positions(&self, state: &State, positions: &[Position]) -> LogResult<Vec<Op>> {
        let Some(group) = state.groups.get(&self.config.group) else {
            return Err(errors::fenced(&self.config.group, "the group has no members"));
        };
        if group.is_replaced(self.id) {
            return Err(self.replaced());
        }
        if !group.in_good_standing(self.id) {
            return Err(errors::fenced(&self.config.group, "it was taken for dead and its partitions went to others"));
        }
        let mut ops = Vec::with_capacity(positions.len());
        for position in positions {
            let at = &position.partition;
            let part = self.owned.get(&at.partition).and_then(|o| o.parts.iter().find(|p| p.at == *at));
            let Some(part) = part.filter(|_| group.owns(self.id, at.partition)) else {
                return Err(errors::fenced(&self.config.group, &format!("{at} is not assigned to it")));
            };
            if position.metadata.len() > MAX_METADATA {
                let message = format!("{} bytes of metadata for {at}, at most {MAX_METADATA}", position.metadata.len());
                return Err(LogError::new(Class::Config, "metadata_too_large", message));
            }
            let known = state.committed(&self.config.group, part.topic, at.partition as u32);
            if known.is_none_or(|k| k.offset != position.offset || k.metadata != position.metadata) {
                ops.push(Op::Position {
                    group: self.config.group.clone(),
                    topic: part.topic,
                    partition: at.partition as u32,
                    offset: position.offset,
                    metadata: position.metadata.clone(),
                });
            }
        }
        Ok(ops)
    }

    fn unwatch<'a>(&self, gone: impl IntoIterator<Item = &'a Owned>) {
        let cursors = gone.into_iter().flat_map(|o| &o.parts).filter_map(|p| p.cursor.as_ref());
        unwatch(&self.core, cursors, &self.signal);
    }

    fn replaced(&self) -> LogError {
        errors::instance_taken(&self.config.group, self.config.instance.as_deref().unwrap_or_default())
    }

    fn still_open(&self) -> Result<(), Sent> {
        match &self.lost {
            None => Ok(()),
            Some(e) => Err(Sent::Failed(LogError::new(e.class, e.code, e.message.clone()))),
        }
    }
}

impl Member for EmbeddedMember {
    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        let deadline = crate::reader::deadline(timeout);
        loop {
            self.core.is_open()?;
            self.signal.clear();
            let events = self.events()?;
            if !events.is_empty() {
                return Ok(events);
            }
            let found = self.fetch(budget)?;
            let something = !found.is_empty();
            batches.extend(found);
            if something || self.signal.take_woken() || Instant::now() >= deadline {
                return Ok(Vec::new());
            }
            self.wait(deadline);
        }
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        let signal = self.signal.clone();
        self.touch();
        // What the next owner would find if this one never commits.
        self.core
            .append(Draft::default(), Durably::AsSet, |state, draft| {
                draft.ops = self.positions(state, positions)?;
                Ok(())
            })
            .map_err(|(error, _)| error)?;
        let core = self.core.clone();
        let mut state = guard(&core.state);
        for position in positions {
            let Some(part) = self.part_mut(&position.partition) else { continue };
            let first = part.cursor.is_none();
            part.cursor = Some(Cursor::new(part.at.clone(), part.topic, position.offset.max(0)));
            if first && let Some(partition) = state.partition_mut(part.topic, part.at.partition as u32) {
                partition.watchers.push(signal.clone());
            }
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        for at in partitions {
            if let Some(part) = self.part_mut(at) {
                part.paused = paused;
            }
        }
        // What waits may be wanted now.
        self.signal.raise();
        Ok(())
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        self.core.is_open()?;
        let lead = self.config.lead.clone();
        for at in partitions.iter().filter(|at| *at.topic == *lead) {
            if let Some(owned) = self.owned.remove(&at.partition) {
                self.unwatch([&owned]);
            }
            let mut state = guard(&self.core.state);
            state.group(&self.config.group).0.release(self.id, at.partition);
        }
        self.touch();
        // What was released may be free for this very member again.
        self.signal.raise();
        Ok(())
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.still_open()?;
        self.core.is_open().map_err(Sent::Failed)?;
        self.touch();
        self.outbox.add(&self.core, records).inspect_err(|error| {
            self.lost = Some(match error {
                Sent::Refused(_) => errors::must_abort("records of it were refused"),
                Sent::Failed(e) => errors::must_abort(&e.to_string()),
            });
        })
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        self.still_open()?;
        self.touch();
        let draft = Draft { runs: self.outbox.take(), ..Draft::default() };
        let result = self.core.append(draft, Durably::AsSet, |state, draft| {
            draft.ops = self.positions(state, positions)?;
            Ok(())
        });
        result.map_err(|(error, runs)| {
            if error.class == Class::Retry {
                self.outbox.put_back(runs);
            } else {
                self.lost = Some(LogError::new(error.class, error.code, error.message.clone()));
            }
            Sent::Failed(error)
        })
    }

    fn abort(&mut self) -> LogResult<()> {
        self.core.is_open()?;
        self.touch();
        self.outbox.clear();
        self.lost = None;
        Ok(())
    }

    fn max_metadata(&self) -> usize {
        MAX_METADATA
    }

    fn waker(&self) -> Waker {
        let signal = self.signal.clone();
        Arc::new(move || signal.wake())
    }

    fn leave(self: Box<Self>, _deadline: Duration) {
        // Dropping it is all: nothing is buffered that was committed.
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        self.unwatch(self.owned.values());
        let mut state = guard(&self.core.state);
        let (group, partitions) = state.group(&self.config.group);
        group.remove(self.id, partitions);
        if group.is_empty() {
            state.groups.remove(&self.config.group);
        }
    }
}

/// A partition of the lead topic with its side partitions. `None` while one of the topics is missing.
fn parts(state: &State, config: &MemberConfig, partition: i32) -> Option<Vec<Part>> {
    let mut parts = Vec::with_capacity(1 + config.side.len());
    for name in std::iter::once(&config.lead).chain(&config.side) {
        let topic = state.topic(name)?;
        // It comes when the side topic has been given it too.
        if topic.partitions.len() <= partition as usize {
            return None;
        }
        let at = TopicPartition { topic: topic.name.clone(), partition };
        parts.push(Part { at, topic: topic.id, cursor: None, paused: false });
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use millstream_log::{Log, NewTopic, Retention};

    use super::*;
    use crate::log::CoreLog;
    use crate::options::EmbeddedOptions;
    use crate::recover::recover;

    /// A commit that was checked and is being written when its member is taken for dead: the next owner must wait for
    /// it, or it would read everything of that commit again.
    #[test]
    fn a_new_owner_sees_the_commit_that_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions::default();
        let recovered = recover(dir.path(), &options).unwrap();
        let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
        let core = Arc::new(Core::new(dir.path(), options, recovered.appender, recovered.state, lock));
        let log = CoreLog { core: core.clone() };
        let (name, partitions, retention) = ("t".to_owned(), 1, Retention::Kept);
        let (replication, max_record_bytes, settings) = (None, None, Vec::new());
        log.create(&[NewTopic { name, partitions, retention, replication, max_record_bytes, settings }]).unwrap();
        for offset in 1..50 {
            let position = Op::Position { group: "g".into(), topic: 1, partition: 0, offset, metadata: String::new() };
            let draft = Draft { ops: vec![position], ..Draft::default() };
            // The commit holds the append lock from its check to its end.
            let mut under_way = guard(&core.append);
            let (begin, began) = std::sync::mpsc::channel();
            let next = std::thread::scope(|scope| {
                let next = scope.spawn(|| {
                    let (group, lead, name) = ("g".to_owned(), "t".to_owned(), String::new());
                    let (side, delivery) = (Vec::new(), millstream_log::Delivery::ExactlyOnce);
                    let session_timeout = Duration::from_secs(60);
                    let config = MemberConfig {
                        group,
                        lead,
                        side,
                        delivery,
                        name,
                        instance: None,
                        session_timeout,
                        prefetch_bytes: 0,
                    };
                    let mut member = log.join(config).unwrap();
                    begin.send(()).unwrap();
                    let budget = Budget { records: 0, bytes: 0 };
                    member.poll(budget, Duration::from_secs(60), &mut Vec::new()).unwrap()
                });
                began.recv().unwrap();
                for _ in 0..100 {
                    std::thread::yield_now();
                }
                core.append_locked(&mut under_way, draft, Durably::AsSet, |_, _| Ok(())).map_err(|e| e.0).unwrap();
                drop(under_way);
                next.join().unwrap()
            });
            let [Event::Assigned(assigned)] = &next[..] else { panic!("{next:?}") };
            assert_eq!(assigned[0].committed.as_ref().map(|c| c.offset), Some(offset));
        }
        core.close();
    }
}
