//! Writing outside transactions.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{Outgoing, Sent, Writer};

use crate::core::{Core, Durably};
use crate::draft::{Draft, Outbox};
use crate::options::Fsync;

/// Each call of `send` is one frame, with the operating system before it returns.
pub(crate) struct EmbeddedWriter {
    core: Arc<Core>,
    outbox: Outbox,
}

impl EmbeddedWriter {
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, outbox: Outbox::default() }
    }

    fn append(&mut self) -> Result<(), Sent> {
        let draft = Draft { runs: self.outbox.take(), ..Draft::default() };
        self.core.append(draft, Durably::Later, |_, _| Ok(())).map_err(|(error, runs)| {
            // Tried again with the next send or flush.
            if error.class == millstream_log::Class::Retry {
                self.outbox.put_back(runs);
            }
            Sent::Failed(error)
        })
    }
}

impl Writer for EmbeddedWriter {
    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        let added = self.outbox.add(&self.core, records);
        if let Err(Sent::Failed(error)) = added {
            self.outbox.clear();
            return Err(Sent::Failed(error));
        }
        self.append()?;
        added
    }

    fn flush(&mut self, _timeout: Duration) -> Result<(), Sent> {
        self.append()?;
        if self.core.options.fsync == Fsync::Always {
            self.core.sync().map_err(Sent::Failed)?;
        }
        Ok(())
    }
}
