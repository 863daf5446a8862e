//! A log on which `.retry` cannot be read to its end for a while: somebody has a transaction open there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_log::{Batch, Budget, Isolation, Log, LogLayer, LogResult, Reader, TopicPartition, Waker};

/// While `open`, one partition gives nothing to those who read committed records.
pub struct HeldUp {
    pub real: Arc<dyn Log>,
    pub place: TopicPartition,
    pub open: Arc<AtomicBool>,
}

impl LogLayer for HeldUp {
    fn beneath(&self) -> &dyn Log {
        &*self.real
    }

    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        let real = self.real.reader(isolation)?;
        Ok(Box::new(HeldUpReader { real, place: self.place.clone(), open: Arc::clone(&self.open), is_it: false }))
    }
}

struct HeldUpReader {
    real: Box<dyn Reader>,
    place: TopicPartition,
    open: Arc<AtomicBool>,
    is_it: bool,
}

impl Reader for HeldUpReader {
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.is_it = from.iter().any(|(at, _)| *at == self.place);
        self.real.assign(from)
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>> {
        if self.is_it && self.open.load(Ordering::SeqCst) {
            std::thread::sleep(timeout);
            return Ok(Vec::new());
        }
        self.real.poll(budget, timeout)
    }

    fn waker(&self) -> Waker {
        self.real.waker()
    }
}
