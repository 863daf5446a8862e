//! The time of a partition, and which part of it is within the window.
//!
//! Time is the latest of the records' own times, none of them taken to be later than the wall clock: so an old topic
//! that is read again moves through its own window, and a record from 2099 expires nothing. It never goes back.

/// Time is cut into buckets of a 24th of the window; ids leave the window by the bucket.
const BUCKETS: i64 = 24;

/// One partition's time.
pub struct Clock {
    window: i64,
    width: i64,
    time: Option<i64>,
    committing: Option<i64>,
    committed: Option<i64>,
    /// Bucket of `time`, and the oldest one within the window; kept because each record asks.
    bucket: i64,
    oldest: i64,
}

impl Clock {
    pub fn new(window_ms: i64) -> Self {
        let window = window_ms.max(1);
        let mut clock = Self {
            window,
            width: window.div_euclid(BUCKETS).max(1),
            time: None,
            committing: None,
            committed: None,
            bucket: 0,
            oldest: 0,
        };
        clock.set(None);
        clock
    }

    /// Moves on to a record's time.
    #[inline]
    pub fn observe(&mut self, timestamp: i64, wall_ms: i64) {
        let time = timestamp.min(wall_ms);
        if self.time.is_none_or(|t| t < time) {
            self.set(Some(time));
        }
    }

    fn set(&mut self, time: Option<i64>) {
        self.time = time;
        self.bucket = self.bucket_of(time);
        self.oldest = self.oldest_at(time);
    }

    fn bucket_of(&self, time: Option<i64>) -> i64 {
        time.map_or(i64::MIN, |t| t.div_euclid(self.width))
    }

    fn oldest_at(&self, time: Option<i64>) -> i64 {
        time.map_or(i64::MIN, |t| t.saturating_sub(self.window).div_euclid(self.width))
    }

    pub fn time(&self) -> Option<i64> {
        self.time
    }

    /// The same as of the last commit.
    pub fn committed_time(&self) -> Option<i64> {
        self.committed
    }

    /// Milliseconds of a bucket.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// The bucket of this time.
    #[inline]
    pub fn bucket(&self) -> i64 {
        self.bucket
    }

    /// The oldest bucket that is, in part, within the window.
    #[inline]
    pub fn oldest_bucket(&self) -> i64 {
        self.oldest
    }

    /// The same as of the last commit.
    pub fn oldest_committed_bucket(&self) -> i64 {
        self.oldest_at(self.committed)
    }

    /// The time to be written, if it moved.
    pub fn begin_commit(&mut self) -> Option<i64> {
        self.committing = self.time;
        self.time
    }

    pub fn committed(&mut self) {
        self.committed = self.committing;
    }

    pub fn aborted(&mut self) {
        self.set(self.committed);
        self.committing = self.committed;
    }

    /// Goes on from a changelog.
    pub fn restore(&mut self, time: i64) {
        self.set(self.time.max(Some(time)));
        self.committed = self.time;
        self.committing = self.time;
    }

    /// From buckets of another width (the window was changed) to ours: an id counts as seen at the last moment of its
    /// old bucket, so that it is not forgotten early.
    pub fn rescale(&self, width: i64) -> impl Fn(i64) -> i64 + use<> {
        let ours = self.width;
        move |bucket| {
            if width == ours {
                return bucket;
            }
            let last = (i128::from(bucket) + 1) * i128::from(width) - 1;
            i64::try_from(last.div_euclid(i128::from(ours))).unwrap_or(i64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_nor_ahead_of_the_wall() {
        let mut clock = Clock::new(24_000);
        clock.observe(5_000, 1_000_000);
        clock.observe(4_000, 1_000_000);
        assert_eq!((clock.time(), clock.bucket(), clock.oldest_bucket()), (Some(5_000), 5, -19));
        clock.observe(i64::MAX, 60_500);
        assert_eq!((clock.time(), clock.oldest_bucket()), (Some(60_500), 36));
        clock.observe(i64::MAX, 7);
        assert_eq!(clock.time(), Some(60_500), "the wall clock was set back");
        clock.observe(i64::MIN, i64::MIN);
        assert_eq!(Clock::new(i64::MAX).oldest_bucket(), i64::MIN);
    }

    #[test]
    fn an_abort_goes_back_to_the_commit() {
        let mut clock = Clock::new(24_000);
        clock.observe(5_000, i64::MAX);
        assert_eq!((clock.begin_commit(), clock.committed_time()), (Some(5_000), None));
        clock.observe(90_000, i64::MAX);
        clock.committed();
        assert_eq!((clock.time(), clock.committed_time()), (Some(90_000), Some(5_000)));
        assert_eq!(clock.oldest_committed_bucket(), -19);
        clock.aborted();
        assert_eq!(clock.time(), Some(5_000));
    }

    #[test]
    fn a_changed_window_forgets_nothing_early() {
        let rescale = Clock::new(24_000).rescale(2_500);
        assert_eq!((rescale(0), rescale(1), rescale(-1)), (2, 4, -1));
        assert_eq!(Clock::new(24_000).rescale(1_000)(77), 77);
        assert_eq!(Clock::new(1).rescale(i64::MAX)(i64::MAX), i64::MAX);
    }
}
