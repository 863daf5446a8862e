//! The topics of one pipeline: each has one writer, none is read upstream of its writer, names are not too long.

use std::collections::{HashMap, HashSet};

use millstream_filter_api::{Issue, Severity, Span};

use crate::inlets::reads_topic;
use crate::model::{Source, Stage};

/// Characters of a topic's name at most, on any Kafka.
const MAX_NAME: usize = 249;

/// Checks the topics; `places` are those of the stages' outputs, in order. The first `ingests` stages are ours.
pub(crate) fn check(
    pipeline: &str,
    sources: &[Source],
    ingests: usize,
    stages: &[Stage],
    places: &[(String, Span)],
    issues: &mut Vec<Issue>,
) {
    let mut owned: HashMap<String, String> = HashMap::new();
    owned.insert(format!("{pipeline}.in"), "what the source writes".into());
    for source in sources.iter().filter(|s| s.named) {
        owned.insert(source.inlet.clone(), format!("what the source `{}` writes", source.name));
    }
    for source in sources {
        if let Some(topic) = source.ids_topic() {
            owned.insert(topic, "the ids that were taken in".into());
        }
        if let Some(topic) = source.seen_topic() {
            owned.insert(topic, "the objects that were seen".into());
        }
    }
    owned.insert(format!("{pipeline}.control"), "commands to the pipeline".into());
    for stage in stages {
        let side =
            [(&stage.dlq, "the dead letters"), (&stage.state, "the state"), (&stage.retry_topic, "the parked records")];
        for (topic, what) in side {
            owned.insert(topic.clone(), format!("{what} of stage `{}`", stage.name));
        }
    }
    for stage in stages.iter().filter(|stage| stage.keeps_checkpoints()) {
        owned.insert(stage.checkpoints.clone(), format!("the checkpoints of stage `{}`", stage.name));
    }
    let mut written: HashMap<&str, Span> = HashMap::new();
    let wrong: HashSet<Span> = issues.iter().filter(|i| i.severity == Severity::Error).map(|i| i.span).collect();
    for (n, (topic, span)) in places.iter().enumerate() {
        // A name that is wrong for another reason has said so.
        if wrong.contains(span) {
            continue;
        }
        if let Some(source) = sources.iter().find(|s| reads_topic(s, topic)) {
            let which = if source.named { format!("the source `{}`", source.name) } else { "the source".to_owned() };
            let message = format!("`{topic}` is what {which} reads: what is written there comes in again");
            issues.push(Issue::error(*span, "cycle", message).help("write to another topic"));
        } else if n >= ingests && owned.contains_key(topic) {
            let what = owned.get(topic).map_or("", String::as_str);
            issues.push(Issue::error(*span, "duplicate_topic", format!("`{topic}` is the topic for {what}")));
        } else if let Some(first) = written.get(topic.as_str()) {
            let issue = Issue::error(*span, "duplicate_topic", format!("two outputs write the topic `{topic}`"));
            issues.push(issue.help(format!("the first is at {}:{}", first.line, first.col)));
        } else if topic.len() > MAX_NAME {
            let message = format!("the topic's name has {} characters; Kafka takes {MAX_NAME}", topic.len());
            issues
                .push(Issue::error(*span, "bad_topic", message).help("shorten the names of pipeline, stage or output"));
        }
        written.entry(topic).or_insert(*span);
    }
}
