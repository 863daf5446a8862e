//! The ids of one partition: an exact set with, for each, the place and time of the record that brought it.
//!
//! 24 bytes an id, in many small hash tables, so that growth copies one of them and not all at once. Expiry drops a
//! whole time bucket at once by forgetting its number; the entries themselves are swept out little by little.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::IdHash;

/// One id that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub id: IdHash,
    pub input: u16,
    pub offset: i64,
    /// Time bucket, counted from 1970.
    pub bucket: i64,
}

impl Mark {
    /// Whether it was made by the record at this place, as far as is kept: 8 bits of the input, 40 of the offset.
    #[inline]
    pub fn is_of(&self, input: u16, offset: i64) -> bool {
        (u64::from(self.input) & INPUT, self.offset as u64 & OFFSET)
            == (u64::from(input) & INPUT, offset as u64 & OFFSET)
    }
}

/// What a [`Table::put`] replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before(Option<u64>);

/// `packed`: 16 bits of the bucket's number, 8 of the input, 40 of the offset.
struct Entry {
    id: IdHash,
    packed: u64,
}

const NUMBER_SHIFT: u32 = 48;
const INPUT_SHIFT: u32 = 40;
const INPUT: u64 = 0xff;
const OFFSET: u64 = (1 << INPUT_SHIFT) - 1;

/// Numbers are 16 bits wide and must not meet again before their entries are swept.
const NUMBERS: u64 = 1 << 16;
const SHARDS: usize = 64;
/// Shards swept at each commit while there is something to sweep.
const SWEEP: usize = 4;

/// A time bucket that holds ids.
struct Bucket {
    bucket: i64,
    ids: usize,
}

/// The set.
pub struct Table {
    shards: Vec<HashTable<Entry>>,
    /// Rising times; the first has number `first`, the others follow.
    buckets: VecDeque<Bucket>,
    first: u64,
    /// Entries with a number below `first` and from here on may still be in the shards.
    unswept: u64,
    /// A round of sweeping: the next shard, and the number below which it clears.
    round: Option<(usize, u64)>,
    /// Entries in all shards, expired ones too.
    len: usize,
}

impl Table {
    pub fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
            buckets: VecDeque::new(),
            first: 0,
            unswept: 0,
            round: None,
            len: 0,
        }
    }

    /// Entries held, with those that are expired and not yet swept.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The mark of an id.
    #[inline]
    pub fn get(&self, id: IdHash) -> Option<Mark> {
        let entry = self.shards[shard(id)].find(id[0], |e| e.id == id)?;
        self.mark(entry)
    }

    /// Sets the mark of an id.
    pub fn put(&mut self, mark: Mark) -> Before {
        let number = self.number_of(mark.bucket);
        let packed = (number % NUMBERS) << NUMBER_SHIFT
            | (u64::from(mark.input) & INPUT) << INPUT_SHIFT
            | mark.offset as u64 & OFFSET;
        let before = self.set(mark.id, Some(packed));
        self.count(Some(packed), 1);
        Before(before)
    }

    /// The mark that a [`put`](Self::put) of this id replaced, if it is within the window.
    #[inline]
    pub fn replaced(&self, id: IdHash, before: Before) -> Option<Mark> {
        self.mark(&Entry { id, packed: before.0? })
    }

    /// Undoes a [`put`](Self::put); the latest first.
    pub fn take_back(&mut self, id: IdHash, before: Before) {
        // What has expired since must not come back under a number that is used again.
        let before = before.0.filter(|packed| self.place(*packed).is_some());
        self.set(id, before);
        self.count(before, 1);
    }

    /// Replaces the entry of an id and gives the one before, if it is within the window.
    fn set(&mut self, id: IdHash, packed: Option<u64>) -> Option<u64> {
        let shard = &mut self.shards[shard(id)];
        let before = match (shard.find_entry(id[0], |e| e.id == id), packed) {
            (Ok(mut found), Some(packed)) => Some(std::mem::replace(&mut found.get_mut().packed, packed)),
            (Ok(found), None) => {
                self.len -= 1;
                Some(found.remove().0.packed)
            }
            (Err(_), None) => None,
            (Err(_), Some(packed)) => {
                shard.insert_unique(id[0], Entry { id, packed }, |e| e.id[0]);
                self.len += 1;
                None
            }
        };
        let before = before.filter(|packed| self.place(*packed).is_some());
        self.count(before, -1);
        before
    }

    fn count(&mut self, packed: Option<u64>, by: isize) {
        if let Some(at) = packed.and_then(|packed| self.place(packed)) {
            self.buckets[at].ids = self.buckets[at].ids.wrapping_add_signed(by);
        }
    }

    /// Where in `buckets` an entry belongs; `None` if its bucket has expired.
    #[inline]
    fn place(&self, packed: u64) -> Option<usize> {
        let at = (packed >> NUMBER_SHIFT).wrapping_sub(self.first) % NUMBERS;
        (at < self.buckets.len() as u64).then_some(at as usize)
    }

    #[inline]
    fn mark(&self, entry: &Entry) -> Option<Mark> {
        let bucket = self.buckets[self.place(entry.packed)?].bucket;
        let input = (entry.packed >> INPUT_SHIFT & INPUT) as u16;
        Some(Mark { id: entry.id, input, offset: (entry.packed & OFFSET) as i64, bucket })
    }

    /// The number of a time bucket. Time only moves on; should it not (a changelog from a wider window), the next later
    /// bucket takes the id, which keeps it longer.
    fn number_of(&mut self, bucket: i64) -> u64 {
        let last = self.buckets.len() as u64;
        match self.buckets.back() {
            Some(back) if back.bucket == bucket => self.first + last - 1,
            Some(back) if back.bucket > bucket => {
                self.first + self.buckets.partition_point(|b| b.bucket < bucket) as u64
            }
            _ => {
                if self.first + last + 1 - self.unswept >= NUMBERS {
                    self.sweep_all();
                }
                self.buckets.push_back(Bucket { bucket, ids: 0 });
                self.first + last
            }
        }
    }

    /// Nearly all numbers are in use.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.buckets.len() as u64 > NUMBERS - NUMBERS / 8
    }

    /// Forgets the buckets before `oldest`.
    pub fn expire(&mut self, oldest: i64) {
        while self.buckets.front().is_some_and(|b| b.bucket < oldest) {
            self.buckets.pop_front();
            self.first += 1;
        }
    }

    /// After all that used them was taken back, buckets that hold nothing may go, so that time can be counted anew.
    pub fn drop_unused_buckets(&mut self) {
        while self.buckets.back().is_some_and(|b| b.ids == 0) {
            self.buckets.pop_back();
        }
    }

    /// Clears a few shards of what has expired.
    pub fn sweep_some(&mut self) {
        if self.round.is_none() && self.unswept < self.first {
            self.round = Some((0, self.first));
        }
        let Some((from, upto)) = self.round else { return };
        let to = (from + SWEEP).min(SHARDS);
        for at in from..to {
            self.sweep_shard(at);
        }
        if to == SHARDS {
            self.unswept = upto;
            self.round = None;
        } else {
            self.round = Some((to, upto));
        }
    }

    /// Clears all shards of what has expired.
    pub fn sweep_all(&mut self) {
        if self.unswept == self.first {
            return;
        }
        for at in 0..SHARDS {
            self.sweep_shard(at);
        }
        self.unswept = self.first;
        self.round = None;
    }

    fn sweep_shard(&mut self, at: usize) {
        let (first, buckets) = (self.first, self.buckets.len() as u64);
        let shard = &mut self.shards[at];
        let before = shard.len();
        shard.retain(|e| (e.packed >> NUMBER_SHIFT).wrapping_sub(first) % NUMBERS < buckets);
        self.len -= before - shard.len();
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2, |e| e.id[0]);
        }
    }

    /// All marks within the window, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        self.shards.iter().flatten().filter_map(|entry| self.mark(entry))
    }
}

#[inline]
fn shard(id: IdHash) -> usize {
    id[1] as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u64, bucket: i64) -> Mark {
        let id = super::super::hash_id((1, 2), &n.to_le_bytes());
        Mark { id, input: 3, offset: n as i64, bucket }
    }

    #[test]
    fn an_entry_is_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn drops_whole_buckets() {
        let mut table = Table::new();
        (0..1_000).for_each(|n| assert_eq!(table.put(mark(n, n as i64 / 100)), Before(None)));
        table.expire(4);
        assert_eq!((table.get(mark(399, 0).id), table.get(mark(400, 0).id)), (None, Some(mark(400, 4))));
        assert_eq!((table.len(), table.iter().count()), (1_000, 600));
        (0..SHARDS).for_each(|_| table.sweep_some());
        assert_eq!(table.len(), 600);
        assert_eq!(table.put(mark(0, 9)), Before(None));
        assert_eq!(table.get(mark(0, 0).id), Some(mark(0, 9)));
    }

    #[test]
    fn takes_back_what_was_replaced() {
        let mut table = Table::new();
        table.put(mark(1, 5));
        let again = table.put(mark(1, 6));
        let other = table.put(mark(2, 7));
        table.take_back(mark(2, 7).id, other);
        table.take_back(mark(1, 6).id, again);
        table.drop_unused_buckets();
        assert_eq!((table.get(mark(1, 0).id), table.get(mark(2, 0).id)), (Some(mark(1, 5)), None));
        assert_eq!((table.buckets.len(), table.len()), (1, 1));
        let again = table.put(mark(1, 9));
        table.expire(6);
        table.take_back(mark(1, 9).id, again);
        assert_eq!(table.get(mark(1, 0).id), None, "what has expired meanwhile stays away");
    }

    #[test]
    fn numbers_come_round() {
        let mut table = Table::new();
        for n in 0..200_000u64 {
            table.put(mark(n, n as i64));
            table.expire(n as i64 - 20);
        }
        assert_eq!(table.iter().count(), 21);
        assert!(table.iter().all(|m| m.bucket == m.offset), "no entry under another bucket's number");
        assert!(!table.is_crowded());
        (200_000..260_000u64).for_each(|n| {
            table.put(mark(n, n as i64));
        });
        assert!(table.is_crowded());
    }

    #[test]
    fn gives_memory_back() {
        let mut table = Table::new();
        (0..100_000).for_each(|n| {
            table.put(mark(n, 0));
        });
        let capacity = |t: &Table| t.shards.iter().map(HashTable::capacity).sum::<usize>();
        let full = capacity(&table);
        table.expire(1);
        table.sweep_all();
        assert!(table.len() == 0 && capacity(&table) * 10 < full);
    }
}
