//! Which message ids a partition has seen within the window, and how that survives a crash.
//!
//! An id is marked when its record ends forwarded or dropped, in the transaction that releases the record, so a mark
//! without its record, or a record without its mark, cannot be. `table` holds the ids, `time` says what is within the
//! window, `changelog` is how marks look in `.state`, `staged` holds the ids that are being worked on.

mod changelog;
mod staged;
mod table;
mod time;

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as SipHasher128};

use self::changelog::Logged;
use self::table::{Before, Mark, Table};
use self::time::Clock;
use crate::{DedupConfig, EngineError};

pub use self::staged::Staged;

/// A keyed hash of a message id. 128 bits: among 10^9 ids the odds of two equal ones are 10^-21.
pub type IdHash = [u64; 2];

/// Hashes a message id.
#[inline]
pub fn hash_id(key: (u64, u64), id: &[u8]) -> IdHash {
    let mut hasher = SipHasher128::new_with_keys(key.0, key.1);
    hasher.write(id);
    let hash = hasher.finish128();
    [hash.h1, hash.h2]
}

/// Names the lane of a key.
#[inline]
pub fn hash_lane(key: (u64, u64), slot: u32, input: u16, record_key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1 ^ (u64::from(slot) << 16 | u64::from(input)));
    hasher.write(record_key);
    hasher.finish()
}

/// Names the lane that copies of a key take: not the one of live records, or these would wait for copies that are due in
/// hours. From the one to the other, and back.
#[inline]
pub fn other_lane(lane: u64) -> u64 {
    lane ^ COPIES
}

const COPIES: u64 = 1 << 63;

/// The dedup state of one slot.
pub struct Dedup {
    table: Table,
    clock: Clock,
    /// Marks since the last commit, with what they replaced, oldest first.
    uncommitted: Vec<(Mark, Before)>,
    /// How many of them the commit under way holds.
    committing: usize,
    max_ids: usize,
}

impl Dedup {
    pub fn new(config: DedupConfig) -> Self {
        Self {
            table: Table::new(),
            clock: Clock::new(config.window_ms),
            uncommitted: Vec::new(),
            committing: 0,
            max_ids: config.max_ids,
        }
    }

    /// A record is looked at: time moves on.
    #[inline]
    pub fn observe(&mut self, timestamp: i64, wall_ms: i64) {
        self.clock.observe(timestamp, wall_ms);
    }

    /// Whether the id was seen in the window, by another record than the one at this place. The same place again is a
    /// replay of a record whose outputs were written and whose position was not (at-least-once delivery).
    #[inline]
    pub fn is_duplicate(&self, id: IdHash, input: u16, offset: i64) -> bool {
        self.table.get(id).is_some_and(|mark| mark.bucket >= self.clock.oldest_bucket() && !mark.is_of(input, offset))
    }

    /// The partition's time as of the last commit; no committed mark is later.
    pub fn committed_time(&self) -> Option<i64> {
        self.clock.committed_time()
    }

    /// Whether so many more ids fit.
    #[inline]
    pub fn has_room(&mut self, more: usize) -> bool {
        self.table.len() + more <= self.max_ids || {
            self.table.sweep_all();
            self.table.len() + more <= self.max_ids
        }
    }

    /// Time has run through so many buckets since the last commit that no more can be told apart: commit first.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.table.is_crowded()
    }

    /// Remembers an id. `false`: it passed within the window already, with another record (a broken rule).
    #[inline]
    pub fn mark(&mut self, id: IdHash, input: u16, offset: i64) -> bool {
        let mark = Mark { id, input, offset, bucket: self.clock.bucket() };
        let before = self.table.put(mark);
        self.uncommitted.push((mark, before));
        let oldest = self.clock.oldest_bucket();
        self.table.replaced(id, before).is_none_or(|m| m.bucket < oldest || m.is_of(input, offset))
    }

    /// The packed record for the changelog, if there is anything new.
    pub fn begin_commit(&mut self) -> Option<Vec<u8>> {
        self.committing = self.uncommitted.len();
        let time = self.clock.begin_commit()?;
        Some(changelog::encode(time, self.clock.width(), self.uncommitted.iter().map(|(mark, _)| mark)))
    }

    /// What [`begin_commit`](Self::begin_commit) gave is durable. Ids that have left the window are let go now and not
    /// before: an abort would need them again.
    pub fn committed(&mut self) {
        self.uncommitted.drain(..std::mem::take(&mut self.committing));
        self.clock.committed();
        self.table.expire(self.clock.oldest_committed_bucket());
        self.table.sweep_some();
    }

    /// Everything since the last commit never was.
    pub fn aborted(&mut self) {
        for (mark, before) in self.uncommitted.drain(..).rev() {
            self.table.take_back(mark.id, before);
        }
        self.table.drop_unused_buckets();
        self.committing = 0;
        self.clock.aborted();
    }

    /// See [`StateSnapshot`].
    pub fn snapshot(&self) -> StateSnapshot {
        let mut marks: Vec<Mark> = self.table.iter().collect();
        marks.sort_unstable();
        let marks = marks.into_iter().map(|m| (m.id, m.input, m.offset, m.bucket)).collect();
        StateSnapshot { time: self.clock.time(), marks }
    }
}

/// Dedup state being rebuilt from its changelog.
pub struct Restore {
    dedup: Option<Dedup>,
}

impl Restore {
    pub(crate) fn new(config: Option<DedupConfig>) -> Self {
        Self { dedup: config.map(Dedup::new) }
    }

    /// Applies one record of `.state`; all of a partition's, in order.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let logged = Logged::decode(bytes)?;
        let Some(dedup) = &mut self.dedup else { return logged.marks().try_for_each(|mark| mark.map(|_| ())) };
        let rescale = dedup.clock.rescale(logged.width);
        for mark in logged.marks() {
            let mut mark = mark?;
            mark.bucket = rescale(mark.bucket);
            dedup.table.put(mark);
            if dedup.table.len() > dedup.max_ids && !dedup.has_room(0) {
                return Err(EngineError::RestoreFull { max_ids: dedup.max_ids });
            }
        }
        dedup.clock.restore(logged.time);
        dedup.table.expire(dedup.clock.oldest_committed_bucket());
        dedup.table.sweep_some();
        Ok(())
    }

    /// The partition's time as far as it is restored: no mark applied so far is later.
    pub fn time(&self) -> Option<i64> {
        self.dedup.as_ref()?.clock.time()
    }

    /// What it holds, to compare.
    pub fn snapshot(&self) -> StateSnapshot {
        self.dedup.as_ref().map(Dedup::snapshot).unwrap_or_default()
    }

    pub(crate) fn into_dedup(self) -> Option<Dedup> {
        self.dedup
    }
}

/// All that dedup knows of one partition, in a form that can be compared (R8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSnapshot {
    /// The partition's time; `None` before the first record.
    pub time: Option<i64>,
    /// Hash of the id, input, offset, time bucket; sorted.
    pub marks: Vec<([u64; 2], u16, i64, i64)>,
}

#[cfg(test)]
mod tests;
