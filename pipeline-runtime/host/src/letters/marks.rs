//! The notes in the control topic of what is done, read as a whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogResult, Outgoing, TopicPartition, settled};

use super::done::Done;
use super::place::Place;
use crate::clock::wall_ms;

const BUDGET: Budget = Budget { records: 10_000, bytes: 8 << 20 };
/// Longer than a dead worker's open transaction can hold readers back.
const STALLED: Duration = Duration::from_secs(90);
/// Brokers take records of 1 MiB unless told otherwise.
const MAX_MARK: usize = 900 << 10;

/// Who reads notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The owner: it must see everything that the one before has committed, and waits for transactions to end.
    Owner,
    /// Somebody who only looks, and does not wait for long.
    Guest,
}

/// What is done, by partition.
pub fn read(log: &dyn Log, place: &Place, who: Reader) -> LogResult<BTreeMap<i32, Done>> {
    let mut done = BTreeMap::new();
    let at = TopicPartition::new(place.control.clone(), 0);
    if log.describe(&[&place.control])?[0].is_none() {
        return Ok(done);
    }
    let low = log.ends(std::slice::from_ref(&at), End::Low)?[0];
    let end = match who {
        Reader::Owner => log.ends(std::slice::from_ref(&at), End::High)?[0],
        Reader::Guest => settled(log, std::slice::from_ref(&at))?[0],
    };
    if low >= end {
        return Ok(done);
    }
    let mut reader = log.reader(Isolation::Committed)?;
    reader.assign(&[(at, low)])?;
    let mut progress = Instant::now();
    loop {
        for batch in reader.poll(BUDGET, Duration::from_millis(200))? {
            progress = Instant::now();
            for record in &batch.records {
                if let Some((partition, mark)) = mark(place, record)? {
                    done.insert(partition, mark);
                }
            }
            if batch.next >= end {
                return Ok(done);
            }
        }
        if progress.elapsed() > STALLED {
            return Err(LogError::new(
                Class::Retry,
                "control_stalled",
                format!("`{}` gave nothing for {} s before its end {end}", place.control, STALLED.as_secs()),
            ));
        }
    }
}

fn mark(place: &Place, record: &millstream_log::LogRecord) -> LogResult<Option<(i32, Done)>> {
    let key = record.key.as_deref().and_then(|k| std::str::from_utf8(k).ok());
    let Some(partition) = key.and_then(|k| k.strip_prefix(&place.key)).and_then(|p| p.parse().ok()) else {
        return Ok(None);
    };
    let Some(value) = &record.value else { return Ok(Some((partition, Done::default()))) };
    let done = Done::decode(value).map_err(|e| {
        let message = format!("`{}{partition}` in `{}`: {e}", place.key, place.control);
        LogError::new(Class::Config, e.code(), message)
    })?;
    Ok(Some((partition, done)))
}

/// The record that notes what is done of a partition.
pub fn write(place: &Place, partition: i32, done: &Done) -> LogResult<Outgoing> {
    let value = done.encode();
    if value.len() > MAX_MARK {
        return Err(LogError::new(
            Class::Config,
            "letters_scattered",
            format!(
                "the letters of `{}`, partition {partition}, that are done lie so far apart that their note takes {} KiB; \
                 purge or redrive those between them",
                place.topic,
                value.len() >> 10
            ),
        ));
    }
    Ok(Outgoing {
        to: TopicPartition::new(place.control.clone(), 0),
        key: Some(Bytes::from(format!("{}{partition}", place.key))),
        value: Some(Bytes::from(value)),
        headers: Headers::new(),
        timestamp: wall_ms(),
        tag: u64::MAX,
    })
}
