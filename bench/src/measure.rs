//! One measurement of throughput: between two marks of the committed positions, so that neither starting up nor the last
//! records, which were fetched long before, are in it.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::cluster::Progress;

/// What one run gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Records read, worked off and committed a second.
    pub(crate) per_second: f64,
    /// CPU time of the client process, user and system, in seconds per million records.
    pub(crate) cpu_per_million: f64,
    /// The same of the broker's process, while it serves the client; nothing of a broker that runs elsewhere.
    pub(crate) broker_per_million: Option<f64>,
    /// The client's largest resident memory in MiB.
    pub(crate) peak_mib: f64,
}

/// Between which shares of the records is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Between two looks: a few percent of the shortest run, and little work for the broker.
const LOOK: Duration = Duration::from_millis(40);
/// A run that commits nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// `/proc` counts CPU time in hundredths of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What was seen at one look.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    done: u64,
    cpu: f64,
    broker: Option<f64>,
}

impl Look {
    fn until(&self, later: &Self, peak_mib: f64) -> Figures {
        let millions = (later.done - self.done) as f64 / 1e6;
        Figures {
            per_second: millions * 1e6 / (later.at - self.at).as_secs_f64(),
            cpu_per_million: (later.cpu - self.cpu) / millions,
            broker_per_million: self.broker.zip(later.broker).map(|(from, to)| (to - from) / millions),
            peak_mib,
        }
    }
}

/// Watches a child until it has committed `total` records. `first` tells of its first stage, `last` of its last one.
pub(crate) fn measure(
    child: &mut Child,
    broker: Option<u32>,
    (first, last): (&Progress, &Progress),
    total: u64,
    window: Window,
) -> Result<Figures, String> {
    let mark = |share: f64| ((total as f64 * share) as u64).max(1);
    let (mut from, mut to): (Option<Look>, Option<Look>) = (None, None);
    let (mut most, mut moved) = (0, Instant::now());
    loop {
        // Read before the positions: a process that ends after its last commit has no figures any more.
        let (cpu, peak_mib) = (cpu_seconds(child.id()), peak_mib(child.id()));
        let broker = broker.and_then(cpu_seconds);
        let watched = if from.is_none() { first } else { last };
        let done = watched.now().map_err(|e| format!("cannot see its progress: {e}"))?;
        let look = cpu.map(|cpu| Look { at: Instant::now(), done, cpu, broker });
        if from.is_none() {
            from = look.filter(|l| l.done >= mark(window.from));
        } else if to.is_none() {
            to = look.filter(|l| l.done >= mark(window.to));
        }
        if done > most {
            (most, moved) = (done, Instant::now());
        }
        if let (Some(from), Some(to), true) = (&from, &to, done >= total) {
            if ((to.done - from.done) as f64) < (window.to - window.from) * total as f64 / 2.0 {
                return Err("it was over before the second look; ask for more --records".into());
            }
            return Ok(from.until(to, peak_mib.unwrap_or_default()));
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
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; after it come state, 10 more fields, utime and stime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

/// The largest resident memory of a process.
pub(crate) fn peak_mib(pid: u32) -> Option<f64> {
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

    #[test]
    fn figures_are_of_what_lies_between_two_looks() {
        let at = Instant::now();
        let from = Look { at, done: 1_000_000, cpu: 3.0, broker: Some(1.0) };
        let to = Look { at: at + Duration::from_secs(4), done: 3_000_000, cpu: 5.0, broker: Some(7.0) };
        let wanted = Figures { per_second: 5e5, cpu_per_million: 1.0, broker_per_million: Some(3.0), peak_mib: 64.0 };
        assert_eq!(from.until(&to, 64.0), wanted);
        assert_eq!(from.until(&Look { broker: None, ..to }, 64.0).broker_per_million, None);
    }
}
