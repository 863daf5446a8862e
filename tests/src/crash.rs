//! The crash test: a pipeline works while its processes are killed, frozen and started again at seeded moments; then all
//! input is worked off, everything is read, and the checker judges.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::checker::model::{self, Names};
use crate::checker::workload::Workload;
use crate::checker::{Expected, History, Seen, Watched};
use crate::process::{LineCount, Process, wait_until};
use crate::site::Site;

/// What is done to the pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Makes input, moments and victims equal in every run.
    pub seed: u64,
    /// `exactly_once` or `at_least_once`.
    pub delivery: &'static str,
    /// Processes that run the pipeline at once.
    pub workers: usize,
    /// Faults, one each.
    pub rounds: usize,
    /// Rows added in each.
    pub rows: usize,
    /// Longest time from the start of a round to its fault: short enough that there is work left.
    pub moment: Duration,
    /// What is done to workers.
    pub faults: Faults,
    /// Readers of committed records follow the outputs all the time, and rows are added while processes die. Else each
    /// round adds its rows first, and reads the outputs between the faults.
    pub beside: bool,
}

impl Plan {
    /// Seed and rounds from `MILLSTREAM_CRASH_SEED` and `MILLSTREAM_CRASH_ROUNDS`, where they are set. Says both.
    #[must_use]
    pub fn with_environment(mut self, test: &str) -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
        self.seed = number("MILLSTREAM_CRASH_SEED").unwrap_or(self.seed);
        self.rounds = number("MILLSTREAM_CRASH_ROUNDS").map_or(self.rounds, |n| n as usize);
        eprintln!("{test}: MILLSTREAM_CRASH_SEED={} MILLSTREAM_CRASH_ROUNDS={}", self.seed, self.rounds);
        self
    }
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// `kill -9` alone.
    Kills,
    /// A worker may also stand still for so long: longer than the session time-out makes a zombie of it.
    Both(Duration),
}

/// What happens to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// `kill -9`; started again at once, or only in the next round, when another has taken over.
    Kill { worker: usize, again_at_once: bool },
    /// `kill -9` of all at once, as when a machine goes.
    KillAll,
    /// Killed, started again, and killed within its first moments as an owner.
    KillTwice { worker: usize },
    /// Stopped until its partitions are another's, then let go on.
    Freeze { worker: usize, time: Duration },
}

/// For working off all input after the last fault, sessions of the dead included.
const WORK_OFF: Duration = Duration::from_secs(240);
/// For readers to see the end.
const CATCH_UP: Duration = Duration::from_secs(240);

/// Two at once would make each other's moments on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A crash test in progress.
pub struct Crash<'a> {
    _alone: MutexGuard<'static, ()>,
    site: &'a Site,
    names: Names,
    plan: Plan,
    pipeline: PathBuf,
    rng: Rng,
    workload: Workload,
    added: usize,
    workers: Vec<Option<Process>>,
    followers: Vec<(String, Process, LineCount)>,
    snapshots: Vec<Watched>,
    /// Rounds whose fault left work undone.
    interrupted: usize,
}

impl<'a> Crash<'a> {
    /// Makes the source topic and the pipeline's file; starts nothing.
    pub fn new(site: &'a Site, name: &str, plan: Plan) -> Self {
        let names = Names { pipeline: name.to_owned() };
        let pipeline = site.write("pipeline.yaml", &model::yaml(&names, plan.delivery));
        let mut crash = Self {
            _alone: ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner),
            site,
            rng: Rng::with_seed(plan.seed),
            workload: Workload::new(plan.seed),
            added: 0,
            workers: (0..plan.workers).map(|_| None).collect(),
            followers: Vec::new(),
            snapshots: Vec::new(),
            interrupted: 0,
            pipeline,
            names,
            plan,
        };
        crash.add_rows(0);
        crash
    }

    /// Names of its topics.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// All rounds.
    pub fn play(&mut self) {
        self.start_missing(0);
        if self.plan.beside {
            self.follow();
        }
        for round in 1..=self.plan.rounds {
            self.start_missing(round);
            let rows = self.workload.rows(self.plan.rows);
            self.added += rows.keyed.len() + rows.garbage.len();
            let source = self.names.source();
            if self.plan.beside {
                let site = self.site;
                std::thread::scope(|scope| {
                    scope.spawn(|| site.produce_rows(&source, &rows, round));
                    self.strike(round);
                });
            } else {
                self.site.produce_rows(&source, &rows, round);
                self.strike(round);
                self.look(round);
            }
        }
    }

    /// Kills what still runs, works off the rest, reads everything.
    ///
    /// # Panics
    /// When input was lost before any stage, or the rest is not worked off, or a second run finds more to do; and when
    /// the faults interrupted nothing, so that they prove nothing.
    pub fn finish(&mut self) -> (Expected, History) {
        let (rounds, interrupted) = (self.plan.rounds, self.interrupted);
        assert!(self.plan.beside || interrupted * 5 >= rounds, "{interrupted} of {rounds} faults left work undone");
        for worker in self.workers.iter_mut().flatten() {
            still_runs(worker);
            worker.kill();
        }
        self.site.until_idle("last", &self.pipeline, WORK_OFF);
        let again = self.site.until_idle("again", &self.pipeline, WORK_OFF);
        assert_eq!(read_by(&again), 0, "a second run found something to read: {again}");
        let input = self.site.read(&self.names.source());
        assert_eq!(input.len(), self.added, "the source topic has not the rows that were added");
        let expected = model::expect(&self.names, &input);
        let mut history = History { watched: std::mem::take(&mut self.snapshots), ..History::default() };
        for topic in self.names.outputs().into_iter().chain(self.names.letters()) {
            let records = self.site.read(&topic);
            history.topics.insert(topic, records);
        }
        history.topics.insert(self.names.source(), input);
        for (topic, mut process, mut lines) in self.followers.drain(..) {
            let all = history.of(&topic).len();
            wait_until(CATCH_UP, || lines.now() >= all);
            process.signal("INT");
            process.wait(CATCH_UP);
            let records = Seen::from_lines(&process.stdout()).unwrap_or_else(|e| panic!("{e}"));
            history.watched.push(Watched { reader: "the follower".into(), topic, records, to_the_end: true });
        }
        (expected, history)
    }

    fn add_rows(&mut self, step: usize) {
        let rows = self.workload.rows(self.plan.rows);
        self.added += rows.keyed.len() + rows.garbage.len();
        self.site.produce_rows(&self.names.source(), &rows, step);
    }

    /// Starts workers that a fault has ended. One that ended by itself is a failure.
    fn start_missing(&mut self, round: usize) {
        for at in 0..self.workers.len() {
            if let Some(worker) = &mut self.workers[at] {
                still_runs(worker);
            } else {
                self.start(at, round);
            }
        }
    }

    fn start(&mut self, at: usize, round: usize) {
        let name = format!("worker-{at}-{round}-{:04x}", self.rng.u16(..));
        self.workers[at] = Some(self.site.run(&name, &self.pipeline));
    }

    fn follow(&mut self) {
        for topic in [self.names.of("clean"), self.names.of("book")] {
            // The workers make the topics when they start.
            let process = (0..600).find_map(|_| {
                let mut process = self.site.follow(&topic);
                let gone = wait_until(Duration::from_millis(500), || process.ended().is_some());
                (!gone).then_some(process)
            });
            let process = process.unwrap_or_else(|| panic!("topic {topic} never came"));
            let lines = LineCount::of(&process);
            self.followers.push((topic, process, lines));
        }
    }

    fn strike(&mut self, round: usize) {
        let fault = self.fault(round);
        self.moment();
        eprintln!("round {round}: {fault:?}");
        match fault {
            Fault::Kill { worker, again_at_once } => {
                self.kill(worker);
                if again_at_once {
                    self.start(worker, round);
                }
            }
            Fault::KillAll => (0..self.workers.len()).for_each(|at| self.kill(at)),
            Fault::KillTwice { worker } => {
                self.kill(worker);
                self.start(worker, round);
                self.moment();
                self.kill(worker);
            }
            Fault::Freeze { worker, time } => {
                if let Some(process) = &mut self.workers[worker] {
                    process.signal("STOP");
                    // Time is the fault here: nothing is waited for.
                    wait_until(time, || false);
                    process.signal("CONT");
                }
            }
        }
    }

    /// The first rounds have one of each kind.
    fn fault(&mut self, round: usize) -> Fault {
        let worker = self.rng.usize(0..self.workers.len());
        let kind = if round <= 4 { [0, 9, 4, 6][round - 1] } else { self.rng.u8(0..10) };
        match (kind, self.plan.faults) {
            (8.., Faults::Both(time)) => Fault::Freeze { worker, time },
            (0..=3, _) => Fault::Kill { worker, again_at_once: self.rng.bool() },
            (4 | 5, _) => Fault::KillTwice { worker },
            (6.., _) => Fault::KillAll,
        }
    }

    fn kill(&mut self, at: usize) {
        if let Some(mut worker) = self.workers[at].take() {
            still_runs(&mut worker);
            worker.kill();
        }
    }

    /// A seeded moment of a running process: the time itself is what is tried.
    fn moment(&mut self) {
        let longest = self.plan.moment.as_millis() as u64;
        wait_until(Duration::from_millis(self.rng.u64(0..=longest)), || false);
    }

    /// Reads the outputs as the fault left them, or as the next owner goes on with them; what is seen must stay.
    fn look(&mut self, round: usize) {
        let expected = model::expect(&self.names, &self.site.read(&self.names.source()));
        let mut complete = true;
        for topic in self.names.outputs() {
            let records = self.site.read(&topic);
            complete &= records.len() >= expected.outputs[&topic].len();
            let reader = format!("the reader of round {round}");
            self.snapshots.push(Watched { reader, topic, records, to_the_end: false });
        }
        self.interrupted += usize::from(!complete);
    }
}

/// Records read by all stages of a summary.
fn read_by(summary: &Value) -> u64 {
    let stages = summary["pipelines"].as_array().into_iter().flatten().flat_map(|p| p["stages"].as_array()).flatten();
    stages.filter_map(|s| s["read"].as_u64()).sum()
}

fn still_runs(worker: &mut Process) {
    if let Some(status) = worker.ended() {
        panic!("a run ended by itself with {status}; it said last:\n{}", crate::process::tail(&worker.stderr()));
    }
}
