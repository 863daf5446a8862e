//! The command line as clap reads it: names, flags and help. What the words mean is settled by each command.

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    apply, check, completions, consume, dlq, explain, filters, graph, jobs, pause, plan, produce, replay, run, scale,
    schedule, schema, status, tap, trigger,
};
use crate::later;
use crate::settings::Flags;

/// Background jobs and stream pipelines, written in YAML, on Apache Kafka or on a log in a folder
#[derive(Parser, Debug)]
#[command(
    name = "millstream",
    bin_name = "millstream",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = later::after_help(),
    max_term_width = 100
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run pipelines
    Run(run::RunArgs),
    /// Check pipelines without running them
    Check(check::CheckArgs),
    /// Show what a changed pipeline would change on the log
    Plan(plan::PlanArgs),
    /// Do what `plan` shows
    Apply(apply::ApplyArgs),
    /// Draw a pipeline
    Graph(graph::GraphArgs),
    /// Write lines, JSON lines or CSV rows to a topic
    Produce(produce::ProduceArgs),
    /// Print the records of a topic as JSON lines
    Consume(consume::ConsumeArgs),
    /// Look at dead letters, mend them, send them again
    Dlq(dlq::DlqArgs),
    /// Ask what became of jobs
    Jobs(jobs::JobsArgs),
    /// Show how pipelines stand, over all processes
    Status(status::StatusArgs),
    /// The same, live
    Top(status::TopArgs),
    /// Follow what goes in or out of a stage
    Tap(tap::TapArgs),
    /// Let stages read nothing until `resume`
    Pause(pause::PauseArgs),
    /// Let paused stages go on
    Resume(pause::ResumeArgs),
    /// Set the replicas of a stage, per process
    Scale(scale::ScaleArgs),
    /// List filters, or print the page of one
    Filters(filters::FiltersArgs),
    /// Process records of a time or a place again
    Replay(replay::ReplayArgs),
    /// Start a job by hand, now or later
    Trigger(trigger::TriggerArgs),
    /// Show when a pipeline's schedules tick next
    Schedule(schedule::ScheduleArgs),
    /// Say what the code of an error or a dead letter means
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema(schema::SchemaArgs),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
    /// Any other word: a command of a later version, or a slip.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_name_of_the_contract_is_there_now_or_later() {
        let command = Cli::command();
        let now: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let contract = "run check test graph plan apply produce consume tap top status dlq replay scale pause resume \
                        schedule trigger filters explain schema completions doctor";
        for name in contract.split_whitespace() {
            assert!(now.contains(&name) != later::COMMANDS.contains(&name), "{name}");
        }
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["millstream --data-dir x schema", "millstream schema --data-dir x"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.flags.data_dir.as_deref(), Some(std::path::Path::new("x")));
        }
        let both = Cli::try_parse_from("millstream schema --data-dir x --brokers a:1".split(' '));
        assert!(both.is_err_and(|e| e.to_string().contains("cannot be used with")));
    }

    #[test]
    fn words_that_look_like_flags_are_values_where_they_must() {
        let cli = Cli::try_parse_from("millstream consume t --from -2h --partition 0,2".split(' ')).unwrap();
        assert!(matches!(cli.command, Command::Consume(_)));
        assert!(Cli::try_parse_from("millstream consume t --partition -1".split(' ')).is_err());
    }
}
