//! `millstream explain CODE`: what a code means.

use clap::Args;
use serde_json::json;

use super::{print, print_json};
use crate::args::Output;
use crate::codes::{self, Code};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Say what the code of an error or a dead letter means
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The code, such as invalid_json
    code: String,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: ExplainArgs, cx: &Context) -> Outcome {
    let name = args.code.trim_matches(['[', ']', '`']);
    let Some(Code { name, class, text }) = codes::find(name) else {
        let unknown = Failure::wrong(format!("there is no code `{name}`"));
        return Err(match millstream_spec::nearest(name, codes::all().iter().map(|c| c.name.as_str())) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help("codes stand in square brackets after an error, and in a dead letter's headers"),
        });
    };
    match args.output {
        Output::Json => print_json(&json!({ "code": name, "class": class, "text": text })),
        Output::Text => {
            let class = if class.is_empty() { String::new() } else { format!(" ({class})") };
            print(&format!("{}{class}\n{text}\n", cx.paint().bold(name)))
        }
    }
}
