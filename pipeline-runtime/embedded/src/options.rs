//! How an embedded log is opened.

use std::time::Duration;

/// When what was written is forced to the disk.
///
/// Whatever the choice, a killed process loses nothing that was acknowledged: it is with the operating system by then.
/// The choice is about a power cut or a crash of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each acknowledgement. A power cut loses nothing; each commit costs a disk flush, commonly 0.1 to 10 ms.
    Always,
    /// In the background, this long after a write at the latest. A power cut may lose the transactions of the last
    /// interval: the newest ones, each as a whole. Commits do not wait.
    Interval(Duration),
    /// Never but on close and before old files are deleted. A power cut may lose everything the operating system had
    /// not written yet, and may leave a folder that is refused as damaged.
    Off,
}

/// Settings of an embedded log. They belong to the process that owns the folder; a process that finds an owner uses
/// the owner's.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// When to force what was written to the disk. Default: every 100 ms.
    pub fsync: Fsync,
    /// A new segment file is begun when one would grow beyond this. Default 64 MiB; at least 64 KiB, at most 1 GiB.
    pub segment_bytes: u64,
    /// Recent records kept in memory, so that a stage reads what the one before wrote without the disk. Default 16 MiB.
    pub cache_bytes: usize,
    /// The largest transaction in bytes. Default 256 MiB, at most 1 GiB.
    pub max_transaction_bytes: usize,
    /// Largest record of a topic that does not say its own. Default 1 MiB, as Kafka's.
    pub max_record_bytes: usize,
    /// How often retention is applied and disk freed. Default 5 s.
    pub retention_every: Duration,
    /// A compacted topic is compacted when this much was written to a partition since the last time, and at least as
    /// much as was left then. Default 8 MiB.
    pub compact_after_bytes: u64,
    /// How long a compacted topic keeps a tombstone that is the last record of its key. Default 24 h.
    pub keep_tombstones: Duration,
    /// Whether other processes can reach this log over a socket in its folder. Default yes.
    pub serve: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            fsync: Fsync::Interval(Duration::from_millis(100)),
            segment_bytes: 64 << 20,
            cache_bytes: 16 << 20,
            max_transaction_bytes: 256 << 20,
            // Kafka's `message.max.bytes`.
            max_record_bytes: 1_048_588,
            retention_every: Duration::from_secs(5),
            compact_after_bytes: 8 << 20,
            keep_tombstones: Duration::from_secs(24 * 60 * 60),
            serve: true,
        }
    }
}

impl EmbeddedOptions {
    /// The same within the bounds that the file format has.
    pub(crate) fn bounded(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.clamp(64 << 10, 1 << 30);
        self.max_transaction_bytes = self.max_transaction_bytes.min(1 << 30);
        self
    }
}
