//! Ids that are being worked on. Whether another record with such an id is a duplicate is known when the first one ends:
//! until then it waits.

use hashbrown::HashTable;

use super::IdHash;
use crate::slab::{Queue, Slab};

struct Owner {
    id: IdHash,
    owner: u32,
    waiting: Queue,
}

/// The ids of one slot that are being worked on.
pub struct Staged {
    table: HashTable<Owner>,
}

impl Staged {
    pub fn new() -> Self {
        Self { table: HashTable::new() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Enters an id; its record ends before it is entered again.
    pub fn enter(&mut self, id: IdHash, owner: u32) {
        self.table.insert_unique(id[0], Owner { id, owner, waiting: Queue::new() }, |o| o.id[0]);
    }

    /// Lets a record wait for the one that has its id; `false` if there is none.
    #[inline]
    pub fn wait<R>(&mut self, id: IdHash, index: u32, slab: &mut Slab<R>) -> bool {
        if self.table.is_empty() {
            return false;
        }
        let Some(owner) = self.table.find_mut(id[0], |o| o.id == id) else { return false };
        owner.waiting.push(index, slab);
        true
    }

    /// The record ended: those that wait for it.
    pub fn leave(&mut self, id: IdHash) -> Option<Queue> {
        Some(self.table.find_entry(id[0], |o| o.id == id).ok()?.remove().0.waiting)
    }

    /// Forgets those that are no longer held.
    pub fn retain<R>(&mut self, slab: &mut Slab<R>) {
        self.table.retain(|owner| {
            owner.waiting.retain(slab);
            slab.holds(owner.owner)
        });
    }
}
