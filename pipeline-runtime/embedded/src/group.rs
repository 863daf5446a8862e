//! Consumer groups: who is a member, who owns which partition. No I/O, no clock of its own.
//!
//! A partition has an owner and a target. Where they differ, the owner is told to release it, and only then the target
//! gets it; a member that is not heard of in time is expired, and loses everything at once. Nothing here is on disk:
//! all members end with the process that owns the folder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::assign::assign;
use crate::signal::Signal;

/// A group and its members.
#[derive(Default)]
pub(crate) struct Group {
    members: BTreeMap<u64, Membership>,
    /// By lead topic, then partition.
    slots: BTreeMap<Arc<str>, Vec<Slot>>,
    next_id: u64,
}

/// One member as the group sees it.
pub(crate) struct Membership {
    pub lead: Arc<str>,
    pub instance: Option<String>,
    pub session: Duration,
    pub signal: Arc<Signal>,
    seen: Instant,
    /// In a poll right now, which counts as being heard of.
    polling: bool,
    state: Standing,
    /// Taken away without asking, not yet told.
    lost: Vec<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Member,
    /// Not heard of in time; joins again with its next poll.
    Expired,
    /// Another member came with the same instance name.
    Replaced,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    owner: Option<u64>,
    target: Option<u64>,
    /// The owner knows that it has to release.
    told: bool,
}

/// What a member has to be told, by partition of its lead topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub lost: Vec<i32>,
    pub revoking: Vec<i32>,
    /// These can be claimed.
    pub free: Vec<i32>,
}

/// Why a member is none any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced;

impl Group {
    /// A new member; replaces one of the same instance name. `partitions` tells how many a topic has.
    pub fn join(
        &mut self,
        lead: Arc<str>,
        instance: Option<String>,
        session: Duration,
        signal: Arc<Signal>,
        now: Instant,
        partitions: impl Fn(&str) -> usize,
    ) -> u64 {
        self.next_id += 1;
        if instance.is_some() {
            let same: Vec<u64> =
                self.members.iter().filter(|(_, m)| m.instance == instance).map(|(id, _)| *id).collect();
            for id in same {
                self.take_away(id, Standing::Replaced);
            }
        }
        let state = Standing::Member;
        let member = Membership { lead, instance, session, signal, seen: now, polling: false, state, lost: Vec::new() };
        self.members.insert(self.next_id, member);
        self.rebalance(partitions);
        self.next_id
    }

    /// The member is gone.
    pub fn remove(&mut self, id: u64, partitions: impl Fn(&str) -> usize) {
        self.take_away(id, Standing::Replaced);
        self.members.remove(&id);
        self.rebalance(partitions);
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member was heard of. One that had expired is a member again.
    pub fn seen(
        &mut self,
        id: u64,
        now: Instant,
        polling: bool,
        partitions: impl Fn(&str) -> usize,
    ) -> Result<(), Replaced> {
        let Some(member) = self.members.get_mut(&id) else { return Err(Replaced) };
        member.seen = now;
        member.polling = polling;
        match member.state {
            Standing::Member => Ok(()),
            Standing::Replaced => Err(Replaced),
            Standing::Expired => {
                member.state = Standing::Member;
                self.rebalance(partitions);
                Ok(())
            }
        }
    }

    /// Notes that the member was heard of outside a poll; it stays expired if it is.
    pub fn touch(&mut self, id: u64, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.seen = now;
            member.polling = false;
        }
    }

    /// Takes everything from members that were not heard of in time. Gives the next moment this may happen.
    pub fn expire(&mut self, now: Instant, partitions: impl Fn(&str) -> usize) -> Option<Instant> {
        let late = |m: &Membership| m.state == Standing::Member && !m.polling && m.seen + m.session <= now;
        let expired: Vec<u64> = self.members.iter().filter(|(_, m)| late(m)).map(|(id, _)| *id).collect();
        for id in &expired {
            self.take_away(*id, Standing::Expired);
        }
        if !expired.is_empty() {
            self.rebalance(partitions);
        }
        let waiting = self.members.values().filter(|m| m.state == Standing::Member && !m.polling);
        waiting.map(|m| m.seen + m.session).min()
    }

    /// Whether the member is one, and has not been told to forget what it computed.
    pub fn in_good_standing(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|m| m.state == Standing::Member && m.lost.is_empty())
    }

    /// Whether another member came under its instance name.
    pub fn is_replaced(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|m| m.state == Standing::Replaced)
    }

    /// Whether the member owns a partition of its lead topic now.
    pub fn owns(&self, id: u64, partition: i32) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        self.slots.get(&member.lead).and_then(|s| s.get(partition as usize)).is_some_and(|s| s.owner == Some(id))
    }

    /// What the member has to be told; it is told once. What is free stays free until it is claimed.
    pub fn news(&mut self, id: u64) -> News {
        let Some(member) = self.members.get_mut(&id) else { return News::default() };
        let mut news = News { lost: std::mem::take(&mut member.lost), ..News::default() };
        for (partition, slot) in (0..).zip(self.slots.get_mut(&member.lead).into_iter().flatten()) {
            if slot.owner == Some(id) && slot.target != Some(id) && !slot.told {
                slot.told = true;
                news.revoking.push(partition);
            } else if slot.owner.is_none() && slot.target == Some(id) {
                news.free.push(partition);
            }
        }
        news
    }

    /// The member takes what is free for it. `false` if it no longer is.
    pub fn claim(&mut self, id: u64, partition: i32) -> bool {
        let Some(member) = self.members.get(&id) else { return false };
        let slot = self.slots.get_mut(&member.lead).and_then(|s| s.get_mut(partition as usize));
        match slot {
            Some(slot) if slot.owner.is_none() && slot.target == Some(id) => {
                *slot = Slot { owner: Some(id), told: false, ..*slot };
                true
            }
            _ => false,
        }
    }

    /// The member gives a partition up.
    pub fn release(&mut self, id: u64, partition: i32) {
        let Some(member) = self.members.get(&id) else { return };
        let slot = self.slots.get_mut(&member.lead).and_then(|s| s.get_mut(partition as usize));
        if let Some(slot) = slot
            && slot.owner == Some(id)
        {
            slot.owner = None;
            slot.told = false;
            if let Some(next) = slot.target.and_then(|t| self.members.get(&t)) {
                next.signal.raise();
            }
        }
    }

    /// Decides anew who should own what. After any change of members or topics.
    pub fn rebalance(&mut self, partitions: impl Fn(&str) -> usize) {
        for member in self.members.values() {
            self.slots.entry(member.lead.clone()).or_default();
        }
        let members = &mut self.members;
        self.slots.retain(|topic, slots| {
            let count = partitions(topic);
            // Of a deleted topic nothing is left to own.
            for (partition, slot) in slots.iter().enumerate().skip(count) {
                if let Some(owner) = slot.owner.and_then(|id| members.get_mut(&id)) {
                    owner.lost.push(partition as i32);
                }
            }
            slots.resize(count, Slot::default());
            let able: Vec<u64> = members
                .iter()
                .filter(|(_, m)| m.lead == *topic && m.state == Standing::Member)
                .map(|(id, _)| *id)
                .collect();
            let current: Vec<Option<usize>> =
                slots.iter().map(|s| s.owner.or(s.target).and_then(|id| able.iter().position(|a| *a == id))).collect();
            for (slot, target) in slots.iter_mut().zip(assign(&current, able.len())) {
                slot.target = target.map(|t| able[t]);
            }
            members.values().any(|m| m.lead == *topic)
        });
        self.raise_all();
    }

    /// Wakes every member.
    pub fn raise_all(&self) {
        for member in self.members.values() {
            member.signal.raise();
        }
    }

    fn take_away(&mut self, id: u64, state: Standing) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.state = state;
        for (partition, slot) in (0..).zip(self.slots.get_mut(&member.lead).into_iter().flatten()) {
            if slot.owner == Some(id) {
                *slot = Slot { owner: None, told: false, ..*slot };
                member.lost.push(partition);
            }
        }
        member.signal.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(_: &str) -> usize {
        3
    }

    fn join(group: &mut Group, instance: Option<&str>, now: Instant) -> u64 {
        let session = Duration::from_secs(10);
        group.join("t".into(), instance.map(str::to_owned), session, Arc::default(), now, three)
    }

    fn claim_all(group: &mut Group, id: u64) -> Vec<i32> {
        let free = group.news(id).free;
        assert!(free.iter().all(|p| group.claim(id, *p)));
        free
    }

    #[test]
    fn the_target_waits_for_the_release() {
        let (mut group, now) = (Group::default(), Instant::now());
        let a = join(&mut group, None, now);
        assert_eq!(claim_all(&mut group, a), [0, 1, 2]);
        let b = join(&mut group, None, now);
        assert_eq!(group.news(a), News { revoking: vec![2], ..News::default() });
        assert_eq!(group.news(a), News::default(), "told once");
        assert_eq!(group.news(b), News::default());
        assert!(!group.claim(b, 2));
        assert!(group.owns(a, 2));
        group.release(a, 2);
        assert!(!group.owns(a, 2));
        assert_eq!(claim_all(&mut group, b), [2]);
    }

    #[test]
    fn who_is_not_heard_of_loses_everything() {
        let (mut group, now) = (Group::default(), Instant::now());
        let a = join(&mut group, None, now);
        claim_all(&mut group, a);
        let b = join(&mut group, None, now);
        let later = now + Duration::from_secs(10);
        group.seen(b, later, false, three).unwrap();
        assert_eq!(group.expire(later, three), Some(later + Duration::from_secs(10)));
        assert!(!group.owns(a, 0) && !group.in_good_standing(a));
        assert_eq!(claim_all(&mut group, b), [0, 1, 2]);
        // It comes back, is told, and gets a share again.
        group.seen(a, later, false, three).unwrap();
        assert!(!group.in_good_standing(a), "not before it was told");
        assert_eq!(group.news(a), News { lost: vec![0, 1, 2], ..News::default() });
        assert!(group.in_good_standing(a));
        assert_eq!(group.news(b).revoking.len(), 1);
    }

    #[test]
    fn a_poll_counts_as_being_heard_of() {
        let (mut group, now) = (Group::default(), Instant::now());
        let a = join(&mut group, None, now);
        group.seen(a, now, true, three).unwrap();
        assert_eq!(group.expire(now + Duration::from_secs(100), three), None);
        assert!(group.in_good_standing(a));
    }

    #[test]
    fn the_same_instance_replaces_the_one_before() {
        let (mut group, now) = (Group::default(), Instant::now());
        let a = join(&mut group, Some("i"), now);
        claim_all(&mut group, a);
        let b = join(&mut group, Some("i"), now);
        assert_eq!(group.seen(a, now, false, three), Err(Replaced));
        assert_eq!(claim_all(&mut group, b), [0, 1, 2]);
    }

    #[test]
    fn a_deleted_topic_is_lost() {
        let (mut group, now) = (Group::default(), Instant::now());
        let a = join(&mut group, None, now);
        claim_all(&mut group, a);
        group.rebalance(|_| 0);
        assert_eq!(group.news(a), News { lost: vec![0, 1, 2], ..News::default() });
        group.rebalance(three);
        assert_eq!(claim_all(&mut group, a), [0, 1, 2]);
    }
}
