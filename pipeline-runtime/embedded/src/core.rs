//! The heart: writes frames, and keeps what is in memory in step with them.
//!
//! Two locks. Who appends holds `append` from the moment offsets are given out until the frame is in memory too, and
//! `state` only for the two moments it looks at memory; readers take `state` alone. The order is `append`, then `state`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millstream_log::{Class, LogError, LogResult};

use crate::draft::{Draft, DraftRun};
use crate::errors;
use crate::files::Files;
use crate::frame::{Head, Row};
use crate::index::Place;
use crate::options::{EmbeddedOptions, Fsync};
use crate::segment::Appender;
use crate::signal::{Signal, guard};
use crate::state::State;
use crate::tail::{Run, TailRun};

/// A log that is open in this process.
pub(crate) struct Core {
    pub dir: PathBuf,
    pub options: EmbeddedOptions,
    pub append: Mutex<Appender>,
    pub state: Mutex<State>,
    pub files: Files,
    /// Tells the background thread that there is something to do.
    pub chores: Signal,
    /// Retention is to be applied now rather than at the next time.
    pub asked_to_free: AtomicBool,
    closed: AtomicBool,
    /// Held while the log is open.
    lock: Mutex<Option<File>>,
}

/// When to force a frame to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durably {
    /// As the options say.
    AsSet,
    /// Somebody else does it later.
    Later,
}

impl Core {
    pub fn new(dir: &Path, options: EmbeddedOptions, appender: Appender, state: State, lock: File) -> Self {
        Self {
            dir: dir.to_owned(),
            files: Files::new(dir),
            options,
            append: Mutex::new(appender),
            state: Mutex::new(state),
            chores: Signal::default(),
            asked_to_free: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        }
    }

    /// Whether the log is still open.
    pub fn is_open(&self) -> LogResult<()> {
        if self.closed.load(Ordering::Acquire) { Err(errors::closed(&self.dir)) } else { Ok(()) }
    }

    /// Writes one frame. `check` looks at memory under both locks and may refuse, or add operations to the draft. On
    /// an error the draft's runs are given back and nothing was written.
    pub fn append(
        &self,
        draft: Draft,
        durably: Durably,
        check: impl FnOnce(&mut State, &mut Draft) -> LogResult<()>,
    ) -> Result<(), (LogError, Vec<DraftRun>)> {
        let mut appender = guard(&self.append);
        self.append_locked(&mut appender, draft, durably, check)
    }

    /// The same for who holds the append lock already.
    pub fn append_locked(
        &self,
        appender: &mut MutexGuard<'_, Appender>,
        mut draft: Draft,
        durably: Durably,
        check: impl FnOnce(&mut State, &mut Draft) -> LogResult<()>,
    ) -> Result<(), (LogError, Vec<DraftRun>)> {
        let checked = self.is_open().and_then(|()| appender.usable()).and_then(|()| {
            let mut state = guard(&self.state);
            check(&mut state, &mut draft)?;
            rows(&state, &draft.runs)
        });
        let mut rows = match checked {
            Ok(rows) => rows,
            Err(error) => return Err((error, draft.runs)),
        };
        if draft.ops.is_empty() && rows.is_empty() {
            return Ok(());
        }
        let was_dirty = appender.synced < appender.sequence;
        if let Err(error) = self.write(appender, &draft, &mut rows, durably) {
            return Err((error, draft.runs));
        }
        if !was_dirty && appender.synced < appender.sequence {
            self.chores.raise();
        }
        Ok(())
    }

    fn write(&self, appender: &mut Appender, draft: &Draft, rows: &mut [Row], durably: Durably) -> LogResult<()> {
        let written = now().max(appender.written);
        for row in rows.iter_mut().filter(|r| !r.moved) {
            row.written = written;
        }
        let head = Head { written, ops: draft.ops.clone(), rows: rows.to_vec() };
        let data: Vec<Bytes> = draft.runs.iter().map(|r| r.data.clone()).collect();
        let data_len = data.iter().map(Bytes::len).sum::<usize>() as u32;
        let mut bytes = head.encode(appender.sequence, appender.synced, data_len);
        let len = bytes.len() as u64 + u64::from(data_len);
        if appender.position + len > self.options.segment_bytes {
            self.roll(appender)?;
            bytes = head.encode(appender.sequence, appender.synced, data_len);
        }
        let frame = appender.position as u32;
        let place = Place {
            segment: appender.segment,
            frame,
            data: frame + bytes.len() as u32,
            end: frame + bytes.len() as u32 + data_len,
        };
        appender.write(&bytes, &data)?;
        appender.written = written;
        if durably == Durably::AsSet && self.options.fsync == Fsync::Always {
            appender.sync()?;
        }
        let signals = self.publish(&head, place, &draft.runs);
        for signal in signals {
            signal.raise();
        }
        Ok(())
    }

    /// Makes a written frame visible. Gives whom to wake.
    fn publish(&self, head: &Head, place: Place, runs: &[DraftRun]) -> Vec<Arc<Signal>> {
        let mut signals = Vec::new();
        let mut state = guard(&self.state);
        for op in &head.ops {
            signals.extend(state.apply_op(op));
        }
        let mut recent = Vec::with_capacity(runs.len());
        for (row, run) in head.rows.iter().zip(runs) {
            if let Some(partition) = state.apply_run(row, place) {
                signals.extend(partition.watchers.iter().cloned());
            }
            if !row.moved {
                let records = run.data.slice(4..);
                let run = Run { base: row.base, end: row.end, written: row.written, records };
                recent.push(TailRun { topic: row.topic, partition: row.partition, at: place.data + row.at, run });
            }
        }
        if !recent.is_empty() {
            state.tail.push(place, recent);
        }
        state.segments.insert(place.segment, u64::from(place.end));
        signals
    }

    /// Begins the next segment. What is in the one before is forced to the disk first, so that only the newest segment
    /// can ever have a torn end.
    fn roll(&self, appender: &mut Appender) -> LogResult<()> {
        let sync = self.options.fsync != Fsync::Off;
        if sync {
            appender.sync()?;
        }
        let snapshot = guard(&self.state).snapshot();
        let (segment, sequence) = (appender.segment + 1, appender.sequence);
        *appender = Appender::create(&self.dir, segment, sequence, appender.written, snapshot, sync)?;
        guard(&self.state).segments.insert(segment, appender.position);
        self.chores.raise();
        Ok(())
    }

    /// Forces everything written so far to the disk, without stopping who writes.
    pub fn sync(&self) -> LogResult<()> {
        let (file, upto, segment) = {
            let appender = guard(&self.append);
            appender.usable()?;
            if appender.synced >= appender.sequence {
                return Ok(());
            }
            let path = crate::files::segment_path(&self.dir, appender.segment);
            let file = appender.file().map_err(|e| errors::io("cannot use", &path, &e))?;
            (file, appender.sequence, appender.segment)
        };
        let result = file.sync_data();
        let mut appender = guard(&self.append);
        match result {
            // A segment begun since then was preceded by forcing this one.
            Ok(()) if appender.segment == segment => appender.synced = appender.synced.max(upto),
            Ok(()) => {}
            Err(error) => return Err(appender.sync_failed(&error)),
        }
        Ok(())
    }

    /// Frees disk in the background, soon.
    pub fn free(&self) {
        self.asked_to_free.store(true, Ordering::Release);
        self.chores.raise();
    }

    /// Ends the log: everything is forced to the disk, a last frame says so, the folder is free for others.
    pub fn close(&self) {
        let mut appender = guard(&self.append);
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let last = (|| {
            if appender.synced < appender.sequence {
                appender.sync()?;
                let head = Head { written: appender.written, ..Head::default() };
                let bytes = head.encode(appender.sequence, appender.synced, 0);
                appender.write(&bytes, &[])?;
                appender.sync()?;
            }
            Ok::<(), LogError>(())
        })();
        if let Err(error) = last {
            tracing::error!(dir = %self.dir.display(), %error, "the embedded log could not be closed cleanly");
        }
        // Whoever waits finds the log closed.
        let state = guard(&self.state);
        for topic in state.by_id.values() {
            for watcher in topic.partitions.iter().flat_map(|p| &p.watchers) {
                watcher.raise();
            }
        }
        for group in state.groups.values() {
            group.raise_all();
        }
        drop(state);
        *guard(&self.lock) = None;
        self.chores.raise();
    }
}

/// Gives out offsets to the runs of a draft.
fn rows(state: &State, runs: &[DraftRun]) -> LogResult<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::with_capacity(runs.len());
    let mut given: std::collections::HashMap<(u32, u32), i64> = std::collections::HashMap::new();
    let mut at = 0;
    for run in runs {
        let partition = state.by_id.get(&run.topic).and_then(|t| t.partitions.get(run.partition as usize));
        let (base, end, written) = match (&run.moved, partition) {
            (Some(moved), _) => (moved.base, moved.end, moved.written),
            (None, Some(partition)) => {
                let next = given.entry((run.topic, run.partition)).or_insert(partition.next);
                let base = *next;
                *next += i64::from(run.count);
                (base, *next, 0)
            }
            (None, None) => {
                let message = "a topic of this transaction was deleted meanwhile";
                return Err(LogError::new(Class::Config, "unknown_topic", message));
            }
        };
        let len = run.data.len() as u32;
        rows.push(Row {
            topic: run.topic,
            partition: run.partition,
            base,
            end,
            written,
            max_timestamp: run.max_timestamp,
            at,
            len,
            moved: run.moved.is_some(),
        });
        at += len;
    }
    Ok(rows)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
