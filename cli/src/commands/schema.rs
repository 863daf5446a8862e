//! `millstream schema`: the JSON Schema of pipeline files, and what `fields` could say of payloads that are there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use millstream_log::{Budget, End, Isolation, TopicPartition, settled};
use serde_json::{Value, json};

use super::consume::Progress;
use super::{print, print_json};
use crate::args::Output;
use crate::consume::wait::Wait;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::infer::{Samples, yaml};
use crate::patience::{LIMIT, Patience};
use crate::topic;

const POLL: Duration = Duration::from_secs(1);
const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };

/// Print the JSON Schema of pipeline files, for editors; or guess the fields of payloads
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SchemaArgs {
    #[command(subcommand)]
    command: Option<SchemaCommand>,
}

#[derive(Subcommand, Debug)]
enum SchemaCommand {
    /// Guess `fields` from the payloads of a topic or the lines of a file
    ///
    /// It reads the newest records of the topic, or the first lines of the file: JSON objects, or rows where its name ends
    /// with .csv. What it prints goes below `source`.
    Infer(InferArgs),
}

#[derive(Args, Debug)]
struct InferArgs {
    /// A file that is there, else a topic
    #[arg(value_name = "TOPIC|FILE")]
    from: String,
    /// How many records or lines to look at
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    samples: u32,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// Runs the command.
pub fn run(args: SchemaArgs, cx: &Context) -> Outcome {
    if let Some(SchemaCommand::Infer(args)) = args.command {
        return infer(&args, cx);
    }
    let schema = millstream_spec::schema(&cx.registry);
    let text = serde_json::to_string_pretty(&schema).map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// What was looked at.
#[derive(Default)]
struct Looked {
    samples: Samples,
    /// Tombstones, which have no payload.
    empty: u64,
    /// Payloads that are no JSON objects, and rows that are not UTF-8.
    others: u64,
}

impl Looked {
    fn payload(&mut self, bytes: &[u8]) {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => self.samples.add(&object),
            _ => self.others += 1,
        }
    }
}

fn infer(args: &InferArgs, cx: &Context) -> Outcome {
    let (path, from) = (Path::new(&args.from), &args.from);
    let looked = if path.is_file() {
        of_file(path, args.samples).map_err(|e| Failure::failed(format!("cannot read {}: {e}", path.display())))?
    } else {
        of_topic(from, args.samples, cx)?
    };
    let Looked { samples, empty, others } = looked;
    if samples.count() == 0 {
        let seen = if others > 0 { "none that is a JSON object" } else { "no payload" };
        let none = Failure::failed(format!("there is {seen} in `{from}`"));
        return Err(none.help("`fields` are those of objects; what is Avro has them in its schema"));
    }
    if others > 0 {
        tracing::warn!(
            "{others} payloads of `{from}` are no JSON objects, or rows that are not UTF-8, and were left out"
        );
    }
    let fields = samples.fields();
    match args.output {
        Output::Json => {
            print_json(&json!({ "samples": samples.count(), "empty": empty, "others": others, "fields": fields }))
        }
        Output::Text => {
            let records =
                if samples.count() == 1 { "1 sample".to_owned() } else { format!("{} samples", samples.count()) };
            print(&format!("# guessed from {records} of {from}\n{}", yaml(&fields)))
        }
    }
}

fn of_file(path: &Path, most: u32) -> std::io::Result<Looked> {
    let (file, mut looked) = (BufReader::new(File::open(path)?), Looked::default());
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) {
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let names: Vec<String> = rows.byte_headers()?.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        for row in rows.into_byte_records().take(most as usize) {
            match csv::StringRecord::from_byte_record(row?) {
                Ok(row) => looked.samples.add_row(names.iter().map(String::as_str).zip(row.iter())),
                Err(_) => looked.others += 1,
            }
        }
        return Ok(looked);
    }
    for line in file.split(b'\n').take(most as usize) {
        let line = line?;
        if !line.trim_ascii().is_empty() {
            looked.payload(&line);
        }
    }
    Ok(looked)
}

/// The newest records of each partition.
fn of_topic(name: &str, most: u32, cx: &Context) -> Result<Looked, Failure> {
    topic::named(name)?;
    let log = cx.open_log_to_read()?;
    let wait = Wait::start(Patience::start(&*log, Some(LIMIT)))?;
    wait.patiently(|| log.describe(&[name]))?;
    let topic: Arc<str> = Arc::from(name);
    let partitions: Vec<TopicPartition> =
        (0..topic::existing(&*log, name)?.partitions).map(|p| TopicPartition::new(Arc::clone(&topic), p)).collect();
    let ends = wait.patiently(|| settled(&*log, &partitions))?;
    let lows = wait.patiently(|| log.ends(&partitions, End::Low))?;
    let each = (i64::from(most) / partitions.len().max(1) as i64).max(1);
    let starts: Vec<i64> = lows.iter().zip(&ends).map(|(low, end)| (*low).max(end - each)).collect();
    let mut progress = Progress::new(starts.iter().copied().zip(ends.into_iter().map(Some)), None);
    let assigned: Vec<_> =
        partitions.iter().cloned().zip(starts).filter(|(p, _)| !progress.done(p.partition, &partitions)).collect();
    let mut looked = Looked::default();
    if assigned.is_empty() {
        return Ok(looked);
    }
    let mut reader = wait.patiently(|| log.reader(Isolation::Committed))?;
    wait.patiently(|| reader.assign(&assigned))?;
    wait.wake_on_signal(&*reader);
    while !progress.finished() && !wait.stopped() {
        for batch in wait.patiently(|| reader.poll(BUDGET, POLL))? {
            let Some(at) = partitions.iter().position(|p| p.partition == batch.partition.partition) else { continue };
            let took = progress.take(at, &batch, |record| {
                match &record.value {
                    Some(payload) => looked.payload(payload),
                    None => looked.empty += 1,
                }
                Ok(())
            });
            took.map_err(Failure::output)?;
        }
    }
    Ok(looked)
}
