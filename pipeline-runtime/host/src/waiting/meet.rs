//! What becomes of records and events of one partition: the one decision, without I/O, clock or payloads.
//!
//! Of one correlation either records wait or events are kept, never both. An event lets go all records that wait for it at that
//! moment, and is used up by that; if none does, it is kept, and lets go the next one that comes. Events that are kept are used in
//! the order in which they came.

use std::collections::{BTreeSet, HashMap};

use crate::jobs::Stopped;

/// The records that wait.
pub const RECORDS: u16 = 0;
/// The events.
pub const EVENTS: u16 = 1;
/// Records whose dead letters were sent back.
pub const SENT_BACK: u16 = 2;

/// Where something lies: in which of the inputs, and at which offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// [`RECORDS`], [`EVENTS`] or [`SENT_BACK`].
    pub input: u16,
    /// In the partition.
    pub offset: i64,
}

/// What is known of a record or an event that waits. Hashes stand for names: a quarter of a kilobyte is taken for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiter {
    /// When it came, ms since 1970.
    pub since: i64,
    /// What is equal in records and events that meet.
    pub by: u128,
    /// Its name and that of its job; nothing of an event.
    pub record: Option<Named>,
}

/// The names of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Of the message.
    pub id: u128,
    /// Of its job.
    pub job: u128,
}

/// What happens to a record or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Whose.
    pub at: At,
    /// What.
    pub what: What,
    /// It has waited until now, so that this has to be taken back.
    pub waited: bool,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It waits from now on.
    Keep,
    /// A record of its name waits already.
    Duplicate,
    /// It goes on with the event that lies there.
    Meet(At),
    /// The event has let records go.
    Used,
    /// Nothing came for the record in time.
    TimedOut,
    /// Nobody waited for the event in time.
    Unclaimed,
    /// The record's job goes no further.
    Stopped(Stopped),
}

/// What waits in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    all: HashMap<At, Waiter>,
    /// Those of one correlation, by when they came.
    by: HashMap<u128, Vec<(i64, At)>>,
    ids: HashMap<u128, At>,
    since: BTreeSet<(i64, At)>,
    records: usize,
}

impl Meeting {
    /// What waited for the owner before.
    pub fn restore(all: HashMap<At, Waiter>) -> Self {
        let mut meeting = Self::default();
        let mut all: Vec<(At, Waiter)> = all.into_iter().collect();
        all.sort_unstable_by_key(|(at, waiter)| (waiter.since, *at));
        all.into_iter().for_each(|(at, waiter)| meeting.insert(at, waiter));
        meeting
    }

    /// Something came. `stopped`: why its job goes no further, if that is so.
    pub fn arrive(&mut self, at: At, waiter: Waiter, stopped: Option<Stopped>) -> Vec<Act> {
        let act = |what| Act { at, what, waited: false };
        let first = self.by.get(&waiter.by).and_then(|queue| queue.first()).map(|(_, at)| *at);
        // What waits of this correlation is of the other kind.
        let waits = first.filter(|first| (first.input == EVENTS) != (at.input == EVENTS));
        let Some(named) = waiter.record else {
            if waits.is_none() {
                self.insert(at, waiter);
                return vec![act(What::Keep)];
            }
            let records = self.by.remove(&waiter.by).unwrap_or_default();
            records.iter().for_each(|(_, record)| self.remove(*record));
            let go = |(_, record): (i64, At)| Act { at: record, what: What::Meet(at), waited: true };
            return records.into_iter().map(go).chain([act(What::Used)]).collect();
        };
        if let Some(why) = stopped {
            return vec![act(What::Stopped(why))];
        }
        if self.ids.contains_key(&named.id) {
            return vec![act(What::Duplicate)];
        }
        let Some(event) = waits else {
            self.insert(at, waiter);
            return vec![act(What::Keep)];
        };
        self.remove(event);
        vec![act(What::Meet(event)), Act { at: event, what: What::Used, waited: true }]
    }

    /// What came before or at `limit` (ms since 1970) has waited for long enough; `most` of it at once, the oldest first.
    pub fn overdue(&mut self, limit: i64, most: usize) -> Vec<(Act, Waiter)> {
        let old = self.since.iter().take_while(|(since, _)| *since <= limit).take(most);
        let old: Vec<At> = old.map(|(_, at)| *at).collect();
        let end = |at: At| {
            let waiter = self.all.get(&at).copied().unwrap_or_default();
            self.remove(at);
            let what = if at.input == EVENTS { What::Unclaimed } else { What::TimedOut };
            (Act { at, what, waited: true }, waiter)
        };
        old.into_iter().map(end).collect()
    }

    /// Records whose jobs go no further.
    pub fn stop(&mut self, jobs: &HashMap<u128, Stopped>) -> Vec<Act> {
        let why = |waiter: &Waiter| jobs.get(&waiter.record?.job).copied();
        let mut gone: Vec<(At, Stopped)> =
            self.all.iter().filter_map(|(at, waiter)| Some((*at, why(waiter)?))).collect();
        gone.sort_unstable_by_key(|(at, _)| *at);
        let end = |(at, why): (At, Stopped)| {
            self.remove(at);
            Act { at, what: What::Stopped(why), waited: true }
        };
        gone.into_iter().map(end).collect()
    }

    /// Since when the oldest waits, ms since 1970.
    pub fn oldest(&self) -> Option<i64> {
        self.since.first().map(|(since, _)| *since)
    }

    /// The lowest offset of an input at which something waits.
    pub fn needs(&self, input: u16) -> Option<i64> {
        self.all.keys().filter(|at| at.input == input).map(|at| at.offset).min()
    }

    /// How many records wait.
    pub fn records(&self) -> usize {
        self.records
    }

    fn insert(&mut self, at: At, waiter: Waiter) {
        self.all.insert(at, waiter);
        let queue = self.by.entry(waiter.by).or_default();
        let place = queue.partition_point(|before| *before < (waiter.since, at));
        queue.insert(place, (waiter.since, at));
        self.since.insert((waiter.since, at));
        if let Some(named) = waiter.record {
            self.ids.insert(named.id, at);
            self.records += 1;
        }
    }

    fn remove(&mut self, at: At) {
        let Some(waiter) = self.all.remove(&at) else { return };
        if let Some(queue) = self.by.get_mut(&waiter.by) {
            if let Ok(place) = queue.binary_search(&(waiter.since, at)) {
                queue.remove(place);
            }
            if queue.is_empty() {
                self.by.remove(&waiter.by);
            }
        }
        self.since.remove(&(waiter.since, at));
        if let Some(named) = waiter.record {
            self.ids.remove(&named.id);
            self.records -= 1;
        }
    }
}
