//! What librdkafka tells a client of ours: rebalances, failed deliveries, lost brokers, log lines.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;

use millstream_log::TopicPartition;

/// A consumer of ours.
pub(crate) type KafkaConsumer = BaseConsumer<Context>;
/// A producer of ours; its own thread serves its events.
pub(crate) type KafkaProducer = ThreadedProducer<Context>;

/// A change of the group's assignment, kept until the member's poll looks at it: nothing is assigned inside the
/// callback, because committed positions have to be read first, and that needs the thread.
#[derive(Debug)]
pub(crate) enum Change {
    Assign(Vec<TopicPartition>),
    Revoke { partitions: Vec<TopicPartition>, lost: bool },
}

/// A record that was queued and not taken by the broker.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) tag: u64,
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) topic: String,
    pub(crate) bytes: usize,
}

/// State shared by a client and its owner.
#[derive(Default)]
pub(crate) struct Notes {
    changes: Mutex<Vec<Change>>,
    failures: Mutex<Vec<Failure>>,
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// librdkafka has no connection to any broker.
    unreachable: AtomicBool,
    /// On its way out: rebalances are answered at once.
    closing: AtomicBool,
    quiet: Mutex<Vec<(String, Instant)>>,
}

impl Notes {
    pub(crate) fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut lock(&self.changes))
    }

    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut lock(&self.failures))
    }

    pub(crate) fn has_failures(&self) -> bool {
        !lock(&self.failures).is_empty()
    }

    /// The last thing a connection complained about.
    pub(crate) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.trouble).clone()
    }

    pub(crate) fn forget_trouble(&self) {
        *lock(&self.trouble) = None;
        self.unreachable.store(false, Ordering::Release);
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether a line of this kind was let through in the last ten seconds already.
    fn repeats(&self, kind: &str) -> bool {
        const PAUSE: Duration = Duration::from_secs(10);
        let mut quiet = lock(&self.quiet);
        quiet.retain(|(_, at)| at.elapsed() < PAUSE);
        if quiet.iter().any(|(known, _)| known == kind) {
            return true;
        }
        quiet.push((kind.to_owned(), Instant::now()));
        false
    }
}

/// Whether a line tells of something that librdkafka tries again by itself. Where that goes on for long, the runtime says
/// so, with the reason.
fn is_retried(kind: &str, message: &str) -> bool {
    matches!(kind, "FAIL" | "GETPID" | "METADATA" | "REQTMOUT") || message.contains("retrying")
}

/// One client's context; `role` says in logs whose it is.
#[derive(Clone)]
pub(crate) struct Context {
    role: Arc<str>,
    pub(crate) notes: Arc<Notes>,
}

impl Context {
    pub(crate) fn new(role: &str) -> Self {
        Self { role: role.into(), notes: Arc::default() }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, kind: &str, message: &str) {
        if is_retried(kind, message) || self.notes.repeats(kind) {
            tracing::debug!(target: "millstream::kafka", client = &*self.role, kind, "{message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "millstream::kafka", client = &*self.role, kind, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "millstream::kafka", client = &*self.role, kind, "{message}");
            }
            _ => tracing::debug!(target: "millstream::kafka", client = &*self.role, kind, "{message}"),
        }
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let down = code == RDKafkaErrorCode::AllBrokersDown;
        if down {
            self.notes.unreachable.store(true, Ordering::Release);
        }
        let mut trouble = lock(&self.notes.trouble);
        // "All brokers down" says less than the complaint before it.
        if !(down && trouble.is_some()) {
            *trouble = Some((code, reason.to_owned()));
        }
        tracing::trace!(target: "millstream::kafka", client = &*self.role, %code, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.notes.closing.load(Ordering::Acquire) {
            // The close waits for an answer; who takes over reads what was committed.
            if let Err(error) = consumer.unassign() {
                tracing::debug!(target: "millstream::kafka", client = &*self.role, %error, "unassign while closing");
            }
            return;
        }
        let partitions = list.elements().iter().map(|e| TopicPartition::new(e.topic(), e.partition())).collect();
        let change = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Change::Assign(partitions)
        } else {
            Change::Revoke { partitions, lost: consumer.assignment_lost() }
        };
        lock(&self.notes.changes).push(change);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    /// Called for failures only (`delivery.report.only.error`).
    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            let bytes = message.payload_len() + message.key_len();
            let failure = Failure { tag: tag as u64, code, topic: message.topic().to_owned(), bytes };
            lock(&self.notes.failures).push(failure);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of librdkafka 2.12.1. Negative control: `is_retried` that is always false, or always true.
    #[test]
    fn what_is_tried_again_is_told_from_what_is_not() {
        let busy = "Failed to acquire transactional PID from broker TxnCoordinator/1: Broker: Coordinator load in \
                    progress: retrying";
        assert!(is_retried("GETPID", busy));
        assert!(is_retried("FAIL", "Connect to ipv4#127.0.0.1:1 failed: Connection refused"));
        assert!(!is_retried("MAXPOLL", "Application maximum poll interval (300000ms) exceeded by 88ms"));
        assert!(!is_retried("CONFWARN", "Configuration property `x` is deprecated"));
    }
}
