//! The embedded log: the same pipelines over a folder instead of a cluster.

use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::copy::Delivery;
use crate::input::{self, Input};
use crate::measure::{cpu_seconds, peak_mib};
use crate::pipeline::Pipeline;
use crate::run::Bench;
use crate::stats::{Spread, spread};
use crate::{Options, machine, page, table};

const NAME: &str = "bench";
const ROWS: [(&str, Pipeline); 3] =
    [("passthrough", Pipeline::Pass), ("passthrough, dedup", Pipeline::PassDedup), ("JSON where + map", Pipeline::Map)];

/// The part.
pub(crate) struct Embedded {
    rows: Vec<(&'static str, Pipeline)>,
}

/// Of one run.
struct Found {
    per_second: f64,
    cpu_per_million: f64,
    peak_mib: f64,
    /// Bytes that the folder grew by, for one of payload.
    on_disk: f64,
}

impl Embedded {
    /// Rows that the words of `--only` name.
    pub(crate) fn wanted(options: &Options) -> Result<Self, String> {
        let title = |name: &str| format!("embedded log, {name}");
        let rows: Vec<_> = ROWS.into_iter().filter(|(name, _)| options.wants(&title(name))).collect();
        options.whole("the embedded log", rows.len(), ROWS.len())?;
        Ok(Self { rows })
    }

    /// Whether there is anything to do.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Measures; the section's text.
    pub(crate) fn run(self, bench: &Bench, options: &Options) -> Result<String, String> {
        let file = bench.programs.folder.path().join("input.jsonl");
        let out = fs::File::create(&file).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        input::lines(options.records, &mut BufWriter::new(out)).map_err(|e| format!("cannot write lines: {e}"))?;
        let heads = ["pipeline, exactly once", "records/s", "least..most", "CPU s/M", "least..most", "MiB", "disk"];
        let mut lines = vec![heads.map(str::to_owned)];
        for (name, pipeline) in &self.rows {
            let mut found = Vec::new();
            for _ in 0..options.rounds {
                found.push(
                    one(bench, *pipeline, &file, options.records).map_err(|e| format!("embedded log, {name}: {e}"))?,
                );
            }
            let of = |part: fn(&Found) -> f64| spread(found.iter().map(part)).unwrap_or_default();
            let (rate, cpu): (Spread, Spread) = (of(|f| f.per_second), of(|f| f.cpu_per_million));
            eprintln!("embedded log, {name}: {:.0} records/s, {:.2} CPU s per million", rate.median, cpu.median);
            lines.push([
                (*name).to_owned(),
                format!("{:.0}", rate.median),
                format!("{:.0}k..{:.0}k", rate.min / 1e3, rate.max / 1e3),
                format!("{:.2}", cpu.median),
                format!("{:.2}..{:.2}", cpu.min, cpu.max),
                format!("{:.0}", of(|f| f.peak_mib).median),
                format!("{:.2}", of(|f| f.on_disk).median),
            ]);
        }
        let (records, rounds, line) = (options.records, options.rounds, machine::line());
        Ok(format!(
            "{records} records of 200 B over 4 partitions, 1 replica, fsync: interval; medians of {rounds}\n{line}\n\n{}",
            table::aligned(&lines, 1)
        ))
    }

    /// Puts the text on the page.
    pub(crate) fn write(text: &str, bench: &Bench) -> Result<(), String> {
        page::write(page::EMBEDDED, &bench.command, text, MEANING)
    }
}

const MEANING: &str = "\
`millstream run --until-idle` over a folder that holds the records, without Kafka. Rate and CPU time are of the whole process, with
starting up and ending, as there is no other process that could be told apart. \"Disk\" is what the folder grew by, for each byte of
payload that was read.";

/// A folder of its own, filled, and worked off.
fn one(bench: &Bench, pipeline: Pipeline, lines: &Path, records: u64) -> Result<Found, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let data = folder.path().join("data");
    let binary = &bench.programs.binary;
    let mut produce = Command::new(binary);
    produce.args([
        "produce",
        "bench-input",
        "--create",
        "--partitions",
        "4",
        "--key",
        ".customer_id",
        "--id",
        ".order_id",
        "--file",
    ]);
    let output = produce.arg(lines).arg("--data-dir").arg(&data).output();
    let output = output.map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
    if !output.status.success() {
        return Err(format!("`produce` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let before = size(&data);
    let file = folder.path().join("pipeline.yaml");
    // `produce` names ids as CloudEvents do.
    let yaml = pipeline.yaml(NAME, "bench-input", Delivery::ExactlyOnce).replace("header: id", "header: ce_id");
    fs::write(&file, yaml).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let mut run = Command::new(binary);
    run.arg("run").arg(&file).args(["--until-idle", "--no-listen", "--data-dir"]).arg(&data);
    let log = folder.path().join("run.log");
    let stderr = fs::File::create(&log).map_err(|e| format!("cannot write a log: {e}"))?;
    let began = Instant::now();
    let child = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
    let mut child = child.map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
    let (mut cpu, mut peak) = (0.0, 0.0);
    let status = loop {
        // The figures of a process that is gone cannot be read: the last ones before are kept.
        cpu = cpu_seconds(child.id()).unwrap_or(0.0).max(cpu);
        peak = peak_mib(child.id()).unwrap_or(0.0).max(peak);
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => return Err(format!("cannot wait for it: {e}")),
        }
    };
    let took = began.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("it ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default()));
    }
    Ok(Found {
        per_second: records as f64 / took,
        cpu_per_million: cpu / records as f64 * 1e6,
        peak_mib: peak,
        on_disk: size(&data).saturating_sub(before) as f64 / (records * Input::Small.payload() as u64) as f64,
    })
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => sum += found.len(),
                Err(_) => {}
            }
        }
    }
    sum
}
