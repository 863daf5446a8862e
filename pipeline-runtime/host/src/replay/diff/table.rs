//! Ids of one output on both sides. Pure.

use std::collections::HashMap;

/// Where a record is, and a hash of what matters of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    digest: u128,
    /// Offset in its partition.
    pub offset: i64,
    /// Below 0 where there is none.
    pub partition: i32,
}

const NONE: Mark = Mark { digest: 0, offset: 0, partition: -1 };

impl Mark {
    /// Of a record at `(partition, offset)`.
    pub fn new((partition, offset): (i32, i64), digest: u128) -> Self {
        Self { digest, offset, partition }
    }

    /// Whether there is a record.
    pub fn is_there(&self) -> bool {
        self.partition >= 0
    }

    /// Where it is.
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }
}

/// An id that is not equal on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the live pipeline has.
    pub live: Mark,
    /// What the one beside has.
    pub new: Mark,
}

/// How many ids there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// On the live side.
    pub live: u64,
    /// Beside.
    pub new: u64,
    /// Equal.
    pub same: u64,
    /// Only beside.
    pub added: u64,
    /// Only live.
    pub removed: u64,
    /// Different.
    pub changed: u64,
}

/// Both sides by hash of the id. An id that is there several times (delivery at least once, a replay in place) counts as
/// the last of them, and as that of the highest partition.
#[derive(Default)]
pub struct Table {
    ids: HashMap<u128, Difference>,
}

impl Table {
    /// Something beside.
    pub fn beside(&mut self, id: u128, mark: Mark) {
        let entry = self.ids.entry(id).or_insert(Difference { live: NONE, new: NONE });
        later(&mut entry.new, mark);
    }

    /// Something live.
    pub fn live(&mut self, id: u128, mark: Mark) {
        let entry = self.ids.entry(id).or_insert(Difference { live: NONE, new: NONE });
        later(&mut entry.live, mark);
    }

    /// Counts, and what differs.
    pub fn compare(self) -> (Sums, Vec<Difference>) {
        let (mut sums, mut all) = (Sums::default(), Vec::new());
        for entry in self.ids.into_values() {
            sums.live += u64::from(entry.live.is_there());
            sums.new += u64::from(entry.new.is_there());
            match (entry.live.is_there(), entry.new.is_there()) {
                (true, true) if entry.live.digest == entry.new.digest => {
                    sums.same += 1;
                    continue;
                }
                (true, true) => sums.changed += 1,
                (true, false) => sums.removed += 1,
                (false, _) => sums.added += 1,
            }
            all.push(entry);
        }
        (sums, all)
    }
}

fn later(known: &mut Mark, mark: Mark) {
    if known.place() < mark.place() {
        *known = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_one_of_four() {
        let mut table = Table::default();
        for (id, live, new) in [(1, Some(7), Some(7)), (2, Some(7), Some(8)), (3, None, Some(7)), (4, Some(7), None)] {
            if let Some(digest) = live {
                table.live(id, Mark::new((0, id as i64), digest));
            }
            if let Some(digest) = new {
                table.beside(id, Mark::new((1, id as i64), digest));
            }
        }
        let (sums, mut all) = table.compare();
        assert_eq!(sums, Sums { live: 3, new: 3, same: 1, added: 1, removed: 1, changed: 1 });
        all.sort_by_key(|d| d.live.offset.max(d.new.offset));
        let there: Vec<_> = all.iter().map(|d| (d.live.is_there(), d.new.is_there())).collect();
        assert_eq!(there, [(true, true), (false, true), (true, false)]);
    }

    #[test]
    fn the_last_of_several_counts() {
        let mut table = Table::default();
        table.beside(1, Mark::new((0, 5), 9));
        for (at, digest) in [((0, 3), 8), ((0, 6), 9), ((0, 4), 7)] {
            table.live(1, Mark::new(at, digest));
        }
        let (sums, all) = table.compare();
        assert_eq!((sums.live, sums.same, all.len()), (1, 1, 0));
    }
}
