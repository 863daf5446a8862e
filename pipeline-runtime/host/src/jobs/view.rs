//! How jobs stand, for those who ask a running process: it follows `<pipeline>.jobs` from its beginning.
//!
//! Where each job's last status lies is kept (about 40 bytes a job), and the statuses that came last themselves; an older
//! one is read again. Who waits for a job is woken by its next status.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_log::{Budget, Class, End, Isolation, Log, LogError, LogRecord, LogResult, TopicPartition};
use millstream_spec::model::Jobs;
use tokio::sync::watch;

use super::cancel;
use super::job::JobStatus;
use super::ledger::read;
use crate::ids::hash128;
use crate::restore;
use crate::shared::Stop;

/// A status and where it lies.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How the job stands.
    pub status: Arc<JobStatus>,
    /// Rises with each status of the job.
    pub version: i64,
}

/// Why a question about a job has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewError {
    /// Stable; it has an entry in `docs/codes.md`.
    pub code: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Whether it may be asked again.
    pub again: bool,
}

impl From<LogError> for ViewError {
    fn from(error: LogError) -> Self {
        let again = !matches!(error.class, Class::Config | Class::Fatal | Class::Denied);
        Self { code: error.code, message: error.message, again }
    }
}

/// Shared by the thread that follows the topic and by all who ask.
#[derive(Clone)]
pub struct JobsView {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn Log>,
    jobs: Jobs,
    state: Mutex<State>,
    /// The topic was read to its end once.
    caught_up: watch::Sender<bool>,
    /// Old statuses are read again by so few at once.
    reads: tokio::sync::Semaphore,
    /// Nothing more comes.
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// By the hash of the job: where its last status lies.
    places: HashMap<u128, (i32, i64)>,
    recent: Recent,
    waiting: HashMap<u128, watch::Sender<Option<Seen>>>,
}

/// The statuses that came last.
#[derive(Default)]
struct Recent {
    statuses: HashMap<u128, (Seen, usize)>,
    order: VecDeque<(u128, i64)>,
    bytes: usize,
}

/// Bytes of statuses that are kept, by the length of their records.
const RECENT_BYTES: usize = 16 << 20;
/// Threads that read old statuses at once.
const READS: usize = 4;
const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };
const POLL: Duration = Duration::from_millis(200);

impl JobsView {
    /// Of a pipeline's jobs; nothing is read yet.
    pub(crate) fn new(log: Arc<dyn Log>, jobs: &Jobs) -> Self {
        let inner = Inner {
            log,
            jobs: jobs.clone(),
            state: Mutex::default(),
            caught_up: watch::channel(false).0,
            reads: tokio::sync::Semaphore::new(READS),
            stopped: watch::channel(false).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Follows the topic until told to stop.
    pub(crate) fn follow(&self, stop: &Stop) -> LogResult<()> {
        let inner = &*self.inner;
        let count = inner.log.describe(&[&inner.jobs.topic])?[0].as_ref().map_or(0, |info| info.partitions);
        let partitions: Vec<TopicPartition> =
            (0..count).map(|p| TopicPartition::new(inner.jobs.topic.as_str(), p)).collect();
        let from = inner.log.ends(&partitions, End::Low)?;
        let ends = inner.log.ends(&partitions, End::Stable)?;
        let mut behind: HashMap<i32, i64> = partitions
            .iter()
            .zip(from.iter().zip(ends))
            .filter(|(_, (from, end))| **from < *end)
            .map(|(place, (_, end))| (place.partition, end))
            .collect();
        let mut reader = inner.log.reader(Isolation::Committed)?;
        reader.assign(&partitions.into_iter().zip(from).collect::<Vec<_>>())?;
        stop.on_stop(reader.waker());
        while !stop.draining() {
            if behind.is_empty() {
                inner.caught_up.send_replace(true);
            }
            for batch in reader.poll(BUDGET, POLL)? {
                let mut state = inner.state();
                for record in &batch.records {
                    state.take(batch.partition.partition, record)?;
                }
                if behind.get(&batch.partition.partition).is_some_and(|end| batch.next >= *end) {
                    behind.remove(&batch.partition.partition);
                }
            }
        }
        Ok(())
    }

    /// Nobody follows any more, and nobody is to wait.
    pub(crate) fn stop(&self) {
        self.inner.stopped.send_replace(true);
    }

    /// Ends when nothing more comes.
    pub async fn stopped(&self) {
        // Its sender lives as long as this.
        let _ = self.inner.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Has what is left of a job dropped.
    ///
    /// # Errors
    /// `job_not_text`, or the log failed.
    pub async fn cancel(&self, job: &[u8]) -> Result<(), ViewError> {
        let (inner, job) = (Arc::clone(&self.inner), job.to_vec());
        let said = tokio::task::spawn_blocking(move || cancel::say(&*inner.log, &inner.jobs, &job)).await;
        Ok(said.unwrap_or_else(|_| Err(busy("the word was not written")))?)
    }

    /// How a job stands now; `None` for one that is not known.
    ///
    /// # Errors
    /// The log failed, or its jobs are not read to their end yet (`jobs_busy`).
    pub async fn get(&self, job: &[u8]) -> Result<Option<Seen>, ViewError> {
        self.caught_up().await?;
        Ok(self.now(job).await?)
    }

    /// Waits up to `timeout` for a status of the job for which `enough` holds; the last one then.
    ///
    /// # Errors
    /// As with [`JobsView::get`].
    pub async fn wait(
        &self,
        job: &[u8],
        timeout: Duration,
        enough: impl Fn(&Seen) -> bool,
    ) -> Result<Option<Seen>, ViewError> {
        let until = tokio::time::Instant::now() + timeout;
        let mut watching = self.watch(job).await?;
        loop {
            let seen = watching.borrow_and_update().clone();
            if seen.as_ref().is_some_and(&enough) {
                return Ok(seen);
            }
            tokio::select! {
                changed = watching.changed() => if changed.is_err() { return Ok(seen) },
                () = tokio::time::sleep_until(until) => return Ok(seen),
                () = self.stopped() => return Ok(seen),
            }
        }
    }

    /// Each status of a job from now on, beginning with the present one.
    ///
    /// # Errors
    /// As with [`JobsView::get`].
    pub async fn watch(&self, job: &[u8]) -> Result<watch::Receiver<Option<Seen>>, ViewError> {
        self.caught_up().await?;
        let receiver = {
            let mut state = self.inner.state();
            // Nobody waits for these any more.
            if state.waiting.len() > 64 {
                state.waiting.retain(|_, sender| sender.receiver_count() > 0);
            }
            state.waiting.entry(name(job)).or_insert_with(|| watch::channel(None).0).subscribe()
        };
        // After it is known to the follower, so that nothing is missed in between.
        if let Some(now) = self.now(job).await? {
            let state = self.inner.state();
            if let Some(sender) = state.waiting.get(&name(job)) {
                sender.send_if_modified(|last| {
                    let newer = last.as_ref().is_none_or(|last| last.version < now.version);
                    if newer {
                        *last = Some(now);
                    }
                    newer
                });
            }
        }
        Ok(receiver)
    }

    async fn caught_up(&self) -> LogResult<()> {
        let mut caught_up = self.inner.caught_up.subscribe();
        let there = tokio::time::timeout(Duration::from_secs(5), caught_up.wait_for(|there| *there)).await;
        match there {
            Ok(Ok(_)) => Ok(()),
            _ => Err(busy("the status of jobs is still being read")),
        }
    }

    async fn now(&self, job: &[u8]) -> LogResult<Option<Seen>> {
        let name = name(job);
        let (partition, offset) = {
            let state = self.inner.state();
            if let Some((seen, _)) = state.recent.statuses.get(&name) {
                return Ok(Some(seen.clone()));
            }
            let Some(place) = state.places.get(&name) else { return Ok(None) };
            *place
        };
        let _turn = self.inner.reads.acquire().await;
        let inner = Arc::clone(&self.inner);
        let read = tokio::task::spawn_blocking(move || inner.read(partition, offset)).await;
        read.unwrap_or_else(|_| Err(busy("the status of a job was not read")))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An old status. Compaction may have taken it since: then a newer one has come.
    fn read(&self, partition: i32, offset: i64) -> LogResult<Option<Seen>> {
        let place = TopicPartition::new(self.jobs.topic.as_str(), partition);
        let mut found = None;
        restore::read(&*self.log, &place, offset..offset + 1, |record| {
            found = read(&record)?.and_then(|(_, status)| status);
            Ok(())
        })?;
        Ok(found.map(|status| Seen { status: Arc::new(status), version: offset }))
    }
}

impl State {
    fn take(&mut self, partition: i32, record: &LogRecord) -> LogResult<()> {
        let Some((job, status)) = read(record)? else { return Ok(()) };
        let name = name(&job);
        let Some(status) = status else {
            self.places.remove(&name);
            self.recent.forget(name);
            return Ok(());
        };
        self.places.insert(name, (partition, record.offset));
        let seen = Seen { status: Arc::new(status), version: record.offset };
        if let Some(sender) = self.waiting.get(&name) {
            if sender.receiver_count() > 0 {
                sender.send_replace(Some(seen.clone()));
            } else {
                self.waiting.remove(&name);
            }
        }
        self.recent.keep(name, seen, record.value.as_ref().map_or(0, Bytes::len));
        Ok(())
    }
}

impl Recent {
    fn keep(&mut self, name: u128, seen: Seen, bytes: usize) {
        self.forget(name);
        // What is kept beside the record.
        let bytes = bytes + 256;
        self.order.push_back((name, seen.version));
        self.statuses.insert(name, (seen, bytes));
        self.bytes += bytes;
        while self.bytes > RECENT_BYTES
            && let Some((oldest, version)) = self.order.pop_front()
        {
            if self.statuses.get(&oldest).is_some_and(|(seen, _)| seen.version == version) {
                self.forget(oldest);
            }
        }
        // Places of statuses that were replaced since must not pile up.
        if self.order.len() > 2 * self.statuses.len() + 64 {
            let statuses = &self.statuses;
            self.order.retain(|(name, version)| statuses.get(name).is_some_and(|(seen, _)| seen.version == *version));
        }
    }

    fn forget(&mut self, name: u128) {
        if let Some((_, bytes)) = self.statuses.remove(&name) {
            self.bytes -= bytes;
        }
    }
}

fn busy(what: &str) -> LogError {
    LogError::new(Class::Retry, "jobs_busy", what)
}

/// What a job is known by here.
fn name(job: &[u8]) -> u128 {
    hash128(&[job])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::note::{Note, What};

    fn seen(version: i64) -> Seen {
        let note = Note::new("", What::Accepted, 0);
        Seen { status: Arc::new(JobStatus::begin(&note)), version }
    }

    #[test]
    fn what_came_last_is_kept_within_bounds() {
        let mut recent = Recent::default();
        for n in 0..100 {
            recent.keep(n, seen(n as i64), RECENT_BYTES / 10);
        }
        assert!(recent.bytes <= RECENT_BYTES && recent.statuses.len() < 10, "{}", recent.statuses.len());
        assert!(recent.statuses.contains_key(&99) && !recent.statuses.contains_key(&0));
        for n in 0..10_000 {
            recent.keep(7, seen(200 + n), 10);
        }
        assert!(recent.order.len() < 300, "{}", recent.order.len());
        recent.forget(7);
        recent.forget(7);
        assert!(!recent.statuses.contains_key(&7));
    }
}
