//! Time for the engine: a monotonic clock for waiting, a wall clock for record time.

use std::sync::atomic::{AtomicI64, Ordering};
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    now + OFF.load(Ordering::Relaxed)
}

/// By how much this process is wrong about the time, ms.
static OFF: AtomicI64 = AtomicI64::new(0);

/// From now on this process is wrong about the time by so many ms: for tests, as a machine's clock may be. To be called
/// before anything runs.
#[doc(hidden)]
pub fn set_clock_off(ms: i64) {
    OFF.store(ms, Ordering::Relaxed);
}
