//! `jobs:`, what is known of everything that follows from one record.

use std::time::Duration;

use millstream_filter_api::{Issue, Node, NodeKind};

use crate::Registry;
use crate::model::{Delivery, JobReply, Jobs, Overlap, ScheduleSource, Source, SourceKind, Stage};
use crate::shape::with_help;
use crate::source::Said;
use crate::stage::Draft;
use crate::{defaults, read, spelling};

/// How long after its end a job is known.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// What tracking hangs on.
pub(crate) struct Tracking<'a> {
    pub pipeline: &'a str,
    pub delivery: Delivery,
    pub sources: &'a [Source],
    /// Empty where they could not be linked.
    pub stages: &'a [Stage],
    /// The same as they stand in the file.
    pub drafts: &'a [Draft<'a>],
    /// Of a topic that is made.
    pub partitions: i32,
    pub registry: &'a Registry,
}

/// What needs to know how jobs stand, and where it says so.
fn needed<'n>(sources: &[Source], said: &[&Said<'n>], drafts: &'n [Draft<'n>]) -> Option<(&'n Node, &'static str)> {
    let need = |(source, said): (&Source, &&Said<'n>)| match &source.kind {
        SourceKind::Schedule(ScheduleSource { overlap: Overlap::Skip | Overlap::Queue, .. }) => {
            Some((said.node.get("schedule")?.get("overlap")?, "`overlap` of a source"))
        }
        SourceKind::Http(http) if http.respond.is_some() => {
            Some((said.node.get("http")?.get("respond")?, "`respond: { result }` of a source"))
        }
        _ => None,
    };
    sources.iter().zip(said).find_map(need).or_else(|| {
        let of = |draft: &'n Draft<'_>, key, what| Some((draft.node.get(key)?, what));
        drafts.iter().find_map(|d| {
            of(d, "compensate", "`compensate` of a stage").or_else(|| of(d, "deadline", "`deadline` of a stage"))
        })
    })
}

/// Whether jobs are tracked, as far as can be said before stages are linked.
pub(crate) fn are_tracked<'n>(
    node: Option<&Node>,
    sources: &[Source],
    said: &[&Said<'n>],
    drafts: &'n [Draft<'n>],
) -> bool {
    let section = node.filter(|node| node.as_map().is_some());
    let refused = section.and_then(|node| node.get("track")).is_some_and(|n| n.kind == NodeKind::Bool(false));
    !refused && (section.is_some() || needed(sources, said, drafts).is_some())
}

/// Reads the section; `None` where jobs are not tracked. They are where it stands, and where a source needs it.
pub(crate) fn read<'n>(
    node: Option<&Node>,
    said: &[&Said<'n>],
    cx: &Tracking<'n>,
    issues: &mut Vec<Issue>,
) -> Option<Jobs> {
    let needed = needed(cx.sources, said, cx.drafts);
    let nothing = needed.map(|(at, _)| Node { kind: NodeKind::Map(Vec::new()), span: at.span });
    let node = node.filter(|node| node.as_map().is_some()).or(nothing.as_ref())?;
    let track = node.get("track");
    if let Some(track) = track.filter(|n| n.kind == NodeKind::Bool(false)) {
        if let Some((_, what)) = needed {
            let message = format!("{what} has to know how jobs stand");
            issues.push(Issue::error(track.span, "conflicting_keys", message).help("leave out `track: false`"));
        }
        return None;
    }
    let names: Vec<&str> = cx.stages.iter().map(|s| s.name.as_str()).collect();
    let result = node.get("result");
    if let Some((word, said)) = result.and_then(|n| Some((n.as_text()?, n)))
        && !names.is_empty()
        && !names.contains(&word)
    {
        let issue = Issue::error(said.span, "unknown_stage", format!("no stage is called `{word}`"));
        issues.push(with_help(issue, spelling::help(word, &names)));
    }
    let at = track.map_or(node.span, |n| n.span);
    if cx.delivery == Delivery::AtLeastOnce {
        let message =
            "jobs are counted in the transactions of `exactly_once`; with `at_least_once` that is not supported yet";
        let issue = Issue::error(at, "not_supported_yet", message);
        issues.push(issue.help("leave out `delivery: at_least_once`, or `jobs`"));
    }
    if names.contains(&"jobs") {
        let message = "a stage is called `jobs`, and its topic would be that of the jobs";
        issues.push(Issue::error(at, "reserved_name", message).help("give the stage another name"));
    }
    let topic = format!("{}.jobs", cx.pipeline);
    let reply = node.get("reply").map(reply);
    let progress = node.get("progress").filter(|n| n.as_text().is_some_and(|text| !text.is_empty()));
    if let Some(progress) = progress {
        issues.extend(match cx.registry.progress() {
            Some(check) => check(progress).err().unwrap_or_default(),
            None => {
                let message = "`progress` of jobs is not supported by this binary";
                vec![Issue::error(progress.span, "not_supported_yet", message)]
            }
        });
    }
    Some(Jobs {
        retention: defaults::retention(node).unwrap_or(Some(RETENTION)).unwrap_or(Duration::MAX),
        deadline: read::duration(node, "deadline"),
        result: result.and_then(Node::as_text).or(names.last().copied()).unwrap_or_default().to_owned(),
        notes: format!("{topic}.notes"),
        events: reply.is_some().then(|| format!("{topic}.events")),
        reply,
        callback: None,
        progress: progress.cloned(),
        group: topic.clone(),
        topic,
        partitions: cx.partitions,
    })
}

fn reply(node: &Node) -> JobReply {
    let header = |key: &str| Some(read::text(node.get(key)?, "header")?.to_owned());
    let allow = node.get("allow").and_then(Node::as_list).unwrap_or(&[]).iter();
    JobReply {
        to: header("to").unwrap_or_default(),
        correlation: header("correlation"),
        allow: allow.filter_map(Node::as_text).map(str::to_owned).collect(),
    }
}
