//! Records, events, time, cancelled jobs and crashes in any order, against a model of the log in which only what was committed is
//! there after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::LogRecord;

use super::entry;
use super::meet::{Act, At, EVENTS, Meeting, Named, RECORDS, SENT_BACK, Waiter, What};
use crate::jobs::Stopped;

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// What waits is forgotten by a crash.
    NoState,
    /// What has gone on is taken up again after a crash.
    NoTombstones,
    /// An event is kept though it has let records go.
    EventsStay,
    /// Time is up though what was there in time is not read.
    NoBarrier,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A record or an event as it lies in a topic.
#[derive(Clone, Copy)]
struct Lies {
    by: u128,
    id: u128,
    /// When it was written.
    at: i64,
}

/// How a record has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Met(At),
    TimedOut,
    Stopped,
    Duplicate,
}

struct World {
    random: Random,
    broken: Broken,
    now: i64,
    topics: [Vec<Lies>; 3],
    /// Committed, with the state and the ends.
    positions: [usize; 3],
    state: BTreeMap<Bytes, Bytes>,
    ends: BTreeMap<At, Vec<End>>,
    used: BTreeMap<At, usize>,
    unclaimed: BTreeSet<At>,
    /// Of the owner.
    meeting: Meeting,
    stopped: HashMap<u128, Stopped>,
    wrong: Vec<String>,
}

const TIMEOUT: i64 = 20;

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        Self {
            random: Random(seed),
            broken,
            now: 1_000,
            topics: Default::default(),
            positions: [0; 3],
            state: BTreeMap::new(),
            ends: BTreeMap::new(),
            used: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            meeting: Meeting::default(),
            stopped: HashMap::new(),
            wrong: Vec::new(),
        }
    }

    fn waiter(&self, input: u16, lies: &Lies) -> Waiter {
        let record = (input != EVENTS).then_some(Named { id: lies.id, job: lies.id });
        Waiter { since: self.now, by: lies.by, record }
    }

    /// The state as a new owner reads it.
    fn restored(&self) -> Meeting {
        let mut all = HashMap::new();
        for (key, value) in &self.state {
            let record = LogRecord {
                offset: 0,
                timestamp: 0,
                key: Some(key.clone()),
                value: Some(value.clone()),
                headers: Headers::new(),
            };
            if let Ok((at, Some(waiter))) = entry::read(&record) {
                all.insert(at, waiter);
            }
        }
        Meeting::restore(all)
    }

    /// One transaction: all of it, or, in a crash, nothing.
    fn commit(&mut self, acts: Vec<(Act, Waiter)>, positions: [usize; 3]) {
        if self.random.one_in(4) {
            return self.crash();
        }
        for (Act { at, what, waited }, waiter) in acts {
            let kept = what == What::Used && self.broken == Broken::EventsStay;
            if what == What::Keep {
                self.state.insert(entry::key(at), entry::value(&waiter));
            } else if waited && self.broken != Broken::NoTombstones && !kept {
                self.state.remove(&entry::key(at));
            }
            let mut end = |end| self.ends.entry(at).or_default().push(end);
            match what {
                What::Keep => {}
                What::Duplicate => end(End::Duplicate),
                What::Stopped(_) => end(End::Stopped),
                What::TimedOut => end(End::TimedOut),
                What::Meet(event) => end(End::Met(event)),
                What::Used => *self.used.entry(at).or_default() += 1,
                What::Unclaimed => {
                    self.unclaimed.insert(at);
                }
            }
        }
        self.positions = positions;
        if self.broken == Broken::EventsStay {
            self.meeting = self.restored();
        } else if self.broken == Broken::Nothing && self.random.one_in(6) && self.restored() != self.meeting {
            self.wrong.push("the state restored is not the live one".to_owned());
        }
    }

    fn crash(&mut self) {
        self.meeting = if self.broken == Broken::NoState { Meeting::default() } else { self.restored() };
    }

    fn read(&mut self) {
        let (mut acts, mut positions) = (Vec::new(), self.positions);
        for input in [RECORDS, EVENTS, SENT_BACK] {
            let at = &mut positions[usize::from(input)];
            let most = 1 + self.random.below(4);
            while *at < self.topics[usize::from(input)].len() && *at < self.positions[usize::from(input)] + most {
                let lies = self.topics[usize::from(input)][*at];
                let waiter = self.waiter(input, &lies);
                let why = self.stopped.get(&lies.id).copied().filter(|_| input != EVENTS);
                let place = At { input, offset: *at as i64 };
                acts.extend(self.meeting.arrive(place, waiter, why).into_iter().map(|act| (act, waiter)));
                *at += 1;
            }
        }
        self.commit(acts, positions);
    }

    fn expire(&mut self) {
        // As the worker: only when all that was there in time is read.
        let limit = self.now - TIMEOUT;
        let read = self.positions.iter().zip(&self.topics).all(|(position, topic)| *position == topic.len());
        if !read && self.broken != Broken::NoBarrier {
            return;
        }
        let most = 1 + self.random.below(3);
        let acts = self.meeting.overdue(limit, most);
        self.commit(acts, self.positions);
    }

    fn stop(&mut self) {
        let acts = self.meeting.stop(&self.stopped);
        let acts = acts.into_iter().map(|act| (act, Waiter::default())).collect();
        self.commit(acts, self.positions);
    }

    fn step(&mut self) {
        let by = self.random.below(6) as u128;
        match self.random.below(12) {
            0..=2 => {
                let id = self.topics[0].len() as u128;
                // Some come again while the first still waits, or after it.
                let again = self.random.one_in(8) && id > 0;
                let lies = if again { self.topics[0][self.random.below(id as usize)] } else { Lies { by, id, at: 0 } };
                self.topics[0].push(Lies { at: self.now, ..lies });
            }
            3..=4 => self.topics[1].push(Lies { by, id: 0, at: self.now }),
            5 => {
                // The dead letter of a record for which nothing came is sent back.
                let ended = self.ends.iter().filter(|(_, ends)| ends.as_slice() == [End::TimedOut]);
                let letters: Vec<At> = ended.map(|(at, _)| *at).collect();
                if !letters.is_empty() {
                    let at = letters[self.random.below(letters.len())];
                    let lies = self.topics[usize::from(at.input)][at.offset as usize];
                    self.topics[2].push(Lies { at: self.now, ..lies });
                }
            }
            6..=8 => self.read(),
            9 => self.expire(),
            10 if self.random.one_in(3) && !self.topics[0].is_empty() => {
                let job = self.topics[0][self.random.below(self.topics[0].len())].id;
                self.stopped.insert(job, Stopped::Cancelled);
                self.stop();
            }
            10 => self.crash(),
            _ => self.now += self.random.below(8) as i64,
        }
    }

    /// Until nothing waits any more; then everything must have ended as it has to.
    fn end(mut self) -> Vec<String> {
        for _ in 0..400 {
            self.read();
            self.stop();
            self.now += 1;
            self.expire();
            let read = self.positions.iter().zip(&self.topics).all(|(position, topic)| *position == topic.len());
            if read && self.state.is_empty() && self.meeting == Meeting::default() {
                break;
            }
        }
        for (input, topic) in (0u16..).zip(&self.topics) {
            for (offset, lies) in (0i64..).zip(topic) {
                let at = At { input, offset };
                if input == EVENTS {
                    let ends = self.used.get(&at).copied().unwrap_or(0) + usize::from(self.unclaimed.contains(&at));
                    if ends != 1 {
                        self.wrong.push(format!("event {offset} has ended {ends} times"));
                    }
                    continue;
                }
                let ends = self.ends.get(&at).map_or(&[][..], Vec::as_slice);
                match ends {
                    [End::Met(event)] if self.topics[1][event.offset as usize].by != lies.by => {
                        self.wrong.push(format!("{at:?} has met another's event"));
                    }
                    [End::Stopped] if !self.stopped.contains_key(&lies.id) => {
                        self.wrong.push(format!("{at:?} was stopped, and its job was not"));
                    }
                    [_] => {}
                    _ => self.wrong.push(format!("{at:?} has ended {ends:?}")),
                }
            }
        }
        self.in_time();
        self.wrong
    }

    /// Nothing is late for which an event was there in time and unused.
    fn in_time(&mut self) {
        for at in &self.unclaimed {
            let event = self.topics[1][at.offset as usize];
            for (record, ends) in &self.ends {
                let lies = self.topics[usize::from(record.input)][record.offset as usize];
                let crossed = lies.by == event.by && (lies.at..lies.at + TIMEOUT).contains(&event.at);
                if crossed && ends.as_slice() == [End::TimedOut] {
                    self.wrong.push(format!("{record:?} was late, and event {} was there in time", at.offset));
                }
            }
        }
    }
}

fn run(seed: u64, broken: Broken) -> Vec<String> {
    let mut world = World::new(seed, broken);
    for _ in 0..120 {
        world.step();
    }
    world.end()
}

#[test]
fn each_ends_once_whatever_happens() {
    let first = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..1_000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let wrong = run(seed, Broken::Nothing);
        assert!(wrong.is_empty(), "MILLSTREAM_SEED={seed}: {wrong:?}");
    }
}

/// Negative controls: what is broken on purpose turns the same checks red.
#[test]
fn what_is_broken_is_seen() {
    for broken in [Broken::NoState, Broken::NoTombstones, Broken::EventsStay, Broken::NoBarrier] {
        assert!((0..200).any(|seed| !run(seed, broken).is_empty()), "{broken:?} is not seen");
    }
}

fn record(id: u128, by: u128, since: i64) -> Waiter {
    Waiter { since, by, record: Some(Named { id, job: id }) }
}

fn event(by: u128, since: i64) -> Waiter {
    Waiter { since, by, record: None }
}

#[test]
fn an_event_lets_go_all_that_wait_and_else_the_next_one() {
    let mut meeting = Meeting::default();
    let (r, e) = (|offset| At { input: RECORDS, offset }, |offset| At { input: EVENTS, offset });
    let act = |at, what, waited| Act { at, what, waited };
    assert_eq!(meeting.arrive(r(0), record(1, 7, 0), None), [act(r(0), What::Keep, false)]);
    assert_eq!(meeting.arrive(r(1), record(2, 7, 1), None), [act(r(1), What::Keep, false)]);
    assert_eq!(meeting.arrive(r(2), record(1, 7, 1), None), [act(r(2), What::Duplicate, false)]);
    assert_eq!((meeting.records(), meeting.needs(RECORDS), meeting.oldest()), (2, Some(0), Some(0)));
    let all = [act(r(0), What::Meet(e(0)), true), act(r(1), What::Meet(e(0)), true), act(e(0), What::Used, false)];
    assert_eq!(meeting.arrive(e(0), event(7, 2), None), all);
    assert_eq!(meeting, Meeting::default());
    for n in 1..=2 {
        assert_eq!(meeting.arrive(e(n), event(7, n), None), [act(e(n), What::Keep, false)]);
    }
    let next = [act(r(3), What::Meet(e(1)), false), act(e(1), What::Used, true)];
    assert_eq!(meeting.arrive(r(3), record(3, 7, 9), None), next);
    let stopped = act(r(4), What::Stopped(Stopped::Cancelled), false);
    assert_eq!(meeting.arrive(r(4), record(4, 7, 9), Some(Stopped::Cancelled)), [stopped], "no event is used up");
    assert_eq!(meeting.overdue(1, 9), []);
    assert_eq!(meeting.overdue(2, 9), [(act(e(2), What::Unclaimed, true), event(7, 2))]);
    assert_eq!(meeting, Meeting::default());
}
