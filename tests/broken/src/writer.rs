//! A writer that says of records that they are durable before they are.

use std::time::Duration;

use millstream_log::{Outgoing, Sent, Writer};

pub(crate) struct HastyWriter {
    real: Box<dyn Writer>,
    /// What was acknowledged and is not written.
    kept: Vec<Outgoing>,
}

/// Records that it keeps before it writes any.
const MOST: usize = 50;

impl HastyWriter {
    pub(crate) fn new(real: Box<dyn Writer>) -> Self {
        Self { real, kept: Vec::new() }
    }
}

impl Writer for HastyWriter {
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        // The control topic is none of its business.
        let mut rest: Vec<Outgoing> = records.extract_if(.., |r| !r.to.topic.ends_with(".in")).collect();
        self.kept.append(records);
        if self.kept.len() > MOST {
            rest.append(&mut self.kept);
        }
        self.real.send(&mut rest)
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), Sent> {
        self.real.flush(timeout)
    }
}
