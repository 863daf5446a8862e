//! The yardstick: the least a program can do with rdkafka to copy a topic safely. One thread, no thought per record;
//! key, payload, headers, time and partition pass.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// One copy.
#[derive(Args, Clone, Debug)]
pub(crate) struct Copy {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    from: String,
    #[arg(long)]
    to: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    records: u64,
    #[arg(long, value_enum)]
    delivery: Delivery,
}

/// As in a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delivery {
    /// Idempotent producer; positions are committed when all before is acknowledged.
    AtLeastOnce,
    /// Outputs and positions in a transaction.
    ExactlyOnce,
}

/// As Millstream's own default.
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// Between looks at the clock and at delivery reports.
const RECORDS_PER_LOOK: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(60);

impl Copy {
    /// Copies, then stays until it is ended: the figures of a process that is gone cannot be read.
    pub(crate) fn run(&self) -> Result<(), String> {
        self.copy().map_err(|e| format!("the copy loop failed: {e}"))?;
        loop {
            std::thread::park();
        }
    }

    fn copy(&self) -> Result<(), KafkaError> {
        let transactional = self.delivery == Delivery::ExactlyOnce;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            // The default of a second lets the queue of read-ahead records run dry: a yardstick must not be slow by that.
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("enable.idempotence", "true");
        if transactional {
            config.set("transactional.id", format!("{}.copy", self.group));
        }
        let producer: BaseProducer = config.create()?;
        if transactional {
            producer.init_transactions(PATIENCE)?;
            producer.begin_transaction()?;
        }
        consumer.subscribe(&[&self.from])?;
        let mut positions: Vec<i64> = Vec::new();
        let mut copied = 0;
        let mut committed = 0;
        let mut last_commit = Instant::now();
        while committed < self.records {
            if let Some(message) = consumer.poll(Duration::from_millis(10)) {
                let message = message?;
                self.send(&producer, &message)?;
                let partition = message.partition() as usize;
                if positions.len() <= partition {
                    positions.resize(partition + 1, -1);
                }
                positions[partition] = message.offset() + 1;
                copied += 1;
                if copied % RECORDS_PER_LOOK != 0 && copied < self.records {
                    continue;
                }
            }
            producer.poll(Duration::ZERO);
            if copied > committed && (last_commit.elapsed() >= COMMIT_EVERY || copied >= self.records) {
                self.commit(&consumer, &producer, &positions)?;
                committed = copied;
                last_commit = Instant::now();
            }
        }
        Ok(())
    }

    fn send(&self, producer: &BaseProducer, message: &BorrowedMessage<'_>) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.to).partition(message.partition());
        record.key = message.key();
        record.payload = message.payload();
        record.timestamp = message.timestamp().to_millis();
        record.headers = message.headers().filter(|h| h.count() > 0).map(|h| h.detach());
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    producer.poll(Duration::from_millis(1));
                    record = again;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn commit(&self, consumer: &BaseConsumer, producer: &BaseProducer, positions: &[i64]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions.iter().enumerate().filter(|(_, p)| **p >= 0) {
            list.add_partition_offset(&self.from, partition as i32, Offset::Offset(*position))?;
        }
        if self.delivery == Delivery::AtLeastOnce {
            producer.flush(PATIENCE)?;
            return consumer.commit(&list, rdkafka::consumer::CommitMode::Sync);
        }
        let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
        producer.send_offsets_to_transaction(&list, &group, PATIENCE)?;
        producer.commit_transaction(PATIENCE)?;
        producer.begin_transaction()
    }
}
