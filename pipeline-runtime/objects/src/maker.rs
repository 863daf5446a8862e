//! Gives the host what the thread that watches has found.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use millstream_host::{Fault, Maker, Next, SourcePosition};
use millstream_log::{Class, LogError, LogResult, Outgoing};

use crate::record::encoded;
use crate::watch::Flag;

/// How often it is asked whether something was found.
const LOOK: Duration = Duration::from_millis(50);

/// What was found.
pub struct Item {
    /// The object's name.
    pub name: Vec<u8>,
    /// The payload of its record, and what is wrong with it; `None` where nobody asked for such an event.
    pub record: Option<(Bytes, Option<Fault>)>,
    /// What is known from now on, for the topic.
    pub seen: Outgoing,
}

/// Gives records, one for each object that is news.
pub struct ObjectMaker {
    found: Receiver<LogResult<Item>>,
    /// Ends the thread.
    over: Flag,
    name: Vec<u8>,
    beside: Vec<Outgoing>,
    position: SourcePosition,
}

impl ObjectMaker {
    /// Goes on after `position` with what comes of `found`; ends whom `over` tells when it is dropped.
    pub fn new(found: Receiver<LogResult<Item>>, over: Flag, position: SourcePosition) -> Self {
        Self { found, over, name: Vec::new(), beside: Vec::new(), position }
    }
}

impl Drop for ObjectMaker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Maker for ObjectMaker {
    fn next(&mut self) -> LogResult<Next> {
        let item = match self.found.try_recv() {
            Ok(item) => item?,
            Err(TryRecvError::Empty) => return Ok(Next::Wait(LOOK)),
            Err(TryRecvError::Disconnected) => {
                let message = "what watches the objects has ended by itself";
                return Err(LogError::new(Class::Retry, "objects_watch_ended", message));
            }
        };
        // In the transaction of the record: it is known exactly when the record is there.
        self.beside.push(item.seen);
        self.name = item.name;
        let Some((payload, fault)) = item.record else { return Ok(Next::Passed) };
        self.position.records += 1;
        Ok(Next::Record(payload, fault))
    }

    fn position(&self) -> SourcePosition {
        self.position.clone()
    }

    fn place(&mut self) -> Option<String> {
        Some(format!("object `{}`", String::from_utf8_lossy(&self.name)))
    }

    fn name(&self, n: u64) -> String {
        format!("{}#{n}", encoded(&self.name))
    }

    fn key(&self) -> Option<Bytes> {
        Some(match std::str::from_utf8(&self.name) {
            Ok(name) => Bytes::copy_from_slice(name.as_bytes()),
            // Keys are read by people too.
            Err(_) => Bytes::from(encoded(&self.name)),
        })
    }

    fn beside(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.beside)
    }
}
