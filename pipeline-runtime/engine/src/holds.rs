//! The holds of a slot: dead letters whose keys wait for somebody to decide.
//!
//! A hold is a *mark* in `.retry`: a copy without a record, which ends when the hold does. That somebody has decided is
//! a later record there, and both end in one commit. So before a hold can end, all its marks must have been read: one
//! that was written again at the end of the log may lie behind the record that ends it.

use std::collections::HashMap;

use crate::parked::Origin;

/// One hold.
struct Hold {
    /// The lane that live records of its key take.
    lane: u64,
    /// How often its letter was sent back before, as its marks say.
    sent: u32,
    /// Marks that lie in `.retry`, as far as is known. More than one only with at-least-once delivery.
    total: u32,
    /// Where those lie that were read, since the last abort.
    read: Vec<i64>,
}

/// What is known of the marks of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// There is no such hold.
    None,
    /// Some were not read yet.
    Unread,
    /// They lie at these offsets.
    Read(&'a [i64]),
}

/// All holds of a slot, by the place the dead letter was first read at.
#[derive(Default)]
pub struct Holds {
    all: HashMap<Origin, Hold>,
    /// Keys that have one.
    keys: i64,
}

impl Holds {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Keys that are held.
    pub fn keys(&self) -> usize {
        usize::try_from(self.keys).unwrap_or(0)
    }

    /// A key is held now, or no longer.
    pub fn key_held(&mut self, by: i64) {
        self.keys += by;
    }

    /// One more mark. The lane of the hold: a letter that was given another key still holds the one it had.
    pub fn add(&mut self, origin: Origin, lane: u64) -> u64 {
        let hold = self.all.entry(origin).or_insert(Hold { lane, sent: 0, total: 0, read: Vec::new() });
        hold.total += 1;
        hold.lane
    }

    /// A mark was read, perhaps again. The lane of the hold.
    pub fn read(&mut self, origin: Origin, lane: u64, offset: i64, sent: u32) -> u64 {
        let hold = self.all.entry(origin).or_insert(Hold { lane, sent, total: 1, read: Vec::new() });
        hold.sent = if hold.read.is_empty() { sent } else { hold.sent.max(sent) };
        if !hold.read.contains(&offset) {
            hold.read.push(offset);
            hold.total = hold.total.max(hold.read.len() as u32);
        }
        hold.lane
    }

    /// How often its letter was sent back before.
    pub fn sent(&self, origin: Origin) -> Option<u32> {
        self.all.get(&origin).map(|hold| hold.sent)
    }

    pub fn state(&self, origin: Origin) -> State<'_> {
        match self.all.get(&origin) {
            None => State::None,
            Some(hold) if hold.read.len() < hold.total as usize => State::Unread,
            Some(hold) => State::Read(&hold.read),
        }
    }

    /// A mark is written again: the new one is not read yet.
    pub fn moved(&mut self, origin: Origin, offset: i64) {
        if let Some(hold) = self.all.get_mut(&origin) {
            hold.read.retain(|at| *at != offset);
        }
    }

    /// The lane of the hold and the number of its marks.
    pub fn remove(&mut self, origin: Origin) -> Option<(u64, u32)> {
        self.all.remove(&origin).map(|hold| (hold.lane, hold.total))
    }

    /// A mark never was. The lane, if that was the last one.
    pub fn take_back(&mut self, origin: Origin) -> Option<u64> {
        let hold = self.all.get_mut(&origin)?;
        hold.total = hold.total.saturating_sub(1);
        if hold.total > 0 { None } else { self.remove(origin).map(|(lane, _)| lane) }
    }

    /// The end of a hold never was.
    pub fn put_back(&mut self, origin: Origin, lane: u64, total: u32) {
        self.all.insert(origin, Hold { lane, sent: 0, total, read: Vec::new() });
    }

    /// Everything is read again.
    pub fn unread(&mut self) {
        self.all.values_mut().for_each(|hold| hold.read.clear());
    }

    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.all.keys().copied().collect();
        origins.sort_unstable();
        origins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_only_when_all_marks_were_read() {
        let (mut holds, at) = (Holds::default(), (0, 7));
        assert_eq!(holds.state(at), State::None);
        assert_eq!((holds.add(at, 1), holds.add(at, 2)), (1, 1), "it keeps its lane");
        holds.read(at, 1, 40, 0);
        holds.read(at, 1, 40, 0);
        assert_eq!(holds.state(at), State::Unread);
        holds.read(at, 1, 41, 0);
        assert_eq!(holds.state(at), State::Read(&[40, 41]));
        holds.moved(at, 40);
        assert_eq!(holds.state(at), State::Unread);
        holds.read(at, 1, 50, 0);
        assert_eq!(holds.state(at), State::Read(&[41, 50]));
        holds.read(at, 1, 50, 2);
        assert_eq!(holds.sent(at), Some(2), "with at-least-once delivery there may be marks of two letters");
        holds.unread();
        assert_eq!(holds.state(at), State::Unread);
        assert_eq!((holds.take_back(at), holds.take_back(at), holds.len()), (None, Some(1), 0));
    }
}
