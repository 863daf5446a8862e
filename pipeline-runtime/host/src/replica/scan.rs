//! Looking through `.retry` of a slot that came, for the keys that are set aside.
//!
//! Its committed end may be out of reach for long: a `redrive` that was killed leaves a transaction open until it times
//! out. The slot is not read before all is seen, but the others go on: it is looked through in slices, between two polls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_engine::Start;
use millstream_log::{Batch, Budget, Class, End, Isolation, LogResult, Position, Reader, TopicPartition};

use super::parking::{copy, unreadable};
use super::{PAUSE, Replica};
use crate::input::Input;

/// Of one slot.
pub(super) struct Scan {
    pub(super) slot: u32,
    place: TopicPartition,
    /// The end that is to be reached.
    high: i64,
    reader: Box<dyn Reader>,
    /// Where its inputs are read from afterwards.
    positions: Vec<Position>,
    /// Read, and the schema of one in it is not known yet.
    unresolved: Vec<Batch>,
    said: Instant,
}

/// What was just assigned is waited for so long, all slots together: mostly it takes some milliseconds.
pub(super) const AT_ONCE: Duration = Duration::from_millis(500);
/// Between two lines about a slot that still waits.
const SAY_EVERY: Duration = Duration::from_secs(30);
const SLICE: Budget = Budget { records: 10_000, bytes: 8 << 20 };

impl Replica {
    /// Tells the engine which keys of a new slot are set aside. The bound is taken after the owner before has been
    /// fenced, as for `.state`. Gives the positions back when the slot can be read; else they are started when it can.
    pub(super) fn scan(
        &mut self,
        slot: u32,
        start: &Start,
        positions: Vec<Position>,
        until: Instant,
    ) -> LogResult<Vec<Position>> {
        let place = TopicPartition::new(Arc::clone(&self.cx.plan.retry), slot as i32);
        let high = self.cx.log.ends(std::slice::from_ref(&place), End::High)?[0];
        if start.offset >= high {
            return Ok(positions);
        }
        let mut reader = self.cx.log.reader(Isolation::Committed)?;
        reader.assign(&[(place.clone(), start.offset)])?;
        let mut scan = Scan { slot, place, high, reader, positions, unresolved: Vec::new(), said: Instant::now() };
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if self.scan_slice(&mut scan, wait)? {
                return Ok(scan.positions);
            }
            if wait.is_zero() {
                tracing::info!(stage = %self.cx.plan.group, slot, "its `.retry` cannot be read to the end yet; others go on");
                self.scans.push(scan);
                return Ok(Vec::new());
            }
        }
    }

    /// Goes on with slots that are not looked through yet, and reads those that are.
    pub(super) fn scan_on(&mut self) -> LogResult<()> {
        let mut positions = Vec::new();
        for mut scan in std::mem::take(&mut self.scans) {
            match self.scan_slice(&mut scan, Duration::ZERO) {
                Ok(true) => positions.append(&mut scan.positions),
                Ok(false) => {
                    if scan.said.elapsed() >= SAY_EVERY {
                        scan.said = Instant::now();
                        tracing::warn!(stage = %self.cx.plan.group, place = %scan.place, end = scan.high,
                            "still not read to its end: a transaction is open there; this partition waits [restore_stalled]");
                    }
                    self.scans.push(scan);
                }
                Err(error) => return Err(error),
            }
        }
        if positions.is_empty() { Ok(()) } else { self.member.start(&positions) }
    }

    /// Whether all was seen.
    fn scan_slice(&mut self, scan: &mut Scan, wait: Duration) -> LogResult<bool> {
        let waited = std::mem::take(&mut scan.unresolved);
        let polled = if waited.is_empty() { scan.reader.poll(SLICE, wait) } else { Ok(waited) };
        let batches = match polled {
            Ok(batches) if self.lacks_any(&batches) => {
                scan.unresolved = batches;
                self.cx.stop.wait(wait.min(PAUSE));
                return Ok(false);
            }
            Ok(batches) => batches,
            Err(error) if error.class == Class::Retry => {
                self.cx.stop.wait(PAUSE);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let now = self.clock.now();
        for batch in batches {
            for record in batch.records {
                let (offset, size) = (record.offset, record.size());
                if offset >= scan.high {
                    continue;
                }
                let (read, note) = Input::of_copy(&self.cx.plan, &scan.place.topic, scan.slot as i32, record)
                    .map_err(|newer| unreadable(&scan.place, offset, &newer))?;
                let (key, id) = (read.record.key.as_deref(), read.dedup_id());
                let copy = copy(&read, note.as_ref(), key, &id, size, offset, now);
                self.engine.restore_copy(scan.slot, offset, &copy);
            }
            if batch.next >= scan.high {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a slot is looked through and not read yet.
    pub(super) fn is_scanned(&self, slot: u32) -> bool {
        self.scans.iter().any(|scan| scan.slot == slot)
    }
}
