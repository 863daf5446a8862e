//! Sources that others push to: what they send is taken in by every process, and answered when the log has it.
//!
//! Whoever serves them (an HTTP server, which this crate does not know) finds an [`Intake`] by the source's topic, makes
//! records of what came ([`Intake::record`]) and hands them in ([`Intake::take_in`]). One thread per source and process
//! (`worker.rs`) writes what all requests brought since its last round at once. What it decides is in `desk.rs`, pure.

mod book;
mod claim;
mod desk;
mod names;
mod recorder;
mod standing;
mod tail;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_log::{LogResult, Waker};
use millstream_spec::model::{Pipeline, Source};
use tokio::sync::oneshot;

use crate::jobs::{JobsPlan, JobsView};
use crate::trigger::Desk;

pub use desk::{Answer, Item};
pub use names::Name;
pub(crate) use names::uuid;
use recorder::Recorder;
pub use recorder::{Fits, Message, Unfit};
pub use standing::Standing;
pub(crate) use worker::{IntakeContext, run};

/// Arrivals that wait for the thread that writes them.
const MAX_WAITING: usize = 10_000;

/// What makes the check of a source's payloads.
pub type FitsOf = Box<dyn Fn(&Source) -> LogResult<Fits> + Send + Sync>;

/// What a process serves: its intakes, and how it stands. Cloning shares it.
#[derive(Clone)]
pub struct Served {
    inner: Arc<ServedInner>,
}

struct ServedInner {
    /// By topic.
    intakes: Mutex<HashMap<String, Arc<Intake>>>,
    fits: FitsOf,
    standing: Standing,
    /// How the jobs of pipelines stand, by the pipelines' names.
    jobs: Mutex<BTreeMap<String, JobsView>>,
    /// Where jobs of pipelines are started, by the pipelines' names.
    desks: Mutex<BTreeMap<String, Desk>>,
}

impl Served {
    /// Nothing yet.
    pub fn new(fits: FitsOf) -> Self {
        let (intakes, standing) = (Mutex::default(), Standing::default());
        Self {
            inner: Arc::new(ServedInner { intakes, fits, standing, jobs: Mutex::default(), desks: Mutex::default() }),
        }
    }

    /// The intake of the source that writes a topic, once there is one.
    pub fn intake(&self, topic: &str) -> Option<Arc<Intake>> {
        lock(&self.inner.intakes).get(topic).cloned()
    }

    /// How the jobs of a pipeline stand, where it tracks them and has begun.
    pub fn jobs(&self, pipeline: &str) -> Option<JobsView> {
        lock(&self.inner.jobs).get(pipeline).cloned()
    }

    /// The same of all pipelines here.
    pub fn all_jobs(&self) -> Vec<JobsView> {
        lock(&self.inner.jobs).values().cloned().collect()
    }

    /// The jobs of a pipeline are followed from now on.
    pub(crate) fn show_jobs(&self, pipeline: &str, view: JobsView) {
        lock(&self.inner.jobs).insert(pipeline.to_owned(), view);
    }

    /// Where jobs of a pipeline are started, once it has begun.
    pub fn desk(&self, pipeline: &str) -> Option<Desk> {
        lock(&self.inner.desks).get(pipeline).cloned()
    }

    /// Jobs of a pipeline are started here from now on.
    pub(crate) fn open_desk(&self, pipeline: &str, desk: Desk) {
        lock(&self.inner.desks).insert(pipeline.to_owned(), desk);
    }

    /// How the process stands.
    pub fn standing(&self) -> &Standing {
        &self.inner.standing
    }

    /// Whether requests to the source that writes a topic were begun and are not answered.
    pub(crate) fn busy(&self, topic: &str) -> bool {
        self.intake(topic).is_some_and(|intake| intake.held() > 0)
    }

    /// The intake of a source, made where there is none.
    pub(crate) fn open(&self, source: &Source, partitions: i32, jobs: Option<JobsPlan>) -> LogResult<Arc<Intake>> {
        let mut intakes = lock(&self.inner.intakes);
        if let Some(known) = intakes.get(&source.topic) {
            return Ok(Arc::clone(known));
        }
        let fits = source.typed.then(|| (self.inner.fits)(source)).transpose()?;
        let intake = Arc::new(Intake::new(Recorder::new(source, partitions, fits, jobs)));
        intakes.insert(source.topic.clone(), Arc::clone(&intake));
        Ok(intake)
    }

    /// Why not all of these topics' intakes take in, if so.
    pub(crate) fn closed(&self, topics: &[&str]) -> Option<String> {
        let intakes = lock(&self.inner.intakes);
        topics.iter().find_map(|topic| match intakes.get(*topic) {
            None => Some("it is starting".to_owned()),
            Some(intake) => lock(&intake.state).closed.clone(),
        })
    }
}

/// Takes in what is sent to one source.
pub struct Intake {
    recorder: Recorder,
    state: Mutex<State>,
    arrived: Condvar,
    /// Requests that were begun and are not answered.
    held: AtomicUsize,
}

struct State {
    arrivals: Vec<Arrival>,
    /// Why nothing is taken in now.
    closed: Option<String>,
    waker: Option<Waker>,
}

/// What a request brought.
pub(crate) struct Arrival {
    pub items: Vec<Item>,
    pub reply: oneshot::Sender<Answer>,
}

/// A request that was begun. While there is one, its intake does not end.
pub struct Begun<'a>(&'a Intake);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
        self.0.wake();
    }
}

impl Intake {
    fn new(recorder: Recorder) -> Self {
        let state = State { arrivals: Vec::new(), closed: Some("it is starting".to_owned()), waker: None };
        Self { recorder, state: Mutex::new(state), arrived: Condvar::new(), held: AtomicUsize::new(0) }
    }

    /// Begins a request.
    ///
    /// # Errors
    /// Why nothing is taken in now.
    pub fn begin(&self) -> Result<Begun<'_>, String> {
        self.held.fetch_add(1, Ordering::AcqRel);
        let begun = Begun(self);
        match &lock(&self.state).closed {
            Some(why) => Err(why.clone()),
            None => Ok(begun),
        }
    }

    /// The record of a message.
    pub fn record(&self, message: Message) -> Result<Item, Unfit> {
        self.recorder.record(message)
    }

    /// Hands in records, all or none of which are taken in.
    pub async fn take_in(&self, items: Vec<Item>) -> Answer {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(why) = &state.closed {
                return Answer::Away(why.clone());
            }
            if state.arrivals.len() >= MAX_WAITING {
                return Answer::Away(format!("{MAX_WAITING} requests wait to be written"));
            }
            state.arrivals.push(Arrival { items, reply });
        }
        self.wake();
        // Without an answer the thread has ended: what it had begun may have been written.
        answer.await.unwrap_or_else(|_| Answer::Unknown("the writer of this source was started again".to_owned()))
    }

    /// Requests that were begun and are not answered.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    fn wake(&self) {
        let waker = lock(&self.state).waker.clone();
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker();
        }
    }

    fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut lock(&self.state).arrivals)
    }

    fn has_arrivals(&self) -> bool {
        !lock(&self.state).arrivals.is_empty()
    }

    fn wait(&self, timeout: Duration) {
        let state = lock(&self.state);
        let nothing = |state: &mut State| state.arrivals.is_empty();
        drop(self.arrived.wait_timeout_while(state, timeout, nothing));
    }

    fn set_waker(&self, waker: Option<Waker>) {
        lock(&self.state).waker = waker;
    }

    /// Takes in from now on, or not.
    fn set_closed(&self, why: Option<String>) {
        lock(&self.state).closed = why;
    }
}

/// How long the ids of a source are remembered: as long as a stage that reads it knows a repeat.
pub(crate) fn window(pipeline: &Pipeline, source: &Source) -> Duration {
    let reads = |s: &&millstream_spec::model::Stage| {
        s.inputs.iter().any(|i| i.source.is_some_and(|n| pipeline.sources[n].topic == source.topic))
    };
    let windows = pipeline.stages.iter().filter(reads).filter_map(|s| s.dedup.as_ref()).map(|d| d.window);
    windows.min().unwrap_or(Duration::from_secs(86_400))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
