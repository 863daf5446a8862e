//! `millstream tap PIPELINE.STAGE`: what goes in or out of a stage, live, as JSON lines.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use millstream_filter_api::Issue;
use millstream_host::RecordFilter;
use millstream_log::{Batch, Budget, Isolation, Log, Reader, TopicPartition};
use millstream_spec::model::{Pipeline, Stage};

use crate::consume::from::{Begin, From};
use crate::consume::line::LineWriter;
use crate::consume::wait::Wait;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::target::Target;
use crate::{topic, units};

/// Long, because new records and signals end a poll early.
const POLL: Duration = Duration::from_secs(1);
const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };

/// Follow what goes in or out of a stage, as JSON lines
///
/// It reads the topics beside the pipeline and changes nothing. Ctrl-C ends it.
#[derive(Args, Debug)]
pub struct TapArgs {
    /// The stage
    #[arg(value_name = "PIPELINE.STAGE")]
    target: String,
    /// What it writes, all outputs; the default
    #[arg(long)]
    out: bool,
    /// What it reads
    #[arg(long = "in", conflicts_with = "out")]
    input: bool,
    /// Its dead letters
    #[arg(long, conflicts_with_all = ["out", "input"])]
    dlq: bool,
    /// Show only records this is true for, such as `.quantity < 0` or `%key == "17"`
    #[arg(long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// Where to begin: start, end, a time (2026-01-31T08:00:00Z), or -2h
    #[arg(long, value_name = "WHERE", default_value = "end", allow_hyphen_values = true)]
    from: String,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How records are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "json")]
    output: Lines,
}

/// The one form there is; `-o json` is taken as everywhere else.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lines {
    /// One JSON object a line
    Json,
}

/// A topic that is watched.
struct Tapped {
    topic: String,
    lines: LineWriter,
    filter: Option<RecordFilter>,
}

/// Runs the command.
pub fn run(args: TapArgs, cx: &Context) -> Outcome {
    let Lines::Json = args.output;
    let begin = match From::parse(&args.from, units::now()).map_err(Failure::wrong)? {
        From::Offset { .. } => {
            return Err(Failure::wrong(
                "`--from` of a tap is start, end, a time, or -2h: its topics differ in offsets",
            ));
        }
        from => Begin::of(&[from]).map_err(Failure::wrong)?,
    };
    let target = Target::load(&args.target, &cx.registry, cx.paint_errors())?;
    let mut tapped = tapped(&target.pipeline, target.stage("tap")?, &args)?;
    let log = cx.open_log_to_read()?;
    let wait = Wait::start(Patience::start(&*log, args.limit.map(|_| LIMIT)))?;
    let mut assigned = Vec::new();
    for one in &tapped {
        wait.patiently(|| log.describe(&[&one.topic]))?;
        assigned.extend(places(&*log, &one.topic)?);
    }
    let starts = wait.patiently(|| begin.offsets(&*log, &assigned))?;
    let mut reader = wait.patiently(|| log.reader(Isolation::Committed))?;
    let from: Vec<(TopicPartition, i64)> = assigned.into_iter().zip(starts).collect();
    wait.patiently(|| reader.assign(&from))?;
    wait.wake_on_signal(&*reader);
    follow(&mut *reader, &mut tapped, args.limit, &wait)
}

fn follow(reader: &mut dyn Reader, tapped: &mut [Tapped], limit: Option<u64>, wait: &Wait) -> Outcome {
    let mut stdout = io::stdout().lock();
    let mut out = Vec::new();
    let mut left = limit;
    let mut failed = 0_u64;
    while left != Some(0) && !wait.stopped() {
        let batches = wait.patiently(|| reader.poll(BUDGET, POLL))?;
        wait.writing(true);
        for batch in &batches {
            let Some(one) = tapped.iter_mut().find(|t| *t.topic == *batch.partition.topic) else { continue };
            failed += one.write(batch, &mut left, &mut out);
        }
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Failure::output)?;
        out.clear();
        wait.writing(false);
    }
    if failed > 1 {
        tracing::warn!("{failed} records were left out: the condition could not be tested on them");
    }
    Ok(())
}

impl Tapped {
    fn new(topic: &str, filter: Option<RecordFilter>) -> Self {
        Self { topic: topic.to_owned(), lines: LineWriter::new(topic), filter }
    }

    /// Appends the lines of a batch. How many records the condition could not be tested on.
    fn write(&mut self, batch: &Batch, left: &mut Option<u64>, out: &mut Vec<u8>) -> u64 {
        let partition = batch.partition.partition;
        let mut failed = 0;
        for record in &batch.records {
            match self.filter.as_mut().map_or(Ok(true), |f| f.passes(partition, record)) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    if failed == 0 {
                        let place = format!("{} offset {}", batch.partition, record.offset);
                        tracing::warn!(%place, "left out: the condition cannot be tested: {why}");
                    }
                    failed += 1;
                    continue;
                }
            }
            match left {
                Some(0) => break,
                Some(left) => *left -= 1,
                None => {}
            }
            self.lines.write(partition, record, out);
        }
        failed
    }
}

/// The topics, each with the condition as it compiles for what is in it.
fn tapped(pipeline: &Pipeline, stage: &Stage, args: &TapArgs) -> Result<Vec<Tapped>, Failure> {
    let condition = args.condition.as_deref();
    let with = |topic: &str, compile: &dyn Fn(&str) -> Result<RecordFilter, Vec<Issue>>| {
        let filter = condition.map(compile).transpose().map_err(|issues| not_right(topic, &issues))?;
        Ok(Tapped::new(topic, filter))
    };
    if args.dlq {
        return Ok(vec![with(&stage.dlq, &|c| RecordFilter::on_letters(pipeline, stage, c))?]);
    }
    if args.input {
        return stage.inputs.iter().map(|i| with(&i.topic, &|c| RecordFilter::on_input(pipeline, i, c))).collect();
    }
    stage.outputs.iter().map(|o| with(&o.topic, &|c| RecordFilter::on_output(o, c))).collect()
}

fn not_right(topic: &str, issues: &[Issue]) -> Failure {
    let what: Vec<String> =
        issues.iter().map(|i| format!("`--where` on `{topic}`: {} [{}]", i.message, i.code)).collect();
    let failure = Failure::wrong(what.join("\n"));
    match issues.iter().find_map(|i| i.help.clone()) {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn places(log: &dyn Log, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
    let info = topic::existing(log, topic)?;
    Ok((0..info.partitions).map(|p| TopicPartition::new(topic, p)).collect())
}
