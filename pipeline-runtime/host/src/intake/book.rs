//! Which ids were taken in, as the log has them in their order. Pure: every process that reads the same records comes to
//! the same book, so that the first claim of an id is the first one everywhere.

use std::collections::{HashMap, VecDeque};

use super::claim::{Entry, Kind};
use super::names::{IdHash, PayloadHash};

/// Ids kept at most; about 100 bytes each.
pub const MAX_IDS: usize = 5_000_000;
/// Clocks of processes and brokers may differ by this much.
const SLACK_MS: i64 = 3_600_000;

/// The claim of an id that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// With which payload.
    pub payload: PayloadHash,
    /// By whom.
    pub who: u64,
    /// When the log took it, ms since 1970.
    pub at: i64,
    /// Whether its record is written.
    pub done: bool,
}

/// The ids of one source.
#[derive(Debug)]
pub struct Book {
    claims: HashMap<IdHash, Claim>,
    /// In the order they were heard, to be forgotten.
    order: VecDeque<(i64, IdHash)>,
    window_ms: i64,
}

impl Book {
    /// Of no ids; each is kept this long.
    pub fn new(window_ms: i64) -> Self {
        Self { claims: HashMap::new(), order: VecDeque::new(), window_ms }
    }

    /// The claim that counts by the order of the log.
    pub fn get(&self, id: IdHash) -> Option<Claim> {
        self.claims.get(&id).copied()
    }

    /// The same, unless it may be too old by this time: then the log must be asked, by another claim.
    pub fn look(&self, id: IdHash, now: i64) -> Option<Claim> {
        self.get(id).filter(|claim| now.saturating_sub(claim.at) < self.window_ms)
    }

    /// Takes a record of the log, which took it at `at`.
    pub fn hear(&mut self, entry: &Entry, at: i64) {
        match (entry.kind, self.claims.get_mut(&entry.id)) {
            (Kind::Claimed, Some(first)) if at.saturating_sub(first.at) < self.window_ms => {}
            (Kind::Claimed, _) => {
                let claim = Claim { payload: entry.payload, who: entry.who, at, done: false };
                self.claims.insert(entry.id, claim);
                self.order.push_back((at, entry.id));
            }
            (Kind::Done, Some(claim)) if claim.payload == entry.payload => claim.done = true,
            // Of a claim that is forgotten.
            (Kind::Done, _) => {}
        }
    }

    /// Notes that the record of an id is written.
    pub fn done(&mut self, id: IdHash, payload: PayloadHash) {
        if let Some(claim) = self.claims.get_mut(&id).filter(|claim| claim.payload == payload) {
            claim.done = true;
        }
    }

    /// Forgets what is too old for everybody.
    pub fn forget(&mut self, now: i64) {
        let end = now.saturating_sub(self.window_ms).saturating_sub(SLACK_MS);
        while let Some((at, id)) = self.order.front().copied().filter(|(at, _)| *at < end) {
            self.order.pop_front();
            if self.claims.get(&id).is_some_and(|claim| claim.at == at) {
                self.claims.remove(&id);
            }
        }
    }

    /// Whether another id has no room.
    pub fn is_full(&self) -> bool {
        self.claims.len() >= MAX_IDS
    }

    /// Ids it holds.
    pub fn len(&self) -> usize {
        self.claims.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: u8, payload: u8, who: u64) -> Entry {
        Entry { kind: Kind::Claimed, id: IdHash([id; 16]), payload: PayloadHash([payload; 16]), who }
    }

    #[test]
    fn the_first_claim_counts_for_the_window() {
        let mut book = Book::new(1000);
        book.hear(&claim(1, 1, 7), 0);
        book.hear(&claim(1, 2, 8), 999);
        assert_eq!(book.get(IdHash([1; 16])).map(|c| (c.payload.0[0], c.who)), Some((1, 7)));
        assert!(book.look(IdHash([1; 16]), 999).is_some() && book.look(IdHash([1; 16]), 1000).is_none());
        book.hear(&claim(1, 2, 8), 1000);
        assert_eq!(book.get(IdHash([1; 16])).map(|c| (c.payload.0[0], c.who, c.done)), Some((2, 8, false)));
        book.hear(&Entry { kind: Kind::Done, ..claim(1, 1, 7) }, 1001);
        assert!(!book.get(IdHash([1; 16])).unwrap().done, "of the claim before");
        book.hear(&Entry { kind: Kind::Done, ..claim(1, 2, 9) }, 1001);
        assert!(book.get(IdHash([1; 16])).unwrap().done, "whoever wrote it");
    }

    #[test]
    fn what_is_old_is_forgotten_and_what_was_claimed_anew_is_not() {
        let mut book = Book::new(1000);
        book.hear(&claim(1, 1, 7), 0);
        book.hear(&claim(2, 1, 7), 0);
        book.hear(&claim(1, 2, 7), 5000);
        book.forget(1001 + SLACK_MS);
        assert_eq!(book.len(), 1);
        assert!(book.get(IdHash([1; 16])).is_some());
        book.forget(i64::MAX);
        assert_eq!(book.len(), 0);
    }
}
