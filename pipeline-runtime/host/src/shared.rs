//! What the threads of a process share: the order to stop, and how each replica stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use millstream_engine::Counters;
use millstream_log::Waker;

/// The order to stop, given once to everything that runs. Cloning shares it.
#[derive(Clone)]
pub struct Stop {
    inner: Arc<StopInner>,
}

struct StopInner {
    draining: AtomicBool,
    aborted: AtomicBool,
    drain_timeout: Duration,
    wakers: Mutex<Vec<Waker>>,
    told: Condvar,
    /// Those that stop with it.
    children: Mutex<Vec<Weak<StopInner>>>,
}

impl Stop {
    /// Nothing is told to stop yet. Draining may take `drain_timeout`.
    pub fn new(drain_timeout: Duration) -> Self {
        Self {
            inner: Arc::new(StopInner {
                draining: AtomicBool::new(false),
                aborted: AtomicBool::new(false),
                drain_timeout,
                wakers: Mutex::new(Vec::new()),
                told: Condvar::new(),
                children: Mutex::new(Vec::new()),
            }),
        }
    }

    /// An order that is given with this one, and can be given before it: for a part that may end alone. What waits for
    /// it is forgotten with it.
    pub fn child(&self) -> Self {
        let child = Self::new(self.inner.drain_timeout);
        {
            let mut children = self.children();
            children.retain(|known| known.strong_count() > 0);
            children.push(Arc::downgrade(&child.inner));
        }
        // The order may have been given while the child was being made known.
        if self.aborted() {
            child.abort();
        } else if self.draining() {
            child.drain();
        }
        child
    }

    /// Finish what is started, commit, leave.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
        self.wake();
        self.each_child(Self::drain);
    }

    /// Leave at once; what is not committed is done again by the next run.
    pub fn abort(&self) {
        self.inner.aborted.store(true, Ordering::Release);
        self.inner.draining.store(true, Ordering::Release);
        self.wake();
        self.each_child(Self::abort);
    }

    /// Whether anybody said to stop.
    pub fn draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Whether it shall be at once.
    pub fn aborted(&self) -> bool {
        self.inner.aborted.load(Ordering::Acquire)
    }

    /// How long draining may take.
    pub fn drain_timeout(&self) -> Duration {
        self.inner.drain_timeout
    }

    /// Waits until the order is given or the time is over. Whether it was given.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut wakers = self.wakers();
        while !self.draining() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            wakers = self.inner.told.wait_timeout(wakers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Calls `waker` when the order is given.
    pub fn on_stop(&self, waker: Waker) {
        self.wakers().push(waker);
        if self.draining() {
            self.wake();
        }
    }

    fn each_child(&self, tell: impl Fn(&Self)) {
        let children: Vec<_> = self.children().iter().filter_map(Weak::upgrade).collect();
        children.into_iter().for_each(|inner| tell(&Self { inner }));
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Weak<StopInner>>> {
        self.inner.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let wakers = self.wakers().clone();
        self.inner.told.notify_all();
        for waker in wakers {
            waker();
        }
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.inner.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A replica that its group has given no partition for this long is one too many, and stands by.
const STANDS_BY: Duration = Duration::from_secs(15);

/// How one replica stands, as others see it. Written once a commit, not once a record.
#[derive(Default)]
pub struct ReplicaStatus {
    idle: AtomicBool,
    /// When it joined its group.
    joined: Mutex<Option<Instant>>,
    /// Whether the group has given it partitions.
    assigned: AtomicBool,
    /// Whether another replica works, and this one only if that one goes.
    stands_by: AtomicBool,
    /// Written once a turn.
    now: Mutex<InHand>,
    /// Records that wait for events, when they were counted last.
    waiting: AtomicU64,
    /// Since when its breaker is open, ms since 1970; 0 for closed.
    breaker: AtomicI64,
    totals: Mutex<Totals>,
    /// Of members of this replica before the present one.
    before: Mutex<Totals>,
}

/// What a replica has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InHand {
    /// Records that are read and have not ended.
    pub in_flight: u64,
    /// Of them, those that wait for another attempt.
    pub retrying: u64,
    /// Open copies in its partitions of `.retry`, whoever set them aside.
    pub parked: u64,
    /// Records that wait behind a dead letter of their key.
    pub held: u64,
}

impl InHand {
    /// Adds another's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight + other.in_flight,
            retrying: self.retrying + other.retrying,
            parked: self.parked + other.parked,
            held: self.held + other.held,
        }
    }
}

/// Counts of committed fates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records that ended, each once.
    pub read: u64,
    /// Ended with 0..n outputs.
    pub forwarded: u64,
    /// Ended on purpose, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Message id seen in the window.
    pub duplicates: u64,
    /// Ended in the dead-letter topic.
    pub dead_lettered: u64,
    /// Set aside and not ended; below 0 where this process ended more than it set aside.
    pub parked: i64,
    /// Waiting behind a dead letter.
    pub held: i64,
    /// Ends of records that came again: dead letters that were sent back. They were read, and counted, before.
    pub redriven: u64,
    /// How often calls failed for every key, so that reading stopped.
    pub breaker_opened: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// What the forwarded became.
    pub outputs: u64,
    /// Offsets passed over because retention had taken them.
    pub gaps: u64,
    /// Rules R1-R7 found broken.
    pub violations: u64,
}

impl Totals {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.forwarded += other.forwarded;
        for (reason, n) in &other.dropped {
            *self.dropped.entry(reason.clone()).or_default() += n;
        }
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.parked += other.parked;
        self.held += other.held;
        self.redriven += other.redriven;
        self.breaker_opened += other.breaker_opened;
        self.retried += other.retried;
        self.outputs += other.outputs;
        self.gaps += other.gaps;
        self.violations += other.violations;
    }

    /// R4: every record that was read ended once, or is set aside.
    pub fn balanced(&self) -> bool {
        let ended = self.forwarded + self.dropped.values().sum::<u64>() + self.duplicates + self.dead_lettered;
        i128::from(self.read) == i128::from(ended) + i128::from(self.parked) + i128::from(self.held)
    }
}

impl ReplicaStatus {
    /// After a commit: the engine's counts so far, and the outputs of this commit.
    pub fn publish(&self, counters: &Counters, outputs: u64) {
        let mut totals = lock(&self.totals);
        totals.read = counters.read;
        totals.forwarded = counters.forwarded;
        for (reason, n) in &counters.dropped {
            match totals.dropped.get_mut(*reason) {
                Some(known) => *known = *n,
                None => {
                    totals.dropped.insert((*reason).to_owned(), *n);
                }
            }
        }
        totals.duplicates = counters.duplicates;
        totals.dead_lettered = counters.dead_lettered;
        totals.parked = counters.parked;
        totals.held = counters.held;
        totals.redriven = counters.redriven;
        totals.breaker_opened = counters.breaker_opened;
        totals.retried = counters.retried;
        totals.violations = counters.violations.total();
        totals.outputs += outputs;
    }

    /// It joins its group.
    pub fn set_joined(&self) {
        *lock(&self.joined) = Some(Instant::now());
    }

    /// Another replica works; or not any more.
    pub fn set_standing_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Ordering::Release);
    }

    /// Whether it works only if another one goes.
    pub fn stands_by(&self) -> bool {
        self.stands_by.load(Ordering::Acquire)
    }

    /// The group has given it partitions.
    pub fn set_assigned(&self) {
        self.assigned.store(true, Ordering::Release);
    }

    /// Whether it has what the group gives it. One that has got nothing for a while stands by.
    pub fn settled(&self) -> bool {
        let stands_by = || lock(&self.joined).is_some_and(|at| at.elapsed() > STANDS_BY);
        self.assigned.load(Ordering::Acquire) || stands_by()
    }

    /// The member ended; its counts stay.
    pub fn close(&self) {
        self.assigned.store(false, Ordering::Release);
        *lock(&self.joined) = None;
        let ended = std::mem::take(&mut *lock(&self.totals));
        lock(&self.before).add(&ended);
        self.set_idle(false);
        self.set_now(InHand::default());
        self.set_breaker(None);
    }

    /// Since when its breaker is open, ms since 1970.
    pub fn set_breaker(&self, open: Option<i64>) {
        self.breaker.store(open.unwrap_or(0), Ordering::Relaxed);
    }

    /// Since when its breaker is open, ms since 1970.
    pub fn breaker_open(&self) -> Option<i64> {
        Some(self.breaker.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        let mut all = lock(&self.before).clone();
        all.add(&lock(&self.totals));
        all
    }

    /// Records that retention took before they were read.
    pub fn add_gap(&self, offsets: u64) {
        lock(&self.before).gaps += offsets;
    }

    /// Records wait for events. It stays when the member ends: they wait on.
    pub fn set_waiting(&self, records: u64) {
        self.waiting.store(records, Ordering::Release);
    }

    /// Records that waited for events when it worked last.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    /// What it has in hand.
    pub fn set_now(&self, now: InHand) {
        *lock(&self.now) = now;
    }

    /// What it has in hand.
    pub fn now(&self) -> InHand {
        *lock(&self.now)
    }

    /// Whether it waits for records with nothing in flight.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Release);
    }

    /// Whether it waits for records with nothing in flight.
    pub fn idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_alone_and_everything_ends_together() {
        let all = Stop::new(Duration::from_secs(1));
        let (one, other) = (all.child(), all.child());
        one.drain();
        assert!(one.draining() && !other.draining() && !all.draining());
        let of_other = other.child();
        all.abort();
        assert!(other.aborted() && of_other.aborted());
        assert!(all.child().aborted(), "one that comes too late is told at once");
        assert!(other.wait(Duration::from_secs(600)), "the order ends a wait");
    }

    #[test]
    fn parts_that_are_gone_are_forgotten() {
        let all = Stop::new(Duration::from_secs(1));
        for _ in 0..10 {
            drop(all.child());
        }
        assert!(all.children().len() <= 1);
    }
}
