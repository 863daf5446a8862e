//! Every decision on what is taken in, from its arrival to its answer. Pure: it is told what came, what the log holds and
//! what the log acknowledged, and says what is to be written and answered.
//!
//! An item without an id is written. One with an id is claimed first: the claim is written, and when it is read back,
//! the first claim of the id in the order of the log counts, whoever wrote it. With another payload it is a conflict.
//! With this payload the record is written by the process whose claim it is; others wait a moment for it, and then write
//! it too, as the process may be gone: the record has the same id whoever writes it, and the stage that reads it drops
//! the repeat. Then the id is marked done, so that later requests are answered from the book.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use millstream_log::Outgoing;

use super::book::Book;
use super::claim::{Entry, Kind};
use super::names::{IdHash, PayloadHash};

/// How long another process may take for the record of an id that it has claimed.
pub const OTHERS: Duration = Duration::from_secs(2);

/// One record to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The job, which is the record's id.
    pub job: String,
    /// Its record.
    pub record: Outgoing,
    /// What is said of its job, where jobs are tracked: written with the record.
    pub note: Option<Outgoing>,
    /// The id it is claimed by, and what its payload is compared by.
    pub claim: Option<(IdHash, PayloadHash)>,
}

/// What comes of it. Nothing is half of one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Durable; one job per item.
    Accepted(Vec<String>),
    /// The id of the item with this number was taken in with another payload.
    Conflict(usize),
    /// The log will never take it.
    Refused(String),
    /// Not now. Nothing was written.
    Away(String),
    /// Nobody knows whether it was written.
    Unknown(String),
}

/// The tag of a record that nobody waits for.
pub const NO_TAG: u64 = u64::MAX;

/// What is under way. `R` is where an answer goes.
pub struct Desk<R> {
    /// The ids of the log.
    pub book: Book,
    /// This process.
    who: u64,
    next: u64,
    open: BTreeMap<u64, Open<R>>,
    pending: HashMap<IdHash, Pending>,
    entries: Vec<Entry>,
    records: Vec<Outgoing>,
    /// Of records that are written now, by tag.
    written: BTreeMap<u64, Written>,
    tags: u64,
    answers: Vec<(R, Answer)>,
}

struct Open<R> {
    items: Vec<Item>,
    states: Vec<State>,
    reply: R,
}

/// How one item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For its claim.
    Waits,
    /// Its record may be written.
    Ready,
    /// Its record is being written.
    Writing,
    /// Its record is there.
    Done,
}

/// A record that is being written, for an item of an arrival.
struct Written {
    number: u64,
    at: usize,
    claim: Option<(IdHash, PayloadHash)>,
}

/// An id that somebody waits for.
struct Pending {
    slots: Vec<(u64, usize)>,
    stage: Stage,
    /// Since when, ms since 1970.
    since: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The claim was not read back yet.
    Claiming,
    /// Another process has it, and has until then, ms since 1970.
    Others(i64),
    /// This process writes the record, as soon as all items of an arrival may be.
    Ours,
    /// It is being written.
    Writing,
}

impl<R> Desk<R> {
    /// With the ids that the log holds. `who` is a random number.
    pub fn new(book: Book, who: u64) -> Self {
        Self {
            book,
            who,
            next: 0,
            open: BTreeMap::new(),
            pending: HashMap::new(),
            entries: Vec::new(),
            records: Vec::new(),
            written: BTreeMap::new(),
            tags: 0,
            answers: Vec::new(),
        }
    }

    /// Takes in an arrival: all of its items or none.
    pub fn arrive(&mut self, items: Vec<Item>, reply: R, now: i64) {
        let is_new = |item: &Item| item.claim.is_some_and(|(id, _)| self.book.get(id).is_none());
        if self.book.is_full() && items.iter().any(is_new) {
            let why = format!("{} ids are remembered, and there is room for no more", self.book.len());
            return self.answers.push((reply, Answer::Away(why)));
        }
        let number = self.next;
        self.next += 1;
        let claims: Vec<_> = items.iter().map(|item| item.claim).collect();
        let states = claims.iter().map(|c| if c.is_some() { State::Waits } else { State::Ready }).collect();
        self.open.insert(number, Open { items, states, reply });
        for (at, claim) in claims.into_iter().enumerate() {
            let Some((id, payload)) = claim else { continue };
            if !self.open.contains_key(&number) {
                return;
            }
            self.claim(number, at, id, payload, now);
        }
        self.step(number);
    }

    fn claim(&mut self, number: u64, at: usize, id: IdHash, payload: PayloadHash, now: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            let stage = pending.stage;
            pending.slots.push((number, at));
            match stage {
                Stage::Claiming => {}
                Stage::Others(_) | Stage::Ours | Stage::Writing => {
                    if self.book.get(id).is_some_and(|claim| claim.payload != payload) {
                        return self.answer(number, Answer::Conflict(at));
                    }
                    if !matches!(stage, Stage::Others(_)) {
                        self.set(number, at, State::Ready);
                    }
                }
            }
            return;
        }
        let stage = match self.book.look(id, now) {
            Some(claim) if claim.payload != payload => return self.answer(number, Answer::Conflict(at)),
            Some(claim) if claim.done => return self.set(number, at, State::Done),
            Some(claim) => self.stage_of(claim.who, now),
            None => {
                self.entries.push(Entry { kind: Kind::Claimed, id, payload, who: self.who });
                Stage::Claiming
            }
        };
        self.pending.insert(id, Pending { slots: vec![(number, at)], stage, since: now });
        if stage == Stage::Ours {
            self.set(number, at, State::Ready);
        }
    }

    /// A claim of ours without a record: whoever waited for it was told that nobody knows.
    fn stage_of(&self, who: u64, now: i64) -> Stage {
        if who == self.who { Stage::Ours } else { Stage::Others(now + OTHERS.as_millis() as i64) }
    }

    /// A record of the log, which took it at `at`.
    pub fn hear(&mut self, entry: &Entry, at: i64, now: i64) {
        self.book.hear(entry, at);
        let Some(stage) = self.pending.get(&entry.id).map(|p| p.stage) else { return };
        let Some(claim) = self.book.get(entry.id) else { return };
        match stage {
            Stage::Claiming if entry.kind == Kind::Claimed => {
                let slots = self.pending.get(&entry.id).map(|p| p.slots.clone()).unwrap_or_default();
                for (number, at) in slots {
                    let payload = self.open.get(&number).and_then(|open| open.items[at].claim).map(|(_, p)| p);
                    if payload.is_some_and(|payload| payload != claim.payload) {
                        self.answer(number, Answer::Conflict(at));
                    }
                }
                if claim.done {
                    return self.settle(entry.id);
                }
                let stage = self.stage_of(claim.who, now);
                self.give(entry.id, stage);
            }
            Stage::Others(_) if claim.done => self.settle(entry.id),
            // Our own record is on its way, and its answer comes with it.
            _ => {}
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: i64) {
        let late = |(id, p): (&IdHash, &Pending)| match p.stage {
            Stage::Others(until) if until <= now => Some(*id),
            _ => None,
        };
        let late: Vec<IdHash> = self.pending.iter().filter_map(late).collect();
        late.into_iter().for_each(|id| self.give(id, Stage::Ours));
        self.book.forget(now);
    }

    fn give(&mut self, id: IdHash, stage: Stage) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.stage = stage;
        if stage != Stage::Ours {
            return;
        }
        for (number, at) in pending.slots.clone() {
            self.set(number, at, State::Ready);
            self.step(number);
        }
    }

    /// The record of an id is there: everybody who waits for it has it.
    fn settle(&mut self, id: IdHash) {
        let Some(pending) = self.pending.remove(&id) else { return };
        for (number, at) in pending.slots {
            self.set(number, at, State::Done);
            self.step(number);
        }
    }

    fn set(&mut self, number: u64, at: usize, state: State) {
        if let Some(open) = self.open.get_mut(&number) {
            open.states[at] = state;
        }
    }

    /// Goes on with an arrival, if all its items can.
    fn step(&mut self, number: u64) {
        let Some(open) = self.open.get_mut(&number) else { return };
        if open.states.contains(&State::Waits) {
            return;
        }
        for (at, item) in open.items.iter().enumerate().filter(|(at, _)| open.states[*at] == State::Ready) {
            let writes = match item.claim.and_then(|(id, _)| self.pending.get_mut(&id)) {
                Some(pending) if pending.stage == Stage::Ours => {
                    pending.stage = Stage::Writing;
                    true
                }
                Some(_) => false,
                None => true,
            };
            if writes {
                self.written.insert(self.tags, Written { number, at, claim: item.claim });
                self.records.push(Outgoing { tag: self.tags, ..item.record.clone() });
                self.records.extend(item.note.clone());
                self.tags += 1;
            }
        }
        open.states.iter_mut().filter(|s| **s == State::Ready).for_each(|s| *s = State::Writing);
        if open.states.iter().all(|s| *s == State::Done) {
            let jobs = open.items.iter().map(|item| item.job.clone()).collect();
            self.answer(number, Answer::Accepted(jobs));
        }
    }

    /// Ends an arrival. What others wait for goes on without it.
    fn answer(&mut self, number: u64, answer: Answer) {
        let Some(open) = self.open.remove(&number) else { return };
        for (id, _) in open.items.iter().filter_map(|item| item.claim) {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.slots.retain(|(n, _)| *n != number);
            if pending.slots.is_empty() {
                self.pending.remove(&id);
            }
        }
        self.answers.push((open.reply, answer));
    }

    /// What is to be written of ids: claims, and marks of what is done.
    pub fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Records to be written, each with its tag; the log must acknowledge them before [`Desk::acknowledged`].
    pub fn take_records(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.records)
    }

    /// All that was taken to be written is durable, but for what the log refuses.
    pub fn acknowledged(&mut self, refused: &[(u64, String)]) {
        self.refuse(refused);
        for written in std::mem::take(&mut self.written).into_values() {
            match written.claim {
                Some((id, payload)) => {
                    self.book.done(id, payload);
                    self.entries.push(Entry { kind: Kind::Done, id, payload, who: self.who });
                    self.settle(id);
                }
                None => {
                    self.set(written.number, written.at, State::Done);
                    self.step(written.number);
                }
            }
        }
    }

    /// Nobody knows what became of what was taken to be written; of what the log refuses it is known.
    pub fn lost(&mut self, refused: &[(u64, String)], entries: &[Entry], why: &str) {
        self.refuse(refused);
        let written = std::mem::take(&mut self.written);
        let ids = written.values().filter_map(|w| w.claim).map(|(id, _)| id);
        let claimed = entries.iter().filter(|e| e.kind == Kind::Claimed).map(|e| e.id);
        let slots = ids.chain(claimed).filter_map(|id| self.pending.get(&id)).flat_map(|p| &p.slots);
        let mut concerned: Vec<u64> = slots.map(|(number, _)| *number).collect();
        concerned.extend(written.values().map(|w| w.number));
        for number in concerned {
            self.answer(number, Answer::Unknown(why.to_owned()));
        }
    }

    /// Whoever waits for a record that the log refuses.
    fn refuse(&mut self, refused: &[(u64, String)]) {
        for (tag, why) in refused {
            let Some(written) = self.written.remove(tag) else { continue };
            let shared = written.claim.and_then(|(id, _)| self.pending.get(&id)).map(|p| p.slots.clone());
            for (number, _) in shared.unwrap_or_else(|| vec![(written.number, written.at)]) {
                self.answer(number, Answer::Refused(why.clone()));
            }
        }
    }

    /// Answers that can be given.
    pub fn take_answers(&mut self) -> Vec<(R, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// Whether there is something to be written.
    pub fn has_more(&self) -> bool {
        !self.entries.is_empty() || !self.records.is_empty()
    }

    /// For how long a claim was not read back, in ms.
    pub fn unheard(&self, now: i64) -> i64 {
        let claiming = self.pending.values().filter(|p| p.stage == Stage::Claiming);
        claiming.map(|p| now.saturating_sub(p.since)).max().unwrap_or(0)
    }

    /// Whether nobody waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.answers.is_empty()
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
