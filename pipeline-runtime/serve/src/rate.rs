//! So many requests a second: a bucket that fills at the rate and holds what one second brings.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Of one source in one process.
pub(crate) struct Bucket {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// Full.
    pub(crate) fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, state: Mutex::new((per_second.max(1.0), now)) }
    }

    /// Takes one out; else the seconds until there is one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let filled = left + now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        let filled = filled.min(self.per_second.max(1.0));
        if filled >= 1.0 {
            *state = (filled - 1.0, now);
            return Ok(());
        }
        *state = (filled, now);
        Err(((1.0 - filled) / self.per_second).ceil().clamp(1.0, 86_400.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_brings_as_many_as_the_rate_says() {
        let began = Instant::now();
        let bucket = Bucket::new(3.0, began);
        let taken = |at: Duration| (0..10).filter(|_| bucket.take(began + at).is_ok()).count();
        assert_eq!(taken(Duration::ZERO), 3);
        assert_eq!(taken(Duration::from_millis(400)), 1);
        assert_eq!(taken(Duration::from_secs(100)), 3, "no more than a second's");
        let slow = Bucket::new(0.5, began);
        assert_eq!((slow.take(began), slow.take(began)), (Ok(()), Err(2)));
        assert_eq!(slow.take(began + Duration::from_secs(1)), Err(1));
        assert_eq!(slow.take(began + Duration::from_secs(2)), Ok(()));
    }
}
