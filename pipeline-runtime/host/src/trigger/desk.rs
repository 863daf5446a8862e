//! Jobs that somebody starts over a process that runs the pipeline: asked for from any thread, started by one of the
//! pipeline's own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use millstream_log::{Class, Log, LogError, LogResult};
use millstream_spec::model::{Format, Pipeline, Source};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Wish, keep, prepare, refused, start};
use crate::clock::wall_ms;
use crate::shared::Stop;

/// A job to start.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The source to start at; `None` is the only one.
    pub source: Option<String>,
    /// The payload as JSON; of a source of text a JSON string. `None` is what the source would make, if it makes any.
    pub value: Option<Box<RawValue>>,
    /// The key; `None` is what the source says.
    pub key: Option<String>,
    /// The id; `None` is a fresh one.
    pub id: Option<String>,
    /// When, ms since 1970; `None`, and what has passed, is now.
    pub due: Option<i64>,
}

/// A job that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Its id.
    pub job: String,
    /// When it starts, where that is later, ms since 1970.
    pub due: Option<i64>,
}

/// A job that was not started.
#[derive(Debug)]
pub struct OrderError {
    /// Stable.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// It may be so another time; else the order is wrong.
    pub again: bool,
}

impl From<LogError> for OrderError {
    fn from(e: LogError) -> Self {
        let passing = matches!(e.code, "unknown_topic" | "later_full");
        Self { code: e.code, message: e.message, again: passing || e.class != Class::Config }
    }
}

/// Orders that wait for the thread that carries them out.
const WAITING: usize = 256;
/// Between two looks at whether the process ends.
const LOOK: Duration = Duration::from_millis(200);

type Asked = (Order, oneshot::Sender<LogResult<Ordered>>);

/// Where jobs of one pipeline are ordered. Cloning shares it.
#[derive(Clone)]
pub struct Desk(SyncSender<Asked>);

/// The other side of it.
pub(crate) struct Orders(Receiver<Asked>);

impl Desk {
    pub(crate) fn new() -> (Self, Orders) {
        let (send, receive) = sync_channel(WAITING);
        (Self(send), Orders(receive))
    }

    /// Starts a job, and answers when it is durable.
    ///
    /// # Errors
    /// As [`prepare`], [`start`] and [`keep`], with `unknown_source`, `ambiguous_source` and `bad_order`. After `unknown_outcome` it
    /// may be started: with an id of one's own it is safe to ask again.
    pub async fn order(&self, order: Order) -> Result<Ordered, OrderError> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send((order, answer)).map_err(|error| match error {
            TrySendError::Full(_) => LogError::new(Class::Retry, "busy", "too many jobs are being started"),
            TrySendError::Disconnected(_) => LogError::new(Class::Retry, "stopping", "the process ends"),
        })?;
        let unknown =
            |_| LogError::new(Class::Retry, "unknown_outcome", "the process ended before the job was written");
        Ok(answered.await.map_err(unknown)??)
    }
}

impl Orders {
    /// Carries them out until told to stop.
    pub fn run(&self, log: &dyn Log, pipeline: &Pipeline, stop: &Stop) {
        while !stop.draining() {
            match self.0.recv_timeout(LOOK) {
                // Who asked may have gone: the job is started all the same, as it was asked for.
                Ok((order, answer)) => drop(answer.send(carry_out(log, pipeline, order))),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn carry_out(log: &dyn Log, pipeline: &Pipeline, order: Order) -> LogResult<Ordered> {
    let now = wall_ms();
    let due = order.due.filter(|due| *due > now);
    let source = source(pipeline, order.source.as_deref())?;
    let value = order.value.map(|value| payload(source, &value)).transpose()?;
    let wish = Wish { value, key: order.key.map(Bytes::from), id: order.id };
    let job = prepare(pipeline, source, wish, due.unwrap_or(now))?;
    match due {
        None => start(log, pipeline, &job)?,
        Some(due) => keep(log, pipeline, &job, due)?,
    }
    Ok(Ordered { job: job.id, due })
}

/// JSON as it was written, or the text in it.
fn payload(source: &Source, value: &RawValue) -> LogResult<Bytes> {
    match source.format {
        Format::Text | Format::Raw => {
            let text = serde_json::from_str::<String>(value.get());
            let not = |_| refused("bad_order", format!("`value` is a string, as source `{}` gives text", source.name));
            Ok(Bytes::from(text.map_err(not)?))
        }
        _ => Ok(Bytes::copy_from_slice(value.get().as_bytes())),
    }
}

/// The source of this name, or the only one.
fn source<'p>(pipeline: &'p Pipeline, name: Option<&str>) -> LogResult<&'p Source> {
    let names: Vec<&str> = pipeline.sources.iter().map(|source| source.name.as_str()).collect();
    match (name, pipeline.sources.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            let message = format!("the pipeline has several sources: name one of {}", names.join(", "));
            Err(refused("ambiguous_source", message))
        }
        (Some(name), all) => all.iter().find(|source| source.name == name).ok_or_else(|| {
            refused("unknown_source", format!("there is no source `{name}`; there are {}", names.join(", ")))
        }),
    }
}
