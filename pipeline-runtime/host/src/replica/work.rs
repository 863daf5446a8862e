//! Records go in, filters run, fates come out.

use std::borrow::Cow;
use std::time::Instant;

use millstream_engine::{Fate, Finished, Now, Place, Reason as Aside, Task, Ticket, Work};
use millstream_filter_api::{Class, Failure};
use millstream_log::{Batch, LogResult};

use super::commit::engine_error;
use super::{Replica, Runner, WORK_SLICE, jobs};
use crate::calls::Starting;
use crate::chain::Ended;
use crate::dead_letter::{self, Reason};
use crate::held;
use crate::ids;
use crate::input::Input;
use crate::jobs::{What, cut};
use crate::outputs::Written;

/// The clock is read once for this many records.
const RECORDS_PER_LOOK: u32 = 64;

impl Replica {
    /// Decodes a batch and hands it to the engine.
    pub(super) fn admit(&mut self, batch: Batch) -> LogResult<()> {
        let partition = batch.partition.partition;
        let slot = partition as u32;
        let Some(input) = self.input_of(&batch.partition.topic) else { return Ok(()) };
        if self.epochs.get(&(slot, input)) != Some(&batch.epoch) {
            return Ok(());
        }
        let Some(mut batch) = self.resolved(slot, input, batch)? else { return Ok(()) };
        self.of_range(slot, input, &mut batch);
        let next = batch.next;
        if Some(input) == self.parking.input {
            self.admit_copies(slot, batch)?;
            self.engine.advance(slot, input, self.slot_epoch(slot), next);
            return Ok(());
        }
        if self.leveled.is_some() {
            self.keep(slot, input, batch);
            return Ok(());
        }
        let plan = &self.cx.plan.inputs[usize::from(input)];
        for record in batch.records {
            let (offset, timestamp, size) = (record.offset, record.timestamp, record.size());
            let key = record.key.clone();
            let read = Input::new(plan, input, partition, record);
            let id = read.dedup_id();
            self.engine.admit(slot, input, self.slot_epoch(slot), offset, key.as_deref(), &id, timestamp, size, read);
        }
        self.engine.advance(slot, input, self.slot_epoch(slot), next);
        Ok(())
    }

    pub(super) fn slot_epoch(&self, slot: u32) -> u64 {
        self.epochs.get(&(slot, 0)).copied().unwrap_or(0)
    }

    /// Starts what may start. Whether there is more than one slice of it.
    pub(super) fn work(&mut self) -> LogResult<bool> {
        let began = Instant::now();
        let mut now = self.clock.now();
        let mut looked = 0;
        while let Some(work) = self.engine.next(now) {
            self.start(work, now);
            looked += 1;
            if looked % RECORDS_PER_LOOK == 0 {
                now = self.clock.now();
                if began.elapsed() > WORK_SLICE {
                    return Ok(true);
                }
            }
        }
        match self.engine.failed() {
            Some(error) => Err(engine_error(&error)),
            None => Ok(false),
        }
    }

    fn start(&mut self, work: Work<Input>, now: Now) {
        let Work { ticket, place, attempt, task, record: mut input, .. } = work;
        match task {
            Task::Run => {}
            Task::Bury(_) => return self.bury_refused(ticket, place, input, now),
            Task::Move => return self.move_copy(ticket, place, input, now),
            Task::Park(why) => return self.park(ticket, place, input, attempt, why, now),
        }
        if !self.must_be_known(place, &input)
            && let Some(fate) = self.dropped_with_job(place, &input)
        {
            self.engine.finish(ticket, fate, now);
            return;
        }
        if attempt > 1 && self.too_old(&input, now) {
            return self.end_too_old(ticket, place, input, attempt - 1, false, now);
        }
        let plan = &self.cx.plan.inputs[usize::from(input.input)];
        let record = match input.attempt(plan, attempt, now.wall_ms) {
            Ok(record) => record,
            Err(failure) => return self.conclude(ticket, place, input, Ended::Failed(usize::MAX, failure), false, now),
        };
        match &mut self.runner {
            Runner::Inline(chain) => {
                let ended = chain.run(record);
                // Nothing is called, so whatever did not fail is as good as an answer.
                self.conclude(ticket, place, input, ended, true, now);
            }
            Runner::Calls(calls) => {
                let before = if self.kept.is_empty(place.slot) {
                    Vec::new()
                } else {
                    let plan = &self.cx.plan;
                    self.kept.of(place.slot, &ids::call_id(&plan.pipeline, &plan.stage, &input.id))
                };
                calls.start(Starting { ticket, place, input, record, attempt }, before);
            }
        }
    }

    /// Takes the answers of calls that have ended.
    pub(super) fn collect_calls(&mut self) {
        let Runner::Calls(calls) = &mut self.runner else { return };
        let (said, ended) = calls.collect();
        let now = self.clock.now();
        self.hear(said, now);
        for (ticket, ran) in ended {
            let Runner::Calls(calls) = &mut self.runner else { return };
            let Some(answer) = calls.land(ticket, ran) else { continue };
            self.last_word = answer.percent;
            self.conclude(answer.ticket, answer.place, answer.input, answer.ended, answer.answered, now);
        }
        self.last_word = None;
    }

    /// Drops calls whose records are no longer ours.
    pub(super) fn cancel(&mut self, tickets: &[Ticket]) {
        if let Runner::Calls(calls) = &mut self.runner {
            calls.cancel(tickets);
        }
    }

    /// Tells the engine what became of an attempt, and whether what it called has `answered`.
    fn conclude(&mut self, ticket: Ticket, place: Place, input: Input, ended: Ended, answered: bool, now: Now) {
        let guard = self.cx.plan.guard.clone();
        let ended = match &guard {
            Some(guard) => guard.look(&input.record, ended),
            None => ended,
        };
        let failed = matches!(&ended, Ended::Failed(_, failure) if failure.class == Class::Transient);
        if answered && !failed {
            self.engine.answered(ticket, now);
        }
        let fate = match ended {
            Ended::Forwarded(records) => {
                let progress = self.progress_of(&records);
                let codec = &self.cx.plan.inputs[usize::from(input.input)].codec;
                let written = self.writer.write(&self.cx.plan, codec, &input.id, input.replay.as_ref(), records);
                let written = match &guard {
                    Some(guard) => guard.let_out(written),
                    None => written,
                };
                match written {
                    Ok(mut written) => {
                        self.note_forwarded(&input, &mut written, progress);
                        self.end_kept(place, &input, &mut written);
                        Fate::Forwarded(written)
                    }
                    Err(failure) => self.letter(
                        ticket,
                        place,
                        &input,
                        "",
                        &failure,
                        input.counted_attempts(),
                        class_word(failure.class),
                    ),
                }
            }
            Ended::Dropped(reason) => {
                let mut written: Written = jobs::of(&self.cx.plan, &input, What::Dropped).into_iter().collect();
                self.end_kept(place, &input, &mut written);
                Fate::Dropped(reason, written)
            }
            Ended::Failed(at, failure) => {
                let filter = self.filter_name(at);
                if failure.class == Class::Transient {
                    return self.retry(ticket, place, input, at, &failure, now);
                }
                self.letter(
                    ticket,
                    place,
                    &input,
                    &filter,
                    &failure,
                    input.counted_attempts(),
                    class_word(failure.class),
                )
            }
        };
        self.engine.finish(ticket, fate, now);
    }

    /// An attempt failed and another may not.
    pub(super) fn retry(
        &mut self,
        ticket: Ticket,
        place: Place,
        mut input: Input,
        at: usize,
        failure: &Failure,
        now: Now,
    ) {
        let after_ms = failure.retry_after.map(|d| d.as_millis() as u64);
        self.parking.failed(failure);
        input.note_failure(failure, self.filter_name(at));
        // A call that was cut off while it was under way has not failed: there was no attempt.
        let under_way = at == usize::MAX && self.keeps(place, &input);
        if !under_way && self.too_old(&input, now) {
            let attempts = input.attempts;
            return self.end_too_old(ticket, place, input, attempts, true, now);
        }
        match self.engine.finish(ticket, Fate::Retry { record: input, after_ms }, now) {
            Finished::Taken | Finished::Stale => {}
            Finished::Park { record, attempts, delay_ms } => {
                self.park(ticket, place, record, attempts, Aside::Parked { delay_ms }, now);
            }
            Finished::Exhausted { record, attempts } => {
                let filter = self.filter_name(at);
                let fate = self.letter(ticket, place, &record, &filter, failure, attempts, "exhausted");
                self.engine.finish(ticket, fate, now);
            }
        }
    }

    /// Whether `retry.until` allows no further attempt.
    fn too_old(&self, input: &Input, now: Now) -> bool {
        self.cx.plan.until_ms.is_some_and(|until| input.first > 0 && now.wall_ms.saturating_sub(input.first) > until)
    }

    /// The dead letter of a record that `retry.until` allows no further attempt: with what the last one failed with.
    /// `failed`: that was this one.
    fn end_too_old(&mut self, ticket: Ticket, place: Place, input: Input, attempts: u32, failed: bool, now: Now) {
        let (code, message, filter) = input.past.as_ref().and_then(|p| p.failure.clone()).unwrap_or_default();
        let failure = Failure { class: Class::Transient, code, message, retry_after: None };
        let fate = match self.letter(ticket, place, &input, &filter, &failure, attempts, "exhausted") {
            Fate::DeadLettered(letter) => Fate::Expired { letter, failed, holds: false },
            Fate::Held(letter) => Fate::Expired { letter, failed, holds: true },
            other => other,
        };
        self.engine.finish(ticket, fate, now);
    }

    /// The log refused what this record became, or its dead letter: a smaller letter.
    fn bury_refused(&mut self, ticket: Ticket, place: Place, input: Input, now: Now) {
        let (times, why) = self.refused.get(&place).cloned().unwrap_or((1, String::new()));
        let reason = Reason {
            filter: "",
            attempts: input.counted_attempts(),
            code: "output_refused",
            class: "data",
            message: &why,
            at: now.wall_ms,
            refused: times - 1,
        };
        self.txn.letters.push(place);
        let fate = self.buried(ticket, place, &input, &reason);
        self.engine.finish(ticket, fate, now);
    }

    #[expect(clippy::too_many_arguments, reason = "what a letter says, and whose it is")]
    fn letter(
        &mut self,
        ticket: Ticket,
        place: Place,
        input: &Input,
        filter: &str,
        failure: &Failure,
        attempts: u32,
        class: &str,
    ) -> Fate<Input, Written> {
        let reason = Reason {
            filter,
            attempts,
            code: &failure.code,
            class,
            message: &failure.message,
            at: crate::clock::wall_ms(),
            refused: 0,
        };
        self.buried(ticket, place, input, &reason)
    }

    /// The dead letter, and where it holds its key the mark of that. A letter that had to leave its key out holds none.
    fn buried(&mut self, ticket: Ticket, place: Place, input: &Input, reason: &Reason<'_>) -> Fate<Input, Written> {
        let (plan, slot) = (&self.cx.plan, place.slot as i32);
        let holds = reason.refused < 2 && self.engine.may_hold(ticket);
        let mut written = Written::from_elem(dead_letter::letter(plan, input, slot, reason, holds), 1);
        // One that holds its key waits for somebody to decide, and so does its job.
        let ends_job = !holds && plan.jobs.as_ref().is_some_and(|jobs| jobs.ends_job);
        let (code, message) = (Cow::Borrowed(reason.code), Cow::Borrowed(cut(reason.message)));
        let dead = What::Dead { code, message, ends_job };
        written.extend(jobs::of(plan, input, dead));
        if holds {
            written.push(held::mark(plan, input, slot, reason));
        }
        self.end_kept(place, input, &mut written);
        if holds { Fate::Held(written) } else { Fate::DeadLettered(written) }
    }

    fn filter_name(&self, at: usize) -> String {
        self.cx.plan.filters.get(at).map_or_else(String::new, |f| f.name.clone())
    }
}

fn class_word(class: Class) -> &'static str {
    match class {
        Class::Data => "data",
        // Never asked for a transient failure: those are retried until exhausted.
        Class::Transient | Class::Permanent => "permanent",
        Class::Bug => "bug",
    }
}
