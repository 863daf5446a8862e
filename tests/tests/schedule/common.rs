//! Pipelines with a clock, and what must come of its ticks.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use millstream_tests::checker::Seen;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

pub const SESSION: Duration = Duration::from_secs(6);
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A pipeline whose clock is `schedule`, in flow style.
pub fn pipeline(name: &str, schedule: &str) -> String {
    format!(
        "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }} }}\nsource: {{ schedule: {{ {schedule} }} }}\n\
         stages:\n  - {{ name: note, filter: map, with: '.seen = true' }}\n"
    )
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A schedule of single times.
pub fn at(times: &[i64], missed: &str) -> String {
    let list: Vec<String> = times.iter().map(|at| format!("'{}'", rfc3339(*at))).collect();
    format!("at: [{}], missed: {missed}", list.join(", "))
}

/// Runs a clock until it knows where it begins.
pub fn begin(site: &Site, name: &str, schedule: &str) {
    let file = site.write(&format!("{name}.yaml"), &pipeline(name, schedule));
    let mut first = site.run(&format!("{name}-first"), &file);
    let begun = || {
        let mut command = site.command(["status", "-o", "json"]);
        let output = command.arg(&file).output().expect("status runs");
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["pipelines"][0]["sources"][0]["records"] == 0
    };
    assert!(wait_until(PATIENCE, begun), "the clock does not run");
    first.signal("TERM");
    first.succeed(PATIENCE);
}

fn rfc3339(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).expect("a time");
    if ms % 1_000 == 0 { time.to_string() } else { format!("{time:.3}") }
}

/// The id of a tick of the only source.
pub fn id(name: &str, tick: i64) -> String {
    format!("schedule/{name}/source@{}", rfc3339(tick))
}

/// The ticks that records are of, by their ids and in their order of time, repeats and all; an id that is none of this
/// pipeline is a failure of the test. `.in` has the ids as they are, outputs have a hash behind.
pub fn ticks(name: &str, records: &[Seen]) -> Vec<i64> {
    let tick = |record: &Seen| {
        let id = record.headers.iter().find(|(name, _)| name == "ce_id").and_then(|(_, id)| id.clone()).expect("an id");
        let root = id.split('~').next().unwrap_or_default();
        let time = root.strip_prefix(&format!("schedule/{name}/source@")).unwrap_or_else(|| panic!("the id {id}"));
        let at = time.parse::<Timestamp>().expect("a time").as_millisecond();
        assert_eq!(record.value["tick"], time, "the payload says the same time");
        assert_eq!(record.timestamp, at, "so does the record's own");
        at
    };
    let mut all: Vec<i64> = records.iter().map(tick).collect();
    all.sort_unstable();
    all
}

/// What is wrong with ticks that shall be all of a grid.
pub fn wrong(ticks: &[i64], step: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let once: BTreeSet<i64> = ticks.iter().copied().collect();
    if once.len() < ticks.len() {
        wrong.push(format!("{} doubled", ticks.len() - once.len()));
    }
    wrong.extend(once.iter().filter(|tick| *tick % step != 0).map(|tick| format!("{tick} is off the grid")));
    let (Some(first), Some(last)) = (once.first(), once.last()) else { return vec!["nothing came".to_owned()] };
    let lost = (*first..=*last).step_by(step as usize).filter(|tick| !once.contains(tick)).count();
    if lost > 0 {
        wrong.push(format!("{lost} lost"));
    }
    wrong
}
