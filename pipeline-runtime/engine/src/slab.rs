//! The records an engine holds, by index. Indexes are used again, tickets are not.

use crate::work::{Place, Ticket};

/// No record: the end of a list, or no lane.
pub const NONE: u32 = u32::MAX;

/// One record from its admission to its end.
pub struct Entry<R> {
    /// Gone while the host has it.
    pub record: Option<R>,
    pub place: Place,
    /// Where it was first read, if this is a copy.
    pub origin: Option<(u16, i64)>,
    /// Keyed hash of the message id; 0 without dedup.
    pub id: [u64; 2],
    /// What it is ordered with; `None` for nothing.
    pub lane: Option<u64>,
    pub timestamp: i64,
    pub size: usize,
    /// Attempts started.
    pub attempts: u32,
    /// No attempt before this time of the monotonic clock.
    pub due: u64,
    /// When the first attempt began, by the clock that the breaker stops.
    pub first: u64,
    /// The next record that waits for the same thing.
    pub next: u32,
    /// Its finish has room in the commit's metadata.
    pub admitted: bool,
    /// Its id is entered as being worked on.
    pub staged: bool,
    /// Its key is to be set aside as soon as may be, whatever the time.
    pub pressed: bool,
    /// The host was told to cancel its attempt.
    pub overdue: bool,
    /// It goes on though its id has passed.
    pub forced: bool,
    /// A copy that its key waits for. Any other says nothing of the copies that are open, whatever origin it names.
    pub parked: bool,
    /// A copy that is only written again.
    pub moves: bool,
    /// It is the mark of a hold.
    pub mark: bool,
    /// The host was told what becomes of it: its end says nothing of the filters.
    pub settled: bool,
    /// Started and not finished.
    pub started: bool,
    occupied: bool,
    /// Rises with each use and each start.
    generation: u64,
}

impl<R> Entry<R> {
    /// Where it was first read.
    pub fn origin(&self) -> Place {
        let (input, offset) = self.origin.unwrap_or((self.place.input, self.place.offset));
        Place { slot: self.place.slot, input, offset }
    }

    /// A record that was just read.
    pub fn new(place: Place, id: [u64; 2], lane: Option<u64>, timestamp: i64, size: usize, record: R) -> Self {
        Self {
            record: Some(record),
            place,
            origin: None,
            id,
            lane,
            timestamp,
            size,
            attempts: 0,
            due: 0,
            first: 0,
            next: NONE,
            admitted: false,
            staged: false,
            pressed: false,
            overdue: false,
            forced: false,
            parked: false,
            moves: false,
            mark: false,
            settled: false,
            started: false,
            occupied: true,
            generation: 0,
        }
    }
}

/// Records that wait for the same thing, first come first; it runs through [`Entry::next`].
pub struct Queue {
    head: u32,
    tail: u32,
}

impl Queue {
    pub fn new() -> Self {
        Self { head: NONE, tail: NONE }
    }

    /// Puts a record behind the others.
    #[inline]
    pub fn push<R>(&mut self, index: u32, slab: &mut Slab<R>) {
        slab[index].next = NONE;
        if self.head == NONE {
            self.head = index;
        } else {
            slab[self.tail].next = index;
        }
        self.tail = index;
    }

    /// Takes the first record out.
    #[inline]
    pub fn pop<R>(&mut self, slab: &Slab<R>) -> Option<u32> {
        let first = Some(self.head).filter(|head| *head != NONE)?;
        self.head = slab[first].next;
        Some(first)
    }

    /// Forgets the records that are no longer held.
    pub fn retain<R>(&mut self, slab: &mut Slab<R>) {
        let mut all = std::mem::replace(self, Self::new());
        while let Some(index) = all.pop(slab) {
            if slab.holds(index) {
                self.push(index, slab);
            }
        }
    }
}

/// Low bits of a ticket are the index, the rest the generation: 2^40 starts of one index pass before a ticket repeats.
const INDEX_BITS: u32 = 24;

/// Most records a slab can hold.
pub const CAPACITY: usize = (1 << INDEX_BITS) - 1;

/// All records held.
pub struct Slab<R> {
    entries: Vec<Entry<R>>,
    free: Vec<u32>,
}

impl<R> Slab<R> {
    pub fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Takes a record in.
    #[inline]
    pub fn insert(&mut self, entry: Entry<R>) -> u32 {
        match self.free.pop() {
            Some(index) => {
                let old = &mut self.entries[index as usize];
                let generation = old.generation + 1;
                *old = Entry { generation, ..entry };
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    /// Lets a record go.
    #[inline]
    pub fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.record = None;
        entry.occupied = false;
        entry.started = false;
        self.free.push(index);
    }

    /// Marks a record as started and names the attempt.
    #[inline]
    pub fn start(&mut self, index: u32) -> Ticket {
        let entry = &mut self.entries[index as usize];
        entry.started = true;
        entry.attempts += 1;
        entry.generation += 1;
        Ticket(entry.generation << INDEX_BITS | u64::from(index))
    }

    /// The record of a ticket whose attempt is still open.
    #[inline]
    pub fn started(&self, ticket: Ticket) -> Option<u32> {
        let index = (ticket.0 & CAPACITY as u64) as u32;
        let entry = self.entries.get(index as usize)?;
        (entry.started && entry.generation == ticket.0 >> INDEX_BITS).then_some(index)
    }

    /// The ticket of a record that is started.
    pub fn ticket(&self, index: u32) -> Ticket {
        Ticket(self.entries[index as usize].generation << INDEX_BITS | u64::from(index))
    }

    /// Indexes of all records held.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.entries).filter(|(_, e)| e.occupied).map(|(index, _)| index)
    }

    /// Whether this index holds a record.
    pub fn holds(&self, index: u32) -> bool {
        self.entries.get(index as usize).is_some_and(|e| e.occupied)
    }
}

impl<R> std::ops::Index<u32> for Slab<R> {
    type Output = Entry<R>;
    #[inline]
    fn index(&self, index: u32) -> &Entry<R> {
        &self.entries[index as usize]
    }
}

impl<R> std::ops::IndexMut<u32> for Slab<R> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Entry<R> {
        &mut self.entries[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_attempt() {
        let mut slab = Slab::new();
        let place = Place { slot: 0, input: 0, offset: 0 };
        let entry = |r| Entry::new(place, [0; 2], None, 0, 1, r);
        let a = slab.insert(entry('a'));
        let first = slab.start(a);
        assert_eq!((slab.started(first), slab.ticket(a)), (Some(a), first));
        let second = slab.start(a);
        assert_eq!((slab.started(first), slab.started(second)), (None, Some(a)));
        slab.remove(a);
        assert_eq!((slab.started(second), slab.len(), slab.holds(a)), (None, 0, false));
        let b = slab.insert(entry('b'));
        assert_eq!((a, slab.started(second)), (b, None));
        let third = slab.start(b);
        assert!(third != first && third != second);
        assert_eq!((slab[b].attempts, slab.indexes().collect::<Vec<_>>()), (1, vec![b]));
    }
}
