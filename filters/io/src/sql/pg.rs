//! One attempt at PostgreSQL, over a pool of connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use millstream_filter_api::{Failure, Value};
use millstream_pgclient::{Target, Tls};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Statement};

use super::config::{Once, Work};
use super::fault::{away, of_postgres};
use super::lite::setting_up;
use super::pg_read::Columns;
use super::rows::{Rows, kept, remembered};
use super::value::Bound;

/// What the server may take to cancel a statement.
const CANCEL: Duration = Duration::from_secs(5);
/// Between two looks for calls that may be forgotten, and how many go at once.
const FORGETS: (Duration, i64) = (Duration::from_secs(60), 10_000);
/// Names the lock under which tables are made: two that make one at a time would fail.
const LOCK: i64 = 0x6d69_6c6c_7371_6c31;

const HAS_CALLS: &str = "select to_regclass('millstream_calls') is not null";
const CALLS: &str = "create table millstream_calls (call_id text primary key, called_at timestamptz not null default \
                     now(), result text); create index on millstream_calls (called_at)";
const CLAIM: &str = "insert into millstream_calls (call_id) values ($1) on conflict do nothing";
const RESULT: &str = "select result from millstream_calls where call_id = $1";
const KEEP: &str = "update millstream_calls set result = $2 where call_id = $1";
const FORGET: &str = "delete from millstream_calls where call_id in (select call_id from millstream_calls \
                      where called_at < now() - make_interval(secs => $1) order by called_at limit $2)";

/// The server, and what is open to it.
pub(super) struct Pg {
    target: Target,
    tls: Tls,
    idle: Mutex<Vec<Connection>>,
    /// How many may be open.
    room: Semaphore,
    /// Whether `init` has run, and the table of calls is there.
    ready: AtomicBool,
    forgot: Mutex<Option<Instant>>,
}

/// A connection with its statements.
struct Connection {
    client: Client,
    statement: Statement,
    columns: Columns,
    /// For statements that are to run once.
    claim: Option<Statement>,
}

/// A connection in use. Dropped before it is given back, what runs on it is cancelled at the server.
struct Held {
    connection: Option<Connection>,
    cancel: CancelToken,
    tls: Tls,
    runtime: Handle,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
        self.runtime.spawn(async move {
            // What cannot be cancelled runs into the server's own bound.
            let _ = tokio::time::timeout(CANCEL, cancel.cancel_query(tls)).await;
            drop(connection);
        });
    }
}

impl Pg {
    pub(super) fn new(target: &Target, connections: usize) -> Result<Self, String> {
        let tls = Tls::new(target).map_err(|trouble| trouble.message)?;
        Ok(Self {
            target: target.clone(),
            tls,
            idle: Mutex::default(),
            room: Semaphore::new(connections),
            ready: AtomicBool::new(false),
            forgot: Mutex::default(),
        })
    }

    /// One attempt.
    pub(super) async fn attempt(&self, work: &Work, args: &[Bound], call: &str) -> Result<Value, Failure> {
        let Ok(_room) = self.room.acquire().await else { return Err(away("the pool is closed".to_owned())) };
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::iter::from_fn(|| idle().pop()).find(|connection| !connection.client.is_closed());
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect(work).await?,
        };
        let cancel = connection.client.cancel_token();
        let mut held = Held { connection: Some(connection), cancel, tls: self.tls.clone(), runtime: Handle::current() };
        let Some(connection) = &held.connection else { return Err(away("the connection is gone".to_owned())) };
        let done = match work.once {
            None => run(connection, work, args).await,
            Some(_) => once_only(connection, work, args, call).await,
        };
        let done = match done {
            Ok(value) => Ok(value),
            Err(wrong) => {
                let good =
                    wrong.good && (work.once.is_none() || connection.client.batch_execute("rollback").await.is_ok());
                if !good {
                    // It closes; nothing is left to be cancelled on it.
                    held.connection = None;
                    if wrong.failure.code == "sql_not_ready" {
                        self.ready.store(false, Ordering::Relaxed);
                    }
                    return Err(wrong.failure);
                }
                Err(wrong.failure)
            }
        };
        if let Some(once) = work.once.filter(|_| done.is_ok()) {
            self.forget(&connection.client, once).await;
        }
        if let Some(connection) = held.connection.take() {
            idle().push(connection);
        }
        done
    }

    async fn connect(&self, work: &Work) -> Result<Connection, Failure> {
        let failed = |e: tokio_postgres::Error| of_postgres(&e).0;
        let (client, connection) = self.target.config.connect(self.tls.clone()).await.map_err(failed)?;
        tokio::spawn(async move {
            // Ends with the connection or the client; who asks is told what is wrong.
            let _ = connection.await;
        });
        // Bounds at the server too: a process that was frozen must not keep others waiting.
        let limit = work.limit.as_millis().clamp(1, 86_400_000);
        let settings = format!(
            "set statement_timeout = {limit}; set lock_timeout = {limit}; \
             set idle_in_transaction_session_timeout = {limit}; set timezone = 'UTC'; set datestyle = 'ISO, YMD'"
        );
        client.batch_execute(&settings).await.map_err(failed)?;
        if !self.ready.load(Ordering::Relaxed) {
            set_up(&client, work).await.map_err(setting_up)?;
            self.ready.store(true, Ordering::Relaxed);
        }
        let claim = match work.once {
            Some(_) => Some(client.prepare(CLAIM).await.map_err(failed)?),
            None => None,
        };
        let statement = client.prepare(&work.statement).await.map_err(failed)?;
        let columns = if work.keeps() { Columns::of(&statement)? } else { Columns::default() };
        Ok(Connection { client, statement, columns, claim })
    }

    /// Lets go of calls that nobody makes any more. That it fails is no reason to fail a call.
    async fn forget(&self, client: &Client, once: Once) {
        let due = |at: &mut Option<Instant>| {
            let due = at.is_none_or(|at| at.elapsed() >= FORGETS.0);
            if due {
                *at = Some(Instant::now());
            }
            due
        };
        if !due(&mut self.forgot.lock().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let keep = once.keep.as_secs_f64();
        if let Ok(gone) = client.execute(FORGET, &[&keep, &FORGETS.1]).await
            && i64::try_from(gone) == Ok(FORGETS.1)
        {
            *self.forgot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Runs `init` and makes the table of calls, one process at a time.
async fn set_up(client: &Client, work: &Work) -> Result<(), Failure> {
    let failed = |e: tokio_postgres::Error| of_postgres(&e).0;
    if work.init.is_empty() && work.once.is_none() {
        return Ok(());
    }
    client.batch_execute(&format!("begin; select pg_advisory_xact_lock({LOCK})")).await.map_err(failed)?;
    for statement in &work.init {
        client.batch_execute(statement).await.map_err(failed)?;
    }
    if work.once.is_some() {
        // To make what is there wants the right to make it.
        let there: bool = client.query_one(HAS_CALLS, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
        if !there {
            client.batch_execute(CALLS).await.map_err(|e| {
                let mut failure = failed(e);
                failure.message.push_str(&format!("; somebody who may has to run: {CALLS}; or say `once: false`"));
                failure
            })?;
        }
    }
    client.batch_execute("commit").await.map_err(failed)
}

/// What went wrong, and whether the connection is good for another statement.
struct Wrong {
    failure: Failure,
    good: bool,
}

impl From<tokio_postgres::Error> for Wrong {
    fn from(error: tokio_postgres::Error) -> Self {
        let (failure, good) = of_postgres(&error);
        Self { failure, good }
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self { failure, good: true }
    }
}

/// The statement and the call's id in one transaction: an id that is there says that the statement has run. Whoever makes
/// the same call at the same time waits at the insert until the other has ended.
async fn once_only(connection: &Connection, work: &Work, args: &[Bound], call: &str) -> Result<Value, Wrong> {
    let client = &connection.client;
    client.batch_execute("begin isolation level read committed").await?;
    let new = match &connection.claim {
        Some(claim) => client.execute(claim, &[&call]).await?,
        None => client.execute(CLAIM, &[&call]).await?,
    };
    let value = if new == 0 {
        let row = client.query_one(RESULT, &[&call]).await?;
        remembered(row.try_get::<_, Option<&str>>(0)?)?
    } else {
        let value = run(connection, work, args).await?;
        if work.keeps() {
            client.execute(KEEP, &[&call, &kept(&value)?]).await?;
        }
        value
    };
    client.batch_execute("commit").await?;
    Ok(value)
}

async fn run(connection: &Connection, work: &Work, args: &[Bound]) -> Result<Value, Wrong> {
    let args = args.iter().map(|arg| arg as &(dyn ToSql + Sync));
    let rows = connection.client.query_raw(&connection.statement, args).await?;
    let mut rows = std::pin::pin!(rows);
    let mut found = Rows::new(work.wanted);
    // To the end: what fails at the second row has failed.
    while let Some(row) = rows.try_next().await? {
        if found.wants() {
            let (value, bytes) = connection.columns.read(&row)?;
            found.push(value, bytes)?;
        }
    }
    Ok(found.value())
}
