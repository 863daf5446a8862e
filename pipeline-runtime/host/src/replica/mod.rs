//! One replica of one stage: a thread that owns a member of the stage's group, an engine, and the filters.
//!
//! The loop: serve assignments and records, run what may run, write what is released, commit when it is due. The
//! engine decides; this module only carries out. Start at [`Replica::run`].

mod aborts;
mod assignment;
mod commit;
mod jobs;
mod keeping;
mod leveled;
mod parking;
mod replaying;
mod scan;
mod schemas;
mod trim;
mod work;

pub use parking::BREAKER_OPEN;
pub use trim::Ages;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_engine::{Engine, EngineConfig, Place};
use millstream_expr::ExprState;
use millstream_log::{
    Batch, Budget, Class, Event, Log, LogError, LogResult, Member, MemberConfig, Outgoing, TopicPartition,
};
use tokio::sync::oneshot;

use crate::calls::Calls;
use crate::chain::ComputeChain;
use crate::checkpoints::Checkpoints;
use crate::clock::Clock;
use crate::growth::Gate;
use crate::input::Input;
use crate::jobs::{Percent, Stopping};
use crate::outputs::{OutputWriter, Written};
use crate::plan::StagePlan;
use crate::shared::{InHand, ReplicaStatus, Stop};
use crate::singleton::Alone;

/// What a replica is told by the process.
#[derive(Clone)]
pub struct ReplicaContext {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The stage.
    pub plan: Arc<StagePlan>,
    /// Where calls run.
    pub runtime: tokio::runtime::Handle,
    /// Ends it.
    pub stop: Stop,
    /// While it is set nothing is read and nothing begun; what is begun ends and is committed.
    pub paused: Arc<AtomicBool>,
    /// Whether dead letters were sent back to the stage.
    pub retry_made: Arc<AtomicBool>,
    /// Which partitions may be begun.
    pub gate: Arc<Gate>,
    /// Jobs of which nothing more is done.
    pub(crate) stopping: Arc<Stopping>,
    /// Where it tells how it stands.
    pub status: Arc<ReplicaStatus>,
    /// `<process>.<replica>`: unique in the cluster.
    pub name: String,
    /// Static membership.
    pub instance: Option<String>,
    /// A position that retention has overtaken is passed over instead of stopping the stage.
    pub accept_gap: bool,
}

/// One replica while it is a member.
pub(crate) struct Replica {
    cx: ReplicaContext,
    member: Box<dyn Member>,
    engine: Engine<Input, Written>,
    runner: Runner,
    writer: OutputWriter,
    clock: Clock,
    /// Epoch of each (slot, input) owned now.
    epochs: BTreeMap<(u32, u16), u64>,
    /// Which were open when it joined.
    open: i32,
    /// Given to it and not begun: others have to be worked off first.
    unbegun: Vec<TopicPartition>,
    /// Slots that are being handed over.
    leaving: Vec<u32>,
    /// Since when.
    leaving_since: Option<Instant>,
    /// When it was last said that the log does not answer.
    complained: Option<Instant>,
    txn: Transaction,
    aborts: aborts::Aborts,
    trim: trim::Trim,
    parking: parking::Parking,
    at_end: replaying::AtEnd,
    /// What waits for its turn, of a stage with levels.
    leveled: Option<leveled::Leveled>,
    /// Of a singleton.
    alone: Option<Alone>,
    /// Slots that are assigned and not read yet.
    scans: Vec<scan::Scan>,
    /// What waits for schemas.
    unresolved: schemas::Unresolved,
    /// Which change of the jobs that are stopped was obeyed.
    stopped: u64,
    /// What its calls keep.
    kept: Checkpoints,
    /// Where what goes on tells how far its job has come.
    progress: Option<ExprState>,
    /// How far the call was that is just being concluded, where nobody was told yet.
    last_word: Option<Percent>,
    /// Records whose outputs the log refused: how often, and why.
    refused: HashMap<Place, (u32, String)>,
}

/// Why a replica has left its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It was told to stop.
    Stopped,
    /// It has other topics to read.
    ToJoinAgain,
}

/// How filters run.
enum Runner {
    Inline(ComputeChain),
    Calls(Box<Calls>),
}

/// What was sent since the last commit.
#[derive(Default)]
struct Transaction {
    /// Waiting to be handed to the member.
    outgoing: Vec<Outgoing>,
    /// The record each sent output came from, by its tag.
    origin: Vec<Place>,
    /// Dead letters for refused records in it.
    letters: Vec<Place>,
    /// Outputs to stages' topics, for the summary.
    outputs: u64,
    /// Since when it holds words of calls, which end no record.
    said: Option<Instant>,
    /// Partitions whose calls keep something by it.
    keeps: BTreeSet<u32>,
    /// Who waits until that is durable.
    waiting: Vec<oneshot::Sender<()>>,
}

/// Longest wait of a poll when nothing is due.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Nothing new for this long counts as a gap: what is finished is committed at once.
const IDLE_GAP: Duration = Duration::from_millis(2);
/// Work goes on at most this long before the log is polled again.
const WORK_SLICE: Duration = Duration::from_millis(20);

/// Between two polls of a log that does not answer, and between two lines about it.
const PAUSE: Duration = Duration::from_millis(50);
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

impl Replica {
    /// Joins the group.
    pub(crate) fn join(cx: ReplicaContext) -> LogResult<Self> {
        let plan = Arc::clone(&cx.plan);
        cx.gate.check()?;
        let open = cx.gate.open();
        // A stage that never sets a key aside has the topic only once a dead letter was sent back to it.
        // Neither has a replay: what fails there waits in its lane, as only the range can pile up behind it.
        let retries =
            plan.replay.is_none() && (plan.calls || plan.hold || cx.log.describe(&[&plan.retry])?[0].is_some());
        let inputs = plan.inputs.len() as u16;
        let side = plan.inputs[1..].iter().map(|i| &i.topic).chain(retries.then_some(&plan.retry));
        let member = cx.log.join(MemberConfig {
            group: plan.group.clone(),
            lead: plan.inputs[0].topic.to_string(),
            side: side.map(ToString::to_string).collect(),
            delivery: plan.delivery,
            name: cx.name.clone(),
            instance: cx.instance.clone(),
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 16 << 20,
        })?;
        cx.stop.on_stop(member.waker());
        cx.status.set_joined();
        let config = EngineConfig {
            max_metadata: member.max_metadata(),
            inputs: inputs + u16::from(retries),
            retry_input: retries.then_some(inputs),
            ..plan.engine.clone()
        };
        let runner = match ComputeChain::build(&plan.filters) {
            Some(chain) => Runner::Inline(chain),
            None => Runner::Calls(Box::new(Calls::new(&plan, cx.runtime.clone(), member.waker()))),
        };
        let mut engine = Engine::new(config, fastrand::u64(..));
        if plan.jobs.is_some() {
            engine.tell_duplicates();
        }
        Ok(Self {
            member,
            engine,
            runner,
            writer: OutputWriter::default(),
            clock: Clock::start(),
            epochs: BTreeMap::new(),
            open,
            unbegun: Vec::new(),
            leaving: Vec::new(),
            leaving_since: None,
            complained: None,
            txn: Transaction::default(),
            aborts: aborts::Aborts::default(),
            trim: trim::Trim::new(plan.engine.dedup.map_or(0, |d| d.window_ms)),
            parking: parking::Parking::new(retries.then_some(inputs)),
            at_end: replaying::AtEnd::new(),
            leveled: plan.priority.as_ref().map(leveled::Leveled::new),
            alone: plan.singleton.then(Alone::new),
            scans: Vec::new(),
            unresolved: schemas::Unresolved::new(&plan),
            stopped: 0,
            kept: Checkpoints::default(),
            progress: plan.jobs.as_ref().and_then(|jobs| jobs.progress.as_ref()).map(|_| ExprState::new()),
            last_word: None,
            refused: HashMap::new(),
            cx,
        })
    }

    /// Works until told to stop, or until the topics it reads are others; then drains, commits and leaves. An error says
    /// what the caller does next: join again (`Retry`, `Abort`, `Fenced`) or give the stage up.
    pub(crate) fn run(mut self) -> LogResult<Left> {
        self.ask_for_numbers();
        let mut batches = Vec::new();
        let mut left = Left::Stopped;
        while !self.cx.stop.draining() {
            self.cx.gate.check()?;
            let why = if self.must_join_again()? {
                "dead letters were sent back: joining again to read them"
            } else if self.cx.gate.open() > self.open {
                // A client of before may not know them yet.
                "partitions that were added may be read now: joining again"
            } else {
                self.turn(&mut batches)?;
                continue;
            };
            tracing::info!(stage = %self.cx.plan.group, "{why}");
            left = Left::ToJoinAgain;
            break;
        }
        let deadline = Instant::now() + self.cx.stop.drain_timeout();
        self.drain(deadline)?;
        self.member.leave(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(500)));
        Ok(left)
    }

    /// One turn of the loop.
    fn turn(&mut self, batches: &mut Vec<Batch>) -> LogResult<()> {
        let paused = self.cx.paused.load(Ordering::Relaxed);
        let waiting = self.poll(batches, paused)?;
        // The group was asked in this turn: what it has taken away is not begun.
        let paused = paused || !self.may_begin();
        self.scan_on()?;
        self.admit_resolved()?;
        let got = !batches.is_empty();
        for batch in batches.drain(..) {
            self.admit(batch)?;
        }
        self.collect_calls();
        self.tell_progress();
        self.cancel_overdue();
        self.cancel_stopped();
        let unfinished = if paused { false } else { self.work_on()? };
        self.send_released()?;
        let idle = waiting && !got && !unfinished;
        if self.engine.commit_due(self.clock.now(), idle) || self.said_due(idle) {
            self.commit()?;
        }
        self.finish_leaving()?;
        // Where no commit comes that would look for skipped copies, or what waits behind a hold has to be moved.
        if self.parking.input.is_some() && !self.engine.has_uncommitted() {
            self.reread()?;
        }
        self.pause_full()?;
        self.tell_breaker();
        self.tell_full();
        self.trim_state()?;
        self.trim_retry(false)?;
        self.cx.status.set_now(self.in_hand());
        let nothing_waits = self.leveled.as_ref().is_none_or(leveled::Leveled::is_empty) && self.unresolved.is_empty();
        self.cx.status.set_idle(
            idle && nothing_waits && self.engine.is_idle() && self.leaving.is_empty() && self.scans.is_empty(),
        );
        Ok(())
    }

    /// Polls the log for as long as nothing else is due, and serves its events. Whether it did wait.
    fn poll(&mut self, batches: &mut Vec<Batch>, paused: bool) -> LogResult<bool> {
        let timeout = self.poll_timeout(paused);
        let (records, bytes) = if paused { (0, 0) } else { self.engine.budget() };
        let budget = if self.unresolved.is_empty() {
            Budget { records, bytes }
        } else {
            let (waiting, of_bytes) = self.unresolved.held();
            Budget { records: records.saturating_sub(waiting), bytes: bytes.saturating_sub(of_bytes) }
        };
        let events = match self.member.poll(budget, timeout, batches) {
            Ok(events) => events,
            Err(e) if e.class == Class::Retry => {
                if self.complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    tracing::warn!(stage = %self.cx.plan.group, error = %e, "the log did not answer; trying again");
                    self.complained = Some(Instant::now());
                }
                self.cx.stop.wait(PAUSE);
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        for event in events {
            self.on_event(event)?;
        }
        Ok(!timeout.is_zero())
    }

    fn poll_timeout(&self, paused: bool) -> Duration {
        if (self.engine.has_ready() || self.leveled.as_ref().is_some_and(leveled::Leveled::more)) && !paused {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let due = match self.engine.next_deadline() {
            // A paused stage does not begin what has become due.
            Some(_) if paused => IDLE_POLL,
            Some(at) => Duration::from_millis(at.saturating_sub(now.mono_ms)).min(IDLE_POLL),
            None => IDLE_POLL,
        };
        let due = if self.scans.is_empty() { due } else { due.min(PAUSE) };
        let uncommitted = self.engine.has_uncommitted() || self.txn.said.is_some();
        if uncommitted { due.min(IDLE_GAP).max(Duration::from_millis(1)) } else { due }
    }

    fn on_event(&mut self, event: Event) -> LogResult<()> {
        match event {
            Event::Assigned(assignments) => self.on_assigned(assignments),
            Event::Revoking(partitions) => self.on_revoking(&partitions),
            Event::Lost(partitions) => self.on_lost(&partitions),
            Event::BrokerAway(true, why) => {
                tracing::warn!(stage = %self.cx.plan.group, "no broker answers ({why}); going on as soon as one does");
                Ok(())
            }
            Event::BrokerAway(false, _) => {
                tracing::info!(stage = %self.cx.plan.group, "a broker answers again");
                Ok(())
            }
        }
    }

    fn in_hand(&self) -> InHand {
        let (in_flight, retrying) = self.engine.held();
        let (parked, held) = self.engine.waiting_len();
        InHand { in_flight: in_flight as u64, retrying: retrying as u64, parked: parked as u64, held: held as u64 }
    }

    /// The topics it reads, in the order of their numbers; that of its copies is the last.
    fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        let plan = &self.cx.plan;
        plan.inputs.iter().map(|i| &i.topic).chain(self.parking.input.map(|_| &plan.retry))
    }

    /// Which input a topic is.
    fn input_of(&self, topic: &str) -> Option<u16> {
        self.topics().position(|t| **t == *topic).map(|i| i as u16)
    }

    /// The topic of an input.
    fn topic_of(&self, input: u16) -> &Arc<str> {
        self.cx.plan.inputs.get(usize::from(input)).map_or(&self.cx.plan.retry, |i| &i.topic)
    }
}

/// An error of a kind that only a person can mend. Whose it is, the supervisor says.
fn stopped(code: &'static str, message: String) -> LogError {
    LogError::new(Class::Config, code, message)
}
