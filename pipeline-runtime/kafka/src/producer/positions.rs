//! A transaction that holds positions only, and is aborted.

use millstream_log::{Class, LogError, LogResult, Sent};
use rdkafka::TopicPartitionList;

use super::{GRACE, INIT_DEADLINE, Producer, until};
use crate::config::Reading;
use crate::error::log_error;
use crate::ffi::{self, GroupMetadata};

impl Producer {
    /// Puts positions into a transaction of their own and aborts it. Not while another one is open.
    pub(crate) fn abort_positions(&mut self, offsets: TopicPartitionList, reading: &Reading) -> LogResult<()> {
        if self.is_open() {
            return Err(LogError::new(Class::Retry, "transaction_open", "a transaction is open; after it"));
        }
        let group = GroupMetadata::of(&reading.client).filter(|g| g.generation() >= 0).ok_or_else(|| {
            LogError::new(Class::Retry, "not_joined", "this member is not in its group any more; nothing was ended")
        })?;
        self.ensure()?;
        let sent = match self.open() {
            Ok(()) => {
                let Some(live) = &self.live else { return Ok(()) };
                let client = live.client.clone();
                live.worker.call(INIT_DEADLINE + GRACE, move || {
                    until(INIT_DEADLINE, |left| ffi::send_offsets(&client, &offsets, &group, left))
                })
            }
            Err(Sent::Failed(error)) => return Err(error),
            Err(Sent::Refused(_)) => return Ok(()),
        };
        self.abort();
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(log_error(format!("the group did not take positions: {}", error.text), error.code)),
            None => Err(LogError::new(Class::Retry, "positions_held", "the group did not answer")),
        }
    }
}
