//! `millstream check PATH…`: everything that can be known without running.

use std::collections::HashMap;

use clap::Args;
use millstream_filter_api::{Issue, Severity};
use millstream_log::{Granted, Log, Right};
use millstream_spec::model::Pipeline;
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::pipelines::{self, CheckedFile};
use crate::rights::{Cluster, Needs};
use crate::schemas;
use crate::settings::LogChoice;
use crate::types::{self, TopicType};

/// Check pipelines without running them
///
/// With --brokers the topics of the cluster are looked at as well, what the user may do with them, and what a schema
/// registry says of the schemas; nothing is made or changed.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Pipeline files, names of pipelines in this folder, or folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Also print what the payloads of each topic look like, as far as the sources' `fields` and `schema` say it
    #[arg(long)]
    types: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    files: Vec<FileDocument<'a>>,
    /// What is wrong with paths that could not be read.
    unreadable: Vec<&'a str>,
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
struct FileDocument<'a> {
    path: String,
    pipeline: Option<&'a str>,
    issues: Vec<IssueDocument<'a>>,
    /// What is wrong with its topics on the cluster.
    topics: &'a [String],
    /// With `--types`, of a pipeline that is right: what the payloads of its topics look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<Vec<TopicType>>,
}

#[derive(Serialize)]
struct IssueDocument<'a> {
    severity: &'static str,
    line: u32,
    col: u32,
    len: u32,
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

/// Runs the command. `cluster` says whether the command line names one.
pub fn run(args: CheckArgs, cluster: bool, cx: &Context) -> Outcome {
    let (paths, mut unread) = pipelines::expand(&args.paths);
    let (checked, more) = pipelines::check_each(&paths, &cx.registry);
    unread.extend(more);
    let topics = if cluster { on_the_cluster(&checked, cx)? } else { vec![Vec::new(); checked.len()] };
    match args.output {
        Output::Text => print(&text(&checked, &topics, args.types, cx))?,
        Output::Json => print_json(&document(&checked, &topics, args.types, &unread))?,
    }
    if let Some(failure) = Failure::all(unread) {
        return Err(failure);
    }
    if checked.iter().any(|c| c.verdict.is_err()) {
        return Err(Failure::Said(2));
    }
    if topics.iter().any(|t| !t.is_empty()) {
        return Err(Failure::Said(1));
    }
    Ok(())
}

/// What is wrong with the topics and the rights of each pipeline.
fn on_the_cluster(checked: &[CheckedFile], cx: &Context) -> Result<Vec<Vec<String>>, Failure> {
    let log = cx.open_log()?;
    let patience = Patience::start(&*log, Some(LIMIT));
    let mut written: Vec<&str> = Vec::new();
    for (pipeline, _) in checked.iter().filter_map(|c| c.verdict.as_ref().ok()) {
        written.extend(pipeline.stages.iter().flat_map(|s| &s.outputs).map(|o| o.topic.as_str()));
    }
    checked
        .iter()
        .map(|c| {
            let Ok((pipeline, _)) = &c.verdict else { return Ok(Vec::new()) };
            let (mut wrong, hidden) = rights(&*log, &patience, pipeline, cx)?;
            wrong.extend(topics(&*log, &patience, pipeline, &written, &hidden)?);
            wrong.extend(schemas::wrong(pipeline));
            Ok(wrong)
        })
        .collect()
}

/// Which rights are missing, and the topics that the user may not even look at.
fn rights(
    log: &dyn Log,
    patience: &Patience,
    pipeline: &Pipeline,
    cx: &Context,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let LogChoice::Kafka { brokers, properties } = &cx.settings.log else { return Ok(Default::default()) };
    let needs = Needs::of(pipeline);
    let told = patience.ask(
        || false,
        || match log.rights(&needs.topics(), &needs.groups()) {
            // Old brokers do not know the question.
            Err(e) if e.code == "refused_by_broker" => {
                tracing::warn!(error = %e, "what the user may do is not checked");
                Ok(None)
            }
            other => other,
        },
    )?;
    let Some(told) = told else { return Ok(Default::default()) };
    let cluster = Cluster { brokers, user: properties.get("sasl.username").map(String::as_str) };
    let refused = |granted: &Granted| matches!(granted, Granted::These(all) if !all.contains(&Right::Describe));
    let hidden = needs.topics().into_iter().zip(&told.topics).filter(|(_, granted)| refused(granted));
    let hidden = hidden.map(|(name, _)| name.to_owned()).collect();
    Ok((needs.missing(&pipeline.name, &told, &cluster), hidden))
}

/// `written` are topics that one of the pipelines makes: a source among them need not be there yet. Nothing can be said of
/// those that are `hidden`.
fn topics(
    log: &dyn Log,
    patience: &Patience,
    pipeline: &Pipeline,
    written: &[&str],
    hidden: &[String],
) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    let sources = pipeline.sources.iter().map(|s| s.topic.as_str());
    let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs);
    // Of others too: what records wait for.
    let events = pipeline.stages.iter().filter(|s| s.of_events).flat_map(|s| &s.inputs).map(|i| &i.topic);
    let names = sources.chain(events.clone().map(String::as_str)).chain(outputs.map(|o| o.topic.as_str()));
    let names: Vec<&str> = names.filter(|name| !hidden.iter().any(|h| h == name)).collect();
    let known = patience.ask(|| false, || log.describe(&names))?;
    let there: HashMap<&str, i32> =
        names.iter().zip(&known).filter_map(|(name, info)| Some((*name, info.as_ref()?.partitions))).collect();
    let missing = |topic: &&String| {
        let topic = topic.as_str();
        names.contains(&topic) && !there.contains_key(topic) && !written.contains(&topic)
    };
    let sources = pipeline.sources.iter().filter(|s| !s.writes()).map(|s| &s.topic);
    for topic in sources.chain(events).filter(missing) {
        let missing = millstream_host::missing_topics(log, std::slice::from_ref(topic));
        wrong.push(format!("{missing}; `run --create-source` makes it"));
    }
    let mut counts = millstream_host::partition_counts(pipeline, &|topic| there.get(topic).copied());
    counts.retain(|topic, _| !hidden.contains(topic));
    wrong.extend(millstream_host::differing_partitions(pipeline, &counts));
    Ok(wrong)
}

fn text(checked: &[CheckedFile], topics: &[Vec<String>], types: bool, cx: &Context) -> String {
    let paint = cx.paint();
    let mut text = String::new();
    for (file, topics) in checked.iter().zip(topics) {
        text.push_str(&file.render(paint));
        let path = file.file.path.display();
        for wrong in topics {
            text.push_str(&format!("{path}: {}: {wrong}\n", paint.red("error")));
        }
        if let (Ok((pipeline, _)), true) = (&file.verdict, topics.is_empty()) {
            let stages = pipeline.stages.len();
            let stages = if stages == 1 { "1 stage".to_owned() } else { format!("{stages} stages") };
            text.push_str(&format!("{path}: pipeline `{}` is right, {stages}\n", pipeline.name));
        }
        if let (Ok((pipeline, _)), true) = (&file.verdict, types) {
            text.extend(types::of_topics(pipeline).iter().map(TopicType::lines));
        }
    }
    text
}

fn document<'a>(
    checked: &'a [CheckedFile],
    topics: &'a [Vec<String>],
    types: bool,
    unread: &'a [Failure],
) -> Document<'a> {
    let files = checked.iter().zip(topics).map(|(file, topics)| FileDocument {
        path: file.file.path.to_string_lossy().into_owned(),
        pipeline: file.verdict.as_ref().ok().map(|(pipeline, _)| pipeline.name.as_str()),
        issues: file.issues().iter().map(issue).collect(),
        topics,
        types: file.verdict.as_ref().ok().filter(|_| types).map(|(pipeline, _)| types::of_topics(pipeline)),
    });
    let count = |severity| checked.iter().map(|c| c.count(severity)).sum::<usize>();
    let unreadable: Vec<&str> = unread.iter().filter_map(|f| f.message()).map(|m| m.what.as_str()).collect();
    let errors = count(Severity::Error) + unreadable.len();
    Document { files: files.collect(), unreadable, errors, warnings: count(Severity::Warning) }
}

fn issue(issue: &Issue) -> IssueDocument<'_> {
    IssueDocument {
        severity: match issue.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        line: issue.span.line,
        col: issue.span.col,
        len: issue.span.len,
        code: issue.code,
        message: &issue.message,
        help: issue.help.as_deref(),
    }
}
