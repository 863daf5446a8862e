//! How fast, and at what price: systems in turn over the same records, several rounds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::Write as _;

use crate::copy::Delivery;
use crate::input::{self, DROPPED_IN, Input};
use crate::measure::{Figures, measure};
use crate::pipeline::Pipeline;
use crate::process::target;
use crate::run::{Bench, PREFIX};
use crate::systems::{System, Work, all};
use crate::table::{self, Row};
use crate::{Options, chart, machine, page};

/// The part.
pub(crate) struct Throughput {
    systems: Vec<System>,
}

impl Throughput {
    /// Systems that the words of `--only` name.
    pub(crate) fn wanted(options: &Options) -> Result<Self, String> {
        let systems: Vec<System> = all().into_iter().filter(|s| options.wants(&s.title())).collect();
        options.whole("the table", systems.len(), all().len())?;
        Ok(Self { systems })
    }

    pub(crate) fn systems(&self) -> &[System] {
        &self.systems
    }

    /// Measures, prints, writes.
    pub(crate) fn run(self, bench: &Bench, options: &Options) -> Result<(), String> {
        let memory = match options.memory {
            0 => Vec::new(),
            // Without dedup the records in hand are all there is; with it every id of the window is kept.
            records => [Pipeline::Map, Pipeline::MapDedup]
                .map(|p| memory(bench, records, p))
                .into_iter()
                .collect::<Result<_, _>>()?,
        };
        if self.systems.is_empty() {
            return print(&memory.concat());
        }
        let mut topics = HashMap::new();
        for input in self.systems.iter().map(|s| s.input) {
            if let Entry::Vacant(place) = topics.entry(input) {
                place.insert(input::load(&bench.cluster, input, options.records)?);
            }
        }
        let mut rows: Vec<Row> = self.systems.into_iter().map(|system| Row { system, rounds: Vec::new() }).collect();
        // The first run would pay for a broker that has just started.
        if let Some(row) = rows.first() {
            let topic = topics.get(&row.system.input).map(String::as_str).unwrap_or_default();
            one(bench, &row.system, topic, options.records)?;
        }
        for round in 0..options.rounds {
            for row in &mut rows {
                let topic = topics.get(&row.system.input).map(String::as_str).unwrap_or_default();
                let figures = one(bench, &row.system, topic, options.records)?;
                eprintln!("round {}: {}", round + 1, table::progress(&row.system, &figures));
                row.rounds.push(figures);
            }
        }
        let text = format!(
            "{} records over {} partitions, 1 replica; medians of {} (least..most)\n{}\n\n{}{}",
            options.records,
            crate::cluster::PARTITIONS,
            options.rounds,
            machine::line(),
            table::text(&rows),
            memory.concat()
        );
        let tsv = table::tsv(&rows);
        write(&target().join("bench.tsv"), &tsv)?;
        print(&format!("{text}\nsingle figures: {}\n", target().join("bench.tsv").display()))?;
        if !options.write {
            return Ok(());
        }
        write(&page::docs("performance.tsv"), &tsv)?;
        write(&page::docs("performance.svg"), &chart::bars(&rows))?;
        page::write(page::THROUGHPUT, &bench.command, &text, &meaning())
    }
}

/// Which part of the outputs must be there when only a part of the records was worked off: not every partition is as far, and
/// records that are dropped are not spread evenly.
const ABOUT: f64 = 0.95;

/// Runs a system over a topic of so many records.
fn one(bench: &Bench, system: &System, topic: &str, records: u64) -> Result<Figures, String> {
    // Positions of an earlier run would leave nothing to do.
    let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
    let mut running = bench.programs.start(&bench.cluster, system, &name, topic)?;
    let progress = (&running.first, &running.last);
    let part = system.records(records);
    let figures = measure(&mut running.child, bench.broker, progress, part, system.window());
    let outputs = std::mem::take(&mut running.outputs);
    drop(running);
    let figures = figures.map_err(|e| format!("{}: {e}\n{}", system.title(), bench.programs.last_words()))?;
    let mut there = 0;
    for output in &outputs {
        there += bench.cluster.ends(output)?;
    }
    let wanted = if part == records { system.outputs(records) } else { (system.outputs(part) as f64 * ABOUT) as u64 };
    if there < wanted {
        return Err(format!("{}: {there} outputs, {wanted} expected", system.title()));
    }
    bench.cluster.delete_all(&name)?;
    Ok(figures)
}

/// Peak memory of the JSON pipeline on a long topic, as a line.
fn memory(bench: &Bench, records: u64, pipeline: Pipeline) -> Result<String, String> {
    let topic = input::load(&bench.cluster, Input::Small, records)?;
    let name = if pipeline == Pipeline::Map { "JSON where + map" } else { "JSON where + map, dedup" };
    let (input, delivery) = (Input::Small, Delivery::ExactlyOnce);
    let system = System { name, input, delivery, work: Work::Millstream(pipeline) };
    let figures = one(bench, &system, &topic, records)?;
    Ok(format!(
        "\n{} over {records} records: peak memory {:.0} MiB, {:.0} records/s\n",
        system.title(),
        figures.peak_mib,
        figures.per_second
    ))
}

fn write(path: &std::path::Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("cannot print: {e}"))
}

fn meaning() -> String {
    format!(
        "![CPU time of client and broker for a million records](performance.svg)\n\n\
         Single figures are in [performance.tsv](performance.tsv). Each system is a process of its own that reads the same topic of one Apache Kafka, in turn, \
         in every round; \"broker\" is the CPU time of Kafka's process meanwhile. CPU is user and system time in seconds per million \
         records. It is the fairer figure: client and broker share the machine, so a rate is also what the broker leaves over. \
         \"Of C\" is the share of the C loop on the same input with the same delivery: for rates more is better, for CPU time less. \
         Figures are of the records from the first tenth to the last; with Kafka Streams of the second half, when its code is compiled (of \
         fewer than a million records it would not be, and its figures would be too high by far); with five \
         stages of a third of the records, from the first to the last; with jobs of a third.\n\n\
         The C loop (`bench/src/copy.rs`) is the least that can be done with librdkafka, which Millstream is built on: batches are read from the \
         consumer's queue and sent on with their headers, on one thread, with nothing in between. At least once it is an idempotent producer, and \
         positions are committed every 100 ms when all before is acknowledged; exactly once a transaction every 100 ms. It does not \
         compress what it writes. Millstream writes lz4 unless told otherwise, so one row shows what lz4 costs the loop.\n\n\
         Millstream runs one process with one replica a stage, committing every 100 ms. Where JSON is filtered, one record in {DROPPED_IN} is dropped; \
         where it is mapped, a field is added to the others. Kafka Streams (`bench/streams`) does the same in one thread, committing every \
         100 ms, exactly once (v2), with a heap of 1 GiB; JSON is Jackson's, and the store of its dedup never forgets, which is less work \
         than a window.\n\n\
         Not measured yet: Flink, dedup over 10 million ids with its restore, NEXMark queries, Avro, calls with delays, catch-up and recovery \
         after `kill -9`."
    )
}
