//! The yardstick: the least a program can do with librdkafka to copy a topic safely. One thread, no thought per record;
//! key, payload, headers, time and partition pass.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rdkafka::{Offset, TopicPartitionList};

use crate::librdkafka::{Consumer, Producer};

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
    #[arg(long, value_enum)]
    delivery: Delivery,
    /// Of what it writes.
    #[arg(long, default_value = "none")]
    compression: String,
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
/// Records taken at once, between looks at the clock.
const BATCH: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

impl Copy {
    /// Copies until it is ended.
    pub(crate) fn run(&self) -> Result<(), String> {
        self.copy().map_err(|e| format!("the copy loop failed: {e}"))
    }

    fn copy(&self) -> Result<(), String> {
        let transactional = self.delivery == Delivery::ExactlyOnce;
        let mut consumer = Consumer::subscribe(&self.reading(), &self.from)?;
        let id = format!("{}.copy", self.group);
        let mut settings = self.writing();
        if transactional {
            settings.push(("transactional.id", &id));
        }
        let mut producer = Producer::new(&settings, &self.to)?;
        if transactional {
            producer.init_transactions(PATIENCE)?;
            producer.begin()?;
        }
        let (mut positions, mut pending) = (Vec::<i64>::new(), false);
        let mut last_commit = Instant::now();
        loop {
            consumer.read(BATCH, COMMIT_EVERY.saturating_sub(last_commit.elapsed()))?;
            producer.forward(&mut consumer, |partition, offset| {
                let partition = partition as usize;
                if positions.len() <= partition {
                    positions.resize(partition + 1, -1);
                }
                positions[partition] = offset + 1;
                pending = true;
            })?;
            if last_commit.elapsed() >= COMMIT_EVERY {
                if pending {
                    self.commit(&consumer, &producer, &positions)?;
                    pending = false;
                }
                last_commit = Instant::now();
            }
        }
    }

    fn reading(&self) -> Vec<(&str, &str)> {
        vec![
            ("bootstrap.servers", &self.brokers),
            ("group.id", &self.group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("isolation.level", "read_committed"),
            // The default of a second lets the queue of read-ahead records run dry: a yardstick must not be slow by that.
            ("fetch.queue.backoff.ms", "10"),
        ]
    }

    fn writing(&self) -> Vec<(&str, &str)> {
        vec![
            ("bootstrap.servers", &self.brokers),
            ("enable.idempotence", "true"),
            ("compression.type", &self.compression),
            // Nobody waits for a single record: the commit tells that all are there.
            ("delivery.report.only.error", "true"),
        ]
    }

    fn commit(&self, consumer: &Consumer, producer: &Producer, positions: &[i64]) -> Result<(), String> {
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions.iter().enumerate().filter(|(_, p)| **p >= 0) {
            let added = list.add_partition_offset(&self.from, partition as i32, Offset::Offset(*position));
            added.map_err(|e| e.to_string())?;
        }
        if self.delivery == Delivery::AtLeastOnce {
            producer.flush(PATIENCE)?;
            return consumer.commit(&list);
        }
        producer.commit(consumer, &list, PATIENCE)?;
        producer.begin()
    }
}
