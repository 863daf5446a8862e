//! The engine where filters call out: many records in flight, answers in any order, retries, keys that are set aside.

use millstream_engine::{Copy, CopyKind, EngineConfig, Fate, Finished, Park, Reason, Task, Work};
use millstream_filter_api::Record;

use crate::Step;
use crate::engine::{BATCH, DAY, EPOCH, Replica, config};
use crate::input::{SLOTS, records};

/// Answers that come in a millisecond.
const ANSWERS: usize = 16;
/// The input of copies.
const RETRY: u16 = 1;

/// 64 calls at once, a thousand keys, all pass.
pub fn concurrent(count: usize) -> Step {
    steps(of_calls(), count, |_| false)
}

/// The same where every tenth record passes at its second attempt.
pub fn retried(count: usize) -> Step {
    steps(of_calls(), count, |work| work.attempt == 1 && number(&work.record) % 10 == 0)
}

/// The same where a key is set aside after the first failed attempt, and comes back through `.retry`.
pub fn parked(count: usize) -> Step {
    let park = Some(Park { attempts: 1, time_ms: 10_000 });
    let config = EngineConfig { inputs: 2, retry_input: Some(RETRY), park, ..of_calls() };
    steps(config, count, |work| work.attempt == 1 && number(&work.record) % 50 == 0)
}

fn of_calls() -> EngineConfig {
    EngineConfig { concurrency: 64, inline: false, dedup: Some(DAY), ..config() }
}

fn number(record: &Record) -> i64 {
    record.meta.offset * i64::from(SLOTS) + i64::from(record.meta.partition)
}

fn steps(config: EngineConfig, count: usize, fails: fn(&Work<Record>) -> bool) -> Step {
    let mut input = records(count, 1_000).into_iter();
    let mut calls = Calls::new(config);
    Box::new(move |count| {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH).min(calls.replica.engine.budget().0);
            left -= batch;
            input.by_ref().take(batch).for_each(|record| calls.replica.admit(record));
            calls.replica.advance();
            calls.read_copies();
            calls.work(fails);
            calls.replica.release();
            if calls.replica.commit_if_due() {
                calls.committed();
            }
        }
    })
}

/// A replica with calls in flight and a log of copies.
struct Calls {
    replica: Replica,
    flying: Vec<Work<Record>>,
    order: fastrand::Rng,
    /// By slot: the copies in `.retry`, how many of them are committed, and how many were read.
    copies: Vec<CopyLog>,
}

#[derive(Default)]
struct CopyLog {
    written: Vec<SetAside>,
    committed: usize,
    read: usize,
}

struct SetAside {
    record: Record,
    attempts: u32,
    due: u64,
}

impl Calls {
    fn new(config: EngineConfig) -> Self {
        Self {
            replica: Replica::new(config),
            flying: Vec::new(),
            order: fastrand::Rng::with_seed(7),
            copies: (0..SLOTS).map(|_| CopyLog::default()).collect(),
        }
    }

    /// Begins what may begin and takes answers, until only few are in flight.
    fn work(&mut self, fails: fn(&Work<Record>) -> bool) {
        loop {
            while let Some(work) = self.replica.engine.next(self.replica.now) {
                match work.task {
                    Task::Run => self.flying.push(work),
                    Task::Park(why) => self.set_aside(work, why),
                    Task::Bury(_) | Task::Move => unreachable!("nothing is refused, and nothing waits for long"),
                }
            }
            if self.flying.len() < ANSWERS {
                // What waits is due some time, also where nothing else goes on.
                return self.replica.wait(1);
            }
            for _ in 0..ANSWERS {
                let work = self.flying.swap_remove(self.order.usize(..self.flying.len()));
                if fails(&work) {
                    self.fail(work);
                } else {
                    self.replica.forward(work.ticket, work.record);
                }
            }
            self.replica.wait(1);
        }
    }

    fn fail(&mut self, work: Work<Record>) {
        let Work { ticket, place, origin, task, record, .. } = work;
        match self.replica.engine.finish(ticket, Fate::Retry { record, after_ms: None }, self.replica.now) {
            Finished::Taken => {}
            Finished::Park { record, attempts, delay_ms } => {
                let work = Work { ticket, place, origin, attempt: attempts, task, record };
                self.set_aside(work, Reason::Parked { delay_ms });
            }
            other @ (Finished::Stale | Finished::Exhausted { .. }) => unreachable!("{other:?}"),
        }
    }

    /// Writes the copy of a record.
    fn set_aside(&mut self, work: Work<Record>, why: Reason) {
        let delay_ms = match why {
            Reason::Parked { delay_ms } => delay_ms,
            Reason::Behind => 0,
        };
        let due = self.replica.now.mono_ms + delay_ms;
        let copy = SetAside { record: work.record.clone(), attempts: work.attempt, due };
        self.copies[work.place.slot as usize].written.push(copy);
        self.replica.engine.finish(work.ticket, Fate::Parked(work.record), self.replica.now);
    }

    /// The transaction has ended: what was written can be read, and what was passed over is read again.
    fn committed(&mut self) {
        for log in &mut self.copies {
            log.committed = log.written.len();
        }
        for slot in self.replica.engine.rereads(self.replica.now) {
            if let Some(at) = self.replica.engine.retry_position(slot) {
                self.copies[slot as usize].read = at.offset as usize;
            }
        }
    }

    /// As `Replica::admit_copies` of the host.
    fn read_copies(&mut self) {
        let now = self.replica.now.mono_ms;
        for (slot, log) in (0..).zip(&mut self.copies) {
            for (offset, copy) in (0..).zip(&log.written[..log.committed]).skip(log.read) {
                let record = copy.record.clone();
                let (key, id) = (record.key.clone(), record.meta.id.clone());
                let told = Copy {
                    origin_input: 0,
                    origin_offset: record.meta.offset,
                    key: key.as_deref(),
                    id: &id,
                    timestamp: record.timestamp,
                    size: record.payload.size() + record.headers.size(),
                    attempts: copy.attempts,
                    delay_ms: copy.due.saturating_sub(now),
                    kind: CopyKind::Parked,
                    forced: false,
                };
                self.replica.engine.admit_copy(slot, EPOCH, offset, told, record);
            }
            log.read = log.committed;
            self.replica.engine.advance(slot, RETRY, EPOCH, log.read as i64);
        }
    }
}
