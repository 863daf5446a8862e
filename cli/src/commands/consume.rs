//! `millstream consume TOPIC`: records -> JSON lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millstream_log::{Batch, Budget, End, Isolation, Log, Reader, TopicPartition, settled};

use crate::consume::from::{Begin, From};
use crate::consume::line::LineWriter;
use crate::consume::wait::Wait;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::payloads::{PayloadArgs, Payloads};
use crate::{topic, units};

/// Long, because new records and signals end a poll early.
const POLL: Duration = Duration::from_secs(1);
const BUDGET: Budget = Budget { records: 10_000, bytes: 4 << 20 };
/// Lines are written when this many bytes are together, and after each poll.
const WRITE_BYTES: usize = 256 << 10;

/// Print records as JSON lines
#[derive(Args, Debug)]
pub struct ConsumeArgs {
    /// Topic to read
    topic: String,
    /// Where to begin: start, end, a time (2026-01-31T08:00:00Z), -2h, or PARTITION:OFFSET, which repeats and
    /// leaves the other partitions at their start (`--partition` reads one alone) [default: start]
    #[arg(long, value_name = "WHERE", value_delimiter = ',', allow_hyphen_values = true)]
    from: Vec<String>,
    /// Stop at the end that the topic has now
    #[arg(long)]
    until_end: bool,
    /// Show records of transactions that are open or aborted as well
    #[arg(long)]
    uncommitted: bool,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Read this partition only; repeats
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Payloads of a schema are shown as JSON
    #[command(flatten)]
    schema: PayloadArgs,
    /// Do not ask the schema registry that the settings name
    #[arg(long)]
    bare: bool,
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

/// Runs the command.
pub fn run(args: ConsumeArgs, cx: &Context) -> Outcome {
    let Lines::Json = args.output;
    let now = units::now();
    let from = args.from.iter().map(|f| From::parse(f, now)).collect::<Result<Vec<_>, _>>();
    let begin = from.and_then(|from| Begin::of(&from)).map_err(Failure::wrong)?;
    topic::named(&args.topic)?;
    let schema = Payloads::to_read(&args.schema, args.bare, cx)?;
    let log = cx.open_log_to_read()?;
    // What has an end is waited for as long as a person would; who follows a topic waits for as long as it takes.
    let wait = Wait::start(Patience::start(&*log, (args.until_end || args.limit.is_some()).then_some(LIMIT)))?;
    wait.patiently(|| log.describe(&[&args.topic]))?;
    let partitions = partitions(&*log, &args, &begin)?;

    let isolation = if args.uncommitted { Isolation::Uncommitted } else { Isolation::Committed };
    let starts = wait.patiently(|| begin.offsets(&*log, &partitions))?;
    // Fixed now: a topic that is written to all the time has an end all the same.
    let ends = match (args.until_end, args.uncommitted) {
        (false, _) => vec![None; partitions.len()],
        (true, true) => wait.patiently(|| log.ends(&partitions, End::High))?.into_iter().map(Some).collect(),
        // What a command before this one has committed is seen.
        (true, false) => wait.patiently(|| settled(&*log, &partitions))?.into_iter().map(Some).collect(),
    };
    let mut progress = Progress::new(starts.iter().copied().zip(ends), args.limit);
    let assigned: Vec<_> =
        partitions.iter().cloned().zip(starts).filter(|(p, _)| !progress.done(p.partition, &partitions)).collect();
    if assigned.is_empty() || progress.finished() {
        return Ok(());
    }
    let mut reader = wait.patiently(|| log.reader(isolation))?;
    wait.patiently(|| reader.assign(&assigned))?;
    wait.wake_on_signal(&*reader);
    print(&mut *reader, &partitions, &mut progress, &LineWriter::new(&args.topic).of(schema), &wait)
}

/// The partitions to read, in order.
fn partitions(log: &dyn Log, args: &ConsumeArgs, begin: &Begin) -> Result<Vec<TopicPartition>, Failure> {
    let info = topic::existing(log, &args.topic)?;
    if let Some(p) = args.partition.iter().copied().chain(begin.named()).find(|p| *p >= info.partitions) {
        let message = format!(
            "topic `{}` has no partition {p}; it has {} (0 to {})",
            args.topic,
            info.partitions,
            info.partitions - 1
        );
        return Err(Failure::wrong(message));
    }
    if let Some(p) = begin.named().find(|p| !args.partition.is_empty() && !args.partition.contains(p)) {
        return Err(Failure::wrong(format!("`--from` names partition {p}, which `--partition` leaves out")));
    }
    let wanted = |p: &i32| args.partition.is_empty() || args.partition.contains(p);
    let topic: Arc<str> = Arc::from(args.topic.as_str());
    Ok((0..info.partitions).filter(wanted).map(|p| TopicPartition::new(Arc::clone(&topic), p)).collect())
}

fn print(
    reader: &mut dyn Reader,
    partitions: &[TopicPartition],
    progress: &mut Progress,
    lines: &LineWriter,
    wait: &Wait,
) -> Outcome {
    let mut stdout = io::stdout().lock();
    let mut out = Vec::with_capacity(WRITE_BYTES * 2);
    while !progress.finished() && !wait.stopped() {
        let batches = wait.patiently(|| reader.poll(BUDGET, POLL))?;
        wait.writing(true);
        for batch in batches {
            let Some(at) = partitions.iter().position(|p| p.partition == batch.partition.partition) else { continue };
            progress
                .take(at, &batch, |record| {
                    lines.write(batch.partition.partition, record, &mut out);
                    if out.len() < WRITE_BYTES {
                        return Ok(());
                    }
                    let written = stdout.write_all(&out);
                    out.clear();
                    written
                })
                .map_err(Failure::output)?;
        }
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(Failure::output)?;
        out.clear();
        wait.writing(false);
    }
    Ok(())
}

/// How far each partition was read, and what is still wanted.
pub struct Progress {
    /// Next offset, and the end where there is one, in the order of the partitions.
    at: Vec<(i64, Option<i64>)>,
    left: Option<u64>,
}

impl Progress {
    /// From these offsets to these ends; of at most so many records.
    pub fn new(at: impl Iterator<Item = (i64, Option<i64>)>, limit: Option<u64>) -> Self {
        Self { at: at.collect(), left: limit }
    }

    /// Whether this one of the partitions is read to its end.
    pub fn done(&self, partition: i32, partitions: &[TopicPartition]) -> bool {
        let at = partitions.iter().position(|p| p.partition == partition);
        at.is_some_and(|at| reached(&self.at[at]))
    }

    /// Whether nothing more is wanted.
    pub fn finished(&self) -> bool {
        self.left == Some(0) || self.at.iter().all(reached)
    }

    /// Gives each wanted record of a batch of the `at`th partition to `print`.
    pub fn take(
        &mut self,
        at: usize,
        batch: &Batch,
        mut print: impl FnMut(&millstream_log::LogRecord) -> io::Result<()>,
    ) -> io::Result<()> {
        let (next, end) = &mut self.at[at];
        for record in &batch.records {
            // After an interruption a reader may give again what it gave before.
            if record.offset < *next || end.is_some_and(|end| record.offset >= end) {
                continue;
            }
            match &mut self.left {
                Some(0) => return Ok(()),
                Some(left) => *left -= 1,
                None => {}
            }
            print(record)?;
            *next = record.offset + 1;
        }
        *next = batch.next.max(*next);
        Ok(())
    }
}

fn reached((next, end): &(i64, Option<i64>)) -> bool {
    end.is_some_and(|end| *next >= end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millstream_filter_api::Headers;
    use millstream_log::LogRecord;

    fn batch(offsets: std::ops::Range<i64>, next: i64) -> Batch {
        let record =
            |offset| LogRecord { offset, timestamp: 0, key: None, value: Some(Bytes::new()), headers: Headers::new() };
        Batch {
            partition: TopicPartition::new("t", 0),
            epoch: 0,
            records: offsets.map(record).collect(),
            next,
            at_end: false,
        }
    }

    fn taken(progress: &mut Progress, batch: &Batch) -> Vec<i64> {
        let mut offsets = Vec::new();
        let took = progress.take(0, batch, |r| {
            offsets.push(r.offset);
            Ok(())
        });
        assert!(took.is_ok());
        offsets
    }

    #[test]
    fn the_end_is_exact_and_markers_count() {
        let mut progress = Progress::new([(0, Some(5))].into_iter(), None);
        assert_eq!(taken(&mut progress, &batch(0..3, 3)), [0, 1, 2]);
        assert!(!progress.finished());
        // Offset 3 and 4 were a marker: nothing comes, but `next` passes the end.
        assert_eq!(taken(&mut progress, &batch(5..7, 7)), [0; 0]);
        assert!(progress.finished());
    }

    #[test]
    fn a_limit_counts_over_batches_and_repeats_are_left_out() {
        let mut progress = Progress::new([(0, None)].into_iter(), Some(4));
        assert_eq!(taken(&mut progress, &batch(0..3, 3)), [0, 1, 2]);
        assert_eq!(taken(&mut progress, &batch(2..6, 6)), [3]);
        assert!(progress.finished());
        assert!(Progress::new([(0, None)].into_iter(), Some(0)).finished());
    }
}
