//! What calls keep while they run: `<pipeline>.<stage>.checkpoints`, and what a replica knows of it. Pure.
//!
//! A checkpoint is written in the replica's next transaction, which the group fences like any other, so nobody who was
//! overtaken can put an old one over a newer one. It goes with a tombstone in the transaction that ends its record.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// The form of a value: this byte, the count of the call's checkpoints (8 bytes, big endian), what the call keeps.
const VERSION: u8 = 1;
const HEAD: usize = 9;

/// One call's last word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    call: Arc<str>,
    /// How many the call had kept with this one.
    count: u64,
    state: Bytes,
}

/// What the calls for one record keep.
#[derive(Default)]
struct OfRecord {
    /// As it is committed.
    durable: Vec<Kept>,
    /// As the open transaction makes it.
    now: Vec<Kept>,
}

/// What the calls of a replica keep, by partition and by the id of the record's first call.
#[derive(Default)]
pub(crate) struct Checkpoints {
    slots: HashMap<u32, HashMap<Arc<str>, OfRecord>>,
    /// What the open transaction changes.
    changed: Vec<(u32, Arc<str>)>,
}

/// Why a record of the topic cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A newer Millstream wrote it.
    Newer(u8),
    /// Somebody else wrote it.
    Broken,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(form) => write!(f, "a newer Millstream wrote it (form {form}, known is {VERSION})"),
            Self::Broken => write!(f, "it is no checkpoint"),
        }
    }
}

impl Checkpoints {
    /// What the calls for a record have kept.
    pub(crate) fn of(&self, slot: u32, record: &str) -> Vec<(Arc<str>, Bytes)> {
        let kept = self.slots.get(&slot).and_then(|records| records.get(record));
        kept.into_iter().flat_map(|of| &of.now).map(|kept| (Arc::clone(&kept.call), kept.state.clone())).collect()
    }

    /// Whether nothing is kept of a partition, so that nobody has to look.
    pub(crate) fn is_empty(&self, slot: u32) -> bool {
        self.slots.get(&slot).is_none_or(HashMap::is_empty)
    }

    /// A call keeps something: the key and the value to be written.
    pub(crate) fn keep(&mut self, slot: u32, record: &Arc<str>, call: &Arc<str>, state: Bytes) -> (Bytes, Bytes) {
        let of = self.slots.entry(slot).or_default().entry(Arc::clone(record)).or_default();
        let before = of.now.iter().chain(&of.durable).filter(|kept| kept.call == *call).map(|kept| kept.count).max();
        let kept = Kept { call: Arc::clone(call), count: before.unwrap_or(0) + 1, state };
        let written = (key(record, call), value(&kept));
        put(&mut of.now, kept);
        self.changed.push((slot, Arc::clone(record)));
        written
    }

    /// The record has ended: the keys that go with it.
    pub(crate) fn end(&mut self, slot: u32, record: &str) -> Vec<Bytes> {
        let Some((record, of)) = self.slots.get_mut(&slot).and_then(|records| {
            let (record, _) = records.get_key_value(record)?;
            let record = Arc::clone(record);
            let of = records.get_mut(&record)?;
            Some((record, of))
        }) else {
            return Vec::new();
        };
        let mut calls: Vec<Arc<str>> = of.now.drain(..).chain(of.durable.iter().cloned()).map(|k| k.call).collect();
        calls.sort_unstable();
        calls.dedup();
        let keys = calls.iter().map(|call| key(&record, call)).collect();
        self.changed.push((slot, record));
        keys
    }

    /// The open transaction is committed.
    pub(crate) fn committed(&mut self) {
        for (slot, record) in self.changed.drain(..) {
            let Some(records) = self.slots.get_mut(&slot) else { continue };
            if let Some(of) = records.get_mut(&record) {
                of.durable.clone_from(&of.now);
                if of.now.is_empty() {
                    records.remove(&record);
                }
            }
        }
    }

    /// The open transaction is gone.
    pub(crate) fn aborted(&mut self) {
        for (slot, record) in self.changed.drain(..) {
            let Some(records) = self.slots.get_mut(&slot) else { continue };
            if let Some(of) = records.get_mut(&record) {
                of.now.clone_from(&of.durable);
                if of.now.is_empty() {
                    records.remove(&record);
                }
            }
        }
    }

    /// A partition goes.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.slots.remove(&slot);
        self.changed.retain(|(changed, _)| *changed != slot);
    }

    /// Takes one record of the topic, in the order of the log. With `at_least_once` nobody is fenced: of two checkpoints of
    /// a call the one that knows of more counts, wherever it lies.
    pub(crate) fn restore(&mut self, slot: u32, key: &[u8], value: Option<&Bytes>) -> Result<(), Unreadable> {
        let text = std::str::from_utf8(key).map_err(|_| Unreadable::Broken)?;
        let (record, call) = text.split_once('/').unwrap_or((text, text));
        let records = self.slots.entry(slot).or_default();
        let Some(value) = value else {
            if let Some(of) = records.get_mut(record) {
                of.now.retain(|kept| *kept.call != *call);
                of.durable.clone_from(&of.now);
                if of.now.is_empty() {
                    records.remove(record);
                }
            }
            return Ok(());
        };
        let kept = read(call, value)?;
        let of = records.entry(Arc::from(record)).or_default();
        put(&mut of.now, kept);
        of.durable.clone_from(&of.now);
        Ok(())
    }
}

/// The newest of a call counts.
fn put(all: &mut Vec<Kept>, kept: Kept) {
    match all.iter_mut().find(|known| known.call == kept.call) {
        Some(known) if known.count > kept.count => {}
        Some(known) => *known = kept,
        None => all.push(kept),
    }
}

/// The call that has the record's own id is named once.
fn key(record: &str, call: &str) -> Bytes {
    if record == call { Bytes::copy_from_slice(call.as_bytes()) } else { format!("{record}/{call}").into() }
}

fn value(kept: &Kept) -> Bytes {
    let mut value = Vec::with_capacity(HEAD + kept.state.len());
    value.push(VERSION);
    value.extend_from_slice(&kept.count.to_be_bytes());
    value.extend_from_slice(&kept.state);
    value.into()
}

fn read(call: &str, value: &Bytes) -> Result<Kept, Unreadable> {
    match value.first() {
        Some(&VERSION) => {}
        Some(&newer) if newer > VERSION => return Err(Unreadable::Newer(newer)),
        _ => return Err(Unreadable::Broken),
    }
    let count = value.get(1..HEAD).and_then(|n| n.try_into().ok()).ok_or(Unreadable::Broken)?;
    Ok(Kept { call: Arc::from(call), count: u64::from_be_bytes(count), state: value.slice(HEAD..) })
}

#[cfg(test)]
#[path = "checkpoints_tests.rs"]
mod tests;
