//! How fast Millstream is, in one command and one run: a copy loop on librdkafka's C API as the yardstick, then Millstream doing
//! more and more, and Kafka Streams beside it, on one real Kafka, in turn, several rounds. It prints tables, writes single figures
//! as TSV, and the sections of `docs/performance.md`.
//!
//! `cargo run --release -p millstream-bench` builds the release binary, starts a Kafka and needs nothing else.
//!
//! It must never know: a crate of the runtime. Millstream is measured as users run it, as a process. Start reading at
//! `run.rs`, then `throughput.rs`, `systems.rs` (what is compared) and `measure.rs` (how). `failing.rs` and `levels.rs` are commands
//! of their own: what other keys feel while one key fails, and what matters under overload.

mod chart;
mod cluster;
mod copy;
mod embedded;
mod failing;
mod input;
mod latency;
mod levels;
mod librdkafka;
mod machine;
mod measure;
mod page;
mod pipeline;
mod process;
mod replay;
mod run;
mod server;
mod starting;
mod stats;
mod streams;
mod systems;
mod table;
mod throughput;

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
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Measurements of each system; the table has their medians and spread.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure only what has one of these words in its title, separated by commas; `none` measures nothing.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Records a second where latency is measured; a tenth of it through five stages.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    rate: u64,
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
    /// Also write the sections of docs/performance.md. With `--only`, those of which all is measured.
    #[arg(long)]
    write: bool,
}

impl Options {
    /// Whether `--only` leaves this in.
    pub(crate) fn wants(&self, title: &str) -> bool {
        let title = title.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|word| title.contains(&word.to_lowercase()))
    }

    /// Refuses to write a section of which a part was left out.
    pub(crate) fn whole(&self, section: &str, wanted: usize, all: usize) -> Result<(), String> {
        if self.write && wanted > 0 && wanted < all {
            return Err(format!("--only leaves out rows of {section}: --write takes all of them or none"));
        }
        Ok(())
    }

    /// The arguments to measure the same again.
    fn command(&self) -> String {
        let Self { records, rounds, rate, memory, .. } = self;
        let mut command = format!("--records {records} --rounds {rounds}");
        if *rate != 10_000 {
            command += &format!(" --rate {rate}");
        }
        if *memory > 0 {
            command += &format!(" --memory {memory}");
        }
        if !self.only.is_empty() {
            command += &format!(" --only \"{}\"", self.only.join(","));
        }
        command + " --write"
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Cli::parse_from(["bench"].iter().chain(arguments)).options
    }

    #[test]
    fn only_finds_words_in_titles() {
        let some = options(&["--only", "copy,1 kib"]);
        assert!(
            some.wants("C copy loop, 200 B") && some.wants("Millstream, 1 KiB") && !some.wants("Millstream, 200 B")
        );
        assert!(options(&[]).wants("anything"));
    }

    #[test]
    fn half_a_section_is_not_written() {
        let some = options(&["--only", "copy", "--write"]);
        assert!(some.whole("x", 1, 2).is_err() && some.whole("x", 0, 2).is_ok() && some.whole("x", 2, 2).is_ok());
        assert!(options(&["--only", "copy"]).whole("x", 1, 2).is_ok());
        assert_eq!(some.command(), "--records 1000000 --rounds 3 --only \"copy\" --write");
    }
}
