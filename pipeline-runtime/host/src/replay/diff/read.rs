//! Reads pieces of topics, and once more what differs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use millstream_log::{Budget, Class, Isolation, Log, LogError, LogRecord, LogResult, TopicPartition};

use super::Sink;
use super::place::{Item, Place};
use super::table::Difference;
use crate::shared::Stop;

const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };
const POLL: Duration = Duration::from_millis(200);
/// A transaction that nobody ends is ended by the broker within a minute.
const STALLED: Duration = Duration::from_secs(90);
/// Differences that are read together.
const TOGETHER: usize = 500;

/// Gives each committed record of these pieces, `(partition, from, to)`, with its partition.
pub fn scan(
    log: &dyn Log,
    pieces: &[(TopicPartition, i64, i64)],
    stop: &Stop,
    each: &mut dyn FnMut(i32, LogRecord),
) -> LogResult<()> {
    let mut left: HashMap<TopicPartition, (i64, i64)> =
        pieces.iter().filter(|(_, from, to)| from < to).map(|(at, from, to)| (at.clone(), (*from, *to))).collect();
    if left.is_empty() {
        return Ok(());
    }
    let mut reader = log.reader(Isolation::Committed)?;
    let from: Vec<(TopicPartition, i64)> = left.iter().map(|(at, (from, _))| (at.clone(), *from)).collect();
    reader.assign(&from)?;
    let mut progress = Instant::now();
    while !left.is_empty() {
        let batches = match reader.poll(BUDGET, POLL) {
            Ok(batches) => batches,
            Err(e) if e.class == Class::Retry && progress.elapsed() < STALLED => {
                stop.wait(POLL);
                Vec::new()
            }
            Err(e) => return Err(e),
        };
        for batch in batches {
            let Some((next, to)) = left.get_mut(&batch.partition) else { continue };
            progress = Instant::now();
            for record in batch.records {
                // After an interruption a reader may give again what it gave before.
                if record.offset >= *next && record.offset < *to {
                    *next = record.offset + 1;
                    each(batch.partition.partition, record);
                }
            }
            *next = (*next).max(batch.next);
            if *next >= *to {
                left.remove(&batch.partition);
            }
        }
        if stop.draining() {
            return Err(LogError::new(Class::Config, "replay_stopped", "told to stop; nothing was compared"));
        }
        if progress.elapsed() > STALLED {
            let some = left.keys().next().map(ToString::to_string).unwrap_or_default();
            let message = format!("{some} gave nothing for {} s before its end", STALLED.as_secs());
            return Err(LogError::new(Class::Retry, "replay_read_stalled", message));
        }
    }
    Ok(())
}

/// Reads what differs once more and gives it to `sink`: by kind, then by place, then by where it lies.
pub fn details(
    log: &dyn Log,
    places: &[Place],
    all: &mut [(usize, Difference)],
    stop: &Stop,
    sink: &mut dyn Sink,
) -> LogResult<()> {
    let kind = |d: &Difference| match (d.live.is_there(), d.new.is_there()) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 2,
    };
    let mark = |d: &Difference| if d.new.is_there() { d.new.place() } else { d.live.place() };
    all.sort_unstable_by_key(|(place, d)| (kind(d), *place, mark(d)));
    for some in all.chunk_by(|a, b| (kind(&a.1), a.0) == (kind(&b.1), b.0)).flat_map(|c| c.chunks(TOGETHER)) {
        let place = &places[some[0].0];
        let live = pick(log, place, place.live.as_deref(), some.iter().map(|(_, d)| d.live.place()), stop)?;
        let new = pick(log, place, place.new.as_deref(), some.iter().map(|(_, d)| d.new.place()), stop)?;
        for (_, difference) in some {
            let (live, new) = (live.get(&difference.live.place()), new.get(&difference.new.place()));
            let told = match (live, new) {
                (None, Some(new)) if !difference.live.is_there() => sink.added(place, new),
                (Some(live), None) if !difference.new.is_there() => sink.removed(place, live),
                (Some(live), Some(new)) => sink.changed(place, live, new),
                _ => {
                    let message =
                        format!("records of `{}` were deleted while they were compared; try again", place.name);
                    return Err(LogError::new(Class::Retry, "replay_record_gone", message));
                }
            };
            if told.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Records by `(partition, offset)`; a partition below 0 is no record.
fn pick(
    log: &dyn Log,
    place: &Place,
    topic: Option<&str>,
    wanted: impl Iterator<Item = (i32, i64)>,
    stop: &Stop,
) -> LogResult<HashMap<(i32, i64), Item>> {
    let wanted: HashSet<(i32, i64)> = wanted.filter(|(partition, _)| *partition >= 0).collect();
    let (Some(topic), false) = (topic, wanted.is_empty()) else { return Ok(HashMap::new()) };
    let mut pieces: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for (partition, offset) in &wanted {
        let piece = pieces.entry(*partition).or_insert((*offset, offset + 1));
        *piece = (piece.0.min(*offset), piece.1.max(offset + 1));
    }
    let pieces: Vec<_> = pieces.into_iter().map(|(p, (from, to))| (TopicPartition::new(topic, p), from, to)).collect();
    let mut found = HashMap::new();
    scan(log, &pieces, stop, &mut |partition, record| {
        let at = (partition, record.offset);
        if wanted.contains(&at) {
            found.extend(place.item(topic, partition, record).map(|item| (at, item)));
        }
    })?;
    Ok(found)
}
