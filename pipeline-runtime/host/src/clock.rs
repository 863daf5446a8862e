//! Time for the engine: a monotonic clock for waiting, a wall clock for record time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use millstream_engine::Now;

/// Reads both clocks. One per replica.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic side starts at 0.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both clocks, now.
    pub fn now(&self) -> Now {
        Now { mono_ms: self.origin.elapsed().as_millis() as u64, wall_ms: wall_ms() }
    }
}

/// Milliseconds since 1970.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
