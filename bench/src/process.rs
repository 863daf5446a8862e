//! Systems as processes: started, followed by their groups, ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Progress};
use crate::copy::Delivery;
use crate::systems::{System, Work};

/// For a process that was told to end.
const END: Duration = Duration::from_secs(30);

/// What processes need.
pub(crate) struct Programs {
    /// The `millstream` that is measured.
    pub(crate) binary: PathBuf,
    /// Our program on Kafka Streams, compiled.
    pub(crate) streams: PathBuf,
    /// For files, logs and states.
    pub(crate) folder: tempfile::TempDir,
}

/// A system at work. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Progress of its first stage and of its last one.
    pub(crate) first: Progress,
    pub(crate) last: Progress,
    /// What it writes.
    pub(crate) outputs: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Programs {
    /// Starts a system that reads `topic`; whatever it makes on the cluster begins with `name`.
    pub(crate) fn start(&self, cluster: &Cluster, system: &System, name: &str, topic: &str) -> Result<Running, String> {
        let output = format!("{name}.out");
        let (mut command, groups, outputs) = match system.work {
            Work::Copy { compression } => {
                cluster.create(&output)?;
                let delivery = match system.delivery {
                    Delivery::AtLeastOnce => "at-least-once",
                    Delivery::ExactlyOnce => "exactly-once",
                };
                let own = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
                let mut command = Command::new(own);
                command.args(["copy", "--brokers", cluster.brokers(), "--from", topic, "--to", &output]);
                command.args(["--group", name, "--delivery", delivery, "--compression", compression]);
                (command, vec![(name.to_owned(), topic.to_owned())], vec![output])
            }
            Work::Millstream(pipeline) => {
                let file = self.pipeline_file();
                let yaml = pipeline.yaml(name, topic, system.delivery);
                fs::write(&file, yaml).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
                let mut command = Command::new(&self.binary);
                command.arg("run").arg(&file).args(["--no-listen", "--brokers", cluster.brokers()]);
                // Each stage reads what the one before it writes.
                let stages = pipeline.stages().iter().map(|s| format!("{name}.{s}"));
                let reads = std::iter::once(topic.to_owned()).chain(stages.clone());
                (command, stages.zip(reads).collect(), pipeline.outputs(name))
            }
            Work::Streams(topology) => {
                cluster.create(&output)?;
                let states = self.folder.path().join(name);
                let arguments = [cluster.brokers(), name, topic, &output];
                let command = topology.command(&self.streams, arguments, &states);
                (command, vec![(name.to_owned(), topic.to_owned())], vec![output])
            }
        };
        let log = fs::File::create(self.log()).map_err(|e| format!("cannot write a log: {e}"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut child = child.map_err(|e| format!("cannot start {}: {e}", command.get_program().display()))?;
        let of = |at: Option<&(String, String)>| match at {
            Some((group, topic)) => Progress::of(cluster, group, topic),
            None => Err("a system has no stage".to_owned()),
        };
        match (of(groups.first()), of(groups.last())) {
            (Ok(first), Ok(last)) => Ok(Running { child, first, last, outputs }),
            (Err(e), _) | (_, Err(e)) => {
                end(&mut child);
                Err(e)
            }
        }
    }

    /// The pipeline that was started last.
    pub(crate) fn pipeline_file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("last.log")
    }

    /// What the last process said at its end.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// SIGTERM, then patience, then the end.
pub(crate) fn end(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
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
        return path.canonicalize().map_err(|e| format!("cannot find {}: {e}", path.display()));
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
