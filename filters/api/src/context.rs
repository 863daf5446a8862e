//! What a call may know about its attempt, tell while it runs, and keep for the attempts after it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::{Class, Failure, Outcome};

/// Largest checkpoint of a call, in bytes: what is larger belongs elsewhere, and its address into the checkpoint.
pub const MAX_CHECKPOINT: usize = 64 * 1024;

/// A checkpoint on its way: ends when it is durable.
pub type Saving = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Where a call's words go. The runtime gives each attempt one; a test of a filter may bring its own.
pub trait Keeper: fmt::Debug + Send + Sync {
    /// The record's job has come so far: 0 to 100.
    fn progress(&self, percent: f64);

    /// What this call has kept, as it was when the record's attempt began.
    fn last(&self, call_id: &str) -> Option<Bytes>;

    /// Keeps `state` for this call in the place of what it kept before.
    fn save(&self, call_id: &Arc<str>, state: Bytes) -> Saving;
}

/// What a call may know about its attempt.
///
/// A long step keeps checkpoints, so that an attempt after a crash, a failure or a rebalance goes on where the one before
/// was. Its filter says so in [`Checked::long`](crate::Checked::long):
///
/// ```
/// use std::sync::Arc;
/// use bytes::Bytes;
/// use millstream_filter_api::{Call, CallContext, CallFuture, Called, Failure, Outcome, Record};
///
/// struct Transcode;
///
/// impl Transcode {
///     /// One part of the work; calling it twice for the same part does no harm.
///     async fn part(&self, _record: &Record, _n: u8) -> Result<(), Failure> {
///         Ok(())
///     }
///
///     async fn run(&self, record: &Record, cx: &CallContext) -> Result<(), Failure> {
///         let begin = cx.checkpoint().and_then(|kept| kept.first().copied()).unwrap_or(0);
///         for n in begin..10 {
///             self.part(record, n).await?;
///             cx.save(Bytes::copy_from_slice(&[n + 1])).await?;
///             cx.progress(f64::from(n + 1) * 10.0);
///         }
///         Ok(())
///     }
/// }
///
/// impl Call for Transcode {
///     fn call(self: Arc<Self>, record: Record, cx: CallContext) -> CallFuture {
///         Box::pin(async move {
///             let outcome = match self.run(&record, &cx).await {
///                 Ok(()) => Outcome::Forward,
///                 Err(failure) => Outcome::Fail(Box::new(failure)),
///             };
///             Called { record, outcome }
///         })
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Equal on every attempt of the same record in the same filter; different per stage, per filter of a stage that
    /// calls out, and per element where a filter before made several records of one: an idempotency key.
    pub call_id: Arc<str>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Shared with whoever started the call.
    said: Arc<Said>,
    keeper: Option<Arc<dyn Keeper>>,
}

/// What a filter says of its attempt beside the outcome.
#[derive(Debug, Default)]
struct Said {
    no_call: AtomicBool,
    one_of_many: AtomicBool,
}

impl CallContext {
    /// For one call. Nobody hears what it tells, and nothing is kept.
    pub fn new(call_id: Arc<str>, attempt: u32) -> Self {
        Self { call_id, attempt, said: Arc::default(), keeper: None }
    }

    /// The same with somebody who hears and keeps.
    #[must_use]
    pub fn with_keeper(self, keeper: Arc<dyn Keeper>) -> Self {
        Self { keeper: Some(keeper), ..self }
    }

    /// For another call of the same attempt.
    #[must_use]
    pub fn of_part(&self, call_id: Arc<str>) -> Self {
        Self { call_id, attempt: self.attempt, said: Arc::default(), keeper: self.keeper.clone() }
    }

    /// To be said by a filter that ends an attempt without having called anything: that it went well then says nothing
    /// of the service. A failure says by its class whether the service answered: one that is permanent does.
    pub fn no_call(&self) {
        self.said.no_call.store(true, Ordering::Relaxed);
    }

    /// To be said by a filter whose records name services of their own: that one of them does not answer says nothing of
    /// the others, and holds none of their records up.
    pub fn one_of_many(&self) {
        self.said.one_of_many.store(true, Ordering::Relaxed);
    }

    /// Whether what was called has answered, well or badly, when the call ends with this outcome.
    pub fn answered(&self, outcome: &Outcome) -> bool {
        let answer = match outcome {
            Outcome::Fail(failure) => failure.class == Class::Permanent,
            _ => true,
        };
        let alone = self.said.one_of_many.load(Ordering::Relaxed);
        (answer || alone) && !self.said.no_call.load(Ordering::Relaxed)
    }

    /// Tells how far the record's job has come, in percent: what lies beyond 0 and 100 is brought there, and what is no
    /// number is nothing. May be called as often as one likes: about one value a second is taken. Where jobs are not
    /// tracked it does nothing.
    pub fn progress(&self, percent: f64) {
        if let Some(keeper) = self.keeper.as_ref().filter(|_| !percent.is_nan()) {
            keeper.progress(percent.clamp(0.0, 100.0));
        }
    }

    /// What an earlier attempt of this very call has [kept](Self::save) last, in this process or another one. It is gone
    /// when the record has ended; a dead letter that is sent back begins without.
    pub fn checkpoint(&self) -> Option<Bytes> {
        self.keeper.as_ref()?.last(&self.call_id)
    }

    /// Keeps `state` for the attempts after this one, in the place of what was kept before. Ends when it is durable, which
    /// takes about as long as a commit of the stage.
    ///
    /// # Errors
    /// Permanent, `checkpoint_too_large`: more than [`MAX_CHECKPOINT`] bytes. Transient, `checkpoint_lost`: the stage's
    /// transaction was aborted; this attempt is over, and its filter returns the failure.
    pub async fn save(&self, state: Bytes) -> Result<(), Failure> {
        if state.len() > MAX_CHECKPOINT {
            let message = format!("a checkpoint of {} bytes is larger than {MAX_CHECKPOINT}", state.len());
            return Err(Failure::permanent("checkpoint_too_large", message));
        }
        match &self.keeper {
            Some(keeper) => keeper.save(&self.call_id, state).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<f64>>);

    impl Keeper for Heard {
        fn progress(&self, percent: f64) {
            self.0.lock().unwrap().push(percent);
        }

        fn last(&self, call_id: &str) -> Option<Bytes> {
            Some(Bytes::copy_from_slice(call_id.as_bytes()))
        }

        fn save(&self, _: &Arc<str>, _: Bytes) -> Saving {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[test]
    fn progress_is_a_percentage_and_each_call_has_its_own_checkpoint() {
        let heard = Arc::new(Heard::default());
        let cx = CallContext::new(Arc::from("a"), 1);
        cx.progress(50.0);
        assert_eq!(cx.checkpoint(), None, "nobody keeps anything");
        let cx = cx.with_keeper(Arc::clone(&heard) as Arc<dyn Keeper>).of_part(Arc::from("b"));
        for percent in [f64::NAN, -1.0, 40.5, f64::INFINITY] {
            cx.progress(percent);
        }
        assert_eq!(*heard.0.lock().unwrap(), [0.0, 40.5, 100.0]);
        assert_eq!(cx.checkpoint().as_deref(), Some(&b"b"[..]));
    }
}
