//! The table, the single figures, the page.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use crate::copy::Delivery;
use crate::measure::Figures;
use crate::run::{target, workspace};
use crate::systems::{System, Work, delivery_word};
use crate::{Options, input, machine};

/// One system and what its rounds gave.
pub(crate) struct Row {
    pub(crate) system: System,
    pub(crate) rounds: Vec<Figures>,
}

/// The run over the long topic.
pub(crate) struct Memory {
    pub(crate) records: u64,
    pub(crate) title: String,
    pub(crate) figures: Figures,
}

/// A line while it goes on.
pub(crate) fn progress(round: usize, system: &System, figures: &Figures) -> String {
    format!(
        "round {}: {:<52} {:>9.0} records/s  {:>6.2} CPU s per million  {:>5.0} MiB",
        round + 1,
        system.title(),
        figures.per_second,
        figures.cpu_per_million,
        figures.peak_mib
    )
}

/// Prints the table, writes the TSV, and the page when asked.
pub(crate) fn print(rows: &[Row], memory: &[Memory], options: &Options) -> Result<(), String> {
    let text = table(rows, memory, options);
    let tsv = target().join("bench.tsv");
    fs::write(&tsv, single_figures(rows)).map_err(|e| format!("cannot write {}: {e}", tsv.display()))?;
    let mut out = std::io::stdout();
    writeln!(out, "{text}\nsingle figures: {}", tsv.display()).map_err(|e| e.to_string())?;
    if options.write {
        let page = workspace().join("docs/performance.md");
        let known = fs::read_to_string(&page).unwrap_or_default();
        let text = format!("{}{}", markdown(&text, options), parts(&known).1);
        fs::write(&page, text).map_err(|e| format!("cannot write {}: {e}", page.display()))?;
    }
    Ok(())
}

/// The section about a key that fails has a measurement of its own.
const FAILING: &str = "\n## While one key fails\n";

/// The page before that section, and the section.
fn parts(page: &str) -> (&str, &str) {
    page.split_at(page.find(FAILING).unwrap_or(page.len()))
}

/// Writes the section about a key that fails; the rest of the page stays.
pub(crate) fn write_failing(text: &str, command: &str) -> Result<(), String> {
    let page = workspace().join("docs/performance.md");
    let whole = fs::read_to_string(&page).map_err(|e| format!("cannot read {}: {e}", page.display()))?;
    let measured = format!(
        "Written by `cargo run --release -p millstream-bench -- {command}` at commit `{}`. Do not edit.\n\n```text\n{text}```\n",
        machine::commit()
    );
    let text = format!("{}{FAILING}\n{measured}\n{HOW}", parts(&whole).0);
    fs::write(&page, text).map_err(|e| format!("cannot write {}: {e}", page.display()))
}

/// How the section's figures come about.
const HOW: &str = "\
A stage with the filter `http` calls a server beside it with each record, at a steady rate; after a warm-up the server refuses one
key with 503 for as long as is measured, or none. A record's time is from sending it to reading its output as committed; the
failing key is not in the figures. Afterwards every record must have come, in the order of its key, or there are no figures.
";

fn table(rows: &[Row], memory: &[Memory], options: &Options) -> String {
    let mut text = format!(
        "{} records of {} bytes, one header, 4 partitions, 1 replica; medians of {}\n{}\n\n",
        options.records,
        input::PAYLOAD,
        options.rounds,
        machine::line()
    );
    let heads = ("system", "delivery", "records/s", "of bare", "CPU s/M", "of bare", "peak MiB");
    let _ = writeln!(
        text,
        "{:<36} {:<14} {:>10} {:>8} {:>8} {:>8} {:>9}",
        heads.0, heads.1, heads.2, heads.3, heads.4, heads.5, heads.6
    );
    for row in rows.iter().filter(|r| !r.rounds.is_empty()) {
        let own = medians(&row.rounds);
        let bare = bare(rows, row.system.delivery);
        let share =
            |part: fn(&Figures) -> f64| bare.as_ref().map_or("-".into(), |b| format!("{:.2}", part(&own) / part(b)));
        let _ = writeln!(
            text,
            "{:<36} {:<14} {:>10.0} {:>8} {:>8.2} {:>8} {:>9.0}",
            row.system.name,
            delivery_word(row.system.delivery),
            own.per_second,
            share(|f| f.per_second),
            own.cpu_per_million,
            share(|f| f.cpu_per_million),
            own.peak_mib
        );
    }
    for (n, memory) in memory.iter().enumerate() {
        let _ = writeln!(
            text,
            "{}{} over {} records: peak memory {:.0} MiB, {:.0} records/s",
            if n == 0 { "\n" } else { "" },
            memory.title,
            memory.records,
            memory.figures.peak_mib,
            memory.figures.per_second
        );
    }
    text
}

fn bare(rows: &[Row], delivery: Delivery) -> Option<Figures> {
    let of = |r: &&Row| r.system.work == Work::BareCopy && r.system.delivery == delivery && !r.rounds.is_empty();
    rows.iter().find(of).map(|r| medians(&r.rounds))
}

fn medians(rounds: &[Figures]) -> Figures {
    let of = |part: fn(&Figures) -> f64| median(rounds.iter().map(part).collect());
    Figures {
        per_second: of(|f| f.per_second),
        cpu_per_million: of(|f| f.cpu_per_million),
        peak_mib: of(|f| f.peak_mib),
    }
}

/// The middle one; the mean of the two in the middle of an even number; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn single_figures(rows: &[Row]) -> String {
    let mut text = String::from("system\tdelivery\tround\trecords_per_second\tcpu_seconds_per_million\tpeak_mib\n");
    for row in rows {
        for (n, f) in row.rounds.iter().enumerate() {
            let (name, delivery) = (row.system.name, delivery_word(row.system.delivery));
            let _ = writeln!(
                text,
                "{name}\t{delivery}\t{}\t{:.0}\t{:.3}\t{:.1}",
                n + 1,
                f.per_second,
                f.cpu_per_million,
                f.peak_mib
            );
        }
    }
    text
}

fn markdown(table: &str, options: &Options) -> String {
    format!(
        "# Performance\n\n\
         Written by `cargo run --release -p millstream-bench -- --records {} --rounds {} --memory {} --write` at commit `{}`. Do not edit.\n\n\
         ```text\n{table}```\n\n\
         Each system is a process of its own that reads the same topic of one Apache Kafka, in turn, in every round. Records a second and CPU time \
         count from the first committed positions to the last, so starting up is not in them. CPU time is that of the client process, user and \
         system. \"Of bare\" is the share of the bare loop with the same delivery: for rates more is better, for CPU time less.\n\n\
         The bare loop (`bench/src/copy.rs`) is the least that can be done with librdkafka's C API: it reads batches, sends and commits, on one thread, with \
         nothing in between: an idempotent producer and positions committed every 100 ms when all is acknowledged; or a transaction every 100 ms. Millstream runs one stage with one replica, committing \
         every 100 ms. Where JSON is filtered and mapped, one record in {} is dropped and a field is added to the others.\n",
        options.records,
        options.rounds,
        options.memory,
        machine::commit(),
        input::DROPPED_IN
    )
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), 3.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
