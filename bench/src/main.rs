//! How fast Millstream is, in one command and one run: a copy loop on librdkafka's C API as the yardstick, then Millstream doing
//! more and more, on one real Kafka, in turn, several rounds. It prints a table and writes the single figures as TSV.
//!
//! `cargo run --release -p millstream-bench` builds the release binary, starts a Kafka and needs nothing else.
//!
//! It must never know: a crate of the runtime. Millstream is measured as users run it, as a process. Start reading at
//! `run.rs`, then `systems.rs` (what is compared) and `measure.rs` (how). `failing.rs` is a measurement of its own: what
//! other keys feel while one key fails.

mod cluster;
mod copy;
mod failing;
mod input;
mod levels;
mod librdkafka;
mod machine;
mod measure;
mod replay;
mod report;
mod run;
mod server;
mod systems;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Measures Millstream against a copy loop on librdkafka's C API, on a real Kafka.
#[derive(Parser)]
#[command(name = "millstream-bench")]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The yardstick itself, run as a process of its own: copies a topic, commits as it goes.
    Copy(copy::Copy),
    /// Measures what other keys feel while one key fails.
    Failing(failing::Failing),
    /// Measures what the most important level feels of an overload by the others.
    Levels(levels::Levels),
}

/// What to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Records a measurement works off.
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// Measurements of each system; the table has their medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure only systems whose name contains one of these words, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Also run the JSON pipeline once over a topic of so many records, for its peak memory.
    #[arg(long, default_value_t = 0)]
    memory: u64,
    /// Also measure a replay in place of the JSON pipeline, right after its live run and by the same process.
    #[arg(long)]
    replay: bool,
    /// A cluster that is running, instead of one started here.
    #[arg(long)]
    brokers: Option<String>,
    /// The `millstream` to measure, instead of building the one of this workspace.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Also write docs/performance.md.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Copy(copy)) => copy.run(),
        Some(Command::Failing(failing)) => failing.run(),
        Some(Command::Levels(levels)) => levels.run(),
        None => run::run(&cli.options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
