//! An idempotent producer, with or without transactions, and what becomes of what it sends.
//!
//! States: `Idle` -> (first record) `Open` -> commit -> `Idle`; any abortable failure -> `Lost` -> abort -> `Idle`.
//! What cannot be aborted is ended by giving the client up: the next one with the same transactional id fences it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Class, LogError, LogResult, Outgoing, Sent};
use rdkafka::TopicPartitionList;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer as _;

use crate::context::{Failure, KafkaProducer, Notes};
use crate::error::{classify, describe, log_error, refuses_record, refuses_size};
use crate::ffi::{self, GroupMetadata, Produce, Topic, TxnError};
use crate::shared::Shared;
use crate::worker::{Worker, drop_apart};

mod positions;

/// For a transaction's end: what takes longer is given up, and the member joins again.
const END_DEADLINE: Duration = Duration::from_secs(20);
/// For registering a transactional id; the same call again goes on where it was.
const INIT_DEADLINE: Duration = Duration::from_secs(15);
/// Beyond a call's own deadline: it hangs.
const GRACE: Duration = Duration::from_secs(5);
/// For a place in the queue.
const QUEUE_DEADLINE: Duration = Duration::from_secs(15);

/// A producer of one member or writer.
pub(crate) struct Producer {
    shared: Arc<Shared>,
    role: String,
    transactional_id: Option<String>,
    live: Option<Live>,
    state: State,
    /// Smaller batches, after a broker refused one for the sum of its records.
    batch_bytes: Option<usize>,
    /// To be made anew after the abort: records failed, and librdkafka then counts later ones as out of sequence
    /// ("skipped sequence numbers"), or batches are to be smaller.
    tainted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    Lost,
}

/// The client itself. Topic handles leave before it does.
struct Live {
    topics: Vec<(Arc<str>, Topic)>,
    worker: Worker,
    client: Arc<KafkaProducer>,
    notes: Arc<Notes>,
    /// Whether librdkafka has a transaction open, or may have.
    begun: bool,
}

/// How the end of a transaction went.
enum End {
    Committed,
    /// Certainly not committed; to be aborted.
    Lost(TxnError),
    /// Nobody knows.
    Unknown(String),
}

impl Producer {
    pub(crate) fn new(shared: Arc<Shared>, role: String, transactional_id: Option<String>) -> Self {
        Self { shared, role, transactional_id, live: None, state: State::Idle, batch_bytes: None, tainted: false }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state != State::Idle
    }

    /// Makes the client, and registers its transactional id, which ends whatever an earlier owner of the id left open.
    pub(crate) fn ensure(&mut self) -> LogResult<()> {
        if self.live.is_some() {
            return Ok(());
        }
        let id = self.transactional_id.as_deref();
        let (client, notes) = self.shared.config.producer(&self.role, id, self.batch_bytes)?;
        let worker = Worker::start("millstream-txn")?;
        let live = Live { topics: Vec::new(), worker, client: Arc::new(client), notes, begun: false };
        let Some(id) = id else {
            self.live = Some(live);
            return Ok(());
        };
        let client = live.client.clone();
        let result = live
            .worker
            .call(INIT_DEADLINE + GRACE, move || until(INIT_DEADLINE, |left| ffi::init_transactions(&client, left)));
        let what = format!("cannot register the transactional id {id}");
        match result {
            Some(Ok(())) => {
                self.live = Some(live);
                Ok(())
            }
            Some(Err(error)) => {
                let error = self.shared.explain(what, error.code, &error.text, &live.notes);
                live.give_up();
                Err(error)
            }
            None => {
                let error = self.shared.explain(what, RDKafkaErrorCode::OperationTimedOut, "", &live.notes);
                live.give_up();
                Err(error)
            }
        }
    }

    /// Registers the transactional id anew, which ends whatever this producer left open. A transaction the caller
    /// believes open is then lost, and stays so until it is aborted.
    pub(crate) fn renew(&mut self) -> LogResult<()> {
        let state = self.state;
        self.give_up();
        if state != State::Idle {
            self.state = State::Lost;
        }
        self.ensure()
    }

    /// Queues records, taking them out of the list; what is left there was not queued.
    pub(crate) fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        if records.is_empty() {
            return Ok(());
        }
        self.ensure().map_err(Sent::Failed)?;
        self.open()?;
        let Some(live) = &mut self.live else { return Err(lost("there is no producer")) };
        let (mut queued, mut refused, mut failed) = (0, Vec::new(), None);
        let end = Instant::now() + QUEUE_DEADLINE;
        for record in records.iter() {
            match live.queue(record, end) {
                Ok(()) => {}
                Err(code) if refuses_record(code) => {
                    refused.push((record.tag, refusal(code, record.to.topic.as_ref())))
                }
                Err(code) => {
                    failed = Some((code, record.to.clone()));
                    break;
                }
            }
            queued += 1;
        }
        records.drain(..queued);
        match failed {
            None if refused.is_empty() => Ok(()),
            None => {
                self.lose(records);
                Err(Sent::Refused(refused))
            }
            Some((RDKafkaErrorCode::QueueFull, to)) => {
                let what = format!("the queue of records to be sent stays full (at {to})");
                let notes = live.notes.clone();
                Err(Sent::Failed(self.shared.explain(what, RDKafkaErrorCode::QueueFull, "", &notes)))
            }
            Some((code, to)) => {
                self.lose(records);
                Err(self.failed(&format!("cannot send to {to}"), code, ""))
            }
        }
    }

    /// Commits the transaction with these positions.
    pub(crate) fn commit(&mut self, offsets: TopicPartitionList, group: GroupMetadata) -> Result<(), Sent> {
        if self.state == State::Lost {
            return Err(lost("the transaction was lost before"));
        }
        self.ensure().map_err(Sent::Failed)?;
        self.open()?;
        let Some(live) = &self.live else { return Err(lost("there is no producer")) };
        let client = live.client.clone();
        let end = live
            .worker
            .call(END_DEADLINE + GRACE, move || end_transaction(&client, &offsets, &group))
            .unwrap_or_else(|| End::Unknown("the commit of the transaction did not return".into()));
        match end {
            End::Committed => {
                self.state = State::Idle;
                if let Some(live) = &mut self.live {
                    live.begun = false;
                }
                Ok(())
            }
            End::Lost(error) => {
                self.state = State::Lost;
                // Requests may still be under way, and would leak into the next transaction of this epoch. Only a
                // group that answered with a plain no leaves none behind.
                self.tainted |= !matches!(
                    error.code,
                    RDKafkaErrorCode::IllegalGeneration
                        | RDKafkaErrorCode::UnknownMemberId
                        | RDKafkaErrorCode::RebalanceInProgress
                );
                Err(self.failed("the transaction cannot be committed", error.code, &error.text))
            }
            End::Unknown(why) => {
                self.give_up();
                let message = format!("nobody knows whether the transaction was committed: {why}");
                Err(Sent::Failed(LogError::new(Class::Fenced, "commit_unknown", message)))
            }
        }
    }

    /// Waits until all that was queued is acknowledged.
    pub(crate) fn flush(&mut self, timeout: Duration) -> Result<(), Sent> {
        let Some(live) = &self.live else { return Ok(()) };
        let client = live.client.clone();
        let done = live.worker.call(timeout + GRACE, move || ffi::flush(&client, timeout));
        if live.notes.has_failures() {
            self.state = State::Lost;
            return Err(self.failed("records were not delivered", RDKafkaErrorCode::NoError, ""));
        }
        match done {
            Some(true) => {
                self.state = State::Idle;
                Ok(())
            }
            Some(false) => {
                let what = "records are not acknowledged yet";
                Err(Sent::Failed(self.shared.explain(what, RDKafkaErrorCode::OperationTimedOut, "", &live.notes)))
            }
            None => {
                self.give_up();
                Err(lost("waiting for acknowledgements did not return"))
            }
        }
    }

    /// Throws away what was sent. Whatever happens, nothing of it becomes visible (in a transaction).
    pub(crate) fn abort(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Idle);
        let Some(live) = &mut self.live else { return };
        if self.tainted {
            // The next client with this id ends what is open, and fences what is under way; at once where it can.
            if let Err(error) = self.renew() {
                tracing::info!(target: "millstream::kafka", producer = %self.role, %error, "the transaction is ended later");
            }
            return;
        }
        let transactional = self.transactional_id.is_some();
        if state != State::Idle && (live.begun || !transactional) {
            live.begun = false;
            let client = live.client.clone();
            let ended = live.worker.call(END_DEADLINE + 2 * GRACE, move || {
                if !transactional {
                    return ffi::flush(&client, END_DEADLINE);
                }
                // An abort that overtakes the first record of a partition is a fatal error: await the deliveries.
                if state == State::Open {
                    ffi::flush(&client, GRACE);
                }
                until(END_DEADLINE, |left| ffi::abort_transaction(&client, left)).is_ok()
            });
            if ended != Some(true) {
                self.give_up();
                return;
            }
        }
        if let Some(live) = &self.live {
            live.notes.take_failures();
        }
    }

    /// Ends the client without waiting.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Idle;
        self.tainted = false;
        if let Some(live) = self.live.take() {
            live.give_up();
        }
    }

    fn open(&mut self) -> Result<(), Sent> {
        match (self.state, &mut self.live) {
            (State::Lost, _) => Err(lost("the transaction was lost before; it must be aborted")),
            (State::Open, _) | (_, None) => Ok(()),
            (State::Idle, Some(live)) => {
                if self.transactional_id.is_some() {
                    if let Err(error) = ffi::begin_transaction(&live.client) {
                        return Err(self.failed("cannot begin a transaction", error.code, &error.text));
                    }
                    live.begun = true;
                }
                self.state = State::Open;
                Ok(())
            }
        }
    }

    /// In a transaction one lost record loses all; a writer's others go on.
    fn lose(&mut self, records: &mut Vec<Outgoing>) {
        if self.transactional_id.is_some() {
            self.state = State::Lost;
            records.clear();
        }
    }

    /// What a failure means, by the records that were not delivered where there are any.
    fn failed(&mut self, what: &str, code: RDKafkaErrorCode, text: &str) -> Sent {
        let Some(live) = &self.live else { return lost(what) };
        let failures = live.notes.take_failures();
        self.tainted |= !failures.is_empty();
        if let Some((code, text)) = ffi::fatal_error(live.client.client().native_ptr()) {
            // This client is of no use any more; what it left open is ended by the next.
            let what = format!("{what}: {text}");
            self.give_up();
            let class = if self.transactional_id.is_some() { Class::Fenced } else { Class::Abort };
            return Sent::Failed(LogError::new(class, "producer_failed", format!("{what} ({})", describe(code))));
        }
        let notes = live.notes.clone();
        if let Some(sent) = self.refused(&failures) {
            return sent;
        }
        let (code, text) = failures
            .iter()
            .map(|f| f.code)
            .find(|c| !matches!(c, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight))
            .map_or((code, text), |code| (code, ""));
        let mut error = self.shared.explain(what.to_owned(), code, text, &notes);
        error.class = match error.class {
            // The records are gone from the queue: they have to be computed, or given, again.
            Class::Retry => Class::Abort,
            Class::Fatal => Class::Fenced,
            class => class,
        };
        Sent::Failed(error)
    }

    /// The records that a broker will never take, when that is what failed. A broker refuses a whole batch for its
    /// size: then those that are too large alone are told from those that were only in bad company.
    fn refused(&mut self, failures: &[Failure]) -> Option<Sent> {
        let of = |f: &Failure| (f.tag, refusal(f.code, &f.topic));
        let (sizes, others): (Vec<&Failure>, Vec<&Failure>) =
            failures.iter().filter(|f| refuses_record(f.code)).partition(|f| refuses_size(f.code));
        let mut refused: Vec<(u64, String)> = others.into_iter().map(of).collect();
        if sizes.len() == 1 {
            refused.push(of(sizes[0]));
        } else if !sizes.is_empty() {
            let mut smallest = usize::MAX;
            for failure in &sizes {
                let limit = self.shared.max_record_bytes(&failure.topic).unwrap_or(1);
                smallest = smallest.min(limit);
                // Headers and framing are not counted in `bytes`.
                if limit > 1 && failure.bytes + 1024 > limit {
                    refused.push(of(failure));
                }
            }
            if refused.is_empty() {
                tracing::warn!(target: "millstream::kafka", batch_bytes = smallest, "a broker refused a batch for its size; sending smaller ones");
                self.batch_bytes = Some(smallest);
                let message = "a batch was larger than its topic allows; smaller ones are sent from now on";
                return Some(Sent::Failed(LogError::new(Class::Abort, "batch_too_large", message)));
            }
        }
        (!refused.is_empty()).then_some(Sent::Refused(refused))
    }
}

impl Live {
    fn queue(&mut self, record: &Outgoing, end: Instant) -> Result<(), RDKafkaErrorCode> {
        let index = match self.topics.iter().position(|(name, _)| Arc::ptr_eq(name, &record.to.topic)) {
            Some(index) => index,
            None => self.add_topic(&record.to.topic)?,
        };
        let produce = Produce {
            partition: record.to.partition,
            key: record.key.as_ref(),
            value: record.value.as_ref(),
            headers: &record.headers,
            // librdkafka takes 0 for "now": the first millisecond of 1970 is stored as the second.
            timestamp: if record.timestamp == 0 { 1 } else { record.timestamp },
            tag: record.tag,
        };
        loop {
            match ffi::produce(&self.client, &self.topics[index].1, &produce) {
                Err(RDKafkaErrorCode::QueueFull) if Instant::now() < end => {
                    // Back-pressure of the brokers; the producer's own thread serves what comes back.
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    /// The same name may come in another allocation; few do, so that a list serves.
    fn add_topic(&mut self, name: &Arc<str>) -> Result<usize, RDKafkaErrorCode> {
        const MOST: usize = 256;
        if self.topics.len() >= MOST {
            self.topics.clear();
        }
        let topic = Topic::new(self.client.client().native_ptr(), name).ok_or(RDKafkaErrorCode::InvalidTopic)?;
        self.topics.push((name.clone(), topic));
        Ok(self.topics.len() - 1)
    }

    fn give_up(self) {
        drop_apart(self, Duration::ZERO);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Ends whatever transaction a dead owner left open, at once instead of after its time-out.
pub(crate) fn end_transaction_of(shared: &Arc<Shared>, owner: &str) -> LogResult<()> {
    tracing::info!(target: "millstream::kafka", owner, "taking over: ending the transaction of the owner before");
    Producer::new(shared.clone(), format!("takeover of {owner}"), Some(owner.to_owned())).ensure()
}

fn end_transaction(client: &KafkaProducer, offsets: &TopicPartitionList, group: &GroupMetadata) -> End {
    let end = Instant::now() + END_DEADLINE;
    if offsets.count() > 0
        && let Err(error) = until(END_DEADLINE, |left| ffi::send_offsets(client, offsets, group, left))
    {
        // Nothing was asked to be committed yet.
        return End::Lost(error);
    }
    let left = end.saturating_duration_since(Instant::now());
    match until(left, |left| ffi::commit_transaction(client, left)) {
        Ok(()) => End::Committed,
        Err(error) if error.abort => End::Lost(error),
        // A retriable one that ran out of time included.
        Err(error) => End::Unknown(error.text),
    }
}

/// Repeats a retriable call until the deadline; each gets the time that is left.
fn until(deadline: Duration, mut call: impl FnMut(Duration) -> Result<(), TxnError>) -> Result<(), TxnError> {
    let end = Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match call(left.max(Duration::from_millis(1))) {
            Err(error) if error.retriable && Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
}

fn lost(what: &str) -> Sent {
    Sent::Failed(LogError::new(Class::Abort, "transaction_lost", what))
}

fn refusal(code: RDKafkaErrorCode, topic: &str) -> String {
    format!("{topic} does not take it: {}", describe(code))
}

impl Shared {
    /// An error with what the connection complained about last, where the brokers are away.
    pub(crate) fn explain(
        &self,
        what: impl std::fmt::Display,
        code: RDKafkaErrorCode,
        text: &str,
        notes: &Notes,
    ) -> LogError {
        let mut error = log_error(&what, code);
        if !text.is_empty() {
            error.message = format!("{what}: {text}");
        }
        if error.class == Class::Retry
            && let Some((code, trouble)) = notes.trouble()
        {
            error.message = format!("{}; Kafka at {}: {trouble}", error.message, self.config.brokers);
            // A wrong password shows as brokers that are away.
            let (class, name) = classify(code);
            if matches!(class, Class::Denied | Class::Config) {
                (error.class, error.code) = (class, name);
            }
        }
        error
    }
}
