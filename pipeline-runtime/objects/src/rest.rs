//! When a place is looked at again.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use notify::RecommendedWatcher;

use crate::folder::Folder;
use crate::store::StoreError;
use crate::watch::Flag;

/// Between two looks at whether anybody still waits.
const STEP: Duration = Duration::from_millis(100);
/// Between two passes, however much happens.
const PAUSE: Duration = Duration::from_millis(50);
/// After a first failure; doubled by each further one.
const FIRST: Duration = Duration::from_secs(1);
/// After many.
const LAST: Duration = Duration::from_secs(60);
/// What goes on for so long is said again.
const SAY_AGAIN: Duration = Duration::from_secs(300);

/// Waits between passes, and watches the folder meanwhile.
pub struct Rest {
    every: Duration,
    /// The folder to watch; `None` is only looked at.
    folder: Option<Folder>,
    watcher: Option<RecommendedWatcher>,
    wake: SyncSender<()>,
    woken: Receiver<()>,
    backoff: Duration,
    said: Option<(String, Instant)>,
    said_unwatched: bool,
}

impl Rest {
    /// Passes begin `every` after the end of the one before; with a folder, also when something happens in it.
    pub fn new(every: Duration, folder: Option<Folder>) -> Self {
        let (wake, woken) = sync_channel(1);
        Self { every, folder, watcher: None, wake, woken, backoff: FIRST, said: None, said_unwatched: false }
    }

    /// A pass begins: what happens from now on is heard, so that nothing falls between two.
    pub fn begin(&mut self) {
        while self.woken.try_recv().is_ok() {}
        let Some(folder) = self.folder.as_ref().filter(|_| self.watcher.is_none()) else { return };
        match folder.watch(self.wake.clone()) {
            Ok(watcher) => self.watcher = Some(watcher),
            // That it is not there is said by the pass.
            Err(error) if is_missing(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.said_unwatched, true) {
                    let every = self.every;
                    tracing::warn!(
                        code = "objects_not_watched",
                        "the folder cannot be watched ({error}); it is looked at every {every:?} all the same"
                    );
                }
            }
        }
    }

    /// Waits after a pass: as long as said, less where something happens or `due` comes. However much happens, no more
    /// than a quarter of the time is spent on listing.
    pub fn done(&mut self, began: Instant, due: Option<Instant>, over: &Flag) {
        if self.said.take().is_some() {
            tracing::info!("the objects can be listed again");
        }
        self.backoff = FIRST;
        let now = Instant::now();
        let earliest = now + (began.elapsed() * 3).min(self.every).max(PAUSE);
        let mut until = now + self.every;
        if let Some(due) = due {
            until = until.min(due.max(earliest));
        }
        self.wait(earliest, until, over);
    }

    /// Waits after a pass that failed.
    pub fn failed(&mut self, error: &StoreError, over: &Flag) {
        // A folder that went away is watched no more, even when it comes back.
        self.watcher = None;
        let again = |(said, at): &(String, Instant)| *said != error.message || at.elapsed() > SAY_AGAIN;
        if self.said.as_ref().is_none_or(again) {
            self.said = Some((error.message.clone(), Instant::now()));
            tracing::warn!(code = error.code, "{}", error.message);
        }
        let wait = self.backoff.min(self.every.max(FIRST));
        self.backoff = (self.backoff * 2).min(LAST);
        let until = Instant::now() + wait;
        self.wait(until, until, over);
    }

    fn wait(&self, earliest: Instant, until: Instant, over: &Flag) {
        let mut until = until;
        while !over.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match self.woken.recv_timeout(left.min(STEP)) {
                Ok(()) => until = until.min(earliest),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}
