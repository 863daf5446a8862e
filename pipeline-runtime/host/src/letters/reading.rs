//! Reads letters for who only looks, and frees the room of those that are done.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogResult, TopicPartition, settled};

use super::letter::Letter;
use super::marks;
use super::place::Place;
use crate::shared::Stop;

const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };
/// A log that is away for longer ends the command.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Letters that are done as well.
    pub all: bool,
}

/// Gives every letter that is there now to `each`, until it says to stop. Those of a partition come in the order of their
/// offsets; as long as they fit into memory, one partition comes after the other.
pub fn read(
    log: &dyn Log,
    place: &Place,
    reading: &Reading,
    stop: &Stop,
    each: &mut dyn FnMut(Letter) -> ControlFlow<()>,
) -> LogResult<()> {
    let partitions = patiently(stop, || place.partitions(log))?;
    let mut next = patiently(stop, || log.ends(&partitions, End::Low))?;
    if patiently(stop, || log.ends(&partitions, End::High))? == next {
        return Ok(());
    }
    // Before the ends: a letter that is edited meanwhile may be there twice, and is not missed.
    let done = patiently(stop, || marks::read(log, place, marks::Reader::Guest))?;
    let ends = patiently(stop, || settled(log, &partitions))?;
    if !reading.all {
        for (at, next) in partitions.iter().zip(&mut next) {
            *next = (*next).max(done.get(&at.partition).map_or(0, |d| d.first_open()));
        }
    }
    let from: Vec<(TopicPartition, i64)> = partitions
        .iter()
        .cloned()
        .zip(next.iter().copied())
        .filter(|(at, n)| *n < ends[at.partition as usize])
        .collect();
    if from.is_empty() {
        return Ok(());
    }
    let mut reader = patiently(stop, || log.reader(Isolation::Committed))?;
    patiently(stop, || reader.assign(&from))?;
    // After the ends: what holds a key is there when its letter is.
    let holds = patiently(stop, || place.holds(log))?;
    let mut kept: Vec<Vec<Letter>> = vec![Vec::new(); partitions.len()];
    let mut bytes = 0;
    while next.iter().zip(&ends).any(|(next, end)| next < end) && !stop.draining() {
        for batch in patiently(stop, || reader.poll(BUDGET, Duration::from_millis(200)))? {
            let p = batch.partition.partition as usize;
            let done = done.get(&batch.partition.partition);
            for record in batch.records {
                // After an interruption a reader may give again what it gave before.
                if record.offset < next[p] || record.offset >= ends[p] {
                    continue;
                }
                next[p] = record.offset + 1;
                let is_done = done.is_some_and(|d| d.contains(record.offset));
                if is_done && !reading.all {
                    continue;
                }
                bytes += record.size();
                let mut letter = Letter::new(place.topic.clone(), p as i32, record);
                letter.done = is_done;
                letter.holds = !is_done && holds.of(&letter);
                kept[p].push(letter);
            }
            next[p] = batch.next.max(next[p]);
        }
        if bytes > KEPT_BYTES {
            bytes = 0;
            if give(&mut kept, each).is_break() {
                return Ok(());
            }
        }
    }
    let _ = give(&mut kept, each);
    Ok(())
}

/// Letters are put in order within pieces of about this size.
const KEPT_BYTES: usize = 16 << 20;

fn give(kept: &mut [Vec<Letter>], each: &mut dyn FnMut(Letter) -> ControlFlow<()>) -> ControlFlow<()> {
    kept.iter_mut().flat_map(std::mem::take).try_for_each(each)
}

/// Deletes letters where everything from the beginning of a partition is done. How many partitions got smaller.
pub fn free(log: &dyn Log, place: &Place) -> LogResult<usize> {
    let partitions = place.partitions(log)?;
    let done = marks::read(log, place, marks::Reader::Guest)?;
    let lows = log.ends(&partitions, End::Low)?;
    let ends = log.ends(&partitions, End::High)?;
    let offsets: Vec<(TopicPartition, i64)> = partitions
        .into_iter()
        .zip(lows.into_iter().zip(ends))
        .filter_map(|(at, (low, end))| {
            let to = done.get(&at.partition)?.first_open().min(end);
            (to > low).then_some((at, to))
        })
        .collect();
    if !offsets.is_empty() {
        log.delete_before(&offsets)?;
    }
    Ok(offsets.len())
}

/// Tries again while the log is away.
pub(super) fn patiently<T>(stop: &Stop, mut call: impl FnMut() -> LogResult<T>) -> LogResult<T> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        match call() {
            Err(e) if e.class == Class::Retry && Instant::now() < deadline && !stop.draining() => {
                if !said {
                    said = true;
                    say(&e);
                }
                stop.wait(Duration::from_millis(200));
            }
            ended => return ended,
        }
    }
}

pub(super) fn say(error: &LogError) {
    tracing::warn!(%error, "trying again for {} s", PATIENCE.as_secs());
}
