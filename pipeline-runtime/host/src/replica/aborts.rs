//! Transactions that fail one after the other: a full disk, a broker that refuses. Trying again at once would burn the
//! processor and flood the log.

use std::time::{Duration, Instant};

/// One line about it in this time.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Doubled from the second failure on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The member is not polled meanwhile, and others of the group may wait for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often transactions have failed since the last one that did not.
#[derive(Default)]
pub(super) struct Aborts {
    streak: u32,
    /// Failures that no line has told.
    silent: u32,
    said: Option<Instant>,
}

/// What to do about one failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// To wait before trying again. A single failure is a matter of a rebalance, and of no wait.
    pub pause: Duration,
    /// Whether to say so, and how many failures this line tells.
    pub say: Option<u32>,
}

impl Aborts {
    pub(super) fn aborted(&mut self, now: Instant) -> Response {
        let pause = match self.streak {
            0 => Duration::ZERO,
            n => FIRST_PAUSE.saturating_mul(1 << (n - 1).min(10)).min(LONGEST_PAUSE),
        };
        self.streak = self.streak.saturating_add(1);
        self.silent = self.silent.saturating_add(1);
        let due = self.said.is_none_or(|at| now.saturating_duration_since(at) >= SAY_EVERY);
        let say = due.then(|| std::mem::take(&mut self.silent));
        if due {
            self.said = Some(now);
        }
        Response { pause, say }
    }

    pub(super) fn committed(&mut self) {
        self.streak = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures at the times their pauses give. Negative control: a pause of zero makes some millions of tries of it.
    #[test]
    fn a_minute_of_failures_is_some_tries_and_few_lines() {
        let (mut aborts, began) = (Aborts::default(), Instant::now());
        let (mut now, mut tries, mut lines, mut told) = (began, 0, 0, 0);
        while now - began < Duration::from_secs(60) && tries < 1_000 {
            let response = aborts.aborted(now);
            tries += 1;
            lines += u32::from(response.say.is_some());
            told += response.say.unwrap_or(0);
            // A try takes a moment.
            now += response.pause + Duration::from_millis(1);
        }
        assert!((50..100).contains(&tries), "{tries} tries");
        assert_eq!(lines, 6);
        assert!(told > tries - 11, "{told} of {tries} failures were told");
    }

    /// Negative control: a first failure that waits fails it.
    #[test]
    fn a_single_failure_does_not_wait() {
        let (mut aborts, now) = (Aborts::default(), Instant::now());
        assert_eq!(aborts.aborted(now), Response { pause: Duration::ZERO, say: Some(1) });
        assert_eq!(aborts.aborted(now).pause, FIRST_PAUSE);
        aborts.committed();
        assert_eq!(aborts.aborted(now), Response { pause: Duration::ZERO, say: None });
    }
}
