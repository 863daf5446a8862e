//! One replica: a member of a consumer group with a producer of its own, and a ledger of what it owns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{
    Batch, Budget, Class, Delivery, Event, LogError, LogResult, Member, MemberConfig, Outgoing, Position, Sent,
    TopicPartition, Waker,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::claim;
use crate::config::Reading;
use crate::error::{describe, kafka_error, log_error};
use crate::feed::Feed;
use crate::ffi::{self, Committing, DataQueue, GroupMetadata};
use crate::joining::{self, Waiting};
use crate::producer::Producer;
use crate::reader::LOOK;
use crate::shared::Shared;
use crate::signal::Signal;
use crate::source::{Source, find};
use crate::worker::drop_apart;

mod instance;
mod seeking;
mod watching;

use self::watching::Quiet;

/// For a commit in the group; what takes longer has an unknown outcome.
const COMMIT_DEADLINE: Duration = Duration::from_secs(20);
/// For acknowledgements in at-least-once mode; the same call again goes on waiting.
const FLUSH_DEADLINE: Duration = Duration::from_secs(20);

/// See [`Member`].
pub(crate) struct KafkaMember {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: MemberConfig,
    /// `<group>.<name>`: the transactional id, and what claims name.
    pub(crate) id: String,
    pub(crate) transactional: bool,
    pub(crate) sides: Vec<Arc<str>>,
    /// Lead partitions from this one on have no side partitions, and are not taken over.
    pub(crate) most: i32,
    signal: Arc<Signal>,
    pub(crate) producer: Producer,
    /// What is owned and announced. R6: nothing that is not in here has an effect.
    pub(crate) sources: Vec<Source>,
    /// Lead partitions that the group gave and that are not taken over yet.
    pub(crate) coming: Vec<TopicPartition>,
    /// Lead partitions that the group asked back.
    pub(crate) revoking: Vec<TopicPartition>,
    /// Released, but still with librdkafka until the whole revocation is answered.
    pub(crate) unfetched: Vec<TopicPartition>,
    pub(crate) outbox: Vec<Event>,
    pub(crate) epoch: u64,
    pub(crate) pause_until: Option<Instant>,
    /// librdkafka may read on from a wrong offset: nothing is taken before it was sent to the right one.
    pub(crate) astray: bool,
    /// Since when librdkafka refuses to be sent there.
    stuck_since: Option<Instant>,
    away: bool,
    probe_at: Option<Instant>,
    waiting: Waiting,
    quiet: Quiet,
    /// Why nothing can be committed any more: nobody knows how the last commit ended.
    broken: Option<String>,
    /// Taken when the member ends; dropped apart, queue first.
    parts: Option<(Feed, Reading)>,
}

/// How a commit without a transaction ended.
enum Plain {
    Done,
    /// The group changed meanwhile; an event says more.
    Overtaken(LogError),
    Failed(LogError),
}

impl KafkaMember {
    pub(crate) fn join(shared: Arc<Shared>, config: MemberConfig) -> LogResult<Self> {
        let most = shared_partitions(&shared, &config)?;
        let id = format!("{}.{}", config.group, config.name);
        if id.contains(';') {
            let message = format!("a group or replica name must not contain `;`: {id}");
            return Err(LogError::new(Class::Config, "bad_name", message));
        }
        let signal = Arc::new(Signal::default());
        let reading = shared.config.member(&config, signal.clone())?;
        let queue = DataQueue::new(reading.client.clone(), signal.clone())
            .ok_or_else(|| LogError::new(Class::Fatal, "kafka_error", "librdkafka made no queue"))?;
        reading
            .client
            .subscribe(&[&config.lead])
            .map_err(|e| kafka_error(format!("cannot subscribe to {}", config.lead), &e))?;
        let transactional = config.delivery == Delivery::ExactlyOnce;
        let producer = Producer::new(shared.clone(), id.clone(), transactional.then(|| id.clone()));
        Ok(Self {
            sides: config.side.iter().map(|s| Arc::from(s.as_str())).collect(),
            most,
            shared,
            config,
            id,
            transactional,
            signal,
            producer,
            sources: Vec::new(),
            coming: Vec::new(),
            revoking: Vec::new(),
            unfetched: Vec::new(),
            outbox: Vec::new(),
            epoch: 0,
            pause_until: None,
            astray: false,
            stuck_since: None,
            away: false,
            probe_at: None,
            waiting: Waiting::new(),
            quiet: Quiet::new(),
            broken: None,
            parts: Some((Feed::new(queue), reading)),
        })
    }

    #[expect(clippy::expect_used, reason = "`parts` is taken only by `leave` and `drop`, which end the member")]
    pub(crate) fn reading(&self) -> &Reading {
        &self.parts.as_ref().expect("the member has not ended").1
    }

    #[expect(clippy::expect_used, reason = "as in `reading`")]
    pub(crate) fn feed_mut(&mut self) -> &mut Feed {
        &mut self.parts.as_mut().expect("the member has not ended").0
    }

    /// Serves the group's queue: rebalances go to the notes, errors are told where somebody can do something.
    fn serve(&mut self) -> LogResult<()> {
        for _ in 0..16 {
            let Some(Err(error)) = self.reading().client.poll(Duration::ZERO) else { continue };
            match error {
                KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId) => {
                    let error = self.taken();
                    self.broken = Some(error.message.clone());
                    return Err(error);
                }
                KafkaError::MessageConsumptionFatal(code) => {
                    self.broken = Some(describe(code));
                    return Err(LogError::new(
                        Class::Fenced,
                        "fenced",
                        format!("group {}: {}", self.config.group, describe(code)),
                    ));
                }
                KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded) => {
                    tracing::warn!(target: "millstream::kafka", group = %self.config.group, "the member was not polled for too long and left its group");
                }
                KafkaError::MessageConsumption(code) => {
                    let (group, lead) = (&self.config.group, &self.config.lead);
                    if let Some(error) = joining::refused(&self.shared, self.reading(), group, lead, code) {
                        return Err(error);
                    }
                    let error = log_error(format!("group {}", self.config.group), code);
                    if error.class == Class::Denied {
                        return Err(error);
                    }
                    tracing::trace!(target: "millstream::kafka", group = %self.config.group, %error, "consumer error");
                }
                other => {
                    tracing::debug!(target: "millstream::kafka", group = %self.config.group, error = %other, "consumer error")
                }
            }
        }
        Ok(())
    }

    /// Commits as a member of the group, outside a transaction. Rebalances in progress are waited for.
    fn commit_plain(&mut self, list: &TopicPartitionList, deadline: Duration) -> Plain {
        let end = Instant::now() + deadline;
        let what = format!("cannot commit positions of group {}", self.config.group);
        loop {
            let client = self.reading().client.clone();
            let joined = GroupMetadata::of(&client).is_some_and(|g| g.generation() >= 0);
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let code = if joined {
                match ffi::commit_offsets(&client, list, left) {
                    Ok(Committing::Done) => return Plain::Done,
                    Ok(Committing::Unknown) => {
                        self.broken = Some("the brokers did not say how a commit of positions ended".into());
                        return Plain::Failed(self.broken_error());
                    }
                    Ok(Committing::Refused(code)) | Err(code) => code,
                }
            } else {
                RDKafkaErrorCode::UnknownMemberId
            };
            let error = log_error(&what, code);
            match code {
                RDKafkaErrorCode::FencedInstanceId => return Plain::Failed(self.taken()),
                RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::AssignmentLost => return Plain::Overtaken(error),
                RDKafkaErrorCode::IllegalGeneration if Instant::now() >= end || client.assignment_lost() => {
                    return Plain::Overtaken(error);
                }
                RDKafkaErrorCode::IllegalGeneration => {}
                _ if error.class != Class::Retry => return Plain::Failed(error),
                _ if Instant::now() >= end => {
                    return Plain::Failed(self.shared.explain(&what, code, "", &self.reading().notes));
                }
                _ => {}
            }
            // The group goes on only while it is served; what it says is kept for the next poll.
            drop(client.poll(Duration::from_millis(20)));
        }
    }

    /// Marks positions as committed in the ledger.
    fn note(&mut self, positions: &[Position], claimed: bool) {
        for position in positions {
            if let Some(index) = find(&self.sources, &position.partition) {
                self.sources[index].committed = Some((position.offset, position.metadata.clone()));
                self.sources[index].claimed = claimed;
            }
        }
    }

    fn list(&self, positions: &[Position], owner: Option<&str>) -> LogResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in positions {
            let mut element = list.add_partition(&position.partition.topic, position.partition.partition);
            element
                .set_offset(Offset::Offset(position.offset))
                .map_err(|e| kafka_error(format!("cannot commit {} of {}", position.offset, position.partition), &e))?;
            element.set_metadata(claim::write(owner, &position.metadata));
        }
        Ok(list)
    }

    fn owner(&self) -> Option<String> {
        self.transactional.then(|| self.id.clone())
    }

    fn broken_error(&self) -> LogError {
        let why = self.broken.as_deref().unwrap_or("it was given up");
        LogError::new(
            Class::Fenced,
            "member_broken",
            format!("this member of group {} must join again: {why}", self.config.group),
        )
    }

    /// Positions as they stand committed, without a claim: whoever comes next has no transaction to end.
    fn hand_over(&mut self, partitions: &[TopicPartition], deadline: Duration) {
        let mut positions = Vec::new();
        for at in partitions {
            if let Some(source) = find(&self.sources, at).map(|i| &self.sources[i])
                && source.claimed
                && let Some((offset, metadata)) = &source.committed
            {
                positions.push(Position { partition: at.clone(), offset: *offset, metadata: metadata.clone() });
            }
        }
        if positions.is_empty() || self.broken.is_some() {
            return;
        }
        let ended = match self.list(&positions, None) {
            Ok(list) => self.commit_plain(&list, deadline),
            Err(error) => Plain::Failed(error),
        };
        match ended {
            Plain::Done => self.note(&positions, false),
            // The claim stays: the next owner ends a transaction that is not open, which costs it some milliseconds.
            Plain::Overtaken(error) | Plain::Failed(error) => {
                tracing::info!(target: "millstream::kafka", group = %self.config.group, %error, "the claims stay");
            }
        }
    }
}

impl Member for KafkaMember {
    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        let end = Instant::now() + timeout;
        loop {
            self.signal.lower();
            self.serve()?;
            self.settle()?;
            let steered = self.steer()?;
            self.look_for_brokers();
            self.look_for_partitions();
            self.look_for_stalled(steered && budget.records > 0)?;
            // Alone: serving them may send the reading back, and what was read before must not come after.
            if !self.outbox.is_empty() {
                return Ok(std::mem::take(&mut self.outbox));
            }
            let before = batches.len();
            let read = match &mut self.parts {
                Some((feed, _)) if steered && budget.records > 0 => feed.read(budget, &mut self.sources, batches),
                _ => Ok(()),
            };
            if batches.len() > before {
                return Ok(Vec::new());
            }
            read.map_err(overtaken)?;
            let left = end.saturating_duration_since(Instant::now());
            if self.signal.take_wake() || left.is_zero() {
                return Ok(Vec::new());
            }
            self.signal.wait(left.min(LOOK));
        }
    }

    /// Partitions that are not owned any more are passed over: an event says so at the next poll.
    fn start(&mut self, positions: &[Position]) -> LogResult<()> {
        let owned: Vec<Position> =
            positions.iter().filter(|p| find(&self.sources, &p.partition).is_some()).cloned().collect();
        let transactional = self.transactional;
        let unclaimed: Vec<Position> = owned
            .iter()
            .filter(|p| {
                find(&self.sources, &p.partition).map(|i| &self.sources[i]).is_some_and(|s| {
                    let stands = s.committed.as_ref().is_some_and(|(o, m)| *o == p.offset && *m == p.metadata);
                    !stands || transactional && !s.claimed
                })
            })
            .cloned()
            .collect();
        if !unclaimed.is_empty() {
            if self.broken.is_some() {
                return Err(self.broken_error());
            }
            let list = self.list(&unclaimed, self.owner().as_deref())?;
            match self.commit_plain(&list, COMMIT_DEADLINE) {
                Plain::Done => self.note(&unclaimed, transactional),
                Plain::Overtaken(error) => {
                    tracing::info!(target: "millstream::kafka", group = %self.config.group, %error, "not started: the group changed");
                    return Ok(());
                }
                Plain::Failed(error) => return Err(error),
            }
        }
        self.fetch(&owned)
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) -> LogResult<()> {
        self.pause_fetching(partitions, paused)
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> LogResult<()> {
        if self.producer.is_open() && self.transactional {
            let message = "a transaction is open: commit or abort it before partitions are released";
            return Err(LogError::new(Class::Abort, "transaction_open", message));
        }
        self.hand_over(partitions, COMMIT_DEADLINE);
        let fetching = self.remove(partitions);
        self.unfetched.extend(fetching);
        self.answer_revocation()
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        if self.broken.is_some() {
            return Err(Sent::Failed(self.broken_error()));
        }
        self.producer.send(records).map_err(|sent| self.by_whom(sent))
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        self.commit_now(positions).map_err(|sent| self.by_whom(sent))
    }

    fn abort(&mut self) -> LogResult<()> {
        self.producer.abort();
        Ok(())
    }

    fn max_metadata(&self) -> usize {
        claim::room(&self.id)
    }

    fn waker(&self) -> Waker {
        let signal = self.signal.clone();
        Arc::new(move || signal.wake())
    }

    fn leave(mut self: Box<Self>, deadline: Duration) {
        let end = Instant::now() + deadline;
        if self.producer.is_open() {
            self.producer.abort();
        }
        let all: Vec<TopicPartition> = self.sources.iter().map(|s| s.at.clone()).collect();
        self.hand_over(&all, deadline.min(COMMIT_DEADLINE));
        self.producer.give_up();
        if let Some(parts) = self.parts.take() {
            parts.1.notes.close();
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if !drop_apart(parts, left) {
                tracing::warn!(target: "millstream::kafka", group = %self.config.group, "leaving the group takes longer than allowed");
            }
        }
    }
}

impl KafkaMember {
    fn commit_now(&mut self, positions: &[Position]) -> Result<(), Sent> {
        if self.broken.is_some() {
            return Err(Sent::Failed(self.broken_error()));
        }
        if let Some(foreign) = positions.iter().find(|p| find(&self.sources, &p.partition).is_none()) {
            let message = format!("{} is not owned by this member of group {}", foreign.partition, self.config.group);
            return Err(Sent::Failed(LogError::new(Class::Abort, "not_owner", message)));
        }
        let list = self.list(positions, self.owner().as_deref()).map_err(Sent::Failed)?;
        if self.transactional && self.producer.is_open() {
            let group = GroupMetadata::of(&self.reading().client).filter(|g| g.generation() >= 0).ok_or_else(|| {
                // A broker takes a commit without a generation unfenced.
                let message = format!("this member is not in group {} any more", self.config.group);
                Sent::Failed(LogError::new(Class::Abort, "not_joined", message))
            })?;
            let result = self.producer.commit(list, group);
            if let Err(Sent::Failed(error)) = &result
                && error.class == Class::Fenced
            {
                self.broken = Some(error.message.clone());
            }
            result?;
        } else {
            if self.producer.is_open() {
                self.producer.flush(FLUSH_DEADLINE)?;
            }
            if !positions.is_empty() {
                match self.commit_plain(&list, COMMIT_DEADLINE) {
                    Plain::Done => {}
                    Plain::Overtaken(mut error) => {
                        error.class = Class::Abort;
                        return Err(Sent::Failed(error));
                    }
                    Plain::Failed(error) => return Err(Sent::Failed(error)),
                }
            }
        }
        self.note(positions, self.transactional);
        Ok(())
    }
}

impl Drop for KafkaMember {
    /// Without [`Member::leave`]: claims stay, so that the next owner ends what is open.
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            parts.1.notes.close();
            drop_apart(parts, Duration::ZERO);
        }
    }
}

/// A member reads from where its group stood. If that is gone, another owner has gone on and deleted what it has worked
/// off, or retention has: who joins again is told which.
fn overtaken(error: LogError) -> LogError {
    if error.code == "offset_out_of_range" { LogError { class: Class::Fenced, ..error } } else { error }
}

/// How many lead partitions each side topic has too; the topics are there.
fn shared_partitions(shared: &Shared, config: &MemberConfig) -> LogResult<i32> {
    let unknown = |topic: &str| LogError::new(Class::Config, "unknown_topic", format!("there is no topic {topic}"));
    shared.describe(&config.lead)?.ok_or_else(|| unknown(&config.lead))?;
    let mut most = i32::MAX;
    for side in &config.side {
        most = most.min(shared.describe(side)?.ok_or_else(|| unknown(side))?.partitions);
    }
    Ok(most)
}
