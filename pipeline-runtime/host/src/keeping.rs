//! What a running call tells its replica: how far it is, and what it keeps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use bytes::Bytes;
use millstream_engine::Ticket;
use millstream_filter_api::{Failure, Keeper, Saving};
use millstream_log::Waker;
use tokio::sync::oneshot;

use crate::jobs::Percent;

/// A word of a call.
pub(crate) enum Said {
    /// Its [`Latest`] has something to tell.
    Progress(Ticket),
    /// It keeps this, and waits until that is durable.
    Save {
        /// The attempt.
        ticket: Ticket,
        /// The call; a chain may have several.
        call: Arc<str>,
        /// What it keeps.
        state: Bytes,
        /// Is told when that is durable; dropped when it never will be.
        done: oneshot::Sender<()>,
    },
}

/// How far a call has come, until somebody takes it.
pub(crate) struct Latest(AtomicU32);

const NOTHING: u32 = u32::MAX;

impl Latest {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(NOTHING))
    }

    /// Takes what was said last, if it was not taken yet.
    pub(crate) fn take(&self) -> Option<Percent> {
        let said = self.0.swap(NOTHING, Ordering::AcqRel);
        u16::try_from(said).ok().map(Percent::of_hundredths)
    }

    /// Whether nothing waited to be taken before.
    fn put(&self, percent: Percent) -> bool {
        self.0.swap(u32::from(percent.hundredths()), Ordering::AcqRel) == NOTHING
    }
}

/// What the calls of one attempt are lent.
pub(crate) struct AttemptKeeper {
    /// The attempt.
    pub ticket: Ticket,
    /// What calls for the record have kept before.
    pub before: Vec<(Arc<str>, Bytes)>,
    /// Where its words go; nobody takes those of progress where it is `None`.
    pub latest: Option<Arc<Latest>>,
    /// To the replica.
    pub said: Sender<Said>,
    /// Ends the replica's poll.
    pub waker: Waker,
}

impl fmt::Debug for AttemptKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptKeeper").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl AttemptKeeper {
    /// Whether the replica is there to hear it.
    fn say(&self, word: Said) -> bool {
        let heard = self.said.send(word).is_ok();
        if heard {
            (self.waker)();
        }
        heard
    }
}

impl Keeper for AttemptKeeper {
    fn progress(&self, percent: f64) {
        if let (Some(latest), Some(percent)) = (&self.latest, Percent::of(percent))
            && latest.put(percent)
        {
            self.say(Said::Progress(self.ticket));
        }
    }

    fn last(&self, call_id: &str) -> Option<Bytes> {
        self.before.iter().find(|(call, _)| **call == *call_id).map(|(_, state)| state.clone())
    }

    fn save(&self, call_id: &Arc<str>, state: Bytes) -> Saving {
        let (done, durable) = oneshot::channel();
        self.say(Said::Save { ticket: self.ticket, call: Arc::clone(call_id), state, done });
        Box::pin(async move {
            durable.await.map_err(|_| {
                Failure::transient("checkpoint_lost", "the transaction of the stage that was to keep it was aborted")
            })
        })
    }
}
