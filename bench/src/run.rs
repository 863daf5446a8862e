//! The whole run: input, systems in turn, rounds, report.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millstream_test_kafka::KafkaCluster;

use crate::cluster::{Cluster, Progress};
use crate::copy::Delivery;
use crate::measure::{Figures, measure};
use crate::report::{self, Memory, Row};
use crate::systems::{self, System, Work};
use crate::{Options, input};

/// Every topic of a measurement begins so and goes with it.
pub(crate) const PREFIX: &str = "bench-run-";
/// For a process that was told to end.
const END: Duration = Duration::from_secs(30);

/// Measures and reports.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let started = match options.brokers {
        Some(_) => None,
        None => {
            let wanted = millstream_test_kafka::Options { heap_mib: 1024, ..Default::default() };
            Some(KafkaCluster::start(wanted).map_err(|e| e.to_string())?)
        }
    };
    let brokers = options.brokers.as_deref().or(started.as_ref().map(KafkaCluster::bootstrap)).unwrap_or_default();
    let systems: Vec<System> = systems::all().into_iter().filter(|s| wanted(options, s)).collect();
    let needs_binary = systems.iter().any(|s| s.work != Work::BareCopy) || options.memory > 0 || options.replay;
    let bench = Bench {
        cluster: Cluster::connect(brokers)?,
        binary: if needs_binary { binary(options.binary.as_deref())? } else { PathBuf::new() },
        folder: tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?,
    };
    bench.cluster.delete_all(PREFIX)?;
    let mut rows: Vec<Row> = systems.into_iter().map(|system| Row { system, rounds: Vec::new() }).collect();
    if !rows.is_empty() {
        let topic = input::load(&bench.cluster, options.records)?;
        for round in 0..options.rounds {
            for row in &mut rows {
                let figures = bench.one(&row.system, &topic, options.records, round)?;
                eprintln!("{}", report::progress(round, &row.system, &figures));
                row.rounds.push(figures);
            }
        }
    }
    let memory = match options.memory {
        0 => Vec::new(),
        // Without dedup the records in hand are all there is; with it every id of the window is kept.
        records => [false, true].into_iter().map(|dedup| bench.memory(records, dedup)).collect::<Result<_, _>>()?,
    };
    if options.replay {
        let topic = input::load(&bench.cluster, options.records)?;
        for round in 0..options.rounds {
            let line = bench.replay(&topic, options.records, round)?;
            writeln!(std::io::stdout(), "{line}").map_err(|e| format!("cannot print: {e}"))?;
        }
    }
    report::print(&rows, &memory, options)
}

fn wanted(options: &Options, system: &System) -> bool {
    let title = system.title().to_lowercase();
    options.only.is_empty() || options.only.iter().any(|word| title.contains(&word.to_lowercase()))
}

/// Everything a measurement needs.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) binary: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Bench {
    fn one(&self, system: &System, topic: &str, records: u64, round: usize) -> Result<Figures, String> {
        // Positions of an earlier run would leave nothing to do.
        let name = format!("{PREFIX}{round}-{:08x}", fastrand::u32(..));
        let (mut child, group, output) = self.start(system, &name, topic)?;
        let progress = Progress::of(&self.cluster, &group, topic)?;
        let figures = measure(&mut child, &progress, records);
        end(&mut child);
        let figures = figures.map_err(|e| format!("{}: {e}\n{}", system.title(), self.last_words()))?;
        let (there, wanted) = (self.cluster.ends(&output)?, system.outputs(records));
        if there < wanted {
            return Err(format!("{}: {there} outputs, {wanted} expected", system.title()));
        }
        self.cluster.delete_all(&name)?;
        Ok(figures)
    }

    /// The process, the group whose positions tell its progress, and its output topic.
    pub(crate) fn start(&self, system: &System, name: &str, topic: &str) -> Result<(Child, String, String), String> {
        let log = fs::File::create(self.log()).map_err(|e| format!("cannot write a log: {e}"))?;
        let (mut command, group, output) = match system.yaml(name, topic) {
            None => {
                let output = format!("{name}.copy");
                self.cluster.create(&output)?;
                let delivery = match system.delivery {
                    Delivery::AtLeastOnce => "at-least-once",
                    Delivery::ExactlyOnce => "exactly-once",
                };
                let own = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
                let mut command = Command::new(own);
                command.args(["copy", "--brokers", self.cluster.brokers(), "--from", topic, "--to", &output]);
                command.args(["--group", name, "--delivery", delivery]);
                (command, name.to_owned(), output)
            }
            Some(yaml) => {
                let file = self.folder.path().join("pipeline.yaml");
                fs::write(&file, yaml).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
                let mut command = Command::new(&self.binary);
                command.arg("run").arg(&file).args(["--brokers", self.cluster.brokers()]);
                (command, format!("{name}.work"), format!("{name}.work"))
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|e| format!("cannot start {}: {e}", command.get_program().display()))?;
        Ok((child, group, output))
    }

    /// Peak memory of the JSON pipeline on a long topic.
    fn memory(&self, records: u64, dedup: bool) -> Result<Memory, String> {
        let topic = input::load(&self.cluster, records)?;
        let work = Work::Millstream { json: true, dedup, jobs: false };
        let name = if dedup { "Millstream JSON where + map, dedup" } else { "Millstream JSON where + map" };
        let system = System { name, delivery: Delivery::ExactlyOnce, work };
        let figures = self.one(&system, &topic, records, 0)?;
        eprintln!("{}", report::progress(0, &system, &figures));
        Ok(Memory { records, title: system.title(), figures })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("last.log")
    }

    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// SIGTERM, then patience, then the end.
pub(crate) fn end(child: &mut Child) {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).stderr(Stdio::null()).status();
    let deadline = Instant::now() + END;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The release binary of this workspace, built.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let built = Command::new(cargo).args(["build", "--release", "-p", "millstream"]).current_dir(workspace()).status();
    if !built.is_ok_and(|s| s.success()) {
        return Err("`cargo build --release -p millstream` failed".into());
    }
    Ok(target().join("release/millstream"))
}

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
