//! Reads partitions by hand, in no group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_log::{Batch, Budget, Class, End, Isolation, LogError, LogResult, Reader, TopicPartition, Waker};
use rdkafka::consumer::Consumer;

use crate::config::Reading;
use crate::error::log_error;
use crate::feed::Feed;
use crate::ffi::{DataQueue, Topic};
use crate::shared::Shared;
use crate::signal::Signal;
use crate::source::Source;
use crate::worker::drop_apart;

/// A missed signal costs no more than this.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// See [`Reader`].
pub(crate) struct KafkaReader {
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    sources: Vec<Source>,
    /// Dropped apart, in this order: a consumer's drop may hang.
    parts: Option<(Feed, Vec<Topic>, Reading)>,
}

impl KafkaReader {
    pub(crate) fn new(shared: Arc<Shared>, isolation: Isolation) -> LogResult<Self> {
        let signal = Arc::new(Signal::default());
        let reading = shared.config.free_consumer("reader", isolation, Some(signal.clone()))?;
        let queue = DataQueue::new(reading.client.clone(), signal.clone())
            .ok_or_else(|| LogError::new(Class::Fatal, "kafka_error", "librdkafka made no queue"))?;
        Ok(Self { shared, signal, sources: Vec::new(), parts: Some((Feed::new(queue), Vec::new(), reading)) })
    }

    fn parts(&mut self) -> LogResult<&mut (Feed, Vec<Topic>, Reading)> {
        self.parts.as_mut().ok_or_else(|| LogError::new(Class::Fatal, "kafka_error", "the reader is closed"))
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()> {
        let partitions: Vec<TopicPartition> = from.iter().map(|(at, _)| at.clone()).collect();
        let lows = self.shared.ends(&partitions, End::Low)?;
        let highs = self.shared.ends(&partitions, End::High)?;
        let sources = std::mem::take(&mut self.sources);
        let (feed, topics, reading) = self.parts()?;
        for (source, topic) in sources.iter().zip(topics.iter()) {
            feed.queue.stop(topic, source.at.partition);
            feed.forget(&source.at.topic, source.at.partition);
        }
        topics.clear();
        let mut sources = Vec::with_capacity(from.len());
        for (i, (at, offset)) in from.iter().enumerate() {
            // Out of these bounds the broker would send it back to the first record.
            let offset = (*offset).clamp(lows[i], highs[i]);
            let topic = Topic::new(reading.client.client().native_ptr(), &at.topic).ok_or_else(|| {
                LogError::new(Class::Config, "unknown_topic", format!("no topic can be named {:?}", at.topic))
            })?;
            feed.queue
                .start(&topic, at.partition, offset)
                .map_err(|code| log_error(format!("cannot read {at}"), code))?;
            topics.push(topic);
            let mut source = Source::new(at.clone(), 0);
            (source.next, source.reading) = (offset, true);
            sources.push(source);
        }
        self.sources = sources;
        Ok(())
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>> {
        let end = Instant::now() + timeout;
        let mut batches = Vec::new();
        loop {
            self.signal.lower();
            let Some((feed, _, reading)) = &mut self.parts else { return Ok(batches) };
            for _ in 0..16 {
                // Log lines and errors of connections; librdkafka goes on by itself.
                drop(reading.client.poll(Duration::ZERO));
            }
            let read = feed.read(budget, &mut self.sources, &mut batches);
            if !batches.is_empty() {
                return Ok(batches);
            }
            read?;
            let left = end.saturating_duration_since(Instant::now());
            if self.signal.take_wake() || left.is_zero() {
                return Ok(batches);
            }
            self.signal.wait(left.min(LOOK));
        }
    }

    fn waker(&self) -> Waker {
        let signal = self.signal.clone();
        Arc::new(move || signal.wake())
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            drop_apart(parts, Duration::ZERO);
        }
    }
}
