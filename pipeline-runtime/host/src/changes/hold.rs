//! Holds whole groups: a member of its own in each, with all partitions of what the group reads. Whoever computed
//! something before has lost it (the group fences it), so positions can be read and set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_log::{
    Assignment, Budget, Class, Committed, Delivery, Event, Log, LogError, LogResult, Member, MemberConfig, Position,
    Sent, TopicPartition,
};

use super::apply::stopped;
use crate::shared::Stop;

/// A session of a member that died, and a rebalance after it.
const PATIENCE: Duration = Duration::from_secs(30);
const LEAVE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at what else goes on.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// After this long people are told what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Groups that are held.
#[derive(Default)]
pub struct Hold {
    groups: Vec<Held>,
}

struct Held {
    group: String,
    topics: Vec<String>,
    /// Of the lead, and so of each.
    partitions: i32,
    member: Box<dyn Member>,
    owned: BTreeMap<TopicPartition, Assignment>,
}

impl Hold {
    /// Joins a group as a reader of these topics, which have `partitions` each.
    pub fn join(
        &mut self,
        log: &dyn Log,
        group: &str,
        topics: &[String],
        partitions: i32,
        delivery: Delivery,
    ) -> LogResult<()> {
        let Some((lead, side)) = topics.split_first() else { return Ok(()) };
        let member = log.join(MemberConfig {
            group: group.to_owned(),
            lead: lead.clone(),
            side: side.to_vec(),
            delivery,
            name: format!("{:032x}.apply", fastrand::u128(..)),
            instance: None,
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 64 << 10,
        })?;
        let owned = BTreeMap::new();
        self.groups.push(Held { group: group.to_owned(), topics: topics.to_vec(), partitions, member, owned });
        Ok(())
    }

    /// Waits until every group has given all its partitions; asks `look` now and then whether that is worth it.
    pub fn wait(&mut self, look: &mut dyn FnMut() -> LogResult<()>, stop: &Stop) -> LogResult<()> {
        let began = Instant::now();
        let (mut said, mut looked) = (false, began);
        loop {
            self.poll()?;
            let Some(missing) = self.groups.iter().find(|g| !g.complete()) else { return Ok(()) };
            if stop.draining() {
                return Err(stopped());
            }
            if looked.elapsed() > LOOK_AROUND {
                looked = Instant::now();
                look()?;
            }
            if !said && began.elapsed() > QUIET {
                said = true;
                tracing::warn!("waiting until no other member, or none that was killed, holds `{}`", missing.topics[0]);
            }
            if began.elapsed() > PATIENCE {
                return Err(LogError::new(
                    Class::Config,
                    "stage_runs",
                    format!(
                        "other members of the group `{}` keep partitions of `{}`: end every process that runs the \
                         stage, then apply again",
                        missing.group, missing.topics[0]
                    ),
                ));
            }
        }
    }

    /// Stays a member of all. An error if a partition was lost.
    pub fn poll(&mut self) -> LogResult<()> {
        for held in &mut self.groups {
            held.poll()?;
        }
        Ok(())
    }

    /// What a group had committed in a topic when it was given over.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Option<Committed>> {
        let of = |held: &Held| held.group == group && held.topics.iter().any(|t| t == topic);
        let owned = self.groups.iter().filter(|h| of(h)).flat_map(|h| h.owned.values());
        owned.filter(|a| *a.partition.topic == *topic).map(|a| (a.partition.partition, a.committed.clone())).collect()
    }

    /// Where a partition that is held ended when it was given over.
    pub fn end(&self, group: &str, partition: &TopicPartition) -> Option<i64> {
        let held = self.groups.iter().find(|h| h.group == group)?;
        held.owned.get(partition).map(|a| a.high)
    }

    /// Sets positions of one topic in a held group, all at once.
    pub fn set(&mut self, group: &str, topic: &str, positions: Vec<Position>) -> LogResult<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let of = |held: &&mut Held| held.group == group && held.topics.iter().any(|t| t == topic);
        let Some(held) = self.groups.iter_mut().find(of) else {
            return Err(LogError::new(Class::Fatal, "group_not_held", format!("the group `{group}` is not held")));
        };
        let most = held.member.max_metadata();
        if positions.iter().any(|p| p.metadata.len() > most) {
            let message = format!(
                "what is finished beyond the position in `{topic}` does not fit into a commit of `{group}`: let the \
                 stage that reads it now work it off, then apply again"
            );
            return Err(LogError::new(Class::Config, "records_left", message));
        }
        held.member.start(&positions)?;
        held.member.commit(&positions).map_err(|sent| match sent {
            Sent::Failed(e) => e,
            Sent::Refused(why) => {
                LogError::new(Class::Fatal, "position_refused", format!("`{group}` refuses a position: {why:?}"))
            }
        })
    }

    /// Gives all of it back.
    pub fn leave(self) {
        for held in self.groups {
            held.member.leave(LEAVE);
        }
    }
}

impl Held {
    fn complete(&self) -> bool {
        self.owned.keys().filter(|p| *p.topic == *self.topics[0]).count() as i32 >= self.partitions
    }

    fn poll(&mut self) -> LogResult<()> {
        for event in self.member.poll(Budget { records: 0, bytes: 0 }, LOOK, &mut Vec::new())? {
            match event {
                Event::Assigned(all) => self.owned.extend(all.into_iter().map(|a| (a.partition.clone(), a))),
                Event::Revoking(all) => {
                    self.owned.retain(|at, _| !all.contains(at));
                    self.member.release(&all)?;
                }
                Event::Lost(all) => {
                    self.owned.retain(|at, _| !all.contains(at));
                    self.member.abort()?;
                }
                Event::BrokerAway(away, why) => tracing::debug!(away, %why, "the broker of a group that is held"),
            }
        }
        Ok(())
    }
}
