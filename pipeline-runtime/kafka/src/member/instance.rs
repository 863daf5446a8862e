//! Static membership: an instance name has one member, and who comes last has it.

use std::time::{Duration, Instant};

use millstream_log::{Class, LogError, Sent};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::ffi;
use crate::member::KafkaMember;

/// For the group to say that the name was taken over: some heartbeats.
const DEADLINE: Duration = Duration::from_secs(5);

impl KafkaMember {
    /// Whoever takes an instance name over fences the producer too, and that may be seen first. Joining again would take
    /// the name back, and so on for ever.
    pub(super) fn by_whom(&mut self, sent: Sent) -> Sent {
        match &sent {
            Sent::Failed(error) if error.class == Class::Fenced && self.is_taken() => Sent::Failed(self.taken()),
            _ => sent,
        }
    }

    /// Whether another member has this one's instance name. The group says so with an answer to a heartbeat.
    fn is_taken(&self) -> bool {
        let client = &self.reading().client;
        let end = Instant::now() + DEADLINE;
        while self.config.instance.is_some() && Instant::now() < end {
            if ffi::fatal_error(client.client().native_ptr())
                .is_some_and(|(c, _)| c == RDKafkaErrorCode::FencedInstanceId)
            {
                return true;
            }
            drop(client.poll(Duration::from_millis(20)));
        }
        false
    }

    pub(super) fn taken(&self) -> LogError {
        let (group, instance) = (&self.config.group, self.config.instance.as_deref().unwrap_or_default());
        let message = format!(
            "another process has joined group `{group}` under the instance name `{instance}`: give each process a name of \
             its own (`--instance`)"
        );
        LogError::new(Class::Config, "instance_taken", message)
    }
}
