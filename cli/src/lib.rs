//! The command line of Millstream, as a library: a binary of your own registers its filters beside the built-in ones
//! and gets every command.
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     let filters = millstream::built_in_filters();
//!     // filters.push(std::sync::Arc::new(MyFilter));
//!     millstream::main_with(filters)
//! }
//! ```
//!
//! It must never know: rdkafka, how a record is processed, what a filter does. It turns words into settings, opens the
//! log they name, and calls the crates that do the work.
//!
//! Start reading at [`main_with`], then `args.rs` (the words), `settings.rs` (the layers below the flags), `context.rs`
//! (the log), and one file per command in `commands/`.

mod args;
mod codes;
mod commands;
mod consume;
mod context;
mod failure;
mod infer;
mod later;
mod logging;
mod makers;
mod patience;
mod payloads;
mod pipelines;
mod produce;
mod progress;
mod rights;
mod schemas;
mod settings;
mod settings_file;
mod signals;
mod status_table;
mod target;
mod terminal;
mod topic;
mod types;
mod units;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use millstream_filter_api::FilterSpec;
use millstream_spec::Registry;
use millstream_spec::model::Judge;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::settings::Settings;
use crate::terminal::{Color, Paint, Screen};

/// Threads of librdkafka allocate what others free, for each record; the C library's allocator is slow at that.
#[cfg(all(feature = "mimalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The filters that Millstream brings, by name.
pub fn built_in_filters() -> Vec<Arc<dyn FilterSpec>> {
    let mut filters = millstream_filters_std::registry();
    filters.extend(millstream_filters_io::registry());
    filters.sort_by_key(|f| f.name());
    filters
}

/// The whole program: reads the arguments of this process, runs the command, says what went wrong, and gives the exit
/// status (0 done, 1 failed while running, 2 the command line or a pipeline is wrong). Of two filters with one name the
/// later counts.
pub fn main_with(filters: Vec<Arc<dyn FilterSpec>>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => {
            // Help goes to stdout, errors to stderr; if nobody reads them, there is nobody to tell.
            let _ = said.print();
            return if said.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let color = cli.flags.color.unwrap_or_default();
    match run(cli, filters) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure, color);
            failure.code()
        }
    }
}

fn run(cli: Cli, filters: Vec<Arc<dyn FilterSpec>>) -> Outcome {
    if let Command::Other(words) = &cli.command {
        let now = Cli::command();
        let now: Vec<&str> = now.get_subcommands().map(clap::Command::get_name).collect();
        let word = words.first().map(|w: &OsString| w.to_string_lossy()).unwrap_or_default();
        return Err(later::refuse(&word, &now));
    }
    let settings = Settings::load(&cli.flags)?;
    let screen = Screen::default();
    // A run is watched; of other commands only what goes wrong is of interest.
    let level = if matches!(cli.command, Command::Run(_)) { "info" } else { "warn" };
    logging::start(settings.log_format, settings.color, level, &screen)?;
    let registry = Registry::new(filters)
        .with_generator(millstream_host::check_generator)
        .with_schedule(millstream_host::check_schedule)
        .with_progress(millstream_host::jobs::check_progress)
        .with_callback(|node| millstream_filters_io::callbacks(node).map(|(call, judge)| (call, Judge::new(judge))));
    let schemas = Arc::new(millstream_filters_io::SchemaRegistries::default());
    let registry = {
        let schemas = Arc::clone(&schemas);
        registry.with_schemas(move |address| schemas.at(address), settings.registry.clone())
    };
    let cx = Context { settings, registry, schemas, screen };
    match cli.command {
        Command::Run(args) => commands::run::run(args, &cx),
        Command::Check(args) => commands::check::run(args, cli.flags.brokers.is_some(), &cx),
        Command::Plan(args) => commands::plan::run(args, &cx),
        Command::Apply(args) => commands::apply::run(args, &cx),
        Command::Graph(args) => commands::graph::run(args, &cx),
        Command::Produce(args) => commands::produce::run(args, &cx),
        Command::Consume(args) => commands::consume::run(args, &cx),
        Command::Dlq(args) => commands::dlq::run(args, &cx),
        Command::Jobs(args) => commands::jobs::run(args, &cx),
        Command::Replay(args) => commands::replay::run(args, &cx),
        Command::Explain(args) => commands::explain::run(args, &cx),
        Command::Status(args) => commands::status::status(args, &cx),
        Command::Top(args) => commands::status::top(args, &cx),
        Command::Tap(args) => commands::tap::run(args, &cx),
        Command::Pause(args) => commands::pause::pause(args, &cx),
        Command::Resume(args) => commands::pause::resume(args, &cx),
        Command::Scale(args) => commands::scale::run(args, &cx),
        Command::Filters(args) => commands::filters::run(args, &cx),
        Command::Trigger(args) => commands::trigger::run(args, &cx),
        Command::Schedule(args) => commands::schedule::run(args, &cx),
        Command::Schema(args) => commands::schema::run(args, &cx),
        Command::Completions(args) => commands::completions::run(args),
        Command::Other(_) => Ok(()),
    }
}

/// One line of what, one of what to do.
fn say(failure: &Failure, color: Color) {
    let Some(message) = failure.message() else { return };
    let paint = Paint::new(color.on_stderr());
    let mut text = String::new();
    for line in message.what.lines() {
        text.push_str(&format!("{}: {line}\n", paint.red("error")));
    }
    if let Some(help) = &message.help {
        text.push_str(&format!("  {}: {help}\n", paint.cyan("help")));
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
