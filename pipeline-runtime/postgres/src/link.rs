//! The way to a database: a task that connects, asks and tries again, and the maker's end of it.
//!
//! The maker is called on the thread that also keeps its place in the group, so it must never wait for a database. It
//! asks; the task answers as soon as there is something, however long that takes and however often the server goes away.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use millstream_log::{Class, LogError, LogResult};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc as asks};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use millstream_pgclient::{Target, Tls, Trouble};

/// One question in all its attempts.
pub(crate) trait Table: Send + 'static {
    /// What is asked; an attempt may change it, and the next one goes on from there.
    type Ask: Send + 'static;
    /// What comes back.
    type Answer: Send + 'static;

    /// Looks at the table behind a new connection.
    fn prepare(&mut self, client: &Client) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// One attempt; `None` where there is nothing new.
    fn round(
        &mut self,
        client: &Client,
        ask: &mut Self::Ask,
    ) -> impl Future<Output = Result<Option<Self::Answer>, Trouble>> + Send;
}

/// How the database is reached and looked at.
#[derive(Clone, Debug)]
pub(crate) struct Looks {
    /// Pipeline and source, for the log.
    pub who: String,
    /// The URL.
    pub url: millstream_spec::model::Secret,
    /// Between two looks at a table that had nothing new.
    pub every: Duration,
    /// Says that there is something new.
    pub notify: Option<String>,
}

/// The maker's end.
pub(crate) struct Link<T: Table> {
    asks: asks::UnboundedSender<T::Ask>,
    answers: Receiver<T::Answer>,
    task: JoinHandle<()>,
}

/// All of a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// What one statement may take, told to the server.
const STATEMENT: &str = "30s";
/// What a round may take, whatever the server does.
const ROUND: Duration = Duration::from_secs(70);
/// Between two attempts that failed: the first time, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

impl<T: Table> Link<T> {
    /// Begins; nothing is asked yet.
    pub(crate) fn start(runtime: &Handle, looks: Looks, table: T) -> Self {
        let (asks, mut asked) = asks::unbounded_channel();
        let (answer, answers) = mpsc::channel();
        let task = runtime.spawn(async move {
            let mut way = Way { looks, table, client: None, wake: Arc::default(), failures: 0 };
            while let Some(ask) = asked.recv().await {
                if answer.send(way.answer(ask).await).is_err() {
                    return;
                }
            }
        });
        Self { asks, answers, task }
    }

    /// Asks; there is one answer to each question.
    pub(crate) fn ask(&self, ask: T::Ask) -> LogResult<()> {
        self.asks.send(ask).map_err(|_| gone())
    }

    /// The answer, if it comes within a moment.
    pub(crate) fn answer(&self) -> LogResult<Option<T::Answer>> {
        match self.answers.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl<T: Table> Drop for Link<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task has ended by itself.
fn gone() -> LogError {
    LogError::new(Class::Retry, "postgres_error", "the reader of the database has ended; it is started again")
}

struct Way<T> {
    looks: Looks,
    table: T,
    client: Option<Client>,
    wake: Arc<Notify>,
    failures: u32,
}

impl<T: Table> Way<T> {
    async fn answer(&mut self, mut ask: T::Ask) -> T::Answer {
        loop {
            match self.attempt(&mut ask).await {
                Ok(found) => {
                    if self.failures > 0 {
                        tracing::info!(source = %self.looks.who, "the database answers again");
                    }
                    self.failures = 0;
                    match found {
                        Some(answer) => return answer,
                        None => {
                            // Either is a reason to look.
                            let _ = timeout(self.looks.every, self.wake.notified()).await;
                        }
                    }
                }
                Err(trouble) => {
                    self.client = None;
                    let wait = (BACKOFF.0 * 2u32.saturating_pow(self.failures.min(16))).min(BACKOFF.1);
                    self.failures = self.failures.saturating_add(1);
                    tracing::warn!(
                        source = %self.looks.who, code = trouble.code, wait_ms = wait.as_millis() as u64,
                        "{} [{}]; nothing is lost, it is tried again", trouble.message, trouble.code
                    );
                    sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(&mut self, ask: &mut T::Ask) -> Result<Option<T::Answer>, Trouble> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let client = timeout(CONNECT, connect(&self.looks, &self.wake));
            let client = client.await.map_err(|_| Trouble::slow("take a connection"))??;
            let prepared = timeout(ROUND, self.table.prepare(&client)).await;
            prepared.map_err(|_| Trouble::slow("describe the table"))??;
            self.client = Some(client);
        }
        let Some(client) = &self.client else { return Ok(None) };
        timeout(ROUND, self.table.round(client, ask)).await.map_err(|_| Trouble::slow("answer"))?
    }
}

async fn connect(looks: &Looks, wake: &Arc<Notify>) -> Result<Client, Trouble> {
    let target = Target::parse(looks.url.reveal())?;
    let tls = Tls::new(&target)?;
    let (client, mut connection) = target.config.connect(tls).await?;
    let wake = Arc::clone(wake);
    tokio::spawn(async move {
        // Ends with the connection or the client.
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                wake.notify_one();
            }
        }
    });
    let settings = format!(
        "SET statement_timeout = '{STATEMENT}'; SET lock_timeout = '{STATEMENT}'; SET TimeZone = 'UTC'; \
         SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'"
    );
    client.batch_execute(&settings).await?;
    if let Some(channel) = &looks.notify {
        client.batch_execute(&format!("LISTEN {}", crate::table::quoted(channel))).await?;
    }
    Ok(client)
}
