//! Several processes take in the same few ids at once, over one log, with losses and crashes; by seeds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::TopicPartition;

use super::*;
use crate::intake::names::{Name, job_of};

/// A request, as its sender knows it.
#[derive(Clone, Debug)]
struct Sent {
    ids: Vec<(u8, u8)>,
}

/// One process: its desk, how far it has read, and whom it owes answers.
struct Process {
    desk: Desk<usize>,
    heard: usize,
}

/// How the desk is built; the negative controls break it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Whole,
    /// Claims are believed before they are read back.
    BelievesItself,
    /// Answers come before the log's acknowledgement.
    Hasty,
}

struct World {
    random: fastrand::Rng,
    variant: Variant,
    now: i64,
    log: Vec<(Entry, i64)>,
    records: Vec<String>,
    processes: Vec<Process>,
    sent: Vec<Sent>,
    answers: BTreeMap<usize, Answer>,
    crashed: BTreeSet<usize>,
}

fn item(id: u8, payload: u8) -> Item {
    let hash = Name::Key(Bytes::from(vec![id])).id("t").expect("an id");
    let payload = PayloadHash([payload; 16]);
    let job = job_of(hash, payload);
    let record = Outgoing {
        to: TopicPartition::new("t", 0),
        key: None,
        value: Some(Bytes::from(job.clone())),
        headers: Headers::new(),
        timestamp: 0,
        tag: 0,
    };
    Item { job, record, note: None, claim: Some((hash, payload)) }
}

impl World {
    fn new(seed: u64, variant: Variant) -> Self {
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            variant,
            now: 0,
            log: Vec::new(),
            records: Vec::new(),
            processes: Vec::new(),
            sent: Vec::new(),
            answers: BTreeMap::new(),
            crashed: BTreeSet::new(),
        };
        world.processes = (0..3).map(|n| world.process(n)).collect();
        world
    }

    fn process(&self, who: u64) -> Process {
        let mut book = Book::new(1_000_000);
        self.log.iter().for_each(|(entry, at)| book.hear(entry, *at));
        Process { desk: Desk::new(book, who), heard: self.log.len() }
    }

    fn arrive(&mut self, at: usize) {
        let count = if self.random.u8(0..4) == 0 { 2 } else { 1 };
        let ids: Vec<(u8, u8)> = (0..count).map(|_| (self.random.u8(0..4), self.random.u8(0..2))).collect();
        let items: Vec<Item> = ids.iter().map(|(id, payload)| item(*id, *payload)).collect();
        let number = self.sent.len();
        self.sent.push(Sent { ids });
        if self.variant == Variant::Hasty {
            let jobs = items.iter().map(|i| i.job.clone()).collect();
            self.answers.insert(number, Answer::Accepted(jobs));
        }
        self.processes[at].desk.arrive(items, number, self.now);
        self.collect(at);
    }

    /// One round of writing; it may fail in every way.
    fn round(&mut self, at: usize, may_fail: bool) {
        let entries = self.processes[at].desk.take_entries();
        let records = self.processes[at].desk.take_records();
        let fate = if may_fail { self.random.u8(0..20) } else { 0 };
        let (written, acknowledged, crashes) = match fate {
            0..14 => (true, true, false),
            14..16 => (true, false, false),
            16..18 => (false, false, false),
            18 => (true, false, true),
            _ => (false, false, true),
        };
        if written {
            self.log.extend(entries.iter().map(|entry| (*entry, self.now)));
            self.records
                .extend(records.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap()).into_owned()));
        }
        if crashes {
            let owed: Vec<usize> = self.processes[at].desk.open.values().map(|open| open.reply).collect();
            self.crashed.extend(owed);
            let who = 10 + self.random.u64(..);
            self.processes[at] = self.process(who);
        } else if acknowledged {
            if self.variant == Variant::BelievesItself {
                for entry in &entries {
                    let now = self.now;
                    self.processes[at].desk.hear(entry, now, now);
                }
            }
            self.processes[at].desk.acknowledged(&[]);
        } else {
            self.processes[at].desk.lost(&[], &entries, "lost");
        }
        self.collect(at);
    }

    fn hear(&mut self, at: usize, most: usize) {
        let process = &mut self.processes[at];
        for (entry, when) in self.log.iter().skip(process.heard).take(most) {
            process.desk.hear(entry, *when, self.now);
            process.heard += 1;
        }
        self.collect(at);
    }

    fn collect(&mut self, at: usize) {
        for (number, answer) in self.processes[at].desk.take_answers() {
            if self.variant != Variant::Hasty {
                assert!(self.answers.insert(number, answer).is_none(), "answered twice");
            }
        }
    }

    fn run(&mut self) -> Vec<String> {
        for _ in 0..120 {
            let at = self.random.usize(0..3);
            match self.random.u8(0..10) {
                0..3 => self.arrive(at),
                3..6 => self.round(at, true),
                6..9 => {
                    let most = self.random.usize(0..4);
                    self.hear(at, most);
                }
                _ => {
                    self.now += self.random.i64(0..3_000);
                    let now = self.now;
                    self.processes[at].desk.tick(now);
                    self.collect(at);
                }
            }
        }
        for _ in 0..12 {
            self.now += 1_000;
            for at in 0..3 {
                let now = self.now;
                self.processes[at].desk.tick(now);
                self.hear(at, usize::MAX);
                self.round(at, false);
            }
        }
        self.wrong()
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mut accepted, mut refused): (BTreeMap<u8, u8>, BTreeSet<(u8, u8)>) = Default::default();
        for (number, sent) in self.sent.iter().enumerate() {
            match self.answers.get(&number) {
                None if self.crashed.contains(&number) => {}
                None => wrong.push(format!("request {number} has no answer")),
                Some(Answer::Accepted(jobs)) => {
                    for ((id, payload), job) in sent.ids.iter().zip(jobs) {
                        if *accepted.entry(*id).or_insert(*payload) != *payload {
                            wrong.push(format!("id {id} is two jobs"));
                        }
                        if !self.records.contains(job) {
                            wrong.push(format!("job {job} was answered and is not there"));
                        }
                    }
                }
                Some(Answer::Conflict(at)) => drop(refused.insert(sent.ids[*at])),
                Some(Answer::Unknown(_)) => {}
                Some(other) => wrong.push(format!("{other:?}")),
            }
        }
        for (id, payload) in refused {
            if self.records.contains(&item(id, payload).job) {
                wrong.push(format!("id {id} was refused with a payload that is in the log"));
            }
        }
        wrong
    }
}

fn by_seeds(variant: Variant) -> Vec<String> {
    (0..2_000).flat_map(|seed| World::new(seed, variant).run()).collect()
}

#[test]
fn one_job_for_each_id_whatever_happens() {
    let found = by_seeds(Variant::Whole);
    assert!(found.is_empty(), "{:?}", &found[..found.len().min(5)]);
}

/// Negative controls: both are quick ways to answer, and wrong.
#[test]
fn who_believes_itself_makes_two_jobs_and_who_is_hasty_loses_some() {
    assert!(by_seeds(Variant::BelievesItself).iter().any(|f| f.contains("two jobs")));
    assert!(by_seeds(Variant::Hasty).iter().any(|f| f.contains("is not there")));
}

#[test]
fn a_repeat_is_answered_from_the_book() {
    let mut world = World::new(1, Variant::Whole);
    let desk = &mut world.processes[0].desk;
    desk.arrive(vec![item(1, 1)], 0, 0);
    let claims = desk.take_entries();
    desk.acknowledged(&[]);
    assert!(desk.take_records().is_empty(), "not before the claim is read back");
    claims.iter().for_each(|claim| desk.hear(claim, 0, 0));
    assert_eq!(desk.take_records().len(), 1);
    assert!(desk.take_answers().is_empty(), "not before the record is acknowledged");
    desk.acknowledged(&[]);
    let first = desk.take_answers();
    desk.arrive(vec![item(1, 1)], 1, 0);
    assert_eq!(desk.take_answers().pop().map(|(_, a)| a), first.into_iter().next().map(|(_, a)| a));
    desk.arrive(vec![item(1, 2)], 2, 0);
    assert_eq!(desk.take_answers(), [(2, Answer::Conflict(0))]);
    assert!(desk.take_records().is_empty());
    assert_eq!(desk.take_entries().iter().filter(|e| e.kind == Kind::Done).count(), 1);
    assert!(desk.is_empty());
}

#[test]
fn what_the_log_refuses_is_refused_for_all_who_wait() {
    let mut world = World::new(1, Variant::Whole);
    let desk = &mut world.processes[0].desk;
    desk.arrive(vec![item(1, 1)], 0, 0);
    desk.arrive(vec![item(1, 1)], 1, 0);
    let claims = desk.take_entries();
    desk.acknowledged(&[]);
    claims.iter().for_each(|claim| desk.hear(claim, 0, 0));
    let records = desk.take_records();
    assert_eq!(records.len(), 1);
    desk.acknowledged(&[(records[0].tag, "too large".to_owned())]);
    let answers = desk.take_answers();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(_, a)| *a == Answer::Refused("too large".to_owned())));
    assert!(desk.is_empty());
}
