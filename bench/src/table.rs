//! What was measured, as a table for people and as TSV for programs.

use std::fmt::Write as _;

use crate::measure::Figures;
use crate::stats::{Spread, spread};
use crate::systems::{System, YARDSTICK, delivery_word};

/// One system and what its rounds gave.
pub(crate) struct Row {
    pub(crate) system: System,
    pub(crate) rounds: Vec<Figures>,
}

impl Row {
    /// Of one of its figures; `None` where there is none.
    pub(crate) fn spread(&self, part: fn(&Figures) -> Option<f64>) -> Option<Spread> {
        spread(self.rounds.iter().filter_map(part))
    }

    /// The share of the yardstick's median on the same input with the same delivery.
    fn share(&self, all: &[Self], part: fn(&Figures) -> Option<f64>) -> Option<f64> {
        let like = |r: &&Self| {
            r.system.work == YARDSTICK
                && (r.system.input, r.system.delivery) == (self.system.input, self.system.delivery)
        };
        Some(self.spread(part)?.median / all.iter().find(like)?.spread(part)?.median)
    }
}

pub(crate) fn rate(f: &Figures) -> Option<f64> {
    Some(f.per_second)
}

pub(crate) fn cpu(f: &Figures) -> Option<f64> {
    Some(f.cpu_per_million)
}

pub(crate) fn broker(f: &Figures) -> Option<f64> {
    f.broker_per_million
}

fn memory(f: &Figures) -> Option<f64> {
    Some(f.peak_mib)
}

/// A line while it goes on.
pub(crate) fn progress(system: &System, f: &Figures) -> String {
    format!(
        "{:<66} {:>9.0} records/s  {:>6.2} CPU s per million, broker {:>6.2}  {:>5.0} MiB",
        system.title(),
        f.per_second,
        f.cpu_per_million,
        f.broker_per_million.unwrap_or_default(),
        f.peak_mib
    )
}

/// Medians, their spread, and shares of the yardstick.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut lines = vec![
        ["system", "input", "delivery", "records/s", "", "of C", "CPU s/M", "", "of C", "broker", "MiB"]
            .map(str::to_owned),
    ];
    for row in rows.iter().filter(|r| !r.rounds.is_empty()) {
        let (rate_of, cpu_of) = (row.spread(rate).unwrap_or_default(), row.spread(cpu).unwrap_or_default());
        lines.push([
            row.system.name.to_owned(),
            row.system.input.title().to_owned(),
            delivery_word(row.system.delivery).to_owned(),
            format!("{:.0}", rate_of.median),
            format!("{:.0}k..{:.0}k", rate_of.min / 1e3, rate_of.max / 1e3),
            two(row.share(rows, rate)),
            format!("{:.2}", cpu_of.median),
            format!("{:.2}..{:.2}", cpu_of.min, cpu_of.max),
            two(row.share(rows, cpu)),
            two(row.spread(broker).map(|s| s.median)),
            row.spread(memory).map_or("-".into(), |s| format!("{:.0}", s.median)),
        ]);
    }
    aligned(&lines, 3)
}

fn two(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.2}"))
}

/// Columns two spaces apart; the first `left` of them flush left, the others right.
pub(crate) fn aligned<const N: usize>(lines: &[[String; N]], left: usize) -> String {
    let width = |n: usize| lines.iter().map(|l| l[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(n, (cell, width))| if n < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Every single round.
pub(crate) fn tsv(rows: &[Row]) -> String {
    let mut text = String::from(
        "system\tinput\tdelivery\tround\trecords_per_second\tcpu_seconds_per_million\tbroker_cpu_seconds_per_million\tpeak_mib\n",
    );
    for row in rows {
        for (n, f) in row.rounds.iter().enumerate() {
            // Writing into a `String` cannot fail.
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{}\t{:.0}\t{:.3}\t{}\t{:.1}",
                row.system.name,
                row.system.input.title(),
                delivery_word(row.system.delivery),
                n + 1,
                f.per_second,
                f.cpu_per_million,
                f.broker_per_million.map_or(String::new(), |b| format!("{b:.3}")),
                f.peak_mib
            );
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::copy::Delivery;
    use crate::input::Input;
    use crate::pipeline::Pipeline;
    use crate::systems::Work;

    /// The yardstick on two inputs, and a pipeline on the second.
    pub(crate) fn rows() -> Vec<Row> {
        let row = |name, input, work, cpu: [f64; 3]| {
            let rounds = cpu.map(|cpu_per_million| Figures {
                per_second: 1e6 / cpu_per_million,
                cpu_per_million,
                broker_per_million: Some(2.0),
                peak_mib: 64.0,
            });
            Row { system: System { name, input, delivery: Delivery::ExactlyOnce, work }, rounds: rounds.into() }
        };
        vec![
            row("loop", Input::Small, YARDSTICK, [1.0, 1.0, 1.0]),
            row("loop", Input::Large, YARDSTICK, [2.5, 1.5, 2.0]),
            row("ours & theirs", Input::Large, Work::Millstream(Pipeline::Pass), [4.0, 3.0, 5.0]),
        ]
    }

    #[test]
    fn shares_are_of_the_yardstick_on_the_same_input() {
        let text = text(&rows());
        let lines: Vec<Vec<&str>> =
            text.lines().map(|l| l.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect()).collect();
        let own = &lines[3];
        assert_eq!(own[..3], ["ours & theirs", "1 KiB", "exactly once"]);
        assert_eq!(own[3..], ["250000", "200k..333k", "0.50", "4.00", "3.00..5.00", "2.00", "2.00", "64"]);
        assert_eq!(lines[1][8], "1.00");
    }

    #[test]
    fn every_round_is_a_line() {
        let tsv = tsv(&rows());
        assert_eq!(tsv.lines().count(), 10);
        assert!(tsv.contains("ours & theirs\t1 KiB\texactly once\t3\t200000\t5.000\t2.000\t64.0\n"), "{tsv}");
    }
}
