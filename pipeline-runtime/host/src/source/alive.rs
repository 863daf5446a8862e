//! Since when a pipeline has been running, in whatever process: what a clock gave while nobody was there was missed, and
//! what it gave while one process took over from another is only late.

use std::sync::{Mutex, PoisonError};

use millstream_log::LogResult;

use crate::control::{Entries, ProcessReport, placed};

/// A process that had no touch with its log for longer, ms, was not running meanwhile: it was frozen, or cut off.
const OUTAGE_MS: i64 = 30_000;

/// What this process knows of itself.
#[derive(Debug)]
pub struct Touch(Mutex<Known>);

/// Since when, in ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// This process has been in touch with the log without a long break.
    pub since: i64,
    /// It began then, and others may have been there before. Else there was a break, of all for all it knows.
    pub began: bool,
    last: i64,
}

impl Touch {
    /// From now on.
    pub fn new(now: i64) -> Self {
        Self(Mutex::new(Known { since: now, began: true, last: now }))
    }

    /// The log answered.
    pub fn contact(&self, now: i64) -> Known {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now - known.last > OUTAGE_MS {
            *known = Known { since: now, began: false, last: now };
        }
        known.last = now;
        *known
    }
}

/// When another process began, and when it last said that it is there.
pub type Sign = (i64, i64);

/// Those of the processes but `here` that run one of these stages. This one began at `since`, when it had heard
/// all below offset `heard`: what comes behind that was said after it, whatever the clock of who said it shows.
pub fn signs(entries: &Entries, here: &str, stages: &[&str], (heard, since): (i64, i64)) -> Vec<Sign> {
    let runs = |report: &ProcessReport| report.stages.keys().any(|stage| stages.contains(&stage.as_str()));
    let sign = |(id, report, offset): (&str, LogResult<ProcessReport>, i64)| {
        let report = report.ok().filter(|report| id != here && runs(report))?;
        Some((report.began, if offset < heard { report.at } else { report.at.max(since) }))
    };
    placed(entries).filter_map(sign).collect()
}

/// Since when one process or another has been there without a break, where this one has been since `since`.
pub fn without_break(mut since: i64, signs: &[Sign]) -> i64 {
    while let Some((began, _)) = signs.iter().find(|(began, at)| *began < since && since <= *at) {
        since = *began;
    }
    since
}

/// Whether somebody who was there before may still be, and only has not said so yet.
pub fn may_say_more(since: i64, now: i64, stale: i64, signs: &[Sign]) -> bool {
    signs.iter().any(|(began, at)| *began < since && *at < since && now - at <= stale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Entry, StageReport, encode};

    #[test]
    fn a_break_is_one_of_the_process() {
        let touch = Touch::new(1_000);
        assert_eq!((touch.contact(31_000).since, touch.contact(61_000).since), (1_000, 1_000));
        let after = touch.contact(61_000 + OUTAGE_MS + 1);
        assert_eq!((after.since, after.began), (91_001, false));
        assert_eq!(touch.contact(5_000).since, 91_001, "a clock that was set back is no break");
        assert_eq!(touch.contact(6_000).since, 91_001);
    }

    /// Negative control: with the time of the report alone the second is not enough.
    #[test]
    fn what_is_said_after_the_beginning_counts_whatever_the_clock() {
        let report = |began: i64, at: i64, offset: i64| {
            let stages = [("s".to_owned(), StageReport::default())].into();
            let report = ProcessReport { began, at, stages, ..ProcessReport::default() };
            Entry { value: encode(&report).unwrap(), at, offset }
        };
        let entries: Entries = [
            ("process/before".to_owned(), report(10, 15, 6)),
            ("process/slow".to_owned(), report(20, 91, 7)),
            ("process/here".to_owned(), report(100, 101, 8)),
        ]
        .into();
        let mut signs = signs(&entries, "here", &["s"], (7, 100));
        signs.sort_unstable();
        assert_eq!(signs, [(10, 15), (20, 100)]);
        assert_eq!(without_break(100, &signs), 20);
    }

    #[test]
    fn others_fill_the_time_before() {
        assert_eq!(without_break(100, &[]), 100);
        assert_eq!(without_break(100, &[(50, 99)]), 100, "gone before");
        assert_eq!(without_break(100, &[(50, 100)]), 50);
        assert_eq!(without_break(100, &[(10, 60), (50, 120)]), 10, "one after the other");
        assert_eq!(without_break(100, &[(10, 49), (50, 120)]), 50);
        assert_eq!(without_break(100, &[(200, 300)]), 100);
        assert!(may_say_more(100, 110, 30, &[(50, 99)]));
        assert!(!may_say_more(100, 110, 30, &[(50, 79), (100, 105), (50, 100)]));
    }
}
