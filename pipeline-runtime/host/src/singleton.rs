//! A singleton: of all the replicas of a stage, in whatever number of processes, one works and the others stand by.
//!
//! Who works is decided twice. The lease says who may join the stage's group: the owner of the control topic's only partition in
//! the group `<pipeline>.<stage>.lead`. And a replica of a singleton begins nothing unless the stage's own group has given it
//! every partition ([`Alone`]): so two that both believe to hold the lease, as after a freeze, never work at one time, and what
//! the overtaken one has in hand is fenced as everywhere.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use millstream_log::{Budget, Class, Delivery, Event, LogResult, Member, MemberConfig, TopicPartition};

use crate::control;
use crate::plan::StagePlan;
use crate::replica::ReplicaContext;
use crate::shared::Stop;

/// Between two looks at the lease.
const LOOK: Duration = Duration::from_millis(100);
/// A replica that did not look at its group for so long may have been overtaken, and does not know it yet.
const FROZEN: Duration = Duration::from_secs(3);
/// It hears of it within this time.
const HEARS: Duration = Duration::from_secs(1);

/// The group whose only partition is the lease of a stage.
pub fn lease_group(group: &str) -> String {
    format!("{group}.lead")
}

/// Stands by until it has the lease, lets `work` run while it has it, and stands by again, until told to stop. `work` is given
/// the context of a replica that ends with the lease.
pub(crate) fn run(cx: &ReplicaContext, work: impl Fn(ReplicaContext) -> LogResult<()> + Sync) -> LogResult<()> {
    // An order of its own for each member, so that what one leaves behind goes with it.
    let cx = &ReplicaContext { stop: cx.stop.child(), ..cx.clone() };
    let mut lease = Lease::join(cx)?;
    let mut ended = Ok(());
    while ended.is_ok() && !cx.stop.draining() {
        cx.status.set_standing_by(true);
        cx.status.set_idle(true);
        if !lease.owned {
            ended = lease.look();
            continue;
        }
        tracing::info!(stage = %cx.plan.group, "works: this is the replica of a stage that has one");
        cx.status.set_standing_by(false);
        cx.status.set_idle(false);
        ended = lease.keep(cx, &work);
        cx.status.close();
        cx.status.set_joined();
        if ended.is_ok() && !cx.stop.draining() {
            tracing::info!(stage = %cx.plan.group, "stands by");
        }
    }
    cx.status.set_standing_by(false);
    lease.member.leave(Duration::from_secs(1));
    ended
}

/// A member of the group of the lease.
struct Lease {
    member: Box<dyn Member>,
    partition: TopicPartition,
    owned: bool,
    /// To be handed over as soon as nothing works any more.
    wanted: Vec<TopicPartition>,
}

impl Lease {
    fn join(cx: &ReplicaContext) -> LogResult<Self> {
        let topic = control::topic(&cx.plan.pipeline);
        let member = cx.log.join(MemberConfig {
            group: lease_group(&cx.plan.group),
            lead: topic.clone(),
            side: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            name: cx.name.clone(),
            // One that leaves is followed at once.
            instance: None,
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 64 << 10,
        })?;
        cx.stop.on_stop(member.waker());
        cx.status.set_joined();
        Ok(Self { member, partition: TopicPartition::new(topic.as_str(), 0), owned: false, wanted: Vec::new() })
    }

    /// Lets `work` run until it ends by itself, the lease goes, or the order to stop comes.
    fn keep(&mut self, cx: &ReplicaContext, work: &(impl Fn(ReplicaContext) -> LogResult<()> + Sync)) -> LogResult<()> {
        let own = cx.stop.child();
        let waker = self.member.waker();
        let (worked, kept) = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                // Also after a panic.
                let _end = Ended(&waker);
                work(ReplicaContext { stop: own.clone(), ..cx.clone() })
            });
            let mut kept = Ok(());
            while !worker.is_finished() {
                kept = self.look();
                self.tell(&own, kept.is_err());
                if kept.is_err() {
                    break;
                }
            }
            (worker.join(), kept)
        });
        let worked = worked.unwrap_or_else(|panic| resume_unwind(panic));
        let wanted = std::mem::take(&mut self.wanted);
        if !wanted.is_empty() {
            self.owned = false;
            self.member.release(&wanted)?;
        }
        worked.and(kept)
    }

    /// Ends the work where the lease is asked for, or gone.
    fn tell(&self, own: &Stop, broken: bool) {
        if broken || !self.owned {
            own.abort();
        } else if !self.wanted.is_empty() && !own.draining() {
            own.drain();
        }
    }

    /// One look at the group.
    fn look(&mut self) -> LogResult<()> {
        let events = match self.member.poll(Budget { records: 0, bytes: 0 }, LOOK, &mut Vec::new()) {
            Ok(events) => events,
            // Whether it is lost the member finds out by itself.
            Err(e) if e.class == Class::Retry => {
                thread::sleep(LOOK);
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        for event in events {
            match event {
                Event::Assigned(all) => self.owned |= all.iter().any(|a| a.partition == self.partition),
                Event::Revoking(partitions) if self.owned && partitions.contains(&self.partition) => {
                    self.wanted = partitions;
                }
                Event::Revoking(partitions) => self.member.release(&partitions)?,
                Event::Lost(partitions) => {
                    self.wanted.clear();
                    self.owned &= !partitions.contains(&self.partition);
                }
                Event::BrokerAway(..) => {}
            }
        }
        Ok(())
    }
}

/// Ends a wait when the work has ended.
struct Ended<'a>(&'a millstream_log::Waker);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Whether the replica of a singleton may begin anything.
pub(crate) struct Alone {
    looked: Instant,
    not_before: Option<Instant>,
}

impl Alone {
    pub(crate) fn new() -> Self {
        Self { looked: Instant::now(), not_before: None }
    }

    /// To be asked in each turn, after the group was looked at. `owned` is how many partitions of its input it has.
    pub(crate) fn may_work(&mut self, plan: &StagePlan, open: i32, owned: usize) -> bool {
        self.may_work_at(Instant::now(), owned >= plan.partitions.min(open).max(0) as usize)
    }

    fn may_work_at(&mut self, now: Instant, has_all: bool) -> bool {
        if now.saturating_duration_since(self.looked) > FROZEN {
            self.not_before = Some(now + HEARS);
        }
        self.looked = now;
        if self.not_before.is_some_and(|at| now >= at) {
            self.not_before = None;
        }
        has_all && self.not_before.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_everything_or_was_frozen_begins_nothing() {
        let mut alone = Alone::new();
        let start = alone.looked;
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!alone.may_work_at(at(0), false), "others have partitions of it");
        assert!(alone.may_work_at(at(2_900), true));
        assert!(!alone.may_work_at(at(6_000), true), "it may have been overtaken");
        assert!(!alone.may_work_at(at(6_900), true));
        assert!(alone.may_work_at(at(7_000), true), "it was not");
        assert!(!alone.may_work_at(at(7_100), false));
    }
}
