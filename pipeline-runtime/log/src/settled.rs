//! The end of what is committed, for whoever looks once and must not look too early.

use std::time::{Duration, Instant};

use crate::{End, Log, LogResult, TopicPartition};

/// For transactions of the living to end.
const SETTLED: Duration = Duration::from_secs(3);

/// Where a committed reader can read to, after those transactions have ended that are open now. A commit that has just
/// been acknowledged may still be on its way to the partitions: whoever looks next shall see it. One that nobody ends is
/// not waited for.
///
/// # Errors
/// Those of the log.
pub fn settled(log: &dyn Log, partitions: &[TopicPartition]) -> LogResult<Vec<i64>> {
    let written = log.ends(partitions, End::High)?;
    let began = Instant::now();
    loop {
        let stable = log.ends(partitions, End::Stable)?;
        if stable.iter().zip(&written).all(|(stable, written)| stable >= written) || began.elapsed() > SETTLED {
            return Ok(stable);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
