//! The replicas of one stage in this process: how many there are, how many there shall be, who starts and who leaves.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_spec::model::Stage;

use crate::clock::wall_ms;
use crate::control::{Counts, Rates, StageReport, Trouble};
use crate::growth::Gate;
use crate::replica::BREAKER_OPEN;
use crate::shared::{InHand, ReplicaStatus, Stop, Totals};

/// The replicas of one stage here.
pub struct Crew<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// Whether its replicas read nothing. All they look at between two polls.
    pub paused: Arc<AtomicBool>,
    /// Whether that is because of a replay.
    pub held_by_replay: AtomicBool,
    /// Whether these are the replicas of a replay: what they meet ends it, and not the run.
    pub of_replay: bool,
    /// Whether dead letters were sent back to the stage, so that it has a topic `.retry` now, whatever its filters do.
    pub retry_made: Arc<AtomicBool>,
    /// Which partitions may be begun.
    pub gate: Arc<Gate>,
    wanted: AtomicU32,
    /// By number; one that left keeps its place, and with it its counts.
    slots: Mutex<Vec<Slot>>,
    trouble: Mutex<Option<Trouble>>,
}

/// The place of one replica.
struct Slot {
    status: Arc<ReplicaStatus>,
    state: State,
    /// Ends it, alone.
    stop: Option<Stop>,
}

/// How the replica in a place stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Absent,
    /// It works, or is being started again.
    Works,
    /// It finishes what is begun, commits, and is gone soon.
    Leaves,
    /// It met what only a person can mend.
    GaveUp,
}

/// What is to be done about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start(usize),
    Stop(usize),
}

/// A replica to be started.
pub struct Recruit {
    /// Its number.
    pub number: usize,
    /// Where it tells how it stands.
    pub status: Arc<ReplicaStatus>,
    /// Ends it.
    pub stop: Stop,
}

/// Places 0 to `wanted` have a replica, and no other has. One that is leaving is waited for: two members of one name
/// would fence each other. One that gave up is left alone.
fn decide(wanted: usize, states: &[State]) -> Vec<Step> {
    let state = |i: usize| states.get(i).copied().unwrap_or(State::Absent);
    (0..wanted.max(states.len()))
        .filter_map(|i| match state(i) {
            State::Absent if i < wanted => Some(Step::Start(i)),
            State::Works if i >= wanted => Some(Step::Stop(i)),
            _ => None,
        })
        .collect()
}

impl<'a> Crew<'a> {
    /// Nobody yet.
    pub fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            paused: Arc::default(),
            held_by_replay: AtomicBool::new(false),
            of_replay: false,
            retry_made: Arc::default(),
            gate: Arc::default(),
            wanted: AtomicU32::new(stage.replicas),
            slots: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Nobody yet, for a replay of the stage.
    pub fn of_replay(stage: &'a Stage) -> Self {
        Self { of_replay: true, ..Self::new(stage) }
    }

    /// Sends away who is too many and gives those who are to be started.
    pub fn reconcile(&self, wanted: u32, stop: &Stop) -> Vec<Recruit> {
        self.wanted.store(wanted, Ordering::Release);
        let mut slots = self.slots();
        let states: Vec<State> = slots.iter().map(|s| s.state).collect();
        let mut recruits = Vec::new();
        for step in decide(wanted as usize, &states) {
            match step {
                Step::Start(number) => {
                    if slots.len() <= number {
                        slots.resize_with(number + 1, Slot::empty);
                    }
                    let own = stop.child();
                    slots[number].state = State::Works;
                    slots[number].stop = Some(own.clone());
                    recruits.push(Recruit { number, status: Arc::clone(&slots[number].status), stop: own });
                }
                Step::Stop(number) => {
                    slots[number].state = State::Leaves;
                    if let Some(stop) = slots[number].stop.take() {
                        stop.drain();
                    }
                }
            }
        }
        recruits
    }

    /// A replica's thread has ended: it left, or it gave up.
    pub fn ended(&self, number: usize, gave_up: bool) {
        if let Some(slot) = self.slots().get_mut(number) {
            slot.state = if gave_up { State::GaveUp } else { State::Absent };
            slot.stop = None;
        }
    }

    /// Notes what went wrong, for those who ask.
    pub fn note(&self, message: String, gave_up: bool) {
        *lock(&self.trouble) = Some(Trouble { at: wall_ms(), message, gave_up });
    }

    /// Of so many as are wanted here: one at most of a singleton.
    pub fn may_have(&self, wanted: u32) -> u32 {
        if self.stage.singleton { wanted.min(1) } else { wanted }
    }

    /// Replicas there shall be.
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::Acquire)
    }

    /// Whether all replicas wait for records.
    pub fn quiet(&self) -> bool {
        self.slots().iter().all(|s| matches!(s.state, State::Absent) || s.status.idle())
    }

    /// Whether all replicas there shall be have been given their partitions.
    pub fn settled(&self) -> bool {
        let slots = self.slots();
        let works = |s: &&Slot| s.state == State::Works;
        slots.iter().filter(works).all(|s| s.status.settled())
            && slots.iter().filter(works).count() >= self.wanted() as usize
    }

    /// Whether nobody is left who could do anything.
    pub fn gave_up(&self) -> bool {
        let slots = self.slots();
        let none_works = slots.iter().all(|s| matches!(s.state, State::Absent | State::GaveUp));
        none_works && slots.iter().any(|s| s.state == State::GaveUp)
    }

    /// What one met that only a person can mend, if one did.
    pub fn why_gave_up(&self) -> Option<String> {
        let gave_up = self.slots().iter().any(|s| s.state == State::GaveUp);
        gave_up.then(|| lock(&self.trouble).as_ref().map(|t| t.message.clone()).unwrap_or_default())
    }

    /// Whether every thread has ended.
    pub fn gone(&self) -> bool {
        self.slots().iter().all(|s| matches!(s.state, State::Absent | State::GaveUp))
    }

    /// What all who were ever here have done.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.slots().iter().for_each(|s| totals.add(&s.status.totals()));
        totals
    }

    /// Records that waited for events in its partitions, when they were counted last.
    pub fn waiting(&self) -> u64 {
        self.slots().iter().map(|slot| slot.status.waiting()).sum()
    }

    /// How the stage stands here, without rates.
    pub fn report(&self) -> StageReport {
        let totals = self.totals();
        let slots = self.slots();
        let now = slots.iter().map(|s| s.status.now()).fold(InHand::default(), InHand::plus);
        StageReport {
            wanted: self.wanted(),
            running: slots.iter().filter(|s| s.is_there() && !s.status.stands_by()).count() as u32,
            standby: slots.iter().filter(|s| s.is_there() && s.status.stands_by()).count() as u32,
            paused: self.paused.load(Ordering::Acquire),
            counts: Counts {
                read: totals.read,
                forwarded: totals.forwarded,
                dropped: totals.dropped.values().sum(),
                duplicates: totals.duplicates,
                dead_lettered: totals.dead_lettered,
                retried: totals.retried,
                outputs: totals.outputs,
                in_flight: now.in_flight,
                retrying: now.retrying,
                parked: now.parked,
                held: now.held,
            },
            rates: Rates::default(),
            trouble: open_breaker(&slots).or_else(|| lock(&self.trouble).clone()),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        lock(&self.slots)
    }
}

/// What there is to say while calls fail for every key.
fn open_breaker(slots: &[Slot]) -> Option<Trouble> {
    let at = slots.iter().filter_map(|s| s.status.breaker_open()).min()?;
    let message = format!(
        "calls fail for every key; records are read and tried one at a time until one is answered [{BREAKER_OPEN}]"
    );
    Some(Trouble { at, message, gave_up: false })
}

impl Slot {
    /// Whether it has a replica.
    fn is_there(&self) -> bool {
        matches!(self.state, State::Works | State::Leaves)
    }

    fn empty() -> Self {
        Self { status: Arc::default(), state: State::Absent, stop: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::State::{Absent, GaveUp, Leaves, Works};
    use super::*;

    #[test]
    fn missing_replicas_start_and_the_last_ones_leave() {
        assert_eq!(decide(2, &[]), [Step::Start(0), Step::Start(1)]);
        assert_eq!(decide(3, &[Works, Works]), [Step::Start(2)]);
        assert_eq!(decide(1, &[Works, Works, Works]), [Step::Stop(1), Step::Stop(2)]);
        assert_eq!(decide(0, &[Works]), [Step::Stop(0)]);
        assert_eq!(decide(2, &[Works, Works]), []);
    }

    #[test]
    fn a_place_is_free_only_when_its_replica_is_gone() {
        assert_eq!(decide(2, &[Works, Leaves]), [], "it is waited for");
        assert_eq!(decide(2, &[Works, Absent]), [Step::Start(1)]);
        assert_eq!(decide(1, &[Works, Leaves, Absent]), []);
    }

    #[test]
    fn one_that_gave_up_is_left_alone() {
        assert_eq!(decide(2, &[GaveUp, Works]), []);
        assert_eq!(decide(0, &[GaveUp, Works]), [Step::Stop(1)]);
    }
}
