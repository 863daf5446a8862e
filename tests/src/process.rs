//! A process of the tests: started, signalled, watched, and ended when its handle goes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running process with its output in files, so that nothing blocks on a full pipe and nothing is lost when it is
/// killed. Dropping it kills it.
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
    out: PathBuf,
    err: PathBuf,
}

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

impl Process {
    /// Starts `command`; its output goes to `<folder>/<name>.out` and `.err`, after what is there already.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Self {
        let file = |ending: &str| {
            let path = folder.join(format!("{name}.{ending}"));
            let file = File::options().create(true).append(true).open(&path);
            (file.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display())), path)
        };
        let ((stdout, out), (stderr, err)) = (file("out"), file("err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {:?}: {e}", command.get_program()));
        Self { child, status: None, out, err }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its short name: `TERM`, `INT`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill -{name} {id} failed");
    }

    /// Ends it as `kill -9` does, stopped or not, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            // Both fail only for a process that is gone already.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on past the deadline, with what it said last.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "it did not end within {deadline:?}; it said last:\n{}",
                tail(&self.stderr())
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for its end and wants exit status 0.
    ///
    /// # Panics
    /// Otherwise, with what it said last.
    pub fn succeed(&mut self, deadline: Duration) {
        let status = self.wait(deadline);
        assert!(status.success(), "it ended with {status}; it said last:\n{}", tail(&self.stderr()));
    }

    /// Waits until what it says on stderr contains `text`.
    ///
    /// # Panics
    /// When it ends or the deadline passes before.
    pub fn wait_for_stderr(&mut self, text: &str, deadline: Duration) {
        let end = Instant::now() + deadline;
        loop {
            // Before the look at its words: the last ones may come just before the end.
            let ended = self.ended();
            let said = self.stderr();
            if said.contains(text) {
                return;
            }
            assert!(ended.is_none(), "it ended ({ended:?}) and never said {text:?}; it said last:\n{}", tail(&said));
            assert!(
                Instant::now() < end,
                "it did not say {text:?} within {deadline:?}; it said last:\n{}",
                tail(&said)
            );
            std::thread::sleep(LOOK);
        }
    }

    /// All it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// Whether it stands still, by SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        status.lines().any(|l| l.starts_with("State:") && l.contains('T'))
    }

    /// All it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Largest resident memory so far in bytes (`VmHWM`); `None` when it has ended.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.err.display(), tail(&self.stderr()));
        }
    }
}

/// Counts the lines of a growing file without reading them twice.
pub struct LineCount {
    path: PathBuf,
    read: u64,
    lines: usize,
}

impl LineCount {
    /// Of a process's stdout.
    pub fn of(process: &Process) -> Self {
        Self { path: process.out.clone(), read: 0, lines: 0 }
    }

    /// Lines that are complete by now.
    pub fn now(&mut self) -> usize {
        let mut bytes = Vec::new();
        let appended = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut bytes)
        });
        if appended.is_ok() {
            self.read += bytes.len() as u64;
            self.lines += bytes.iter().filter(|b| **b == b'\n').count();
        }
        self.lines
    }
}

/// Waits until `condition` holds; whether it did before the deadline.
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// The last lines of a text.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A file that is not there has nothing in it.
    let _ = File::open(path).and_then(|mut f| f.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
