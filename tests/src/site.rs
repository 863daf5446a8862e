//! A log and the folder of a test, with the command line as the only way to it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::checker::Seen;
use crate::checker::workload::Rows;
use crate::process::{Process, tail};

/// For a command that only reads or writes what is there.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where a test works. Dropping it removes the folder, unless the test has failed.
pub struct Site {
    log: Vec<String>,
    folder: tempfile::TempDir,
}

impl Site {
    /// On a cluster. `session` is how long a member that says nothing keeps its partitions.
    pub fn kafka(bootstrap: &str, session: Duration) -> Self {
        let session = format!("session.timeout.ms={}", session.as_millis());
        Self::new(vec!["--brokers".into(), bootstrap.into(), "--kafka".into(), session])
    }

    /// On an embedded log of its own.
    pub fn embedded() -> Self {
        let mut site = Self::new(Vec::new());
        site.log = vec!["--data-dir".into(), site.folder().join("log").display().to_string()];
        site
    }

    fn new(log: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("cannot make a folder: {e}"));
        Self { log, folder }
    }

    /// The test's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }

    /// `millstream` with the log named; in the folder, so that no settings file of elsewhere is read.
    pub fn command<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(crate::binary());
        command.args(arguments).args(&self.log).current_dir(self.folder());
        command.env_remove("MILLSTREAM_BROKERS").env_remove("MILLSTREAM_DATA_DIR");
        command
    }

    /// Starts a command that goes on; its output is in `<name>.out` and `.err` of the folder.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments), self.folder(), name)
    }

    /// Starts `run` on a pipeline file.
    pub fn run(&self, name: &str, pipeline: &Path) -> Process {
        Process::start(self.command(["run"]).arg(pipeline), self.folder(), name)
    }

    /// The same in a process whose clock is off by so many seconds.
    pub fn run_off(&self, name: &str, pipeline: &Path, off: i64) -> Process {
        let mut command = Command::new(broken());
        command.arg("run").args(&self.log).arg(pipeline).current_dir(self.folder());
        command.env("MILLSTREAM_CLOCK_OFF", off.to_string());
        Process::start(&mut command, self.folder(), name)
    }

    /// Starts a worker that breaks a promise on purpose and meets a fault in the commit that holds `record`. The words
    /// are those of `tests/broken`.
    pub fn run_broken(&self, name: &str, pipeline: &Path, breaks: &str, fault: &str, record: &str) -> Process {
        self.broken(name, &["run"], pipeline, [breaks, fault, record])
    }

    /// The same for a command of `tests/broken` with more words.
    pub fn broken(&self, name: &str, words: &[&str], pipeline: &Path, [breaks, fault, record]: [&str; 3]) -> Process {
        let mut command = Command::new(broken());
        command.args(words).args(&self.log).arg(pipeline).current_dir(self.folder());
        command.env("MILLSTREAM_BREAK", breaks).env("MILLSTREAM_FAULT", fault).env("MILLSTREAM_FAULT_RECORD", record);
        Process::start(&mut command, self.folder(), name)
    }

    /// Runs until all input is worked off; the summary of the pipelines.
    ///
    /// # Panics
    /// When it does not end in time with exit status 0 and a summary.
    pub fn until_idle(&self, name: &str, pipeline: &Path, deadline: Duration) -> Value {
        let mut command = self.command(["run", "--until-idle", "-o", "json"]);
        let mut run = Process::start(command.arg(pipeline), self.folder(), name);
        run.succeed(deadline);
        let out = run.stdout();
        serde_json::from_str(out.lines().last().unwrap_or_default())
            .unwrap_or_else(|e| panic!("`run -o json` printed no summary: {e}: {out}"))
    }

    /// Makes a topic, or adds lines to it.
    ///
    /// # Panics
    /// When `produce` fails.
    pub fn produce(&self, topic: &str, lines: &[String], options: &[&str]) {
        if lines.is_empty() {
            return;
        }
        let mut command = self.command(["produce", topic]);
        let mut child = command
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start produce: {e}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ended early says why itself.
            let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
        }
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("produce is gone: {e}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "produce {topic} failed: {}", tail(&said));
    }

    /// Adds rows of a workload to its source topic, making it with four partitions if it is not there.
    pub fn produce_rows(&self, topic: &str, rows: &Rows, step: usize) {
        let header = format!("step={step}");
        self.produce(topic, &rows.keyed, &["--create", "--partitions", "4", "--key", ".account", "--header", &header]);
        self.produce(topic, &rows.garbage, &["--header", &header]);
    }

    /// All committed records of a topic; none where there is no such topic yet.
    ///
    /// # Panics
    /// When `consume` fails for another reason, or prints what is no record.
    pub fn read(&self, topic: &str) -> Vec<Seen> {
        let name = format!("read-{topic}-{:08x}", fastrand::u32(..));
        let mut command = self.command(["consume", topic, "--until-end", "-o", "json"]);
        let mut consume = Process::start(&mut command, self.folder(), &name);
        let status = consume.wait(PATIENCE);
        if !status.success() {
            let said = consume.stderr();
            let nothing = said.contains("does not exist") || said.contains("there is no log");
            assert!(nothing, "consume {topic} failed: {}", tail(&said));
        }
        Seen::from_lines(&consume.stdout()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A process that follows a topic from its beginning.
    pub fn follow(&self, topic: &str) -> Process {
        let mut command = self.command(["consume", topic, "-o", "json"]);
        Process::start(&mut command, self.folder(), &format!("follow-{topic}"))
    }
}

/// The program of `tests/broken`.
fn broken() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| crate::build("millstream-test-broken"))
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("what the processes said is in {}", self.folder().display());
        }
    }
}
