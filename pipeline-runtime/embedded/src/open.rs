//! Opening a folder: as its owner, or as a client of the process that owns it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_log::{
    Class, Committed, End, Isolation, Log, LogError, LogResult, Member, MemberConfig, NewTopic, Reader, TopicInfo,
    TopicPartition, Writer,
};

use crate::chores;
use crate::core::Core;
use crate::errors;
use crate::log::CoreLog;
use crate::options::EmbeddedOptions;
use crate::recover::{Recovered, recover};
use crate::socket::{FollowingLog, Server, connect};

/// How long to wait for an owner that is just starting or ending.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log in a folder, owned by this process. Other processes reach it over a socket in the folder; it is closed when
/// this is dropped.
pub struct EmbeddedLog {
    log: CoreLog,
    server: Option<Server>,
    chores: Option<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens the log in a folder, and makes it if it is not there. If another process has it open, that one's log is
    /// used over its socket, and `options` have no effect.
    ///
    /// # Errors
    /// [`Class::Retry`] when the owner neither answers nor goes away; [`Class::Fatal`] when what is on disk is damaged;
    /// [`Class::Denied`] when the folder cannot be used.
    pub fn open(dir: impl AsRef<Path>, options: EmbeddedOptions) -> LogResult<Arc<dyn Log>> {
        let dir = absolute(dir.as_ref())?;
        let options = options.bounded();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = lock(&dir)? {
                return Ok(Arc::new(Self::own(&dir, options, lock)?));
            }
            match connect(&dir) {
                Ok(client) => return Ok(Arc::new(FollowingLog::new(dir, options, client))),
                Err(error) if error.code != OWNER_AWAY || Instant::now() >= deadline => return Err(error),
                // The owner is between taking the lock and listening, or between its end and giving the lock back.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn own(dir: &Path, options: EmbeddedOptions, lock: File) -> LogResult<Self> {
        let began = Instant::now();
        let Recovered { state, appender } = recover(dir, &options)?;
        let segments = state.segments.len();
        let bytes: u64 = state.segments.values().sum();
        let serve = options.serve;
        let core = Arc::new(Core::new(dir, options, appender, state, lock));
        let chores = chores::spawn(core.clone()).map_err(|e| errors::io("cannot start a thread for", dir, &e))?;
        let mut opened = Self { log: CoreLog { core: core.clone() }, server: None, chores: Some(chores) };
        if serve {
            opened.server = Some(Server::start(core)?);
        }
        tracing::info!(dir = %dir.display(), segments, bytes, took = %format_args!("{}ms", began.elapsed().as_millis()), "opened the embedded log");
        Ok(opened)
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // First no more clients, then no more writes.
        drop(self.server.take());
        self.log.core.close();
        if let Some(chores) = self.chores.take() {
            // A thread that panicked has said so.
            let _ = chores.join();
        }
    }
}

impl Log for EmbeddedLog {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.log.describe(topics)
    }
    fn topics(&self) -> LogResult<Vec<String>> {
        self.log.topics()
    }
    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.log.create(topics)
    }
    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.log.add_partitions(topics)
    }
    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.log.delete(topics)
    }
    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.log.ends(partitions, end)
    }
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        self.log.committed(group, partitions)
    }
    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.log.delete_before(offsets)
    }
    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.log.delete_groups(groups)
    }
    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        self.log.join(config)
    }
    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        self.log.reader(isolation)
    }
    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        self.log.writer()
    }
    fn name(&self) -> String {
        self.log.name()
    }
}

fn absolute(dir: &Path) -> LogResult<PathBuf> {
    let make = || {
        std::fs::create_dir_all(dir)?;
        dir.canonicalize()
    };
    make().map_err(|e| errors::io("cannot use the folder", dir, &e))
}

/// The lock of a folder; `None` if another process has it. It goes with the process, however that ends.
fn lock(dir: &Path) -> LogResult<Option<File>> {
    let path = dir.join("millstream.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| errors::io("cannot open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(errors::io("cannot lock", &path, &e)),
    }
}

/// For a client whose owner is gone: takes its place, or finds who did. One try.
pub(crate) fn own_or_connect(dir: &Path, options: &EmbeddedOptions) -> LogResult<Arc<dyn Log>> {
    match lock(dir)? {
        Some(lock) => Ok(Arc::new(EmbeddedLog::own(dir, options.clone(), lock)?)),
        None => connect(dir),
    }
}

/// The code of the error that says so.
pub(crate) const OWNER_AWAY: &str = "log_owner_away";

/// Why an owner does not answer. Half an answer is how a process looks that ends.
pub(crate) fn why(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => "it has ended".to_owned(),
        _ => error.to_string(),
    }
}

/// The owner does not answer.
pub(crate) fn owner_away(dir: &Path, why: &str) -> LogError {
    let message = format!(
        "the process that owns the embedded log in {} does not answer: {why}; the next call looks for its successor",
        dir.display()
    );
    LogError::new(Class::Retry, OWNER_AWAY, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// It said "failed to fill whole buffer".
    #[test]
    fn half_an_answer_is_told_as_an_end() {
        let torn = io::Read::read_exact(&mut &b"ab"[..], &mut [0; 4]).unwrap_err();
        let said = owner_away(Path::new("folder"), &why(&torn)).to_string();
        assert!(said.contains("in folder does not answer: it has ended"), "{said}");
        assert_eq!(why(&io::Error::other("no")), "no");
    }
}
