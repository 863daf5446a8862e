//! Dead letters that are sent back in the middle of everything, and what must become of them.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::Order;

use crate::checker::at;
use crate::world::{Break, Ended, Head, Kind, Out, Rec, World};

impl World {
    /// Somebody sends some letters of a partition back, in their order: the copies, and that the letters are done, are
    /// one transaction. Some are mended before, some are to pass dedup.
    pub fn redrive(&mut self, rng: &mut fastrand::Rng) {
        let p = rng.usize(..self.partitions.len());
        let letters = self.partitions[p].outputs.iter().enumerate().filter(|(_, end)| end.out == Out::Letter);
        let open: Vec<(usize, Ended)> =
            letters.filter(|(at, _)| !self.partitions[p].sent.contains(at)).map(|(at, end)| (at, *end)).collect();
        for (letter, end) in open.into_iter().take(10) {
            if rng.bool() {
                continue;
            }
            let known =
                end.sent_back.map_or_else(|| at(self, p, end.input, end.offset), |copy| at(self, p, self.retry, copy));
            let kind = if rng.bool() { Kind::Forward } else { known.kind };
            let sent_back = Some(rng.u8(..3) == 0);
            let head = Head { input: end.input, offset: end.offset, attempts: 0, due: 0, sent_back };
            let record = Rec { kind, head: Some(head), ..known.clone() };
            let retry = usize::from(self.retry);
            let log = &mut self.partitions[p].inputs[retry];
            log.records.push(Rec { offset: log.end, ..record });
            log.end += 1;
            if self.promise.broken != Break::SendTwice || rng.bool() {
                self.partitions[p].sent.insert(letter);
            }
        }
    }
}

/// Copies of letters that were sent back, and whether past dedup.
pub fn sent_back(world: &World, p: usize) -> impl Iterator<Item = (&Rec, bool)> {
    let retry = &world.partitions[p].inputs[usize::from(world.retry)];
    retry.records.iter().filter_map(|r| Some((r, r.head?.sent_back?)))
}

/// Whether this is the end of a letter that was to pass dedup.
pub fn is_forced(world: &World, p: usize, end: &Ended) -> bool {
    end.sent_back.is_some_and(|copy| at(world, p, world.retry, copy).head.is_some_and(|h| h.sent_back == Some(true)))
}

/// What holds after every commit: each letter is sent once, its copy ends once, and none is lost.
pub fn check_now(world: &World, p: usize, passed: &BTreeSet<u16>) -> Result<(), String> {
    let partition = &world.partitions[p];
    let covered = &partition.inputs[usize::from(world.retry)].covered;
    let mut ends: BTreeMap<i64, u32> = BTreeMap::new();
    let mut letters: BTreeMap<(u16, i64), i32> = BTreeMap::new();
    for end in &partition.outputs {
        *letters.entry((end.input, end.offset)).or_default() += i32::from(end.out == Out::Letter);
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
