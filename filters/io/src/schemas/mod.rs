//! Schema registries that speak Confluent's API: what is asked of them (`api.rs`), and what of it is kept and how trouble is
//! waited out (this file). One thread a process asks; whoever needs a schema is told when it is there.

mod api;
mod cache;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use millstream_codec::{Answer, Known, Question, Ready, RegistryAddress, SchemaRegistry, Subject};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use api::{Api, Trouble};
use cache::Cache;

/// Between two attempts while a registry does not answer.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A registry that was just written to may not know it on all of its servers: what is not there is asked for again.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
/// Who else waits for one schema looks by itself after a while.
const MOST_TOLD: usize = 1_000;
/// How long a command waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The registries of a process, one for each address: what it knows is known to all that name it.
#[derive(Default)]
pub struct SchemaRegistries(Mutex<HashMap<RegistryAddress, Arc<Client>>>);

impl SchemaRegistries {
    /// The registry at an address. Nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with the address or the certificates, lower case, no full stop.
    pub fn at(&self, address: &RegistryAddress) -> Result<Arc<dyn SchemaRegistry>, String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(address) {
            return Ok(Arc::clone(known) as Arc<dyn SchemaRegistry>);
        }
        let client = Arc::new(Client::new(Api::new(address)?));
        all.insert(address.clone(), Arc::clone(&client));
        Ok(client)
    }
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One registry.
struct Client {
    shared: Arc<Shared>,
    jobs: OnceLock<UnboundedSender<Job>>,
}

struct Shared {
    api: Api,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    /// Why a schema has no number counts until it is asked for again.
    numbers: HashMap<Subject, Result<u32, Arc<str>>>,
    /// What is being asked for, and who is to be told.
    ids: HashMap<u32, Vec<Ready>>,
    subjects: HashMap<Subject, Vec<Ready>>,
    /// It was said that the registry does not answer.
    away: bool,
}

impl Client {
    fn new(api: Api) -> Self {
        Self { shared: Arc::new(Shared { api, state: Mutex::default() }), jobs: OnceLock::new() }
    }

    fn start(&self, job: impl Future<Output = ()> + Send + 'static) {
        let jobs = self.jobs.get_or_init(|| {
            let (jobs, mut waiting) = unbounded_channel::<Job>();
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                match runtime {
                    Ok(runtime) => runtime.block_on(async {
                        while let Some(job) = waiting.recv().await {
                            tokio::spawn(job);
                        }
                    }),
                    Err(e) => tracing::error!(error = %e, "no schema registry can be asked"),
                }
            };
            if let Err(e) = std::thread::Builder::new().name("schema-registry".to_owned()).spawn(work) {
                tracing::error!(error = %e, "no schema registry can be asked");
            }
            jobs
        });
        // Where there is no thread it was said; who waits goes on waiting, as for a registry that is away.
        let _ = jobs.send(Box::pin(job));
    }
}

impl SchemaRegistry for Client {
    fn address(&self) -> &str {
        self.shared.api.address()
    }

    fn known(&self, id: u32) -> Option<Known> {
        self.shared.with(|state| state.cache.get(id))
    }

    fn is_fresh(&self, id: u32) -> bool {
        self.shared.with(|state| state.cache.is_fresh(id))
    }

    fn fetch(&self, id: u32, ready: Ready) {
        let first = self.shared.with(|state| {
            if state.cache.is_fresh(id) {
                return None;
            }
            let waiting = state.ids.entry(id).or_default();
            if waiting.len() < MOST_TOLD {
                waiting.push(Arc::clone(&ready));
            }
            Some(waiting.len() == 1)
        });
        match first {
            None => ready(),
            Some(false) => {}
            Some(true) => {
                let shared = Arc::clone(&self.shared);
                self.start(async move {
                    let found = shared.schema(id).await;
                    let told = shared.with(|state| {
                        state.cache.insert(id, found);
                        state.ids.remove(&id).unwrap_or_default()
                    });
                    told.iter().for_each(|ready| ready());
                });
            }
        }
    }

    fn number(&self, subject: &Subject) -> Option<Result<u32, Arc<str>>> {
        self.shared.with(|state| state.numbers.get(subject).cloned())
    }

    fn find(&self, subject: &Subject, ready: Ready) {
        let first = self.shared.with(|state| {
            // That there is none is found out anew.
            if state.numbers.get(subject).is_some_and(Result::is_err) {
                state.numbers.remove(subject);
            }
            let waiting = state.subjects.entry(subject.clone()).or_default();
            waiting.push(ready);
            waiting.len() == 1
        });
        if !first {
            return;
        }
        let (shared, subject) = (Arc::clone(&self.shared), subject.clone());
        self.start(async move {
            let found = shared.number_of(&subject).await;
            let told = shared.with(|state| {
                let told = state.subjects.remove(&subject).unwrap_or_default();
                state.numbers.insert(subject, found);
                told
            });
            told.iter().for_each(|ready| ready());
        });
    }

    fn ask(&self, question: &Question<'_>) -> Result<Answer, String> {
        enum Owned {
            Latest(String),
            Lookup(Subject),
            Compatible(Subject),
        }
        let question = match *question {
            Question::Latest(subject) => Owned::Latest(subject.to_owned()),
            Question::Lookup(subject) => Owned::Lookup(subject.clone()),
            Question::Compatible(subject) => Owned::Compatible(subject.clone()),
        };
        let (shared, (tell, told)) = (Arc::clone(&self.shared), mpsc::channel());
        self.start(async move {
            let answer = match question {
                Owned::Latest(subject) => shared.api.latest(&subject).await,
                Owned::Lookup(subject) => shared.api.lookup(&subject).await.map(Answer::Number),
                Owned::Compatible(subject) => shared.api.compatible(&subject).await.map(Answer::Compatible),
            };
            // Nobody waits any more.
            let _ = tell.send(answer);
        });
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Trouble::Absent(_))) => Ok(Answer::Nothing),
            Ok(Err(Trouble::Refused(why) | Trouble::Passing(why))) => Err(why),
            Err(_) => Err(format!("{} does not answer", self.address())),
        }
    }
}

impl Shared {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The schema of a number, however long that takes.
    async fn schema(&self, id: u32) -> Known {
        // The registry counts in 31 bits.
        if i32::try_from(id).is_err() {
            return Known::Nothing;
        }
        let (mut looks, mut pause) = (0, FIRST_PAUSE);
        loop {
            match self.api.schema(id).await {
                Ok(known) => {
                    self.answered();
                    return known;
                }
                Err(Trouble::Absent(_)) => {
                    self.answered();
                    looks += 1;
                    if looks == LOOKS {
                        return Known::Nothing;
                    }
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                Err(Trouble::Refused(why)) => {
                    self.answered();
                    return Known::Unusable(why.into());
                }
                Err(Trouble::Passing(why)) => self.wait_out(&why, &mut pause).await,
            }
        }
    }

    /// The number of a schema, or why it has none.
    async fn number_of(&self, subject: &Subject) -> Result<u32, Arc<str>> {
        let (mut looks, mut pause) = (0, FIRST_PAUSE);
        loop {
            let mut asked = self.api.lookup(subject).await;
            if let (Err(Trouble::Absent(_)), true) = (&asked, subject.register) {
                asked = self.api.register(subject).await;
            }
            match asked {
                Ok(number) => {
                    self.answered();
                    return Ok(number);
                }
                Err(Trouble::Absent(why)) => {
                    self.answered();
                    looks += 1;
                    if looks == LOOKS {
                        return Err(format!(
                            "the schema is not registered under `{}` at {} ({why}); register it there, or say \
                             `register: true` beside it",
                            subject.name,
                            self.api.address()
                        )
                        .into());
                    }
                    tokio::time::sleep(BETWEEN_LOOKS).await;
                }
                Err(Trouble::Refused(why)) => {
                    self.answered();
                    return Err(why.into());
                }
                Err(Trouble::Passing(why)) => self.wait_out(&why, &mut pause).await,
            }
        }
    }

    async fn wait_out(&self, why: &str, pause: &mut Duration) {
        if !self.with(|state| std::mem::replace(&mut state.away, true)) {
            tracing::warn!(
                code = "schema_registry_away",
                registry = self.api.address(),
                "the schema registry gives no answer ({why}); what needs it waits, and is tried again"
            );
        }
        // Jitter, so that many processes do not come back at one moment.
        let jitter = 0.5 + f64::from(subsecond()) / 2_000_000_000.0;
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    fn answered(&self) {
        if self.with(|state| std::mem::replace(&mut state.away, false)) {
            tracing::info!(registry = self.api.address(), "the schema registry answers again");
        }
    }
}

/// Something that differs from process to process.
fn subsecond() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos())
}
