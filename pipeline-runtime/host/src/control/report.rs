//! A running process says how it stands: `process/<id>` in the control topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millstream_log::{Class, Log, LogResult, Writer};

use super::{Change, Control, Entries, ProcessReport, Rates, StageReport, decode, encode};
use crate::clock::wall_ms;

/// Counts are reported this often while they change.
const COUNTS_EVERY: Duration = Duration::from_secs(5);
/// What people wait for (paused, replicas, trouble) is reported this soon.
const STATE_EVERY: Duration = Duration::from_millis(500);
/// A process that has nothing to say says so: silence is taken for death.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// A report that is older is of a process that is gone, in ms.
pub const STALE_MS: i64 = 30_000;
/// Reports of the dead are cleared away after this long, in ms.
const FORGOTTEN_MS: i64 = 3_600_000;
/// Rates are over at least this long.
const WINDOW: Duration = Duration::from_secs(2);
/// A report is waited for so long; one that takes longer may still be written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries to take the report back.
const AGAIN: Duration = Duration::from_millis(20);
/// After a report that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Keys of reports begin with it.
const PROCESS: &str = "process/";

/// How each stage here stands.
pub type Stages = BTreeMap<String, StageReport>;

/// Writes the reports of one process on one pipeline.
pub struct Reporter<'a> {
    control: Control<'a>,
    key: String,
    began: i64,
    host: String,
    writer: Option<Box<dyn Writer>>,
    last: Option<(Instant, Stages)>,
    /// Keys of the other processes, as of the last report.
    others: BTreeSet<String>,
    meter: Meter,
    not_before: Option<Instant>,
    /// Entries to be cleared away with the first report.
    forgotten: Vec<Change>,
}

impl<'a> Reporter<'a> {
    /// For the process `id`; `entries` are those of the control topic.
    pub fn new(log: &'a dyn Log, pipeline: &str, id: &str, entries: &Entries) -> Self {
        Self {
            control: Control::of(log, pipeline),
            key: format!("{PROCESS}{id}"),
            began: wall_ms(),
            host: host(),
            writer: None,
            last: None,
            others: BTreeSet::new(),
            meter: Meter::default(),
            not_before: None,
            forgotten: forgotten(entries, wall_ms()),
        }
    }

    /// Writes a report when one is due, or when a process is new among `entries`: that one has to know who was there before
    /// it. A report that fails is left out, and the next one comes soon.
    pub fn report(&mut self, mut stages: Stages, entries: &Entries) {
        let now = Instant::now();
        self.meter.fill(now, &mut stages);
        let since = self.last.as_ref().map(|(at, last)| (now.saturating_duration_since(*at), last));
        let somebody_new = self.others_in(entries).any(|key| !self.others.contains(key));
        if self.not_before.is_some_and(|at| now < at) || !(due(since, &stages) || somebody_new) {
            return;
        }
        let written = self.change(&stages).and_then(|change| {
            let mut changes = self.forgotten.clone();
            changes.push(change);
            self.write(changes)
        });
        match written {
            Ok(()) => {
                self.forgotten.clear();
                self.others = self.others_in(entries).map(str::to_owned).collect();
                self.last = Some((now, stages));
                self.not_before = None;
            }
            Err(e) => {
                tracing::debug!(error = %e, "cannot report how this process stands");
                self.not_before = Some(Instant::now() + PAUSE);
            }
        }
    }

    /// Takes the report back, at a clean end, if the log lets it within a second: the process that owns an embedded log
    /// may be ending too, and another takes over.
    pub fn leave(mut self, deadline: Instant) {
        // A report that was not durable in time may be yet.
        if self.last.is_none() && self.writer.is_none() {
            return;
        }
        let deadline = deadline.min(Instant::now() + PATIENCE);
        while let Err(e) = self.write(vec![(self.key.clone(), None)]) {
            if e.class != Class::Retry || Instant::now() > deadline {
                tracing::debug!(error = %e, "cannot take the last report back; it will be taken for stale");
                return;
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn others_in<'e>(&self, entries: &'e Entries) -> impl Iterator<Item = &'e str> {
        entries.keys().map(String::as_str).filter(|key| key.starts_with(PROCESS) && *key != self.key)
    }

    fn change(&self, stages: &Stages) -> LogResult<Change> {
        let report = ProcessReport {
            at: wall_ms(),
            began: self.began,
            host: self.host.clone(),
            pid: std::process::id(),
            stages: stages.clone(),
        };
        Ok((self.key.clone(), Some(encode(&report)?)))
    }

    fn write(&mut self, changes: Vec<Change>) -> LogResult<()> {
        self.control.put_with(&mut self.writer, changes, PATIENCE)
    }
}

/// The reports that are there, by process id. One that cannot be read is left out with its reason.
pub fn reports(entries: &Entries) -> Vec<(String, LogResult<ProcessReport>)> {
    placed(entries).map(|(id, report, _)| (id.to_owned(), report)).collect()
}

/// The same, each with the offset at which it stands.
pub fn placed(entries: &Entries) -> impl Iterator<Item = (&str, LogResult<ProcessReport>, i64)> {
    entries.iter().filter_map(|(key, e)| Some((key.strip_prefix(PROCESS)?, decode(key, &e.value), e.offset)))
}

/// What takes back the reports of processes that are long gone.
fn forgotten(entries: &Entries, now: i64) -> Vec<Change> {
    let old = |(key, report): (String, LogResult<ProcessReport>)| {
        let old = report.is_ok_and(|r| r.at < now - FORGOTTEN_MS);
        old.then(|| (format!("{PROCESS}{key}"), None))
    };
    reports(entries).into_iter().filter_map(old).collect()
}

/// Whether a report is due; `last` is how long ago the last one was, and what it said.
fn due(last: Option<(Duration, &Stages)>, now: &Stages) -> bool {
    let Some((age, last)) = last else { return true };
    let state = |stages: &Stages| -> Vec<_> {
        stages.values().map(|s| (s.wanted, s.running, s.standby, s.paused, s.trouble.clone())).collect()
    };
    age >= SIGN_OF_LIFE || (age >= COUNTS_EVERY && last != now) || (age >= STATE_EVERY && state(last) != state(now))
}

/// Turns counts into rates.
#[derive(Default)]
struct Meter {
    at: Option<Instant>,
    counts: Stages,
    rates: BTreeMap<String, Rates>,
}

impl Meter {
    fn fill(&mut self, now: Instant, stages: &mut Stages) {
        let age = self.at.map(|at| now.saturating_duration_since(at));
        if age.is_none_or(|age| age >= WINDOW) {
            let seconds = age.unwrap_or_default().as_secs_f64();
            for (name, stage) in stages.iter() {
                if let Some(before) = self.counts.get(name) {
                    self.rates.insert(name.clone(), stage.counts.rates(&before.counts, seconds));
                }
            }
            (self.at, self.counts) = (Some(now), stages.clone());
        }
        for (name, stage) in stages {
            stage.rates = self.rates.get(name).copied().unwrap_or_default();
        }
    }
}

/// The machine's name, where there is one to be had.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    named.map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Counts, Entry};
    use bytes::Bytes;

    fn stages(read: u64, paused: bool) -> Stages {
        let counts = Counts { read, outputs: 2 * read, ..Counts::default() };
        [("s".to_owned(), StageReport { counts, paused, ..StageReport::default() })].into()
    }

    #[test]
    fn state_is_reported_soon_counts_at_times_and_silence_never() {
        let (a, moved, paused) = (stages(1, false), stages(2, false), stages(1, true));
        let after = |ms: u64, now: &Stages| due(Some((Duration::from_millis(ms), &a)), now);
        assert!(due(None, &a));
        assert!(!after(4_900, &moved) && after(5_000, &moved));
        assert!(!after(400, &paused) && after(500, &paused));
        assert!(!after(9_900, &a) && after(10_000, &a), "well before it is stale");
    }

    #[test]
    fn rates_are_of_the_last_window() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut at = |ms: u64, read: u64| {
            let mut stages = stages(read, false);
            meter.fill(start + Duration::from_millis(ms), &mut stages);
            (stages["s"].rates.read, stages["s"].rates.outputs)
        };
        assert_eq!(at(0, 100), (0.0, 0.0));
        assert_eq!(at(1_000, 500), (0.0, 0.0), "too short a window");
        assert_eq!(at(2_000, 1_100), (500.0, 1_000.0));
        assert_eq!(at(3_000, 9_000), (500.0, 1_000.0));
        assert_eq!(at(4_000, 1_100), (0.0, 0.0));
    }

    #[test]
    fn the_dead_are_forgotten_after_an_hour() {
        let entry = |at: i64| Entry {
            value: encode(&ProcessReport { at, ..ProcessReport::default() }).unwrap(),
            at,
            offset: 0,
        };
        let mut entries: Entries = [("process/old".to_owned(), entry(0)), ("process/new".to_owned(), entry(5))].into();
        entries.insert("process/newer".into(), Entry { value: Bytes::from_static(b"{\"v\":2}"), at: 0, offset: 0 });
        assert_eq!(forgotten(&entries, FORGOTTEN_MS + 1), [("process/old".to_owned(), None)]);
        assert_eq!(reports(&entries).len(), 3);
    }
}
