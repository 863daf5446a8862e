//! Ticks in virtual time: clocks that jump, processes that differ, outages.

use std::time::Duration;

use millstream_spec::model::Overlap;
use proptest::prelude::*;

use super::*;

fn spec(step: i64, missed: Missed, jitter: i64) -> ScheduleSource {
    ScheduleSource {
        timing: Timing::Every(step),
        value: None,
        missed,
        overlap: Overlap::Allow,
        jitter: Duration::from_millis(jitter as u64),
    }
}

fn ticker(missed: Missed, last: i64, since: i64) -> Ticker {
    Ticker::new(&spec(100, missed, 0), stem("p", "source"), last, since)
}

/// All that is due at `now`.
fn due(ticker: &mut Ticker, now: i64) -> Vec<i64> {
    let next = || match ticker.next(now) {
        Due::Now(tick) => Some(tick),
        _ => None,
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn one_a_tick_while_it_runs() {
    let mut clock = ticker(Missed::Once, 1_000, 1_000);
    assert_eq!(clock.next(1_050), Due::Later(50));
    assert_eq!(due(&mut clock, 1_100), [1_100]);
    assert_eq!(due(&mut clock, 1_399), [1_200, 1_300], "late is not missed");
    assert_eq!(clock.id(1_300), "schedule/p/source@1970-01-01T00:00:01.300Z");
    assert_eq!(clock.id(60_000), "schedule/p/source@1970-01-01T00:01:00Z");
}

#[test]
fn what_was_missed_is_skipped_or_comes_once_or_all() {
    let after = |missed| due(&mut ticker(missed, 1_000, 1_950), 2_000);
    assert_eq!(after(Missed::Skip), [2_000]);
    assert_eq!(after(Missed::Once), [1_900, 2_000], "the last of them");
    assert_eq!(after(Missed::All), (11..=20).map(|n| n * 100).collect::<Vec<_>>());
    assert_eq!(due(&mut ticker(Missed::Once, 1_000, 1_150), 1_150), [1_100]);
    assert_eq!(due(&mut ticker(Missed::Once, 1_900, 1_950), 1_950), [0; 0], "nothing was");
}

#[test]
fn only_what_differs_is_undecided() {
    let undecided = |missed, last| ticker(missed, last, 1_950).undecided();
    assert!(undecided(Missed::Skip, 1_800) && undecided(Missed::Once, 1_700));
    assert!(!undecided(Missed::Once, 1_800), "one record either way");
    assert!(!undecided(Missed::All, 0) && !undecided(Missed::Skip, 1_900));
}

#[test]
fn a_clock_that_jumps_gives_nothing_twice() {
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        let mut clock = ticker(missed, 10_000_000, 10_000_000);
        assert_eq!(due(&mut clock, 10_000_200), [10_000_100, 10_000_200]);
        assert_eq!(due(&mut clock, 10_000_000 - 3_600_000), [0; 0], "an hour back");
        assert_eq!(due(&mut clock, 10_000_200), [0; 0]);
        assert_eq!(due(&mut clock, 10_000_300), [10_000_300], "and it is no outage");
    }
}

#[test]
fn a_year_is_one_record_or_many_in_turn() {
    const YEAR: i64 = 365 * 86_400_000;
    let mut once = ticker(Missed::Once, 0, YEAR - 50);
    assert_eq!(due(&mut once, YEAR), [YEAR - 100, YEAR]);
    let mut skip = ticker(Missed::Skip, 0, YEAR - 50);
    assert_eq!(due(&mut skip, YEAR), [YEAR]);
    let mut all = ticker(Missed::All, 0, YEAR - 50);
    for n in 1..1_000_000 {
        assert_eq!(all.next(YEAR), Due::Now(n * 100));
    }
}

#[test]
fn jitter_is_of_the_tick() {
    let jittery = || Ticker::new(&spec(1_000, Missed::All, 900), stem("p", "source"), 0, 0);
    let when = |tick: i64| jittery().due(tick) - tick;
    let waits: Vec<i64> = (1..200).map(|n| when(n * 1_000)).collect();
    assert!(waits.iter().all(|wait| (0..900).contains(wait)));
    assert!(waits.iter().any(|w| *w < 200) && waits.iter().any(|w| *w > 700), "they spread");
    assert_eq!(waits, (1..200).map(|n| when(n * 1_000)).collect::<Vec<_>>());
    let mut clock = jittery();
    assert_eq!(clock.next(1_000 + when(1_000) - 1), Due::Later(1));
    assert_eq!(clock.next(1_000 + when(1_000)), Due::Now(1_000), "its time is the tick's");
}

#[test]
fn times_that_have_passed_end_it() {
    let at = ScheduleSource { timing: Timing::At(vec![500, 700]), ..spec(1, Missed::Once, 0) };
    let mut clock = Ticker::new(&at, stem("p", "source"), 0, 0);
    assert_eq!((clock.next(100), clock.next(600)), (Due::Later(400), Due::Now(500)));
    assert_eq!((clock.next(700), clock.next(700)), (Due::Now(700), Due::Never));
}

/// Clocks differ by at most so much, ms.
const SKEW: i64 = 10_000;

/// What happens to a group of processes.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(i64),
    /// The owner gives what is due, in transactions of so many.
    Work(usize),
    /// The owner dies between `next` and its commit, and this one takes over.
    Take(usize),
    /// A process's clock is set.
    Set(usize, i64),
    /// Nobody runs for so long.
    Outage(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1i64..400).prop_map(Step::Pass),
        3 => (1usize..5).prop_map(Step::Work),
        2 => (0usize..3).prop_map(Step::Take),
        1 => ((0usize..3), -SKEW / 2..SKEW / 2).prop_map(|(who, by)| Step::Set(who, by)),
        1 => (1i64..5_000).prop_map(Step::Outage),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Three processes, their clocks up to ten seconds apart; the last tick and its record are one commit.
    #[test]
    fn each_tick_is_given_at_most_once_and_none_is_passed_over(
        steps in steps(), jitter in 0i64..90,
        missed in prop_oneof![Just(Missed::Skip), Just(Missed::Once), Just(Missed::All)],
    ) {
        let spec = spec(100, missed, jitter);
        let (mut now, mut clocks) = (1_000_000i64, [0i64; 3]);
        let (mut owner, mut since, mut outages) = (0usize, now, Vec::new());
        let set = steps.iter().any(|step| matches!(step, Step::Set(..)));
        let first = now;
        let (mut committed, mut given): (i64, Vec<i64>) = (now, Vec::new());
        let mut clock = Ticker::new(&spec, stem("p", "source"), committed, since);
        for step in steps {
            match step {
                Step::Pass(ms) => now += ms,
                Step::Work(most) => {
                    for _ in 0..most {
                        let Due::Now(tick) = clock.next(now + clocks[owner]) else { break };
                        prop_assert!(tick <= now + clocks[owner], "none comes early by its own clock");
                        given.push(tick);
                    }
                    committed = clock.last();
                }
                Step::Take(who) => {
                    // What it decided and did not commit has no effect.
                    clock.next(now + clocks[owner]);
                    owner = who;
                    clock = Ticker::new(&spec, stem("p", "source"), committed, since.min(now + clocks[who]));
                }
                Step::Set(who, to) => clocks[who] = to,
                Step::Outage(ms) => {
                    outages.push((now, now + ms));
                    now += ms;
                    // By the clock of whoever is first there.
                    since = now + clocks.iter().min().unwrap();
                    clock = Ticker::new(&spec, stem("p", "source"), committed, since);
                }
            }
        }
        prop_assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice: {:?}", given);
        prop_assert!(given.iter().all(|tick| tick % 100 == 0), "on the grid");
        // What was passed over lies in an outage, give or take what clocks differ by.
        let last = given.last().copied().unwrap_or(first);
        let near = |tick: i64| outages.iter().any(|(from, to)| tick > from - SKEW && tick < to + SKEW);
        let passed = (first..=last).filter(|tick| tick % 100 == 0 && *tick > first && given.binary_search(tick).is_err());
        for tick in passed {
            prop_assert!(missed != Missed::All && near(tick), "{} was passed over: {:?}", tick, given);
        }
        let gaps = given.windows(2).filter(|pair| pair[1] - pair[0] != 100).count()
            + usize::from(given.first().is_some_and(|tick| tick - first > 100));
        prop_assert!(set || gaps <= outages.len(), "{} gaps in {:?}: {:?}", gaps, outages, given);
    }
}
