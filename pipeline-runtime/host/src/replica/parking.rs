//! Records that are set aside: their copies go out to `.retry`, come back from there, and what hangs on that.
//!
//! The engine says which key is set aside and when it is free; here copies are written and read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_engine::{Copy, CopyKind, Fate, Now, Place, Reason, Ticket};
use millstream_filter_api::Failure;
use millstream_log::{Batch, Class, LogError, LogResult, Outgoing, Position, TopicPartition};

use super::{Replica, Runner, jobs};
use crate::input::Input;
use crate::jobs::What;
use crate::outputs::Written;
use crate::retry_topic::{self, Note};

/// Between two looks at what of `.retry` can go.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Between two looks for a `.retry` that is said to be there and is not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two lines about a breaker that is open, or a partition that may set nothing more aside.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// The code of the lines about a breaker.
pub const BREAKER_OPEN: &str = "breaker_open";

/// The code of the line about a partition that has set aside all it may.
const PARKED_FULL: &str = "parked_full";

/// What a replica remembers of what is set aside, beside the engine.
pub(super) struct Parking {
    /// Which input `.retry` is, where the stage has one.
    pub(super) input: Option<u16>,
    /// Partitions that are not read, because their positions have no room.
    paused: BTreeSet<(u32, u16)>,
    /// Up to where `.retry` was deleted, by slot.
    trimmed: BTreeMap<u32, i64>,
    trim_due: Instant,
    /// Since when the breaker is known to be open, and when that was last said.
    open: Option<(Instant, Instant)>,
    /// When it was last said that a partition has set aside all it may.
    said_full: Option<Instant>,
    /// What failed last, for the line about the breaker.
    last: Option<(String, String)>,
    /// When the topic was looked for, and was not there.
    looked: Option<Instant>,
}

impl Parking {
    pub(super) fn new(input: Option<u16>) -> Self {
        Self {
            input,
            paused: BTreeSet::new(),
            trimmed: BTreeMap::new(),
            trim_due: Instant::now() + TRIM_EVERY,
            open: None,
            said_full: None,
            last: None,
            looked: None,
        }
    }

    /// A new assignment begins unpaused.
    pub(super) fn forget(&mut self, slot: u32) {
        self.paused.retain(|(known, _)| *known != slot);
        self.trimmed.remove(&slot);
    }

    pub(super) fn failed(&mut self, failure: &Failure) {
        self.last = Some((failure.code.to_string(), failure.message.clone()));
    }
}

impl Replica {
    /// Whether dead letters were sent back to the stage since this member joined: it must join again, to read them.
    pub(super) fn must_join_again(&mut self) -> LogResult<bool> {
        let looked = self.parking.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        if self.parking.input.is_some()
            || self.cx.plan.replay.is_some()
            || looked
            || !self.cx.retry_made.load(Ordering::Acquire)
        {
            return Ok(false);
        }
        let there = self.cx.log.describe(&[&self.cx.plan.retry])?[0].is_some();
        // Somebody has deleted it since, or the broker that was asked does not know it yet.
        self.parking.looked = (!there).then(Instant::now);
        Ok(there)
    }

    /// Writes the copy of a record and ends its ticket.
    pub(super) fn park(&mut self, ticket: Ticket, place: Place, input: Input, attempts: u32, why: Reason, now: Now) {
        let (reason, delay_ms) = match why {
            Reason::Parked { delay_ms } => (retry_topic::Reason::Parked, Some(delay_ms)),
            Reason::Behind => (retry_topic::Reason::Behind, None),
        };
        let (code, message, filter) = input.past.as_ref().and_then(|p| p.failure.clone()).unwrap_or_default();
        let note = Note {
            reason,
            input: input.input,
            topic: input.topic(&self.cx.plan).to_string(),
            partition: input.partition,
            offset: input.record.offset,
            attempts,
            first: input.first,
            due: delay_ms.map_or(0, |ms| now.wall_ms.saturating_add_unsigned(ms)),
            code: code.into_owned(),
            message,
            filter,
        };
        let of_job = jobs::of(&self.cx.plan, &input, What::Parked);
        let record = input.record;
        let copy = Outgoing {
            to: TopicPartition::new(Arc::clone(&self.cx.plan.retry), place.slot as i32),
            headers: note.headers(&record.headers),
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            tag: 0,
        };
        let mut written = Written::from_elem(copy, 1);
        written.extend(of_job);
        self.engine.finish(ticket, Fate::Parked(written), now);
    }

    /// Writes a copy again as it is, and ends its ticket.
    pub(super) fn move_copy(&mut self, ticket: Ticket, place: Place, input: Input, now: Now) {
        let note = input.past.as_ref().and_then(|past| past.note.as_ref());
        let record = input.record;
        let headers = note.map_or_else(|| record.headers.clone(), |note| note.headers(&record.headers));
        let copy = Outgoing {
            to: TopicPartition::new(Arc::clone(&self.cx.plan.retry), place.slot as i32),
            headers,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            tag: 0,
        };
        self.engine.finish(ticket, Fate::Moved(Written::from_elem(copy, 1)), now);
    }

    /// Cancels calls whose keys are to be set aside, and lets the engine set them aside.
    pub(super) fn cancel_overdue(&mut self) {
        let now = self.clock.now();
        let overdue = self.engine.overdue(now);
        let overdue = self.but_those_that_keep(overdue, now);
        let Runner::Calls(calls) = &mut self.runner else { return };
        for (ticket, place, input) in calls.give_back(&overdue) {
            let failure = Failure::transient("timeout", "no answer before its key was set aside");
            self.retry(ticket, place, input, usize::MAX, &failure, now);
        }
    }

    /// Hands copies that were read to the engine.
    pub(super) fn admit_copies(&mut self, slot: u32, batch: Batch) -> LogResult<()> {
        let epoch = self.slot_epoch(slot);
        let now = self.clock.now();
        for record in batch.records {
            let (offset, size) = (record.offset, record.size());
            let (read, note) = Input::of_copy(&self.cx.plan, &batch.partition.topic, slot as i32, record)
                .map_err(|newer| unreadable(&batch.partition, offset, &newer))?;
            let (key, id) = (read.record.key.clone(), read.dedup_id());
            let copy = copy(&read, note.as_ref(), key.as_deref(), &id, size, offset, now);
            self.engine.admit_copy(slot, epoch, offset, copy, read);
        }
        Ok(())
    }

    /// Reads `.retry` again where copies were passed over for want of room. Nothing may be in the open transaction.
    pub(super) fn reread(&mut self) -> LogResult<()> {
        let slots = self.engine.rereads(self.clock.now());
        if let Some(input) = self.parking.input {
            // It comes again, behind what was passed over.
            slots.iter().for_each(|slot| self.unresolved.drop_of(*slot, input));
        }
        let mut positions = Vec::with_capacity(slots.len());
        // One that is still looked through is not read at all yet, and then from there on.
        for slot in slots.into_iter().filter(|slot| !self.is_scanned(*slot)) {
            let Some(at) = self.engine.retry_position(slot) else { continue };
            tracing::debug!(stage = %self.cx.plan.group, slot, offset = at.offset, "reading copies again");
            positions.push(Position {
                partition: TopicPartition::new(Arc::clone(&self.cx.plan.retry), slot as i32),
                offset: at.offset,
                metadata: at.metadata,
            });
        }
        if positions.is_empty() { Ok(()) } else { self.member.start(&positions) }
    }

    /// Does not read what could not be released, and reads it again when it can. Copies are always read: they are what
    /// makes room.
    pub(super) fn pause_full(&mut self) -> LogResult<()> {
        let retry = self.parking.input;
        let full = self.engine.full_slots().filter(|(_, input)| Some(*input) != retry);
        let full = full
            .chain(self.at_end.iter().copied())
            .chain(self.full_levels())
            .chain(self.unresolved.full())
            .filter(|(slot, _)| !self.is_scanned(*slot));
        let full: BTreeSet<(u32, u16)> = full.collect();
        if full == self.parking.paused {
            return Ok(());
        }
        let known = std::mem::replace(&mut self.parking.paused, full);
        let (before, after) = (&known, &self.parking.paused);
        let partitions = |of: &mut dyn Iterator<Item = &(u32, u16)>| -> Vec<TopicPartition> {
            of.map(|(slot, input)| TopicPartition::new(Arc::clone(self.topic_of(*input)), *slot as i32)).collect()
        };
        let stop = partitions(&mut after.difference(before));
        let go = partitions(&mut before.difference(after));
        if !stop.is_empty() {
            self.member.pause(&stop, true)?;
        }
        if !go.is_empty() {
            self.member.pause(&go, false)?;
        }
        Ok(())
    }

    /// Says that partitions have set aside all they may.
    pub(super) fn tell_full(&mut self) {
        let Some(slot) = self.engine.parked_full().next() else { return };
        if self.parking.said_full.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        self.parking.said_full = Some(Instant::now());
        let partitions = self.engine.parked_full().count();
        tracing::warn!(stage = %self.cx.plan.group, slot, partitions,
            "as many records are set aside as may be; nothing more of these partitions is read until some have ended \
             [{PARKED_FULL}]");
    }

    /// Says when the breaker opens, that it is open, and when it closes.
    pub(super) fn tell_breaker(&mut self) {
        let (open, known) = (self.engine.breaker(), self.parking.open);
        if open.is_none() && known.is_none() {
            return;
        }
        let stage = &self.cx.plan.group;
        let (code, message) = self.parking.last.clone().unwrap_or_default();
        match (open, known) {
            (Some(_), None) => {
                self.parking.open = Some((Instant::now(), Instant::now()));
                self.cx.status.set_breaker(Some(crate::clock::wall_ms()));
                tracing::warn!(%stage, last = %code, %message,
                    "calls fail for every key; records are read and tried one at a time until one is answered [{BREAKER_OPEN}]");
            }
            (Some(_), Some((since, said))) if said.elapsed() >= SAY_EVERY => {
                self.parking.open = Some((since, Instant::now()));
                tracing::warn!(%stage, seconds = since.elapsed().as_secs(), last = %code, %message,
                    "calls still fail for every key; records are read and tried one at a time until one is answered [{BREAKER_OPEN}]");
            }
            (None, Some((since, _))) => {
                self.parking.open = None;
                self.cx.status.set_breaker(None);
                tracing::info!(%stage, seconds = since.elapsed().as_secs(),
                    "a call was answered, and reading goes on [{BREAKER_OPEN}]");
            }
            _ => {}
        }
    }

    /// Deletes what is done of `.retry`, now and then, and at the `end`: a run may be shorter than the wait.
    pub(super) fn trim_retry(&mut self, end: bool) -> LogResult<()> {
        if self.parking.input.is_none() || (!end && Instant::now() < self.parking.trim_due) {
            return Ok(());
        }
        self.parking.trim_due = Instant::now() + TRIM_EVERY;
        let slots: BTreeSet<u32> = self.epochs.keys().map(|(slot, _)| *slot).collect();
        let mut deletions = Vec::new();
        for slot in slots {
            // At the end nothing is read any more.
            let done =
                if end { self.engine.retry_position(slot).map(|at| at.offset) } else { self.engine.retry_done(slot) };
            let Some(done) = done else { continue };
            let known = self.parking.trimmed.insert(slot, done);
            // What was there when the slot came is not known to be trimmed, unless there was nothing.
            if done > known.unwrap_or(0) {
                deletions.push((TopicPartition::new(Arc::clone(&self.cx.plan.retry), slot as i32), done));
            }
        }
        if deletions.is_empty() {
            return Ok(());
        }
        match self.cx.log.delete_before(&deletions) {
            // Nothing depends on it; the next look will do.
            Err(e) if e.class == Class::Retry => {
                self.parking.trimmed.clear();
                Ok(())
            }
            done => done,
        }
    }
}

/// What the engine is told of a copy. One that cannot be read is nobody's: it waits for no key.
pub(super) fn copy<'a>(
    read: &Input,
    note: Option<&Note>,
    key: Option<&'a [u8]>,
    id: &'a [u8],
    size: usize,
    offset: i64,
    now: Now,
) -> Copy<'a> {
    let due = note.map_or(0, |n| n.due);
    let readable = read.past.as_ref().is_none_or(|past| past.topic.is_none());
    Copy {
        origin_input: read.input,
        origin_offset: note.map_or(offset, |n| n.offset),
        // One that cannot be read belongs to no key.
        key: key.filter(|_| readable),
        id,
        timestamp: read.record.timestamp,
        size,
        attempts: note.map_or(0, |n| n.attempts),
        // A clock that was wrong when it was written must not hold it for ever.
        delay_ms: u64::try_from(due.saturating_sub(now.wall_ms)).unwrap_or(0).min(LONGEST_WAIT_MS),
        kind: note.map_or(CopyKind::SentBack, |n| n.reason.kind()),
        forced: note
            .is_some_and(|n| matches!(n.reason, retry_topic::Reason::Forced | retry_topic::Reason::ForcedFirst)),
    }
}

/// A day: longer than any backoff, and than what servers ask for.
const LONGEST_WAIT_MS: u64 = 24 * 3_600_000;

pub(super) fn unreadable(place: &TopicPartition, offset: i64, why: &retry_topic::Unreadable) -> LogError {
    LogError::new(Class::Config, "newer_version", format!("{place} offset {offset}: {why}"))
}
