//! Ctrl-C and SIGTERM.

use std::io;
use std::time::{Duration, Instant};

/// A signal that comes this soon after one is that one: `timeout` and terminals send to a process and to its group.
const ECHO: Duration = Duration::from_millis(300);

/// Calls `told` with 1 at the first signal, 2 at the second, and so on, on a thread of its own.
pub fn listen(mut told: impl FnMut(u32) + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    // Registered before the thread starts, so that no signal after this call takes the default way.
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let mut count = Count::default();
            while signals.next().await {
                if let Some(times) = count.signal(Instant::now()) {
                    told(times);
                }
            }
        });
    })?;
    Ok(())
}

/// How often somebody meant it.
#[derive(Default)]
struct Count {
    times: u32,
    last: Option<Instant>,
}

impl Count {
    /// `None` for an echo.
    fn signal(&mut self, now: Instant) -> Option<u32> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < ECHO) {
            return None;
        }
        self.last = Some(now);
        self.times += 1;
        Some(self.times)
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> bool {
        tokio::select! {
            one = self.interrupt.recv() => one.is_some(),
            one = self.terminate.recv() => one.is_some(),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> bool {
        tokio::signal::ctrl_c().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative control: an `ECHO` of zero counts the second one.
    #[test]
    fn an_echo_is_no_second_signal() {
        let (mut count, began) = (Count::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(count.signal(at(0)), Some(1));
        assert_eq!(count.signal(at(5)), None);
        assert_eq!(count.signal(at(299)), None);
        assert_eq!(count.signal(at(320)), Some(2), "it is told by the last that counted");
        assert_eq!(count.signal(at(700)), Some(3));
    }
}
