//! One attempt at SQLite: a file, one connection, all on a thread that may block.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_filter_api::{Class, Failure, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, InterruptHandle, OpenFlags, Statement, ToSql};
use tokio::sync::Mutex as AsyncMutex;

use super::config::{Once, Work};
use super::fault::{away, of_sqlite};
use super::rows::{Rows, distinct, float, hex, kept, remembered};
use super::value::Bound;

/// How long another writer is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Between two looks for calls that may be forgotten, and how many go at once.
const FORGETS: (Duration, u32) = (Duration::from_secs(60), 10_000);

const CALLS: &str =
    "create table if not exists millstream_calls (call_id text primary key, called_at integer not null \
                     default (unixepoch()), result text) without rowid;
                     create index if not exists millstream_calls_called_at on millstream_calls (called_at)";

/// The file, and its connection: SQLite has one writer at a time.
pub(super) struct Lite {
    path: PathBuf,
    open: Arc<AsyncMutex<Option<Open>>>,
    running: Arc<Mutex<Option<InterruptHandle>>>,
}

struct Open {
    connection: Connection,
    forgot: Option<Instant>,
}

impl Lite {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: Arc::default(), running: Arc::default() }
    }

    /// One attempt. Dropped, it interrupts what runs; what was committed then is known by the call's id.
    pub(super) async fn attempt(&self, work: &Arc<Work>, args: Vec<Bound>, call: &str) -> Result<Value, Failure> {
        let mut open = Arc::clone(&self.open).lock_owned().await;
        let (path, running, work, call) =
            (self.path.clone(), Arc::clone(&self.running), Arc::clone(work), call.to_owned());
        let mut interrupt = Interrupt(Some(Arc::clone(&self.running)));
        let done = tokio::task::spawn_blocking(move || {
            let result = attempt(&mut open, &path, &running, &work, &args, &call);
            // What is wrong with the file or its tables may be over with a new connection.
            if result.as_ref().is_err_and(|f| f.code == "sql_connection" || f.code == "sql_not_ready") {
                *open = None;
            }
            result
        });
        let done = done.await;
        interrupt.0 = None;
        done.unwrap_or_else(|e| Err(Failure::new(Class::Bug, "sql_statement", format!("the call broke off: {e}"))))
    }
}

/// Interrupts the statement that runs when it is dropped.
struct Interrupt(Option<Arc<Mutex<Option<InterruptHandle>>>>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(running) = &self.0
            && let Some(handle) = &*running.lock().unwrap_or_else(PoisonError::into_inner)
        {
            handle.interrupt();
        }
    }
}

fn attempt(
    open: &mut Option<Open>,
    path: &PathBuf,
    running: &Mutex<Option<InterruptHandle>>,
    work: &Work,
    args: &[Bound],
    call: &str,
) -> Result<Value, Failure> {
    let set = |handle| *running.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    let open = match open {
        Some(open) => open,
        None => open.insert(opened(path, work)?),
    };
    set(Some(open.connection.get_interrupt_handle()));
    let result = match work.once {
        None => run(&open.connection, work, args),
        Some(once) => {
            let result = in_one(&open.connection, |c| once_only(c, work, args, call));
            if result.is_ok() {
                forget(open, once);
            }
            result
        }
    };
    set(None);
    result
}

fn opened(path: &PathBuf, work: &Work) -> Result<Open, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|e| away(format!("`{}` cannot be opened: {e}", path.display())))?;
    connection.busy_timeout(BUSY.min(work.limit)).map_err(|e| of_sqlite(&e))?;
    // Readers and the writer side by side; each commit is on disk, as positions follow it.
    connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full").map_err(|e| of_sqlite(&e))?;
    let begun = if work.once.is_some() { std::slice::from_ref(&CALLS) } else { &[] };
    let statements = || work.init.iter().map(String::as_str).chain(begun.iter().copied());
    if statements().next().is_some() {
        in_one(&connection, |c| {
            statements().try_for_each(|statement| c.execute_batch(statement)).map_err(|e| setting_up(of_sqlite(&e)))
        })?;
    }
    Ok(Open { connection, forgot: None })
}

/// What goes wrong before the first record is no record's fault.
pub(super) fn setting_up(failure: Failure) -> Failure {
    let code = if failure.class == Class::Transient { failure.code } else { "sql_not_ready".into() };
    Failure { class: Class::Transient, code, message: format!("`init`: {}", failure.message), retry_after: None }
}

/// All of it or nothing.
fn in_one<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    connection.execute_batch("begin immediate").map_err(|e| of_sqlite(&e))?;
    let done =
        work(connection).and_then(|done| connection.execute_batch("commit").map(|()| done).map_err(|e| of_sqlite(&e)));
    if done.is_err() && !connection.is_autocommit() {
        // It fails only where the transaction is gone already.
        let _ = connection.execute_batch("rollback");
    }
    done
}

fn once_only(connection: &Connection, work: &Work, args: &[Bound], call: &str) -> Result<Value, Failure> {
    let wrong = |e: rusqlite::Error| of_sqlite(&e);
    let claim = "insert into millstream_calls (call_id) values (?1) on conflict do nothing";
    let new = connection.prepare_cached(claim).and_then(|mut s| s.execute([call])).map_err(wrong)?;
    if new == 0 {
        let result = "select result from millstream_calls where call_id = ?1";
        let result: Option<String> =
            connection.prepare_cached(result).and_then(|mut s| s.query_row([call], |row| row.get(0))).map_err(wrong)?;
        return remembered(result.as_deref());
    }
    let value = run(connection, work, args)?;
    if work.keeps() {
        let keep = "update millstream_calls set result = ?2 where call_id = ?1";
        let kept = kept(&value)?;
        connection.prepare_cached(keep).and_then(|mut s| s.execute([call, &kept])).map_err(wrong)?;
    }
    Ok(value)
}

fn run(connection: &Connection, work: &Work, args: &[Bound]) -> Result<Value, Failure> {
    let wrong = |e: rusqlite::Error| of_sqlite(&e);
    let mut statement = connection.prepare_cached(&work.statement).map_err(wrong)?;
    if work.keeps() {
        distinct(statement.column_names().into_iter())?;
    }
    for (n, arg) in args.iter().enumerate() {
        bind(&mut statement, n + 1, arg).map_err(wrong)?;
    }
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut found = Rows::new(work.wanted);
    // To the end: what fails at the second row has failed.
    while let Some(row) = rows.next().map_err(wrong)? {
        if !found.wants() {
            continue;
        }
        let mut bytes = 0;
        let mut object = std::collections::BTreeMap::new();
        for (n, name) in names.iter().enumerate() {
            let value = row.get_ref(n).map_err(wrong)?;
            bytes += 16 + value.as_bytes_or_null().ok().flatten().map_or(0, <[u8]>::len);
            object.insert(name.as_str().into(), value_of(value));
        }
        found.push(Value::Object(object), bytes)?;
    }
    Ok(found.value())
}

/// `$1` is a name here, and bound by it.
fn bind(statement: &mut Statement<'_>, number: usize, arg: &Bound) -> rusqlite::Result<()> {
    match statement.parameter_index(&format!("${number}"))? {
        Some(index) => statement.raw_bind_parameter(index, arg),
        None => Ok(()),
    }
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Bool(yes) => ValueRef::Integer((*yes).into()),
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Float(n) | Self::Exact(_, n) => ValueRef::Real(*n),
            Self::Text(text) if std::str::from_utf8(text).is_ok() => ValueRef::Text(text),
            Self::Text(bytes) => ValueRef::Blob(bytes),
            Self::Json(json, _) => ValueRef::Text(json.as_bytes()),
        }))
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(n) => float(n),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::from(hex(bytes)),
    }
}

/// Lets go of calls that nobody makes any more. That it fails is no reason to fail a call; the next one tries again.
fn forget(open: &mut Open, once: Once) {
    if open.forgot.is_some_and(|at| at.elapsed() < FORGETS.0) {
        return;
    }
    let old = "delete from millstream_calls where call_id in (select call_id from millstream_calls \
               where called_at < unixepoch() - ?1 order by called_at limit ?2)";
    let gone = open.connection.execute(old, [once.keep.as_secs().min(1 << 40), FORGETS.1.into()]);
    let more = matches!(gone, Ok(n) if n >= FORGETS.1 as usize);
    if !more && !matches!(&gone, Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == ErrorCode::DatabaseBusy) {
        open.forgot = Some(Instant::now());
    }
}
