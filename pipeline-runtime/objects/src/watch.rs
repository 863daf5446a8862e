//! The thread that watches: lists again and again, compares with what was seen, and hands on what is news.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use millstream_log::{Class, End, Log, LogError, LogResult, TopicPartition};
use millstream_spec::model::{Emit, ObjectsSource};

use crate::decide::{Event, Pending, State, Verdict, decide};
use crate::entry;
use crate::index::{Change, Index, Known, Met};
use crate::maker::Item;
use crate::record::{Content, Told, payload};
use crate::rest::Rest;
use crate::store::{Found, ReadError, Store, StoreError};

/// Tells a thread that nobody wants it any more.
pub type Flag = Arc<AtomicBool>;

/// Changes of the index that are made at once.
const CHUNK: usize = 1_000;
/// The same while the index is made.
const REMEMBERED: usize = 10_000;
/// An object that could not be read is tried again after this, ms.
const UNREAD_MS: u64 = 1_000;

/// Watches one place.
pub struct Watch {
    /// What is wanted of it.
    pub spec: ObjectsSource,
    /// The place.
    pub store: Box<dyn Store + Send>,
    /// Where it stands what was seen.
    pub seen: TopicPartition,
    /// Tells this place from another one that the source had before.
    pub place: u64,
    /// Where news go.
    pub news: SyncSender<LogResult<Item>>,
    /// Nobody wants it any more.
    pub over: Flag,
}

/// Why a pass ended before its end.
enum Broken {
    /// Nobody wants it any more.
    Over,
    /// The place; it is tried again.
    Store(StoreError),
    /// What cannot go on.
    Log(LogError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<LogError> for Broken {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        let message = format!(
            "the index of the objects that were seen fails: {error}; it lies in the folder of temporary files (`TMPDIR`)"
        );
        Self::Log(LogError::new(Class::Retry, "objects_index", message))
    }
}

/// One look at all objects.
struct Pass {
    number: u64,
    met: Met,
    /// When the first of what waits may be taken, ms.
    due: Option<u64>,
    /// Since when it runs, for what is told in ms.
    clock: Instant,
}

impl Watch {
    /// Runs until nobody wants it any more. `rest` waits between two passes.
    pub fn run(mut self, log: &dyn Log, mut rest: Rest) {
        if let Err(Broken::Log(error)) = self.watch(log, &mut rest) {
            let _ = self.news.send(Err(error));
        }
    }

    fn watch(&mut self, log: &dyn Log, rest: &mut Rest) -> Result<(), Broken> {
        let mut index = Index::new()?;
        self.remember(log, &mut index)?;
        let clock = Instant::now();
        for number in 1.. {
            rest.begin();
            let mut pass = Pass { number, met: Met::default(), due: None, clock };
            let began = Instant::now();
            let done = self.pass(&mut index, &mut pass);
            let due = pass.due.map(|due| clock + Duration::from_millis(due));
            match done {
                Ok(()) => rest.done(began, due, &self.over),
                Err(Broken::Store(error)) => rest.failed(&error, &self.over),
                Err(broken) => return Err(broken),
            }
            self.wanted()?;
        }
        Ok(())
    }

    fn wanted(&self) -> Result<(), Broken> {
        if self.over.load(Ordering::Acquire) { Err(Broken::Over) } else { Ok(()) }
    }

    /// Makes the index from the topic. The owner before is fenced by now: what it committed lies below the end.
    fn remember(&self, log: &dyn Log, index: &mut Index) -> Result<(), Broken> {
        let at = std::slice::from_ref(&self.seen);
        let bounds = log.ends(at, End::Low)?[0]..log.ends(at, End::High)?[0];
        let began = Instant::now();
        let mut changes = Vec::new();
        let mut failed = None;
        millstream_host::read_committed(log, &self.seen, bounds, |record| {
            entry::check(&record, &self.seen)?;
            if let Err(broken) = self.wanted() {
                failed = Some(broken);
                return Err(LogError::new(Class::Retry, "objects_watch_ended", "nobody waits for it any more"));
            }
            let name = record.key.as_deref().unwrap_or_default().to_vec();
            let state = record.value.as_deref().and_then(entry::decode).filter(|(_, place)| *place == self.place);
            changes.push(match state {
                Some((state, _)) => Change::Seen(name, state),
                None => Change::Forget(name),
            });
            if changes.len() >= REMEMBERED
                && let Err(error) = index.change(changes.drain(..))
            {
                failed = Some(error.into());
                return Err(LogError::new(Class::Retry, "objects_index", "the index fails"));
            }
            Ok(())
        })
        .map_err(|error| failed.take().unwrap_or(Broken::Log(error)))?;
        index.change(changes)?;
        let (objects, ms) = (index.len(), began.elapsed().as_millis() as u64);
        tracing::info!(url = %self.spec.url, objects, ms, "the objects seen before are known again");
        Ok(())
    }

    fn pass(&mut self, index: &mut Index, pass: &mut Pass) -> Result<(), Broken> {
        self.store.begin()?;
        loop {
            let before = pass.now();
            let mut page = self.store.page()?;
            if page.is_empty() {
                break;
            }
            page.retain(|found| self.matches(&found.name));
            self.compare(index, pass, page, before)?;
            self.wanted()?;
        }
        if !self.store.incomplete() {
            self.missed(index, pass)?;
        }
        index.end_of(pass.number)?;
        Ok(())
    }

    fn matches(&self, name: &[u8]) -> bool {
        self.spec.matching.as_ref().is_none_or(|m| m.glob.is_match(Path::new(OsStr::from_bytes(name))))
    }

    fn settle(&self) -> u64 {
        u64::try_from(self.spec.settle.as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks at what a page of the listing has.
    fn compare(&mut self, index: &mut Index, pass: &mut Pass, page: Vec<Found>, before: u64) -> Result<(), Broken> {
        let known = index.known(page.iter().map(|found| &*found.name))?;
        let (after, settle, mut changes) = (pass.now(), self.settle(), Vec::new());
        for (found, Known { seen, pending }) in page.into_iter().zip(known) {
            let Found { name, state } = found;
            if let Some((_, slot)) = &seen {
                pass.met.meet(*slot);
            }
            let verdict = decide(seen.as_ref().map(|(state, _)| state), pending.as_ref(), Some(&state), before, settle);
            match verdict {
                Verdict::Same => changes.extend(pending.map(|_| Change::Settled(name))),
                Verdict::Wait(mut pending) => {
                    if pending.since == before {
                        pending.since = after;
                    }
                    changes.push(pass.wait(name, pending, settle));
                }
                Verdict::Take(event) => match self.take(event, &name, &state)? {
                    true => changes.push(Change::Seen(name, state)),
                    false => {
                        let pending = Pending { state: Some(state), since: pass.now() };
                        changes.push(pass.wait(name, pending, settle.max(UNREAD_MS)));
                    }
                },
            }
        }
        if !changes.is_empty() {
            index.change(changes)?.into_iter().for_each(|slot| pass.met.meet(slot));
        }
        Ok(())
    }

    /// Looks at what was seen before and is in no page.
    fn missed(&mut self, index: &mut Index, pass: &mut Pass) -> Result<(), Broken> {
        let (settle, mut last) = (self.settle(), None);
        loop {
            let missed = index.missed(&pass.met, last.as_deref(), CHUNK)?;
            let Some((name, _)) = missed.last() else { return Ok(()) };
            last = Some(name.clone());
            let mut changes = Vec::new();
            for (name, Known { seen, pending }) in missed {
                let Some((state, _)) = seen else { continue };
                if !self.matches(&name) {
                    // Another pattern asked for it.
                    self.forget(&name, None)?;
                    changes.push(Change::Forget(name));
                    continue;
                }
                // It may have been moved from what was not listed yet to what was.
                if self.store.there(&name) {
                    changes.extend(pending.map(|_| Change::Settled(name)));
                    continue;
                }
                match decide(Some(&state), pending.as_ref(), None, pass.now(), settle) {
                    Verdict::Wait(pending) => changes.push(pass.wait(name, pending, settle)),
                    _ => {
                        self.forget(&name, self.spec.on.deleted.then_some(&state))?;
                        changes.push(Change::Forget(name));
                    }
                }
            }
            index.change(changes)?;
            self.wanted()?;
        }
    }

    /// Hands on that an object was created or changed, if it can be read.
    fn take(&mut self, event: Event, name: &[u8], state: &State) -> Result<bool, Broken> {
        let wanted = match event {
            Event::Created => self.spec.on.created,
            Event::Changed | Event::Deleted => self.spec.on.changed,
        };
        let mut record = None;
        if wanted {
            let bytes;
            let content = match self.spec.emit {
                Emit::Reference => Content::None,
                Emit::Content { max, .. } if state.size > max as u64 => Content::TooLarge(max),
                Emit::Content { base64, .. } => {
                    match self.store.read(name, state) {
                        Ok(read) => bytes = read,
                        Err(ReadError::Changed) => return Ok(false),
                        Err(ReadError::Store(error)) => return Err(error.into()),
                        Err(ReadError::Object(why)) => {
                            tracing::warn!(code = "objects_unreadable", "{why}; it is tried again");
                            return Ok(false);
                        }
                    }
                    Content::Bytes { bytes: &bytes, base64, room: self.spec.max_payload().unwrap_or(usize::MAX) }
                }
            };
            record = Some(payload(&Told { base: self.store.base(), name, event, state }, content));
        }
        let value = entry::encode(state, self.place);
        self.hand_on(name, record, Some(value))?;
        Ok(true)
    }

    /// Hands on that an object is gone; without a state nobody is told.
    fn forget(&mut self, name: &[u8], state: Option<&State>) -> Result<(), Broken> {
        let told = |state| Told { base: self.store.base(), name, event: Event::Deleted, state };
        let record = state.map(|state| payload(&told(state), Content::None));
        self.hand_on(name, record, None)
    }

    fn hand_on(
        &self,
        name: &[u8],
        record: Option<(bytes::Bytes, Option<millstream_host::Fault>)>,
        value: Option<Vec<u8>>,
    ) -> Result<(), Broken> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let seen = entry::record(&self.seen, name, value, now);
        self.news.send(Ok(Item { name: name.to_vec(), record, seen })).map_err(|_| Broken::Over)
    }
}

impl Pass {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wait(&mut self, name: Vec<u8>, pending: Pending, ms: u64) -> Change {
        let due = pending.since.saturating_add(ms);
        self.due = Some(self.due.map_or(due, |first| first.min(due)));
        Change::Wait(name, pending, self.number)
    }
}
