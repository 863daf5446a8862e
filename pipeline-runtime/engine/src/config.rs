//! How an engine is set up, and the time it is given.

/// The time, brought in by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back: waiting is measured by it.
    pub mono_ms: u64,
    /// Milliseconds since 1970: bounds the records' own times.
    pub wall_ms: i64,
}

/// What is kept in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Records of one key, partition and input: one at a time. Records without a key are in no order.
    Key,
    /// Records of one partition and input: one at a time. Running them at once and only releasing the outputs in order
    /// would be faster, but a filter that calls out would have its effects out of order, and order is what was asked for.
    Partition,
    /// Nothing.
    None,
}

/// How long ids are remembered, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    /// An id is known for at least this long in the partition's time, and at most a 24th longer.
    pub window_ms: i64,
    /// Most ids per slot; at the bound the engine fails with `dedup_full`.
    pub max_ids: usize,
}

/// When a failing key is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Park {
    /// After so many failed attempts.
    pub attempts: u32,
    /// Or when this long has passed since the first attempt began.
    pub time_ms: u64,
}

/// The settings of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// What is kept in order.
    pub order: Order,
    /// Records started and not finished at most. `inline` makes it one.
    pub concurrency: usize,
    /// Attempts of a record in all; 1 is no retry.
    pub attempts: u32,
    /// Shortest wait before another attempt.
    pub backoff_min_ms: u64,
    /// Longest wait before another attempt.
    pub backoff_max_ms: u64,
    /// `None`: no dedup.
    pub dedup: Option<DedupConfig>,
    /// Under load, what is finished is committed this often.
    pub commit_every_ms: u64,
    /// Or when this many records are finished.
    pub commit_records: usize,
    /// Records held at most: queued, waiting or started. With a [`retry_input`](Self::retry_input) a quarter of it is kept
    /// for copies.
    pub budget_records: usize,
    /// Bytes held at most.
    pub budget_bytes: usize,
    /// Bytes of [`CommitPosition::metadata`](crate::CommitPosition::metadata) the log takes.
    pub max_metadata: usize,
    /// Number of input topics, the one of copies among them; at most 256.
    pub inputs: u16,
    /// Which input holds the copies of records that were set aside: the last one. `None`: nothing is ever set aside.
    pub retry_input: Option<u16>,
    /// When a failing key is set aside; `None`: a record is retried where it stands. With [`Order::Partition`] it is, as
    /// everything behind it has to wait anyway.
    pub park: Option<Park>,
    /// A dead letter holds its key: later records wait in `.retry` until somebody decides. Only with [`Order::Key`] and a
    /// [`retry_input`](Self::retry_input). Holds that are there are kept in any case.
    pub hold: bool,
    /// Key of the hashes of ids and keys. Equal on every run of a stage: marks in the changelog are made with it.
    pub hash_key: (u64, u64),
    /// The host finishes each record before it asks for the next, so that one that runs needs no entry in any map.
    pub inline: bool,
}
