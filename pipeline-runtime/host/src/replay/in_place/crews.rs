//! A running process obeys: the replicas of replays, beside those of the live stages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_log::{Log, LogResult};
use millstream_spec::model::Pipeline;

use super::order::{Replay, ReplayState, running};
use super::progress::{clear, progress};
use crate::aside;
use crate::clock::wall_ms;
use crate::control::{Control, Orders, Trouble};
use crate::crew::{Crew, Recruit};
use crate::plan::StagePlan;
use crate::shared::Stop;

/// Between two looks whether a replay is at its end, and between two tries to clear one away.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A run that ends when it is idle waits for so many tries to clear a replay away. Others go on trying, at times: a
/// member that was killed is one until its session is over.
const TRIES: u32 = 20;
const LATER: Duration = Duration::from_secs(10);

/// The replays of one pipeline here.
#[derive(Default)]
pub(crate) struct Replays<'a> {
    /// By stage. One that has ended stays until its replicas are gone.
    runs: Mutex<BTreeMap<String, Run<'a>>>,
    /// Something is left to be done, as of the last round.
    busy: AtomicBool,
    /// Counts of a replay that has ended here did not add up.
    unbalanced: AtomicBool,
    clearing: Mutex<Clearing>,
}

/// One replay of one stage here.
struct Run<'a> {
    replay: Replay,
    crew: Arc<Crew<'a>>,
    plan: Arc<StagePlan>,
    looked: Instant,
    /// Its end is written; the order to stop comes back from the control topic.
    ended: bool,
}

#[derive(Default)]
struct Clearing {
    /// By id: how often it was tried, and when last.
    tries: BTreeMap<String, (u32, Instant)>,
    /// Of these nothing comes.
    given_up: BTreeSet<String>,
}

/// Starts one replica of a replay.
type StartReplica<'s, 'a> = dyn Fn(Arc<Crew<'a>>, &Arc<StagePlan>, Recruit) + 's;

/// What a round is about.
pub(crate) struct Round<'r, 'a> {
    /// The log.
    pub log: &'r Arc<dyn Log>,
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Its stages here, each with how it is run live.
    pub stages: &'r [(&'r Crew<'a>, &'r Arc<StagePlan>)],
    /// What holds.
    pub orders: &'r Orders,
    /// Ends the run.
    pub stop: &'r Stop,
}

impl<'a> Replays<'a> {
    /// Starts and ends replicas as ordered, ends replays that are at their ends, and clears away what has ended. `start`
    /// starts one replica.
    pub fn reconcile(&self, round: &Round<'_, 'a>, start: &StartReplica<'_, 'a>) {
        let mut runs = lock(&self.runs);
        for (live, plan) in round.stages {
            let stage = &live.stage.name;
            let order = running(&round.orders.replays, stage);
            if let Some(run) = runs.get(stage)
                && order.is_none_or(|order| order.id != run.replay.id)
            {
                run.crew.reconcile(0, round.stop);
                if !run.crew.gone() {
                    continue;
                }
                self.is_over(run);
                runs.remove(stage);
            }
            let Some(order) = order else { continue };
            let run = runs.entry(stage.clone()).or_insert_with(|| Run::new(order, live, plan));
            if !run.ended {
                run.go_on(round, live, start);
            }
        }
        let left = self.clear(round, &runs);
        let ordered = |(live, _): &(&Crew<'_>, _)| running(&round.orders.replays, &live.stage.name).is_some();
        self.busy.store(left || !runs.is_empty() || round.stages.iter().any(ordered), Ordering::Release);
    }

    /// Whether a replay of a stage here is not over.
    pub fn busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Whether every record that a replay has read here ended once.
    pub fn balanced(&self) -> bool {
        !self.unbalanced.load(Ordering::Acquire)
    }

    /// Whether all its replicas are gone.
    pub fn gone(&self) -> bool {
        lock(&self.runs).values().all(|run| run.crew.gone())
    }

    /// What went wrong with the replay of a stage here.
    pub fn trouble(&self, stage: &str) -> Option<Trouble> {
        let runs = lock(&self.runs);
        let run = runs.get(stage)?;
        let trouble = run.crew.report().trouble?;
        Some(Trouble { message: format!("replay {}: {}", run.replay.id, trouble.message), ..trouble })
    }

    fn is_over(&self, run: &Run<'_>) {
        let totals = run.crew.totals();
        if !totals.balanced() {
            self.unbalanced.store(true, Ordering::Release);
        }
        tracing::info!(stage = %run.crew.stage.group, replay = %run.replay.id, read = totals.read,
            forwarded = totals.forwarded, dropped = totals.dropped.values().sum::<u64>(),
            duplicates = totals.duplicates, dead_lettered = totals.dead_lettered, "the replay has ended here");
    }

    /// Deletes what replays needed that have ended. Whether something is left that is worth waiting for.
    fn clear(&self, round: &Round<'_, 'a>, runs: &BTreeMap<String, Run<'a>>) -> bool {
        let here = |stage: &str| round.stages.iter().any(|(live, _)| live.stage.name == stage);
        let has_ended = |r: &&Replay| r.state != ReplayState::Running && !r.cleared && here(&r.stage);
        let mut clearing = lock(&self.clearing);
        let mut left = false;
        for replay in round.orders.replays.iter().filter(has_ended) {
            let works = runs.values().any(|run| run.replay.id == replay.id);
            if clearing.given_up.contains(&replay.id) {
                continue;
            }
            let (tries, last) = clearing.tries.get(&replay.id).map_or((0, None), |(tries, at)| (*tries, Some(*at)));
            let pause = if tries < TRIES { LOOK_EVERY } else { LATER };
            if !works && !round.stop.draining() && last.is_none_or(|at| at.elapsed() >= pause) {
                clearing.tries.insert(replay.id.clone(), (tries + 1, Instant::now()));
                let (log, name, of) = (Arc::clone(round.log), round.pipeline.name.clone(), replay.clone());
                if let Err(error) = aside::ask(round.stop, move || clear(&*log, &name, &of)) {
                    tracing::warn!(replay = %replay.id, %error, "what a replay needed cannot be cleared away");
                    clearing.given_up.insert(replay.id.clone());
                }
            }
            left |= works || tries < TRIES;
        }
        left
    }
}

impl<'a> Run<'a> {
    fn new(replay: &Replay, live: &Crew<'a>, plan: &Arc<StagePlan>) -> Self {
        tracing::info!(stage = %live.stage.group, replay = %replay.id, from = %replay.from, to = %replay.to,
            "replaying by order");
        Self {
            plan: Arc::new(plan.of_replay(replay)),
            crew: Arc::new(Crew::of_replay(live.stage)),
            replay: replay.clone(),
            looked: Instant::now(),
            ended: false,
        }
    }

    fn go_on(&mut self, round: &Round<'_, 'a>, live: &Crew<'a>, start: &StartReplica<'_, 'a>) {
        if let Some(why) = self.does_not_fit() {
            return self.end(round, ReplayState::Failed, Some(why));
        }
        self.crew.paused.store(round.orders.paused.contains(&self.replay.stage), Ordering::Release);
        for recruit in self.crew.reconcile(live.wanted(), round.stop) {
            start(Arc::clone(&self.crew), &self.plan, recruit);
        }
        if let Some(why) = self.crew.why_gave_up() {
            return self.end(round, ReplayState::Failed, Some(why));
        }
        if self.looked.elapsed() >= LOOK_EVERY && self.crew.quiet() && !round.stop.draining() {
            self.looked = Instant::now();
            match self.ask(round, progress) {
                Ok(Some(now)) if now.complete() => self.end(round, ReplayState::Done, None),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "cannot tell how far the replay is"),
            }
        }
    }

    /// The order names what the stage read then.
    fn does_not_fit(&self) -> Option<String> {
        if self.plan.singleton {
            return Some("the stage is a singleton, of which one replica works at a time".to_owned());
        }
        let now = self.plan.inputs.iter().map(|i| &*i.topic);
        let ordered = self.replay.inputs.iter();
        if !now.eq(ordered.clone().map(|i| i.topic.as_str())) {
            return Some("the stage reads other topics than when it was ordered".to_owned());
        }
        let fits = ordered.clone().all(|i| i.ranges.len() as i32 == self.plan.partitions);
        (!fits).then(|| "the stage's input has another number of partitions than when it was ordered".to_owned())
    }

    /// Writes its end. What cannot be written now is in the next round.
    fn end(&mut self, round: &Round<'_, 'a>, state: ReplayState, reason: Option<String>) {
        let pipeline = round.pipeline.name.clone();
        let written = self.ask(round, move |log, group, replay| {
            // How far it is says nothing that matters where the log does not tell it.
            let done = progress(log, group, replay).map_or(0, |p| p.done);
            Control::of(log, &pipeline).put(vec![replay.end(state, done, reason, wall_ms()).change()?])
        });
        match written {
            Ok(Some(())) => self.ended = true,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the end of a replay cannot be written; trying again"),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        round: &Round<'_, 'a>,
        question: impl FnOnce(&dyn Log, &str, &Replay) -> LogResult<T> + Send + 'static,
    ) -> LogResult<Option<T>> {
        let (log, group, replay) = (Arc::clone(round.log), self.crew.stage.group.clone(), self.replay.clone());
        aside::ask(round.stop, move || question(&*log, &group, &replay))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
