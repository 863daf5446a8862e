//! Order: records of one lane run one after another, in the order they came.
//!
//! A lane exists while its first record is under way or waits for something; those behind it wait in a list that runs
//! through the records themselves. A lane is named by a keyed hash of (slot, input, key): should two keys ever meet in
//! one lane, they wait for each other, and nothing worse.

use hashbrown::HashTable;

use crate::slab::{Queue, Slab};

/// One lane that is held.
struct Lane {
    name: u64,
    /// The record that runs or waits for something other than the lane.
    owner: u32,
    behind: Queue,
}

/// All lanes that are held.
pub struct Lanes {
    table: HashTable<Lane>,
}

impl Lanes {
    pub fn new() -> Self {
        Self { table: HashTable::new() }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Puts a record behind those of its lane; `false` if nobody holds the lane, or the record itself does.
    pub fn queue<R>(&mut self, name: u64, index: u32, slab: &mut Slab<R>) -> bool {
        let Some(lane) = self.table.find_mut(name, |l| l.name == name) else { return false };
        if lane.owner == index {
            return false;
        }
        lane.behind.push(index, slab);
        true
    }

    /// Holds a lane for a record; `false` if another record holds it.
    pub fn hold(&mut self, name: u64, index: u32) -> bool {
        match self.table.find(name, |l| l.name == name) {
            Some(lane) => lane.owner == index,
            None => {
                let lane = Lane { name, owner: index, behind: Queue::new() };
                self.table.insert_unique(name, lane, |l| l.name);
                true
            }
        }
    }

    /// Who holds a lane.
    #[inline]
    pub fn owner(&self, name: u64) -> Option<u32> {
        self.table.find(name, |l| l.name == name).map(|lane| lane.owner)
    }

    /// The record leaves its lane. The next one, if any, holds it now.
    pub fn leave<R>(&mut self, name: u64, index: u32, slab: &Slab<R>) -> Option<u32> {
        let mut found = self.table.find_entry(name, |l| l.name == name).ok()?;
        let lane = found.get_mut();
        if lane.owner != index {
            return None;
        }
        let next = lane.behind.pop(slab);
        match next {
            Some(next) => lane.owner = next,
            None => {
                found.remove();
            }
        }
        next
    }

    /// Forgets the records that are no longer held. What was given up was given up with everything behind it, so a lane
    /// whose owner is gone is empty.
    pub fn retain<R>(&mut self, slab: &mut Slab<R>) {
        self.table.retain(|lane| {
            lane.behind.retain(slab);
            slab.holds(lane.owner)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Entry;
    use crate::work::Place;

    fn slab(n: u32) -> Slab<()> {
        let mut slab = Slab::new();
        for i in 0..n {
            slab.insert(Entry::new(Place { slot: 0, input: 0, offset: i.into() }, [0; 2], Some(7), 0, 1, ()));
        }
        slab
    }

    #[test]
    fn first_come_first_served() {
        let (mut lanes, mut slab) = (Lanes::new(), slab(4));
        assert!(!lanes.queue(7, 0, &mut slab), "nobody holds it yet");
        assert!(lanes.hold(7, 0));
        assert!(lanes.hold(7, 0) && !lanes.hold(7, 1));
        assert!(lanes.queue(7, 1, &mut slab) && lanes.queue(7, 2, &mut slab));
        assert!(!lanes.queue(7, 0, &mut slab), "its owner does not wait for itself");
        assert_eq!(lanes.leave(7, 2, &slab), None, "only the owner can leave");
        assert_eq!(lanes.leave(7, 0, &slab), Some(1));
        assert!(lanes.queue(7, 3, &mut slab));
        assert_eq!(lanes.leave(7, 1, &slab), Some(2));
        assert_eq!(lanes.leave(7, 2, &slab), Some(3));
        assert_eq!((lanes.leave(7, 3, &slab), lanes.is_empty()), (None, true));
    }

    #[test]
    fn forgets_what_is_gone() {
        let (mut lanes, mut slab) = (Lanes::new(), slab(4));
        lanes.hold(7, 0);
        (1..4).for_each(|i| assert!(lanes.queue(7, i, &mut slab)));
        slab.remove(1);
        slab.remove(3);
        lanes.retain(&mut slab);
        assert_eq!((lanes.leave(7, 0, &slab), lanes.leave(7, 2, &slab)), (Some(2), None));
        lanes.hold(7, 0);
        slab.remove(0);
        lanes.retain(&mut slab);
        assert!(lanes.is_empty());
    }
}
