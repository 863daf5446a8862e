//! The owner's side.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use millstream_log::{Class, Log, LogError, LogResult, Member, Reader, Sent, Waker, Writer};

use super::message::{self, Kind, MAGIC};
use super::path::Bound;
use super::wire::{Wire, put_all, put_batches, take_outgoing};
use crate::bytes_codec::Take;
use crate::core::Core;
use crate::errors;
use crate::log::CoreLog;
use crate::signal::guard;

/// A poll brings at most this much at once, so that a response stays small; the client polls again.
const POLL_BYTES: usize = 8 << 20;

/// Serves a log until dropped.
pub(crate) struct Server {
    shared: Arc<Shared>,
    path: PathBuf,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    core: Arc<Core>,
    stopping: AtomicBool,
    connections: Mutex<Vec<(UnixStream, JoinHandle<()>)>>,
}

impl Server {
    /// Listens in the folder of a log.
    pub fn start(core: Arc<Core>) -> LogResult<Self> {
        let dir = core.dir.clone();
        let failed = |e: io::Error| errors::io("cannot serve other processes in", &dir, &e);
        let bound = Bound::new(&dir).map_err(failed)?;
        let path = bound.path.clone();
        let stopping = AtomicBool::new(false);
        let shared = Arc::new(Shared { core, stopping, connections: Mutex::default() });
        let accepting = {
            let shared = shared.clone();
            thread::Builder::new().name("millstream-socket".into()).spawn(move || shared.accept(&bound))
        };
        Ok(Self { shared, path, accepting: Some(accepting.map_err(failed)?) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Ends the wait for a connection. Where the socket's file is gone nobody can connect any more, we no more than
        // others: then the thread is left behind, for waiting for it would be for ever.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
        for (stream, thread) in std::mem::take(&mut *guard(&self.shared.connections)) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, bound: &Bound) {
        for stream in bound.listener.incoming() {
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = stream.and_then(|s| self.begin(s)) {
                tracing::warn!(dir = %self.core.dir.display(), %error, "another process could not be served");
                // Most likely out of file descriptors: give others time to close some.
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let (core, closer) = (self.core.clone(), stream.try_clone()?);
        let thread = thread::Builder::new().name("millstream-client".into()).spawn(move || {
            // The other side ended, or does not speak this language: both end the connection and nothing else.
            if let Err(error) = serve(core, &stream) {
                tracing::debug!(%error, "the connection of another process ended");
            }
            // The handle kept for closing would hold it open.
            let _ = stream.shutdown(Shutdown::Both);
        })?;
        let mut connections = guard(&self.connections);
        connections.retain(|(_, thread)| !thread.is_finished());
        connections.push((closer, thread));
        Ok(())
    }
}

/// Reads requests on this thread, so that a wake-up is heard during a poll, and answers them on another.
fn serve(core: Arc<Core>, mut stream: &UnixStream) -> io::Result<()> {
    stream.write_all(&MAGIC)?;
    let mut magic = [0; 4];
    stream.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another version of the socket"));
    }
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let mut session = Session { log: CoreLog { core }, role: Role::Log, waker: waker.clone() };
    let mut answers = stream.try_clone()?;
    let (requests, incoming) = mpsc::sync_channel::<(Kind, Bytes)>(1);
    let worker = thread::Builder::new().name("millstream-client".into()).spawn(move || {
        for (kind, body) in incoming {
            let (kind, body) = session.answer(kind, &body);
            if message::write(&mut answers, kind, &body).is_err() {
                break;
            }
        }
        // A member leaves its group here.
    })?;
    let ended = loop {
        match message::read(&mut stream) {
            Ok((Kind::Wake, _)) => wake(&waker),
            Ok(request) => {
                if requests.send(request).is_err() {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    drop(requests);
    wake(&waker);
    let _ = worker.join();
    ended
}

fn wake(waker: &Mutex<Option<Waker>>) {
    let waker = guard(waker).clone();
    if let Some(waker) = waker {
        waker();
    }
}

/// What a connection has become.
enum Role {
    Log,
    Member(Box<dyn Member>),
    Reader(Box<dyn Reader>),
    Writer(Box<dyn Writer>),
    Ended,
}

struct Session {
    log: CoreLog,
    role: Role,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Session {
    fn answer(&mut self, kind: Kind, body: &Bytes) -> (Kind, Vec<u8>) {
        let mut out = Vec::new();
        match self.handle(kind, body, &mut out) {
            Ok(()) => (Kind::Done, out),
            Err(Sent::Failed(error)) => {
                out.clear();
                error.put(&mut out);
                (Kind::Failed, out)
            }
            Err(Sent::Refused(records)) => {
                out.clear();
                records.put(&mut out);
                (Kind::Refused, out)
            }
        }
    }

    fn handle(&mut self, kind: Kind, body: &Bytes, out: &mut Vec<u8>) -> Result<(), Sent> {
        let mut take = Take::new(body);
        match &mut self.role {
            Role::Log => self.log_request(kind, &mut take, out).map_err(Sent::Failed),
            Role::Member(member) => {
                if kind == Kind::Leave {
                    let deadline = parse(Wire::take(&mut take)).map_err(Sent::Failed)?;
                    if let Role::Member(member) = std::mem::replace(&mut self.role, Role::Ended) {
                        *guard(&self.waker) = None;
                        member.leave(deadline);
                    }
                    return Ok(());
                }
                member_request(member.as_mut(), kind, body, out)
            }
            Role::Reader(reader) => reader_request(reader.as_mut(), kind, &mut take, out).map_err(Sent::Failed),
            Role::Writer(writer) => writer_request(writer.as_mut(), kind, body),
            Role::Ended => Err(Sent::Failed(misplaced(kind))),
        }
    }

    fn log_request(&mut self, kind: Kind, take: &mut Take<'_>, out: &mut Vec<u8>) -> LogResult<()> {
        let log = &self.log;
        match kind {
            Kind::Describe => {
                let names: Vec<String> = parse(Wire::take(take))?;
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let found: Vec<Option<i32>> =
                    log.describe(&names)?.iter().map(|t| t.as_ref().map(|t| t.partitions)).collect();
                found.put(out);
            }
            Kind::Topics => log.topics()?.put(out),
            Kind::Create => log.create(&parse(Vec::take(take))?)?,
            Kind::Delete => {
                let names: Vec<String> = parse(Wire::take(take))?;
                log.delete(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            Kind::Ends => {
                let (partitions, end) = parse(<(Vec<_>, _)>::take(take))?;
                log.ends(&partitions, end)?.put(out);
            }
            Kind::Committed => {
                let (group, partitions) = parse(<(String, Vec<_>)>::take(take))?;
                log.committed(&group, &partitions)?.put(out);
            }
            Kind::DeleteGroups => {
                let names: Vec<String> = parse(Wire::take(take))?;
                log.delete_groups(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            Kind::AddPartitions => {
                let topics: Vec<(String, i32)> = parse(Wire::take(take))?;
                log.add_partitions(&topics.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>())?;
            }
            Kind::DeleteBefore => log.delete_before(&parse(Vec::take(take))?)?,
            Kind::Join => {
                let member = log.join(parse(Wire::take(take))?)?;
                (member.max_metadata() as u64).put(out);
                *guard(&self.waker) = Some(member.waker());
                self.role = Role::Member(member);
            }
            Kind::Reader => {
                let reader = log.reader(parse(Wire::take(take))?)?;
                *guard(&self.waker) = Some(reader.waker());
                self.role = Role::Reader(reader);
            }
            Kind::Writer => self.role = Role::Writer(log.writer()?),
            _ => return Err(misplaced(kind)),
        }
        Ok(())
    }
}

fn member_request(member: &mut dyn Member, kind: Kind, body: &Bytes, out: &mut Vec<u8>) -> Result<(), Sent> {
    let mut take = Take::new(body);
    match kind {
        Kind::Poll => {
            let (mut budget, timeout) =
                parse(<(millstream_log::Budget, Duration)>::take(&mut take)).map_err(Sent::Failed)?;
            budget.bytes = budget.bytes.min(POLL_BYTES);
            let mut batches = Vec::new();
            let events = member.poll(budget, timeout, &mut batches).map_err(Sent::Failed)?;
            events.put(out);
            put_batches(out, &batches);
            Ok(())
        }
        Kind::Start => {
            let positions: Vec<_> = parse(Wire::take(&mut take)).map_err(Sent::Failed)?;
            member.start(&positions).map_err(Sent::Failed)
        }
        Kind::Pause => {
            let (partitions, paused) = parse(<(Vec<_>, bool)>::take(&mut take)).map_err(Sent::Failed)?;
            member.pause(&partitions, paused).map_err(Sent::Failed)
        }
        Kind::Release => {
            let partitions: Vec<_> = parse(Wire::take(&mut take)).map_err(Sent::Failed)?;
            member.release(&partitions).map_err(Sent::Failed)
        }
        Kind::Send => member.send(&mut parse(take_outgoing(body)).map_err(Sent::Failed)?),
        Kind::Commit => {
            let positions: Vec<_> = parse(Wire::take(&mut take)).map_err(Sent::Failed)?;
            member.commit(&positions)
        }
        Kind::Abort => member.abort().map_err(Sent::Failed),
        _ => Err(Sent::Failed(misplaced(kind))),
    }
}

fn reader_request(reader: &mut dyn Reader, kind: Kind, take: &mut Take<'_>, out: &mut Vec<u8>) -> LogResult<()> {
    match kind {
        Kind::Assign => reader.assign(&parse(Vec::take(take))?),
        Kind::Poll => {
            let (mut budget, timeout) = parse(<(millstream_log::Budget, Duration)>::take(take))?;
            budget.bytes = budget.bytes.min(POLL_BYTES);
            put_all::<millstream_log::Event>(out, &[]);
            put_batches(out, &reader.poll(budget, timeout)?);
            Ok(())
        }
        _ => Err(misplaced(kind)),
    }
}

fn writer_request(writer: &mut dyn Writer, kind: Kind, body: &Bytes) -> Result<(), Sent> {
    match kind {
        Kind::Send => writer.send(&mut parse(take_outgoing(body)).map_err(Sent::Failed)?),
        Kind::Flush => writer.flush(parse(Wire::take(&mut Take::new(body))).map_err(Sent::Failed)?),
        _ => Err(Sent::Failed(misplaced(kind))),
    }
}

fn parse<T>(found: Option<T>) -> LogResult<T> {
    found.ok_or_else(|| LogError::new(Class::Fatal, "log_socket", "a request on the log's socket makes no sense"))
}

fn misplaced(kind: Kind) -> LogError {
    LogError::new(Class::Fatal, "log_socket", format!("a request on the log's socket is out of place: {kind:?}"))
}
