//! Fetched records, from librdkafka's queue to batches within a budget.
//!
//! Back-pressure is not dequeuing: what is not asked for stays in librdkafka's queue, which stops fetching when it is
//! full. A record that was dequeued beyond the budget waits here, at most a few.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_log::{Batch, Budget, Class, LogError, LogRecord, LogResult};
use rdkafka::error::RDKafkaErrorCode;

use crate::error::log_error;
use crate::ffi::{DataQueue, Message};
use crate::source::Source;

/// Keys and values of this many bytes share one allocation: one record that is kept long pins no more than that.
const ARENA: usize = 128 << 10;
/// Most records taken from librdkafka at once.
const GRAB: usize = 1024;

/// The way in.
pub(crate) struct Feed {
    pub(crate) queue: DataQueue,
    waiting: VecDeque<Message>,
    /// Bytes of a usual record, so that a grab fits the budget.
    usual: usize,
    headers: HeadersBuilder,
    run: Vec<(Message, Headers)>,
}

impl Feed {
    pub(crate) fn new(queue: DataQueue) -> Self {
        Self {
            queue,
            waiting: VecDeque::new(),
            usual: 64 << 10,
            headers: HeadersBuilder::with_capacity(0),
            run: Vec::new(),
        }
    }

    /// Drops what was taken of a partition and not handed out.
    pub(crate) fn forget(&mut self, topic: &str, partition: i32) {
        self.waiting.retain(|m| m.partition() != partition || m.topic() != topic);
    }

    /// Moves what is there now into batches, up to the budget. Never waits.
    pub(crate) fn read(&mut self, budget: Budget, sources: &mut [Source], batches: &mut Vec<Batch>) -> LogResult<()> {
        let (mut records, mut bytes, mut current) = (0usize, 0usize, None);
        let result = loop {
            if records >= budget.records || bytes >= budget.bytes.max(1) {
                break Ok(());
            }
            let Some(message) = self.next(budget.records - records, budget.bytes.saturating_sub(bytes)) else {
                break Ok(());
            };
            let index = match current {
                // In a run the pointers say it, without a look at the name.
                Some(i) if self.run.last().is_some_and(|(last, _)| last.is_beside(&message)) => i,
                Some(i) if is_of(&sources[i], &message) => i,
                _ => {
                    self.finish_run(current, sources, batches);
                    match sources.iter().position(|s| is_of(s, &message)) {
                        Some(i) => i,
                        // Given away meanwhile.
                        None => {
                            current = None;
                            continue;
                        }
                    }
                }
            };
            current = Some(index);
            let source = &mut sources[index];
            match message.error() {
                None => {
                    // An offset may come twice, or from before a rewind.
                    if !source.wanted() || message.offset() < source.next {
                        continue;
                    }
                    source.next = message.offset() + 1;
                    source.heard = true;
                    let headers = self.pack_headers(&message);
                    let size = 64
                        + message.key().map_or(0, <[u8]>::len)
                        + message.value().map_or(0, <[u8]>::len)
                        + headers.size();
                    records += 1;
                    bytes += size;
                    self.usual = (self.usual * 15 + size) / 16;
                    self.run.push((message, headers));
                }
                Some(RDKafkaErrorCode::PartitionEOF) => {
                    source.heard = true;
                    if source.wanted() && message.offset() >= source.next {
                        source.next = message.offset();
                        self.finish_run(current, sources, batches);
                        end(&sources[index], batches);
                    }
                }
                Some(code) => {
                    if let Some(error) = fetch_error(code, &message) {
                        break Err(error);
                    }
                }
            }
        };
        self.finish_run(current, sources, batches);
        result
    }

    fn next(&mut self, records: usize, bytes: usize) -> Option<Message> {
        if self.waiting.is_empty() {
            let fitting = bytes / self.usual.max(64) + 1;
            self.queue.drain(fitting.min(records).clamp(1, GRAB), &mut self.waiting);
        }
        self.waiting.pop_front()
    }

    fn pack_headers(&mut self, message: &Message) -> Headers {
        let (builder, mut any) = (&mut self.headers, false);
        message.headers(|name, value| {
            any = true;
            match std::str::from_utf8(name) {
                Ok(name) => builder.push(name, value),
                // Kafka's names are text; what is not was written by a broken client, and is kept readable.
                Err(_) => builder.push(&String::from_utf8_lossy(name), value),
            }
        });
        if any { builder.finish() } else { Headers::new() }
    }

    /// Turns the records collected of one partition into a batch, or adds them to the one before.
    fn finish_run(&mut self, source: Option<usize>, sources: &[Source], batches: &mut Vec<Batch>) {
        let Some(source) = source.filter(|_| !self.run.is_empty()) else { return };
        let source = &sources[source];
        let batch = match batches.last_mut() {
            Some(last) if last.partition == source.at && !last.at_end => last,
            _ => {
                batches.push(batch_of(source));
                let last = batches.len() - 1;
                &mut batches[last]
            }
        };
        batch.next = source.next;
        batch.records.reserve(self.run.len());
        let mut rest = &self.run[..];
        while !rest.is_empty() {
            let (count, bytes) = arena_of(rest);
            pack(&rest[..count], bytes, &mut batch.records);
            rest = &rest[count..];
        }
        self.run.clear();
    }
}

fn is_of(source: &Source, message: &Message) -> bool {
    source.is(message.topic(), message.partition())
}

fn batch_of(source: &Source) -> Batch {
    Batch { partition: source.at.clone(), epoch: source.epoch, records: Vec::new(), next: source.next, at_end: false }
}

/// Marks the end of what can be read.
fn end(source: &Source, batches: &mut Vec<Batch>) {
    match batches.last_mut() {
        Some(last) if last.partition == source.at => {
            last.next = source.next;
            last.at_end = true;
        }
        _ => batches.push(Batch { at_end: true, ..batch_of(source) }),
    }
}

/// How many records, and how many bytes of keys and values, go into one allocation.
fn arena_of(run: &[(Message, Headers)]) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for (message, _) in run {
        let size = message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
        if count > 0 && bytes + size > ARENA {
            break;
        }
        count += 1;
        bytes += size;
    }
    (count, bytes)
}

fn pack(run: &[(Message, Headers)], bytes: usize, records: &mut Vec<LogRecord>) {
    let mut arena = BytesMut::with_capacity(bytes);
    for (message, _) in run {
        arena.extend_from_slice(message.key().unwrap_or_default());
        arena.extend_from_slice(message.value().unwrap_or_default());
    }
    let arena = arena.freeze();
    let mut from = 0;
    let mut cut = |part: Option<&[u8]>| -> Option<Bytes> {
        let to = from + part?.len();
        let bytes = arena.slice(from..to);
        from = to;
        Some(bytes)
    };
    records.extend(run.iter().map(|(message, headers)| LogRecord {
        offset: message.offset(),
        timestamp: message.timestamp(),
        key: cut(message.key()),
        value: cut(message.value()),
        headers: headers.clone(),
    }));
}

/// What the caller must know; librdkafka goes on by itself after the others.
fn fetch_error(code: RDKafkaErrorCode, message: &Message) -> Option<LogError> {
    let what = format!("cannot read {}/{}", message.topic(), message.partition());
    let mut error = log_error(&what, code);
    match error.class {
        Class::Retry => {
            tracing::debug!(target: "millstream::kafka", %error, "fetch will be tried again");
            return None;
        }
        Class::Config if error.code == "offset_out_of_range" => {
            error.message =
                format!("{what}: offset {} is not there (any more): {}", message.offset(), message.error_text());
        }
        _ => {}
    }
    Some(error)
}
