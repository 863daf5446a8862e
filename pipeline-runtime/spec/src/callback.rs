//! `jobs: { callback }`: who is called when something happens to a job.
//!
//! What calls is a stage of its own, `callback`, so that it has retries, dead letters, a position and a place in `status` like any
//! other. It reads `<pipeline>.jobs.callbacks`, which the count of jobs writes, and has no output.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_filter_api::{Issue, Kind, Node, NodeKind};

use crate::compensate::Made;
use crate::defaults::Options;
use crate::link::{self, Linked};
use crate::model::{Format, Input, Jobs, Order, ParkAfter, Retry, StageFilter, TopicSettings};
use crate::read;
use crate::stage::Flow;

/// Who is called, and of what. The header is one of the record that begins a job.
#[derive(Clone, Debug)]
pub struct JobCallback {
    /// The header that names the address.
    pub url: String,
    /// Whether each stage that a job comes past is told.
    pub stages: bool,
    /// The states that are told: those in which jobs end.
    pub states: Vec<String>,
    /// Which addresses may be named.
    pub judge: Judge,
    /// `<pipeline>.jobs.callbacks`: what is to be told.
    pub topic: String,
    /// What that is made with.
    pub settings: TopicSettings,
}

/// Who says of an address why it may not be called.
#[derive(Clone)]
pub struct Judge(Rule);

type Rule = Arc<dyn Fn(&str) -> Result<(), &'static str> + Send + Sync>;

impl Judge {
    /// With a rule, which does not look anything up.
    pub fn new(rule: Rule) -> Self {
        Self(rule)
    }

    /// Whether an address may be named.
    ///
    /// # Errors
    /// Why it may not, to be said behind it.
    pub fn judge(&self, url: &str) -> Result<(), &'static str> {
        (self.0)(url)
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

/// The name of the stage.
const STAGE: &str = "callback";
/// What was told is kept so long.
const TOLD: Duration = Duration::from_secs(24 * 3600);
/// A receiver that is away for an hour misses nothing.
const RETRY: Retry = Retry {
    attempts: 15,
    backoff_min: Duration::from_secs(1),
    backoff_max: Duration::from_secs(600),
    park_after: Some(ParkAfter { attempts: 3, time: Duration::from_secs(5) }),
    until: None,
};
/// For a whole call, unless said.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The filter ends a call itself, with a code that says more.
const GRACE: Duration = Duration::from_secs(5);

/// What a job may end as, and the word for its stages.
pub(crate) const WORDS: &[&str] = &["stage", "done", "failed", "cancelled", "compensated"];

/// Adds the stage, where the pipeline `root` says `callback`. `jobs` is nothing where they are not tracked.
pub(crate) fn add(root: &Node, jobs: Option<&mut Jobs>, cx: &Made<'_>, linked: &mut Linked, issues: &mut Vec<Issue>) {
    let Some(section) = root.get("jobs") else { return };
    let Some(node) = section.get("callback").filter(|node| node.as_map().is_some()) else { return };
    let Some(jobs) = jobs else {
        let message = "who calls back has to know how jobs stand";
        let issue = Issue::error(node.span, "conflicting_keys", message);
        issues.push(issue.help("leave out `track: false`, or `callback`"));
        return;
    };
    let Some(check) = cx.registry.callback() else {
        let message = "this program has no filter that calls back";
        issues.push(Issue::error(node.span, "not_supported_yet", message));
        return;
    };
    if linked.stages.iter().any(|stage| stage.name == STAGE) {
        let message = "a stage is called `callback`, as the one is that calls back";
        issues.push(Issue::error(node.span, "reserved_name", message).help("give the stage another name"));
    }
    let (checked, judge) = match check(node) {
        Ok(found) => found,
        Err(found) => return issues.extend(found),
    };
    let topic = format!("{}.jobs.callbacks", cx.pipeline);
    let group = format!("{}.{STAGE}", cx.pipeline);
    for own in [topic.clone(), format!("{group}.dlq"), format!("{group}.retry")] {
        if linked.topics.iter().any(|(taken, _)| *taken == own) {
            let issue = Issue::error(node.span, "duplicate_topic", format!("`{own}` is a topic of the callbacks"));
            issues.push(issue.help("write to another topic"));
        }
        linked.topics.push((own, node.span));
    }
    let on = node.get("on").and_then(Node::as_list);
    let on: Vec<&str> = on.map_or_else(|| WORDS[1..].to_vec(), |on| on.iter().filter_map(Node::as_text).collect());
    jobs.callback = Some(JobCallback {
        url: node.get("url").and_then(|url| read::text(url, "header")).unwrap_or_default().to_owned(),
        stages: on.contains(&"stage"),
        states: on.iter().filter(|word| **word != "stage").map(|word| (*word).to_owned()).collect(),
        judge,
        topic: topic.clone(),
        settings: TopicSettings {
            partitions: jobs.partitions,
            partitions_said: true,
            retention: Some(TOLD),
            // What is said of a job may be larger than the records of stages are.
            max_record_bytes: None,
            ..cx.topics.clone()
        },
    });
    let defaults = Options { timeout: TIMEOUT, retry: RETRY, ..Options::default() };
    let said = defaults.with(node, issues);
    let options = Options {
        timeout: said.timeout + GRACE,
        order: Order::Key,
        hold_key: false,
        ends_job: false,
        // What a record of it needs once is there once: a transaction writes it, and nobody else.
        dedup: None,
        ..said
    };
    let input = Input { topic, format: Format::Json, types: Kind::any_object(), from_stage: None, source: None };
    let filter = StageFilter { name: STAGE.to_owned(), options: without_secret(node), checked };
    let flow = Flow { filters: vec![filter], outputs: None, kind: Kind::any(), taint: None };
    let mut made = link::stage(cx.pipeline, STAGE, node.span, &options, vec![input], flow, Vec::new());
    made.calls_back = true;
    linked.stages.push(made);
}

/// What it was given, for who looks for changes: of a secret not even a hash is kept.
fn without_secret(node: &Node) -> Node {
    let kept = node.as_map().unwrap_or(&[]).iter().filter(|(key, _)| key.as_text() != Some("secret"));
    Node { kind: NodeKind::Map(kept.cloned().collect()), span: node.span }
}
