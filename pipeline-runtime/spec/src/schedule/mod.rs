//! `schedule:` of a source: a clock that starts jobs.

mod cron;
mod times;

use std::time::Duration;

use millstream_filter_api::{Issue, Kind, Node, NodeKind};

use crate::model::{IdRule, Source, SourceKind};
use crate::registry::Registry;
use crate::{read, rules, types};

pub use times::{CronTimes, Timing};

/// A clock as a source: one record a tick.
pub struct ScheduleSource {
    /// When it ticks.
    pub timing: Timing,
    /// The VRL expression of the payload, with `%tick`; `None` is `{ "tick": "<RFC 3339>" }`. Compiled by the check,
    /// compiled again per run.
    pub value: Option<Node>,
    /// What becomes of ticks that came while no process ran.
    pub missed: Missed,
    /// What becomes of a tick while the job of the one before is unfinished.
    pub overlap: Overlap,
    /// Each record is written up to so long after its tick; the same for one tick in every process.
    pub jitter: Duration,
}

/// What becomes of a tick while the job of the one before is unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It starts its own.
    Allow,
    /// It gives no record.
    Skip,
    /// It waits.
    Queue,
}

/// What becomes of ticks that came while no process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// No record.
    Skip,
    /// One record, of the last of them.
    Once,
    /// A record each.
    All,
}

/// Reads `schedule:`, and the type of what it makes.
pub(crate) fn read(node: &Node, registry: &Registry, issues: &mut Vec<Issue>) -> (ScheduleSource, Option<Kind>) {
    let timing = timing(node, issues);
    let value = node.get("value").filter(|v| v.as_text().is_some_and(|t| !t.is_empty()));
    let made = match value {
        Some(value) => match registry.schedule() {
            Some(check) => check(value).map_err(|found| issues.extend(found)).ok(),
            None => {
                let message = "`value` of a schedule is not supported by this binary";
                issues.push(Issue::error(value.span, "not_supported_yet", message));
                None
            }
        },
        None => Some(types::one_text("tick")),
    };
    let missed = match read::text(node, "missed") {
        Some("skip") => Missed::Skip,
        Some("all") => Missed::All,
        _ => Missed::Once,
    };
    let overlap = match read::text(node, "overlap") {
        Some("skip") => Overlap::Skip,
        Some("queue") => Overlap::Queue,
        _ => Overlap::Allow,
    };
    let jitter = read::duration(node, "jitter").unwrap_or_default();
    if let (Timing::Every(step), Some(at)) = (&timing, node.get("jitter"))
        && jitter.as_millis() >= u128::from(step.unsigned_abs())
    {
        let issue = Issue::error(at.span, "conflicting_keys", "`jitter` is not shorter than `every`");
        issues.push(issue.help("records would wait for those before them; take less"));
    }
    (ScheduleSource { timing, value: value.cloned(), missed, overlap, jitter }, made)
}

/// What stands against `overlap`: the job before is found by the id of its tick.
pub(crate) fn overlap_issue(source: &Source, node: &Node) -> Option<Issue> {
    let SourceKind::Schedule(ScheduleSource { overlap: Overlap::Skip | Overlap::Queue, .. }) = &source.kind else {
        return None;
    };
    let word = node.get("schedule")?.get("overlap")?;
    let message = "the job before is found by the id of its tick, and `id` gives another one";
    let issue = Issue::error(word.span, "conflicting_keys", message);
    (source.id != IdRule::Default).then(|| issue.help("leave out `id`"))
}

fn timing(node: &Node, issues: &mut Vec<Issue>) -> Timing {
    let zone = node.get("timezone").and_then(|said| zone(said, node, issues));
    if let Some(pattern) = node.get("cron") {
        return cron(pattern, zone, issues).unwrap_or(Timing::At(Vec::new()));
    }
    if let Some(step) = read::duration(node, "every").and_then(|step| i64::try_from(step.as_millis()).ok()) {
        return Timing::Every(step.max(1));
    }
    let one = |at: &Node| at.as_text().and_then(rules::time);
    let mut all: Vec<i64> = match node.get("at").map(|at| (at, at.as_list())) {
        Some((_, Some(items))) => items.iter().filter_map(one).collect(),
        Some((at, None)) => one(at).into_iter().collect(),
        None => Vec::new(),
    };
    all.sort_unstable();
    all.dedup();
    Timing::At(all)
}

fn zone(said: &Node, node: &Node, issues: &mut Vec<Issue>) -> Option<(jiff::tz::TimeZone, String)> {
    let name = said.as_text()?;
    let other = ["every", "at"].into_iter().find(|key| node.get(key).is_some() && node.get("cron").is_none());
    if let Some(other) = other {
        let why = match other {
            "every" => "ticks of `every` lie on a grid that begins 1970-01-01T00:00:00Z, in every zone the same",
            _ => "a time of `at` says its own offset",
        };
        let issue =
            Issue::error(said.span, "conflicting_keys", format!("`timezone` has no meaning beside `{other}`: {why}"));
        issues.push(issue.help("leave it out, or use `cron`"));
        return None;
    }
    times::zone(name)
        .map_err(|near| {
            let issue = Issue::error(
                said.span,
                "unknown_timezone",
                format!("there is no time zone `{}`", crate::tree::shorten(name)),
            );
            issues.push(match near {
                Some(near) => issue.help(format!("did you mean `{near}`?")),
                None => issue.help("zones are named as in the IANA database, such as `Europe/Berlin` or `UTC`"),
            });
        })
        .ok()
}

fn cron(pattern: &Node, zone: Option<(jiff::tz::TimeZone, String)>, issues: &mut Vec<Issue>) -> Option<Timing> {
    let NodeKind::Text(text, _) = &pattern.kind else { return None };
    let parsed = cron::parse(text).map_err(|wrong| {
        let issue = Issue::error(pattern.span_of(wrong.start, wrong.end), "bad_cron", wrong.message);
        issues.push(crate::shape::with_help(issue, wrong.help));
    });
    let (zone, name) = zone.unwrap_or((jiff::tz::TimeZone::UTC, "UTC".to_owned()));
    let timing = Timing::Cron(Box::new(CronTimes::new(text, parsed.ok()?, zone, name)));
    if timing.after(0).is_none() {
        let issue = Issue::error(pattern.span, "bad_cron", format!("`{text}` never comes"));
        issues.push(issue.help("look at the day of month and the month: no such month has that day"));
        return None;
    }
    Some(timing)
}
