//! `millstream graph PATH`: a picture of a pipeline.

use clap::{Args, ValueEnum};
use millstream_spec::model::{Pipeline, Source, Stage};
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::pipelines;

/// Draw a pipeline
#[derive(Args, Debug)]
pub struct GraphArgs {
    /// A pipeline file, or the name of a pipeline in this folder
    #[arg(value_name = "PATH")]
    path: String,
    /// How to draw it
    #[arg(long = "as", value_name = "FORM", default_value = "text")]
    form: Form,
    /// Print stages and topics as data
    #[arg(short, long, value_name = "FORMAT", default_value = "text", conflicts_with = "form")]
    output: Output,
}

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A tree
    Text,
    /// For pages that draw Mermaid
    Mermaid,
    #[value(hide = true)]
    Dot,
    #[value(hide = true)]
    Svg,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    pipeline: &'a str,
    /// Where it has no name, and so is the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SourceDocument<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceDocument<'a>>,
    stages: Vec<StageDocument<'a>>,
}

#[derive(Serialize)]
struct SourceDocument<'a> {
    name: &'a str,
    topic: &'a str,
}

#[derive(Serialize)]
struct StageDocument<'a> {
    name: &'a str,
    group: &'a str,
    filters: Vec<&'a str>,
    inputs: Vec<&'a str>,
    outputs: Vec<OutputDocument<'a>>,
    dead_letters: &'a str,
}

#[derive(Serialize)]
struct OutputDocument<'a> {
    name: Option<&'a str>,
    topic: &'a str,
}

/// Runs the command.
pub fn run(args: GraphArgs, cx: &Context) -> Outcome {
    match args.form {
        Form::Dot => return Err(Failure::later("`--as dot`")),
        Form::Svg => return Err(Failure::later("`--as svg`")),
        Form::Text | Form::Mermaid => {}
    }
    let pipelines = pipelines::load(std::slice::from_ref(&args.path), &cx.registry, cx.paint_errors())?;
    let Some(pipeline) = pipelines.first() else { return Ok(()) };
    match (args.output, args.form) {
        (Output::Json, _) => print_json(&document(pipeline)),
        (Output::Text, Form::Mermaid) => print(&millstream_spec::graph::mermaid(pipeline)),
        (Output::Text, _) => print(&millstream_spec::graph::text(pipeline)),
    }
}

fn document(pipeline: &Pipeline) -> Document<'_> {
    let of = |named: bool| pipeline.sources.iter().filter(move |s| s.named == named);
    Document {
        pipeline: &pipeline.name,
        source: of(false).map(source).next(),
        sources: of(true).map(source).collect(),
        stages: pipeline.stages.iter().map(stage).collect(),
    }
}

fn source(source: &Source) -> SourceDocument<'_> {
    SourceDocument { name: &source.name, topic: &source.topic }
}

fn stage(stage: &Stage) -> StageDocument<'_> {
    StageDocument {
        name: &stage.name,
        group: &stage.group,
        filters: stage.filters.iter().map(|f| f.name.as_str()).collect(),
        inputs: stage.inputs.iter().map(|i| i.topic.as_str()).collect(),
        outputs: stage.outputs.iter().map(|o| OutputDocument { name: o.name.as_deref(), topic: &o.topic }).collect(),
        dead_letters: &stage.dlq,
    }
}
