//! Brings a partition's dedup state back from its changelog.

use std::ops::Range;
use std::time::{Duration, Instant};

use millstream_engine::Restore;
use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogRecord, LogResult, Reader, TopicPartition};

use crate::replica::Ages;

/// Reads `.state` of one partition into `restore`, and notes in `ages` how far the changelog had come at what time.
///
/// The bound is the high watermark, taken after the owner before has been fenced: everything it committed lies below.
/// The last stable offset would be wrong, an open transaction of somebody else pins it (negative control: conformance
/// and simulation go red with it).
pub fn restore(log: &dyn Log, state: &TopicPartition, restore: &mut Restore, ages: &mut Ages) -> LogResult<u64> {
    let bounds =
        log.ends(std::slice::from_ref(state), End::Low)?[0]..log.ends(std::slice::from_ref(state), End::High)?[0];
    let mut count = 0;
    read(log, state, bounds, |record| {
        let Some(value) = &record.value else { return Ok(()) };
        restore.apply(value).map_err(|e| {
            LogError::new(Class::Fatal, "state_unreadable", format!("{state} offset {}: {e}", record.offset))
        })?;
        count += 1;
        if let Some(time) = restore.time() {
            ages.note(time, record.offset + 1);
        }
        Ok(())
    })?;
    Ok(count)
}

/// Gives every committed record of a partition within `bounds`, in order.
pub fn read(
    log: &dyn Log,
    place: &TopicPartition,
    bounds: Range<i64>,
    take: impl FnMut(LogRecord) -> LogResult<()>,
) -> LogResult<()> {
    if bounds.is_empty() {
        return Ok(());
    }
    read_with(&mut *log.reader(Isolation::Committed)?, place, bounds, take)
}

/// The same with a reader that is there, of committed records.
pub fn read_with(
    reader: &mut dyn Reader,
    place: &TopicPartition,
    bounds: Range<i64>,
    mut take: impl FnMut(LogRecord) -> LogResult<()>,
) -> LogResult<()> {
    if bounds.is_empty() {
        return Ok(());
    }
    let records = usize::try_from(bounds.end - bounds.start).unwrap_or(usize::MAX).min(BUDGET.records);
    reader.assign(&[(place.clone(), bounds.start)])?;
    let mut progress = Instant::now();
    loop {
        for batch in reader.poll(Budget { records, ..BUDGET }, Duration::from_millis(200))? {
            progress = Instant::now();
            for record in batch.records {
                if bounds.contains(&record.offset) {
                    take(record)?;
                }
            }
            if batch.next >= bounds.end {
                return Ok(());
            }
        }
        if progress.elapsed() > STALLED {
            return Err(LogError::new(
                Class::Retry,
                "restore_stalled",
                format!("{place} gave nothing for {} s before its end {}", STALLED.as_secs(), bounds.end),
            ));
        }
    }
}

const BUDGET: Budget = Budget { records: 10_000, bytes: 8 << 20 };
/// Longer than a dead owner's open transaction can hold readers back (transaction timeout plus the broker's scan).
const STALLED: Duration = Duration::from_secs(90);
