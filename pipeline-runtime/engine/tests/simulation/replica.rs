//! A replica of the model: it does what the host does, without threads.

use std::collections::BTreeMap;

use millstream_engine::{
    CommitPlan, CopyKind, Engine, EngineConfig, Fate, Finished, Place, Reason, Start, Task, Ticket, Work,
};

use crate::Met;
use crate::copies::{copy_of, is_refused};
use crate::world::{Break, Kind, Out, Rec, World};

pub struct Replica {
    index: usize,
    config: EngineConfig,
    seed: u64,
    pub engine: Engine<Rec, Out>,
    /// By partition: epoch, and where it reads next of each input.
    owned: BTreeMap<u32, (u64, Vec<i64>)>,
    revoked: Vec<u32>,
    flying: Vec<(Ticket, Place, u32, Rec)>,
    sent: Vec<(Place, Out)>,
    /// Records that were dropped as duplicates.
    duplicates: Vec<Place>,
    /// Counts of engines that are gone.
    pub before: u64,
    pub parked_before: i64,
    pub redriven_before: u64,
    pub held_before: i64,
    met: Met,
    pub violations: u64,
}

impl Replica {
    pub fn new(index: usize, config: EngineConfig, seed: u64) -> Self {
        let mut engine = Engine::new(config.clone(), seed ^ index as u64);
        engine.tell_duplicates();
        Self {
            index,
            config,
            seed,
            engine,
            owned: BTreeMap::new(),
            revoked: Vec::new(),
            flying: Vec::new(),
            sent: Vec::new(),
            duplicates: Vec::new(),
            before: 0,
            parked_before: 0,
            redriven_before: 0,
            held_before: 0,
            met: Met::default(),
            violations: 0,
        }
    }

    pub fn holds(&self, partition: u32) -> bool {
        self.owned.contains_key(&partition)
    }

    /// What it met, this one and those before.
    pub fn met(&self) -> Met {
        let opened = self.engine.counters().breaker_opened as usize;
        Met { breaker: self.met.breaker + opened, ..self.met }
    }

    /// Dies and comes back without anything.
    pub fn restart(&mut self) {
        self.before += self.engine.counters().read;
        self.parked_before += self.engine.counters().parked;
        self.redriven_before += self.engine.counters().redriven;
        self.held_before += self.engine.counters().held;
        self.violations += self.engine.counters().violations.total();
        let fresh = Self::new(self.index, self.config.clone(), self.seed.wrapping_add(1));
        let met = self.met();
        let Self { before, parked_before, redriven_before, held_before, violations, .. } = *self;
        *self = Self { before, parked_before, redriven_before, held_before, violations, met, ..fresh };
    }

    /// Becomes the owner of a partition: restores its state and reads on from the committed position.
    pub fn take(&mut self, partition: u32, world: &mut World) -> Result<(), String> {
        // It may come back to a replica that does not know yet that it was gone.
        self.learn(world);
        let epoch = world.assign(partition, self.index);
        let log = &world.partitions[partition as usize];
        let mut starts: Vec<Start> =
            log.inputs.iter().map(|i| Start { offset: i.committed.0, metadata: i.committed.1.clone() }).collect();
        if world.promise.broken == Break::MixInputs {
            starts = vec![starts[0].clone(); starts.len()];
        }
        let mut restored = self.engine.restore();
        for record in &log.state {
            restored.apply(record).map_err(|e| format!("state of partition {partition}: {e}"))?;
        }
        self.engine.assign(partition, epoch, &starts, restored, world.now()).map_err(|e| e.to_string())?;
        self.owned.insert(partition, (epoch, starts.iter().map(|s| s.offset).collect()));
        if world.promise.broken != Break::NoScan {
            self.scan(partition, world, |_| true);
        }
        Ok(())
    }

    /// Tells the engine which copies are open, as far as `told`.
    fn scan(&mut self, partition: u32, world: &World, told: impl Fn((u16, i64)) -> bool) {
        let log = &world.partitions[partition as usize].inputs[usize::from(world.retry)];
        for record in log.records.iter().filter(|r| r.offset >= log.committed.0) {
            let key = record.key.map(|k| [k]);
            let id = record.id.to_be_bytes();
            let Some(copy) = copy_of(record, &key, &id, 1, world).filter(|c| told((c.origin_input, c.origin_offset)))
            else {
                continue;
            };
            self.engine.restore_copy(partition, record.offset, &copy);
            self.met.restored += 1;
        }
    }

    /// Reads batches of some partitions.
    pub fn read(&mut self, world: &mut World, rng: &mut fastrand::Rng) {
        for (partition, (epoch, next)) in &mut self.owned {
            for (input, at) in (0u16..).zip(next) {
                if rng.bool() || self.engine.full_slots().any(|full| full == (*partition, input)) {
                    continue;
                }
                let (records, mut bytes) = match world.promise.broken {
                    Break::Flood => (usize::MAX, usize::MAX),
                    _ => self.engine.budget(),
                };
                let mut want = rng.usize(1..40).min(records);
                loop {
                    let log = &world.partitions[*partition as usize].inputs[usize::from(input)];
                    let Some(r) = log.records.get(log.records.partition_point(|r| r.offset < *at)).cloned() else {
                        if want > 0 && bytes > 0 {
                            *at = log.end.max(*at);
                        }
                        break;
                    };
                    if want == 0 || bytes == 0 {
                        break;
                    }
                    let size = rng.usize(1..60);
                    (want, bytes, *at) = (want - 1, bytes.saturating_sub(size), r.offset + 1);
                    world.was_read(*partition, r.timestamp);
                    let key = r.key.map(|k| [k]);
                    let (id, offset) = (r.id.to_be_bytes(), r.offset);
                    if let Some(copy) = copy_of(&r, &key, &id, size, world) {
                        self.engine.admit_copy(*partition, *epoch, offset, copy, r.clone());
                        continue;
                    }
                    let (key, time) = (key.as_ref().map(|k| &k[..]), world.told_time(r.timestamp));
                    self.engine.admit(*partition, input, *epoch, offset, key, &id, time, size, r);
                }
                self.engine.advance(*partition, input, *epoch, *at);
            }
        }
    }

    /// Starts what may start.
    pub fn work(&mut self, world: &mut World, rng: &mut fastrand::Rng) {
        self.cut_off(world);
        for _ in 0..rng.usize(1..60) {
            let Some(work) = self.engine.next(world.now()) else { break };
            let Work { ticket, place, origin, attempt, task, record } = work;
            assert_eq!(origin, world.origin_of(place));
            match task {
                Task::Bury(_) => self.bury(ticket, world),
                Task::Park(Reason::Behind) if world.promise.broken == Break::RunBehind => {
                    self.end(ticket, place, attempt, record, world);
                }
                Task::Park(reason) => {
                    self.met.behind += usize::from(reason == Reason::Behind);
                    self.park(ticket, reason, attempt, world);
                }
                Task::Move => {
                    self.met.moved += 1;
                    let answer = self.engine.finish(ticket, Fate::Moved(Out::Move), world.now());
                    assert!(matches!(answer, Finished::Taken));
                }
                Task::Run if self.config.inline => self.end(ticket, place, attempt, record, world),
                Task::Run => self.flying.push((ticket, place, attempt, record)),
            }
        }
        self.send();
    }

    /// Cancels calls that have had their time.
    fn cut_off(&mut self, world: &mut World) {
        for ticket in self.engine.overdue(world.now()) {
            let at = self.flying.iter().position(|(t, ..)| *t == ticket).expect("what is overdue was started");
            let (ticket, place, attempt, record) = self.flying.swap_remove(at);
            self.met.cut_off += 1;
            self.fail(ticket, place, attempt, record, world);
        }
    }

    fn park(&mut self, ticket: Ticket, reason: Reason, attempts: u32, world: &World) {
        let delay = match reason {
            Reason::Parked { delay_ms } => delay_ms as i64,
            Reason::Behind => 0,
        };
        let out = Out::Park { attempts, due: world.now().wall_ms + delay };
        let fate = match reason {
            Reason::Behind if world.promise.broken == Break::FreeEarly => Fate::Dropped("behind", out),
            _ => Fate::Parked(out),
        };
        assert!(matches!(self.engine.finish(ticket, fate, world.now()), Finished::Taken));
    }

    fn bury(&mut self, ticket: Ticket, world: &World) {
        let holds = self.engine.may_hold(ticket) && world.promise.broken != Break::NoHold;
        let fate = if holds { Fate::Held(Out::Hold) } else { Fate::DeadLettered(Out::Letter) };
        self.engine.finish(ticket, fate, world.now());
    }

    /// An attempt fails, and another one may not.
    fn fail(&mut self, ticket: Ticket, place: Place, attempt: u32, record: Rec, world: &mut World) {
        world.suffered.insert(world.origin_of(place));
        self.try_again(ticket, attempt, record, world);
    }

    fn try_again(&mut self, ticket: Ticket, attempt: u32, record: Rec, world: &World) {
        let now = world.now();
        let after_ms = (record.offset % 7 == 0).then_some(90);
        match self.engine.finish(ticket, Fate::Retry { record, after_ms }, now) {
            Finished::Exhausted { attempts, .. } => {
                assert_eq!((attempts, attempts), (self.config.attempts, attempt));
                self.bury(ticket, world);
            }
            Finished::Park { attempts, delay_ms, .. } => {
                assert_eq!(attempts, attempt);
                self.park(ticket, Reason::Parked { delay_ms }, attempts, world);
            }
            Finished::Taken | Finished::Stale => {}
        }
    }

    /// Some call ends, in any order.
    pub fn answer(&mut self, world: &mut World, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(1..10) {
            if self.flying.is_empty() {
                break;
            }
            let (ticket, place, attempt, record) = self.flying.swap_remove(rng.usize(..self.flying.len()));
            self.end(ticket, place, attempt, record, world);
        }
        self.send();
    }

    pub fn answer_all(&mut self, world: &mut World) {
        for (ticket, place, attempt, record) in std::mem::take(&mut self.flying) {
            self.end(ticket, place, attempt, record, world);
        }
        self.send();
    }

    fn end(&mut self, ticket: Ticket, place: Place, attempt: u32, record: Rec, world: &mut World) {
        if world.is_down(record.key) {
            return self.fail(ticket, place, attempt, record, world);
        }
        let fate = match record.kind {
            Kind::Forward | Kind::Refused => Fate::Forwarded(Out::Forward),
            Kind::Drop => Fate::Dropped("where", Out::Drop),
            Kind::Bad => return self.bury(ticket, world),
            Kind::Flaky(times) if attempt > times => Fate::Forwarded(Out::Forward),
            Kind::Bulky if attempt > 2 => Fate::Forwarded(Out::Forward),
            Kind::Flaky(_) | Kind::Bulky => return self.try_again(ticket, attempt, record, world),
        };
        // A record that is dropped may have been so before the call.
        if record.kind != Kind::Drop {
            self.engine.answered(ticket, world.now());
        }
        self.engine.finish(ticket, fate, world.now());
    }

    fn send(&mut self) {
        while let Some(released) = self.engine.pop_released() {
            self.sent.push(released);
        }
    }

    /// Commits if it is due. `false`: the replica does not survive it.
    pub fn commit(&mut self, world: &mut World, rng: &mut fastrand::Rng, faults: bool) -> Result<bool, String> {
        self.send();
        if !self.engine.commit_due(world.now(), true) {
            if !self.engine.has_uncommitted() {
                self.read_again(world);
            }
            return Ok(true);
        }
        self.duplicates.extend(std::iter::from_fn(|| self.engine.pop_duplicate()).map(|(place, _)| place));
        let plan = self.engine.begin_commit(world.now());
        if plan.positions.iter().any(|p| p.metadata.len() > self.config.max_metadata) {
            return Err(format!("metadata over its {} bytes", self.config.max_metadata));
        }
        let slots = plan.positions.iter().map(|p| p.slot).chain(self.sent.iter().map(|(p, _)| p.slot));
        let fenced = slots.into_iter().any(|s| !self.owned.get(&s).is_some_and(|(e, _)| world.owns(s, self.index, *e)));
        if fenced {
            if !world.promise.exactly_once {
                self.sent.retain(|sent| !is_refused(sent, world));
                self.deliver_some(world, rng);
            }
            return Ok(false);
        }
        let refused: Vec<Place> =
            self.sent.iter().filter(|sent| is_refused(sent, world)).map(|(place, _)| *place).collect();
        let broken = world.promise.broken;
        let fate = if faults { rng.u8(..20) } else { 20 };
        if !refused.is_empty() || fate < 3 {
            match broken {
                Break::MarksOutside => world.apply_state(&plan),
                Break::ReadUncommitted => world.pass_on(&self.sent),
                Break::NotesOutside => world.note(&self.sent, &self.duplicates),
                Break::LossyAtLeastOnce => drop(world.apply_positions(&plan)?),
                Break::CopiesOutside => {
                    let positions = plan.positions.iter().filter(|p| p.input == world.retry).cloned().collect();
                    world.apply_positions(&CommitPlan { positions, state: Vec::new() })?;
                }
                Break::ParkOutside => {
                    let parked = |out: &Out| matches!(out, Out::Park { .. });
                    let copies: Vec<_> = self.sent.iter().filter(|(_, out)| parked(out)).copied().collect();
                    world.apply_outputs(&copies);
                }
                _ => {}
            }
            if !world.promise.exactly_once && broken != Break::LossyAtLeastOnce {
                // What was delivered was delivered.
                self.sent.retain(|(place, _)| !refused.contains(place));
                self.deliver_some(world, rng);
            }
            let forgetful = broken == Break::NoRollback && refused.is_empty();
            let before: Vec<_> = self.owned.keys().map(|p| (*p, self.engine.parked(*p))).collect();
            refused.into_iter().for_each(|place| self.engine.poison(place, "too large".to_owned()));
            self.rewind(world);
            for (partition, parked) in before.iter().filter(|_| forgetful) {
                self.forget_rollback(*partition, parked, world);
            }
            return Ok(true);
        }
        if fate == 3 {
            // The answer is lost, and so is the transaction; or only the answer.
            match broken {
                Break::PositionsFirst | Break::LossyAtLeastOnce => drop(world.apply_positions(&plan)?),
                _ if rng.bool() => {
                    world.apply(&plan, &self.sent, &self.duplicates)?;
                    world.unheard += 1;
                }
                _ if !world.promise.exactly_once => {
                    self.deliver_and_mark(&plan, world, rng);
                }
                _ => {}
            }
            return Ok(false);
        }
        world.apply(&plan, &self.sent, &self.duplicates)?;
        self.sent.clear();
        self.duplicates.clear();
        self.engine.committed(world.now());
        if world.promise.exactly_once {
            self.compare_state(world)?;
        }
        self.read_again(world);
        Ok(true)
    }

    /// Reads `.retry` again where copies were skipped.
    fn read_again(&mut self, world: &World) {
        for slot in self.engine.rereads(world.now()) {
            self.met.passes += 1;
            let at = self.engine.retry_position(slot).expect("an assigned slot").offset;
            if let Some((_, next)) = self.owned.get_mut(&slot) {
                next[usize::from(world.retry)] = at;
            }
        }
    }

    /// At least once: a first part of the outputs is delivered, and nothing says so. Whether it was all.
    fn deliver_some(&mut self, world: &mut World, rng: &mut fastrand::Rng) -> bool {
        let some = rng.usize(..=self.sent.len());
        world.apply_outputs(&self.sent[..some]);
        some == self.sent.len()
    }

    /// At least once: marks follow the outputs, and the positions would follow the marks.
    fn deliver_and_mark(&mut self, plan: &CommitPlan, world: &mut World, rng: &mut fastrand::Rng) {
        if self.deliver_some(world, rng) && rng.bool() {
            world.apply_state(plan);
        }
    }

    /// R8: right after a commit, with nothing finished since, the live state is what the changelog gives.
    fn compare_state(&self, world: &World) -> Result<(), String> {
        for (partition, _) in self.owned.iter().filter(|(p, (epoch, _))| world.owns(**p, self.index, *epoch)) {
            let Some(live) = self.engine.snapshot(*partition) else { continue };
            let mut rebuilt = self.engine.restore();
            for record in &world.partitions[*partition as usize].state {
                rebuilt.apply(record).map_err(|e| e.to_string())?;
            }
            let rebuilt = rebuilt.snapshot();
            let parked = self.engine.parked(*partition);
            let open = world.open_copies(*partition, CopyKind::Parked);
            if parked != open && world.promise.broken == Break::Nothing {
                return Err(format!("R8: partition {partition}: set aside {parked:?}, open copies {open:?}"));
            }
            let (holds, marks) = (self.engine.holds(*partition), world.open_copies(*partition, CopyKind::Hold));
            if holds != marks && world.promise.broken == Break::Nothing {
                return Err(format!("R8: partition {partition}: holds {holds:?}, marks {marks:?}"));
            }
            if live.marks != rebuilt.marks {
                let only = |a: &[_], b: &[_]| -> Vec<_> { a.iter().filter(|m| !b.contains(*m)).copied().collect() };
                let (live, rebuilt) = (only(&live.marks, &rebuilt.marks), only(&rebuilt.marks, &live.marks));
                return Err(format!("R8: partition {partition}: only live {live:?}, only rebuilt {rebuilt:?}"));
            }
        }
        Ok(())
    }

    fn rewind(&mut self, world: &World) {
        let (positions, cancelled) = self.engine.aborted(world.now());
        self.flying.retain(|(ticket, ..)| !cancelled.contains(ticket));
        self.sent.clear();
        self.duplicates.clear();
        for position in positions {
            if let Some((_, next)) = self.owned.get_mut(&position.slot) {
                next[usize::from(position.input)] = position.offset;
            }
        }
    }

    /// As if the abort had left alone what was set aside.
    fn forget_rollback(&mut self, partition: u32, parked: &[(u16, i64)], world: &World) {
        let Some((epoch, next)) = self.owned.get_mut(&partition) else { return };
        if self.revoked.contains(&partition) || !world.owns(partition, self.index, *epoch) {
            return;
        }
        let log = &world.partitions[partition as usize];
        let starts: Vec<Start> =
            log.inputs.iter().map(|i| Start { offset: i.committed.0, metadata: i.committed.1.clone() }).collect();
        let mut restored = self.engine.restore();
        log.state.iter().for_each(|record| restored.apply(record).expect("it was written by an engine"));
        *next = starts.iter().map(|s| s.offset).collect();
        let epoch = *epoch;
        self.engine.remove(&[partition]);
        self.engine.assign(partition, epoch, &starts, restored, world.now()).expect("it was assigned before");
        self.scan(partition, world, |origin| parked.contains(&origin));
    }

    pub fn revoke(&mut self, partition: u32) {
        self.engine.revoke(&[partition]);
        self.revoked.push(partition);
    }

    /// After a hand-over: what is not committed is forgotten.
    pub fn give_up(&mut self, partition: u32) {
        let cancelled = self.engine.remove(&[partition]);
        self.flying.retain(|(ticket, ..)| !cancelled.contains(ticket));
        self.sent.retain(|(place, _)| place.slot != partition);
        self.owned.remove(&partition);
    }

    /// Learns which partitions it has lost: they go, and the open transaction with them. Calls go on for a while, and
    /// their answers must have no effect (R6).
    pub fn learn(&mut self, world: &mut World) {
        let lost: Vec<u32> =
            self.owned.iter().filter(|(p, (e, _))| !world.owns(**p, self.index, *e)).map(|(p, _)| *p).collect();
        if lost.is_empty() {
            return;
        }
        let cancelled = self.engine.remove(&lost);
        assert!(cancelled.iter().all(|t| self.flying.iter().any(|(f, ..)| f == t)), "what is cancelled was started");
        self.owned.retain(|p, _| !lost.contains(p));
        self.rewind(world);
    }
}
