//! Writes outside transactions, each record once.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{Class, Outgoing, Sent, Writer};

use crate::producer::Producer;
use crate::shared::Shared;

/// See [`Writer`].
pub(crate) struct KafkaWriter {
    producer: Producer,
}

impl KafkaWriter {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { producer: Producer::new(shared, "writer".into(), None) }
    }
}

impl Writer for KafkaWriter {
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.producer.send(records)
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), Sent> {
        let flushed = self.producer.flush(timeout);
        if !matches!(&flushed, Err(Sent::Failed(error)) if error.class == Class::Retry) {
            // Told once: what was refused is gone, and the writer goes on.
            self.producer.abort();
        }
        flushed
    }
}
