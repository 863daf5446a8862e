//! A client that outlives the owner: when the owner is gone, the next call finds its successor, or becomes it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_log::{
    Batch, Budget, Committed, End, Isolation, Log, LogResult, Member, MemberConfig, NewTopic, Reader, TopicInfo,
    TopicPartition, Waker, Writer,
};

use crate::open::{OWNER_AWAY, own_or_connect};
use crate::options::EmbeddedOptions;
use crate::signal::guard;

/// The log in a folder, through whoever owns it.
#[derive(Clone)]
pub(crate) struct FollowingLog {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    options: EmbeddedOptions,
    current: Mutex<Arc<dyn Log>>,
}

impl FollowingLog {
    pub fn new(dir: PathBuf, options: EmbeddedOptions, current: Arc<dyn Log>) -> Self {
        Self { inner: Arc::new(Inner { dir, options, current: Mutex::new(current) }) }
    }

    /// Every call to the log as a whole can be made twice, so it is when the owner is gone.
    fn call<T>(&self, call: impl Fn(&dyn Log) -> LogResult<T>) -> LogResult<T> {
        let current = guard(&self.inner.current).clone();
        match call(&*current) {
            Err(error) if error.code == OWNER_AWAY => {
                let next = self.renew(&current)?;
                call(&*next)
            }
            other => other,
        }
    }

    fn renew(&self, failed: &Arc<dyn Log>) -> LogResult<Arc<dyn Log>> {
        let mut current = guard(&self.inner.current);
        if Arc::ptr_eq(&current, failed) {
            *current = own_or_connect(&self.inner.dir, &self.inner.options)?;
        }
        Ok(current.clone())
    }
}

impl Log for FollowingLog {
    fn describe(&self, topics: &[&str]) -> LogResult<Vec<Option<TopicInfo>>> {
        self.call(|log| log.describe(topics))
    }
    fn topics(&self) -> LogResult<Vec<String>> {
        self.call(|log| log.topics())
    }
    fn create(&self, topics: &[NewTopic]) -> LogResult<()> {
        self.call(|log| log.create(topics))
    }
    fn add_partitions(&self, topics: &[(&str, i32)]) -> LogResult<()> {
        self.call(|log| log.add_partitions(topics))
    }
    fn delete(&self, topics: &[&str]) -> LogResult<()> {
        self.call(|log| log.delete(topics))
    }
    fn ends(&self, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
        self.call(|log| log.ends(partitions, end))
    }
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> LogResult<Vec<Option<Committed>>> {
        self.call(|log| log.committed(group, partitions))
    }
    fn delete_before(&self, offsets: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.call(|log| log.delete_before(offsets))
    }
    fn delete_groups(&self, groups: &[&str]) -> LogResult<()> {
        self.call(|log| log.delete_groups(groups))
    }
    fn join(&self, config: MemberConfig) -> LogResult<Box<dyn Member>> {
        self.call(|log| log.join(config.clone()))
    }
    fn reader(&self, isolation: Isolation) -> LogResult<Box<dyn Reader>> {
        let inner = self.call(|log| log.reader(isolation))?;
        let waker = Arc::new(Mutex::new(inner.waker()));
        Ok(Box::new(FollowingReader { log: self.clone(), isolation, inner, next: Vec::new(), away: false, waker }))
    }
    fn writer(&self) -> LogResult<Box<dyn Writer>> {
        self.call(|log| log.writer())
    }
    fn name(&self) -> String {
        guard(&self.inner.current).name()
    }
}

/// A reader that goes on at the successor where it was.
struct FollowingReader {
    log: FollowingLog,
    isolation: Isolation,
    inner: Box<dyn Reader>,
    next: Vec<(TopicPartition, i64)>,
    away: bool,
    waker: Arc<Mutex<Waker>>,
}

impl FollowingReader {
    fn renew(&mut self) -> LogResult<()> {
        if self.away {
            self.inner = self.log.call(|log| log.reader(self.isolation))?;
            *guard(&self.waker) = self.inner.waker();
            self.inner.assign(&self.next)?;
            self.away = false;
        }
        Ok(())
    }

    fn note<T>(&mut self, result: LogResult<T>) -> LogResult<T> {
        result.inspect_err(|e| self.away |= e.code == OWNER_AWAY)
    }
}

impl Reader for FollowingReader {
    fn assign(&mut self, from: &[(TopicPartition, i64)]) -> LogResult<()> {
        self.next = from.to_vec();
        if self.away {
            return self.renew();
        }
        let assigned = self.inner.assign(from);
        self.note(assigned)
    }

    fn poll(&mut self, budget: Budget, timeout: Duration) -> LogResult<Vec<Batch>> {
        self.renew()?;
        let polled = self.inner.poll(budget, timeout);
        let batches = self.note(polled)?;
        for batch in &batches {
            if let Some((_, next)) = self.next.iter_mut().find(|(at, _)| *at == batch.partition) {
                *next = batch.next;
            }
        }
        Ok(batches)
    }

    fn waker(&self) -> Waker {
        let waker = self.waker.clone();
        Arc::new(move || {
            let waker = guard(&waker).clone();
            waker();
        })
    }
}
