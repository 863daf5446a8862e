//! What a schedule gives, and when: from the last tick given, the clock, and since when the pipeline has been running.
//! Pure: the clock is an argument, and may go forwards or backwards between two questions.
//!
//! The last tick is all that is kept, so a clock that goes backwards gives nothing twice, and processes whose clocks
//! differ neither repeat nor pass over a tick: who is behind waits longer, who is ahead is early.

use millstream_spec::model::{Missed, ScheduleSource, Timing};

use crate::ids::hash128;

/// Decides for one schedule.
pub struct Ticker {
    timing: Timing,
    missed: Missed,
    /// Longest delay of a record, ms.
    jitter: i64,
    /// The ids of ticks begin with it.
    stem: String,
    /// The time of the last tick that is done.
    last: i64,
    /// The pipeline has been running since then, somewhere: a tick due earlier was missed.
    since: i64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Give the tick of this time; it counts as done.
    Now(i64),
    /// Nothing for so many milliseconds, by this clock.
    Later(i64),
    /// Nothing any more.
    Never,
}

impl Ticker {
    /// Goes on after the tick `last`; what was due before `since` was missed.
    pub fn new(spec: &ScheduleSource, stem: String, last: i64, since: i64) -> Self {
        let jitter = i64::try_from(spec.jitter.as_millis()).unwrap_or(i64::MAX);
        Self { timing: spec.timing.clone(), missed: spec.missed, jitter, stem, last, since }
    }

    /// The time of the last tick that is done.
    pub fn last(&self) -> i64 {
        self.last
    }

    /// Since when the pipeline has been running.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Ticks due before `since` were missed, as it turns out.
    pub fn runs_since(&mut self, since: i64) {
        self.since = since;
    }

    /// Whether it makes a difference if the ticks due before `since` were missed.
    pub fn undecided(&self) -> bool {
        let before = |tick: &i64| self.due(*tick) < self.since;
        let Some(first) = self.timing.after(self.last).filter(before) else { return false };
        match self.missed {
            Missed::All => false,
            Missed::Skip => true,
            Missed::Once => self.timing.after(first).as_ref().is_some_and(before),
        }
    }

    /// What is due.
    pub fn next(&mut self, now: i64) -> Due {
        // What comes by a clock that was set back is no more missed than what comes by one that was not.
        self.since = self.since.min(now);
        loop {
            let Some(tick) = self.timing.after(self.last) else { return Due::Never };
            let due = self.due(tick);
            if due > now {
                return Due::Later(due - now);
            }
            if self.missed == Missed::All || due >= self.since {
                self.last = tick;
                return Due::Now(tick);
            }
            self.last = self.last_missed(tick);
            if self.missed == Missed::Once {
                return Due::Now(self.last);
            }
        }
    }

    /// The id of a tick, equal in every process.
    pub fn id(&self, tick: i64) -> String {
        id(&self.stem, tick)
    }

    /// When the record of a tick is to be written: its jitter comes from its id.
    fn due(&self, tick: i64) -> i64 {
        match self.jitter {
            0 => tick,
            most => {
                let wait = hash128(&[self.id(tick).as_bytes()]) % u128::from(most.unsigned_abs());
                tick.saturating_add(i64::try_from(wait).unwrap_or(0))
            }
        }
    }

    /// The last tick that was missed; `first` was.
    fn last_missed(&self, first: i64) -> i64 {
        let mut end = self.since;
        while let Some(tick) = self.timing.last_before(end, first) {
            if self.due(tick) < self.since {
                return tick;
            }
            end = tick;
        }
        first
    }
}

/// `schedule/<pipeline>/<source>@<RFC 3339, UTC>`.
pub fn id(stem: &str, tick: i64) -> String {
    format!("{stem}@{}", rfc3339(tick))
}

/// What the ids of a source's ticks begin with.
pub fn stem(pipeline: &str, source: &str) -> String {
    format!("schedule/{pipeline}/{source}")
}

/// A time in UTC, with as many digits of a second as it has.
pub fn rfc3339(ms: i64) -> String {
    let text = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(|| format!("{ms}ms"), text)
}

#[cfg(test)]
#[path = "ticks_tests.rs"]
mod tests;
