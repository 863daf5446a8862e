//! One pipeline while it runs in this process: its topics, the replicas of its stages, its sources.
//!
//! Start reading at [`Running::run`]. The thread that starts it all then listens to the control topic, keeps as many
//! replicas as are wanted, and reports how they stand.

mod beside;
mod standing;

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogError, LogResult};
use millstream_spec::model::{Pipeline, Source, Stage};

use crate::aside;
use crate::backoff::Backoff;
use crate::changes::{self, Fingerprint};
use crate::clock::wall_ms;
use crate::control::{Entries, Listener, Orders, Reporter};
use crate::crew::{Crew, Recruit};
use crate::growth::Watch;
use crate::intake::{self, IntakeContext, Served};
use crate::jobs::{JobsPlan, Stopping};
use crate::letters::announce;
use crate::plan::StagePlan;
use crate::reason::Reason;
use crate::replay::in_place::{Replays, Round};
use crate::replica::{Left, Replica, ReplicaContext};
use crate::run::RunOptions;
use crate::shared::{ReplicaStatus, Stop};
use crate::singleton;
use crate::source::alive::{self, Touch};
use crate::source::{self, SourceContext};
use crate::topics::{self, Partitions, Prepared, Wishes};
use crate::{trigger, waiting};

/// Between two looks at the replicas; an order ends the wait early.
const LOOK: Duration = Duration::from_millis(200);

/// What every thread of the process is given.
#[derive(Clone)]
pub struct Process {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Unique in the cluster.
    pub id: String,
    /// Where calls run.
    pub runtime: tokio::runtime::Handle,
}

/// One pipeline while it runs.
pub struct Running<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// One per stage that runs here.
    pub crews: Vec<Crew<'a>>,
    /// Replays of these stages.
    replays: Replays<'a>,
    /// Jobs of which nothing more is done.
    stopping: Arc<Stopping>,
    /// Whether its sources are run.
    feed: bool,
    /// Where what others push is taken in.
    served: Option<Served>,
    /// Of the control topic, as they were heard last.
    entries: Mutex<Entries>,
    /// Its topics are there and its threads are started.
    started: AtomicBool,
    /// It never began, and never will.
    ended: AtomicBool,
    /// The log was asked for the topics once, and has answered or was given up on.
    asked: AtomicBool,
    /// Sources that run here and have given up.
    dry: AtomicUsize,
    /// Why threads gave up.
    failed: Mutex<Vec<Reason>>,
}

impl<'a> Running<'a> {
    /// The stages of a pipeline that `options` leave to this process.
    pub fn new(pipeline: &'a Pipeline, options: &RunOptions) -> Self {
        let here = |stage: &str| {
            options.stages.as_ref().is_none_or(|names| names.contains(&format!("{}.{stage}", pipeline.name)))
        };
        Self {
            pipeline,
            crews: pipeline.stages.iter().filter(|s| here(&s.name)).map(Crew::new).collect(),
            replays: Replays::default(),
            stopping: Arc::default(),
            feed: options.feed,
            served: options.served.clone(),
            entries: Mutex::default(),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            dry: AtomicUsize::new(0),
            failed: Mutex::new(Vec::new()),
        }
    }

    /// Makes the topics, starts every thread of the pipeline, and obeys orders until told to stop.
    pub fn run<'s>(&'s self, scope: &'s Scope<'s, '_>, process: &Process, options: &'s RunOptions) {
        let began = self.prepare(&process.log, options).and_then(|topics| {
            let Some(topics) = topics else { return Ok(None) };
            // Before the first replica starts: a stage that is paused reads nothing after a restart either.
            Ok(self.listen(&*process.log, options)?.map(|listening| (topics, listening)))
        });
        match began {
            Ok(Some((topics, (listener, orders)))) => self.conduct(scope, process, options, topics, listener, orders),
            Ok(None) => {}
            Err(e) => self.fail("", &e),
        }
        self.ended.store(true, Ordering::Release);
    }

    fn conduct<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        process: &Process,
        options: &'s RunOptions,
        topics: Partitions,
        mut listener: Listener<'_>,
        mut orders: Orders,
    ) {
        let plans: Vec<Arc<StagePlan>> =
            self.crews.iter().map(|crew| Arc::new(StagePlan::new(self.pipeline, crew.stage, &topics))).collect();
        let reconcile = |orders: &Orders| {
            self.stopping.set(orders.stopped.iter());
            for (crew, plan) in self.crews.iter().zip(&plans) {
                let held = orders.held_by_replay(&crew.stage.name);
                crew.held_by_replay.store(held, Ordering::Release);
                let paused = held || orders.paused.contains(&crew.stage.name);
                if crew.paused.swap(paused, Ordering::AcqRel) != paused {
                    let what = if paused { "paused by order" } else { "goes on by order" };
                    tracing::info!(stage = %crew.stage.group, "{what}");
                }
                crew.retry_made.store(orders.retry.contains(&crew.stage.name), Ordering::Release);
                let wanted = crew.may_have(orders.wanted(&crew.stage.name, crew.stage.replicas));
                if crew.wanted() != wanted {
                    tracing::info!(stage = %crew.stage.group, replicas = wanted, "scaled by order");
                }
                for recruit in crew.reconcile(wanted, &options.stop) {
                    self.start_replica(scope, process, options, crew, plan, recruit);
                }
            }
            let stages: Vec<_> = self.crews.iter().zip(&plans).collect();
            let round =
                Round { log: &process.log, pipeline: self.pipeline, stages: &stages, orders, stop: &options.stop };
            self.replays.reconcile(&round, &|crew, plan, recruit| {
                self.start_replica(scope, process, options, crew, plan, recruit);
            });
        };
        // Its gates before its replicas.
        *lock(&self.entries) = listener.entries().clone();
        let stages = self.crews.iter().map(|crew| (crew.stage, Arc::clone(&crew.gate))).collect();
        match Watch::new(Arc::clone(&process.log), self.pipeline, stages, &topics, listener.entries()) {
            Ok(watch) => self.start_watch(scope, options, watch),
            Err(e) => return self.fail("", &e),
        }
        reconcile(&orders);
        // Before its sources: what they give came due when this process had begun, by what it reports.
        let mut reporter = Reporter::new(&*process.log, &self.pipeline.name, &process.id, listener.entries());
        for source in self.sources() {
            self.start_source(scope, process, options, &topics, source, listener.next());
        }
        self.start_keeper(scope, process, options, &topics);
        self.start_ledger(scope, process, options, &topics);
        self.start_replies(scope, process, options);
        self.start_view(scope, process, options);
        self.start_desk(scope, process, options);
        self.started.store(true, Ordering::Release);
        let mut moves = false;
        while !options.stop.draining() {
            match listener.listen(LOOK, &options.stop) {
                Ok(Some(heard)) => {
                    orders = heard;
                    *lock(&self.entries) = listener.entries().clone();
                }
                Ok(None) => {}
                Err(e) => self.crews.iter().for_each(|crew| crew.note(format!("an order is not obeyed: {e}"), false)),
            }
            reconcile(&orders);
            if !moves && trigger::announced(listener.entries()) {
                self.start_mover(scope, process, options);
                moves = true;
            }
            let stages = self.crews.iter().map(|crew| (crew.stage.name.clone(), self.report(crew))).collect();
            reporter.report(stages, listener.entries());
        }
        // The replicas have this long to drain; then nobody waits for a last word.
        let deadline = Instant::now() + options.stop.drain_timeout();
        while !self.gone() && !options.stop.aborted() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !options.stop.aborted() && Instant::now() < deadline {
            reporter.leave(deadline);
        }
    }

    fn start_replica<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        process: &Process,
        options: &'s RunOptions,
        crew: impl Deref<Target = Crew<'a>> + Send + 's,
        plan: &Arc<StagePlan>,
        recruit: Recruit,
    ) {
        let Recruit { number, status, stop } = recruit;
        let cx = ReplicaContext {
            log: Arc::clone(&process.log),
            plan: Arc::clone(plan),
            runtime: process.runtime.clone(),
            stop: stop.clone(),
            paused: Arc::clone(&crew.paused),
            retry_made: Arc::clone(&crew.retry_made),
            gate: Arc::clone(&crew.gate),
            stopping: Arc::clone(&self.stopping),
            status: Arc::clone(&status),
            // A replay's group shall be empty when it is over.
            instance: options.instance.as_ref().filter(|_| !crew.of_replay).map(|name| format!("{name}.{number}")),
            name: format!("{}.{number}", process.id),
            accept_gap: options.accept_gap,
        };
        scope.spawn(move || {
            let what = format!("stage `{}`", crew.stage.name);
            let ended = self.supervise(&what, &stop, Some(&*crew), || {
                // Also after a panic: what the member had committed stays counted.
                let _close = Closing(&status);
                if cx.plan.meets.is_some() {
                    return waiting::run(&cx);
                }
                if cx.plan.singleton { singleton::run(&cx, work) } else { work(cx.clone()) }
            });
            crew.ended(number, ended == Ended::GaveUp);
        });
    }

    fn start_source<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        process: &Process,
        options: &'s RunOptions,
        topics: &Partitions,
        source: &'a Source,
        heard: i64,
    ) {
        let cx = SourceContext {
            log: Arc::clone(&process.log),
            stop: options.stop.clone(),
            name: format!("{}.source", process.id),
            instance: options.instance.as_ref().map(|name| format!("{name}.source")),
            partitions: topics.of(&source.topic),
            jobs: JobsPlan::of_source(self.pipeline, topics),
            makers: Arc::clone(&options.makers),
            runtime: process.runtime.clone(),
        };
        let since = wall_ms();
        let (touch, id) = (Touch::new(since), process.id.clone());
        let reads = |stage: &&Stage| stage.inputs.iter().any(|input| input.topic == source.topic);
        let readers: Vec<&str> = self.pipeline.stages.iter().filter(reads).map(|s| s.name.as_str()).collect();
        let taking_in = options.served.clone().filter(|_| source.http().is_some()).map(|served| IntakeContext {
            log: Arc::clone(&process.log),
            stop: options.stop.clone(),
            partitions: topics.of(&source.topic),
            id_partitions: source.ids_topic().map_or(1, |ids| topics.of(&ids)),
            served,
            jobs: cx.jobs.clone(),
        });
        scope.spawn(move || {
            let what = if source.named { format!("source `{}`", source.name) } else { "the source".to_owned() };
            let ended = self.supervise(&what, &options.stop, None, || match &taking_in {
                Some(cx) => intake::run(cx, self.pipeline, source),
                // Nobody serves it here.
                None if source.http().is_some() => Ok(()),
                None => source::run(&cx, self.pipeline, source, &touch, &|| {
                    alive::signs(&lock(&self.entries), &id, &readers, (heard, since))
                }),
            });
            if ended == Ended::GaveUp {
                self.dry.fetch_add(1, Ordering::AcqRel);
            }
        });
    }

    /// Looks after partitions that are added, on a thread of its own: a log that is away must not hold up orders.
    fn start_watch<'s>(&'s self, scope: &'s Scope<'s, '_>, options: &'s RunOptions, watch: Watch<'s>) {
        let entries = || lock(&self.entries).clone();
        scope.spawn(move || watch.run(&self.pipeline.name, &options.stop, entries));
    }

    /// The sources that make records here: where a stage runs that reads them.
    fn sources(&self) -> Vec<&'a Source> {
        self.read_here().filter(|source| self.feed && source.writes()).collect()
    }

    fn read_here(&self) -> impl Iterator<Item = &'a Source> {
        let here = |n: usize| self.crews.iter().any(|crew| crew.stage.inputs.iter().any(|i| i.source == Some(n)));
        self.pipeline.sources.iter().enumerate().filter(move |(n, _)| here(*n)).map(|(_, source)| source)
    }

    /// Whether nothing new comes from any source, as all that are read here have given up.
    fn dry(&self) -> bool {
        let dry = self.dry.load(Ordering::Acquire);
        dry > 0 && dry == self.read_here().count()
    }

    /// Waits until the log answers and the sources' topics are there. `None` when told to stop before.
    fn prepare(&self, log: &Arc<dyn Log>, options: &RunOptions) -> LogResult<Option<Partitions>> {
        let mut backoff = Backoff::new();
        let mut said = String::new();
        let mut begun = None;
        while !options.stop.draining() {
            let prepared = match self.reach(log, &options.stop) {
                Ok(true) => self.begin(&**log, options, &mut begun),
                Ok(false) => return Ok(None),
                Err(e) => Err(e),
            };
            self.asked.store(true, Ordering::Release);
            let why = match prepared {
                Ok(Prepared::Ready(topics)) => return Ok(Some(topics)),
                Ok(Prepared::Missing(topics)) => {
                    let it = if topics.len() == 1 { "it" } else { "them" };
                    format!("{}; waiting for {it} (`--create-source` makes {it})", topics::missing(&**log, &topics))
                }
                Err(e) if e.class == Class::Retry => format!("{}: {e}; trying again", log.name()),
                Err(e) => return Err(e),
            };
            self.say_once(&why, &mut said);
            backoff.wait(&options.stop);
        }
        Ok(None)
    }

    /// Makes the topics, unless the pipeline was changed so that a person must agree first; and notes what runs now.
    fn begin(
        &self,
        log: &dyn Log,
        options: &RunOptions,
        begun: &mut Option<Option<Fingerprint>>,
    ) -> LogResult<Prepared> {
        let before = match begun {
            Some(before) => before,
            None => begun.insert(changes::begin(log, self.pipeline, options.apply, &options.stop)?),
        };
        let wishes = Wishes { create_source: options.create_source, before: before.as_ref(), repartition: false };
        let prepared = topics::prepare(log, self.pipeline, wishes)?;
        if let Prepared::Ready(topics) = &prepared {
            changes::note(log, self.pipeline, topics)?;
        }
        Ok(prepared)
    }

    /// Whether the log answers at all: a client whose brokers are away comes back from a question after many seconds.
    /// `false` when told to stop before.
    fn reach(&self, log: &Arc<dyn Log>, stop: &Stop) -> LogResult<bool> {
        let (log, topic) = (Arc::clone(log), self.pipeline.sources[0].topic.clone());
        Ok(aside::ask(stop, move || log.describe(&[&topic]).map(drop))?.is_some())
    }

    /// Reads the orders that hold. `None` when told to stop before.
    fn listen<'l>(&self, log: &'l dyn Log, options: &RunOptions) -> LogResult<Option<(Listener<'l>, Orders)>> {
        let mut backoff = Backoff::new();
        let mut said = String::new();
        while !options.stop.draining() {
            let stages = self.crews.iter().map(|crew| crew.stage);
            let listening = Listener::start(log, &self.pipeline.name, &options.stop)
                .and_then(|heard| announce(log, self.pipeline, stages, heard.as_ref().map(|(_, o)| o)).map(|()| heard));
            match listening {
                Ok(listening) => return Ok(listening),
                Err(e) if e.class == Class::Retry => {
                    self.say_once(&format!("{}: {e}; trying again", log.name()), &mut said);
                }
                Err(e) => return Err(e),
            }
            backoff.wait(&options.stop);
        }
        Ok(None)
    }

    fn say_once(&self, why: &str, said: &mut String) {
        if why != said {
            tracing::warn!(pipeline = %self.pipeline.name, "{why}");
            why.clone_into(said);
        }
    }

    /// Does `body` again, with backoff, until it ends cleanly or an error says that a person must act.
    fn supervise(&self, what: &str, stop: &Stop, crew: Option<&Crew<'_>>, body: impl Fn() -> LogResult<()>) -> Ended {
        let note = |message: String, gave_up| {
            if let Some(crew) = crew {
                crew.note(message, gave_up);
            }
        };
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            match catch_unwind(AssertUnwindSafe(&body)) {
                Ok(Ok(())) => return Ended::Left,
                Ok(Err(e)) if is_final(&e) => {
                    note(e.to_string(), true);
                    if crew.is_some_and(|crew| crew.of_replay) {
                        tracing::error!(pipeline = %self.pipeline.name, what, error = %e, "a replay fails");
                    } else {
                        self.fail(&format!("{what}: "), &e);
                    }
                    return Ended::GaveUp;
                }
                Ok(Err(e)) => {
                    tracing::warn!(pipeline = %self.pipeline.name, what, error = %e, "starting again");
                    note(e.to_string(), false);
                }
                Err(_) => {
                    tracing::error!(pipeline = %self.pipeline.name, what, "a bug: the thread panicked; starting again");
                    note("a bug: the thread panicked".to_owned(), false);
                }
            }
            // What has worked for a while gets quick restarts again.
            if began.elapsed() > Duration::from_secs(60) {
                backoff = Backoff::new();
            }
            if stop.draining() || backoff.wait(stop) {
                return Ended::Left;
            }
        }
    }

    /// The same fault of the same part is one reason, in however many partitions it is met. `part` ends with `: `.
    fn fail(&self, part: &str, error: &LogError) {
        let mut failed = lock(&self.failed);
        if let Some(known) = failed.iter_mut().find(|r| r.part == part && r.code == error.code) {
            known.more += 1;
            tracing::debug!(pipeline = %self.pipeline.name, %part, %error, "another replica gave up for the same reason");
            return;
        }
        let text = format!("pipeline `{}`: {part}{error}", self.pipeline.name);
        tracing::error!("{text}");
        failed.push(Reason { part: part.to_owned(), code: error.code, text, more: 0 });
    }
}

/// One replica, as often as it has to join anew.
fn work(cx: ReplicaContext) -> LogResult<()> {
    // An order of its own for each member, so that what one leaves behind goes with it.
    while Replica::join(ReplicaContext { stop: cx.stop.child(), ..cx.clone() })?.run()? == Left::ToJoinAgain {
        cx.status.close();
    }
    Ok(())
}

/// How a supervised thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Left,
    GaveUp,
}

/// Whether only a person can mend it.
fn is_final(error: &LogError) -> bool {
    matches!(error.class, Class::Config | Class::Denied | Class::Fatal)
}

struct Closing<'a>(&'a ReplicaStatus);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
