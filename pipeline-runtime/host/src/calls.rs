//! Filters that call out: each record's chain is a tokio task, its answer comes back to the replica's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_engine::{Place, Ticket};
use millstream_filter_api::{CallContext, Failure, Keeper, Record};
use millstream_log::Waker;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::chain::{CallChain, Ended, Ran};
use crate::ids;
use crate::input::Input;
use crate::jobs::Percent;
use crate::keeping::{AttemptKeeper, Latest, Said};
use crate::plan::StagePlan;

/// The calls in flight of one replica. How many there may be is the engine's decision.
pub struct Calls {
    runtime: Handle,
    chain: Arc<CallChain>,
    timeout: Duration,
    scope: (String, String),
    /// Whether anybody wants to know how far calls are.
    reports: bool,
    said: Receiver<Said>,
    say: Sender<Said>,
    /// Those that have said how far they are, and were not heard yet.
    reporting: Vec<Ticket>,
    flying: HashMap<Ticket, Flying>,
    ended: Receiver<(Ticket, Ran)>,
    end: Sender<(Ticket, Ran)>,
    waker: Waker,
}

struct Flying {
    place: Place,
    input: Input,
    task: AbortHandle,
    latest: Option<Arc<Latest>>,
    /// What was told of it last, and when.
    told: Option<(Percent, Instant)>,
}

/// Between two words of a call about how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What a call begins with.
pub struct Starting {
    /// The attempt.
    pub ticket: Ticket,
    /// Where its record came from.
    pub place: Place,
    /// Its record as read.
    pub input: Input,
    /// The same for the chain.
    pub record: Record,
    /// Counted from 1.
    pub attempt: u32,
}

/// One call that has ended.
pub struct Answer {
    /// The attempt.
    pub ticket: Ticket,
    /// Where its record came from.
    pub place: Place,
    /// Its record as read.
    pub input: Input,
    /// What became of it.
    pub ended: Ended,
    /// Whether what it called has answered.
    pub answered: bool,
    /// How far it was, where nobody has been told yet.
    pub percent: Option<Percent>,
}

impl Calls {
    /// For one replica; `waker` ends its poll when a call has ended.
    pub fn new(plan: &StagePlan, runtime: Handle, waker: Waker) -> Self {
        let (end, ended) = channel();
        let (say, said) = channel();
        Self {
            runtime,
            chain: Arc::new(CallChain::build(&plan.filters)),
            timeout: plan.timeout,
            scope: (plan.pipeline.clone(), plan.stage.clone()),
            // What is replayed has been told of, and what is undone is another matter.
            reports: plan.jobs.is_some() && plan.replay.is_none() && !plan.compensates,
            said,
            say,
            reporting: Vec::new(),
            flying: HashMap::new(),
            ended,
            end,
            waker,
        }
    }

    /// Starts the chain on a record. `before`: what calls for it have kept.
    pub fn start(&mut self, work: Starting, before: Vec<(Arc<str>, Bytes)>) {
        let Starting { ticket, place, input, record, attempt } = work;
        let latest = self.reports.then(|| Arc::new(Latest::new()));
        let (said, waker) = (self.say.clone(), Arc::clone(&self.waker));
        let keeper = AttemptKeeper { ticket, before, latest: latest.clone(), said, waker };
        let cx = CallContext::new(self.call_id(&input), attempt).with_keeper(Arc::new(keeper) as Arc<dyn Keeper>);
        let (chain, end, waker) = (Arc::clone(&self.chain), self.end.clone(), Arc::clone(&self.waker));
        let timeout = self.timeout;
        let task = self.runtime.spawn(async move {
            let ended = match tokio::time::timeout(timeout, chain.run(record, cx)).await {
                Ok(ran) => ran,
                Err(_) => Ran { ended: Ended::Failed(usize::MAX, Box::new(timed_out(timeout))), answered: false },
            };
            // Nobody listens any more when the replica is gone; then nobody needs the answer.
            if end.send((ticket, ended)).is_ok() {
                waker();
            }
        });
        self.flying.insert(ticket, Flying { place, input, task: task.abort_handle(), latest, told: None });
    }

    /// The calls that have ended since the last time, and before them what calls have said: a call says nothing after its
    /// end. Who says it stays in flight until the answers are [taken](Self::land).
    pub fn collect(&mut self) -> (Vec<Said>, Vec<(Ticket, Ran)>) {
        let ended = self.ended.try_iter().collect();
        (self.said.try_iter().collect(), ended)
    }

    /// A call that has ended; `None` if nobody wants its answer any more.
    pub fn land(&mut self, ticket: Ticket, ran: Ran) -> Option<Answer> {
        let Flying { place, input, latest, .. } = self.flying.remove(&ticket)?;
        let percent = latest.and_then(|latest| latest.take());
        Some(Answer { ticket, place, input, ended: ran.ended, answered: ran.answered, percent })
    }

    /// The record of a call in flight.
    pub fn get(&self, ticket: Ticket) -> Option<(Place, &Input)> {
        self.flying.get(&ticket).map(|flying| (flying.place, &flying.input))
    }

    /// The calls in flight for records of these slots.
    pub fn of_slots(&self, slots: &[u32]) -> impl Iterator<Item = (Place, &Input)> {
        self.flying.values().filter(|flying| slots.contains(&flying.place.slot)).map(|f| (f.place, &f.input))
    }

    /// A call has said how far it is.
    pub fn reported(&mut self, ticket: Ticket) {
        self.reporting.push(ticket);
    }

    /// How far calls are that have said so, each at most about once a second.
    pub fn reports(&mut self) -> Vec<(Place, &Input, Percent)> {
        if self.reporting.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let mut due = Vec::new();
        for ticket in std::mem::take(&mut self.reporting) {
            let Some(flying) = self.flying.get_mut(&ticket) else { continue };
            if flying.told.is_some_and(|(_, at)| now.duration_since(at) < REPORT_EVERY) {
                self.reporting.push(ticket);
                continue;
            }
            let Some(percent) = flying.latest.as_ref().and_then(|latest| latest.take()) else { continue };
            let known = flying.told.replace((percent, now)).map(|(percent, _)| percent);
            if known != Some(percent) {
                due.push((ticket, percent));
            }
        }
        due.iter().filter_map(|(t, percent)| self.flying.get(t).map(|f| (f.place, &f.input, *percent))).collect()
    }

    /// Ends calls whose answers are not wanted any more.
    pub fn cancel(&mut self, tickets: &[Ticket]) {
        for ticket in tickets {
            if let Some(flying) = self.flying.remove(ticket) {
                flying.task.abort();
            }
        }
    }

    /// The calls in flight for records of this kind.
    pub fn of(&self, is: impl Fn(&Input) -> bool) -> Vec<Ticket> {
        self.flying.iter().filter(|(_, flying)| is(&flying.input)).map(|(ticket, _)| *ticket).collect()
    }

    /// Ends calls that have had their time, and gives their records back.
    pub fn give_back(&mut self, tickets: &[Ticket]) -> Vec<(Ticket, Place, Input)> {
        let back = |ticket: &Ticket| {
            let Flying { place, input, task, .. } = self.flying.remove(ticket)?;
            task.abort();
            Some((*ticket, place, input))
        };
        tickets.iter().filter_map(back).collect()
    }

    fn call_id(&self, input: &Input) -> Arc<str> {
        ids::call_id(&self.scope.0, &self.scope.1, &input.id)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        for flying in self.flying.values() {
            flying.task.abort();
        }
    }
}

fn timed_out(timeout: Duration) -> Failure {
    Failure::transient("timeout", format!("no answer within {} ms", timeout.as_millis()))
}
