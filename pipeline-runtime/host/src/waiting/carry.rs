//! What is decided is carried out: read again what is needed, write what comes of it, count.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_engine::Counters;
use millstream_filter_api::Headers;
use millstream_log::{LogRecord, LogResult, Outgoing, TopicPartition};

use super::entry;
use super::meet::{Act, At, EVENTS, SENT_BACK, Waiter, What};
use super::worker::{AT_ONCE, Owner};
use crate::clock::wall_ms;
use crate::jobs::What as Noted;

/// Records are handed to the member in lists of about this length.
const SEND_BATCH: usize = 1_000;

impl Owner<'_> {
    /// Writes what comes of acts. Beside each stands what is known of what it is about.
    pub(super) fn carry_out(
        &mut self,
        partition: i32,
        acts: Vec<(Act, Waiter)>,
        mut in_hand: HashMap<At, LogRecord>,
    ) -> LogResult<()> {
        for some in acts.chunks(AT_ONCE) {
            self.fetch(partition, some, &mut in_hand)?;
            for (act, waiter) in some {
                self.carry_out_one(partition, *act, waiter, &in_hand)?;
            }
            // What has ended needs no place; its event may let go others.
            in_hand.retain(|at, _| at.input == EVENTS || !some.iter().any(|(act, _)| act.at == *at));
        }
        Ok(())
    }

    /// Reads what is needed and was not just read.
    fn fetch(&mut self, partition: i32, acts: &[(Act, Waiter)], in_hand: &mut HashMap<At, LogRecord>) -> LogResult<()> {
        let mut wanted: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
        for (act, _) in acts {
            let event = if let What::Meet(event) = act.what { Some(event) } else { None };
            let record = (act.at.input != EVENTS).then_some(act.at);
            for at in record.into_iter().chain(event).filter(|at| !in_hand.contains_key(at)) {
                wanted.entry(at.input).or_default().push(at.offset);
            }
        }
        for (input, offsets) in wanted {
            let place = self.place(partition, input);
            let found = self.fetcher.fetch(&*self.cx.log, &place, offsets)?;
            in_hand.extend(found.into_iter().map(|(offset, record)| (At { input, offset }, record)));
        }
        Ok(())
    }

    fn carry_out_one(
        &mut self,
        partition: i32,
        act: Act,
        waiter: &Waiter,
        in_hand: &HashMap<At, LogRecord>,
    ) -> LogResult<()> {
        let Act { at, what, waited } = act;
        let place = self.place(partition, at.input);
        if waited || what == What::Keep {
            let value = (what == What::Keep).then(|| entry::value(waiter));
            let entry = Outgoing {
                to: TopicPartition::new(Arc::clone(&self.meets.state), partition),
                key: Some(entry::key(at)),
                value,
                headers: Headers::new(),
                timestamp: wall_ms(),
                tag: u64::MAX,
            };
            self.send_one(entry)?;
        }
        let record = in_hand.get(&at);
        let (Some(record), true) = (record, at.input != EVENTS) else {
            if at.input == EVENTS {
                self.count_event(what, waited);
            } else {
                tracing::error!(stage = %self.cx.plan.group, %place, offset = at.offset,
                    "a record that waits is no longer in its topic, and cannot go on");
                self.count(at, waited, |c| drop_for(c, "lost"));
            }
            return Ok(());
        };
        let refused = self.refusals.get(&(partition, at)).cloned();
        let times = refused.as_ref().map_or(0, |(times, _)| *times);
        let written = match what {
            What::Keep => {
                if at.input != SENT_BACK {
                    self.counters.parked += 1;
                }
                self.writing.noted(&place, at, record, Noted::Parked, false)?.into_iter().collect()
            }
            What::Duplicate => {
                self.count(at, waited, |c| c.duplicates += 1);
                self.writing.noted(&place, at, record, Noted::Duplicate, waited)?.into_iter().collect()
            }
            What::Stopped(why) => {
                self.count(at, waited, |c| drop_for(c, why.word()));
                self.writing.noted(&place, at, record, Noted::Dropped, waited)?.into_iter().collect()
            }
            What::TimedOut => {
                self.count(at, waited, |c| c.dead_lettered += 1);
                self.writing.timed_out(&place, at, record, waiter.since, times)?
            }
            What::Meet(event) => {
                let Some(event) = in_hand.get(&event) else {
                    tracing::error!(stage = %self.cx.plan.group, %place, offset = at.offset,
                        "the event that a record has met is no longer in its topic");
                    self.count(at, waited, |c| drop_for(c, "lost"));
                    return Ok(());
                };
                let (written, is_letter) = self.writing.go_on(&place, at, record, event, waited, refused.as_ref())?;
                self.count(at, waited, |c| if is_letter { c.dead_lettered += 1 } else { c.forwarded += 1 });
                self.outputs += u64::from(!is_letter);
                written
            }
            What::Used | What::Unclaimed => Vec::new(),
        };
        self.send(partition, at, written)
    }

    /// Counts the end of a record. One that was sent back was counted before.
    fn count(&mut self, at: At, waited: bool, end: impl FnOnce(&mut Counters)) {
        if at.input == SENT_BACK {
            self.counters.redriven += 1;
            return;
        }
        self.counters.parked -= i64::from(waited);
        end(&mut self.counters);
    }

    fn count_event(&mut self, what: What, waited: bool) {
        match what {
            What::Keep => self.counters.parked += 1,
            What::Unclaimed => self.count(At { input: EVENTS, offset: 0 }, waited, |c| drop_for(c, "unclaimed")),
            _ => self.count(At { input: EVENTS, offset: 0 }, waited, |c| c.forwarded += 1),
        }
    }

    pub(super) fn send(&mut self, partition: i32, at: At, written: Vec<Outgoing>) -> LogResult<()> {
        for record in written {
            let tag = self.tags.len() as u64;
            self.tags.push((partition, at));
            self.send_one(Outgoing { tag, ..record })?;
        }
        Ok(())
    }

    fn send_one(&mut self, record: Outgoing) -> LogResult<()> {
        self.unsent.push(record);
        if self.unsent.len() >= SEND_BATCH { self.flush() } else { Ok(()) }
    }

    /// Hands what was written to the open transaction.
    pub(super) fn flush(&mut self) -> LogResult<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let sent = self.member.send(&mut self.unsent);
        self.settle(sent)
    }
}

fn drop_for(counters: &mut Counters, reason: &'static str) {
    match counters.dropped.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += 1,
        None => counters.dropped.push((reason, 1)),
    }
}
