//! Ticks against a model that looks at every minute.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, date};
use proptest::prelude::*;

use super::*;
use crate::schedule::cron;

fn timing(pattern: &str, name: &str) -> Timing {
    let (zone, name) = zone(name).unwrap();
    Timing::Cron(Box::new(CronTimes::new(pattern, cron::parse(pattern).unwrap(), zone, name)))
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// All ticks in `(from, to)`, as local times.
fn local(timing: &Timing, from: &str, to: &str) -> Vec<String> {
    all(timing, ms(from), ms(to)).into_iter().filter_map(|at| timing.local(at)).collect()
}

fn all(timing: &Timing, from: i64, to: i64) -> Vec<i64> {
    std::iter::successors(timing.after(from), |at| timing.after(*at)).take_while(|at| *at < to).collect()
}

/// Which local minutes match, as sets of numbers; `None` is every one.
#[derive(Clone, Debug)]
struct Pattern {
    minutes: BTreeSet<i8>,
    hours: Option<BTreeSet<i8>>,
    day: Option<i8>,
    weekday: Option<i8>,
}

impl Pattern {
    fn text(&self) -> String {
        let list = |all: &BTreeSet<i8>| all.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        let one = |value: Option<i8>| value.map_or("*".to_owned(), |v| v.to_string());
        let hours = self.hours.as_ref().map_or("*".to_owned(), list);
        format!("{} {hours} {} * {}", list(&self.minutes), one(self.day), one(self.weekday))
    }

    fn every_hour(&self) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.len() == 24)
    }

    fn matches(&self, at: DateTime) -> bool {
        let day = match (self.day, self.weekday) {
            (Some(day), Some(weekday)) => at.day() == day || at.weekday().to_sunday_zero_offset() == weekday,
            (day, weekday) => {
                day.is_none_or(|d| at.day() == d) && weekday.is_none_or(|w| at.weekday().to_sunday_zero_offset() == w)
            }
        };
        day && self.minutes.contains(&at.minute()) && self.hours.as_ref().is_none_or(|h| h.contains(&at.hour()))
    }

    /// The ticks in `(from, to)`, both whole minutes, looking at each minute that passes and each the clock shows.
    fn model(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<i64> {
        let minute = SignedDuration::from_mins(1);
        let mut ticks = Vec::new();
        // The first look is well before, so that what the clock has shown is known.
        let mut at = from - SignedDuration::from_hours(48);
        let mut shown = zone.to_datetime(at);
        while at < to {
            at += minute;
            let now = zone.to_datetime(at);
            let hit = if self.every_hour() {
                self.matches(now)
            } else {
                // Minutes that the clock shows for the first time now, or passed over.
                let mut hit = false;
                while shown < now {
                    shown = shown.checked_add(minute).unwrap();
                    hit |= self.matches(shown);
                }
                hit
            };
            if hit && at > from && at < to {
                ticks.push(at.as_millisecond());
            }
        }
        ticks
    }
}

/// Zones, and moments where their clocks are set: by an hour, half an hour, two, around midnight, by a whole day.
const CHANGES: &[(&str, &str)] = &[
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("America/St_Johns", "2026-03-08T05:30:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
    ("Antarctica/Troll", "2026-10-25T01:00:00Z"),
    ("Asia/Beirut", "2026-03-28T22:00:00Z"),
    ("Asia/Beirut", "2026-10-24T21:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Asia/Kathmandu", "2026-05-01T00:00:00Z"),
];

fn patterns() -> impl Strategy<Value = Pattern> {
    let minutes = proptest::collection::btree_set(0i8..60, 1..4);
    let hours = proptest::option::weighted(0.75, proptest::collection::btree_set(0i8..24, 1..6));
    let step = proptest::option::of(prop_oneof![Just(2usize), Just(3), Just(6)]);
    let days = (proptest::option::weighted(0.2, 1i8..29), proptest::option::weighted(0.2, 0i8..7));
    (minutes, hours, step, days).prop_map(|(minutes, hours, step, (day, weekday))| {
        let stepped = step.map(|step| (0i8..24).step_by(step).collect());
        Pattern { minutes, hours: stepped.or(hours), day, weekday }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_tick_is_lost_or_doubled_where_clocks_are_set(
        pattern in patterns(), change in 0..CHANGES.len(), begins in -50i64..50,
    ) {
        let (name, change) = CHANGES[change];
        let (zone, _) = zone(name).unwrap();
        let change: Timestamp = change.parse().unwrap();
        let from = change - SignedDuration::from_hours(26) + SignedDuration::from_mins(begins);
        let to = change + SignedDuration::from_hours(50);
        let timing = timing(&pattern.text(), name);
        let found = all(&timing, from.as_millisecond(), to.as_millisecond());
        prop_assert_eq!(&found, &pattern.model(&zone, from, to), "{} in {}", pattern.text(), name);
        // However it is asked, the answer is the same.
        for at in (from.as_millisecond()..to.as_millisecond()).step_by(97 * 60_000 + 7) {
            let next = found.iter().copied().find(|tick| *tick > at);
            prop_assert_eq!(timing.after(at).filter(|tick| *tick < to.as_millisecond()), next);
            let last = found.iter().copied().rev().find(|tick| *tick < at);
            prop_assert_eq!(timing.last_before(at, from.as_millisecond()), last);
        }
    }

    #[test]
    fn a_grid_has_the_next_after_and_the_last_before(step in 1i64..100_000, at in -1_000_000i64..1_000_000) {
        let timing = Timing::Every(step);
        let next = timing.after(at).unwrap();
        prop_assert!(next > at && next - at <= step && next % step == 0);
        prop_assert_eq!(timing.last_before(next + 1, i64::MIN), Some(next));
        prop_assert_eq!(timing.last_before(next, at - 2 * step), Some(next - step));
        prop_assert_eq!(timing.last_before(at, next), None);
    }
}

#[test]
fn a_fixed_time_comes_once_a_day() {
    let berlin = timing("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        local(&berlin, "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z"),
        [
            "2026-03-28T02:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:30:00+02:00",
            "2026-03-31T02:30:00+02:00"
        ]
    );
    assert_eq!(
        local(&berlin, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
}

#[test]
fn several_times_in_the_gap_are_one_tick_at_its_end() {
    let berlin = timing("0,30 2,3 * * *", "Europe/Berlin");
    assert_eq!(
        local(&berlin, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    );
}

#[test]
fn a_pattern_for_every_hour_goes_on_evenly() {
    let distance = |from: &str, to: &str| -> BTreeSet<i64> {
        let ticks = all(&timing("*/20 * * * *", "Europe/Berlin"), ms(from), ms(to));
        ticks.windows(2).map(|pair| pair[1] - pair[0]).collect()
    };
    assert_eq!(distance("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), BTreeSet::from([1_200_000]));
    assert_eq!(distance("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), BTreeSet::from([1_200_000]));
}

#[test]
fn seconds_count_where_they_are_said() {
    let seconds = timing("*/10 59 23 31 12 *", "UTC");
    assert_eq!(local(&seconds, "2026-06-01T00:00:00Z", "2026-12-31T23:59:15Z").len(), 2);
    assert_eq!(seconds.after(ms("2026-12-31T23:59:10Z") - 1), Some(ms("2026-12-31T23:59:10Z")));
    assert_eq!(seconds.after(ms("2026-12-31T23:59:10Z")), Some(ms("2026-12-31T23:59:20Z")));
}

#[test]
fn rare_days_are_found_and_impossible_ones_are_not() {
    let leap = timing("0 0 29 2 *", "UTC");
    assert_eq!(leap.after(ms("2096-03-01T00:00:00Z")), Some(ms("2104-02-29T00:00:00Z")));
    assert_eq!(timing("0 0 30 2 *", "UTC").after(0), None);
    assert_eq!(timing("0 0 31 4,6 *", "Europe/Berlin").after(0), None);
    assert_eq!(timing("0 0 L 2 *", "UTC").after(ms("2026-02-01T00:00:00Z")), Some(ms("2026-02-28T00:00:00Z")));
}

#[test]
fn single_times_are_given_in_order() {
    let times = Timing::At(vec![1_000, 2_000]);
    assert_eq!((times.after(0), times.after(1_000), times.after(2_000)), (Some(1_000), Some(2_000), None));
    assert_eq!((times.last_before(2_000, 0), times.last_before(9_000, 2_000)), (Some(1_000), None));
}

#[test]
fn zones_are_those_of_the_database() {
    assert_eq!(zone("Europe/Berlin").unwrap().1, "Europe/Berlin");
    assert_eq!(zone("Berlin").unwrap_err(), Some("Europe/Berlin"));
    assert_eq!(zone("Europe/Berlni").unwrap_err(), Some("Europe/Berlin"));
    assert_eq!(zone("Middle/Earth").unwrap_err(), None);
    let noon = date(2026, 7, 1).at(12, 0, 0, 0);
    assert_eq!(zone("Asia/Tokyo").unwrap().0.to_timestamp(noon).unwrap().to_string(), "2026-07-01T03:00:00Z");
}
