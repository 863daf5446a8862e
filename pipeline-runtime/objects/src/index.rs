//! What was seen, and what waits, by name: an index on disk, so that a million objects are not a million names in memory.
//! It is made from the topic when a process begins to watch, and nobody else reads it: its file has no name, is never
//! synced, and goes with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use crate::decide::{Pending, State};
use crate::entry;

/// By name: a slot (4 bytes), then the state as the topic has it.
const SEEN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("seen");
/// By name: since when (8 bytes), the pass that saw it last (8 bytes), then the state, or nothing.
const WAITING: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("waiting");
/// Pages kept in memory, bytes.
const CACHE: usize = 16 << 20;

/// The index.
pub struct Index {
    db: Database,
    /// Each object that was seen has a slot: a bit of a pass.
    slots: u32,
    free: Vec<u32>,
    seen: u64,
}

/// What the index knows of a name.
#[derive(Default)]
pub struct Known {
    /// What was taken, and its slot.
    pub seen: Option<(State, u32)>,
    /// What waits.
    pub pending: Option<Pending>,
}

/// A change of the index.
pub enum Change {
    /// It was taken so.
    Seen(Vec<u8>, State),
    /// It is forgotten.
    Forget(Vec<u8>),
    /// It waits; seen in this pass.
    Wait(Vec<u8>, Pending, u64),
    /// It waits no more.
    Settled(Vec<u8>),
}

/// Which objects a pass has met.
#[derive(Default)]
pub struct Met {
    bits: Vec<u64>,
    count: u64,
}

impl Met {
    /// It was there.
    pub fn meet(&mut self, slot: u32) {
        let (word, bit) = (slot as usize / 64, 1u64 << (slot % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.count += u64::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    fn met(&self, slot: u32) -> bool {
        self.bits.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

impl Index {
    /// An empty one.
    ///
    /// # Errors
    /// There is no room for it in the folder of temporary files.
    pub fn new() -> io::Result<Self> {
        let backend = Scratch(tempfile::tempfile()?);
        let db = Database::builder().set_cache_size(CACHE).create_with_backend(backend).map_err(io::Error::other)?;
        let index = Self { db, slots: 0, free: Vec::new(), seen: 0 };
        let write = index.db.begin_write().map_err(io::Error::other)?;
        write.open_table(SEEN).map_err(io::Error::other)?;
        write.open_table(WAITING).map_err(io::Error::other)?;
        write.commit().map_err(io::Error::other)?;
        Ok(index)
    }

    /// How many objects were seen.
    pub fn len(&self) -> u64 {
        self.seen
    }

    /// What is known of each of these names.
    pub fn known<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> io::Result<Vec<Known>> {
        let read = self.db.begin_read().map_err(io::Error::other)?;
        let seen = read.open_table(SEEN).map_err(io::Error::other)?;
        let waiting = read.open_table(WAITING).map_err(io::Error::other)?;
        let known = |name: &[u8]| {
            let of = seen.get(name).map_err(io::Error::other)?;
            let pending = waiting.get(name).map_err(io::Error::other)?;
            Ok(Known {
                seen: of.and_then(|value| decode_seen(value.value())),
                pending: pending.and_then(|value| Some(decode_waiting(value.value())?.0)),
            })
        };
        names.map(known).collect()
    }

    /// Makes changes. Gives the slots of what was seen by them.
    pub fn change(&mut self, changes: impl IntoIterator<Item = Change>) -> io::Result<Vec<u32>> {
        let (mut slots, write) = (Vec::new(), self.db.begin_write().map_err(io::Error::other)?);
        {
            let mut seen = write.open_table(SEEN).map_err(io::Error::other)?;
            let mut waiting = write.open_table(WAITING).map_err(io::Error::other)?;
            for change in changes {
                match change {
                    Change::Seen(name, state) => {
                        let old = seen.get(&*name).map_err(io::Error::other)?;
                        let slot = old.and_then(|value| decode_seen(value.value())).map(|(_, slot)| slot);
                        let slot = slot.unwrap_or_else(|| {
                            self.seen += 1;
                            self.free.pop().unwrap_or_else(|| {
                                self.slots += 1;
                                self.slots - 1
                            })
                        });
                        let value = [&slot.to_be_bytes()[..], &entry::encode(&state, 0)].concat();
                        seen.insert(&*name, &*value).map_err(io::Error::other)?;
                        waiting.remove(&*name).map_err(io::Error::other)?;
                        slots.push(slot);
                    }
                    Change::Forget(name) => {
                        let old = seen.remove(&*name).map_err(io::Error::other)?;
                        if let Some((_, slot)) = old.and_then(|value| decode_seen(value.value())) {
                            self.seen -= 1;
                            self.free.push(slot);
                        }
                        waiting.remove(&*name).map_err(io::Error::other)?;
                    }
                    Change::Wait(name, pending, pass) => {
                        let mut value = [pending.since.to_be_bytes(), pass.to_be_bytes()].concat();
                        value.extend(pending.state.iter().flat_map(|state| entry::encode(state, 0)));
                        waiting.insert(&*name, &*value).map_err(io::Error::other)?;
                    }
                    Change::Settled(name) => drop(waiting.remove(&*name).map_err(io::Error::other)?),
                }
            }
        }
        write.commit().map_err(io::Error::other)?;
        Ok(slots)
    }

    /// Some names, behind `after` in their order, of what was seen and not met, each with what is known of it.
    pub fn missed(&self, met: &Met, after: Option<&[u8]>, most: usize) -> io::Result<Vec<(Vec<u8>, Known)>> {
        if met.count >= self.seen {
            return Ok(Vec::new());
        }
        let read = self.db.begin_read().map_err(io::Error::other)?;
        let seen = read.open_table(SEEN).map_err(io::Error::other)?;
        let waiting = read.open_table(WAITING).map_err(io::Error::other)?;
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let all = seen.range::<&[u8]>((from, std::ops::Bound::Unbounded)).map_err(io::Error::other)?;
        let mut missed = Vec::new();
        for pair in all {
            let (name, value) = pair.map_err(io::Error::other)?;
            let Some((state, slot)) = decode_seen(value.value()) else { continue };
            if met.met(slot) {
                continue;
            }
            let pending = waiting.get(name.value()).map_err(io::Error::other)?;
            let pending = pending.and_then(|value| Some(decode_waiting(value.value())?.0));
            missed.push((name.value().to_vec(), Known { seen: Some((state, slot)), pending }));
            if missed.len() >= most {
                break;
            }
        }
        Ok(missed)
    }

    /// Forgets what waited and was not there in this pass any more.
    pub fn end_of(&mut self, pass: u64) -> io::Result<()> {
        let write = self.db.begin_write().map_err(io::Error::other)?;
        {
            let mut waiting = write.open_table(WAITING).map_err(io::Error::other)?;
            let stays = |_: &[u8], value: &[u8]| decode_waiting(value).is_some_and(|(_, last)| last == pass);
            waiting.retain(stays).map_err(io::Error::other)?;
        }
        write.commit().map_err(io::Error::other)
    }
}

fn decode_seen(value: &[u8]) -> Option<(State, u32)> {
    let (slot, state) = value.split_first_chunk::<4>()?;
    Some((entry::decode(state)?.0, u32::from_be_bytes(*slot)))
}

fn decode_waiting(value: &[u8]) -> Option<(Pending, u64)> {
    let (since, rest) = value.split_first_chunk::<8>()?;
    let (pass, state) = rest.split_first_chunk::<8>()?;
    let pending = Pending { state: entry::decode(state).map(|(state, _)| state), since: u64::from_be_bytes(*since) };
    Some((pending, u64::from_be_bytes(*pass)))
}

/// A file that nobody needs after a crash.
#[derive(Debug)]
struct Scratch(File);

impl StorageBackend for Scratch {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n: u64) -> State {
        State { size: n, modified: Some(1), etag: "e".into() }
    }

    fn names(missed: &[(Vec<u8>, Known)]) -> Vec<&[u8]> {
        missed.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn what_is_put_is_found_and_what_was_not_met_is_told() -> io::Result<()> {
        let mut index = Index::new()?;
        let seen = |n: u64| Change::Seen(format!("{n:03}").into_bytes(), state(n));
        let slots = index.change((0..100).map(seen))?;
        assert_eq!((slots.len(), index.len()), (100, 100));
        let known = index.known([&b"007"[..], b"x"].into_iter())?;
        assert!(known[0].seen.as_ref().is_some_and(|(s, slot)| *s == state(7) && *slot == 7));
        assert!(known[1].seen.is_none() && known[1].pending.is_none());
        let mut met = Met::default();
        slots.iter().filter(|slot| ![3, 5, 99].contains(*slot)).for_each(|slot| met.meet(*slot));
        assert_eq!(names(&index.missed(&met, None, 10)?), [b"003", b"005", b"099"]);
        assert_eq!(names(&index.missed(&met, None, 2)?), [b"003", b"005"]);
        assert_eq!(names(&index.missed(&met, Some(b"005"), 2)?), [b"099"]);
        index.change([Change::Forget(b"003".to_vec()), Change::Forget(b"x".to_vec())])?;
        assert_eq!(index.len(), 99);
        assert_eq!(index.change([seen(200), seen(7)])?, [3, 7], "a slot that is free is taken again");
        Ok(())
    }

    #[test]
    fn what_waits_is_forgotten_when_it_is_gone() -> io::Result<()> {
        let mut index = Index::new()?;
        let pending = |n| Pending { state: Some(state(n)), since: n };
        index.change([Change::Wait(b"a".to_vec(), pending(1), 1), Change::Wait(b"b".to_vec(), pending(2), 1)])?;
        index.change([Change::Wait(b"b".to_vec(), Pending { state: None, since: 3 }, 2)])?;
        index.end_of(2)?;
        let known = index.known([&b"a"[..], b"b"].into_iter())?;
        assert_eq!(known[0].pending, None);
        assert_eq!(known[1].pending, Some(Pending { state: None, since: 3 }));
        index.change([Change::Settled(b"b".to_vec())])?;
        assert_eq!(index.known([&b"b"[..]].into_iter())?[0].pending, None);
        Ok(())
    }
}
