//! Records that wait for another attempt.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Records that wait, by time: (when, order of arrival, index of the record).
type Heap = BinaryHeap<Reverse<(u64, u64, u32)>>;

/// When which record is to be looked at. Live ones and copies wait apart, as the breaker probes with live ones.
pub struct Retries {
    live: Heap,
    copies: Heap,
    arrivals: u64,
    rng: fastrand::Rng,
    min_ms: u64,
    max_ms: u64,
}

/// Which records are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Live,
    Copies,
}

impl Retries {
    /// Waits between `min_ms` and `max_ms`; equal seeds wait equally.
    pub fn new(min_ms: u64, max_ms: u64, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { live: Heap::new(), copies: Heap::new(), arrivals: 0, rng, min_ms, max_ms: max_ms.max(min_ms) }
    }

    /// Lets a record wait until `when`.
    pub fn wait(&mut self, which: Which, index: u32, when: u64) {
        let entry = Reverse((when, self.arrivals, index));
        self.arrivals += 1;
        self.heap(which).push(entry);
    }

    /// How long a record waits after its `attempt`-th attempt: exponential with full jitter, anywhere between the minimum
    /// and a cap that doubles with each attempt, so that records that failed together do not come back together.
    pub fn delay(&mut self, attempt: u32) -> u64 {
        let doubled = self.min_ms.max(1).saturating_mul(1u64.checked_shl(attempt.min(63)).unwrap_or(u64::MAX));
        let cap = doubled.clamp(self.min_ms, self.max_ms);
        self.rng.u64(self.min_ms..=cap)
    }

    /// A record whose time has come, the longest waiting first.
    #[inline]
    pub fn due(&mut self, now_ms: u64) -> Option<u32> {
        let first = |heap: &Heap| heap.peek().map_or((u64::MAX, u64::MAX), |Reverse((when, order, _))| (*when, *order));
        let which = if first(&self.live) <= first(&self.copies) { Which::Live } else { Which::Copies };
        self.due_of(which, now_ms)
    }

    /// The same of one kind.
    pub fn due_of(&mut self, which: Which, now_ms: u64) -> Option<u32> {
        let heap = self.heap(which);
        let Reverse((when, _, _)) = heap.peek()?;
        if *when > now_ms { None } else { heap.pop().map(|Reverse((_, _, index))| index) }
    }

    /// When the next one is to be looked at.
    pub fn next_deadline(&self) -> Option<u64> {
        [Which::Live, Which::Copies].into_iter().filter_map(|which| self.deadline_of(which)).min()
    }

    /// The same of one kind.
    pub fn deadline_of(&self, which: Which) -> Option<u64> {
        let heap = if which == Which::Live { &self.live } else { &self.copies };
        heap.peek().map(|Reverse((when, _, _))| *when)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.live.len() + self.copies.len()
    }

    /// Lets a live record wait no longer; `false` if it did not.
    pub fn take_out(&mut self, index: u32) -> bool {
        let before = self.live.len();
        self.live.retain(|Reverse((_, _, i))| *i != index);
        self.live.len() < before
    }

    /// Forgets those that are not kept.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.live.retain(|Reverse((_, _, index))| keep(*index));
        self.copies.retain(|Reverse((_, _, index))| keep(*index));
    }

    fn heap(&mut self, which: Which) -> &mut Heap {
        match which {
            Which::Live => &mut self.live,
            Which::Copies => &mut self.copies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_between_the_bounds() {
        let mut retries = Retries::new(100, 1_000, 7);
        let mut longest = [0; 8];
        for _ in 0..2_000 {
            for attempt in 1..=8u32 {
                let delay = retries.delay(attempt);
                let cap = (100u64 << attempt).min(1_000);
                assert!((100..=cap).contains(&delay), "attempt {attempt}: {delay}");
                longest[attempt as usize - 1] = delay.max(longest[attempt as usize - 1]);
            }
        }
        assert!(longest[0] > 150 && longest[1] > 300 && longest[7] > 900, "jitter uses the range: {longest:?}");
        assert!(Retries::new(0, 0, 1).delay(u32::MAX) == 0);
        assert!(Retries::new(u64::MAX, 5, 1).delay(9) == u64::MAX);
    }

    #[test]
    fn due_in_order_and_not_before() {
        let mut retries = Retries::new(10, 10, 1);
        retries.wait(Which::Live, 1, 50);
        retries.wait(Which::Copies, 2, 10);
        retries.wait(Which::Live, 3, 10);
        assert_eq!(retries.next_deadline(), Some(10));
        assert_eq!(retries.due(9), None);
        assert_eq!((retries.due(10), retries.due(10), retries.due(10)), (Some(2), Some(3), None));
        assert_eq!((retries.due(49), retries.due_of(Which::Copies, 50), retries.due(50)), (None, None, Some(1)));
        retries.wait(Which::Live, 4, 10);
        retries.wait(Which::Copies, 5, 20);
        assert_eq!((retries.deadline_of(Which::Copies), retries.len()), (Some(20), 2));
        assert!(retries.take_out(4) && !retries.take_out(4));
        retries.retain(|index| index != 5);
        assert_eq!(retries.next_deadline(), None);
    }
}
