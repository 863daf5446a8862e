//! Removes what a replay beside has made, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogError, LogResult};

use super::note::Note;
use crate::control;
use crate::shared::Stop;

/// A session of a member that was killed, and what a busy machine adds to it.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(250);
/// After this long people are told what is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// Removes the groups and topics of the pipeline with the name `own`; the topics there were.
///
/// Groups first: they refuse to go while somebody works. The control topic last: it says which groups there are, so that
/// this can be called again after a crash.
///
/// # Errors
/// `replay_in_use` while a process runs it, and those of the log.
pub fn clean(log: &dyn Log, own: &str, stop: &Stop) -> LogResult<Vec<String>> {
    let prefix = format!("{own}.");
    let topics: Vec<String> = log.topics()?.into_iter().filter(|t| t.starts_with(&prefix)).collect();
    if topics.is_empty() {
        return Ok(topics);
    }
    let mut groups: BTreeSet<String> =
        Note::read(log, own)?.map(|n| n.groups).unwrap_or_default().into_iter().collect();
    // Of stages that a file had which is not known any more.
    for group in topics.iter().filter_map(|t| t.strip_suffix(".dlq")) {
        groups.extend([group.to_owned(), format!("{group}.letters")]);
    }
    let groups: Vec<&str> = groups.iter().map(String::as_str).filter(|g| g.starts_with(&prefix)).collect();
    delete_groups(log, &groups, stop)?;
    let control = control::topic(own);
    let others: Vec<&str> = topics.iter().map(String::as_str).filter(|t| *t != control).collect();
    log.delete(&others)?;
    log.delete(&[&control])?;
    Ok(topics)
}

/// Waits for members that were killed.
fn delete_groups(log: &dyn Log, groups: &[&str], stop: &Stop) -> LogResult<()> {
    let began = Instant::now();
    let mut said = false;
    loop {
        let error = match log.delete_groups(groups) {
            Ok(()) => return Ok(()),
            Err(e) if e.class == Class::Retry => e,
            Err(e) => return Err(e),
        };
        if began.elapsed() > PATIENCE {
            return Err(LogError::new(
                Class::Config,
                "replay_in_use",
                format!("{error}: end every process that runs this replay, then clean again"),
            ));
        }
        if !said && began.elapsed() > QUIET {
            said = true;
            tracing::warn!("{error}; waiting until no process, or none that was killed, runs it");
        }
        if stop.wait(LOOK) {
            return Err(error);
        }
    }
}
