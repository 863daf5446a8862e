//! Dead letters in the middle of everything: those that are sent back and what must become of them, and those that hold
//! their keys and what somebody decides about them.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::{CopyKind, Order, Place};

use crate::checker::at;
use crate::world::{Break, Ended, Head, Kind, Out, Rec, World};

impl World {
    /// Somebody sends some letters of a partition back that hold no key, in their order: the copies, and that the letters
    /// are done, are one transaction. Some are mended before, some are to pass dedup.
    pub fn redrive(&mut self, rng: &mut fastrand::Rng) {
        let p = rng.usize(..self.partitions.len());
        let letters =
            self.partitions[p].outputs.iter().enumerate().filter(|(_, end)| end.out == Out::Letter && !end.holds);
        let open: Vec<(usize, Ended)> =
            letters.filter(|(at, _)| !self.partitions[p].sent.contains(at)).map(|(at, end)| (at, *end)).collect();
        for (letter, end) in open.into_iter().take(10) {
            if rng.bool() {
                continue;
            }
            let known =
                end.sent_back.map_or_else(|| at(self, p, end.input, end.offset), |copy| at(self, p, self.retry, copy));
            let kind = if rng.bool() { Kind::Forward } else { known.kind };
            let (forced, copy) = (rng.u8(..3) == 0, CopyKind::SentBack);
            let head = Head { input: end.input, offset: end.offset, attempts: 0, due: 0, kind: copy, forced };
            let record = Rec { kind, head: Some(head), ..known.clone() };
            let retry = usize::from(self.retry);
            let log = &mut self.partitions[p].inputs[retry];
            log.records.push(Rec { offset: log.end, ..record });
            log.end += 1;
            self.note_redriven(Place { slot: p as u32, input: end.input, offset: end.offset });
            self.sent_back += 1;
            if self.promise.broken != Break::SendTwice || rng.bool() {
                self.partitions[p].sent.insert(letter);
            }
        }
    }

    /// Somebody decides about letters: each is sent back, mended or not, or its hold ends. One that was released may be
    /// sent back later; and now and then a hold is ended that is not there.
    pub fn decide(&mut self, rng: &mut fastrand::Rng, most: usize) {
        for _ in 0..most {
            let all: Vec<(Place, u32)> = self.undecided.iter().copied().collect();
            if all.is_empty() {
                break;
            }
            let letter = all[rng.usize(..all.len())];
            self.undecided.remove(&letter);
            let kind = match rng.u8(..3) {
                0 => CopyKind::Free,
                _ => CopyKind::First,
            };
            if kind == CopyKind::Free && rng.bool() {
                self.released.insert(letter);
            }
            self.send_back(letter, kind, rng);
        }
        if rng.u8(..8) == 0
            && let Some(letter) = self.released.pop_first()
        {
            self.send_back(letter, [CopyKind::First, CopyKind::Free][rng.usize(..2)], rng);
        }
        // Two people decide at once: what one says of a letter comes after the other has sent it back.
        if rng.u8(..8) == 0
            && let Some(letter) = self.outdated.pop_first()
        {
            self.send_back(letter, CopyKind::Free, rng);
        }
    }

    fn send_back(&mut self, (letter, sent): (Place, u32), kind: CopyKind, rng: &mut fastrand::Rng) {
        let record = self.record(letter).clone();
        let attempts = if kind == CopyKind::Free { sent } else { 0 };
        let head = Head { input: letter.input, offset: letter.offset, attempts, due: 0, kind, forced: false };
        let mended = if rng.bool() { Kind::Forward } else { record.kind };
        self.append(letter.slot, Rec { head: Some(head), kind: mended, sent: sent + 1, ..record });
        if kind == CopyKind::First {
            self.note_redriven(letter);
            self.sent_back += 1;
            self.outdated.insert((letter, sent));
        }
    }

    /// A dead letter holds its key.
    pub fn mark(&mut self, place: Place) {
        let origin = self.origin_of(place);
        let record = self.record(place).clone();
        let sent = record.sent;
        self.undecided.insert((origin, sent));
        self.held.insert(origin, sent);
        self.holds += 1;
        if self.promise.broken != Break::NoMark {
            let (input, offset) = (origin.input, origin.offset);
            let head = Head { input, offset, attempts: sent, due: 0, kind: CopyKind::Hold, forced: false };
            self.append(place.slot, Rec { head: Some(head), ..record });
        }
    }

    /// A hold is over, and nothing became visible.
    pub fn note_freed(&mut self, place: Place) {
        let origin = self.origin_of(place);
        let late = |head: Head| head.kind == CopyKind::Free && self.held.get(&origin) != Some(&head.attempts);
        if self.record(place).head.is_some_and(late) {
            return;
        }
        let Place { slot, input, offset } = origin;
        let partition = &mut self.partitions[slot as usize];
        let (out, latest) = (Out::Freed, partition.latest);
        partition.outputs.push(Ended { input, offset, sent_back: None, out, holds: false, redriven: true, latest });
    }
}

/// Copies of letters that were sent back, and whether past dedup.
pub fn sent_back(world: &World, p: usize) -> impl Iterator<Item = (&Rec, bool)> {
    let retry = &world.partitions[p].inputs[usize::from(world.retry)];
    retry.records.iter().filter_map(|r| {
        let head = r.head.filter(|head| head.kind == CopyKind::SentBack)?;
        Some((r, head.forced))
    })
}

/// Whether this is the end of a letter that was to pass dedup.
pub fn is_forced(world: &World, p: usize, end: &Ended) -> bool {
    end.sent_back.is_some_and(|copy| at(world, p, world.retry, copy).head.is_some_and(|head| head.forced))
}

/// What holds after every commit: each letter is sent once, its copy ends once, and none is lost.
pub fn check_now(world: &World, p: usize, passed: &BTreeSet<u16>) -> Result<(), String> {
    let partition = &world.partitions[p];
    let covered = &partition.inputs[usize::from(world.retry)].covered;
    let mut ends: BTreeMap<i64, u32> = BTreeMap::new();
    let mut letters: BTreeMap<(u16, i64), i32> = BTreeMap::new();
    for end in &partition.outputs {
        *letters.entry((end.input, end.offset)).or_default() += i32::from(end.out == Out::Letter && !end.holds);
        if let Some(copy) = end.sent_back {
            *ends.entry(copy).or_default() += 1;
        }
    }
    for (record, forced) in sent_back(world, p) {
        let (copy, Some(Head { input, offset, .. })) = (record.offset, record.head) else { continue };
        let left = letters.entry((input, offset)).or_default();
        *left -= 1;
        if *left < 0 {
            return Err(format!("R4: a letter of offset {offset} of partition {p}/{input} was sent back twice"));
        }
        let ended = ends.get(&copy).copied().unwrap_or(0);
        if world.promise.exactly_once && ended > 1 {
            return Err(format!("R4: copy {copy} of partition {p}, which was sent back, ended twice"));
        }
        if world.promise.exactly_once && ended > 0 && !covered.contains(&copy) {
            return Err(format!("R2: the end of copy {copy} of partition {p} is visible and not committed"));
        }
        let duplicate = !forced && world.promise.window.is_some() && passed.contains(&record.id);
        if ended == 0 && covered.contains(&copy) && !duplicate {
            return Err(format!("R2: copy {copy} of partition {p}, which was sent back, gave nothing: lost"));
        }
    }
    Ok(())
}

/// What holds at the end: letters of a key pass in the order they were sent.
pub fn check_end(world: &World, p: usize) -> Result<(), String> {
    if world.promise.order == Order::None || !world.promise.exactly_once {
        return Ok(());
    }
    let mut last: BTreeMap<(u16, u8), i64> = BTreeMap::new();
    for Ended { input, sent_back, .. } in &world.partitions[p].outputs {
        let Some(copy) = *sent_back else { continue };
        let lane = match (world.promise.order, at(world, p, world.retry, copy).key) {
            (Order::Key, None) => continue,
            (Order::Key, Some(key)) => key,
            _ => 0,
        };
        if last.insert((*input, lane), copy).is_some_and(|before| before > copy) {
            return Err(format!("R3: copy {copy} of partition {p}, which was sent back, came after a later one"));
        }
    }
    Ok(())
}
