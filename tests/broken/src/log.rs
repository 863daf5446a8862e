//! The log, with members that break a promise; all else is the real one.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{Committed, Log, LogLayer, LogResult, Member, MemberConfig, TopicPartition, Writer};

use crate::Break;
use crate::member::BrokenMember;
use crate::trap::Trap;
use crate::writer::HastyWriter;

pub(crate) struct BrokenLog {
    real: Arc<dyn Log>,
    breaks: Break,
    trap: Arc<Trap>,
    /// How long a replica that says nothing keeps its partitions, where the log's own settings do not say it.
    session: Option<Duration>,
}

impl BrokenLog {
    pub(crate) fn new(real: Arc<dyn Log>, breaks: Break, trap: Trap, session: Option<Duration>) -> Self {
        Self { real, breaks, trap: Arc::new(trap), session }
    }
}

impl LogLayer for BrokenLog {
    fn beneath(&self) -> &dyn Log {
        &*self.real
    }

    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        let plain = self.real.writer()?;
        let session_timeout = self.session.unwrap_or(config.session_timeout);
        let real = self.real.join(MemberConfig { session_timeout, ..config })?;
        Ok(Box::new(BrokenMember::new(real, plain, self.breaks, self.trap.clone())))
    }

    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        let real = self.real.writer()?;
        Ok(if self.breaks == Break::HastyAnswers { Box::new(HastyWriter::new(real)) } else { real })
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        let mut found = self.real.committed(group, partitions)?;
        if self.breaks == Break::AllPassed {
            let far = || Committed { offset: i64::MAX / 2, metadata: String::new() };
            found.iter_mut().for_each(|committed| committed.get_or_insert_with(far).offset = i64::MAX / 2);
        }
        Ok(found)
    }
}
