//! The rules, seen from outside: only the input and what a reader of committed data sees.

use std::collections::{BTreeMap, BTreeSet};

use millstream_engine::{CopyKind, Order, Place};

use crate::letters;
use crate::replica::Replica;
use crate::world::{Break, Ended, Head, Kind, Out, Partition, Rec, WALL, World};

/// What holds after every commit.
pub fn check_now(world: &World) -> Result<(), String> {
    for (p, partition) in world.partitions.iter().enumerate() {
        let mut seen = BTreeSet::new();
        let mut passed = BTreeSet::new();
        let open = open_copies(world, p)?;
        for Ended { input, offset, out, sent_back, redriven, .. } in &partition.outputs {
            if *out != Out::Letter && *out != Out::Freed {
                passed.insert(at(world, p, *input, *offset).id);
            }
            // A letter was the record's end; what becomes of it later comes beside.
            if sent_back.is_some() || *redriven {
                continue;
            }
            let news = seen.insert((*input, *offset));
            if world.promise.exactly_once {
                if !news {
                    return Err(format!("R4: offset {offset} of partition {p}/{input} ended twice"));
                }
                if !partition.inputs[usize::from(*input)].covered.contains(offset) {
                    return Err(format!("R2: offset {offset} of partition {p}/{input} is visible and not committed"));
                }
                if open.contains(&(*input, *offset)) {
                    return Err(format!("R2: offset {offset} of partition {p}/{input} is visible, its copy is open"));
                }
            }
        }
        letters::check_now(world, p, &passed)?;
        for (input, log) in (0u16..world.retry).zip(&partition.inputs) {
            for offset in log.covered.iter().filter(|o| !seen.contains(&(input, **o))) {
                if open.contains(&(input, *offset)) {
                    continue;
                }
                if world.promise.window.is_none() || !passed.contains(&at(world, p, input, *offset).id) {
                    return Err(format!(
                        "R2: offset {offset} of partition {p}/{input} is committed and gave nothing: lost"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Where the records were first read whose copies have not ended. Exactly once, there is one copy of each, and its record
/// is committed.
fn open_copies(world: &World, p: usize) -> Result<BTreeSet<(u16, i64)>, String> {
    let (mut all, mut open) = (BTreeSet::new(), BTreeSet::new());
    let retry = &world.partitions[p].inputs[usize::from(world.retry)];
    for record in &retry.records {
        let Some(Head { input, offset, kind: CopyKind::Parked, .. }) = record.head else { continue };
        if world.promise.exactly_once {
            let moved = world.moved.contains(&Place { slot: p as u32, input, offset });
            let twice = if moved { open.contains(&(input, offset)) } else { !all.insert((input, offset)) };
            if twice && !retry.covered.contains(&record.offset) {
                return Err(format!("R4: offset {offset} of partition {p}/{input} was set aside twice"));
            }
            if !world.partitions[p].inputs[usize::from(input)].covered.contains(&offset) {
                return Err(format!("R2: offset {offset} of partition {p}/{input} has a copy and is not committed"));
            }
        }
        if !retry.covered.contains(&record.offset) {
            open.insert((input, offset));
        }
    }
    Ok(open)
}

/// What holds when all is worked off.
pub fn check_end(world: &World, replicas: &[Replica]) -> Result<(), String> {
    check_now(world)?;
    for (p, partition) in world.partitions.iter().enumerate() {
        check_fates(world, p)?;
        check_order(world, p)?;
        letters::check_end(world, p)?;
        check_holds(world, p)?;
        if let Some(window) = world.promise.window {
            check_duplicates(world, p, window)?;
        }
        if world.promise.exact_input {
            check_origins(world, partition).map_err(|why| format!("{why} of partition {p}"))?;
        }
    }
    let violations: u64 = replicas.iter().map(|r| r.violations + r.engine.counters().violations.total()).sum();
    if violations > 0 {
        return Err(format!("{violations} rules broken, by the engine's own count"));
    }
    let counted: u64 = replicas.iter().map(|r| r.before + r.engine.counters().read).sum();
    if replicas.iter().any(|r| !r.engine.counters().balanced()) {
        return Err("R4: an engine's counts do not add up".to_owned());
    }
    if world.unheard == 0 && counted != world.finished {
        return Err(format!("R4: {counted} ends counted, {} records ended", world.finished));
    }
    let parked: i64 = replicas.iter().map(|r| r.parked_before + r.engine.counters().parked).sum();
    if world.unheard == 0 && world.promise.exactly_once && parked != 0 {
        return Err(format!("R4: {parked} records counted as set aside, and all have ended"));
    }
    let sent_back: u64 = replicas.iter().map(|r| r.redriven_before + r.engine.counters().redriven).sum();
    if world.unheard == 0 && world.promise.exactly_once && sent_back != world.sent_back {
        let sent = world.sent_back;
        return Err(format!("R4: {sent_back} letters counted that were sent back, and {sent} were"));
    }
    let held: i64 = replicas.iter().map(|r| r.held_before + r.engine.counters().held).sum();
    if world.unheard == 0 && world.promise.exactly_once && held != 0 {
        return Err(format!("R4: {held} records counted as held, and no key is"));
    }
    Ok(())
}

/// A chain that is exactly once in all its stages: nothing of the stage before comes twice.
fn check_origins(world: &World, partition: &Partition) -> Result<(), String> {
    let mut origins = BTreeSet::new();
    let live = partition.inputs.iter().take(usize::from(world.retry));
    let all = live.flat_map(|i| &i.records).filter_map(|r| r.origin);
    match all.into_iter().find(|origin| !origins.insert(*origin)) {
        Some(Place { input, offset, .. }) => {
            Err(format!("R2: the next stage got offset {offset} of input {input} twice"))
        }
        None => Ok(()),
    }
}

/// Each record ended as its kind says.
fn check_fates(world: &World, p: usize) -> Result<(), String> {
    for Ended { input, offset, out, sent_back, .. } in world.partitions[p].outputs.iter().filter(|e| !e.redriven) {
        // A letter may be mended before it is sent back.
        let record = sent_back.map_or_else(|| at(world, p, *input, *offset), |copy| at(world, p, world.retry, copy));
        let expected = match record.kind {
            Kind::Forward => Out::Forward,
            Kind::Drop => Out::Drop,
            Kind::Bad | Kind::Refused => Out::Letter,
            Kind::Flaky(times) if times < world.promise.attempts => Out::Forward,
            Kind::Flaky(_) => Out::Letter,
            // Never written again, so it is as it was tried.
            Kind::Bulky if sent_back.is_some() && world.promise.attempts > 2 => Out::Forward,
            Kind::Bulky => *out,
        };
        // What it called was away for as long as there were attempts.
        let exhausted = world.suffered.contains(&Place { slot: p as u32, input: *input, offset: *offset });
        if *out != expected && !(exhausted && *out == Out::Letter) {
            return Err(format!(
                "R4: offset {offset} of partition {p}/{input} is {:?} and ended as {out:?}",
                record.kind
            ));
        }
    }
    Ok(())
}

/// R3: per key (or partition) outputs appear in input order. At least once may repeat a stretch of them: then it is the
/// first appearances that are in order; and those behind a record whose output is refused are delivered by then.
/// A repeat may be judged anew on the second reading, when more time has passed.
fn check_order(world: &World, p: usize) -> Result<(), String> {
    let mut last: BTreeMap<(u16, Option<u8>), i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut ids: BTreeMap<u16, u32> = BTreeMap::new();
    let all = world.partitions[p].inputs.iter().take(usize::from(world.retry)).flat_map(|i| &i.records);
    all.for_each(|r| *ids.entry(r.id).or_default() += 1);
    let live = world.partitions[p].outputs.iter().filter(|end| end.sent_back.is_none() && !end.redriven);
    for Ended { input, offset, .. } in live {
        let lane = match world.promise.order {
            Order::Partition => None,
            Order::Key => match at(world, p, *input, *offset).key {
                None => continue,
                key => key,
            },
            Order::None => return Ok(()),
        };
        let record = at(world, p, *input, *offset);
        if record.kind == Kind::Bulky {
            // It could not be set aside behind the others, so it became a letter before them.
            continue;
        }
        let unsure = record.kind == Kind::Refused || ids.get(&record.id).is_some_and(|n| *n > 1);
        if !seen.insert((*input, *offset)) || (unsure && !world.promise.exactly_once) {
            continue;
        }
        if last.insert((*input, lane), *offset).is_some_and(|before| before > *offset) {
            return Err(format!("R3: offset {offset} of partition {p}/{input} came after a later one of {lane:?}"));
        }
    }
    Ok(())
}

/// R3 with holds: between a dead letter and what was decided about it, nothing later of its key ends. What cannot be set
/// aside is a letter at once, as there is no other way.
fn check_holds(world: &World, p: usize) -> Result<(), String> {
    if !world.promise.hold || !world.promise.exactly_once {
        return Ok(());
    }
    let mut held: BTreeSet<(u16, u8, i64)> = BTreeSet::new();
    for Ended { input, offset, out, holds, redriven, .. } in &world.partitions[p].outputs {
        let record = at(world, p, *input, *offset);
        let Some(key) = record.key else { continue };
        if *redriven {
            held.remove(&(*input, key, *offset));
        }
        let before = held.range((*input, key, i64::MIN)..(*input, key, *offset)).next();
        if let (Some((_, _, hold)), true) = (before, *out != Out::Freed && record.kind != Kind::Bulky) {
            return Err(format!("R3: offset {offset} of partition {p}/{input} ended, and {hold} holds its key {key}"));
        }
        if *holds {
            held.insert((*input, key, *offset));
        }
    }
    if world.promise.broken == Break::Nothing && !held.is_empty() {
        return Err(format!("R3: the holds {held:?} of partition {p} never ended"));
    }
    Ok(())
}

/// R7, by what can be said from outside about a partition's time: when a record ends it is no earlier than the record's
/// own time, and no later than the latest that was read by then.
fn check_duplicates(world: &World, p: usize, window: i64) -> Result<(), String> {
    let mut passed: BTreeMap<u16, Vec<(i64, Ended)>> = BTreeMap::new();
    // They pass whatever passed before, and leave a mark all the same.
    let mut forced: BTreeMap<u16, Vec<(i64, Ended)>> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for end in world.partitions[p].outputs.iter().filter(|e| e.out != Out::Freed) {
        let record = at(world, p, end.input, end.offset);
        ended.insert(end.sent_back.map_or((end.input, end.offset), |copy| (world.retry, copy)));
        if end.out == Out::Letter {
            continue;
        }
        let time = record.timestamp.min(WALL);
        if letters::is_forced(world, p, end) {
            forced.entry(record.id).or_default().push((time, *end));
            continue;
        }
        let same = passed.entry(record.id).or_default();
        let early = same.iter().find(|(t, other)| end.latest.max(other.latest) < time.min(*t) + window);
        if let (Some((_, other)), true) = (early, world.promise.exactly_once) {
            return Err(format!(
                "R7: id {} of partition {p} passed twice in the window: {other:?}, {end:?}",
                record.id
            ));
        }
        same.push((time, *end));
    }
    // A bucket more is allowed, and one for where the window ends within a bucket.
    let longest = window + 2 * (window / 24).max(1);
    for (input, log) in (0u16..=world.retry).zip(&world.partitions[p].inputs) {
        let parked = |r: &Rec| r.head.is_some_and(|head| head.kind != CopyKind::SentBack);
        for record in log.records.iter().filter(|r| !parked(r) && !ended.contains(&(input, r.offset))) {
            let time = record.timestamp.min(WALL);
            let all = [&passed, &forced].into_iter().filter_map(|m| m.get(&record.id)).flatten();
            let by = all.into_iter().find(|(_, e)| time < e.latest + longest);
            if by.is_none() {
                let offset = record.offset;
                return Err(format!("R7: offset {offset} of partition {p}/{input} was dropped as a duplicate of none"));
            }
        }
    }
    Ok(())
}

pub fn at(world: &World, p: usize, input: u16, offset: i64) -> &Rec {
    world.record(Place { slot: p as u32, input, offset })
}
