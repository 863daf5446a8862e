//! One attempt: values for the placeholders, a statement, and what comes back.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_expr::ExprState;
use millstream_filter_api::units::show_duration;
use millstream_filter_api::{Call, CallContext, CallFuture, Called, Failure, Outcome, Record, Value};

use super::config::{Base, Plan};
use super::value::Bound;

/// The filter of one replica. The plan, with its connections, is the stage's.
pub(super) struct Sql {
    plan: Arc<Plan>,
    /// Held while an expression runs, never across an await.
    state: Mutex<ExprState>,
}

impl Sql {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, state: Mutex::new(ExprState::new()) }
    }

    async fn attempt(&self, record: &mut Record, cx: &CallContext) -> Result<(), Failure> {
        let plan = &*self.plan;
        if let Some(into) = &plan.into {
            // Before the call: its effect would be for nothing.
            into.room(&record.payload)?;
        }
        let args = self.args(record)?;
        let running = self.run(args, &cx.call_id);
        let value = match plan.timeout {
            None => running.await,
            Some(limit) => tokio::time::timeout(limit, running).await.unwrap_or_else(|_| {
                let message = format!("the database did not answer within {}", show_duration(limit));
                Err(Failure::transient("sql_timeout", message))
            }),
        }?;
        if let Some(into) = &plan.into {
            into.set(&mut record.payload, value);
        }
        Ok(())
    }

    fn args(&self, record: &Record) -> Result<Vec<Bound>, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.plan.args.iter().map(|arg| arg.bound(&mut state, record)).collect()
    }

    async fn run(&self, args: Vec<Bound>, call: &str) -> Result<Value, Failure> {
        let work = &self.plan.work;
        match self.plan.base() {
            Ok(Base::Postgres(pg)) => pg.attempt(work, &args, call).await,
            Ok(Base::Sqlite(lite)) => lite.attempt(work, args, call).await,
            Err(why) => Err(Failure::transient("sql_connection", why)),
        }
    }
}

impl Call for Sql {
    fn call(self: Arc<Self>, mut record: Record, cx: CallContext) -> CallFuture {
        Box::pin(async move {
            // A tombstone says that something is gone; there is nothing to bind.
            if record.payload.is_null() {
                cx.no_call();
                return Called { record, outcome: Outcome::Forward };
            }
            let attempted = self.attempt(&mut record, &cx).await;
            Called { record, outcome: self.plan.secrets.outcome(attempted) }
        })
    }
}
