//! Waiting for a log that does not answer: said within about a second, asked again, for ever or up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogResult};

use crate::failure::Failure;

/// How long a command that has an end asks a log that does not answer; `docs/cli.md` names it.
pub const LIMIT: Duration = Duration::from_secs(60);

const AGAIN: Duration = Duration::from_millis(200);
/// A client takes many seconds to give up a question; a person wants to know earlier.
const HINT: Duration = Duration::from_secs(1);

/// Asks again while a log is away.
pub struct Patience {
    limit: Option<Duration>,
    answered: Arc<AtomicBool>,
}

impl Patience {
    /// For one log. Without a limit it is asked until it answers.
    pub fn start(log: &dyn Log, limit: Option<Duration>) -> Self {
        let patience = Self { limit, answered: Arc::default() };
        let (answered, hint) = (Arc::clone(&patience.answered), patience.again());
        let name = log.name();
        // Without a thread nothing is lost but the early word.
        let _ = std::thread::Builder::new().name("patience".to_owned()).spawn(move || {
            std::thread::sleep(HINT);
            if !answered.load(Ordering::Acquire) {
                tracing::warn!("{name} has not answered yet; {hint}");
            }
        });
        patience
    }

    /// The answer of `call`, asked again while it may still come and `stopped` does not hold.
    pub fn ask<T>(&self, stopped: impl Fn() -> bool, mut call: impl FnMut() -> LogResult<T>) -> Result<T, Failure> {
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        let mut said = false;
        loop {
            match call() {
                Ok(done) => {
                    self.answered.store(true, Ordering::Release);
                    return Ok(done);
                }
                Err(e) if e.class == Class::Retry && !stopped() && deadline.is_none_or(|at| Instant::now() < at) => {
                    if !said {
                        tracing::warn!(error = %e, "{}", self.again());
                        said = true;
                    }
                    std::thread::sleep(AGAIN);
                }
                Err(e) => {
                    self.answered.store(true, Ordering::Release);
                    return Err(Failure::log(&e));
                }
            }
        }
    }

    fn again(&self) -> String {
        match self.limit {
            Some(limit) => format!("trying again for {} s", limit.as_secs()),
            None => "trying again until it does".to_owned(),
        }
    }
}
