//! A command that goes on until a signal comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_log::{LogResult, Reader, Waker};

use crate::failure::Failure;
use crate::patience::Patience;
use crate::signals;

/// After a signal, for the call in hand to come back. A client in the middle of a question does not: it is left alone.
const LEAVE: Duration = Duration::from_millis(500);
/// Between two looks for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// Waits for a log that is away, until a signal comes.
pub struct Wait {
    patience: Patience,
    stopped: Arc<AtomicBool>,
    /// In the middle of writing lines, which are not to be cut.
    writing: Arc<AtomicBool>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Wait {
    /// Ctrl-C is the way to end a command that follows a topic: it ends with what it has printed.
    pub fn start(patience: Patience) -> Result<Self, Failure> {
        let wait = Self { patience, stopped: Arc::default(), writing: Arc::default(), waker: Arc::default() };
        let writing = Arc::clone(&wait.writing);
        let (stopped, waker) = (Arc::clone(&wait.stopped), Arc::clone(&wait.waker));
        signals::listen(move |times| {
            if times > 1 {
                std::process::exit(1);
            }
            stopped.store(true, Ordering::Release);
            if let Some(wake) = &*waker.lock().unwrap_or_else(PoisonError::into_inner) {
                wake();
            }
            let writing = Arc::clone(&writing);
            let _ = std::thread::Builder::new().name("leave".to_owned()).spawn(move || {
                std::thread::sleep(LEAVE);
                if !writing.load(Ordering::Acquire) {
                    std::process::exit(0);
                }
            });
        })
        .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))?;
        Ok(wait)
    }

    /// Whether a signal has come.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends this reader's polls when a signal comes.
    pub fn wake_on_signal(&self, reader: &dyn Reader) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader.waker());
    }

    /// Whether lines are being written, so that an end must wait.
    pub fn writing(&self, now: bool) {
        self.writing.store(now, Ordering::Release);
    }

    /// Waits for so long, or until a signal comes.
    pub fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.stopped() && Instant::now() < end {
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// The answer of a log that may be away.
    pub fn patiently<T>(&self, call: impl FnMut() -> LogResult<T>) -> Result<T, Failure> {
        self.patience.ask(|| self.stopped(), call)
    }
}
