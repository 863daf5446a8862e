//! The side of a process that does not own the folder.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millstream_log::{
    Batch, Budget, Class, Committed, End, Event, Isolation, Log, LogError, LogResult, Member, MemberConfig, NewTopic,
    Outgoing, Position, Reader, Sent, TopicInfo, TopicPartition, Waker, Writer,
};

use super::message::{self, Kind, MAGIC};
use super::path;
use super::wire::{Wire, put_all, put_outgoing, take_batches};
use crate::bytes_codec::Take;
use crate::open::{owner_away, why};
use crate::signal::guard;

/// An owner that does not answer for so long, beyond what a call may take anyhow, is taken for dead.
const ANSWER: Duration = Duration::from_secs(30);
/// Records are sent in messages of about this much.
const SEND_BYTES: usize = 4 << 20;

/// Connects to the owner of a folder.
pub(crate) fn connect(dir: &Path) -> LogResult<Arc<dyn Log>> {
    let connection = Connection::open(dir)?;
    Ok(Arc::new(Client { dir: dir.to_owned(), idle: Mutex::new(Some(connection)) }))
}

/// A log owned by another process.
struct Client {
    dir: PathBuf,
    /// A connection for calls to the log as a whole, when none is under way.
    idle: Mutex<Option<Connection>>,
}

impl Client {
    fn call(&self, kind: Kind, body: &[u8]) -> LogResult<Bytes> {
        let idle = guard(&self.idle).take();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.dir)?,
        };
        let answer = connection.call(kind, body, ANSWER);
        if !connection.broken {
            *guard(&self.idle) = Some(connection);
        }
        answer.map_err(failed)
    }

    fn ask<T: Wire>(&self, kind: Kind, body: &[u8]) -> LogResult<T> {
        let answer = self.call(kind, body)?;
        understand(T::take(&mut Take::new(&answer)))
    }

    fn become_one(&self, kind: Kind, body: &[u8]) -> LogResult<(Connection, Bytes)> {
        let mut connection = Connection::open(&self.dir)?;
        let answer = connection.call(kind, body, ANSWER).map_err(failed)?;
        Ok((connection, answer))
    }
}

impl Log for Client {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        let found: Vec<Option<i32>> = self.ask(Kind::Describe, &names(topics))?;
        Ok(found.into_iter().map(|p| p.map(|partitions| TopicInfo { partitions })).collect())
    }

    fn topics(&self) -> LogResult<Vec<String>> {
        self.ask(Kind::Topics, &[])
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.call(Kind::Create, &list(topics)).map(drop)
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        let all: Vec<(String, i32)> = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        self.call(Kind::AddPartitions, &list(&all)).map(drop)
    }

    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.call(Kind::Delete, &names(topics)).map(drop)
    }

    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        let mut body = list(partitions);
        end.put(&mut body);
        self.ask(Kind::Ends, &body)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        let mut body = Vec::new();
        group.to_owned().put(&mut body);
        put_all(&mut body, partitions);
        self.ask(Kind::Committed, &body)
    }

    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.call(Kind::DeleteBefore, &list(offsets)).map(drop)
    }

    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.call(Kind::DeleteGroups, &names(groups)).map(drop)
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        let group = config.group.clone();
        let (connection, answer) = self.become_one(Kind::Join, &body(&config))?;
        let max_metadata = understand(u64::take(&mut Take::new(&answer)))? as usize;
        Ok(Box::new(ClientMember { connection, group, max_metadata, gone: false }))
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        let (connection, _) = self.become_one(Kind::Reader, &body(&isolation))?;
        Ok(Box::new(ClientReader { connection }))
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        let (connection, _) = self.become_one(Kind::Writer, &[])?;
        Ok(Box::new(ClientWriter { connection }))
    }

    fn name(&self) -> String {
        format!("the embedded log in {}", self.dir.display())
    }
}

/// One connection to the owner.
struct Connection {
    dir: PathBuf,
    stream: UnixStream,
    /// Shared with wakers; a message is written whole under it.
    writing: Arc<Mutex<UnixStream>>,
    /// Out of step with the other side, or that is gone.
    broken: bool,
}

impl Connection {
    fn open(dir: &Path) -> LogResult<Self> {
        let open = || -> io::Result<(UnixStream, [u8; 4])> {
            let mut stream = UnixStream::connect(path::find(dir)?)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(&MAGIC)?;
            let mut magic = [0; 4];
            stream.read_exact(&mut magic)?;
            Ok((stream, magic))
        };
        let (stream, magic) = open().map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => crate::errors::io("cannot reach the owner of", dir, &e),
            _ => owner_away(dir, &why(&e)),
        })?;
        if magic != MAGIC {
            let message = format!("the log in {} is owned by another version of millstream", dir.display());
            return Err(LogError::new(Class::Config, "log_version", message));
        }
        let writing = stream.try_clone().map_err(|e| owner_away(dir, &why(&e)))?;
        Ok(Self { dir: dir.to_owned(), stream, writing: Arc::new(Mutex::new(writing)), broken: false })
    }

    /// Asks and waits for the answer, `within` beyond what the call itself may wait.
    fn call(&mut self, kind: Kind, body: &[u8], within: Duration) -> Result<Bytes, Sent> {
        if self.broken {
            return Err(Sent::Failed(owner_away(&self.dir, "the connection is lost")));
        }
        let mut exchange = || -> io::Result<(Kind, Bytes)> {
            self.stream.set_read_timeout(Some(within))?;
            message::write(&mut *guard(&self.writing), kind, body)?;
            message::read(&mut self.stream)
        };
        let (kind, answer) = exchange().map_err(|e| {
            self.broken = true;
            Sent::Failed(owner_away(&self.dir, &why(&e)))
        })?;
        let mut take = Take::new(&answer);
        match kind {
            Kind::Done => Ok(answer),
            Kind::Failed => Err(Sent::Failed(understand(LogError::take(&mut take)).unwrap_or_else(|e| e))),
            Kind::Refused => match understand(Wire::take(&mut take)) {
                Ok(records) => Err(Sent::Refused(records)),
                Err(error) => Err(Sent::Failed(error)),
            },
            _ => {
                self.broken = true;
                Err(Sent::Failed(nonsense()))
            }
        }
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<(Vec<Event>, Vec<Batch>)> {
        let mut request = body(&budget);
        timeout.put(&mut request);
        let answer = self.call(Kind::Poll, &request, timeout.saturating_add(ANSWER)).map_err(failed)?;
        let mut take = Take::new(&answer);
        let events = understand(Wire::take(&mut take))?;
        let batches = understand(take_batches(&answer, &mut take))?;
        Ok((events, batches))
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        let mut refused = Vec::new();
        while !records.is_empty() {
            let mut bytes = 0;
            let enough = records.iter().position(|r| {
                bytes += 64
                    + r.key.as_ref().map_or(0, Bytes::len)
                    + r.value.as_ref().map_or(0, Bytes::len)
                    + r.headers.size();
                bytes > SEND_BYTES
            });
            // At least one, however large.
            let some: Vec<Outgoing> = records.drain(..enough.unwrap_or(records.len()).max(1)).collect();
            let mut request = Vec::with_capacity(bytes.min(2 * SEND_BYTES));
            put_outgoing(&mut request, &some);
            match self.call(Kind::Send, &request, ANSWER) {
                Ok(_) => {}
                Err(Sent::Refused(more)) => refused.extend(more),
                // Later refusals only say again that this transaction is to be aborted.
                Err(Sent::Failed(e)) if e.class == Class::Abort && !refused.is_empty() => break,
                Err(other) => return Err(other),
            }
        }
        records.clear();
        if refused.is_empty() { Ok(()) } else { Err(Sent::Refused(refused)) }
    }

    fn waker(&self) -> Waker {
        let writing = self.writing.clone();
        Arc::new(move || {
            // Without an owner there is no poll to end.
            let _ = message::write(&mut *guard(&writing), Kind::Wake, &[]);
        })
    }
}

struct ClientMember {
    connection: Connection,
    group: String,
    max_metadata: usize,
    /// The owner is gone, and this member's transaction with it.
    gone: bool,
}

impl ClientMember {
    /// A member ends with its connection: whoever holds it has to join again.
    fn fenced(&mut self, sent: Sent) -> Sent {
        match sent {
            Sent::Failed(error) if self.connection.broken => {
                self.gone = true;
                Sent::Failed(LogError::new(
                    Class::Fenced,
                    error.code,
                    format!("member of group {}: {error}", self.group),
                ))
            }
            other => other,
        }
    }

    fn call(&mut self, kind: Kind, body: &[u8]) -> Result<Bytes, Sent> {
        self.connection.call(kind, body, ANSWER).map_err(|e| self.fenced(e))
    }
}

impl Member for ClientMember {
    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        let polled = self.connection.poll(budget, timeout);
        let (events, found) = polled.map_err(|e| failed(self.fenced(Sent::Failed(e))))?;
        batches.extend(found);
        Ok(events)
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        self.call(Kind::Start, &list(positions)).map(drop).map_err(failed)
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        let mut body = list(partitions);
        paused.put(&mut body);
        self.call(Kind::Pause, &body).map(drop).map_err(failed)
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        self.call(Kind::Release, &list(partitions)).map(drop).map_err(failed)
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.connection.send(records).map_err(|e| self.fenced(e))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        self.call(Kind::Commit, &list(positions)).map(drop)
    }

    fn abort(&mut self) -> LogResult<()> {
        self.call(Kind::Abort, &[]).map(drop).map_err(failed)
    }

    fn max_metadata(&self) -> usize {
        self.max_metadata
    }

    fn waker(&self) -> Waker {
        self.connection.waker()
    }

    fn leave(mut self: Box<Self>, deadline: Duration) {
        if !self.gone {
            // If it fails the owner notices the end of the connection instead.
            let _ = self.connection.call(Kind::Leave, &body(&deadline), deadline.max(Duration::from_millis(1)));
        }
    }
}

struct ClientReader {
    connection: Connection,
}

impl Reader for ClientReader {
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.connection.call(Kind::Assign, &list(from), ANSWER).map(drop).map_err(failed)
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>> {
        Ok(self.connection.poll(budget, timeout)?.1)
    }

    fn waker(&self) -> Waker {
        self.connection.waker()
    }
}

struct ClientWriter {
    connection: Connection,
}

impl ClientWriter {
    /// Nobody knows whether records under way were written: trying again could write them twice.
    fn unknown(&self, sent: Sent) -> Sent {
        match sent {
            Sent::Failed(error) if self.connection.broken => {
                let message = format!("{error}; whether the last records were written is unknown");
                Sent::Failed(LogError::new(Class::Fenced, error.code, message))
            }
            other => other,
        }
    }
}

impl Writer for ClientWriter {
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.connection.send(records).map_err(|e| self.unknown(e))
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), Sent> {
        let within = timeout.saturating_add(ANSWER);
        self.connection.call(Kind::Flush, &body(&timeout), within).map(drop).map_err(|e| self.unknown(e))
    }
}

fn body(one: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    one.put(&mut out);
    out
}

fn list<T: Wire>(all: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    put_all(&mut out, all);
    out
}

fn names(all: &[&str]) -> Vec<u8> {
    list(&all.iter().map(|n| (*n).to_owned()).collect::<Vec<String>>())
}

/// The error of a call that refuses no records.
fn failed(sent: Sent) -> LogError {
    match sent {
        Sent::Failed(error) => error,
        Sent::Refused(_) => nonsense(),
    }
}

fn understand<T>(found: Option<T>) -> LogResult<T> {
    found.ok_or_else(nonsense)
}

fn nonsense() -> LogError {
    LogError::new(Class::Fatal, "log_socket", "the owner of the log answered something that makes no sense")
}
