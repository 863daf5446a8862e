//! Blocking calls with a deadline of our own: librdkafka's were seen to hang past theirs after a broker was killed.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use millstream_log::{Class, LogError, LogResult};

type Job = Box<dyn FnOnce() + Send>;

/// One thread that makes one call at a time.
pub(crate) struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    pub(crate) fn start(name: &str) -> LogResult<Self> {
        let (jobs, queue) = channel::<Job>();
        spawn(name, move || queue.iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// The call's result, or `None` when it did not come back in time. The thread is then lost to that call: the
    /// worker, and what the call works on, must be given up.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        deadline: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = channel();
        // Who gave up waiting is not there to be answered.
        self.jobs.send(Box::new(move || drop(reply.send(call())))).ok()?;
        answer.recv_timeout(deadline).ok()
    }
}

/// Drops something whose drop may hang, apart from the caller, who waits for it up to the deadline.
pub(crate) fn drop_apart(what: impl Send + 'static, deadline: Duration) -> bool {
    let (done, answer) = channel();
    let dropped = spawn("millstream-drop", move || {
        drop(what);
        // Who gave up waiting is not there to be told.
        let _ = done.send(());
    });
    dropped.is_ok() && (deadline.is_zero() || answer.recv_timeout(deadline).is_ok())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> LogResult<()> {
    let name: String = name.chars().take(15).collect();
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map(drop)
        .map_err(|e| LogError::new(Class::Retry, "no_thread", format!("cannot start a thread: {e}")))
}
