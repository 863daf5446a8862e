//! The background thread: forces writes to the disk, lets records go that are too old, frees disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use millstream_log::{LogResult, Retention};

use crate::compact;
use crate::core::{Core, Durably, now};
use crate::draft::Draft;
use crate::errors;
use crate::files::segment_path;
use crate::frame::Op;
use crate::options::Fsync;
use crate::signal::guard;

/// Of a segment with less than one part in this many still wanted, the rest is moved and the file deleted.
const WORTH_MOVING: u64 = 4;

/// Runs until the log is closed.
pub(crate) fn spawn(core: Arc<Core>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("millstream-log".into()).spawn(move || run(&core))
}

fn run(core: &Core) {
    let every = core.options.retention_every;
    let mut retain_at = Instant::now() + every;
    let mut sync_at: Option<Instant> = None;
    while core.is_open().is_ok() {
        core.chores.clear();
        let now = Instant::now();
        if let Fsync::Interval(interval) = core.options.fsync {
            match sync_at {
                Some(at) if at <= now => {
                    sync_at = None;
                    report(core, "could not force writes to the disk", core.sync());
                    continue;
                }
                None if is_dirty(core) => sync_at = Some(now + interval),
                _ => {}
            }
        }
        if retain_at <= now || core.asked_to_free.swap(false, Ordering::AcqRel) {
            report(core, "could not apply retention", retain(core));
            retain_at = Instant::now() + every;
            continue;
        }
        core.chores.wait(sync_at.map_or(retain_at, |at| at.min(retain_at)));
    }
}

fn report(core: &Core, what: &str, result: LogResult<()>) {
    if let Err(error) = result
        && core.is_open().is_ok()
    {
        tracing::error!(dir = %core.dir.display(), %error, "{what}");
    }
}

fn is_dirty(core: &Core) -> bool {
    let appender = guard(&core.append);
    appender.usable().is_ok() && appender.synced < appender.sequence
}

/// Lets go what may go, and frees the disk it took.
pub(crate) fn retain(core: &Core) -> LogResult<()> {
    expire(core)?;
    compact::compact_all(core)?;
    free(core)
}

/// Records written too long ago.
fn expire(core: &Core) -> LogResult<()> {
    let now = now();
    let find = |state: &mut crate::state::State, draft: &mut Draft| {
        for topic in state.by_id.values() {
            let Retention::Written(age) = topic.retention else { continue };
            let limit = now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            for (number, partition) in topic.partitions.iter().enumerate() {
                let kept = partition.index.iter().find(|e| e.written >= limit);
                let offset = kept.map_or(partition.next, |e| e.base);
                if offset > partition.low {
                    draft.ops.push(Op::Low { topic: topic.id, partition: number as u32, offset });
                }
            }
        }
        Ok(())
    };
    core.append(Draft::default(), Durably::AsSet, find).map_err(|(error, _)| error)
}

/// Deletes segments that nobody needs; moves the little that is left out of others.
fn free(core: &Core) -> LogResult<()> {
    let live = live_bytes(core);
    let active = guard(&core.append).segment;
    for (segment, (live, len)) in &live {
        if *segment < active && *live > 0 && *live < len / WORTH_MOVING {
            compact::move_out(core, *segment)?;
        }
    }
    let dead: Vec<u32> =
        live_bytes(core).iter().filter(|(s, (live, _))| **s < active && *live == 0).map(|(s, _)| *s).collect();
    if dead.is_empty() {
        return Ok(());
    }
    // What says that the records are gone, or where they are now, must not be lost after they are.
    core.sync()?;
    for segment in dead {
        guard(&core.state).segments.remove(&segment);
        core.files.forget(segment);
        let path = segment_path(&core.dir, segment);
        std::fs::remove_file(&path).map_err(|e| errors::io("cannot delete", &path, &e))?;
    }
    Ok(())
}

/// Of each segment, how much of it is still in an index, and its length.
fn live_bytes(core: &Core) -> BTreeMap<u32, (u64, u64)> {
    let state = guard(&core.state);
    let mut live: BTreeMap<u32, (u64, u64)> = state.segments.iter().map(|(s, len)| (*s, (0, *len))).collect();
    for entry in state.by_id.values().flat_map(|t| &t.partitions).flat_map(|p| p.index.iter()) {
        if let Some((bytes, _)) = live.get_mut(&entry.segment) {
            *bytes += entry.bytes();
        }
    }
    live
}
