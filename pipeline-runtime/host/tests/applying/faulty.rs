//! A log on which one step fails, before it was done or after; and one on which joining waits.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use millstream_log::{
    Class, Log, LogError, LogLayer, LogResult, Member, MemberConfig, MemberLayer, NewTopic, Outgoing, Position, Sent,
    Writer,
};

/// When the step fails.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Nothing of it was done.
    Before,
    /// All of it was done, and nobody was told.
    After,
}

/// Counts the steps that change something.
struct Steps {
    next: AtomicUsize,
    fails: usize,
    moment: Moment,
}

impl Steps {
    fn take<T>(&self, step: impl FnOnce() -> Result<T, Sent>) -> Result<T, Sent> {
        let error = || Sent::Failed(LogError::new(Class::Fatal, "broken_on_purpose", "a fault of the test"));
        let fails = self.next.fetch_add(1, Ordering::SeqCst) == self.fails;
        if fails && matches!(self.moment, Moment::Before) {
            return Err(error());
        }
        let done = step()?;
        if fails { Err(error()) } else { Ok(done) }
    }

    fn plain<T>(&self, step: impl FnOnce() -> LogResult<T>) -> LogResult<T> {
        self.take(|| step().map_err(Sent::Failed)).map_err(|sent| match sent {
            Sent::Failed(e) => e,
            Sent::Refused(_) => unreachable!("a plain step refuses no record"),
        })
    }
}

/// The log.
pub struct FaultyLog {
    real: Arc<dyn Log>,
    steps: Arc<Steps>,
    /// Told of a join, and waited for in it. Such a log writes nothing, so that nobody hears of its process.
    late: Option<Mutex<(Sender<()>, Receiver<()>)>>,
}

impl FaultyLog {
    /// Step number `fails` fails.
    pub fn new(real: Arc<dyn Log>, fails: usize, moment: Moment) -> Self {
        Self { real, steps: Arc::new(Steps { next: AtomicUsize::new(0), fails, moment }), late: None }
    }

    /// Joining waits.
    pub fn late(real: Arc<dyn Log>, joins: Sender<()>, wait: Receiver<()>) -> Self {
        let late = Some(Mutex::new((joins, wait)));
        Self { late, ..Self::new(real, usize::MAX, Moment::Before) }
    }
}

impl LogLayer for FaultyLog {
    fn beneath(&self) -> &dyn Log {
        &*self.real
    }

    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.steps.plain(|| self.real.create(topics))
    }

    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.steps.plain(|| self.real.add_partitions(topics))
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        if let Some(late) = &self.late {
            let late = late.lock().expect("no test panics with the lock");
            late.0.send(()).expect("somebody waits");
            late.1.recv().expect("somebody says go");
        }
        let real = self.steps.plain(|| self.real.join(config))?;
        Ok(Box::new(FaultyMember { real, steps: Arc::clone(&self.steps) }))
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        if self.late.is_some() {
            return Err(LogError::new(Class::Retry, "broken_on_purpose", "nobody hears of it"));
        }
        let real = self.real.writer()?;
        Ok(Box::new(FaultyWriter { real, steps: Arc::clone(&self.steps) }))
    }
}

struct FaultyWriter {
    real: Box<dyn Writer>,
    steps: Arc<Steps>,
}

impl Writer for FaultyWriter {
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.steps.take(|| self.real.send(records))
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), Sent> {
        self.steps.take(|| self.real.flush(timeout))
    }
}

struct FaultyMember {
    real: Box<dyn Member>,
    steps: Arc<Steps>,
}

impl MemberLayer for FaultyMember {
    fn beneath(&self) -> &dyn Member {
        &*self.real
    }

    fn beneath_mut(&mut self) -> &mut dyn Member {
        &mut *self.real
    }

    fn into_beneath(self: Box<Self>) -> Box<dyn Member> {
        self.real
    }

    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        self.steps.plain(|| self.real.start(positions))
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.steps.take(|| self.real.send(records))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        self.steps.take(|| self.real.commit(positions))
    }
}
