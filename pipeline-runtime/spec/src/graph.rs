//! Pictures of a checked pipeline: a tree for the terminal, and Mermaid for pages that draw it.

use std::fmt::Write as _;

use crate::model::{Delivery, FileLines, Format, Input, Output, Pipeline, Source, SourceKind, Stage};

/// The pipeline as a tree, each stage below what it reads, with the topics between. A stage with several inputs stands
/// below the first; the others point to it.
pub fn text(pipeline: &Pipeline) -> String {
    let delivery = match pipeline.delivery {
        Delivery::ExactlyOnce => "exactly once",
        Delivery::AtLeastOnce => "at least once",
    };
    let mut out = format!("{}: {delivery}\n", pipeline.name);
    for (n, source) in pipeline.sources.iter().enumerate() {
        let mut line = format!("{}: {}", source.name, source_text(source));
        if source.writes() {
            let _ = write!(line, " -> {}", source.topic);
        }
        let _ = writeln!(out, "{line}");
        readers(pipeline, &|input| input.source == Some(n), "", &mut out);
    }
    if let Some(callback) = pipeline.jobs.as_ref().and_then(|jobs| jobs.callback.as_ref()) {
        let _ = writeln!(out, "jobs: {}", callback.topic);
        readers(pipeline, &|input| input.topic == callback.topic, "", &mut out);
    }
    for input in pipeline.stages.iter().filter(|s| s.of_events).flat_map(|s| &s.inputs) {
        let _ = writeln!(out, "events: topic {} ({})", input.topic, format_text(&input.format));
        readers(pipeline, &|other| other.topic == input.topic && other.source.is_none(), "", &mut out);
    }
    let _ = writeln!(out, "dead letters: {}.<stage>.dlq", pipeline.name);
    out
}

/// Draws everything that reads something. Stages do not form circles, so this ends.
fn readers(pipeline: &Pipeline, reads: &dyn Fn(&Input) -> bool, indent: &str, out: &mut String) {
    let all: Vec<&Stage> = pipeline.stages.iter().filter(|s| s.inputs.iter().any(reads)).collect();
    for (n, stage) in all.iter().enumerate() {
        let (branch, below) = if n + 1 == all.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        if stage.inputs.first().is_some_and(|i| !reads(i)) {
            let _ = writeln!(out, "{indent}{branch}{} (see there)", stage.name);
            continue;
        }
        let mut line = stage.name.clone();
        let filters: Vec<&str> = stage.filters.iter().map(|f| f.name.as_str()).collect();
        let _ = match filters.as_slice() {
            [] if stage.outputs.iter().all(|o| o.key.is_none()) => write!(line, ": begins jobs"),
            [] => write!(line, ": sets the key"),
            filters => write!(line, ": {}", filters.join(", ")),
        };
        if stage.singleton {
            line.push_str(" singleton");
        }
        if stage.replicas > 1 {
            let _ = write!(line, " x{}", stage.replicas);
        }
        let below = format!("{indent}{below}");
        match stage.outputs.as_slice() {
            [Output { name: None, topic, .. }] => {
                let _ = writeln!(out, "{indent}{branch}{line} -> {topic}");
                readers(pipeline, &|i| i.topic == *topic, &below, out);
            }
            outputs => {
                let _ = writeln!(out, "{indent}{branch}{line}");
                for (m, output) in outputs.iter().enumerate() {
                    let (branch, deeper) =
                        if m + 1 == outputs.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                    let name = output.name.as_ref().map_or_else(String::new, |name| format!("{name} "));
                    let _ = writeln!(out, "{below}{branch}{name}-> {}", output.topic);
                    readers(pipeline, &|i| i.topic == output.topic, &format!("{below}{deeper}"), out);
                }
            }
        }
    }
}

fn source_text(source: &Source) -> String {
    match &source.kind {
        SourceKind::Topic { .. } => format!("topic {} ({})", source.topic, format_text(&source.format)),
        SourceKind::File(file) => {
            let lines = match file.lines {
                FileLines::Csv { .. } => "csv",
                FileLines::Jsonl => "jsonl",
                FileLines::Text => "text",
            };
            format!("file {} ({lines}{})", file.written, if file.follow { ", followed" } else { "" })
        }
        SourceKind::Generate(generate) => match generate.count {
            Some(count) => format!("generate {count}"),
            None => "generate without end".into(),
        },
        SourceKind::Schedule(schedule) => schedule.timing.describe(),
        SourceKind::Objects(objects) => match &objects.matching {
            Some(matching) => format!("objects {} ({})", objects.url, matching.text),
            None => format!("objects {}", objects.url),
        },
        SourceKind::Postgres(postgres) => format!("{} ({})", postgres.describe(), format_text(&source.format)),
        SourceKind::Http(http) => format!("http {} ({})", http.path, format_text(&source.format)),
    }
}

fn format_text(format: &Format) -> &'static str {
    match format {
        Format::Raw => "raw",
        Format::Text => "text",
        Format::Json => "json",
        Format::Csv { .. } => "csv",
        Format::Protobuf(_) => "protobuf",
        Format::Registered(registered) if registered.is_protobuf() => "protobuf",
        Format::Avro(_) | Format::Registered(_) => "avro",
        Format::Packed(packed) => packed.word(),
    }
}

/// The pipeline as a Mermaid flowchart: boxes are stages, cylinders are topics.
pub fn mermaid(pipeline: &Pipeline) -> String {
    let mut topics: Vec<&str> = Vec::new();
    let mut out = String::from("flowchart LR\n");
    for (n, source) in pipeline.sources.iter().enumerate() {
        let topic = topics.iter().position(|t| *t == source.topic).unwrap_or_else(|| {
            topics.push(&source.topic);
            topics.len() - 1
        });
        let (id, name) = match source.named {
            true => (format!("source{n}"), format!("{}: ", source.name)),
            false => ("source".to_owned(), String::new()),
        };
        if source.writes() {
            let _ = writeln!(out, "  {id}([\"{}\"]) --> t{topic}", label(&format!("{name}{}", source_text(source))));
        }
    }
    let events = pipeline.stages.iter().filter(|s| s.of_events).flat_map(|s| &s.inputs).map(|i| i.topic.as_str());
    let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs).map(|o| o.topic.as_str());
    for topic in events.chain(outputs) {
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    topics.extend(pipeline.jobs.iter().filter_map(|jobs| Some(jobs.callback.as_ref()?.topic.as_str())));
    for (n, topic) in topics.iter().enumerate() {
        let _ = writeln!(out, "  t{n}[(\"{}\")]", label(topic));
    }
    let number = |topic: &str| topics.iter().position(|t| *t == topic);
    for (n, stage) in pipeline.stages.iter().enumerate() {
        let filters: Vec<&str> = stage.filters.iter().map(|f| f.name.as_str()).collect();
        let _ = writeln!(out, "  s{n}[\"{}<br/>{}\"]", label(&stage.name), label(&filters.join(", ")));
        for input in stage.inputs.iter().filter_map(|i| number(&i.topic)) {
            let _ = writeln!(out, "  t{input} --> s{n}");
        }
        for output in &stage.outputs {
            let Some(topic) = number(&output.topic) else { continue };
            let _ = match &output.name {
                Some(name) => writeln!(out, "  s{n} -->|{}| t{topic}", label(name)),
                None => writeln!(out, "  s{n} --> t{topic}"),
            };
        }
    }
    out
}

/// Text inside Mermaid's quotes.
fn label(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace(['\n', '\r'], " ")
}
