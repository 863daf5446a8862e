//! Filters that call out: each record's chain is a tokio task, its answer comes back to the replica's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use millstream_engine::{Place, Ticket};
use millstream_filter_api::{CallContext, Failure, Record};
use millstream_log::Waker;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::chain::{CallChain, Ended, Ran};
use crate::ids;
use crate::input::Input;
use crate::plan::StagePlan;

/// The calls in flight of one replica. How many there may be is the engine's decision.
pub struct Calls {
    runtime: Handle,
    chain: Arc<CallChain>,
    timeout: Duration,
    scope: (String, String),
    flying: HashMap<Ticket, Flying>,
    ended: Receiver<(Ticket, Ran)>,
    end: Sender<(Ticket, Ran)>,
    waker: Waker,
}

struct Flying {
    place: Place,
    input: Input,
    task: AbortHandle,
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
}

impl Calls {
    /// For one replica; `waker` ends its poll when a call has ended.
    pub fn new(plan: &StagePlan, runtime: Handle, waker: Waker) -> Self {
        let (end, ended) = channel();
        Self {
            runtime,
            chain: Arc::new(CallChain::build(&plan.filters)),
            timeout: plan.timeout,
            scope: (plan.pipeline.clone(), plan.stage.clone()),
            flying: HashMap::new(),
            ended,
            end,
            waker,
        }
    }

    /// Starts the chain on a record.
    pub fn start(&mut self, ticket: Ticket, place: Place, input: Input, record: Record, attempt: u32) {
        let cx = CallContext::new(self.call_id(&input), attempt);
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
        self.flying.insert(ticket, Flying { place, input, task: task.abort_handle() });
    }

    /// The calls that have ended since the last time.
    pub fn collect(&mut self) -> Vec<Answer> {
        let flying = &mut self.flying;
        self.ended
            .try_iter()
            .filter_map(|(ticket, Ran { ended, answered })| {
                let Flying { place, input, .. } = flying.remove(&ticket)?;
                Some(Answer { ticket, place, input, ended, answered })
            })
            .collect()
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
            let Flying { place, input, task } = self.flying.remove(ticket)?;
            task.abort();
            Some((*ticket, place, input))
        };
        tickets.iter().filter_map(back).collect()
    }

    /// Equal on every attempt of a record in a stage, wherever it runs; different per stage.
    fn call_id(&self, input: &Input) -> Arc<str> {
        let hash = ids::hash128(&[b"call", self.scope.0.as_bytes(), self.scope.1.as_bytes(), &input.id]);
        Arc::from(format!("{hash:032x}"))
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
