//! One measurement: from the first committed positions to the last, so that starting up is not in it.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::cluster::Progress;

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Records read, worked off and committed a second.
    pub(crate) per_second: f64,
    /// CPU time of the client process, user and system, in seconds per million records.
    pub(crate) cpu_per_million: f64,
    /// Its largest resident memory in MiB.
    pub(crate) peak_mib: f64,
}

/// Between two looks: a few percent of the shortest run, and little work for the broker.
const LOOK: Duration = Duration::from_millis(40);
/// A run that commits nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// `/proc` counts CPU time in hundredths of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches a child until it has committed `total` records.
pub(crate) fn measure(child: &mut Child, progress: &Progress, total: u64) -> Result<Figures, String> {
    let mut first: Option<(Instant, u64, f64)> = None;
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        // Read before the positions: a process that ends after its last commit has no memory figure any more.
        let (cpu, peak_mib) = (cpu_seconds(child.id()), peak_mib(child.id()));
        let done = progress.now().map_err(|e| format!("cannot see its progress: {e}"))?;
        let now = Instant::now();
        if done > last {
            (last, moved) = (done, now);
        }
        if let (None, Some(cpu), true) = (first, cpu, done > 0) {
            first = Some((now, done, cpu));
        }
        if done >= total {
            let (began, before, cpu_before) = first.ok_or("it ended before it could be measured")?;
            let cpu = cpu.ok_or("it ended before it could be measured")?;
            let records = (total - before) as f64;
            if records < total as f64 / 2.0 {
                return Err("it was over before the second look; ask for more --records".into());
            }
            return Ok(Figures {
                per_second: records / (now - began).as_secs_f64(),
                cpu_per_million: (cpu - cpu_before) / records * 1e6,
                peak_mib: peak_mib.unwrap_or_default(),
            });
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended with {status} after {done} of {total} records"));
        }
        if moved.elapsed() > STALLED {
            return Err(format!("it stands at {done} of {total} records"));
        }
        std::thread::sleep(LOOK);
    }
}

/// User and system time of a process with all its threads.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; after it come state, 10 more fields, utime and stime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_figures() {
        let before = cpu_seconds(std::process::id()).expect("Linux");
        let end = before + 0.1;
        let mut sum = 0u64;
        while cpu_seconds(std::process::id()).expect("Linux") < end {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert!(peak_mib(std::process::id()).is_some_and(|m| m > 1.0), "{sum}");
    }
}
