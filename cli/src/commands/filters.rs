//! `millstream filters [NAME]`: the filters of this binary, and the page of one.

use clap::Args;
use millstream_filter_api::{Example, FilterSpec};
use serde_json::{Value, json};

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::terminal::{Paint, table};

/// List filters, or print the page of one
#[derive(Args, Debug)]
pub struct FiltersArgs {
    /// The filter whose page to print
    name: Option<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: FiltersArgs, cx: &Context) -> Outcome {
    let Some(name) = args.name else { return list(args.output, cx) };
    let Some(filter) = cx.registry.get(&name) else {
        let unknown = Failure::wrong(format!("there is no filter `{name}`"));
        return Err(match millstream_spec::nearest(&name, cx.registry.names()) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help("`millstream filters` lists them"),
        });
    };
    match args.output {
        Output::Text => print(&page(&**filter, cx.paint())),
        Output::Json => print_json(&document(&**filter)),
    }
}

fn list(output: Output, cx: &Context) -> Outcome {
    match output {
        Output::Text => {
            let rows: Vec<Vec<String>> =
                cx.registry.iter().map(|f| vec![f.name().to_owned(), f.page().summary.to_owned()]).collect();
            print(&table(&rows, 0..0))
        }
        Output::Json => {
            let all: Vec<Value> =
                cx.registry.iter().map(|f| json!({ "name": f.name(), "summary": f.page().summary })).collect();
            print_json(&all)
        }
    }
}

fn page(filter: &dyn FilterSpec, paint: Paint) -> String {
    let page = filter.page();
    let mut text = format!("{}\n\n{}\n\n{}\n", paint.bold(filter.name()), page.summary, page.description.trim());
    for Example { title, yaml, fields, input, output } in page.examples {
        text.push_str(&format!("\n{}\n\n{}", paint.bold(&format!("Example: {title}")), indented(yaml)));
        for (what, lines) in [("fields", fields), ("input", input), ("output", output)] {
            if !lines.trim().is_empty() {
                text.push_str(&format!("\n  {}\n{}", paint.cyan(what), indented(lines)));
            }
        }
    }
    text
}

fn indented(text: &str) -> String {
    text.trim_matches('\n').lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect()
}

fn document(filter: &dyn FilterSpec) -> Value {
    let page = filter.page();
    let examples: Vec<Value> = page
        .examples
        .iter()
        .map(|e| json!({ "title": e.title, "yaml": e.yaml, "fields": e.fields, "input": e.input, "output": e.output }))
        .collect();
    json!({
        "name": filter.name(),
        "summary": page.summary,
        "description": page.description,
        "config_schema": serde_json::from_str::<Value>(filter.config_schema()).unwrap_or(Value::Null),
        "examples": examples,
    })
}
