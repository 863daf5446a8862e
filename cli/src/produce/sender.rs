//! Drafts -> records in partitions, sent and made durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_log::{Class, LogError, Outgoing, Sent, TopicPartition, Writer, partition_of};

use super::input::Draft;
use crate::failure::Failure;

/// Bytes the header buffer grows by: one allocation serves the headers of many records.
const HEADER_ARENA: usize = 64 << 10;
/// How long a log that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);

/// Turns drafts into records of one topic.
pub struct Drafter {
    partitions: Vec<TopicPartition>,
    headers: Vec<(String, String)>,
    fixed: Headers,
    source: Option<String>,
    builder: HeadersBuilder,
    next: usize,
}

impl Drafter {
    /// For a topic, with headers for every record.
    pub fn new(topic: &str, partitions: i32, headers: Vec<(String, String)>) -> Self {
        let topic: Arc<str> = Arc::from(topic);
        let given = |name: &str| headers.iter().any(|(n, _)| n == name);
        Self {
            partitions: (0..partitions).map(|p| TopicPartition::new(Arc::clone(&topic), p)).collect(),
            fixed: headers.iter().map(|(n, v)| (n.as_str(), Some(v.as_bytes()))).collect(),
            // The topic as source: the same rows produced again have the same ids, by whomever and from wherever.
            source: (!given("ce_source")).then(|| topic.to_string()),
            headers,
            builder: HeadersBuilder::default(),
            next: 0,
        }
    }

    /// The record of a draft. Its partition is that of its key; without one that of its id, so that repeats meet;
    /// without that the next in turn.
    pub fn record(&mut self, draft: Draft, now: i64) -> Outgoing {
        let count = self.partitions.len() as i32;
        let at = match (&draft.key, &draft.id) {
            (Some(key), _) => partition_of(key, count) as usize,
            (None, Some(id)) => partition_of(id.as_bytes(), count) as usize,
            (None, None) => {
                self.next = (self.next + 1) % self.partitions.len();
                (self.next + self.partitions.len() - 1) % self.partitions.len()
            }
        };
        Outgoing {
            to: self.partitions[at].clone(),
            headers: self.headers(draft.id.as_deref()),
            key: draft.key,
            value: draft.value,
            timestamp: now,
            tag: draft.line,
        }
    }

    /// Both headers of an id: the default rule wants `ce_source` and `ce_id`, `id: { header: ce_id }` only the latter.
    fn headers(&mut self, id: Option<&str>) -> Headers {
        let Some(id) = id else { return self.fixed.clone() };
        self.builder.reserve(self.fixed.size() + id.len() + 128, HEADER_ARENA);
        for (name, value) in &self.headers {
            self.builder.push(name, Some(value.as_bytes()));
        }
        if let Some(source) = &self.source {
            self.builder.push("ce_source", Some(source.as_bytes()));
        }
        self.builder.push("ce_id", Some(id.as_bytes()));
        self.builder.finish()
    }
}

/// Sends and counts.
pub struct Sender {
    writer: Box<dyn Writer>,
    queued: u64,
    durable: u64,
}

impl Sender {
    /// On a writer.
    pub fn new(writer: Box<dyn Writer>) -> Self {
        Self { writer, queued: 0, durable: 0 }
    }

    /// Records that are in the log for sure.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Queues records.
    pub fn send(&mut self, mut records: Vec<Outgoing>) -> Result<(), Failure> {
        let count = records.len() as u64;
        self.patiently(|writer, _| writer.send(&mut records))?;
        self.queued += count;
        Ok(())
    }

    /// Waits until all that was queued is durable.
    pub fn flush(&mut self) -> Result<(), Failure> {
        // Nothing to wait for: a log that went away meanwhile is no failure then.
        if self.queued == 0 {
            return Ok(());
        }
        self.patiently(|writer, left| writer.flush(left))?;
        self.durable += std::mem::take(&mut self.queued);
        Ok(())
    }

    /// Asks again while the log is away.
    fn patiently(
        &mut self,
        mut call: impl FnMut(&mut dyn Writer, Duration) -> Result<(), Sent>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut said = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match call(&mut *self.writer, left) {
                Ok(()) => return Ok(()),
                Err(Sent::Failed(e)) if e.class == Class::Retry && !left.is_zero() => {
                    if !said {
                        tracing::warn!(error = %e, "trying again for {} s", PATIENCE.as_secs());
                        said = true;
                    }
                    std::thread::sleep(AGAIN.min(left));
                }
                Err(e) => return Err(failed(e)),
            }
        }
    }
}

fn failed(error: Sent) -> Failure {
    match error {
        Sent::Failed(e) => log_failed(&e),
        Sent::Refused(records) => {
            let Some((line, why)) = records.first() else { return Failure::failed("the log refused records") };
            let more = records.len() - 1;
            let others = if more > 0 { format!(", and {more} more") } else { String::new() };
            Failure::failed(format!("line {line}: the log refused the record: {why}{others}"))
        }
    }
}

/// Whatever the class: some records may be there already, so this failed while running.
fn log_failed(error: &LogError) -> Failure {
    Failure::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn draft(key: Option<&'static str>, id: Option<&str>) -> Draft {
        let key = key.map(|k| Bytes::from_static(k.as_bytes()));
        Draft { line: 7, key, id: id.map(str::to_owned), value: Some(Bytes::from_static(b"v")) }
    }

    #[test]
    fn partitions_go_by_key_then_id_then_in_turn() {
        let mut drafter = Drafter::new("t", 5, Vec::new());
        let mut at = |key, id| drafter.record(draft(key, id), 0).to.partition;
        assert_eq!(at(Some("k"), Some("x")), partition_of(b"k", 5));
        assert_eq!(at(None, Some("x")), partition_of(b"x", 5));
        let turn: Vec<i32> = (0..6).map(|_| at(None, None)).collect();
        assert_eq!(turn, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn an_id_is_named_for_both_rules_and_headers_keep_repeats() {
        let headers = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        let record = Drafter::new("orders.raw", 1, headers.clone()).record(draft(None, Some("x")), 5);
        let all: Vec<_> = record.headers.iter().collect();
        let text = |t: &'static str| Some(t.as_bytes());
        let expected = [("a", text("1")), ("a", text("2")), ("ce_source", text("orders.raw")), ("ce_id", text("x"))];
        assert_eq!(all, expected);
        assert_eq!((record.timestamp, record.tag), (5, 7));

        let own = vec![("ce_source".to_owned(), "mine".to_owned())];
        let record = Drafter::new("t", 1, own).record(draft(None, Some("x")), 0);
        assert!(record.headers.iter().eq([("ce_source", text("mine")), ("ce_id", text("x"))]));
        let none = Drafter::new("t", 1, headers).record(draft(None, None), 0);
        assert_eq!(none.headers.iter().count(), 2);
    }
}
