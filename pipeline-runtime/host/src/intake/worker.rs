//! The thread that writes what is taken in: in rounds, each with all that came meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogError, LogResult, Sent, Writer};
use millstream_spec::model::{Pipeline, Source};
use tokio::sync::oneshot;

use super::book::Book;
use super::claim::Entry;
use super::desk::{Answer, Desk, NO_TAG};
use super::tail::Tail;
use super::{Arrival, Intake, Served, window};
use crate::clock::wall_ms;
use crate::growth;
use crate::jobs::JobsPlan;
use crate::shared::Stop;

/// For the log's acknowledgement. Past it nobody knows whether it comes.
const ACKNOWLEDGED: Duration = Duration::from_secs(5);
/// While the log is away: between two looks whether it is back.
const PROBE: Duration = Duration::from_secs(1);
/// A reader that has not brought what was acknowledged this long ago has lost its place: client libraries do.
const UNHEARD: Duration = Duration::from_secs(12);
/// Without anything to do.
const IDLE: Duration = Duration::from_millis(200);

/// What the thread is told by the process.
pub(crate) struct IntakeContext {
    pub log: Arc<dyn Log>,
    pub stop: Stop,
    /// Partitions of the source's topic, and of the topic of its ids.
    pub partitions: i32,
    pub id_partitions: i32,
    pub served: Served,
    /// Where jobs are said to have begun, if they are tracked.
    pub jobs: Option<JobsPlan>,
}

/// Takes in until told to stop and nobody waits any more.
pub(crate) fn run(cx: &IntakeContext, pipeline: &Pipeline, source: &Source) -> LogResult<()> {
    let intake = cx.served.open(source, cx.partitions, cx.jobs.clone())?;
    let _closing = Closing(&intake);
    let mut book = Book::new(i64::try_from(window(pipeline, source).as_millis()).unwrap_or(i64::MAX));
    let ids: Option<Arc<str>> = source.ids_topic().map(Arc::from);
    let tail = match &ids {
        Some(topic) => match Tail::open(&*cx.log, topic, cx.id_partitions, &mut book, &cx.stop)? {
            Some(tail) => Some(tail),
            None => return Ok(()),
        },
        None => None,
    };
    intake.set_waker(tail.as_ref().map(Tail::waker));
    tracing::info!(pipeline = %pipeline.name, source = %source.name, ids = book.len(), "requests are taken in");
    let mut worker =
        Worker { cx, source, ids, writer: cx.log.writer()?, desk: Desk::new(book, fastrand::u64(..)), away: false };
    worker.writes_as_others()?;
    intake.set_closed(None);
    worker.run(&intake, tail)
}

/// Nothing is taken in where nobody writes it.
struct Closing<'a>(&'a Intake);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.set_closed(Some("the writer of this source is being started again, or has ended".to_owned()));
        self.0.set_waker(None);
        // Those who wait are told that nobody knows.
        self.0.take();
    }
}

struct Worker<'a> {
    cx: &'a IntakeContext,
    source: &'a Source,
    ids: Option<Arc<str>>,
    writer: Box<dyn Writer>,
    desk: Desk<oneshot::Sender<Answer>>,
    /// The log does not acknowledge.
    away: bool,
}

impl Worker<'_> {
    fn run(&mut self, intake: &Intake, mut tail: Option<Tail>) -> LogResult<()> {
        let mut until = None;
        loop {
            let now = wall_ms();
            for Arrival { items, reply } in intake.take() {
                self.desk.arrive(items, reply, now);
            }
            self.desk.tick(now);
            if self.away {
                self.probe(intake)?;
            } else if self.desk.has_more() {
                self.write(intake)?;
            }
            self.give_answers();
            if self.cx.stop.draining() {
                let until = *until.get_or_insert_with(|| Instant::now() + self.cx.stop.drain_timeout() / 2);
                let done = self.desk.is_empty() && intake.held() == 0 && !intake.has_arrivals();
                if done || self.cx.stop.aborted() || Instant::now() > until {
                    // Marks of what is done save a later request some work, and no more.
                    return if self.away { Ok(()) } else { self.write(intake) };
                }
            }
            self.writes_as_others()?;
            if self.desk.unheard(now) > UNHEARD.as_millis() as i64 {
                let message = format!("a claim of source `{}` is not read back; reading anew", self.source.name);
                return Err(LogError::new(Class::Retry, "ids_silent", message));
            }
            let busy = !self.away && (self.desk.has_more() || intake.has_arrivals());
            let wait = match busy {
                true => Duration::ZERO,
                // Nothing wakes the thread for the order to stop, nor when another process has had its time.
                false if self.cx.stop.draining() || !self.desk.is_empty() => IDLE / 10,
                false => IDLE,
            };
            match &mut tail {
                Some(tail) => {
                    for (entry, at) in tail.poll(wait)? {
                        self.desk.hear(&entry, at, wall_ms());
                    }
                }
                None => intake.wait(wait),
            }
        }
    }

    fn give_answers(&mut self) {
        for (reply, answer) in self.desk.take_answers() {
            // Who has gone away needs none.
            let _ = reply.send(answer);
        }
    }

    /// One round: claims, marks and records at once.
    fn write(&mut self, intake: &Intake) -> LogResult<()> {
        let entries = self.desk.take_entries();
        let now = wall_ms();
        let mut out = self.desk.take_records();
        if let Some(topic) = &self.ids {
            out.extend(entries.iter().map(|entry| entry.encode(topic, self.cx.id_partitions, now, NO_TAG)));
        }
        if out.is_empty() {
            return Ok(());
        }
        let mut refused = Vec::new();
        match self.writer.send(&mut out) {
            Ok(()) => {}
            // All others are on their way.
            Err(Sent::Refused(these)) => refused = these,
            Err(Sent::Failed(error)) => return self.lost(intake, &refused, &entries, error),
        }
        match self.writer.flush(ACKNOWLEDGED) {
            Ok(()) => self.desk.acknowledged(&refused),
            Err(Sent::Refused(these)) => {
                refused.extend(these);
                self.desk.lost(&refused, &entries, "the log refused records that were sent with this one");
            }
            Err(Sent::Failed(error)) => return self.lost(intake, &refused, &entries, error),
        }
        Ok(())
    }

    fn lost(&mut self, intake: &Intake, refused: &[(u64, String)], sent: &[Entry], error: LogError) -> LogResult<()> {
        self.desk.lost(refused, sent, &error.to_string());
        self.give_answers();
        match error.class {
            Class::Retry => {
                self.go_away(intake, &error);
                Ok(())
            }
            Class::Abort | Class::Fenced => {
                tracing::warn!(source = %self.source.name, %error, "records were not acknowledged");
                Ok(())
            }
            Class::Denied | Class::Config | Class::Fatal => Err(error),
        }
    }

    fn go_away(&mut self, intake: &Intake, error: &LogError) {
        tracing::warn!(source = %self.source.name, %error, "the log does not acknowledge; requests are refused until it does");
        intake.set_closed(Some(format!("the log is away: {error}")));
        self.away = true;
    }

    /// Whether what was sent is acknowledged by now.
    fn probe(&mut self, intake: &Intake) -> LogResult<()> {
        // What has come since is answered at once: it was not sent.
        let entries = self.desk.take_entries();
        drop(self.desk.take_records());
        self.desk.lost(&[], &entries, "the log is away");
        self.give_answers();
        match self.writer.flush(PROBE) {
            // A writer of which nothing is under way has nothing to say.
            Ok(()) if !self.cx.served.standing().log_answers() => {
                self.cx.stop.wait(IDLE);
                Ok(())
            }
            Ok(()) => {
                tracing::info!(source = %self.source.name, "the log acknowledges again");
                self.away = false;
                intake.set_closed(None);
                Ok(())
            }
            Err(Sent::Failed(error)) if error.class == Class::Retry => {
                self.cx.stop.wait(IDLE);
                Ok(())
            }
            Err(Sent::Failed(error)) if matches!(error.class, Class::Abort | Class::Fenced) => Ok(()),
            Err(Sent::Failed(error)) => Err(error),
            Err(Sent::Refused(_)) => Ok(()),
        }
    }

    /// A process that goes by the old number of partitions would place records of one key in two of them.
    fn writes_as_others(&self) -> LogResult<()> {
        let (topic, known) = (&self.source.topic, self.cx.partitions);
        match self.cx.served.standing().partitions(topic) {
            Some(now) if now != known => {
                let why = "this process writes by the old number";
                Err(growth::stopped(&self.source.name, topic, known, now, why))
            }
            _ => Ok(()),
        }
    }
}
