//! A question to a log that may not answer: asked on a thread of its own, so that an order to stop need not wait for it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use millstream_log::{Class, LogError, LogResult};

use crate::shared::Stop;

/// Between two looks whether there is an order to stop.
const LOOK: Duration = Duration::from_millis(20);
/// After the order, for an answer that is on its way.
const GRACE: Duration = Duration::from_millis(300);

/// The answer; `None` when told to stop before it came. The thread of a question without answer is left to itself.
pub fn ask<T: Send + 'static>(
    stop: &Stop,
    question: impl FnOnce() -> LogResult<T> + Send + 'static,
) -> LogResult<Option<T>> {
    let (answer, answered) = sync_channel(1);
    std::thread::Builder::new()
        .name("question".to_owned())
        .spawn(move || {
            // Nobody waits for it any more after an order to stop.
            let _ = answer.send(question());
        })
        .map_err(|e| LogError::new(Class::Retry, "no_thread", format!("cannot start a thread: {e}")))?;
    let mut until = None;
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(answer) => return answer.map(Some),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(LogError::new(
                    Class::Fatal,
                    "question_panicked",
                    "a bug: a thread that asked the log panicked",
                ));
            }
            Err(RecvTimeoutError::Timeout) if stop.draining() => {
                if Instant::now() >= *until.get_or_insert_with(|| Instant::now() + GRACE) {
                    return Ok(None);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    /// Negative control: without the look at `stop` it waits for ever.
    #[test]
    fn an_order_to_stop_ends_the_wait_for_an_answer() {
        let (stop, never) = (Stop::new(Duration::from_secs(1)), Arc::new(Barrier::new(2)));
        assert_eq!(ask(&stop, || Ok(7)).expect("an answer"), Some(7));
        stop.drain();
        let blocked = Arc::clone(&never);
        let answer = ask(&stop, move || {
            blocked.wait();
            Ok(7)
        });
        assert_eq!(answer.expect("no error"), None);
        never.wait();
        assert_eq!(ask(&stop, || Ok(7)).expect("an answer"), Some(7), "one that comes at once is taken all the same");
    }

    #[test]
    fn a_panic_is_an_error() {
        let stop = Stop::new(Duration::from_secs(1));
        let error = ask(&stop, || -> LogResult<()> { panic!("for the test") }).expect_err("it panicked");
        assert_eq!(error.class, Class::Fatal);
    }
}
