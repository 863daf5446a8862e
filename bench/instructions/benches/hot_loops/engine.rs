//! The engine in exactly-once flow where filters compute: delivery, assignment to a lane, completion, commit.

use std::hint::black_box;

use millstream_engine::{DedupConfig, Engine, EngineConfig, Fate, Now, Order, Start};
use millstream_filter_api::Record;

use crate::Step;
use crate::input::{SLOTS, records};

/// Records of one poll.
pub const BATCH: usize = 500;
/// The assignment.
pub const EPOCH: u64 = 1;
/// Records that compute in a millisecond.
const RECORDS_PER_MS: usize = 32;

/// A whole stage that only passes on.
pub fn passthrough(count: usize) -> Step {
    inline(config(), count, 1)
}

/// The same with a window of a day.
pub fn dedup(count: usize) -> Step {
    inline(EngineConfig { dedup: Some(DAY), ..config() }, count, 1)
}

/// The same where every record comes twice.
pub fn repeats(count: usize) -> Step {
    inline(EngineConfig { dedup: Some(DAY), ..config() }, count, 2)
}

/// The window of a day.
pub const DAY: DedupConfig = DedupConfig { window_ms: 24 * 3_600_000, max_ids: 10_000_000 };

/// As the host sets it for a stage that computes.
pub fn config() -> EngineConfig {
    EngineConfig {
        order: Order::Key,
        concurrency: 1,
        attempts: 5,
        backoff_min_ms: 200,
        backoff_max_ms: 30_000,
        dedup: None,
        commit_every_ms: 100,
        commit_records: 20_000,
        budget_records: 10_000,
        budget_bytes: 16 << 20,
        max_metadata: 4_000,
        inputs: 1,
        retry_input: None,
        park: None,
        hold: false,
        hash_key: (1, 2),
        inline: true,
    }
}

/// Each id comes `times` times, the repeats 1,000 records later.
fn inline(config: EngineConfig, count: usize, times: usize) -> Step {
    let mut input = records(count, 1_000);
    if times > 1 {
        for number in 0..count {
            if number / 1_000 % times != 0 {
                input[number].meta.id = input[number - 1_000].meta.id.clone();
            }
        }
    }
    let mut input = input.into_iter();
    let mut replica = Replica::new(config);
    Box::new(move |count| {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            input.by_ref().take(batch).for_each(|record| replica.admit(record));
            replica.advance();
            let mut done = 0;
            while let Some(work) = replica.engine.next(replica.now) {
                replica.forward(work.ticket, work.record);
                done += 1;
                if done % RECORDS_PER_MS == 0 {
                    replica.wait(1);
                }
            }
            replica.release();
            replica.commit_if_due();
        }
    })
}

/// What of a replica is about its engine.
pub struct Replica {
    /// The engine; what came of a record is the record.
    pub engine: Engine<Record, Record>,
    /// Moves as work is done, and with nothing else.
    pub now: Now,
    next: [i64; SLOTS as usize],
}

impl Replica {
    /// One that owns all slots.
    pub fn new(config: EngineConfig) -> Self {
        let now = Now { mono_ms: 0, wall_ms: 1_795_000_000_000 };
        let starts = vec![Start::default(); usize::from(config.inputs)];
        let mut engine = Engine::new(config, 1);
        for slot in 0..SLOTS {
            let restored = engine.restore();
            engine.assign(slot, EPOCH, &starts, restored, now).expect("an empty slot");
        }
        Self { engine, now, next: [0; SLOTS as usize] }
    }

    /// As `Replica::admit` of the host, without decoding.
    pub fn admit(&mut self, record: Record) {
        let slot = record.meta.partition as u32;
        let (offset, timestamp) = (record.meta.offset, record.timestamp);
        let size = record.payload.size() + record.headers.size();
        let (key, id) = (record.key.clone(), record.meta.id.clone());
        self.next[slot as usize] = offset + 1;
        self.engine.admit(slot, 0, EPOCH, offset, key.as_deref(), &id, timestamp, size, record);
    }

    /// What was read was read to here.
    pub fn advance(&mut self) {
        for (slot, next) in (0..).zip(self.next) {
            self.engine.advance(slot, 0, EPOCH, next);
        }
    }

    /// The filters let it pass.
    pub fn forward(&mut self, ticket: millstream_engine::Ticket, record: Record) {
        self.engine.answered(ticket, self.now);
        self.engine.finish(ticket, Fate::Forwarded(record), self.now);
    }

    /// Time passes.
    pub fn wait(&mut self, ms: u64) {
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall_ms: self.now.wall_ms + ms as i64 };
    }

    /// Outputs go into the transaction.
    pub fn release(&mut self) {
        while let Some((place, record)) = self.engine.pop_released() {
            black_box((place, record));
        }
    }

    /// The transaction ends, when it is time to. Whether it was.
    pub fn commit_if_due(&mut self) -> bool {
        assert!(self.engine.failed().is_none(), "{:?}", self.engine.failed());
        let due = self.engine.commit_due(self.now, false);
        if due {
            black_box(self.engine.begin_commit(self.now));
            self.engine.committed(self.now);
            let counters = self.engine.counters();
            assert!(counters.balanced() && counters.violations.total() == 0, "{counters:?}");
        }
        due
    }
}
