//! A running process listens to the control topic.

use std::time::{Duration, Instant};

use millstream_log::{Class, End, Log, LogResult};

use super::{Control, Entries, Follower, Orders, STALLED};
use crate::shared::Stop;

/// Between two tries to read a log that is away.
const AWAY: Duration = Duration::from_secs(1);

/// Hears every order.
pub struct Listener<'a> {
    control: Control<'a>,
    follower: Follower,
    /// What was said of a log that does not answer.
    said: String,
}

impl<'a> Listener<'a> {
    /// Makes the topic if need be and reads what was ordered before, open transactions waited for: an order behind one
    /// of them holds too. `None` when told to stop meanwhile.
    pub fn start(log: &'a dyn Log, pipeline: &str, stop: &Stop) -> LogResult<Option<(Self, Orders)>> {
        let control = Control::of(log, pipeline);
        control.ensure()?;
        let Some(follower) = follow(&control, stop)? else { return Ok(None) };
        let orders = Orders::read(follower.entries())?;
        Ok(Some((Self { control, follower, said: String::new() }, orders)))
    }

    /// Waits up to `timeout` for orders; those that hold then, if any came. An error is an order that cannot be obeyed.
    /// A log that is away is said once and waited for: the orders before hold on.
    pub fn listen(&mut self, timeout: Duration, stop: &Stop) -> LogResult<Option<Orders>> {
        match self.follower.poll(timeout) {
            Ok(came) => {
                self.said.clear();
                return if came { Orders::read(self.follower.entries()).map(Some) } else { Ok(None) };
            }
            Err(e) => {
                let text = e.to_string();
                if text != self.said {
                    tracing::warn!(error = %text, "orders cannot be read; trying again");
                    self.said = text;
                }
                stop.wait(AWAY);
                if e.class == Class::Retry {
                    return Ok(None);
                }
            }
        }
        // The reader is done for, or the topic was made anew: from its beginning.
        match follow(&self.control, stop) {
            Ok(Some(follower)) => {
                self.follower = follower;
                Orders::read(self.follower.entries()).map(Some)
            }
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Everything below this offset was read.
    pub fn next(&self) -> i64 {
        self.follower.next()
    }

    /// Everything in the topic as of the last look.
    pub fn entries(&self) -> &Entries {
        self.follower.entries()
    }
}

/// Reads up to the end. The order to stop ends the polls of the follower from then on.
fn follow(control: &Control<'_>, stop: &Stop) -> LogResult<Option<Follower>> {
    let mut follower = control.follow()?;
    stop.on_stop(follower.waker());
    let end = control.end(End::High)?;
    let mut last = Instant::now();
    while follower.next() < end {
        if stop.draining() {
            return Ok(None);
        }
        if follower.poll(Duration::from_millis(200))? {
            last = Instant::now();
        } else if last.elapsed() > STALLED {
            return Err(control.stalled(end));
        }
    }
    Ok(Some(follower))
}
