//! Whether what the stage calls is gone as a whole.
//!
//! Closed, it watches every attempt: in an outage all keys may be set aside within moments, and then only their copies
//! can tell. Open, nothing that failed is set aside, and records that failed probe, one at a time and ever more rarely.
//! Keys that fail for good may open it while little else comes, so one record after the other is read on, and one that
//! never ran probes at once; while those fail too, by a clock of their own. An answer closes it.

use crate::work::Ticket;

/// It opens after so many failed attempts in a row,
const ROW: u32 = 10;
/// of so many lanes,
const LANES: usize = 3;
/// over so long.
const SPAN_MS: u64 = 1_000;

/// Open, a record that never ran probes this long after another one has failed at most,
const FRESH_MS: u64 = 1_000;
/// or this long after another one has begun and did not end.
const HANGS_MS: u64 = 5_000;

/// The breaker of one replica.
pub struct Breaker {
    /// Failed attempts since the last success, and since when.
    row: u32,
    row_since: u64,
    /// Lanes among them; more than [`LANES`] are not told apart.
    lanes: [u64; LANES],
    known: usize,
    open: Option<Open>,
    /// How long it was open before, in all.
    stood_ms: u64,
    min_ms: u64,
    max_ms: u64,
}

struct Open {
    since: u64,
    /// No probe before this.
    probe_at: u64,
    /// Between two probes.
    wait_ms: u64,
    /// No probe of a record that never ran before this.
    fresh_at: u64,
    fresh_wait_ms: u64,
    /// The last probe of each kind: what it is undone by, should it make no call.
    last: Option<(Ticket, u64)>,
    last_fresh: Option<Ticket>,
}

impl Breaker {
    /// Waits as a record does between two attempts.
    pub fn new(min_ms: u64, max_ms: u64) -> Self {
        let max_ms = max_ms.max(min_ms).max(1);
        Self { row: 0, row_since: 0, lanes: [0; LANES], known: 0, open: None, stood_ms: 0, min_ms, max_ms }
    }

    /// Since when it is open.
    #[inline]
    pub fn since(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.since)
    }

    /// An attempt failed. `lane` names what it is ordered with. Whether the breaker opens.
    pub fn failed(&mut self, lane: u64, now_ms: u64) -> bool {
        if self.row == 0 {
            (self.row_since, self.known) = (now_ms, 0);
        }
        self.row += 1;
        if self.known < LANES && !self.lanes[..self.known].contains(&lane) {
            self.lanes[self.known] = lane;
            self.known += 1;
        }
        if let Some(open) = &mut self.open {
            open.fresh_at = open.fresh_at.min(now_ms.saturating_add(open.fresh_wait_ms));
            open.fresh_wait_ms = open.fresh_wait_ms.saturating_mul(2).min(self.max_ms.min(FRESH_MS));
            return false;
        }
        let gone = self.row >= ROW && self.known == LANES && now_ms.saturating_sub(self.row_since) >= SPAN_MS;
        if !gone {
            return false;
        }
        let wait_ms = self.min_ms.saturating_mul(2).clamp(1, self.max_ms);
        self.open = Some(Open {
            since: now_ms,
            probe_at: now_ms.saturating_add(wait_ms),
            wait_ms,
            fresh_at: now_ms,
            fresh_wait_ms: wait_ms.min(FRESH_MS),
            last: None,
            last_fresh: None,
        });
        true
    }

    /// An attempt got an answer, good or bad.
    #[inline]
    pub fn answered(&mut self, now_ms: u64) {
        if self.row > 0 {
            self.row = 0;
            if let Some(open) = self.open.take() {
                self.stood_ms += now_ms.saturating_sub(open.since);
            }
        }
    }

    /// When the next probe may go; `None`: it is closed.
    pub fn probe_at(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.probe_at)
    }

    /// When the next record that never ran may go; `None`: it is closed.
    pub fn fresh_at(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.fresh_at)
    }

    /// A probe goes: of a record that never ran, by the clock of those, or any other.
    pub fn probed(&mut self, ticket: Ticket, fresh: bool, now_ms: u64) {
        let Some(open) = &mut self.open else { return };
        if fresh {
            open.fresh_at = now_ms.saturating_add(HANGS_MS);
            open.last_fresh = Some(ticket);
        } else {
            open.last = Some((ticket, open.wait_ms));
            open.wait_ms = open.wait_ms.saturating_mul(2).min(self.max_ms);
            open.probe_at = now_ms.saturating_add(open.wait_ms);
        }
    }

    /// An attempt ended and nothing was called: if it was to probe, another one may at once.
    pub fn no_call(&mut self, ticket: Ticket, now_ms: u64) {
        let Some(open) = &mut self.open else { return };
        if open.last_fresh == Some(ticket) {
            open.fresh_at = now_ms;
        }
        if let Some((_, wait_ms)) = open.last.filter(|(last, _)| *last == ticket) {
            (open.probe_at, open.wait_ms) = (now_ms, wait_ms);
        }
    }

    /// The clock that stands still while it is open: a record must not be set aside for the time nobody tried.
    #[inline]
    pub fn clock(&self, now_ms: u64) -> u64 {
        let standing = self.open.as_ref().map_or(0, |open| now_ms.saturating_sub(open.since));
        now_ms.saturating_sub(self.stood_ms + standing)
    }

    /// From that clock to the monotonic one, if it does not stop in between.
    pub fn mono(&self, clock_ms: u64) -> u64 {
        clock_ms.saturating_add(self.stood_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(lanes: u64, step_ms: u64, attempts: u64) -> bool {
        let mut breaker = Breaker::new(100, 1_000);
        (0..attempts).any(|n| breaker.failed(n % lanes, n * step_ms))
    }

    #[test]
    fn opens_when_all_fail_for_a_while() {
        assert!(opens(3, 200, 10));
        assert!(!opens(3, 200, 9), "too few");
        assert!(!opens(2, 200, 100), "one or two keys are no outage");
        assert!(!opens(3, 10, 100), "too short");
        assert!(opens(3, 10, 102));
        let mut breaker = Breaker::new(100, 1_000);
        for n in 0..100 {
            assert!(!breaker.failed(n, n * 200));
            if n % 5 == 4 {
                breaker.answered(n * 200);
            }
        }
    }

    #[test]
    fn probes_ever_more_rarely_and_closes() {
        let mut breaker = Breaker::new(100, 1_000);
        (0..11).for_each(|n| {
            breaker.failed(n, n * 100);
        });
        assert_eq!((breaker.since(), breaker.probe_at(), breaker.clock(5_000)), (Some(1_000), Some(1_200), 1_000));
        let mut waits = Vec::new();
        for _ in 0..4 {
            let at = breaker.probe_at().unwrap();
            breaker.probed(Ticket(0), false, at);
            assert!(!breaker.failed(1, at), "it is open already");
            waits.push(breaker.probe_at().unwrap() - at);
        }
        assert_eq!(waits, [400, 800, 1_000, 1_000]);
        breaker.answered(9_000);
        assert_eq!(
            (breaker.since(), breaker.probe_at(), breaker.clock(9_500), breaker.mono(1_500)),
            (None, None, 1_500, 9_500)
        );
    }

    #[test]
    fn records_that_never_ran_have_a_clock_of_their_own() {
        let mut breaker = Breaker::new(100, 30_000);
        (0..11).for_each(|n| {
            breaker.failed(n, n * 100);
        });
        let mut waits = Vec::new();
        for n in 0..5 {
            let at = breaker.fresh_at().unwrap();
            breaker.probed(Ticket(n), true, at);
            assert_eq!(breaker.fresh_at(), Some(at + HANGS_MS), "it may hang");
            breaker.failed(n, at + 10);
            waits.push(breaker.fresh_at().unwrap() - at - 10);
        }
        assert_eq!((waits, breaker.probe_at()), (vec![200, 400, 800, 1_000, 1_000], Some(1_200)));
    }

    #[test]
    fn a_probe_that_called_nothing_was_none() {
        let mut breaker = Breaker::new(100, 30_000);
        (0..11).for_each(|n| {
            breaker.failed(n, n * 100);
        });
        breaker.probed(Ticket(1), true, 2_000);
        breaker.probed(Ticket(2), false, 2_000);
        breaker.no_call(Ticket(3), 2_010);
        assert_eq!((breaker.fresh_at(), breaker.probe_at()), (Some(7_000), Some(2_400)), "that was another one");
        breaker.no_call(Ticket(1), 2_010);
        assert_eq!((breaker.fresh_at(), breaker.probe_at()), (Some(2_010), Some(2_400)));
        breaker.no_call(Ticket(2), 2_020);
        assert_eq!(breaker.probe_at(), Some(2_020));
        breaker.probed(Ticket(4), false, 2_020);
        assert_eq!(breaker.probe_at(), Some(2_420), "as long as the one that was none");
    }
}
